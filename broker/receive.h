/*
 * Private to the room: whether a message may be given to a session. Policy is asked of each
 * delivery where it filters what the session's principal receives; what it said of the last few
 * topics is kept. Others are not asked for at all.
 */
#ifndef HF_BROKER_RECEIVE_H
#define HF_BROKER_RECEIVE_H

#include "broker/session.h"

/* Whether policy lets the session have the message; from: its publisher's first part, NULL: not
 * known. Only where s->filters. No allocation, no lock. */
bool receive_may(struct session *s, const struct msg *m, const struct access *from);
/* The session has another principal, or it was made: what was decided is decided again. */
void receive_begin(struct session *s);
void receive_end(struct session *s);
/* Whether a subscription that the session has takes the message. group: the text of the shared
 * group that it came by; empty: none. */
bool receive_wanted(struct session *s, const struct msg *m, struct slice group);

/* Notes in a new message whose it is, where anybody's deliveries depend on it. */
static inline void receive_sign(
        const struct shard *sh, struct msg *m, const struct principal *publisher)
{
	if (!m->from && atomic_load_explicit(&sh->b->filtering, memory_order_relaxed) > 0)
		m->from = access_ref(publisher->access[0]);
}

#endif
