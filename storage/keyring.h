/*
 * The master key and the keys of the hub that it wraps. The one place that holds them: memory that
 * is locked, left out of core files, and wiped. Made before any thread, then read-only: any thread.
 */
#ifndef HF_STORAGE_KEYRING_H
#define HF_STORAGE_KEYRING_H

#include "server/base/crypto.h"

struct keyring;

#define WRAP_OVERHEAD (1 + CRYPTO_NONCE_LEN + CRYPTO_TAG_LEN)
#define WRAP_MAX 256 /* bytes of what is wrapped */

/* Reads the master key: 64 hex digits in a file that nobody but its owner may read. 0; ERR_IO,
 * ERR_INVALID, ERR_NOMEM with one line in error. */
int keyring_load(const char *file, struct keyring **ret, char *error, size_t size);
void keyring_free(struct keyring *k);

/* New keys of the hub, for a new database. */
void keyring_make_hub_keys(struct keyring *k);
/* The hub's keys, wrapped, as the database has them. */
struct keyring_hub {
	uint8_t check[WRAP_MAX], mac[WRAP_MAX], seal[WRAP_MAX];
	size_t check_len, mac_len, seal_len;
};
int keyring_wrap_hub(const struct keyring *k, struct keyring_hub *ret);
/* 0; ERR_CONFLICT: another master key made these; ERR_CORRUPT: they were altered. */
int keyring_unwrap_hub(struct keyring *k, const struct keyring_hub *hub);

/*
 * Wraps n bytes (at most WRAP_MAX - WRAP_OVERHEAD) for one purpose and owner, to n + WRAP_OVERHEAD
 * bytes in out; unwrap gives them back only for the same purpose and owner. 0; ERR_CORRUPT;
 * ERR_CRYPTO; ERR_TOO_BIG.
 */
struct wrap_owner {
	const char *purpose; /* a literal: "dek", "device-key", … */
	struct slice name;   /* device id and the like; may be empty */
	uint64_t number;     /* device_key; or 0 */
	uint64_t which;      /* key id, primary or secondary; or 0 */
};
int keyring_wrap(
        const struct keyring *k, const struct wrap_owner *owner, struct slice plain, uint8_t *out);
int keyring_unwrap(const struct keyring *k, const struct wrap_owner *owner, struct slice wrapped,
        uint8_t *out);

/* HMAC-SHA-256 under the hub's key, for a purpose. */
void keyring_mac(const struct keyring *k, const char *purpose, struct slice in,
        uint8_t out[static CRYPTO_HASH_LEN]);
/* The tag of a QoS 2 message: topic and payload, told apart. */
void keyring_qos2_tag(
        const struct keyring *k, struct slice topic, struct slice payload, uint8_t tag[static 8]);
/* The key of records that belong to no device, with nonces that count: derived from the one below,
 * whose nonces are random. Valid as long as the keyring is. */
const uint8_t *keyring_record_key(const struct keyring *k);
/* Seals what belongs to no device, under the hub's key, as keyring_wrap does but for any length. */
int keyring_seal(
        const struct keyring *k, const struct wrap_owner *owner, struct slice plain, uint8_t *out);
int keyring_open(
        const struct keyring *k, const struct wrap_owner *owner, struct slice sealed, uint8_t *out);

#endif
