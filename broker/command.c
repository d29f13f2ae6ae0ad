#include "broker/command.h"

#include <assert.h>

#include "broker/client.h"
#include "broker/mem.h"
#include "broker/queue_store.h"
#include "broker/receive.h"
#include "broker/topic.h"
#include "server/base/err.h"
#include "server/base/metrics.h"

#define PAGE_BYTES (1u << 20)
#define COUNT_MS 1000 /* a full queue is counted anew this often: commands expire in the store */
#define IDS_MAX 16

struct commands {
	uint64_t device_key;
	uint64_t generation; /* answers that were for an earlier queue of the device find nothing */
	/* In the store is n <= stored_to; to the device went n <= loaded_to, before this moment or
	 * before its session ended (n <= again_to: again). */
	uint64_t stored_to, loaded_to, again_to;
	uint64_t counted_ms;
	unsigned count;   /* in the store, or on their way there */
	unsigned gone;    /* how often one went: a count during which one did is worth nothing */
	unsigned pending; /* appends and reads under way: it stays */
	bool loading;
	uint8_t id_len;
	char id[];
};

static struct commands *commands_find(const struct shard *sh, uint64_t device_key)
{
	return map_get(&sh->commands, slice_make(&device_key, sizeof(device_key)));
}

/* That which an answer is for, or NULL. */
static struct commands *commands_asked(
        const struct shard *sh, uint64_t device_key, uint64_t generation)
{
	struct commands *q = commands_find(sh, device_key);
	return q && q->generation == generation ? q : NULL;
}

static struct commands *commands_get(struct shard *sh, uint64_t device_key, struct slice id)
{
	struct commands *q = commands_find(sh, device_key);
	if (q || id.n > UINT8_MAX)
		return q;
	q = mem_new(sizeof(*q) + id.n);
	q->device_key = device_key;
	q->generation = ++sh->commands_generation;
	q->stored_to = q->loaded_to = sh->commands_from;
	q->id_len = (uint8_t)id.n;
	memcpy(q->id, id.p, id.n);
	if (map_put(&sh->commands, slice_make(&q->device_key, sizeof(q->device_key)), q, NULL) == 0)
		return q;
	free(q);
	return NULL;
}

static void commands_drop(struct shard *sh, struct commands *q)
{
	map_remove(&sh->commands, slice_make(&q->device_key, sizeof(q->device_key)));
	if (q->stored_to > sh->commands_from)
		sh->commands_from = q->stored_to;
	free(q);
}

/* A queue that is empty need not be known. */
static void commands_tidy(struct shard *sh, struct commands *q)
{
	if (q->count == 0 && q->pending == 0)
		commands_drop(sh, q);
}

/* One of the answers that it stays for has been dealt with. */
static void commands_answered(struct shard *sh, struct commands *q)
{
	assert(q->pending > 0);
	q->pending--;
	commands_tidy(sh, q);
}

void commands_forget(struct shard *sh, uint64_t device_key)
{
	struct commands *q = commands_find(sh, device_key);
	if (q)
		commands_drop(sh, q);
}

void commands_free(struct shard *sh)
{
	struct commands *q;
	size_t pos = 0;
	while ((q = map_next(&sh->commands, &pos)) != NULL)
		free(q);
	map_free(&sh->commands);
}

int commands_restored(struct broker *b, uint64_t device_key, struct slice device_id,
        const struct queue_stats *queue)
{
	struct shard *sh = broker_home_client(b, device_id);
	const struct session *s = session_find_device(sh, device_id);
	if (device_id.n == 0 || device_id.n > UINT8_MAX)
		return ERR_INVALID;
	struct commands *q = commands_get(sh, device_key, device_id);
	if (!q)
		return ERR_NOMEM;
	q->count = queue->count;
	q->stored_to = queue->last;
	q->loaded_to = 0;
	/* They may have been on their way to a device that was connected. */
	if (s && s->durable && s->durable->had_client)
		q->again_to = queue->last;
	return 0;
}

static void commands_lost(struct commands *q)
{
	q->count -= q->count > 0;
	q->gone++;
}

