/*
 * A durable session ends that owes something: messages that shared groups gave to it go to other
 * members (MQTT 5.0 section 4.8.2), and its will goes out. The store forgets the session, and keeps
 * the next one of the same key, only when all of that is durable elsewhere.
 */
#include "broker/client.h"
#include "broker/mem.h"
#include "broker/queue_store.h"
#include "broker/share.h"

#define PAGE_ROWS 1024
#define PAGE_BYTES (4u << 20)
#define RETRY_MS 1000

struct farewell {
	struct queue_load ask;
	struct shard *shard;
	struct receipt all;  /* the pages, what memory gave back, the will */
	struct receipt page; /* what one page gave back */
	struct loop_timer retry;
	bool more;
	bool stays; /* the hub stops, and the store could not be read: another hub goes on with it
	             */
	uint16_t key_len;
	char key[];
};

static struct slice farewell_key(const struct farewell *f)
{
	return slice_make(f->key, f->key_len);
}

static void all_done(struct receipt *r)
{
	struct farewell *f = container_of(r, struct farewell, all);
	struct shard *sh = f->shard;
	map_remove(&sh->farewells, farewell_key(f));
	if (!f->stays)
		durable_forget(sh, f->ask.queue);
	struct session *next = map_get(&sh->sessions, farewell_key(f));
	shard_busy(sh, -1);
	free(f);
	if (next)
		durable_go_on(next);
}

static struct farewell *farewell_get(struct session *s)
{
	struct shard *sh = s->shard;
	struct farewell *f = s->durable->farewell;
	if (f)
		return f;
	f = s->durable->farewell = mem_new(sizeof(*f) + s->key_len);
	f->shard = sh;
	f->ask.queue = s->durable->id;
	f->all.done = all_done;
	f->all.waiting = 1; /* given back by farewell */
	f->key_len = s->key_len;
	memcpy(f->key, s->key, s->key_len);
	if (map_put(&sh->farewells, farewell_key(f), f, NULL) != 0)
		abort(); /* a few nodes */
	shard_busy(sh, 1);
	return f;
}

struct receipt *farewell_receipt(struct session *s)
{
	return &farewell_get(s)->all;
}

struct receipt *farewell_waits(struct session *s, const struct append *a)
{
	struct receipt *publisher = a ? append_waits(a) : NULL;
	return publisher || !s->durable ? publisher : farewell_receipt(s);
}

bool farewell_under_way(const struct session *s)
{
	return map_get(&s->shard->farewells, slice_make(s->key, s->key_len)) != NULL;
}

/* ---- what the store has alone ---- */

static void farewell_load(struct farewell *f)
{
	const struct session_store *store = &f->shard->b->sessions_store;
	f->ask.entries = NULL;
	f->ask.n = 0;
	store->queue_load(store->ctx, &f->ask);
}

static void retry(struct loop_timer *t, HF_UNUSED struct loop *loop)
{
	farewell_load(container_of(t, struct farewell, retry));
}

static void page_returned(struct receipt *r)
{
	struct farewell *f = container_of(r, struct farewell, page);
	if (f->more)
		farewell_load(f);
	else
		receipt_give(&f->all, 0);
}

static void page_loaded(struct mail *mail)
{
	struct farewell *f = container_of(mail, struct farewell, ask.req.mail);
	f->stays = f->ask.req.err == ERR_CLOSED || (f->ask.req.err && f->shard->draining);
	if (f->ask.req.err && !f->stays) {
		f->retry.fire = retry;
		loop_timer_set(f->shard->loop, &f->retry, RETRY_MS);
		return;
	}
	f->more = !f->stays && f->ask.more && f->ask.n > 0;
	f->page.waiting = 1;
	f->page.done = page_returned;
	for (unsigned i = 0; i < f->ask.n; i++) {
		const struct queue_entry *e = &f->ask.entries[i];
		f->ask.after = e->n;
		/* One of QoS 2 that was sent is its member's alone ([MQTT-4.8.2-5]). */
		if (e->msg && e->group && !(e->qos == 2 && e->packet_id))
			share_return(f->shard, slice_str(e->group), e->msg, &f->page);
	}
	queue_entries_free(f->ask.entries, f->ask.n);
	receipt_give(&f->page, 0);
}

bool farewell(struct session *s)
{
	struct durable *d = s->durable;
	bool tail = s->share && d->loaded_to < d->stored_to && d->tail_count > 0;
	if (!tail && !d->farewell)
		return false;
	struct farewell *f = farewell_get(s);
	d->farewell = NULL;
	if (!tail) {
		receipt_give(&f->all, 0);
		return true;
	}
	f->ask.req.mail.deliver = page_loaded;
	f->ask.req.reply_to = s->shard->box;
	f->ask.after = d->loaded_to; /* the rest was in memory, and went from there */
	f->ask.max_rows = PAGE_ROWS;
	f->ask.max_bytes = PAGE_BYTES;
	farewell_load(f);
	return true;
}

void farewells_free(struct shard *sh)
{
	struct farewell *f;
	size_t pos = 0;
	while ((f = map_next(&sh->farewells, &pos)) != NULL) {
		if (!loop_timer_armed(&f->retry))
			continue; /* its answer will not come, and nobody is there to free it */
		loop_timer_cancel(&f->retry);
		free(f);
	}
	map_free(&sh->farewells);
}
