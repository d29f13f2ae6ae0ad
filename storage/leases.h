/*
 * Several hubs on one database: who lives, who owns which session, what they say to each other.
 * Part of private.h.
 */
#ifndef HF_STORAGE_LEASES_H
#define HF_STORAGE_LEASES_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct pg;
struct session_claim;
struct storage;

#define HUB_ID_LEN 16
#define HUBS_CHANNEL "holdfast_hubs"
#define LEASE_MS 5000
#define LEASE_BEAT_MS 1000
#define LEASE_HUBS 64

/* Another hub, as the feed sees it: one whose beat stands still is dead. */
struct other_hub {
	char id[HUB_ID_LEN + 1];
	int64_t beat;
	uint64_t since_ms; /* when that beat was seen first */
};
struct leases {
	int64_t incarnation;    /* this process's; set before any thread */
	_Atomic bool shared;    /* another hub was seen since the start */
	_Atomic unsigned taken; /* odd: sessions of a dead hub are on their way to the broker */
	pthread_mutex_t mutex;  /* of what follows */
	struct other_hub others[LEASE_HUBS];
	unsigned n;
	uint64_t looked_ms;
};

/* Begins this hub's lease, and makes it the owner of what nobody owns. Main thread. 0 or
 * ERR_UNAVAILABLE. */
int leases_begin(struct storage *s);
/* Renews the lease and looks at the others. The feed, on its connection. 0 or pg_exec's error. */
int leases_beat(struct storage *s, struct pg *pg);
/* Takes over what dead hubs owned. Upkeep; before the loops run main (starting: the broker is told
 * nothing, since it will read them). 0 or pg_exec's error. */
int leases_take(struct storage *s, bool starting);
/* The feed: what another hub says. */
void leases_hear(struct storage *s, const char *payload);
/* Another hub has taken over what this one owned. Any thread. */
void leases_lost(struct storage *s);
bool leases_shared(const struct storage *s);
/* A reader: answers the claim on its connection. 0 (c has its err) or pg_exec's error. */
int leases_claim(struct storage *s, struct pg *pg, struct session_claim *c);

/* ---- rotation.c: of the master key ---- */

/* Whoever wraps for the database enters before, which waits a moment
 * while the feed is down, and leaves once it is written or given up: after
 * the other master key wraps, the command waits until nothing that the old one wrapped is on its
 * way. */
struct wrap_turn {
	struct wraps *wraps;
	unsigned side;
};
struct wrap_turn wraps_enter(struct storage *s);
void wraps_leave(struct wrap_turn *t);
#define _wrapping_(s) _cleanup_(wraps_leave) HF_UNUSED struct wrap_turn wrapping = wraps_enter(s)
/* Holds and wraps with the master keys that the database says, and notes so in holdfast.hubs. The
 * feed's thread; before it runs, main. *ret_done false: to be called again soon. 0;
 * ERR_CONFLICT: this hub lacks the key that others wrap with; pg_exec's errors. */
int rotation_follow(struct storage *s, struct pg *pg, bool *ret_done);
/* This hub ends: nobody needs to wait for it. Best effort. */
void rotation_leave(struct storage *s, struct pg *pg);

#endif
