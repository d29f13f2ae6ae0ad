#include "server/base/map.h"

#include <assert.h>
#include <endian.h>
#include <pthread.h>
#include <stdlib.h>

#include "server/base/crypto.h"
#include "server/base/err.h"

#define MAP_MIN 16
#define MAP_GONE ((void *)&gone)

static const char gone;

/* ---- SipHash-2-4 (Aumasson, Bernstein: "SipHash: a fast short-input PRF") ---- */

struct sip {
	uint64_t v0, v1, v2, v3;
};

static inline uint64_t rotl(uint64_t x, int b)
{
	return (x << b) | (x >> (64 - b));
}

static inline void sip_round(struct sip *s)
{
	s->v0 += s->v1;
	s->v1 = rotl(s->v1, 13) ^ s->v0;
	s->v0 = rotl(s->v0, 32);
	s->v2 += s->v3;
	s->v3 = rotl(s->v3, 16) ^ s->v2;
	s->v0 += s->v3;
	s->v3 = rotl(s->v3, 21) ^ s->v0;
	s->v2 += s->v1;
	s->v1 = rotl(s->v1, 17) ^ s->v2;
	s->v2 = rotl(s->v2, 32);
}

static inline void sip_word(struct sip *s, uint64_t m)
{
	s->v3 ^= m;
	sip_round(s);
	sip_round(s);
	s->v0 ^= m;
}

static inline uint64_t le64(const uint8_t *p)
{
	uint64_t w;
	memcpy(&w, p, sizeof(w));
	return le64toh(w);
}

uint64_t hash_keyed(const uint64_t key[static 2], const void *p, size_t n)
{
	const uint8_t *in = p;
	struct sip s = {
	        key[0] ^ 0x736f6d6570736575ULL,
	        key[1] ^ 0x646f72616e646f6dULL,
	        key[0] ^ 0x6c7967656e657261ULL,
	        key[1] ^ 0x7465646279746573ULL,
	};
	size_t whole = n & ~(size_t)7;
	for (size_t i = 0; i < whole; i += 8)
		sip_word(&s, le64(in + i));
	uint64_t last = (uint64_t)n << 56;
	for (size_t i = whole; i < n; i++)
		last |= (uint64_t)in[i] << (8 * (i - whole));
	sip_word(&s, last);
	s.v2 ^= 0xff;
	for (int i = 0; i < 4; i++)
		sip_round(&s);
	return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

static uint64_t process_key[2];
static pthread_once_t process_key_once = PTHREAD_ONCE_INIT;

static void process_key_draw(void)
{
	crypto_random(process_key, sizeof(process_key));
}

uint64_t hash_bytes(const void *p, size_t n)
{
	pthread_once(&process_key_once, process_key_draw);
	return hash_keyed(process_key, p, n);
}

uint64_t hash_stable(const void *p, size_t n)
{
	static const uint64_t key[2] = {0x686f6c6466617374ULL, 0x2068617368206b65ULL};
	return hash_keyed(key, p, n);
}

/* ---- the table: linear probing; a removed slot is MAP_GONE where a probe may have to pass it ----
 */

void map_init(struct map *m)
{
	*m = (struct map){0};
}

void map_free(struct map *m)
{
	free(m->slots);
	*m = (struct map){0};
}

static uint32_t key_hash(struct slice key)
{
	return (uint32_t)hash_bytes(key.p, key.n);
}

static struct map_slot *map_find(const struct map *m, struct slice key, uint32_t hash)
{
	if (m->used == 0)
		return NULL;
	size_t mask = m->size - 1;
	for (size_t i = hash & mask; m->slots[i].value; i = (i + 1) & mask) {
		struct map_slot *s = &m->slots[i];
		if (s->value != MAP_GONE && s->hash == hash && s->key_len == key.n &&
		        (key.n == 0 || memcmp(s->key, key.p, key.n) == 0))
			return s;
	}
	return NULL;
}

void *map_get(const struct map *m, struct slice key)
{
	if (m->used == 0)
		return NULL;
	struct map_slot *s = map_find(m, key, key_hash(key));
	return s ? s->value : NULL;
}

static int map_resize(struct map *m, size_t want)
{
	size_t size = MAP_MIN;
	while (size / 2 < want)
		size *= 2;
	if (size > UINT32_MAX)
		return ERR_NOMEM;
	struct map_slot *slots = calloc(size, sizeof(*slots));
	if (!slots)
		return ERR_NOMEM;
	for (size_t i = 0; i < m->size; i++) {
		const struct map_slot *s = &m->slots[i];
		if (!s->value || s->value == MAP_GONE)
			continue;
		size_t j = s->hash & (size - 1);
		while (slots[j].value)
			j = (j + 1) & (size - 1);
		slots[j] = *s;
	}
	free(m->slots);
	m->slots = slots;
	m->size = size;
	m->filled = m->used;
	return 0;
}

int map_put(struct map *m, struct slice key, void *value, void **ret_old)
{
	assert(value && value != MAP_GONE && key.n <= UINT32_MAX);
	uint32_t hash = key_hash(key);
	struct map_slot *s = map_find(m, key, hash);
	if (ret_old)
		*ret_old = s ? s->value : NULL;
	if (s) {
		s->key = key.p;
		s->value = value;
		return 0;
	}
	bool crowded = (m->filled + 1) * 4 > m->size * 3;
	bool sparse = m->size > MAP_MIN && m->used < m->size / 16;
	/* A table that cannot shrink goes on as it is. */
	if ((crowded || sparse) && map_resize(m, m->used + 1) < 0 && crowded)
		return ERR_NOMEM;
	size_t i = hash & (m->size - 1);
	while (m->slots[i].value && m->slots[i].value != MAP_GONE)
		i = (i + 1) & (m->size - 1);
	if (!m->slots[i].value)
		m->filled++;
	m->slots[i] = (struct map_slot){
	        .hash = hash, .key = key.p, .key_len = (uint32_t)key.n, .value = value};
	m->used++;
	return 0;
}

void *map_remove(struct map *m, struct slice key)
{
	if (m->used == 0)
		return NULL;
	struct map_slot *s = map_find(m, key, key_hash(key));
	if (!s)
		return NULL;
	void *value = s->value;
	m->used--;
	s->value = MAP_GONE;
	s->key = NULL;
	/* Where the probe ends behind it, the slot and the gone ones before it can be free again.
	 */
	size_t mask = m->size - 1, i = (size_t)(s - m->slots);
	if (!m->slots[(i + 1) & mask].value)
		for (; m->slots[i].value == MAP_GONE; i = (i - 1) & mask) {
			m->slots[i].value = NULL;
			m->filled--;
		}
	return value;
}

void *map_next(const struct map *m, size_t *pos)
{
	while (*pos < m->size) {
		void *value = m->slots[(*pos)++].value;
		if (value && value != MAP_GONE)
			return value;
	}
	return NULL;
}
