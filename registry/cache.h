/*
 * The identities that one loop knows: the least recently used goes when it is full. Owned by its
 * loop. Private to the registry.
 */
#ifndef HF_REGISTRY_CACHE_H
#define HF_REGISTRY_CACHE_H

#include "registry/identity.h"
#include "server/base/map.h"

struct cache {
	struct map map;
	struct identity *newest, *oldest;
	size_t max;
};

void cache_init(struct cache *c, size_t max);
void cache_done(struct cache *c); /* wipes what it holds */
/* The identity of that name (identity_name_write), NULL if it is not there or of another epoch. A
 * borrowed reference. */
struct identity *cache_get(struct cache *c, struct slice name, uint64_t epoch);
/* Takes a reference of its own; replaces what has the same name. Full, or out of memory: something
 * else, or nothing, is kept. An identity that somebody else holds is not dropped to make room, so
 * that forgetting it still reaches the holder; these are as many as attempts under way. */
void cache_put(struct cache *c, struct identity *i);
/* Drops it and marks it forgotten, for those who hold it. */
void cache_forget(struct cache *c, struct slice name);
void cache_forget_all(struct cache *c);
/* A smaller cache drops what is too much when something is put next. */
void cache_set_max(struct cache *c, size_t max);

#endif
