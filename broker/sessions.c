/* What the API asks and orders about sessions: all of one client id have one home, which answers.
 */
#include "broker/client.h"
#include "broker/mem.h"
#include "server/base/err.h"

/* The next session with that client id behind s (NULL: the first one). */
static struct session *next_session(
        const struct shard *sh, const struct session *s, struct slice client_id)
{
	struct session *next = s ? LIST_NEXT(s, all) : LIST_FIRST(&sh->session_list);
	while (next && !slice_eq(session_client_id(next), client_id))
		next = LIST_NEXT(next, all);
	return next;
}

/* ---- what there is ---- */

struct listing {
	struct mail mail;
	struct mail_wait wait;
	struct shard *shard;
	struct slice client_id;
	unsigned limit, n;
	struct broker_session *list;
	int err;
};

static int describe_subs(const struct session *s, struct broker_session *ret)
{
	const struct sub *sub = NULL;
	ret->subs = calloc(s->n_subs + 1u, sizeof(*ret->subs));
	if (!ret->subs)
		return ERR_NOMEM;
	LIST_FOREACH (sub, &s->subs, entry) {
		struct slice filter = sub_text(sub);
		struct broker_session_sub *to = &ret->subs[ret->n_subs];
		*to = (struct broker_session_sub){
		        .filter = strndup((const char *)filter.p, filter.n),
		        .qos = sub->qos,
		        .no_local = sub->no_local,
		        .retain_as_published = sub->retain_as_published,
		        .id = sub->id,
		};
		if (!to->filter)
			return ERR_NOMEM;
		ret->n_subs++;
	}
	return 0;
}

static int64_t wall_of(const struct session *s, uint64_t at_ms)
{
	uint64_t now = shard_now(s->shard);
	int64_t left_ms = at_ms > now ? (int64_t)(at_ms - now) : 0;
	return loop_wall_us(s->shard->loop) + left_ms * 1000;
}

static int describe(const struct session *s, struct broker_session *ret)
{
	struct slice client_id = session_client_id(s), name = principal_id(s->principal);
	const struct durable *d = s->durable;
	*ret = (struct broker_session){
	        .client_id = strndup((const char *)client_id.p, client_id.n),
	        .principal = strndup((const char *)name.p, name.n),
	        .kind = principal_kind_name(s->principal->kind),
	        .connected = s->client != NULL,
	        .durable = d != NULL,
	        .expiry = s->expiry,
	        .offline_us = s->client ? 0 : s->gone_us,
	        .inflight = s->out.live,
	        .queued = s->out.queue.count + (d ? d->tail_count : 0),
	        .queued_bytes = s->out.queued_bytes + (d ? d->tail_bytes : 0),
	        .has_will = s->will != NULL,
	};
	if (!s->client && s->expire_at != UINT64_MAX)
		ret->expires_us = wall_of(s, s->expire_at);
	return ret->client_id && ret->principal ? describe_subs(s, ret) : ERR_NOMEM;
}

static void list_here(struct mail *mail)
{
	struct listing *l = container_of(mail, struct listing, mail);
	const struct session *s = NULL;
	unsigned n = 0;
	while ((s = next_session(l->shard, s, l->client_id)) != NULL)
		n++;
	n = n < l->limit ? n : l->limit;
	l->list = calloc(n + 1u, sizeof(*l->list));
	l->err = l->list ? 0 : ERR_NOMEM;
	while (!l->err && l->n < n) {
		s = next_session(l->shard, s, l->client_id);
		l->err = describe(s, &l->list[l->n++]);
	}
	mail_wait_done(&l->wait);
}

int broker_sessions(struct broker *b, struct slice client_id, unsigned limit,
        struct broker_session **ret, unsigned *ret_n)
{
	struct listing l = {
	        .mail.deliver = list_here,
	        .shard = broker_home_client(b, client_id),
	        .client_id = client_id,
	        .limit = limit,
	};
	int err = mail_wait_init(&l.wait, 1);
	if (err)
		return err;
	mail_send(l.shard->box, &l.mail);
	mail_wait_for(&l.wait, -1);
	mail_wait_free(&l.wait);
	if (l.err) {
		broker_sessions_free(l.list, l.n);
		return l.err;
	}
	*ret = l.list;
	*ret_n = l.n;
	return 0;
}

