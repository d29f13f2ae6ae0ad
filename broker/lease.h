/*
 * Private to the room: which hub a session lives on. With several hubs at one database a session is
 * owned by one of them; a CONNECT that finds none here asks for it first, and an owner that is told
 * to gives it away. While that goes on for a key, its CONNECTs wait.
 */
#ifndef HF_BROKER_LEASE_H
#define HF_BROKER_LEASE_H

#include "broker/session.h"

/* A CONNECT that waits. */
struct lease_wait {
	LIST_ENTRY(lease_wait) entry;
	bool waits;
	/* 0: what there is of the session is here now; ERR_UNAVAILABLE: it is not to be had. */
	void (*done)(struct lease_wait *w, int err);
};

/* Whether the session of that principal and client id has to be waited for; then done is called,
 * once. */
bool lease_wait(
        struct shard *sh, const struct principal *p, struct slice client_id, struct lease_wait *w);
/* Does not wait any longer. */
void lease_unwait(struct lease_wait *w);
void leases_free(struct shard *sh);

#endif
