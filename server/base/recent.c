#include "server/base/recent.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "server/base/map.h"

/* A counter: the number of its window, then 16 bits of the window before and 16 of its own. */
struct recent {
	uint32_t mask;
	atomic_uint_fast64_t slots[]; /* the first row, then the second */
};

struct count {
	uint32_t window;
	uint16_t before, now;
};

static struct count unpack(uint64_t v)
{
	return (struct count){
	        .window = (uint32_t)(v >> 32), .before = (uint16_t)(v >> 16), .now = (uint16_t)v};
}

static uint64_t pack(struct count c)
{
	return (uint64_t)c.window << 32 | (uint64_t)c.before << 16 | c.now;
}

/* As it stands in the window. */
static struct count roll(struct count c, uint32_t window)
{
	if (c.window == window)
		return c;
	return (struct count){.window = window, .before = c.window + 1 == window ? c.now : 0};
}

/* left: of 256, how much of the window before is still within the last one. */
static unsigned sum(struct count c, unsigned left)
{
	return c.now + (c.before * left + 255) / 256;
}

struct recent *recent_new(uint32_t slots)
{
	assert(slots > 0 && (slots & (slots - 1)) == 0);
	struct recent *r = calloc(1, sizeof(*r) + 2 * (size_t)slots * sizeof(r->slots[0]));
	if (r)
		r->mask = slots - 1;
	return r;
}

struct recent *recent_free(struct recent *r)
{
	free(r);
	return NULL;
}

struct places {
	uint32_t first, second, window;
	unsigned left;
};

static struct places places_of(
        const struct recent *r, struct slice key, uint64_t now_ms, unsigned window_ms)
{
	uint64_t hash = hash_bytes(key.p, key.n);
	return (struct places){
	        .first = (uint32_t)hash & r->mask,
	        .second = ((uint32_t)(hash >> 32) & r->mask) + r->mask + 1,
	        /* 0 is what a counter has that was never used. */
	        .window = (uint32_t)(now_ms / window_ms) + 2,
	        .left = 256 - (unsigned)(now_ms % window_ms * 256 / window_ms),
	};
}

static unsigned add_at(atomic_uint_fast64_t *slot, const struct places *at)
{
	uint64_t old = atomic_load_explicit(slot, memory_order_relaxed);
	for (;;) {
		struct count c = roll(unpack(old), at->window);
		if (c.now < UINT16_MAX)
			c.now++;
		if (atomic_compare_exchange_weak_explicit(
		            slot, &old, pack(c), memory_order_relaxed, memory_order_relaxed))
			return sum(c, at->left);
	}
}

unsigned recent_add(struct recent *r, struct slice key, uint64_t now_ms, unsigned window_ms)
{
	struct places at = places_of(r, key, now_ms, window_ms);
	unsigned a = add_at(&r->slots[at.first], &at), b = add_at(&r->slots[at.second], &at);
	return a < b ? a : b;
}

static unsigned count_at(const atomic_uint_fast64_t *slot, const struct places *at)
{
	uint64_t v = atomic_load_explicit(slot, memory_order_relaxed);
	return sum(roll(unpack(v), at->window), at->left);
}

unsigned recent_count(const struct recent *r, struct slice key, uint64_t now_ms, unsigned window_ms)
{
	struct places at = places_of(r, key, now_ms, window_ms);
	unsigned a = count_at(&r->slots[at.first], &at), b = count_at(&r->slots[at.second], &at);
	return a < b ? a : b;
}
