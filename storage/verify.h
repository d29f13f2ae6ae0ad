/*
 * `holdfast verify`: private to verify.c (sources, order, report), verify_proof.c (what was signed:
 * heads, records of retention), verify_chain.c (links of chains, rows of telemetry) and
 * verify_audit.c. One thread.
 */
#ifndef HF_STORAGE_VERIFY_H
#define HF_STORAGE_VERIFY_H

#include "storage/chain.h"
#include "storage/copy.h"
#include "storage/head.h"
#include "storage/storage.h"

#define AUDIT_CHAIN 0 /* the number that the audit log goes by among the chains */

/* What a head says of a chain. */
struct anchor {
	int64_t chain, position, head;
	uint8_t hash[CRYPTO_HASH_LEN];
};

/* A head that was kept elsewhere; text is its own. */
struct kept_head {
	int64_t number;
	uint8_t hash[CRYPTO_HASH_LEN], signature[CRYPTO_SIGNATURE_LEN];
	uint8_t *text;
	size_t text_len;
};

/* What one place in a chain says of itself. */
struct link {
	int64_t chain, position;
	uint8_t prev[CRYPTO_HASH_LEN], hash[CRYPTO_HASH_LEN];
};

struct verify {
	const struct verify_settings *settings;
	void (*say)(const char *line);
	char *error;     /* STORAGE_ERROR_LEN: why it cannot go on */
	struct pg pg[2]; /* one moment of the database, seen by two connections */
	uint8_t public_key[CRYPTO_SIGN_KEY_LEN];

	/* What was signed; both by chain, then place. */
	struct anchor *anchors;
	size_t n_anchors, next_anchor;
	struct head_span *spans;
	size_t n_spans, next_span;
	int64_t last_head, last_head_us; /* number and time of the last head; 0: none */
	uint8_t last_head_hash[CRYPTO_HASH_LEN];
	uint8_t (*head_hashes)[CRYPTO_HASH_LEN]; /* of heads 1 to last_head */
	struct kept_head *kept;
	size_t n_kept;
	int32_t *dropped; /* the partitions (YYYYMMDD) that retention dropped */
	size_t n_dropped;

	/* The chain under way. */
	int64_t chain;
	struct chain_head at;
	int64_t anchored; /* the last place that a head tells of */

	uint64_t findings, rows, links, audit_rows, heads, unproved;
};

/* Something is not as it was: a line, of the first ones; the others are counted. */
void verify_found(struct verify *v, const char *format, ...) HF_PRINTF(2, 3);
/* Opens what name stands for: the query, or the file of an export. which: of the connections. 0 or
 * an error, told. */
int verify_open(
        struct verify *v, struct copy *c, unsigned which, const char *name, const char *select);
/* copy_next, copy_close; errors are told. */
int verify_next(struct verify *v, struct copy *c, unsigned fields);
int verify_close(struct verify *v, struct copy *c);
/* A row of an export that is not of the form. */
int verify_bad(struct verify *v, const char *what);

/* ---- verify_proof.c ---- */

/* Those of the file, before the database is looked at. */
int verify_kept_heads(struct verify *v);
/* The key, heads and records of retention, each with its signature. */
int verify_proofs(struct verify *v);
void verify_proofs_done(struct verify *v);

/* ---- verify_chain.c ---- */

/* A chain from its first place to its last; chains rise. what: "row of the audit log", … */
void verify_link(struct verify *v, const struct link *l);
/* After the last one of them all below chain. */
void verify_links_end(struct verify *v, int64_t chain);
int verify_chains(struct verify *v);
int verify_days(struct verify *v);

/* ---- verify_audit.c ---- */

int verify_audit(struct verify *v);

#endif