void broker_sessions_free(struct broker_session *list, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		for (unsigned k = 0; k < list[i].n_subs; k++)
			free(list[i].subs[k].filter);
		free(list[i].subs);
		free(list[i].client_id);
		free(list[i].principal);
	}
	free(list);
}

/* ---- ending them ---- */

/* The order and its answer: the worker's, until the home says so. */
struct ending {
	struct mail mail;
	struct mail_wait wait;
	struct shard *shard;
	struct slice client_id;
	unsigned n;
	int err;
};

/* What the store is still to answer: the home's. */
struct awaited {
	struct ending *ending; /* NULL: the worker does not wait any longer */
	struct shard *shard;
	struct loop_timer timer;
	unsigned waiting;
	int err;
};

struct session_gone {
	struct session_write ask;
	struct awaited *of;
};

static void answer(struct awaited *a, int err)
{
	struct ending *e = TAKE_PTR(a->ending);
	loop_timer_cancel(&a->timer);
	if (!e)
		return;
	e->err = err;
	mail_wait_done(&e->wait);
}

static void out_of_time(struct loop_timer *t, struct loop *loop HF_UNUSED)
{
	answer(container_of(t, struct awaited, timer), ERR_UNAVAILABLE);
}

static void awaited_settle(struct awaited *a, int err)
{
	a->err = err ? err : a->err;
	if (--a->waiting > 0)
		return;
	answer(a, a->err);
	free(a);
}

static void gone_answered(struct mail *mail)
{
	struct session_gone *g = container_of(mail, struct session_gone, ask.req.mail);
	struct awaited *a = g->of;
	int err = g->ask.req.err;
	shard_busy(a->shard, -1);
	free(g);
	awaited_settle(a, err);
}

/* The session's own end has been asked for: asked once more, the store's answer comes after it. */
static void await_end(struct awaited *a, uint64_t id)
{
	const struct session_store *store = &a->shard->b->sessions_store;
	struct session_gone *g = mem_new(sizeof(*g));
	g->of = a;
	g->ask.req.mail.deliver = gone_answered;
	g->ask.req.reply_to = a->shard->box;
	g->ask.op = SESSION_END;
	g->ask.row.id = id;
	a->waiting++;
	shard_busy(a->shard, 1);
	store->session_write(store->ctx, &g->ask);
}

static void end_one(struct session *s)
{
	struct broker_client *c = s->client;
	if (!c) {
		session_end(s);
		return;
	}
	s->expiry = 0;
	client_end(c, END_ADMINISTRATIVE);
	client_detach(c);
}

static void end_here(struct mail *mail)
{
	struct ending *e = container_of(mail, struct ending, mail);
	struct awaited *a = mem_new(sizeof(*a));
	*a = (struct awaited){
	        .ending = e, .shard = e->shard, .timer.fire = out_of_time, .waiting = 1};
	struct session *s = next_session(e->shard, NULL, e->client_id);
	while (s) {
		struct session *next = next_session(e->shard, s, e->client_id);
		uint64_t kept = s->durable ? s->durable->id : 0;
		end_one(s);
		if (kept)
			await_end(a, kept);
		e->n++;
		s = next;
	}
	loop_timer_set(e->shard->loop, &a->timer, shard_limits(e->shard)->lookup_ms);
	awaited_settle(a, 0);
}

int broker_sessions_delete(struct broker *b, struct slice client_id, unsigned *ret_n)
{
	struct ending e = {.mail.deliver = end_here,
	        .shard = broker_home_client(b, client_id),
	        .client_id = client_id};
	int err = mail_wait_init(&e.wait, 1);
	if (err)
		return err;
	mail_send(e.shard->box, &e.mail);
	mail_wait_for(&e.wait, -1);
	mail_wait_free(&e.wait);
	if (!e.err)
		*ret_n = e.n;
	return e.err;
}
