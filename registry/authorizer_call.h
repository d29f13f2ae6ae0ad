/*
 * Asking custom authorisers, on a loop: each loop has a desk of its own with its cache of answers,
 * its calls under way and its breakers, so nothing here is locked. Private to the registry;
 * everything on the desk's loop.
 *
 * Bounds: CALLS_MAX calls under way to one authoriser, half of them for one address; the next wait
 * in order, up to WAITING_MAX. The same question is asked once, whoever waits for it. After
 * BREAKER_FAILURES failures in a row an authoriser is left alone for a while that doubles, then one
 * call tries again.
 */
#ifndef HF_REGISTRY_AUTHORIZER_CALL_H
#define HF_REGISTRY_AUTHORIZER_CALL_H

#include "registry/auth/custom_answer.h"
#include "registry/authorizers.h"
#include "registry/private.h"

#define CALLS_MAX 32
#define WAITING_MAX 1024
#define BREAKER_FAILURES 5
#define BREAKER_MS 5000 /* the first time */
#define BREAKER_MS_MAX 60000
#define ANSWERS_MAX 4096     /* in a desk's cache */
#define ANSWER_NO_CACHE_S 10 /* how long a refusal is kept at most */

/* One who waits for an answer; zeroed, with done. */
struct authorizer_ask {
	struct authorizer_ask *next, **prev; /* of the call */
	struct authorizer_call *call;        /* NULL: does not wait */
	/* Called once, at once or later. DENY_NONE with an answer that allows (borrowed);
	 * DENY_AUTHORIZER; DENY_AUTHORIZER_FAILED; DENY_BUDGET: too many wait. */
	void (*done)(
	        struct authorizer_ask *ask, enum deny_reason why, struct custom_answer *answer);
};

/* NULL when out of memory. s outlives it. */
struct desk *desk_new(struct shard *s);
/* After the loop has stopped; calls that are under way are not told. NULL is fine. */
void desk_free(struct desk *d);

/* Asks. event: begun by custom_event_begin; taken. peer: who it is for ("address:port"). afresh:
 * not from the cache. */
void authorizer_ask(struct desk *d, struct authorizer *au, struct buf *event, const char *peer,
        bool afresh, struct authorizer_ask *ask);
/* Who waits does no longer; harmless where he does not. */
void authorizer_ask_drop(struct authorizer_ask *ask);

#endif
