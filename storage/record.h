/*
 * The sealed form of a message, stored or queued or retained or a will.
 *   sealed: version (1 byte) | nonce (12) | AES-256-GCM of the plain form | tag (16)
 *   plain:  version (1) | qos (1) | flags (1) | topic length (2), topic | module length (1), module
 *           | properties length (4), properties as on the wire
 *           | version 2: length (4) and bytes of what its kind adds | payload
 * The associated data ties it to its kind and place. Numbers are big endian. No state; any thread.
 */
#ifndef HF_STORAGE_RECORD_H
#define HF_STORAGE_RECORD_H

#include "server/base/crypto.h"
#include "server/base/slice.h"

#define RECORD_SEALED_HEAD (1 + CRYPTO_NONCE_LEN)
#define RECORD_PLAIN_HEAD (3 + 2 + 1 + 4)
#define RECORD_OVERHEAD (RECORD_SEALED_HEAD + RECORD_PLAIN_HEAD + CRYPTO_TAG_LEN)
#define RECORD_MODULE_MAX 255

struct record {
	uint8_t qos;
	bool retain;
	struct slice topic, module, props, payload;
	struct slice extra; /* what its kind adds; p NULL: nothing, as telemetry */
};

enum record_kind { RECORD_TELEMETRY, RECORD_QUEUED, RECORD_RETAINED, RECORD_WILL };

/* Where a row stands: its columns. */
struct record_place {
	uint64_t device_key;
	int64_t key_id;
	int64_t seq; /* of telemetry; its number in a queue; second half of the topic's MAC */
	int64_t received_us; /* 0 for a will */
	enum record_kind kind;
	uint64_t owner; /* not of telemetry: queue; first half of the topic's MAC; session */
};

static inline size_t record_sealed_size(const struct record *r)
{
	return RECORD_OVERHEAD + r->topic.n + r->module.n + r->props.n + r->payload.n +
	        (r->extra.p ? 4 + r->extra.n : 0);
}

/* Writes record_sealed_size bytes to out. topic at most 65,535 bytes, module 255. 0, ERR_TOO_BIG or
 * ERR_CRYPTO. */
int record_seal(const struct record *r, const struct record_place *place,
        const uint8_t key[static CRYPTO_KEY_LEN], const uint8_t nonce[static CRYPTO_NONCE_LEN],
        uint8_t *out);
/* Opens to plain (sealed.n bytes of room), *ret's slices point into it. 0 or ERR_CORRUPT: altered,
 * from another place, or not a record. */
int record_open(struct slice sealed, const struct record_place *place,
        const uint8_t key[static CRYPTO_KEY_LEN], uint8_t *plain, struct record *ret);
/* The plain form alone; bytes of any kind. 0 or ERR_CORRUPT. */
int record_decode(struct slice plain, struct record *ret);

#endif
