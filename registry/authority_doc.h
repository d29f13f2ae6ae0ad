/*
 * The JSON document of a certificate authority, between REST and the store. A revocation list lies
 * in a document of its own, under "~crl/{authority}": no authority can be called so, and it is
 * behind all of them in order of name. Private to the registry.
 */
#ifndef HF_REGISTRY_AUTHORITY_DOC_H
#define HF_REGISTRY_AUTHORITY_DOC_H

#include "registry/auth/x509_trust.h"
#include "server/base/doc_error.h"
#include "server/base/document_store.h"
#include "server/base/fetch.h"

#define CRL_REFRESH_MIN 60
#define CRL_REFRESH_MAX 604800
#define CRL_REFRESH_DEFAULT 3600
#define CHALLENGE_LEN 48 /* a CommonName holds 64 */

struct authority_doc {
	char name[AUTHORITY_NAME_MAX + 1];
	struct x509_st *cert;
	char *pem; /* malloc'ed */
	enum authority_status status;
	bool verified; /* somebody has shown that they hold the key, once */
	char challenge[CHALLENGE_LEN + 1];
	enum x509_id_from id_from;
	bool auto_register;
	bool crl_hard;
	unsigned crl_refresh_s;
	char crl_url[FETCH_URL_MAX + 1]; /* "": none */
};

/* From the body of a POST. now: wall s, for the certificate's dates. Everything wrong goes into
 * errors (then ERR_INVALID). To be done with also after a failure. 0, ERR_INVALID. */
int authority_doc_read(const json_t *doc, int64_t now, json_t *errors, struct authority_doc *ret);
/* What a merge patch makes of it: name and certificate stay, and the status of one that is not
 * verified. *d is changed in place; after a failure it is only good for authority_doc_done. */
int authority_doc_patch(const json_t *patch, json_t *errors, struct authority_doc *d);
/* From the store's document. 0, ERR_CORRUPT. */
int authority_doc_load(const struct document *from, struct authority_doc *ret);
/* As the store keeps it: malloc'ed; NULL when out of memory. */
char *authority_doc_text(const struct authority_doc *d);
void authority_doc_done(struct authority_doc *d);

/* As REST shows it. crl: the list in force, or NULL. NULL when out of memory. */
json_t *authority_doc_render(
        const struct authority_doc *d, const struct document *stored, const struct x509_crl *crl);

bool authority_name_valid(struct slice name);

/* ---- the document of a revocation list ---- */

#define CRL_DOC_NAME_MAX (AUTHORITY_NAME_MAX + sizeof("~crl/"))
void crl_doc_name(const char *authority, char ret[static CRL_DOC_NAME_MAX]);
/* Whether it is a list's, and whose. */
bool crl_doc_owner(const char *name, struct slice *ret_authority);
/* source: "upload" or "url". malloc'ed; NULL when out of memory. */
char *crl_doc_text(struct slice der, const char *source);
/* *ret malloc'ed. 0, ERR_CORRUPT, ERR_NOMEM. */
int crl_doc_load(const struct document *from, uint8_t **ret, size_t *ret_n);

#endif
