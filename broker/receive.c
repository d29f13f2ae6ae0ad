#include "broker/receive.h"

#include "broker/mem.h"
#include "broker/topic.h"

#define KEPT 4
#define KEPT_TOPIC_MAX 112 /* what is decided for a longer one is not kept */

/* What policy said of one topic and one publisher. */
struct verdict {
	struct access *from; /* a reference, so that no other one gets its address */
	uint64_t decided_ms; /* see DECISION_MS */
	uint8_t len;         /* 0: unused; topics are never empty */
	bool allowed;
	char topic[KEPT_TOPIC_MAX];
};

struct verdicts {
	unsigned next; /* the one that is replaced next */
	struct verdict v[KEPT];
};

static struct verdict *find(
        struct verdicts *k, struct slice topic, const struct access *from, uint64_t now)
{
	for (unsigned i = 0; i < KEPT; i++) {
		struct verdict *v = &k->v[i];
		if (v->len == topic.n && v->from == from && now < v->decided_ms + DECISION_MS &&
		        memcmp(v->topic, topic.p, topic.n) == 0)
			return v;
	}
	return NULL;
}

static void keep(struct session *s, struct slice topic, const struct access *from, bool allowed)
{
	struct verdicts *k = s->verdicts;
	struct verdict *v = &k->v[k->next++ % KEPT];
	v->decided_ms = shard_now(s->shard);
	access_unref(v->from);
	v->from = access_ref((struct access *)from);
	v->len = (uint8_t)topic.n;
	v->allowed = allowed;
	memcpy(v->topic, topic.p, topic.n);
}

bool receive_may(struct session *s, const struct msg *m, const struct access *from)
{
	const struct broker_hooks *hooks = &s->shard->b->hooks;
	struct slice topic = msg_topic(m);
	bool fits = topic.n <= KEPT_TOPIC_MAX;
	const struct verdict *v = fits ? find(s->verdicts, topic, from, shard_now(s->shard)) : NULL;
	if (v)
		return v->allowed;
	bool allowed = hooks->may_receive(hooks->ctx, s->principal, topic, from);
	if (fits)
		keep(s, topic, from, allowed);
	return allowed;
}

void receive_end(struct session *s)
{
	if (!s->filters)
		return;
	for (unsigned i = 0; i < KEPT; i++)
		access_unref(s->verdicts->v[i].from);
	free(s->verdicts);
	s->verdicts = NULL;
	s->filters = false;
	atomic_fetch_sub_explicit(&s->shard->b->filtering, 1, memory_order_relaxed);
}

void receive_begin(struct session *s)
{
	const struct broker_hooks *hooks = &s->shard->b->hooks;
	receive_end(s);
	/* What a restored session may is not known yet: nothing is delivered to it before it is. */
	if (s->unjudged || !hooks->filters_receive(hooks->ctx, s->principal))
		return;
	s->filters = true;
	s->verdicts = mem_new(sizeof(*s->verdicts));
	atomic_fetch_add_explicit(&s->shard->b->filtering, 1, memory_order_relaxed);
}

bool receive_wanted(struct session *s, const struct msg *m, struct slice group)
{
	const struct sub *sub = NULL;
	if (group.n > 0)
		return session_sub(s, group) != NULL;
	LIST_FOREACH (sub, &s->subs, entry) {
		if (!sub->shared && !sub->silent && topic_matches(sub_text(sub), msg_topic(m)))
			return true;
	}
	return false;
}
