#include "policy/ban_slots.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#define WAYS 4
/* A ban within this time after the last one takes the next step. */
#define MEMORY_MS ((uint64_t)24 * 3600 * 1000)

struct place {
	atomic_uint_fast64_t whom; /* 0: free */
	atomic_uint_fast64_t until_ms;
	unsigned step; /* under the mutex, as all writes are */
};

struct ban_slots {
	pthread_mutex_t mutex;
	atomic_uint_fast64_t last_ms; /* when the last of all ends: mostly there is none */
	uint32_t mask;
	struct place places[];
};

struct ban_slots *ban_slots_new(uint32_t sets)
{
	assert(sets > 0 && (sets & (sets - 1)) == 0);
	struct ban_slots *s = calloc(1, sizeof(*s) + (size_t)sets * WAYS * sizeof(s->places[0]));
	if (!s)
		return NULL;
	pthread_mutex_init(&s->mutex, NULL);
	s->mask = sets - 1;
	return s;
}

struct ban_slots *ban_slots_free(struct ban_slots *s)
{
	if (s)
		pthread_mutex_destroy(&s->mutex);
	free(s);
	return NULL;
}

static uint64_t get(const atomic_uint_fast64_t *v)
{
	return atomic_load_explicit(v, memory_order_acquire);
}

bool ban_slots_has(const struct ban_slots *s, uint64_t whom, uint64_t now_ms)
{
	if (get(&s->last_ms) <= now_ms)
		return false;
	const struct place *set = &s->places[(size_t)(whom & s->mask) * WAYS];
	for (unsigned i = 0; i < WAYS; i++) {
		if (get(&set[i].whom) != whom)
			continue;
		uint64_t until = get(&set[i].until_ms);
		/* It may have been given to somebody else in between. */
		return until > now_ms && get(&set[i].whom) == whom;
	}
	return false;
}

/* Its place, or the one that it is to have. */
static struct place *place_of(struct ban_slots *s, uint64_t whom)
{
	struct place *set = &s->places[(size_t)(whom & s->mask) * WAYS], *best = set;
	for (unsigned i = 0; i < WAYS; i++) {
		if (set[i].whom == whom)
			return &set[i];
		if (set[i].until_ms < best->until_ms)
			best = &set[i];
	}
	return best;
}

bool ban_slots_add(struct ban_slots *s, uint64_t whom, uint64_t now_ms, const unsigned *seconds,
        unsigned n, unsigned *ret_step)
{
	pthread_mutex_lock(&s->mutex);
	struct place *at = place_of(s, whom);
	bool known = at->whom == whom && now_ms < at->until_ms + MEMORY_MS;
	bool banned = known && at->until_ms > now_ms;
	if (!banned) {
		at->step = !known ? 0 : at->step + 1 < n ? at->step + 1 : n - 1;
		atomic_store(&at->until_ms, 0);
		atomic_store(&at->whom, whom);
		atomic_store(&at->until_ms, now_ms + (uint64_t)seconds[at->step] * 1000);
		if (at->until_ms > s->last_ms)
			atomic_store(&s->last_ms, at->until_ms);
		*ret_step = at->step;
	}
	pthread_mutex_unlock(&s->mutex);
	return !banned;
}

void ban_slots_release(struct ban_slots *s, uint64_t whom, uint64_t now_ms)
{
	pthread_mutex_lock(&s->mutex);
	struct place *at = place_of(s, whom);
	if (at->whom == whom && at->until_ms > now_ms)
		atomic_store(&at->until_ms, now_ms);
	pthread_mutex_unlock(&s->mutex);
}
