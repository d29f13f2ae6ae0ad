/*
 * What is signed of the chains: heads, and records of what retention dropped. Both are text, a line
 * for each thing, so that they can be read, kept on paper and checked with any tool:
 *
 *   holdfast head 1                        holdfast retention 1
 *   number NUMBER                          number NUMBER
 *   at MICROSECONDS                        at MICROSECONDS
 *   previous HASH                          partition YYYYMMDD
 *   audit POSITION HASH                    audit FIRST LAST PREV HASH
 *   chain CHAIN POSITION HASH              span CHAIN FIRST LAST PREV HASH
 *   chain …                                span …
 *
 * Numbers are decimal, without sign or leading zeros; hashes 64 lower-case hex digits; lines end
 * with \n; chains rise. A head's previous is the SHA-256 of the text of the head before (64 zeros:
 * there is none), its numbers follow each other. A chain that is not named has no row. A span is
 * rows of a chain that followed each other: the first one's position and prev, the last one's
 * position and hash. A record of retention has a partition and its spans, or an audit line alone.
 *
 * The signature is Ed25519 as keyring_sign makes it, purposes "head" and "retention", over the
 * whole text. Any thread.
 */
#ifndef HF_STORAGE_HEAD_H
#define HF_STORAGE_HEAD_H

#include "server/base/buf.h"
#include "server/base/crypto.h"

#define HEAD_PURPOSE "head"
#define RETENTION_PURPOSE "retention"
#define HEAD_CHAINS_MAX 100000
#define HEAD_TEXT_MAX (16u * 1024 * 1024)

struct head_chain {
	int64_t chain, position;
	uint8_t hash[CRYPTO_HASH_LEN];
};

struct head {
	int64_t number, at_us; /* microseconds since 1970 */
	uint8_t previous[CRYPTO_HASH_LEN];
	int64_t audit_position; /* 0: the audit log has no row */
	uint8_t audit_hash[CRYPTO_HASH_LEN];
	struct head_chain *chains;
	size_t n_chains;
};

struct head_span {
	int64_t chain, first, last;
	uint8_t prev[CRYPTO_HASH_LEN], hash[CRYPTO_HASH_LEN];
};

struct retention {
	int64_t number, at_us;
	int32_t partition;      /* YYYYMMDD; 0: of the audit log */
	struct head_span audit; /* where partition is 0; its chain is 0 */
	struct head_span *spans;
	size_t n_spans;
};

/* Appends the text. 0, ERR_NOMEM, ERR_TOO_BIG (the buffer's cap). */
int head_encode(const struct head *h, struct buf *out);
int retention_encode(const struct retention *r, struct buf *out);

/* Reads what encode wrote and nothing else; what is returned is freed by _done. 0, ERR_INVALID,
 * ERR_TOO_BIG, ERR_NOMEM. */
int head_decode(struct slice text, struct head *ret);
int retention_decode(struct slice text, struct retention *ret);
void head_done(struct head *h);
void retention_done(struct retention *r);

#endif
