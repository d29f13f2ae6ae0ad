/*
 * The data keys that one reading of telemetry needs, by key_id, for many rows at a time. They are
 * kept for half a second, at most READ_KEYS_MAX of them, so that a key that is destroyed meanwhile
 * opens nothing more. Always from the primary. Owned by one thread.
 */
#ifndef HF_STORAGE_READ_KEYS_H
#define HF_STORAGE_READ_KEYS_H

#include "server/base/map.h"
#include "storage/private.h"

#define READ_KEYS_MAX 8192

struct read_key {
	int64_t key_id;
	uint64_t device_key;
	bool there; /* else it was destroyed: what it sealed is gone */
	uint8_t key[CRYPTO_KEY_LEN];
	char device[DEVICE_ID_MAX + 1]; /* empty: that generation is gone */
};

struct read_keys {
	struct storage *s;
	struct map map;
	uint64_t since_ms; /* the oldest of them */
};

void read_keys_init(struct read_keys *k, struct storage *s);
void read_keys_done(struct read_keys *k);
/* Sees to it that all of these n (at most READ_KEYS_MAX) can be had. 0; ERR_UNAVAILABLE,
 * ERR_INTERNAL, ERR_NOMEM. */
int read_keys_want(struct read_keys *k, const int64_t *ids, unsigned n);
/* One of the last read_keys_want; good until the next one. */
const struct read_key *read_keys_get(const struct read_keys *k, int64_t key_id);

#endif
