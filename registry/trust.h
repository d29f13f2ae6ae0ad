/*
 * Whom the registry trusts to say who somebody is: certificate authorities and their revocation
 * lists, read whole from the store and held by every loop (server/base/replica.h). Immutable,
 * counted by references. Private to the registry.
 */
#ifndef HF_REGISTRY_TRUST_H
#define HF_REGISTRY_TRUST_H

#include "registry/authority_doc.h"
#include "registry/registry.h"
#include "server/base/replica.h"

/* Where an authority's list is to be fetched. */
struct crl_source {
	char name[AUTHORITY_NAME_MAX + 1];
	unsigned refresh_s;
	char *url;
};

/* A revocation list as it was read: kept as long as its document does not change. */
struct trust_list {
	char name[AUTHORITY_NAME_MAX + 1];
	char etag[ETAG_LEN + 1];
	uint8_t authority[X509_ID_LEN]; /* whose signature was checked */
	struct x509_crl *crl;
};

struct trust {
	atomic_uint refs;
	struct x509_trust *x509;
	unsigned n_lists, n_sources;
	struct trust_list *lists;
	struct crl_source *sources;
};

struct trust *trust_ref(struct trust *t);
struct trust *trust_unref(struct trust *t); /* NULL is fine; returns NULL */
static inline void trust_cleanup(struct trust **t)
{
	trust_unref(*t);
}
#define _cleanup_trust_ _cleanup_(trust_cleanup)

/* Reads it whole. before: what it replaces, or NULL. Blocks. 0 with *ret, a reference; else what
 * the store returned, or ERR_NOMEM. */
int trust_load(
        const struct document_store *documents, const struct trust *before, struct trust **ret);

/* On a loop: what is in force there, borrowed until the turn ends. NULL: nothing was loaded. */
const struct trust *trust_here(const struct registry *r);
/* Any thread: the newest; the caller's reference. NULL: nothing was loaded. */
struct trust *trust_take(const struct registry *r);
/* A worker has written: returns when every loop knows of it, or after some seconds. */
void trust_wrote(struct registry *r);

/* registry.c's. */
struct replica *trust_replica_new(struct loop *const *loops, unsigned n, struct registry *r);

#endif
