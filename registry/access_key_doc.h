/* The JSON document of an access key (CONTRACT section 4). Private to the registry. */
#ifndef HF_REGISTRY_ACCESS_KEY_DOC_H
#define HF_REGISTRY_ACCESS_KEY_DOC_H

#include "registry/registry_store.h"
#include "server/base/doc_error.h"

struct access_key_doc {
	char name[KEY_NAME_MAX + 1];
	uint32_t perms;
	struct sym_key primary, secondary;
	bool has_scope;
	char *scope; /* malloc'ed text; NULL: it is not narrowed */ /* len 0: not named */
};

/* 1 to 64 of A-Za-z0-9-._ and not "." or "..". */
bool access_key_name_valid(struct slice name);
/* As device_doc_read. */
int access_key_doc_read(
        const json_t *doc, struct slice name, json_t *errors, struct access_key_doc *ret);
void access_key_doc_done(struct access_key_doc *d);
/* keys: show them too. NULL when out of memory. */
json_t *access_key_doc_render(const struct access_key_record *r, bool keys);

#endif
