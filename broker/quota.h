/*
 * Private to the room: what one session, device or all of them together may hold where the sum is
 * over all loops. Counted in atomics, so a limit may be passed by what the loops do in one moment.
 */
#ifndef HF_BROKER_QUOTA_H
#define HF_BROKER_QUOTA_H

#include "broker/session.h"

/* Whether the session may ask for a subscription (fresh: for one that it does not have). While the
 * store has no room a session that is kept may not: each one would wait there. */
bool quota_sub_may(const struct session *s, bool fresh);
/* Takes what a subscription to filter counts for; apart: it is shared or silent. False: there is
 * not enough for all sessions, or it is more than one session's part. */
bool quota_sub_take(struct session *s, struct slice filter, bool apart);
/* The session holds it no more. */
void quota_sub_give(struct session *s, struct slice filter, bool apart);

/* Whether the device may retain m beside what it retains; what m replaces is given back. On the
 * home shard of m's topic. */
bool quota_retained_fits(const struct shard *sh, const struct msg *m, uint64_t device_key);

/* Whether there is memory for this will beside those of all sessions; and what is taken (n > 0) and
 * given back. */
bool quota_will_fits(const struct shard *sh, const struct msg *msg);
void quota_will_add(struct shard *sh, int64_t n);

#endif
