#include "broker/client.h"
#include "broker/denied.h"
#include "broker/mem.h"
#include "broker/quota.h"
#include "broker/receive.h"
#include "server/base/metrics.h"

/*
 * The will of a durable session is in its row until those who get it have it: only then the row is
 * written without it, or forgotten. A hub that dies in between publishes it again.
 */
struct leaving {
	struct broker_publish call;
	TAILQ_ENTRY(leaving) entry; /* of the session's, the oldest first */
	struct session *session;    /* NULL: it has ended */
	struct receipt *then;       /* waits until the will is out; NULL: nobody */
	struct session_will will;
};

struct session_will *will_free(struct shard *sh, struct session_will *w)
{
	if (!w)
		return NULL;
	quota_will_add(sh, -(int64_t)msg_size(w->msg));
	msg_unref(w->msg);
	free(w);
	return NULL;
}

void will_set(struct session *s, const struct session_will *w)
{
	s->will = will_free(s->shard, s->will);
	s->will = mem_new(sizeof(*s->will));
	*s->will = *w;
	quota_will_add(s->shard, (int64_t)msg_size(w->msg));
}

struct session_will will_of_row(const struct session *s)
{
	const struct leaving *oldest = TAILQ_FIRST(&s->durable->leaving);
	if (oldest)
		return oldest->will;
	return s->will ? *s->will : (struct session_will){0};
}

void wills_let_go(struct session *s, struct receipt *then)
{
	struct leaving_list *list = &s->durable->leaving;
	struct leaving *l = NULL;
	while ((l = TAILQ_FIRST(list)) != NULL) {
		TAILQ_REMOVE(list, l, entry);
		l->then = then;
		if (then)
			then->waiting++;
		l->session = NULL;
	}
}

static void will_out(struct broker_publish *p)
{
	struct leaving *l = container_of(p, struct leaving, call);
	if (l->session) {
		TAILQ_REMOVE(&l->session->durable->leaving, l, entry);
		durable_write(l->session);
	} else if (l->then) {
		receipt_give(l->then, 0);
	}
	msg_unref(l->will.msg);
	free(l);
}

static struct leaving *leaving_new(struct session *s, const struct session_will *w)
{
	struct leaving *l = mem_new(sizeof(*l));
	l->call.done = will_out;
	l->session = s;
	l->will = *w;
	msg_ref(w->msg);
	TAILQ_INSERT_TAIL(&s->durable->leaving, l, entry);
	return l;
}

/* A will is published as its owner would publish it now: policy is asked again, and it is stored.
 * Its owner is gone, so nobody hears of the outcome. */
bool will_publish(struct session *s)
{
	struct shard *sh = s->shard;
	struct session_will *w = TAKE_PTR(s->will);
	struct msg *m = w->msg;
	struct topic_rule rule = publish_judge(sh, s->principal, msg_topic(m), m->retain);
	if (s->unjudged || !rule.allowed) {
		denied_publish(s->principal, msg_topic(m));
		will_free(sh, w);
		return false;
	}
	/* Nobody else has seen the message yet: its times begin now. */
	m->device_key = s->principal->device_key;
	receive_sign(sh, m, s->principal);
	m->received_us = loop_wall_us(sh->loop);
	m->expires = w->has_expiry;
	m->expires_ms = w->has_expiry ? shard_now(sh) + w->expiry * 1000ull : MSG_NO_EXPIRY;
	struct ticket *t = ticket_new(sh, s->principal, true);
	if (s->durable)
		t->call = &leaving_new(s, w)->call;
	publish_accept(sh, m, &rule, s, t);
	ticket_settle(t, 0);
	will_free(sh, w);
	return true;
}
