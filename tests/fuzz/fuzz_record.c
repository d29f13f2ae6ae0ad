/* A stored message's plain form, as any bytes; and that a sealed one opens to what it was. */
#include <stdlib.h>

#include "storage/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool inside(struct slice part, struct slice whole)
{
	return part.n == 0 || (part.p >= whole.p && part.p + part.n <= whole.p + whole.n);
}

static void seal_again(const struct record *r)
{
	static const uint8_t key[CRYPTO_KEY_LEN], nonce[CRYPTO_NONCE_LEN];
	const struct record_place place = {1, 2, 3, 4};
	size_t n = record_sealed_size(r);
	uint8_t *sealed = malloc(n), *plain = malloc(n);
	struct record back;

	if (!sealed || !plain || record_seal(r, &place, key, nonce, sealed) < 0 ||
	        record_open(slice_make(sealed, n), &place, key, plain, &back) < 0)
		abort();
	if (back.qos != r->qos || back.retain != r->retain || !slice_eq(back.topic, r->topic) ||
	        !slice_eq(back.module, r->module) || !slice_eq(back.props, r->props) ||
	        !slice_eq(back.payload, r->payload))
		abort();
	free(sealed);
	free(plain);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice in = slice_make(data, size);
	struct record r;

	if (record_decode(in, &r) < 0)
		return 0;
	if (!inside(r.topic, in) || !inside(r.module, in) || !inside(r.props, in) ||
	        !inside(r.payload, in))
		abort();
	seal_again(&r);
	return 0;
}
