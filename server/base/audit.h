/*
 * Who changes what: every administrative write is noted in the audit log in the transaction of the
 * change, and so is every attempt that was denied. This header is what the rooms tell; storage
 * writes it. Never a credential, never a message's content.
 */
#ifndef HF_BASE_AUDIT_H
#define HF_BASE_AUDIT_H

#include "server/base/slice.h"

/* On whose behalf the calling thread writes to the store. */
struct audit_actor {
	const char *name;      /* of the token, access key, or subject; "" : nobody was known */
	const char *kind;      /* "token", "key", "oidc", "hub" */
	const char *role;      /* of a person; "" */
	const char *peer;      /* "203.0.113.7:4711"; "" for the hub itself */
	const char *trace_id;  /* of the request; "" */
	const char *operation; /* "device_create"; see policy/access.def */
};
/* For the calling thread, until audit_end: what is borrowed has to live as long. Without one, the
 * hub itself is the actor. */
void audit_begin(const struct audit_actor *actor);
void audit_end(void);
/* NULL: none. */
const struct audit_actor *audit_actor(void);

/* An attempt that was denied. */
struct audit_denial {
	const char *operation; /* "accept", "authenticate", "publish", "device_create", … */
	const char *reason;    /* deny_name, or "policy" */
	struct slice who;      /* who it claims to be; may be empty */
	struct slice target;   /* the topic, filter or resource; may be empty */
	const char *peer;
};
/* Any thread, never blocks: queued for the log; equal ones of a moment become one row with a count,
 * and past a bound they are only counted. Nothing happens before audit_set_sink. */
void audit_denied(const struct audit_denial *d);
/* Storage's. NULL: none. Before the threads start, or after they ended. */
void audit_set_sink(void (*sink)(void *ctx, const struct audit_denial *d), void *ctx);

#endif
