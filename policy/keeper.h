/*
 * The thread of policy that may block: writes the bans that this hub makes to the store, takes away
 * those that are over, and has the rules read anew when one of them expires. Private to the room.
 */
#ifndef HF_POLICY_KEEPER_H
#define HF_POLICY_KEEPER_H

#include "policy/bans.h"

struct keeper;

/* NULL when out of memory. Main thread. */
struct keeper *keeper_new(struct policy *p);
int keeper_start(struct keeper *k); /* 0 or ERR_NOMEM */
/* Before the rules' thread stops: the keeper ends as soon as it can; keeper_stop waits
 * for it. What is noted afterwards is noted for nobody. */
void keeper_hurry(struct keeper *k);
void keeper_stop(struct keeper *k);
struct keeper *keeper_free(struct keeper *k); /* NULL is fine; returns NULL */

/* A ban of this process's: whom it hits in ban_slots. Past a bound it is dropped: it holds here
 * alone then. Any thread. */
void keeper_note(struct keeper *k, const struct ban *b, uint64_t whom);
/* The rules have changed: when one of them expires is to be looked up again. Any thread. */
void keeper_poke(struct keeper *k);

#endif
