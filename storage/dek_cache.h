/*
 * The raw data keys that a lane has at hand: the most recently used ones, wiped when they go.
 * Owned by one thread.
 */
#ifndef HF_STORAGE_DEK_CACHE_H
#define HF_STORAGE_DEK_CACHE_H

#include "server/base/crypto.h"
#include "server/base/map.h"

#define DEK_CACHE_MAX \
	65536 /* more than twice the largest batch: what a batch uses is not evicted */

struct dek {
	uint64_t device_key;
	int64_t key_id;
	uint8_t key[CRYPTO_KEY_LEN];
	uint32_t newer, older; /* places in the slab; private */
};

struct dek_cache {
	struct map map;
	struct dek
	        *slab; /* place 0 heads the list: its older is the newest, its newer the oldest */
	uint32_t n, free; /* places used so far; first of those given back, 0: none */
	size_t bytes;
};

int dek_cache_init(struct dek_cache *c); /* 0 or ERR_NOMEM */
void dek_cache_done(struct dek_cache *c);
/* NULL where it is not there; the pointer is good until DEK_CACHE_MAX others were put. */
const struct dek *dek_cache_get(struct dek_cache *c, uint64_t device_key);
int dek_cache_put(struct dek_cache *c, uint64_t device_key, int64_t key_id,
        const uint8_t key[static CRYPTO_KEY_LEN]); /* 0 or ERR_NOMEM */
void dek_cache_drop(struct dek_cache *c, uint64_t device_key);
void dek_cache_drop_all(struct dek_cache *c);

#endif
