#include "registry/auth/secret.h"

#include <assert.h>

void secret_mac(const struct registry_store *store, struct slice id, struct slice secret,
        uint8_t out[static CRYPTO_HASH_LEN])
{
	uint8_t text[MODULE_ID_MAX + 1 + SECRET_MAX];
	assert(id.n <= MODULE_ID_MAX && secret.n <= SECRET_MAX);
	memcpy(text, id.p, id.n);
	text[id.n] = '\0'; /* in no id: where it ends is clear */
	memcpy(text + id.n + 1, secret.p, secret.n);
	store->mac(store->ctx, "secret", slice_make(text, id.n + 1 + secret.n), out);
	crypto_wipe(text, sizeof(text));
}

bool secret_fits(const struct registry_store *store, struct slice id, struct slice password,
        const uint8_t *mac)
{
	if (password.n < SECRET_MIN || password.n > SECRET_MAX)
		return false;
	uint8_t theirs[CRYPTO_HASH_LEN];
	static const uint8_t none[CRYPTO_HASH_LEN];
	secret_mac(store, id, password, theirs);
	bool same = crypto_equal(theirs, mac ? mac : none, sizeof(theirs));
	crypto_wipe(theirs, sizeof(theirs));
	return same && mac;
}

void secret_make(char out[static SECRET_MADE_LEN + 1])
{
	uint8_t bytes[32];
	char text[45];
	crypto_random(bytes, sizeof(bytes));
	crypto_base64_encode(slice_make(bytes, sizeof(bytes)), text);
	crypto_wipe(bytes, sizeof(bytes));
	for (unsigned i = 0; i < SECRET_MADE_LEN; i++)
		out[i] = (char)(text[i] == '+' ? '-' : text[i] == '/' ? '_' : text[i]);
	out[SECRET_MADE_LEN] = '\0';
	crypto_wipe(text, sizeof(text));
}
