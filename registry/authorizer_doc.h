/*
 * A custom authoriser: its JSON document, between REST and the store, and what it is compiled to.
 * Immutable but for the reference count; any thread. Private to the registry.
 */
#ifndef HF_REGISTRY_AUTHORIZER_DOC_H
#define HF_REGISTRY_AUTHORIZER_DOC_H

#include "registry/auth/custom.h"
#include "server/base/doc_error.h"
#include "server/base/document_store.h"
#include "server/base/fetch.h"

#define AUTHORIZER_CACHE_MAX 3600
#define AUTHORIZER_CACHE_DEFAULT 60
#define AUTHORIZER_TIMEOUT_MIN 100
#define AUTHORIZER_TIMEOUT_MAX 5000
#define AUTHORIZER_TOKEN_KEY_MAX 128

struct authorizer {
	atomic_uint refs;
	char name[AUTHORIZER_NAME_MAX + 1];
	char etag[ETAG_LEN + 1]; /* "" before it is stored */
	bool active, is_default, signing_disabled;
	unsigned cache_s, timeout_ms;
	char token_key[AUTHORIZER_TOKEN_KEY_MAX + 1]; /* "": no token is looked for */
	char url[FETCH_URL_MAX + 1];
	char *ca_pem; /* NULL: whom the system trusts */
	unsigned n_keys;
	struct custom_key *keys[CUSTOM_KEYS_MAX];
};

/* name: of the path, p NULL: the document has to say it. Everything wrong goes into errors (then
 * ERR_INVALID). 0 with *ret, a reference; ERR_INVALID; ERR_NOMEM. */
int authorizer_doc_read(
        const json_t *doc, struct slice name, json_t *errors, struct authorizer **ret);
/* From the store. 0 with *ret, a reference; ERR_CORRUPT; ERR_NOMEM. */
int authorizer_doc_load(const struct document *from, struct authorizer **ret);
struct authorizer *authorizer_ref(struct authorizer *a);
struct authorizer *authorizer_unref(struct authorizer *a); /* NULL is fine; returns NULL */
static inline void authorizer_cleanup(struct authorizer **a)
{
	authorizer_unref(*a);
}
#define _cleanup_authorizer_ _cleanup_(authorizer_cleanup)

/* As the store keeps a document that was read without errors: malloc'ed, NULL when out of memory.
 */
char *authorizer_doc_text(const json_t *doc, const struct authorizer *a);
/* As REST shows it; NULL when out of memory or where the text is none. */
json_t *authorizer_doc_render(const struct document *d);

bool authorizer_name_valid(struct slice name);

#endif
