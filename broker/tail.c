/*
 * The part of a durable session's queue that is in the store alone. It is read page by page while
 * the client takes what it gets; nobody's queue costs memory while he is away.
 */
#include "broker/client.h"
#include "broker/mem.h"
#include "broker/queue_store.h"
#include "server/base/metrics.h"

#define PAGE_BYTES (256u << 10)
/* The first page after a start must have all that has a packet id: what was in flight, and what
 * was on its way out of the store. */
#define FIRST_ROWS 1024
#define FIRST_BYTES (4u << 20)
#define RETRY_MS 1000
#define RECOUNT_MS 3000

struct tail_load {
	struct queue_load ask;
	struct session *session; /* NULL: it has ended */
	struct loop_timer retry;
	uint64_t stored_to; /* what the store had when it was asked */
	bool first;
};

struct tail_count {
	struct queue_load ask;
	struct session *session; /* NULL: it has ended */
	size_t count, bytes;     /* of the tail when it was asked */
};

void tail_abandon(struct session *s)
{
	struct tail_load *l = s->durable->loading;
	bool waits = l && loop_timer_armed(&l->retry);
	if (s->durable->counting)
		s->durable->counting->session = NULL;
	if (!l)
		return;
	l->session = NULL;
	loop_timer_cancel(&l->retry);
	if (waits)
		free(l);
}

static void retry(struct loop_timer *t, HF_UNUSED struct loop *loop)
{
	struct tail_load *l = container_of(t, struct tail_load, retry);
	struct session *s = l->session;
	s->durable->loading = NULL;
	free(l);
	tail_pump(s);
}

/* Takes an entry over: where it goes to, or that the store is to forget it. */
static void take_entry(struct session *s, struct tail_load *l, unsigned i)
{
	struct queue_entry *e = &l->ask.entries[i];
	struct durable *d = s->durable;
	size_t size = e->msg ? msg_size(e->msg) : 0;
	d->loaded_to = e->n;
	d->tail_count -= d->tail_count > 0;
	d->tail_bytes -= size < d->tail_bytes ? size : d->tail_bytes;
	/* What was in flight when the hub stopped may have been sent. */
	bool again = l->first && i < shard_limits(s->shard)->max_inflight;
	if (!out_loaded(s, e, again))
		queue_remove(s->shard, d->id, e->n);
}

static void loaded(struct mail *mail)
{
	struct tail_load *l = container_of(mail, struct tail_load, ask.req.mail);
	struct session *s = l->session;
	if (s && l->ask.req.err) {
		l->retry.fire = retry;
		loop_timer_set(s->shard->loop, &l->retry, RETRY_MS);
		return;
	}
	if (s) {
		struct durable *d = s->durable;
		d->loading = NULL;
		/* Otherwise its client went meanwhile. */
		bool wanted = session_writable(s) && l->ask.after == d->loaded_to;
		for (unsigned i = 0; wanted && i < l->ask.n; i++)
			take_entry(s, l, i);
		if (wanted && !l->ask.more)
			d->loaded_to = l->stored_to;
		if (wanted)
			d->fresh = false;
		if (d->loaded_to == d->stored_to)
			d->tail_count = d->tail_bytes = 0;
	}
	queue_entries_free(l->ask.entries, l->ask.n);
	free(l);
	if (s)
		out_pump(s);
}

void tail_pump(struct session *s)
{
	const struct session_store *store = &s->shard->b->sessions_store;
	struct durable *d = s->durable;
	const struct broker_client *c = session_writable(s);
	if (d->loaded_to == d->stored_to || d->loading || !c || s->out.queue.count > 0)
		return;
	struct tail_load *l = d->loading = mem_new(sizeof(*l));
	unsigned most = shard_limits(s->shard)->max_inflight * 4;
	l->session = s;
	l->first = d->fresh;
	l->stored_to = d->stored_to;
	l->ask.req.mail.deliver = loaded;
	l->ask.req.reply_to = s->shard->box;
	l->ask.queue = d->id;
	l->ask.after = d->loaded_to;
	l->ask.max_rows = 2u * c->window;
	l->ask.max_bytes = PAGE_BYTES;
	if (l->first) {
		l->ask.max_rows = most > FIRST_ROWS ? most : FIRST_ROWS;
		l->ask.max_bytes = FIRST_BYTES;
	}
	store->queue_load(store->ctx, &l->ask);
}

/* ---- how long it is ---- */

static void counted(struct mail *mail)
{
	struct tail_count *t = container_of(mail, struct tail_count, ask.req.mail);
	struct session *s = t->session;
	struct durable *d = s ? s->durable : NULL;
	if (d)
		d->counting = NULL;
	/* What came since is no part of the count; what was read since makes it worthless. */
	if (d && !t->ask.req.err && t->ask.after == d->loaded_to && d->tail_count >= t->count &&
	        d->tail_bytes >= t->bytes) {
		d->tail_count = t->ask.count + (d->tail_count - t->count);
		d->tail_bytes = t->ask.bytes + (d->tail_bytes - t->bytes);
	}
	free(t);
}

void tail_recount(struct session *s)
{
	const struct session_store *store = &s->shard->b->sessions_store;
	struct durable *d = s->durable;
	uint64_t now = shard_now(s->shard);
	size_t most = shard_limits(s->shard)->max_queued_messages;
	if (d->counting || d->loading || d->tail_count == 0 ||
	        (d->counted_ms && now - d->counted_ms < RECOUNT_MS))
		return;
	struct tail_count *t = d->counting = mem_new(sizeof(*t));
	d->counted_ms = now;
	t->session = s;
	t->count = d->tail_count;
	t->bytes = d->tail_bytes;
	t->ask.req.mail.deliver = counted;
	t->ask.req.reply_to = s->shard->box;
	t->ask.queue = d->id;
	t->ask.after = d->loaded_to;
	t->ask.count_only = true;
	t->ask.max_rows = most < UINT32_MAX ? (unsigned)most + 1 : UINT32_MAX;
	store->queue_load(store->ctx, &t->ask);
}

void tail_grown(struct session *s, size_t size)
{
	const struct broker_limits *lim = shard_limits(s->shard);
	struct durable *d = s->durable;
	d->tail_count++;
	d->tail_bytes += size;
	if (s->out.queue.count == 0)
		tail_pump(s); /* nothing else would */
	if (d->tail_count >= lim->max_queued_messages || d->tail_bytes >= lim->max_queued_bytes)
		tail_recount(s);
}

void tail_leave(struct session *s)
{
	struct durable *d = s->durable;
	struct out_ring *queue = &s->out.queue;
	uint32_t keep = 0;
	/* What stands before something that an earlier hub had in flight stays: read once more, it
	 * would bring that with it. */
	while (keep < queue->count && out_ring_at(queue, keep)->n < d->begun_to)
		keep++;
	if (keep == queue->count)
		return;
	d->loaded_to = out_ring_at(queue, keep)->n - 1;
	for (uint32_t i = keep; i < queue->count; i++) {
		struct out *o = out_ring_at(queue, i);
		size_t size = msg_size(o->msg);
		d->tail_count++;
		d->tail_bytes += size;
		s->out.queued_bytes -= size;
		out_clear(s->shard, o);
	}
	queue->count = keep;
	if (keep == 0)
		out_ring_free(queue);
}
