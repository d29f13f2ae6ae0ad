#include "broker/client.h"
#include "broker/mem.h"
#include "broker/quota.h"
#include "server/base/metrics.h"

struct will *will_free(struct shard *sh, struct will *w)
{
	if (!w)
		return NULL;
	quota_will_add(sh, -(int64_t)msg_size(w->msg));
	msg_unref(w->msg);
	free(w);
	return NULL;
}

void will_set(struct session *s, const struct will *w)
{
	s->will = will_free(s->shard, s->will);
	s->will = mem_new(sizeof(*s->will));
	*s->will = *w;
	quota_will_add(s->shard, (int64_t)msg_size(w->msg));
}

/* A will is published as its owner would publish it now: policy is asked again, and it is stored.
 * Its owner is gone, so nobody hears of the outcome. */
void will_publish(struct session *s)
{
	struct shard *sh = s->shard;
	struct will *w = TAKE_PTR(s->will);
	struct msg *m = w->msg;
	struct topic_rule rule = publish_judge(sh, s->principal, msg_topic(m));
	if (!rule.allowed) {
		metric_inc(METRIC_PUBLISH_DENIED);
		will_free(sh, w);
		return;
	}
	/* Nobody else has seen the message yet: its times begin now. */
	m->received_us = loop_wall_us(sh->loop);
	m->expires = w->has_expiry;
	m->expires_ms = w->has_expiry ? shard_now(sh) + w->expiry * 1000ull : MSG_NO_EXPIRY;
	struct ticket *t = ticket_new(sh, s->principal, true);
	publish_accept(sh, m, &rule, s, t);
	ticket_settle(t, 0);
	will_free(sh, w);
}
