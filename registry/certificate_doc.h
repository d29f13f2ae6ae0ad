/*
 * The JSON document of a client certificate that is registered: by an administrator, or noted when
 * it came for the first time. Its name is its id. Private to the registry.
 */
#ifndef HF_REGISTRY_CERTIFICATE_DOC_H
#define HF_REGISTRY_CERTIFICATE_DOC_H

#include "registry/auth/x509_trust.h"
#include "server/base/doc_error.h"
#include "server/base/document_store.h"

enum certificate_status {
	CERTIFICATE_ACTIVE,
	CERTIFICATE_INACTIVE,
	CERTIFICATE_REVOKED,
};

struct certificate_doc {
	char id[X509_ID_TEXT + 1];
	enum certificate_status status;
	char device[MODULE_ID_MAX + 1];         /* "": any that it names */
	char authority[AUTHORITY_NAME_MAX + 1]; /* that it came by; "": not known */
	char subject[X509_NAME_MAX + 1], issuer[X509_NAME_MAX + 1];
	char serial[2 * X509_SERIAL_MAX + 1];
	int64_t not_before, not_after; /* wall s */
};

/* What the certificate says of itself; the other members are zero. 0, ERR_INVALID. */
int certificate_doc_of(const struct x509_st *cert, struct certificate_doc *ret);
/* From the body of a POST: {"certificate": PEM, "status", "deviceId"}. Everything wrong goes into
 * errors. 0, ERR_INVALID. */
int certificate_doc_read(const json_t *doc, json_t *errors, struct certificate_doc *ret);
/* A merge patch changes status and deviceId alone. 0, ERR_INVALID, ERR_NOMEM. */
int certificate_doc_patch(const json_t *patch, json_t *errors, struct certificate_doc *d);
/* From the store. 0, ERR_CORRUPT. */
int certificate_doc_load(const struct document *from, struct certificate_doc *ret);
/* status and device alone, for those who are connecting. False: it cannot be read. */
bool certificate_doc_glance(struct slice text, struct certificate_doc *ret);
/* NULL when out of memory; stored NULL: without etag and times. */
json_t *certificate_doc_render(const struct certificate_doc *d, const struct document *stored);
/* Blocks. 0, or the store's. */
int certificate_doc_insert(const struct document_store *store, const struct certificate_doc *d);

#endif
