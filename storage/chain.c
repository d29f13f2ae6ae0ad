#include "storage/chain.h"

#include "storage/pg.h"

void chain_row_digest(
        const struct record_place *place, struct slice sealed, uint8_t ret[static CRYPTO_HASH_LEN])
{
	uint8_t head[32];

	pg_store_u64(head, place->device_key);
	pg_store_u64(head + 8, (uint64_t)place->received_us);
	pg_store_u64(head + 16, (uint64_t)place->seq);
	pg_store_u64(head + 24, (uint64_t)place->key_id);
	crypto_sha256_pair(slice_make(head, sizeof(head)), sealed, ret);
}

void chain_row_hash(const struct chain_row *row, const uint8_t (*digests)[CRYPTO_HASH_LEN],
        uint8_t ret[static CRYPTO_HASH_LEN])
{
	uint8_t head[16 + 40 + CRYPTO_HASH_LEN] = "holdfast chain 1";

	pg_store_u64(head + 16, (uint64_t)row->chain);
	pg_store_u64(head + 24, (uint64_t)row->position);
	pg_store_u64(head + 32, (uint64_t)row->day);
	pg_store_u64(head + 40, (uint64_t)row->first_seq);
	pg_store_u64(head + 48, row->n);
	memcpy(head + 56, row->prev, CRYPTO_HASH_LEN);
	crypto_sha256_pair(slice_make(head, sizeof(head)),
	        slice_make(digests, (size_t)row->n * CRYPTO_HASH_LEN), ret);
}