static void commands_removed(struct shard *sh, struct commands *q, uint64_t n)
{
	queue_remove(sh, COMMAND_QUEUE(q->device_key), n);
	commands_lost(q);
}

/* ---- to the device ---- */

static struct session *device_session(const struct shard *sh, const struct commands *q)
{
	struct session *s = session_find_device(sh, slice_make(q->id, q->id_len));
	return s && s->principal->device_key == q->device_key ? s : NULL;
}

/* What the session's subscriptions say about a topic. False: none matches. */
static bool match(const struct session *s, struct slice topic, struct out_spec *d,
        uint32_t ids[static IDS_MAX])
{
	const struct sub *sub = NULL;
	bool any = false;
	d->ids = ids;
	LIST_FOREACH (sub, &s->subs, entry) {
		if (sub->shared || sub->silent || !topic_matches(sub_text(sub), topic))
			continue;
		any = true;
		d->qos = sub->qos > d->qos ? sub->qos : d->qos;
		if (sub->id && d->n_ids < IDS_MAX)
			ids[d->n_ids++] = sub->id;
	}
	d->qos = d->qos > 1 ? 1 : d->qos;
	return any;
}

/* Gives the next command to the session. sent: it was, before this hub. False: it waits for a
 * subscription, for the right to receive it or for room. */
static bool give(struct session *s, struct commands *q, struct msg *m, uint64_t n, bool sent)
{
	uint32_t ids[IDS_MAX];
	struct out_spec d = {.msg = m};
	if (!match(s, msg_topic(m), &d, ids) || (s->filters && !receive_may(s, m, NULL)))
		return false;
	if (!out_command(s, &d, n, sent || n <= q->again_to)) {
		s->commands_wait = true;
		return false;
	}
	q->loaded_to = n;
	if (d.qos == 0)
		commands_removed(s->shard, q, n);
	return true;
}

/* Expired, or not readable any more. */
static bool is_over(const struct shard *sh, const struct msg *m)
{
	return !m || msg_expired(m, shard_now(sh));
}

struct command_load {
	struct queue_load ask;
	struct shard *shard;
	uint64_t device_key, generation, stored_to;
};

static void take_page(struct session *s, struct commands *q, struct command_load *l)
{
	for (unsigned i = 0; i < l->ask.n; i++) {
		const struct queue_entry *e = &l->ask.entries[i];
		if (is_over(s->shard, e->msg)) {
			metric_inc(METRIC_DROPPED_EXPIRED);
			commands_removed(s->shard, q, e->n);
			q->loaded_to = e->n;
		} else if (!give(s, q, e->msg, e->n, e->packet_id != 0)) {
			return;
		}
	}
	/* What came after the question may be on the page already. */
	if (!l->ask.more && q->loaded_to < l->stored_to)
		q->loaded_to = l->stored_to;
}

static void page_answered(struct mail *mail)
{
	struct command_load *l = container_of(mail, struct command_load, ask.req.mail);
	struct shard *sh = l->shard;
	struct commands *q = commands_asked(sh, l->device_key, l->generation);
	struct session *s = NULL;
	bool on = false;
	if (q) {
		q->loading = false;
		s = device_session(sh, q);
		/* Otherwise the session that it was read for has ended. */
		on = s && session_writable(s) && l->ask.req.err == 0;
		uint64_t before = q->loaded_to;
		if (on && l->ask.after == before)
			take_page(s, q, l);
		on = on && (q->loaded_to > before || l->ask.after != before);
		commands_answered(sh, q);
	}
	queue_entries_free(l->ask.entries, l->ask.n);
	free(l);
	if (on)
		commands_pump(s);
}

