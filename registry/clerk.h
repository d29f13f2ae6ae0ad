/*
 * What loops want written, and must not wait for: certificates that came for the first time,
 * devices that register themselves. One thread that may block; it fetches revocation lists too
 * (crl.h). Private to the registry.
 */
#ifndef HF_REGISTRY_CLERK_H
#define HF_REGISTRY_CLERK_H

#include "registry/certificate_doc.h"
#include "registry/registry.h"

struct clerk;

/* NULL when out of memory. Main thread. */
struct clerk *clerk_new(struct registry *r);
int clerk_start(struct clerk *c); /* 0, ERR_NOMEM */
void clerk_stop(struct clerk *c); /* before the loops stop; NULL is fine */
void clerk_free(struct clerk *c); /* after nobody answers it any more; NULL is fine */
/* Any thread: authorities have changed. */
void clerk_wake(struct clerk *c);

/* On a loop: notes a certificate that is not registered yet. Where too much waits it is left out:
 * it will come again. */
void clerk_note(struct clerk *c, const struct certificate_doc *d);

/* A device that is to be made. */
struct birth {
	struct mail mail;
	struct clerk *clerk;
	struct loop *loop;
	/* Out, on loop, exactly once, unless asker is NULL by then: err: 0, ERR_EXISTS: it is
	 * there; ERR_QUOTA: too many have registered themselves in the last minute; or the store's.
	 */
	void (*done)(struct birth *b);
	void *asker; /* whoever goes sets it to NULL; the birth frees itself */
	int err;
	char id[DEVICE_ID_MAX + 1];
	char authority[AUTHORITY_NAME_MAX + 1];
	char peer[64];
};
/* On a loop. NULL: too much waits, or the clerk does not run. */
struct birth *clerk_bear(struct clerk *c, struct slice id, const char *authority, const char *peer,
        void (*done)(struct birth *b), void *asker);

#endif
