/*
 * Retained messages on their home shards: set and cleared by mail, so that what one publisher does
 * happens in its order. In memory a change takes effect at once; who made it hears of it when the
 * store has it too.
 */
#include "broker/client.h"
#include "broker/mem.h"
#include "broker/quota.h"
#include "broker/receipt.h"
#include "server/base/metrics.h"

#define EXPIRE_STEP 1000

/* What the other shards hold is taken off the limits, so that they hold for all together. */
static size_t share_of(size_t limit, size_t all, size_t mine)
{
	size_t others = all > mine ? all - mine : 0;
	return limit > others ? limit - others : 0;
}

/* Brings the sums over all shards up to date after a change here. */
static void account(struct shard *sh, size_t count_before, size_t bytes_before)
{
	struct broker *b = sh->b;
	size_t count = retain_count(sh->retain), bytes = retain_bytes(sh->retain);
	atomic_fetch_add_explicit(&b->retained_count, count - count_before, memory_order_relaxed);
	atomic_fetch_add_explicit(&b->retained_bytes, bytes - bytes_before, memory_order_relaxed);
	if (count != count_before)
		metric_add(METRIC_RETAINED, (int64_t)count - (int64_t)count_before);
}

/* Notes whose it is. Whoever was not known here, or not as this, is asked about: what he may can
 * have changed while the message was on its way. */
static void credit(struct shard *sh, const struct msg *m, struct principal *who)
{
	struct publisher *by = who ? publisher_of(&sh->publishers, who) : NULL;
	if (!by)
		return;
	retain_credit(sh->retain, msg_topic(m), by);
	if (by->unsure)
		revoke_ask(sh, by);
}

static int set_here(struct shard *sh, struct msg *m, struct principal *by)
{
	const struct broker_limits *lim = shard_limits(sh);
	size_t count = retain_count(sh->retain), bytes = retain_bytes(sh->retain);
	size_t all = atomic_load_explicit(&sh->b->retained_count, memory_order_relaxed);
	size_t all_bytes = atomic_load_explicit(&sh->b->retained_bytes, memory_order_relaxed);
	int err = 0;
	if (m->payload_len == 0)
		retain_remove(sh->retain, msg_topic(m));
	else if (!quota_retained_fits(sh, m, m->device_key))
		err = ERR_QUOTA;
	else
		err = retain_put(sh->retain, m, m->device_key,
		        share_of(lim->max_retained, all, count),
		        share_of(lim->max_retained_bytes, all_bytes, bytes));
	account(sh, count, bytes);
	if (!err && m->payload_len > 0)
		credit(sh, m, by);
	return err;
}

bool retained_restored(struct broker *b, struct msg *m, struct slice device_id)
{
	struct shard *home = broker_home(b, msg_topic(m));
	struct principal *by = NULL;
	if (m->device_key && device_id.n > 0 && device_id.n <= MODULE_ID_MAX)
		by = principal_new(PRINCIPAL_DEVICE, device_id, SLICE_LIT(""));
	if (by)
		by->device_key = m->device_key;
	int err = set_here(home, m, by);
	principal_unref(by);
	return err == 0;
}

void retained_drop(struct shard *sh, struct slice topic)
{
	size_t count = retain_count(sh->retain), bytes = retain_bytes(sh->retain);
	retain_remove(sh->retain, topic);
	account(sh, count, bytes);
}

/* A change on its way: to its home, where it takes effect, to the store, and back. */
struct change {
	struct retained_write ask;
	struct shard *home, *from;
	struct principal *by;
	struct receipt *waits;
	int err;
};

static void change_done(struct change *c)
{
	if (c->waits)
		receipt_give(c->waits, c->err);
	free(c);
}

static void change_returned(struct mail *mail)
{
	change_done(container_of(mail, struct change, ask.req.mail));
}

static void change_return(struct change *c)
{
	msg_unref(c->ask.msg);
	c->by = principal_unref(c->by);
	if (c->from == c->home || !c->waits) {
		change_done(c);
		return;
	}
	c->ask.req.mail.deliver = change_returned;
	mail_post(c->from->box, &c->ask.req.mail);
}

/* Its device was deleted while it was on its way here: what is retained of it went before. */
static void take_back(struct shard *sh, const struct msg *m)
{
	const struct retained *r = retain_get(sh->retain, msg_topic(m));
	if (r && r->msg == m)
		retained_drop(sh, msg_topic(m));
}

static void change_stored(struct mail *mail)
{
	struct change *c = container_of(mail, struct change, ask.req.mail);
	c->err = c->ask.req.err;
	if (c->err == ERR_NOT_FOUND)
		take_back(c->home, c->ask.msg);
	change_return(c);
}

static void change_make(struct change *c)
{
	const struct session_store *store = &c->home->b->sessions_store;
	c->err = set_here(c->home, c->ask.msg, c->by);
	if (c->err || !c->home->b->keeps) {
		change_return(c);
		return;
	}
	c->ask.req.mail.deliver = change_stored;
	c->ask.req.reply_to = c->home->box;
	store->retained_write(store->ctx, &c->ask);
}

static void change_arrived(struct mail *mail)
{
	struct change *c = container_of(mail, struct change, ask.req.mail);
	route_inbox_leave(c->home, c->ask.msg);
	change_make(c);
}

void retained_set(struct shard *sh, struct msg *m, struct principal *by, struct receipt *waits)
{
	struct shard *home = broker_home(sh->b, msg_topic(m));
	if (m->qos == 0 && sh->b->keeps && shard_store_full(sh)) {
		metric_inc(METRIC_DROPPED_QOS0);
		return;
	}
	if (home != sh && !route_inbox_enter(home, m))
		return;
	struct change *c = mem_new(sizeof(*c));
	c->home = home;
	c->from = sh;
	c->waits = waits;
	c->ask.msg = msg_ref(m);
	c->by = principal_ref(by);
	if (waits)
		waits->waiting++;
	if (home == sh) {
		change_make(c);
		return;
	}
	c->ask.req.mail.deliver = change_arrived;
	mail_post(home->box, &c->ask.req.mail);
}

void retained_forget(struct shard *sh, uint64_t device_key)
{
	size_t count = retain_count(sh->retain), bytes = retain_bytes(sh->retain);
	retain_remove_device(sh->retain, device_key);
	account(sh, count, bytes);
}

void retained_expire(struct shard *sh)
{
	size_t count = retain_count(sh->retain), bytes = retain_bytes(sh->retain);
	retain_expire(sh->retain, shard_now(sh), EXPIRE_STEP);
	account(sh, count, bytes);
}
