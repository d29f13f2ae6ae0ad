/*
 * A durable session ends whose queue in the store may have messages of shared groups: they go to
 * other members (MQTT 5.0 section 4.8.2), and only then the store forgets the session.
 */
#include "broker/client.h"
#include "broker/mem.h"
#include "broker/queue_store.h"
#include "broker/share.h"
#include "server/base/metrics.h"

#define PAGE_ROWS 1024
#define PAGE_BYTES (4u << 20)
#define TRIES 10 /* each takes as long as the store waits for its database */

struct farewell {
	struct queue_load ask;
	struct shard *shard;
	struct receipt returned; /* of the page */
	unsigned tries;
	bool more;
};

static void farewell_load(struct farewell *f)
{
	const struct session_store *store = &f->shard->b->sessions_store;
	f->ask.entries = NULL;
	f->ask.n = 0;
	store->queue_load(store->ctx, &f->ask);
}

static void page_returned(struct receipt *r)
{
	struct farewell *f = container_of(r, struct farewell, returned);
	if (f->more) {
		farewell_load(f);
		return;
	}
	durable_forget(f->shard, f->ask.queue);
	shard_busy(f->shard, -1);
	free(f);
}

static void page_loaded(struct mail *mail)
{
	struct farewell *f = container_of(mail, struct farewell, ask.req.mail);
	if (f->ask.req.err && ++f->tries < TRIES) {
		farewell_load(f);
		return;
	}
	if (f->ask.req.err)
		metric_inc(METRIC_DROPPED_QUEUE);
	f->more = !f->ask.req.err && f->ask.more && f->ask.n > 0;
	f->returned.waiting = 1;
	for (unsigned i = 0; i < f->ask.n; i++) {
		const struct queue_entry *e = &f->ask.entries[i];
		f->ask.after = e->n;
		/* One of QoS 2 that was sent is its member's alone ([MQTT-4.8.2-5]). */
		if (e->msg && e->group && !(e->qos == 2 && e->packet_id))
			share_return(f->shard, slice_str(e->group), e->msg, &f->returned);
	}
	queue_entries_free(f->ask.entries, f->ask.n);
	receipt_give(&f->returned, 0);
}

void farewell(struct session *s)
{
	struct durable *d = s->durable;
	struct farewell *f = mem_new(sizeof(*f));
	f->shard = s->shard;
	f->returned.done = page_returned;
	f->ask.req.mail.deliver = page_loaded;
	f->ask.req.reply_to = s->shard->box;
	f->ask.queue = d->id;
	f->ask.after = d->loaded_to; /* the rest was in memory, and went from there */
	f->ask.max_rows = PAGE_ROWS;
	f->ask.max_bytes = PAGE_BYTES;
	shard_busy(s->shard, 1);
	farewell_load(f);
}
