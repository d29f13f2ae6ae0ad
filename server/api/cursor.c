#include "server/api/cursor.h"

#include <assert.h>

#include "server/base/crypto.h"
#include "server/base/err.h"

static void tag_of(const struct registry_store *key, struct slice scope, struct slice position,
        uint8_t ret[static API_CURSOR_TAG_LEN])
{
	uint8_t in[CRYPTO_HASH_LEN + API_CURSOR_POSITION_MAX], mac[CRYPTO_HASH_LEN];
	assert(scope.n > 0 && position.n <= API_CURSOR_POSITION_MAX);
	crypto_sha256(scope, in); /* it may have names of any length in it */
	if (position.n > 0)
		memcpy(in + CRYPTO_HASH_LEN, position.p, position.n);
	key->mac(key->ctx, "cursor", slice_make(in, CRYPTO_HASH_LEN + position.n), mac);
	memcpy(ret, mac, API_CURSOR_TAG_LEN);
}

void api_cursor_make(const struct registry_store *key, struct slice scope, struct slice position,
        char ret[static API_CURSOR_LEN + 1])
{
	uint8_t raw[API_CURSOR_TAG_LEN + API_CURSOR_POSITION_MAX];
	tag_of(key, scope, position, raw);
	if (position.n > 0)
		memcpy(raw + API_CURSOR_TAG_LEN, position.p, position.n);
	size_t n = crypto_base64_encode(slice_make(raw, API_CURSOR_TAG_LEN + position.n), ret);
	for (size_t i = 0; i < n; i++) {
		if (ret[i] == '+')
			ret[i] = '-';
		else if (ret[i] == '/')
			ret[i] = '_';
	}
	while (n > 0 && ret[n - 1] == '=')
		ret[--n] = '\0';
}

int api_cursor_read(const struct registry_store *key, struct slice scope, struct slice text,
        uint8_t ret[static API_CURSOR_POSITION_MAX], size_t *ret_len)
{
	char padded[API_CURSOR_LEN];
	uint8_t raw[API_CURSOR_LEN / 4 * 3], tag[API_CURSOR_TAG_LEN];
	size_t n = 0, raw_len;
	if (text.n > sizeof(padded))
		return ERR_INVALID;
	for (; n < text.n; n++) {
		char c = (char)text.p[n];
		if (c == '+' || c == '/' || c == '=')
			return ERR_INVALID;
		padded[n] = c;
		if (c == '-')
			padded[n] = '+';
		else if (c == '_')
			padded[n] = '/';
	}
	while (n % 4 != 0)
		padded[n++] = '=';
	if (crypto_base64_decode(slice_make(padded, n), raw, &raw_len) < 0 ||
	        raw_len < API_CURSOR_TAG_LEN ||
	        raw_len > API_CURSOR_TAG_LEN + API_CURSOR_POSITION_MAX)
		return ERR_INVALID;
	struct slice position = slice_make(raw + API_CURSOR_TAG_LEN, raw_len - API_CURSOR_TAG_LEN);
	tag_of(key, scope, position, tag);
	if (!crypto_equal(raw, tag, sizeof(tag)))
		return ERR_INVALID;
	memcpy(ret, position.p, position.n);
	*ret_len = position.n;
	return 0;
}