void commands_pump(struct session *s)
{
	struct shard *sh = s->shard;
	const struct session_store *store = &sh->b->sessions_store;
	s->commands_wait = false;
	if (map_count(&sh->commands) == 0 || s->principal->kind != PRINCIPAL_DEVICE)
		return;
	struct commands *q = commands_find(sh, s->principal->device_key);
	if (!q || q->loading || q->loaded_to == q->stored_to || s->n_subs == 0 ||
	        !session_writable(s) || device_session(sh, q) != s)
		return;
	if (!out_command_room(s)) {
		s->commands_wait = true;
		return;
	}
	struct command_load *l = mem_new(sizeof(*l));
	l->shard = sh;
	l->device_key = q->device_key;
	l->generation = q->generation;
	l->stored_to = q->stored_to;
	l->ask.req.mail.deliver = page_answered;
	l->ask.req.reply_to = sh->box;
	l->ask.queue = COMMAND_QUEUE(q->device_key);
	l->ask.after = q->loaded_to;
	l->ask.max_rows = s->client->window;
	l->ask.max_bytes = PAGE_BYTES;
	q->loading = true;
	q->pending++;
	store->queue_load(store->ctx, &l->ask);
}

void command_settled(struct session *s, uint64_t n)
{
	uint64_t device_key = s->principal->device_key;
	struct commands *q = commands_find(s->shard, device_key);
	if (!q) {
		queue_remove(s->shard, COMMAND_QUEUE(device_key), n);
		return;
	}
	commands_removed(s->shard, q, n);
	commands_tidy(s->shard, q);
}

void commands_left(struct session *s)
{
	const struct out_ring *flight = &s->out.flight;
	if (map_count(&s->shard->commands) == 0)
		return;
	for (uint32_t i = 0; i < flight->count; i++) {
		struct out *o = out_ring_at(flight, i);
		if ((o->flags & (OUT_COMMAND | OUT_NOTED)) != OUT_COMMAND)
			continue;
		queue_sent(s->shard, COMMAND_QUEUE(s->principal->device_key), o->n);
		o->flags |= OUT_NOTED;
	}
}

void command_back(struct session *s, uint64_t n)
{
	struct commands *q = commands_find(s->shard, s->principal->device_key);
	if (!q)
		return;
	q->loaded_to = q->loaded_to < n ? q->loaded_to : n - 1;
	q->again_to = q->again_to > n ? q->again_to : n;
}

/* ---- from the API ---- */

struct command_in {
	struct queue_append ask;
	struct queue_load look;
	struct broker_command *p;
	struct shard *from, *home;
	uint64_t generation; /* of the queue that is asked for */
	/* When a count was asked for. */
	uint64_t stored_to;
	unsigned gone;
	int err;
};

static void command_done(struct command_in *in)
{
	struct broker_command *p = in->p;
	shard_busy(in->from, -1);
	p->err = in->err;
	free(in);
	p->done(p);
}

static void command_returned(struct mail *mail)
{
	command_done(container_of(mail, struct command_in, ask.req.mail));
}

static void command_return(struct command_in *in, int err)
{
	in->err = err;
	if (in->from == in->home) {
		command_done(in);
		return;
	}
	in->ask.req.mail.deliver = command_returned;
	mail_post(in->from->box, &in->ask.req.mail);
}

static void command_kept(struct mail *mail)
{
	struct command_in *in = container_of(mail, struct command_in, ask.req.mail);
	struct shard *sh = in->home;
	struct commands *q = commands_asked(sh, in->p->device_key, in->generation);
	int err = in->ask.req.err;
	if (q) {
		struct session *s = device_session(sh, q);
		if (err)
			commands_lost(q);
		if (err == 0 && s && session_writable(s) && !q->loading &&
		        q->loaded_to + 1 == in->ask.n)
			give(s, q, in->p->msg, in->ask.n, false);
		else if (err == 0 && s)
			commands_pump(s);
		commands_answered(sh, q);
	}
	command_return(in, err);
}

static void command_append(struct command_in *in, struct commands *q)
{
	const struct session_store *store = &in->home->b->sessions_store;
	q->count++;
	q->pending++;
	in->generation = q->generation;
	in->ask.req.mail.deliver = command_kept;
	in->ask.req.reply_to = in->home->box;
	in->ask.queue = COMMAND_QUEUE(q->device_key);
	in->ask.n = ++q->stored_to;
	in->ask.msg = in->p->msg;
	in->ask.qos = 1;
	store->queue_append(store->ctx, &in->ask);
}

