/*
 * Something that is read whole from the store and of which every loop holds a pointer of its own,
 * so that it is read without a lock: rules, authorities. A thread of the replica's loads it anew
 * when it is told of a change, hands it to every loop by mail, and says so once all of them have
 * it. Values are immutable and counted by references; several changes in a row cost one load.
 */
#ifndef HF_BASE_REPLICA_H
#define HF_BASE_REPLICA_H

#include "server/base/loop.h"

struct replica;

struct replica_ops {
	const char *name; /* for log and thread */
	/* On the replica's thread (the first time on the caller of replica_start); may block. old:
	 * what it is to replace, NULL the first time; what: bits of what has changed since old was
	 * loaded, all of them the first time. 0 with *ret, a reference; else it is tried again. */
	int (*load)(void *ctx, void *old, uint64_t what, void **ret);
	void *(*ref)(void *value);
	void *(*unref)(void *value); /* NULL is fine; returns NULL */
	/* On each loop, in the turn in which it got the value; may be NULL. */
	void (*switched)(void *ctx, struct loop *here, void *value, uint64_t what);
	/* On the replica's thread: every loop has the value; may be NULL. */
	void (*applied)(void *ctx, void *value, uint64_t what);
};

/* loops: n, not running. ops live for ever. NULL when out of memory. Main thread. */
struct replica *replica_new(
        struct loop *const *loops, unsigned n, const struct replica_ops *ops, void *ctx);
/* Loads for the first time and starts the thread; the loops may not run yet. 0, or what load
 * returned; ERR_NOMEM. Main thread. */
int replica_start(struct replica *r);
/* Ends the thread; before the loops stop. Main thread. */
void replica_stop(struct replica *r);
void replica_free(struct replica *r); /* after the loops have stopped; NULL is fine */

/* Any thread: what the bits stand for has changed. */
void replica_changed(struct replica *r, uint64_t what);
/* Any thread, no lock: false while a change is known for over a second and not with every loop: who
 * relies on the value then relies on what is stale. */
bool replica_fresh(const struct replica *r);
/* On a loop: the value in force there, borrowed until the turn ends. */
void *replica_here(const struct replica *r);
/* Any thread: the newest value; the caller's reference. */
void *replica_take(struct replica *r);
/* A thread that may block and is no loop's: waits until changes that were told before this call are
 * with every loop. False: not within timeout_ms. */
bool replica_wait(struct replica *r, unsigned timeout_ms);

#endif
