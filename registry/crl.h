/*
 * Revocation lists of authorities: taking a new one, and fetching those that have a URL. On threads
 * that may block. Private to the registry.
 */
#ifndef HF_REGISTRY_CRL_H
#define HF_REGISTRY_CRL_H

#include "registry/registry.h"

/*
 * Checks a list (PEM or DER) and stores it for its authority. One that is there already changes
 * nothing; an older one is refused. source: "upload" or "url". *ret_changed: the loops have to be
 * told. 0; ERR_INVALID with *ret_why, a sentence; ERR_NOT_FOUND: no such authority; ERR_TOO_BIG; or
 * the store's.
 */
int crl_take(struct registry *r, const char *authority, struct slice text, const char *source,
        bool *ret_changed, const char **ret_why);

/* Fetching on schedule: everything on the clerk's thread (clerk.c). */
struct crl_fetcher;
/* box: the clerk's, for answers. NULL when out of memory. */
struct crl_fetcher *crl_fetcher_new(struct registry *r, struct mailbox *box);
/* Asks for what is due. Returns in how many ms something is due next. */
int crl_fetcher_run(struct crl_fetcher *f);
/* Asks for nothing more. What is still out is freed with its answer. */
void crl_fetcher_free(struct crl_fetcher *f);

#endif