/* Nothing has gone since it was asked: of those that there were then the rows tell which are left
 * (what the device has is settled when it answers), and the later ones are all there. */
static void take_count(const struct command_in *in, struct commands *q)
{
	const struct queue_load *look = &in->look;
	unsigned alive = 0;
	for (unsigned i = 0; i < look->n && look->entries[i].n <= in->stored_to; i++) {
		const struct queue_entry *e = &look->entries[i];
		if (e->n <= q->loaded_to || !is_over(in->home, e->msg))
			alive++;
		else
			queue_remove(in->home, look->queue, e->n);
	}
	q->count = alive + (unsigned)(q->stored_to - in->stored_to);
}

/* Commands that have expired in the store make room without anybody saying so. */
static void counted(struct mail *mail)
{
	struct command_in *in = container_of(mail, struct command_in, look.req.mail);
	struct shard *sh = in->home;
	struct commands *q = commands_asked(sh, in->p->device_key, in->generation);
	int err = in->look.req.err;
	bool all = !in->look.more ||
	        (in->look.n > 0 && in->look.entries[in->look.n - 1].n >= in->stored_to);
	/* A page that is being read for the device may have some of the same rows. */
	if (q && !err && all && q->gone == in->gone && !q->loading)
		take_count(in, q);
	queue_entries_free(in->look.entries, in->look.n);
	if (!q) {
		command_return(in, ERR_NOT_FOUND);
		return;
	}
	err = err ? err : q->count >= shard_limits(sh)->command_depth ? ERR_QUOTA : 0;
	if (err)
		command_return(in, err);
	else
		command_append(in, q);
	commands_answered(sh, q);
}

static void count_anew(struct command_in *in, struct commands *q)
{
	const struct session_store *store = &in->home->b->sessions_store;
	q->counted_ms = shard_now(in->home);
	q->pending++;
	in->generation = q->generation;
	in->stored_to = q->stored_to;
	in->gone = q->gone;
	in->look.req.mail.deliver = counted;
	in->look.req.reply_to = in->home->box;
	in->look.queue = COMMAND_QUEUE(q->device_key);
	in->look.max_rows = shard_limits(in->home)->command_depth + 1;
	in->look.max_bytes = SIZE_MAX;
	store->queue_load(store->ctx, &in->look);
}

static void command_arrived(struct mail *mail)
{
	struct command_in *in = container_of(mail, struct command_in, ask.req.mail);
	struct shard *sh = in->home;
	struct commands *q = commands_get(sh, in->p->device_key, in->p->device_id);
	if (!q)
		command_return(in, ERR_NOMEM);
	else if (q->count < shard_limits(sh)->command_depth)
		command_append(in, q);
	else if (shard_now(sh) - q->counted_ms >= COUNT_MS)
		count_anew(in, q);
	else
		command_return(in, ERR_QUOTA);
}

static void finish(struct broker_command *p, int err)
{
	p->err = err;
	p->done(p);
}

void broker_command(struct broker *b, struct loop *here, struct broker_command *p)
{
	struct shard *sh = broker_shard(b, here);
	struct msg *m = p->msg;
	if (!b->keeps || sh->draining || shard_store_full(sh)) {
		finish(p, sh->draining ? ERR_CLOSED : ERR_UNAVAILABLE);
		return;
	}
	if (!topic_name_valid(msg_topic(m), shard_limits(sh)->max_topic_levels)) {
		finish(p, ERR_INVALID);
		return;
	}
	if (!m->expires && shard_limits(sh)->command_ttl > 0) {
		m->expires = true;
		m->expires_ms = shard_now(sh) + shard_limits(sh)->command_ttl * 1000ull;
	}
	m->device_key = p->device_key; /* what is kept for a device goes with it */
	struct command_in *in = mem_new(sizeof(*in));
	in->p = p;
	in->from = sh;
	in->home = broker_home_client(b, p->device_id);
	shard_busy(sh, 1);
	if (in->home == sh) {
		command_arrived(&in->ask.req.mail);
		return;
	}
	in->ask.req.mail.deliver = command_arrived;
	mail_post(in->home->box, &in->ask.req.mail);
}
