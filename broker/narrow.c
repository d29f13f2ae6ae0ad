/*
 * What somebody may changes while his session lives: subscriptions that he may not have any more
 * go, with the messages that came by them, and a will that he may not have. What he may receive is
 * asked of each message anyway (receive.c).
 */
#include "broker/client.h"
#include "broker/denied.h"
#include "broker/mem.h"
#include "broker/receive.h"
#include "broker/share.h"
#include "server/base/err.h"
#include "server/base/log.h"
#include "server/base/metrics.h"

/* Whether a row with this principal stays as it is; when its credential expires is not kept. */
static bool same_principal(const struct principal *a, const struct principal *b)
{
	return a->kind == b->kind && a->perms == b->perms && a->via_key == b->via_key &&
	        memcmp(a->credential_tag, b->credential_tag, sizeof(a->credential_tag)) == 0 &&
	        slice_eq(principal_id(a), principal_id(b)) &&
	        slice_eq(principal_key_name(a), principal_key_name(b));
}

/* A subscription that goes, on its way out of the store. */
struct sub_gone {
	struct sub_write ask;
	char filter[];
};

static void gone_answered(struct mail *mail)
{
	struct sub_gone *g = container_of(mail, struct sub_gone, ask.req.mail);
	if (g->ask.req.err)
		log_error("a subscription that was taken away stays in the store",
		        F_U64("session", g->ask.session_id),
		        F_STR("error", err_text(g->ask.req.err)));
	free(g);
}

static void forget_row(struct session *s, struct slice filter)
{
	const struct session_store *store = &s->shard->b->sessions_store;
	struct sub_gone *g = mem_new(sizeof(*g) + filter.n);
	memcpy(g->filter, filter.p, filter.n);
	g->ask.req.mail.deliver = gone_answered;
	g->ask.req.reply_to = s->shard->box;
	g->ask.session_id = s->durable->id;
	g->ask.remove = true;
	g->ask.filter = slice_make(g->filter, filter.n);
	store->sub_write(store->ctx, &g->ask);
}

/* Whether anything was taken away. */
static bool narrow_subs(struct session *s)
{
	const struct broker_hooks *hooks = &s->shard->b->hooks;
	struct sub *sub, *next;
	unsigned n = s->n_subs;
	for (sub = LIST_FIRST(&s->subs); sub; sub = next) {
		struct slice filter = sub_text(sub);
		next = LIST_NEXT(sub, entry);
		if (hooks->may_subscribe(hooks->ctx, s->principal, filter))
			continue;
		log_info("a subscription is not allowed any more",
		        F_SLICE("client", session_client_id(s)), F_SLICE("filter", filter));
		metric_inc(METRIC_SUBSCRIPTIONS_REVOKED);
		if (s->durable)
			forget_row(s, filter);
		sub_leave(s, sub);
	}
	return s->n_subs < n;
}

void session_take(struct session *s, struct principal *p)
{
	if (s->principal == p && !s->unjudged)
		return;
	if (s->durable && !same_principal(s->principal, p))
		s->durable->other_principal = true;
	struct principal *before = s->principal;
	s->principal = principal_ref(p);
	principal_unref(before);
	s->unjudged = false;
	receive_begin(s);
	out_judge_again(s);
	if (s->durable)
		s->durable->unjudged_to = s->durable->stored_to;
	if (narrow_subs(s)) {
		out_narrowed(s);
		if (s->client && s->client->sub_job)
			subscribe_narrowed(s->client->sub_job);
	}
	share_tell_who(s);
}

void session_judge_will(struct session *s)
{
	const struct msg *m = s->will ? s->will->msg : NULL;
	if (!m || publish_judge(s->shard, s->principal, msg_topic(m), m->retain).allowed)
		return;
	log_info("a will is not allowed any more", F_SLICE("client", session_client_id(s)));
	denied_publish(s->principal, msg_topic(m));
	s->will = will_free(s->shard, s->will);
	durable_write(s);
}
