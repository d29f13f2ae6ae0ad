#include "registry/sym_key.h"

void sym_key_make(struct sym_key *ret)
{
	crypto_random(ret->bytes, SYM_KEY_MADE);
	ret->len = SYM_KEY_MADE;
}

bool sym_key_read(struct doc_check *c, const json_t *value, struct sym_key *ret)
{
	if (!json_is_string(value)) {
		doc_error(c, "must be a string");
		return false;
	}
	/* Room for a little more than is allowed, so that what is too long is told as such. */
	uint8_t bytes[SYM_KEY_MAX];
	size_t n = 0;
	struct slice text = slice_make(json_string_value(value), json_string_length(value));
	bool fits = text.n / 4 * 3 <= sizeof(bytes) && crypto_base64_decode(text, bytes, &n) == 0 &&
	        n >= SYM_KEY_MIN && n <= SYM_KEY_GIVEN_MAX;
	if (fits) {
		memcpy(ret->bytes, bytes, n);
		ret->len = (uint8_t)n;
	} else {
		doc_error(c, "must be base64 of 16 to 64 bytes");
	}
	crypto_wipe(bytes, sizeof(bytes));
	return fits;
}

const char *sym_key_text(const struct sym_key *key, char out[static SYM_KEY_TEXT_MAX])
{
	crypto_base64_encode(slice_make(key->bytes, key->len), out);
	return out;
}
