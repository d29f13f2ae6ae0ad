#include "registry/auth/jwk.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>

#include "server/base/cleanup.h"
#include "server/base/err.h"

#define EC_COORDINATE 32
#define RSA_N_MAX 1024
#define RSA_E_MAX 8

static struct slice text_of(const json_t *jwk, const char *name)
{
	const json_t *value = json_object_get(jwk, name);
	return slice_make(json_string_value(value), json_string_length(value));
}

/* A member in base64url; false: not there, empty, or longer than max. */
static bool get_bytes(const json_t *jwk, const char *name, size_t max, uint8_t *out, size_t *ret_n)
{
	uint8_t bytes[RSA_N_MAX + 4];
	size_t n;
	struct slice text = text_of(jwk, name);
	if (text.n == 0 || text.n > (max + 2) / 3 * 4 ||
	        jws_base64url_decode(text, bytes, &n) < 0 || n == 0 || n > max)
		return false;
	memcpy(out, bytes, n);
	*ret_n = n;
	return true;
}

static EVP_PKEY *key_from(const char *type, OSSL_PARAM_BLD *build)
{
	OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(build);
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
	EVP_PKEY *key = NULL;
	if (params && ctx && EVP_PKEY_fromdata_init(ctx) == 1)
		EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params);
	EVP_PKEY_CTX_free(ctx);
	OSSL_PARAM_free(params);
	return key;
}

static EVP_PKEY *ec_key(const json_t *jwk)
{
	uint8_t point[1 + 2 * EC_COORDINATE] = {0x04}; /* uncompressed */
	size_t x, y;
	if (!slice_eq_str(text_of(jwk, "crv"), "P-256") ||
	        !get_bytes(jwk, "x", EC_COORDINATE, point + 1, &x) ||
	        !get_bytes(jwk, "y", EC_COORDINATE, point + 1 + EC_COORDINATE, &y) ||
	        x != EC_COORDINATE || y != EC_COORDINATE)
		return NULL;
	OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
	EVP_PKEY *key = NULL;
	if (build &&
	        OSSL_PARAM_BLD_push_utf8_string(
	                build, OSSL_PKEY_PARAM_GROUP_NAME, "prime256v1", 0) &&
	        OSSL_PARAM_BLD_push_octet_string(
	                build, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof(point)))
		key = key_from("EC", build);
	OSSL_PARAM_BLD_free(build);
	return key;
}

static EVP_PKEY *rsa_key(const json_t *jwk)
{
	uint8_t n[RSA_N_MAX], e[RSA_E_MAX];
	size_t n_len, e_len;
	if (!get_bytes(jwk, "n", sizeof(n), n, &n_len) ||
	        !get_bytes(jwk, "e", sizeof(e), e, &e_len))
		return NULL;
	OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
	BIGNUM *modulus = BN_bin2bn(n, (int)n_len, NULL),
	       *exponent = BN_bin2bn(e, (int)e_len, NULL);
	EVP_PKEY *key = NULL;
	if (build && modulus && exponent &&
	        OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, modulus) &&
	        OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_E, exponent))
		key = key_from("RSA", build);
	OSSL_PARAM_BLD_free(build);
	BN_free(modulus);
	BN_free(exponent);
	return key;
}

static char *pem_of(EVP_PKEY *key)
{
	BIO *out = BIO_new(BIO_s_mem());
	char *text = NULL, *data;
	if (out && PEM_write_bio_PUBKEY(out, key) == 1) {
		long n = BIO_get_mem_data(out, &data);
		text = n > 0 ? strndup(data, (size_t)n) : NULL;
	}
	BIO_free(out);
	return text;
}

/* A member that is there has to say it. */
static bool says(const json_t *jwk, const char *name, const char *want)
{
	return !json_object_get(jwk, name) || slice_eq_str(text_of(jwk, name), want);
}

int jwk_read(const json_t *jwk, enum jws_alg *ret_alg, char **ret_pem)
{
	bool is_ec = slice_eq_str(text_of(jwk, "kty"), "EC");
	enum jws_alg alg = is_ec ? JWS_ES256 : JWS_RS256;
	if (!is_ec && !slice_eq_str(text_of(jwk, "kty"), "RSA"))
		return ERR_INVALID;
	if (!says(jwk, "alg", jws_alg_name(alg)) || !says(jwk, "use", "sig"))
		return ERR_INVALID;
	EVP_PKEY *key = is_ec ? ec_key(jwk) : rsa_key(jwk);
	_cleanup_free_ char *pem = key ? pem_of(key) : NULL;
	EVP_PKEY_free(key);
	if (!pem || jws_key_error(alg, pem))
		return ERR_INVALID;
	*ret_alg = alg;
	*ret_pem = TAKE_PTR(pem);
	return 0;
}
