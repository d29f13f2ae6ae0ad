/*
 * Retained messages on their home shards: set and cleared by mail, so that what one publisher does
 * happens in its order.
 */
#include "broker/client.h"
#include "broker/mem.h"
#include "broker/quota.h"
#include "server/base/err.h"
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

static int set_here(struct shard *sh, struct msg *m, uint64_t device_key)
{
	const struct broker_limits *lim = shard_limits(sh);
	size_t count = retain_count(sh->retain), bytes = retain_bytes(sh->retain);
	size_t all = atomic_load_explicit(&sh->b->retained_count, memory_order_relaxed);
	size_t all_bytes = atomic_load_explicit(&sh->b->retained_bytes, memory_order_relaxed);
	int err = 0;
	if (m->payload_len == 0)
		retain_remove(sh->retain, msg_topic(m));
	else if (!quota_retained_fits(sh, m, device_key))
		err = ERR_QUOTA;
	else
		err = retain_put(sh->retain, m, device_key, share_of(lim->max_retained, all, count),
		        share_of(lim->max_retained_bytes, all_bytes, bytes));
	account(sh, count, bytes);
	return err;
}

struct retained_mail {
	struct mail mail;
	struct shard *home, *from;
	struct msg *msg;
	struct ticket *ticket;
	uint64_t device_key;
	int err;
};

static void set_answered(struct mail *mail)
{
	struct retained_mail *m = container_of(mail, struct retained_mail, mail);
	ticket_settle(m->ticket, m->err);
	free(m);
}

static void set_arrived(struct mail *mail)
{
	struct retained_mail *m = container_of(mail, struct retained_mail, mail);
	m->err = set_here(m->home, m->msg, m->device_key);
	route_inbox_leave(m->home, m->msg);
	msg_unref(m->msg);
	if (!m->ticket) {
		free(m);
		return;
	}
	m->mail.deliver = set_answered;
	mail_post(m->from->box, &m->mail);
}

void retained_set(struct shard *sh, struct msg *m, uint64_t device_key, struct ticket *t)
{
	struct shard *home = broker_home(sh->b, msg_topic(m));
	if (home != sh && !route_inbox_enter(home, m))
		return;
	if (t)
		t->waiting++;
	if (home == sh) {
		int err = set_here(sh, m, device_key);
		if (t)
			ticket_settle(t, err);
		return;
	}
	struct retained_mail *mail = mem_new(sizeof(*mail));
	mail->mail.deliver = set_arrived;
	mail->home = home;
	mail->from = sh;
	mail->msg = msg_ref(m);
	mail->ticket = t;
	mail->device_key = device_key;
	mail_post(home->box, &mail->mail);
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
