/*
 * Reading identities on a loop: from the cache, else by a look-up that all who want the same
 * identity share. A query wants up to four identities and is told when it has them all, current at
 * that moment. Private to the registry; everything on the shard's loop.
 */
#ifndef HF_REGISTRY_QUERY_H
#define HF_REGISTRY_QUERY_H

#include "registry/private.h"

enum want_state {
	WANT_UNKNOWN,
	WANT_FOUND,
	WANT_ABSENT,   /* no such identity */
	WANT_UNUSABLE, /* it cannot be read, and asking again will not help */
};

struct want {
	struct want *next, **prev; /* in its flight's list */
	struct flight *flight;     /* NULL: not waiting */
	struct query *query;
	enum want_state state;
	struct identity *identity; /* with WANT_FOUND */
	enum entity kind;
	bool cached; /* it is from the cache */
	uint16_t id_len;
	char id[MODULE_ID_MAX];
};

#define WANTS_MAX 4 /* module, its device, certificate, access key */

struct query {
	struct query *next, **prev;                 /* all of the shard's */
	struct query *next_stalled, **prev_stalled; /* waiting for the change feed */
	struct shard *shard;
	/* Answers count only while the change feed and the rules are fresh: for letting somebody
	 * in. Without it, a look-up made now is good enough: for finding out whether to end a
	 * connection.
	 */
	bool needs_feed;
	bool needs_trust; /* the same of the authorities: one may have been revoked meanwhile */
	bool afresh;      /* leave the cache alone */
	unsigned n;
	struct want wants[WANTS_MAX];
	/* Every want is known. The query is not on any list; it may be ended and freed. */
	void (*ready)(struct query *q);
	/* The registry is freed while the query waits: end and free it, tell nobody. */
	void (*drop)(struct query *q);
};

/* q: zeroed, with needs_feed, ready and drop set. */
void query_init(struct query *q, struct shard *s);
/* id: at most MODULE_ID_MAX. Returns the want, part of the query. */
struct want *query_want(struct query *q, enum entity kind, struct slice id);
/* Calls ready at once or later; while identities cannot be read, it goes on trying. */
void query_run(struct query *q);
/* Runs the query again with what was not from the cache; ready is called once more. False: nothing
 * was, and nothing is done. */
bool query_run_afresh(struct query *q);
/* Runs it again with nothing of what it knows. */
void query_run_again(struct query *q);
/* Takes it off every list and drops what it holds. Look-ups that were started go on. */
void query_end(struct query *q);

/* settings: the shard's reference. */
void shard_init(struct shard *s, struct registry *r, struct loop *loop, struct settings *settings);
/* Something changed: forget it here, and ask again for what is under way. */
void shard_forget(struct shard *s, enum entity kind, struct slice id);
void shard_forget_all(struct shard *s);
void shard_done(struct shard *s);

#endif
