/*
 * What a custom authoriser has granted to somebody who is connected: kept as the proof of its
 * principal, asked for again when the authoriser wants it. Private to the registry.
 */
#ifndef HF_REGISTRY_AUTHORIZER_GRANT_H
#define HF_REGISTRY_AUTHORIZER_GRANT_H

#include "registry/authorizer_call.h"
#include "registry/credential.h"

struct grant;

/* On the shard's loop. event: the question, to be asked again after answer->refresh_s, taken; empty
 * where that is 0. access: the caller's reference is taken. NULL when out of memory (then both are
 * still the caller's). */
struct grant *grant_new(struct shard *s, struct authorizer *au, struct custom_answer *answer,
        struct access *access, struct buf *event, const char *peer);
struct proof *grant_proof(struct grant *g);
/* The principal is made: from here on the authoriser is asked again in time. */
void grant_begin(struct grant *g);

/* What the policies of an answer come to: 0 with *ret (NULL: there are none); ERR_INVALID: one of
 * them is none, or out of memory. */
int grant_access(struct registry *r, const struct custom_answer *answer, struct access **ret);

/* For rechecks, on any loop. Whether it still stands. */
bool grant_stands(const struct principal *p);
/* What it allows, under the rules in force on the loop: a reference. 0, ERR_UNAVAILABLE. */
int grant_access_now(const struct principal *p, struct access **ret);

/* After the loops have stopped: forgets the shard's grants. */
void grants_drop(struct shard *s);

#endif
