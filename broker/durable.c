/*
 * The rows of durable sessions: written when one begins, when its terms change, when its client
 * comes or goes, and when it ends.
 */
#include "broker/durable.h"

#include "broker/client.h"
#include "broker/mem.h"
#include "broker/queue_store.h"
#include "server/base/log.h"

enum durable_due { DUE_NOTHING, DUE_TOUCH, DUE_PUT };

struct session_keep {
	struct session_write ask;
	struct shard *shard;
	struct session *session; /* NULL: it has ended, or this is its end */
	char key[];
};

static void keep_free(struct session_keep *k)
{
	principal_unref(k->ask.row.principal);
	msg_unref(k->ask.row.will.msg);
	shard_busy(k->shard, -1);
	free(k);
}

static uint64_t will_tag(const struct session_will *w)
{
	if (!w->msg)
		return 0;
	const struct msg *m = w->msg;
	const uint64_t terms[] = {w->delay, w->has_expiry, w->expiry, m->qos, m->retain,
	        m->topic_len, m->props_len,
	        hash_bytes(m->bytes, (size_t)m->topic_len + m->props_len + m->payload_len)};
	uint64_t h = hash_bytes(terms, sizeof(terms));
	return h ? h : 1;
}

/* ---- one write ---- */

static void row_send(struct session *s, enum session_op op);

static void row_answered(struct mail *mail)
{
	struct session_keep *k = container_of(mail, struct session_keep, ask.req.mail);
	struct session *s = k->session;
	int err = k->ask.req.err;
	if (err)
		log_error("a session cannot be kept", F_U64("session", k->ask.row.id),
		        F_STR("error", err_text(err)));
	keep_free(k);
	if (!s)
		return;
	s->durable->writing = NULL;
	durable_write_due(s);
	if (s->joining)
		connect_kept(s, err);
}

static struct session_keep *keep_new(struct shard *sh, enum session_op op, uint64_t id, size_t key)
{
	struct session_keep *k = mem_new(sizeof(*k) + key);
	k->shard = sh;
	k->ask.req.mail.deliver = row_answered;
	k->ask.req.reply_to = sh->box;
	k->ask.op = op;
	k->ask.row.id = id;
	shard_busy(sh, 1);
	return k;
}

static void row_send(struct session *s, enum session_op op)
{
	const struct session_store *store = &s->shard->b->sessions_store;
	struct durable *d = s->durable;
	struct session_keep *k = keep_new(s->shard, op, d->id, s->key_len);
	struct session_row *row = &k->ask.row;
	memcpy(k->key, s->key, s->key_len);
	row->key = slice_make(k->key, s->key_len);
	row->client_id_off = s->id_off;
	row->principal = principal_ref(s->principal);
	row->expiry = s->expiry;
	row->offline_us = s->client || s->joining ? 0 : s->gone_us;
	row->will = will_of_row(s);
	if (row->will.msg)
		msg_ref(row->will.msg);
	d->will_tag = will_tag(&row->will);
	d->due = DUE_NOTHING;
	d->writing = k;
	k->session = s;
	store->session_write(store->ctx, &k->ask);
}

void durable_write_due(struct session *s)
{
	struct durable *d = s->durable;
	if (d && d->due && !d->writing && !d->held)
		row_send(s, d->due == DUE_PUT ? SESSION_PUT : SESSION_TOUCH);
}

void durable_write(struct session *s)
{
	struct durable *d = s->durable;
	if (!d)
		return;
	const struct session_will will = will_of_row(s);
	/* A will that went is left out by a touch; one that came or changed needs the whole row. */
	bool whole = d->other_principal || (will.msg && will_tag(&will) != d->will_tag);
	d->other_principal = false;
	if (d->due != DUE_PUT)
		d->due = whole ? DUE_PUT : DUE_TOUCH;
	durable_write_due(s);
}

void durable_write_changed(struct session *s)
{
	if (s->durable && s->durable->other_principal)
		durable_write(s);
}

void durable_forget(struct shard *sh, uint64_t id)
{
	const struct session_store *store = &sh->b->sessions_store;
	store->session_write(store->ctx, &keep_new(sh, SESSION_END, id, 0)->ask);
}

/* ---- life ---- */

static struct durable *durable_new(struct session *s, uint64_t id)
{
	s->durable = mem_new(sizeof(*s->durable));
	s->durable->id = id;
	TAILQ_INIT(&s->durable->leaving);
	atomic_fetch_add_explicit(&s->shard->keepers, 1, memory_order_relaxed);
	return s->durable;
}

void durable_begin(struct session *s)
{
	struct durable *d = durable_new(s, session_id_new(slice_make(s->key, s->key_len)));
	/* Its row would displace that of the session before it, with what is in the queue there. */
	d->held = farewell_under_way(s);
	if (!d->held)
		row_send(s, SESSION_PUT);
}

void durable_go_on(struct session *s)
{
	if (!s->durable || !s->durable->held)
		return;
	s->durable->held = false;
	row_send(s, SESSION_PUT);
}

void durable_restored(
        struct session *s, const struct session_row *row, const struct queue_stats *queue)
{
	struct durable *d = durable_new(s, row->id);
	d->cold = d->fresh = true;
	d->had_client = row->offline_us == 0;
	d->due = d->had_client ? DUE_TOUCH : DUE_NOTHING; /* nobody is there any more */
	d->will_tag = will_tag(&row->will);
	d->stored_to = d->unjudged_to = queue->last;
	d->tail_count = queue->count;
	d->tail_bytes = queue->bytes;
}

void durable_discard(struct session *s)
{
	struct durable *d = s->durable;
	if (!d)
		return;
	if (d->writing)
		d->writing->session = NULL;
	wills_let_go(s, NULL);
	tail_abandon(s);
	if (s->share)
		atomic_fetch_sub_explicit(&s->shard->b->durable_members, 1, memory_order_relaxed);
	atomic_fetch_sub_explicit(&s->shard->keepers, 1, memory_order_relaxed);
	free(d);
	s->durable = NULL;
}

void durable_end(struct session *s)
{
	struct durable *d = s->durable;
	if (!d)
		return;
	if (!TAILQ_EMPTY(&d->leaving) && !d->held)
		wills_let_go(s, farewell_receipt(s));
	if (!d->held && !farewell(s)) /* the store never heard of one that is held */
		durable_forget(s->shard, d->id);
	durable_discard(s);
}
