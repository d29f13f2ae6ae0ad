#include "registry/auth/custom.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <strings.h>

#include "server/base/crypto.h"
#include "server/base/err.h"
#include "server/base/utf8.h"

#define KEY_BITS_MIN 2048
#define KEY_BITS_MAX 8192

/* ---- where it stands ---- */

/* What is behind the first '?' of a user name. */
static struct slice username_query(const struct auth_request *req)
{
	if (req->https || !req->has_username || req->username.n == 0)
		return (struct slice){0};
	const uint8_t *mark = memchr(req->username.p, '?', req->username.n);
	return mark ? slice_from(req->username, (size_t)(mark - req->username.p) + 1)
	            : (struct slice){0};
}

static struct slice cut(struct slice *rest, char at)
{
	const uint8_t *p = rest->n > 0 ? memchr(rest->p, at, rest->n) : NULL;
	struct slice first = p ? slice_make(rest->p, (size_t)(p - rest->p)) : *rest;
	*rest = slice_from(*rest, first.n + (p != NULL));
	return first;
}

struct found {
	unsigned n;
	bool encoded; /* the value is a query's */
	struct slice value;
};

static void find_in_query(struct slice query, const char *name, struct found *ret)
{
	while (query.n > 0) {
		struct slice value = cut(&query, '&');
		if (!slice_eq_str(cut(&value, '='), name))
			continue;
		ret->n++;
		ret->encoded = true;
		ret->value = value;
	}
}

static void find_in_headers(const struct auth_request *req, const char *name, struct found *ret)
{
	for (unsigned i = 0; i < req->n_headers; i++) {
		const struct http_header *h = &req->headers[i];
		if (h->name.n != strlen(name) ||
		        strncasecmp((const char *)h->name.p, name, h->name.n) != 0)
			continue;
		ret->n++;
		ret->value = h->value;
	}
}

static struct found find(const struct auth_request *req, const char *name)
{
	struct found found = {0};
	find_in_query(username_query(req), name, &found);
	find_in_query(req->query, name, &found);
	find_in_headers(req, name, &found);
	return found;
}

bool custom_is_named(const struct auth_request *req)
{
	return find(req, CUSTOM_NAME).n > 0;
}

/* ---- its value ---- */

static bool is_text(struct slice s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] < ' ' || s.p[i] == 0x7f)
			return false;
	return utf8_valid(s);
}

static int percent_decode(struct slice in, char *out, size_t size, size_t *ret_len)
{
	size_t n = 0;
	for (size_t i = 0; i < in.n; i++) {
		uint8_t c = in.p[i];
		if (n == size)
			return ERR_INVALID;
		if (c == '%') {
			if (in.n - i < 3 ||
			        crypto_hex_decode(slice_make(in.p + i + 1, 2), &c, 1) < 0)
				return ERR_INVALID;
			i += 2;
		}
		out[n++] = (char)c;
	}
	*ret_len = n;
	return 0;
}

int custom_find(
        const struct auth_request *req, const char *name, char *out, size_t size, size_t *ret_len)
{
	struct found found = find(req, name);
	size_t n = found.value.n;
	if (found.n == 0)
		return ERR_NOT_FOUND;
	if (found.n > 1)
		return ERR_INVALID;
	if (found.encoded) {
		if (percent_decode(found.value, out, size - 1, &n) < 0)
			return ERR_INVALID;
	} else {
		if (n > size - 1)
			return ERR_INVALID;
		if (n > 0)
			memcpy(out, found.value.p, n);
	}
	out[n] = '\0';
	if (!is_text(slice_make(out, n)))
		return ERR_INVALID;
	*ret_len = n;
	return 0;
}

/* ---- signatures ---- */

static int no_passphrase(
        HF_UNUSED char *buf, HF_UNUSED int size, HF_UNUSED int rw, HF_UNUSED void *arg)
{
	return -1;
}

/* The struct has no members: what is behind it is OpenSSL's. */
static EVP_PKEY *pkey_of(const struct custom_key *k)
{
	return (EVP_PKEY *)(uintptr_t)k;
}

int custom_key_read(struct slice pem, struct custom_key **ret)
{
	if (pem.n == 0 || pem.n > CUSTOM_KEY_PEM_MAX)
		return ERR_INVALID;
	BIO *in = BIO_new_mem_buf(pem.p, (int)pem.n);
	if (!in)
		return ERR_NOMEM;
	EVP_PKEY *key = PEM_read_bio_PUBKEY(in, NULL, no_passphrase, NULL);
	BIO_free(in);
	ERR_clear_error();
	int bits = key ? EVP_PKEY_get_bits(key) : 0;
	if (!key || EVP_PKEY_get_base_id(key) != EVP_PKEY_RSA || bits < KEY_BITS_MIN ||
	        bits > KEY_BITS_MAX) {
		EVP_PKEY_free(key);
		return ERR_INVALID;
	}
	*ret = (struct custom_key *)key;
	return 0;
}

struct custom_key *custom_key_free(struct custom_key *k)
{
	EVP_PKEY_free(pkey_of(k));
	return NULL;
}

static bool verifies(EVP_PKEY *key, struct slice token, struct slice signature)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	EVP_PKEY_CTX *pkey = NULL;
	bool ok = ctx && EVP_DigestVerifyInit(ctx, &pkey, EVP_sha256(), NULL, key) == 1 &&
	        EVP_PKEY_CTX_set_rsa_padding(pkey, RSA_PKCS1_PADDING) == 1 &&
	        EVP_DigestVerify(ctx, signature.p, signature.n, token.p, token.n) == 1;
	EVP_MD_CTX_free(ctx);
	ERR_clear_error();
	return ok;
}

bool custom_is_signed(
        struct custom_key *const *keys, unsigned n, struct slice token, struct slice signature)
{
	uint8_t raw[CUSTOM_SIGNATURE_MAX / 4 * 3];
	size_t len;
	if (token.n == 0 || signature.n == 0 || signature.n > CUSTOM_SIGNATURE_MAX ||
	        crypto_base64_decode(signature, raw, &len) < 0)
		return false;
	bool ok = false;
	for (unsigned i = 0; i < n && !ok; i++)
		ok = verifies(pkey_of(keys[i]), token, slice_make(raw, len));
	return ok;
}
