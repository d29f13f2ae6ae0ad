/*
 * The JSON document of a device or module (CONTRACT section 4), between REST and the store's
 * record. Private to the registry.
 */
#ifndef HF_REGISTRY_DEVICE_DOC_H
#define HF_REGISTRY_DEVICE_DOC_H

#include "registry/auth/secret.h"
#include "registry/registry_store.h"
#include "registry/thumbprint.h"
#include "server/base/doc_error.h"

/* What a document says, checked; what it leaves out has its default. */
struct device_doc {
	char id[MODULE_ID_MAX + 1]; /* "device" or "device/module" */
	char device_id[DEVICE_ID_MAX + 1], module_id[DEVICE_ID_MAX + 1];
	bool is_module;
	bool enabled;
	char status_reason[STATUS_REASON_MAX + 1];
	bool has_auth;
	enum device_auth auth;
	struct sym_key primary, secondary; /* len 0: not named */
	size_t secret_len;                 /* 0: not named */
	char secret[SECRET_MAX + 1];
	char thumbprints[2][THUMBPRINT_TEXT_MAX + 1]; /* "": not named */
	char *jwt_keys;                               /* malloc'ed text; NULL: not named */
	char *tags;                                   /* malloc'ed text */
};

/* Whose document it has to be, from the path; a p that is NULL: the document has to say. */
struct doc_owner {
	bool is_module;
	struct slice device, module;
};
/* Everything wrong goes into errors (then ERR_INVALID). Read-only members are taken as they come
 * back from a GET, and ignored. To be done with also after a failure. 0, ERR_INVALID, ERR_NOMEM. */
int device_doc_read(
        const json_t *doc, struct doc_owner owner, json_t *errors, struct device_doc *ret);
void device_doc_done(struct device_doc *d);

/* What a document shows beside the record. */
struct device_doc_view {
	bool keys;            /* symmetric keys and connectionString */
	const char *hub_name; /* of the connection string */
	const char *secret;   /* just made, to be shown once; or NULL */
};
/* NULL when out of memory. */
json_t *device_doc_render(const struct device_record *r, struct device_doc_view view);

/* The document that a merge patch yields: patch over what a GET with keys shows. A patch that
 * changes auth.type starts from an empty auth, for one kind's keys are nothing to the other. NULL:
 * memory. */
json_t *device_doc_merge(const struct device_record *r, const json_t *patch);

#endif
