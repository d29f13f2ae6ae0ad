/*
 * The hashes of a chain. Every lane of every hub has one: each of its transactions that stores
 * telemetry appends a row (holdfast.chain), which hashes what was stored and the row before it.
 * Numbers are hashed as 8 bytes, big endian, times as microseconds and days since 1970. Any thread.
 */
#ifndef HF_STORAGE_CHAIN_H
#define HF_STORAGE_CHAIN_H

#include "server/base/crypto.h"
#include "storage/record.h"

#define CHAIN_MARK_LEN 4 /* of each digest, kept: they tell which row it was that changed */

/* How far a chain is: the position and hash of its last row. Position 0, a hash of zeros: none. */
struct chain_head {
	int64_t position;
	uint8_t hash[CRYPTO_HASH_LEN];
};

/* A row of a chain, but for its digests: n rows of telemetry, received on day, numbered on from
 * first_seq. */
struct chain_row {
	int64_t chain, position, day, first_seq;
	uint32_t n;
	uint8_t prev[CRYPTO_HASH_LEN];
};

/* Of a row of telemetry: SHA-256 of device_key, received_at, seq, key_id and the sealed bytes. */
void chain_row_digest(
        const struct record_place *place, struct slice sealed, uint8_t ret[static CRYPTO_HASH_LEN]);
/* Of a row of the chain: SHA-256 of "holdfast chain 1", chain, position, day, first_seq, n, prev
 * and the digests of its rows in the order of their numbers, row->n of them. */
void chain_row_hash(const struct chain_row *row, const uint8_t (*digests)[CRYPTO_HASH_LEN],
        uint8_t ret[static CRYPTO_HASH_LEN]);

#endif
