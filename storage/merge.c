#include "storage/merge.h"

#include <stdlib.h>
#include <string.h>

#include "server/base/clock.h"
#include "server/base/err.h"
#include "server/base/map.h"

#define PROBES 8

/* A word: two bits of state, 32 of the thing's hash, 30 of its count. A slot is written by whoever
 * made its word BUSY; while it is FULL, whoever has the same hash raises the count in the word, and
 * the taker, who makes it BUSY in one step, gets the last count that there was. */
#define EMPTY UINT64_C(0)
#define BUSY UINT64_C(1)
#define FULL UINT64_C(2)
#define STATE UINT64_C(3)
#define TAG_SHIFT 2
#define TAG (UINT64_C(0xffffffff) << TAG_SHIFT)
#define ONE (UINT64_C(1) << 34)
#define MOST (UINT64_C(0x3fffffff) << 34)

struct slot {
	int64_t first_us;
	size_t n;
	uint8_t thing[];
};

int merge_init(struct merge *m, unsigned n_slots, size_t most)
{
	size_t size = (sizeof(struct slot) + most + 7) & ~(size_t)7;

	*m = (struct merge){.n_slots = n_slots, .slot_size = size};
	m->words = calloc(n_slots, sizeof(*m->words));
	m->slots = calloc(n_slots, size);
	if (m->words && m->slots)
		return 0;
	merge_free(m);
	return ERR_NOMEM;
}

void merge_free(struct merge *m)
{
	free(m->words);
	free(m->slots);
	m->words = NULL;
	m->slots = NULL;
}

static struct slot *slot_at(const struct merge *m, unsigned i)
{
	return (struct slot *)(void *)(m->slots + (size_t)i * m->slot_size);
}

/* One more of what is there; false: it is there no longer. */
static bool raise_count(_Atomic uint64_t *word, uint64_t seen, uint64_t tag)
{
	while ((seen & (STATE | TAG)) == (FULL | tag)) {
		if ((seen & MOST) == MOST)
			return true;
		if (atomic_compare_exchange_weak(word, &seen, seen + ONE))
			return true;
	}
	return false;
}

void merge_note(struct merge *m, const void *thing, size_t n)
{
	uint64_t hash = hash_bytes(thing, n), tag = (hash << TAG_SHIFT) & TAG;
	unsigned first = (unsigned)(hash >> 32);

	for (unsigned probe = 0; probe < PROBES; probe++) {
		unsigned i = (first + probe) & (m->n_slots - 1);
		uint64_t seen = atomic_load_explicit(&m->words[i], memory_order_relaxed);

		if (raise_count(&m->words[i], seen, tag))
			return;
		if (seen != EMPTY || !atomic_compare_exchange_strong(&m->words[i], &seen, BUSY))
			continue;
		struct slot *s = slot_at(m, i);
		size_t room = m->slot_size - sizeof(*s);
		s->first_us = clock_wall_us();
		s->n = n < room ? n : room;
		memcpy(s->thing, thing, s->n);
		atomic_store_explicit(&m->words[i], FULL | tag | ONE, memory_order_release);
		return;
	}
	atomic_fetch_add_explicit(&m->dropped, 1, memory_order_relaxed);
}

unsigned merge_take(
        struct merge *m, unsigned max, void (*row)(void *arg, const struct merged *it), void *arg)
{
	unsigned taken = 0;

	for (unsigned looked = 0; looked < m->n_slots && taken < max; looked++) {
		unsigned i = m->at++ & (m->n_slots - 1);
		uint64_t seen = atomic_load_explicit(&m->words[i], memory_order_relaxed);

		if ((seen & STATE) != FULL)
			continue;
		seen = atomic_exchange_explicit(&m->words[i], BUSY, memory_order_acquire);
		const struct slot *s = slot_at(m, i);
		const struct merged it = {
		        s->thing, s->n, (uint32_t)((seen & MOST) / ONE), s->first_us};
		row(arg, &it);
		atomic_store_explicit(&m->words[i], EMPTY, memory_order_release);
		taken++;
	}
	return taken;
}

uint64_t merge_dropped(struct merge *m)
{
	return atomic_exchange_explicit(&m->dropped, 0, memory_order_relaxed);
}
