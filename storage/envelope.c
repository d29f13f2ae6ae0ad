#include "storage/envelope.h"

#include <assert.h>

#include "server/base/err.h"
#include "storage/pg.h"

#define VERSION 1
#define AAD_MAX 512

/* purpose NUL, length and bytes of the name, the two numbers: no two owners have the same. */
static struct slice owner_aad(const struct wrap_owner *o, uint8_t aad[static AAD_MAX])
{
	size_t purpose = strlen(o->purpose) + 1;
	uint8_t *at = aad;

	assert(purpose + o->name.n + 24 <= AAD_MAX);
	memcpy(at, o->purpose, purpose);
	at += purpose;
	pg_store_u64(at, o->name.n);
	at += 8;
	if (o->name.n > 0)
		memcpy(at, o->name.p, o->name.n);
	at += o->name.n;
	pg_store_u64(at, o->number);
	pg_store_u64(at + 8, o->which);
	return slice_make(aad, (size_t)(at + 16 - aad));
}

int envelope_seal(const uint8_t key[static CRYPTO_KEY_LEN], const struct wrap_owner *owner,
        struct slice plain, uint8_t *out)
{
	uint8_t aad[AAD_MAX];

	out[0] = VERSION;
	crypto_random(out + 1, CRYPTO_NONCE_LEN);
	return crypto_seal(key, out + 1, owner_aad(owner, aad), plain, out + 1 + CRYPTO_NONCE_LEN);
}

int envelope_open(const uint8_t key[static CRYPTO_KEY_LEN], const struct wrap_owner *owner,
        struct slice sealed, uint8_t *out)
{
	uint8_t aad[AAD_MAX];

	if (sealed.n < ENVELOPE_OVERHEAD || sealed.p[0] != VERSION)
		return ERR_CORRUPT;
	return crypto_open(key, sealed.p + 1, owner_aad(owner, aad),
	        slice_from(sealed, 1 + CRYPTO_NONCE_LEN), out);
}
