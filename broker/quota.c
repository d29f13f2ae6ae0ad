#include "broker/quota.h"

#include "server/base/metrics.h"

/* Rounded up to what the allocator takes, with a share of tables that are not full. */
#define SUB_COST 64    /* what a subscription counts for where it is held */
#define APART_COST 192 /* and one that the index does not have, for its filter and two maps */
#define NOTE_COST 96   /* and on each loop, whose index has its filter too */
#define LEVEL_COST 96  /* there a level that is not among the first: those are mostly shared */
#define FIRST_LEVELS 4
#define SESSION_PART 64 /* the part of all memory for subscriptions that one session may take */

/* ---- subscriptions ---- */

static uint32_t sub_cost(const struct session *s, struct slice filter, bool apart)
{
	uint32_t loops = s->shard->b->n, levels = 1, len = (uint32_t)filter.n;
	for (size_t i = 0; i < filter.n; i++)
		levels += filter.p[i] == '/';
	levels = levels > FIRST_LEVELS ? levels - FIRST_LEVELS : 0;
	uint32_t noted = loops * (NOTE_COST + len + levels * LEVEL_COST);
	return SUB_COST + (apart ? APART_COST + len : 0) + noted;
}

bool quota_sub_may(const struct session *s, bool fresh)
{
	if (fresh && s->n_subs >= shard_limits(s->shard)->max_subscriptions)
		return false;
	return !(s->durable && shard_store_full(s->shard));
}

bool quota_sub_take(struct session *s, struct slice filter, bool apart)
{
	struct broker *b = s->shard->b;
	size_t most = shard_limits(s->shard)->subscription_memory;
	uint32_t cost = sub_cost(s, filter, apart);
	size_t all = atomic_fetch_add_explicit(&b->sub_bytes, cost, memory_order_relaxed) + cost;
	if (most && (all > most || s->sub_bytes + cost > most / SESSION_PART)) {
		atomic_fetch_sub_explicit(&b->sub_bytes, cost, memory_order_relaxed);
		return false;
	}
	s->sub_bytes += cost;
	metric_add(METRIC_SUBSCRIPTION_BYTES, cost);
	return true;
}

void quota_sub_give(struct session *s, struct slice filter, bool apart)
{
	uint32_t cost = sub_cost(s, filter, apart);
	atomic_fetch_sub_explicit(&s->shard->b->sub_bytes, cost, memory_order_relaxed);
	s->sub_bytes -= cost;
	metric_add(METRIC_SUBSCRIPTION_BYTES, -(int64_t)cost);
}

/* ---- retained messages ---- */

bool quota_retained_fits(const struct shard *sh, const struct msg *m, uint64_t device_key)
{
	const struct broker_limits *lim = shard_limits(sh);
	if (!device_key || (!lim->device_retained && !lim->device_retained_bytes))
		return true;
	struct slice key = slice_make(&device_key, sizeof(device_key));
	int64_t count = tally_sum(sh->b->device_count, key) + 1;
	int64_t bytes = tally_sum(sh->b->device_bytes, key) + (int64_t)msg_size(m);
	const struct retained *old = retain_get(sh->retain, msg_topic(m));
	if (old && old->device_key == device_key) {
		count--;
		bytes -= (int64_t)msg_size(old->msg);
	}
	return !(lim->device_retained && count > (int64_t)lim->device_retained) &&
	        !(lim->device_retained_bytes && bytes > (int64_t)lim->device_retained_bytes);
}

/* ---- wills ---- */

bool quota_will_fits(const struct shard *sh, const struct msg *msg)
{
	size_t most = shard_limits(sh)->will_memory;
	size_t used = atomic_load_explicit(&sh->b->will_bytes, memory_order_relaxed);
	return most == 0 || used + msg_size(msg) <= most;
}

void quota_will_add(struct shard *sh, int64_t n)
{
	atomic_fetch_add_explicit(&sh->b->will_bytes, (size_t)n, memory_order_relaxed);
	metric_add(METRIC_WILL_BYTES, n);
}
