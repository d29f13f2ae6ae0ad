#include "server/base/tally.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "server/base/map.h"

struct tally {
	uint32_t mask;
	atomic_int_fast64_t slots[]; /* the first row, then the second */
};

struct tally *tally_new(uint32_t slots)
{
	assert(slots > 0 && (slots & (slots - 1)) == 0);
	struct tally *t = calloc(1, sizeof(*t) + 2 * (size_t)slots * sizeof(t->slots[0]));
	if (t)
		t->mask = slots - 1;
	return t;
}

struct tally *tally_free(struct tally *t)
{
	free(t);
	return NULL;
}

int64_t tally_add(struct tally *t, struct slice key, int64_t n)
{
	uint64_t hash = hash_bytes(key.p, key.n);
	uint32_t first = (uint32_t)hash & t->mask;
	uint32_t second = ((uint32_t)(hash >> 32) & t->mask) + t->mask + 1;
	int64_t a = atomic_fetch_add_explicit(&t->slots[first], n, memory_order_relaxed) + n;
	int64_t b = atomic_fetch_add_explicit(&t->slots[second], n, memory_order_relaxed) + n;
	return a < b ? a : b;
}

int64_t tally_sum(const struct tally *t, struct slice key)
{
	uint64_t hash = hash_bytes(key.p, key.n);
	uint32_t first = (uint32_t)hash & t->mask;
	uint32_t second = ((uint32_t)(hash >> 32) & t->mask) + t->mask + 1;
	int64_t a = atomic_load_explicit(&t->slots[first], memory_order_relaxed);
	int64_t b = atomic_load_explicit(&t->slots[second], memory_order_relaxed);
	return a < b ? a : b;
}
