#include "registry/thumbprint.h"

#include <string.h>

#include "server/base/cleanup.h"

/* A hex text in quotes cannot stand in the document but as one of the two values: nothing else of
 * it is free. So the document need not be parsed for everybody who connects. */
static bool has_quoted(struct slice doc, struct slice bytes)
{
	char text[THUMBPRINT_TEXT_MAX + 3];
	text[0] = '"';
	crypto_hex_encode(bytes, text + 1);
	text[1 + 2 * bytes.n] = '"';
	return doc.n > 0 && memmem(doc.p, doc.n, text, 2 + 2 * bytes.n) != NULL;
}

enum thumbprint thumbprint_fits(const struct identity *device, const uint8_t id[static X509_ID_LEN],
        const uint8_t sha1[static X509_SHA1_LEN])
{
	struct slice doc = identity_text(device, IDENTITY_DOC);
	if (has_quoted(doc, slice_make(id, X509_ID_LEN)))
		return THUMBPRINT_SHA256;
	return has_quoted(doc, slice_make(sha1, X509_SHA1_LEN)) ? THUMBPRINT_SHA1 : THUMBPRINT_NONE;
}

static bool take_digit(char c, char *ret)
{
	bool lower = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
	bool upper = c >= 'A' && c <= 'F';
	*ret = (char)(upper ? c + ('a' - 'A') : c);
	return lower || upper;
}

bool thumbprint_read(
        struct doc_check *c, const json_t *value, char ret[static THUMBPRINT_TEXT_MAX + 1])
{
	struct slice text = slice_make(json_string_value(value), json_string_length(value));
	char digits[THUMBPRINT_TEXT_MAX + 1] = "";
	size_t n = 0;
	bool ok = json_is_string(value);
	for (size_t i = 0; ok && i < text.n; i++) {
		if (text.p[i] == ':' && i % 3 == 2)
			continue;
		ok = n < THUMBPRINT_TEXT_MAX && take_digit((char)text.p[i], &digits[n]);
		n += ok;
	}
	digits[n] = '\0';
	if (!ok || (n != THUMBPRINT_TEXT_MAX && n != THUMBPRINT_SHA1_TEXT)) {
		doc_error(c, "must be a SHA-256 (64 hex digits) or SHA-1 (40) of a certificate");
		return false;
	}
	memcpy(ret, digits, n + 1);
	return true;
}
