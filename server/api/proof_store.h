/*
 * The port through which the API shows what proves the hub's history: signed heads of its chains,
 * and signed records of what retention dropped. Storage implements it. On threads that may block
 * (API workers).
 */
#ifndef HF_API_PROOF_STORE_H
#define HF_API_PROOF_STORE_H

#include "server/base/slice.h"

/* A text that is signed, whatever it says. */
struct proof_statement {
	int64_t number, at_us;
	struct slice body, signature; /* Ed25519, over "head", "retention" or "erasure", a byte 0
	                                 and the body */
};

enum proof_kind { PROOF_HEAD, PROOF_RETENTION, PROOF_ERASURE };

struct proof_query {
	enum proof_kind kind;
	int64_t from_us, to_us; /* [from, to); INT64_MIN / INT64_MAX: open */
	bool ascending;         /* by number */
	bool has_after;         /* go on behind that number, in the direction of the query */
	int64_t after;
	unsigned limit;
	const char *device; /* PROOF_ERASURE: of devices of that id; NULL: of all */
};

struct proof_store {
	void *ctx;
	const uint8_t *public_key; /* 32 bytes, Ed25519 */
	/* Calls row for up to limit statements; its slices are valid during the call; it returns 0,
	 * or an error that ends the query. 0; ERR_UNAVAILABLE; ERR_INTERNAL. */
	int (*query)(void *ctx, const struct proof_query *q,
	        int (*row)(const struct proof_statement *s, void *arg), void *arg);
	/* Destroys the data keys of a device: nothing that was stored of it opens any more. Calls
	 * row with the receipt, once it is done. 0; ERR_NOT_FOUND; ERR_UNAVAILABLE; ERR_INTERNAL;
	 * row's error. */
	int (*erase)(void *ctx, const char *device,
	        int (*row)(const struct proof_statement *s, void *arg), void *arg);
};

#endif
