/*
 * Idempotency-Key of POST: the same caller, key and request get the answer that was given before.
 * Answers of success are kept (sealed, 24 h) through the registry's port; a key whose first request
 * is still being carried out by this process is refused with 409. On workers.
 */
#ifndef HF_API_IDEMPOTENCY_H
#define HF_API_IDEMPOTENCY_H

#include <pthread.h>

#include "server/base/crypto.h"

struct api_call;

#define API_IDEMPOTENCY_KEY_MAX 128

/* The keys that workers are busy with. */
struct api_claim {
	struct api_claim *next;
	uint8_t key[CRYPTO_HASH_LEN];
};
struct api_claims {
	pthread_mutex_t mutex;
	struct api_claim *head;
};

void api_claims_init(struct api_claims *claims);
void api_claims_done(struct api_claims *claims);
/* Carries out the call's handler, once for each key if the request has one. */
void api_idempotency_run(struct api_call *c);

/* The hash of parts that are told apart by their lengths. 0 or ERR_NOMEM. */
int api_hash_parts(const struct slice *parts, unsigned n, uint8_t ret[static CRYPTO_HASH_LEN]);

#endif
