/*
 * A hash table from bytes to pointers, keyed by SipHash with a key drawn at process start, so that
 * hostile names cannot choose their bucket. Open addressing; it grows and shrinks; it does not own
 * keys or values: a key lives in the value that it points to. Owned by one thread.
 */
#ifndef HF_BASE_MAP_H
#define HF_BASE_MAP_H

#include "server/base/slice.h"

struct map_slot {
	const void *key;
	uint32_t key_len, hash; /* hash: of SipHash's bits as many as there can be slots */
	void *value;            /* NULL: free; MAP_GONE: removed */
};

struct map {
	struct map_slot *slots;
	size_t size; /* a power of two, or 0 */
	size_t used, filled;
};

/* SipHash-2-4 of the bytes under the process's random key (drawn from RAND_bytes on first use). */
uint64_t hash_bytes(const void *p, size_t n);
/* The same under a fixed key: equal in every process and run, for choosing lanes and homes. */
uint64_t hash_stable(const void *p, size_t n);
/* The same under a key of the caller's. */
uint64_t hash_keyed(const uint64_t key[static 2], const void *p, size_t n);

void map_init(struct map *m);
void map_free(struct map *m); /* the table, not the values */
static inline size_t map_count(const struct map *m)
{
	return m->used;
}
void *map_get(const struct map *m, struct slice key);
/* Adds or replaces; ret_old (may be NULL) gets the value that was there. key must live as long as
 * the entry. 0 or ERR_NOMEM. value must not be NULL. */
int map_put(struct map *m, struct slice key, void *value, void **ret_old);
/* Removes and returns the value, NULL if there was none. */
void *map_remove(struct map *m, struct slice key);
/* Walks: start with *pos = 0; returns NULL at the end. Removing the returned entry while walking
 * is allowed, adding is not. */
void *map_next(const struct map *m, size_t *pos);
#define map_for_each(m, pos, v) for (size_t pos = 0; ((v) = map_next((m), &pos)) != NULL;)

#endif
