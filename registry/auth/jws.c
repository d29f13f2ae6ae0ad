#include "registry/auth/jws.h"

#include <jwt.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <strings.h>

#include "server/base/cleanup.h"
#include "server/base/crypto.h"
#include "server/base/err.h"

#define ES256_SIG_LEN 64
#define RSA_BITS_MIN 2048
#define RSA_BITS_MAX 8192
#define YEAR_9999 253402300799LL

static const struct json_limits header_limits = {.bytes = 1024, .depth = 3, .values = 32};
static const struct json_limits claims_limits = {.bytes = JWS_TOKEN_MAX, .depth = 8, .values = 512};

static const struct {
	const char *name;
	jwt_alg_t lib;
} algs[] = {
        [JWS_ES256] = {"ES256", JWT_ALG_ES256},
        [JWS_RS256] = {"RS256", JWT_ALG_RS256},
};

const char *jws_alg_name(enum jws_alg alg)
{
	return algs[alg].name;
}

bool jws_alg_parse(struct slice name, enum jws_alg *ret)
{
	for (unsigned i = 0; i < ARRAY_LEN(algs); i++)
		if (slice_eq_str(name, algs[i].name)) {
			*ret = (enum jws_alg)i;
			return true;
		}
	return false;
}

/* ---- form ---- */

static bool is_base64url(struct slice s)
{
	for (size_t i = 0; i < s.n; i++) {
		uint8_t c = s.p[i];
		if (!((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
		            c == '-' || c == '_'))
			return false;
	}
	return s.n > 0;
}

/* header.payload.signature; false: not three parts of base64url. */
static bool split(struct slice token, struct slice ret[static 3])
{
	for (unsigned i = 0; i < 3; i++) {
		const uint8_t *dot = token.n > 0 ? memchr(token.p, '.', token.n) : NULL;
		if ((dot == NULL) != (i == 2))
			return false;
		ret[i] = dot ? slice_make(token.p, (size_t)(dot - token.p)) : token;
		token = slice_from(token, ret[i].n + 1);
		if (!is_base64url(ret[i]))
			return false;
	}
	return true;
}

bool jws_is(struct slice text)
{
	static const struct slice object = SLICE_LIT("eyJ"); /* {" */
	struct slice parts[3];
	return slice_has_prefix(text, object) && split(text, parts);
}

int jws_base64url_decode(struct slice s, uint8_t *out, size_t *ret_n)
{
	char text[JWS_TOKEN_MAX + 4];
	size_t n = s.n;
	if (n > JWS_TOKEN_MAX || n % 4 == 1)
		return ERR_INVALID;
	for (size_t i = 0; i < n; i++)
		text[i] = (char)(s.p[i] == '-' ? '+' : s.p[i] == '_' ? '/' : s.p[i]);
	while (n % 4 != 0)
		text[n++] = '=';
	return crypto_base64_decode(slice_make(text, n), out, ret_n);
}

static int read_object(struct slice part, const struct json_limits *limits, json_t **ret)
{
	uint8_t bytes[JWS_TOKEN_MAX + 4];
	char error[JSON_ERROR_LEN];
	json_t *value = NULL;
	size_t n;
	if (jws_base64url_decode(part, bytes, &n) < 0)
		return ERR_INVALID;
	if (json_read(slice_make(bytes, n), limits, &value, error) < 0)
		return ERR_INVALID;
	if (!json_is_object(value)) {
		json_decref(value);
		return ERR_INVALID;
	}
	*ret = value;
	return 0;
}

static struct slice text_of(const json_t *value)
{
	return slice_make(json_string_value(value), json_string_length(value));
}

/* Keys that a token brings along (jwk, jku, x5c, …) are nothing to us; what we would have to
 * understand (crit) we do not. */
static enum deny_reason read_header(struct slice part, struct jws *ret)
{
	_cleanup_json_ json_t *header = NULL;
	if (read_object(part, &header_limits, &header) < 0 || json_object_get(header, "crit"))
		return DENY_JWT_MALFORMED;
	const json_t *alg = json_object_get(header, "alg"), *kid = json_object_get(header, "kid");
	if (!json_is_string(alg))
		return DENY_JWT_MALFORMED;
	if (!jws_alg_parse(text_of(alg), &ret->alg))
		return DENY_JWT_ALGORITHM;
	if (!kid)
		return DENY_NONE;
	struct slice text = text_of(kid);
	if (!json_is_string(kid) || text.n > JWS_KID_MAX || memchr(text.p, '\0', text.n))
		return DENY_JWT_MALFORMED;
	memcpy(ret->kid, text.p, text.n);
	return DENY_NONE;
}

static bool all_zero(const uint8_t *p, size_t n)
{
	uint8_t any = 0;
	for (size_t i = 0; i < n; i++)
		any |= p[i];
	return any == 0;
}

/* RFC 7518 section 3.4: r and s of 32 bytes each, for ES256; neither is 0. */
static bool signature_possible(struct slice part, enum jws_alg alg)
{
	uint8_t bytes[JWS_TOKEN_MAX + 4];
	size_t n;
	if (jws_base64url_decode(part, bytes, &n) < 0)
		return false;
	if (alg == JWS_RS256)
		return n >= RSA_BITS_MIN / 8 && n <= RSA_BITS_MAX / 8;
	const size_t half = ES256_SIG_LEN / 2;
	return n == ES256_SIG_LEN && !all_zero(bytes, half) && !all_zero(bytes + half, half);
}

enum deny_reason jws_parse(struct slice token, struct jws *ret)
{
	struct slice parts[3];
	ret->claims = NULL;
	memset(ret->kid, 0, sizeof(ret->kid));
	if (token.n > JWS_TOKEN_MAX || !split(token, parts))
		return DENY_JWT_MALFORMED;
	enum deny_reason why = read_header(parts[0], ret);
	if (why != DENY_NONE)
		return why;
	if (!signature_possible(parts[2], ret->alg) ||
	        read_object(parts[1], &claims_limits, &ret->claims) < 0)
		return DENY_JWT_MALFORMED;
	memcpy(ret->text, token.p, token.n);
	ret->text[token.n] = '\0';
	return DENY_NONE;
}

void jws_done(struct jws *s)
{
	json_decref(s->claims);
	crypto_wipe(s, sizeof(*s));
}

void jws_free(struct jws *s)
{
	if (s)
		jws_done(s);
	free(s);
}

/* ---- signature ---- */

/* The token's algorithm is compared before anything else is done with the key: libjwt would take a
 * public key for the secret of an HMAC, if the token said so. */
bool jws_signed_by(const struct jws *s, enum jws_alg alg, const char *pem)
{
	jwt_t *jwt = NULL;
	if (s->alg != alg)
		return false;
	int r = jwt_decode(&jwt, s->text, (const unsigned char *)pem, (int)strlen(pem));
	bool same = r == 0 && jwt && jwt_get_alg(jwt) == algs[alg].lib;
	if (r == 0)
		jwt_free(jwt);
	return same;
}

/* Public keys whose private halves were never kept. */
static const char *const nobody[] = {
        [JWS_ES256] = "-----BEGIN PUBLIC KEY-----\n"
                      "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEPwxOHEXGtxltQ6cguJTQq0lEIb2Z\n"
                      "1ZR5j74suXMYVUzsCBnd3Ua+MdYWRzE4hv7N6DoZqyscRnTBxFbu82b1gA==\n"
                      "-----END PUBLIC KEY-----\n",
        [JWS_RS256] = "-----BEGIN PUBLIC KEY-----\n"
                      "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAyGAnjw/6A0sbYiteywQx\n"
                      "88lWvQNyjV7fDEEzzvISQI1H+tVoozLBoOCrHpX8IopDrOZCDW6E/OJaiDwDnWO4\n"
                      "XaVtSPF8GskaFpq25vK5i0aHgUyKyOlNEBMliuS/xivV0e4l794BWKqC58yTfm+e\n"
                      "SsqIpUONhNeNAOJO/HGdkvtTSvUJSEOu/t4LJDuKzblA9cpHQQ2BuUqhfdyXUmTi\n"
                      "HbQt+jKcHp0AB/qvVIIUOetjsfyu0AdTyYisbV5FsmxenERwHIHN5vaZ+RmyF1Rr\n"
                      "xPsmeGPiWy/EKuwzToWLOwbZ0Tr1o6wXd0Jevcdq3Hy3BUtmL9EnesD1DUiQCS5R\n"
                      "LQIDAQAB\n"
                      "-----END PUBLIC KEY-----\n",
};

void jws_waste(const struct jws *s)
{
	jws_signed_by(s, s->alg, nobody[s->alg]);
}

static const char *ec_error(EVP_PKEY *key)
{
	char group[64];
	size_t n;
	if (!EVP_PKEY_is_a(key, "EC") ||
	        EVP_PKEY_get_group_name(key, group, sizeof(group), &n) != 1 ||
	        strcmp(group, "prime256v1") != 0)
		return "must be a key on the curve P-256";
	return NULL;
}

static const char *rsa_error(EVP_PKEY *key)
{
	int bits = EVP_PKEY_get_bits(key);
	if (!EVP_PKEY_is_a(key, "RSA"))
		return "must be an RSA key";
	if (bits < RSA_BITS_MIN || bits > RSA_BITS_MAX)
		return "must have 2048 to 8192 bits";
	return NULL;
}

static bool public_key_holds(EVP_PKEY *key)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key, NULL);
	bool holds = ctx && EVP_PKEY_public_check(ctx) == 1;
	EVP_PKEY_CTX_free(ctx);
	return holds;
}

const char *jws_key_error(enum jws_alg alg, const char *pem)
{
	size_t n = strlen(pem);
	if (n > JWS_PEM_MAX)
		return "is too long: at most 2048 bytes";
	BIO *in = BIO_new_mem_buf(pem, (int)n);
	EVP_PKEY *key = in ? PEM_read_bio_PUBKEY(in, NULL, NULL, NULL) : NULL;
	const char *why = "must be a public key as PEM";
	if (key)
		why = alg == JWS_ES256 ? ec_error(key) : rsa_error(key);
	if (!why && !public_key_holds(key))
		why = "is no valid public key";
	EVP_PKEY_free(key);
	BIO_free(in);
	return why;
}

/* ---- claims ---- */

/* 1: there; 0: not there; ERR_INVALID: no time. RFC 7519 section 2, NumericDate. */
static int get_time(const json_t *claims, const char *name, int64_t *ret)
{
	const json_t *value = json_object_get(claims, name);
	if (!value)
		return 0;
	double number = json_number_value(value);
	if (!json_is_number(value) || !(number >= 0 && number <= (double)YEAR_9999))
		return ERR_INVALID;
	*ret = json_is_integer(value) ? json_integer_value(value) : (int64_t)number;
	return 1;
}

static bool names_one(const json_t *name, const struct jws_rules *rules)
{
	struct slice text = text_of(name);
	for (unsigned i = 0; i < rules->n_audiences; i++)
		if (text.n == strlen(rules->audiences[i]) &&
		        strncasecmp((const char *)text.p, rules->audiences[i], text.n) == 0)
			return true;
	return false;
}

static bool is_for_us(const json_t *aud, const struct jws_rules *rules)
{
	if (json_is_string(aud))
		return names_one(aud, rules);
	for (size_t i = 0; i < json_array_size(aud); i++) {
		const json_t *name = json_array_get(aud, i);
		if (json_is_string(name) && names_one(name, rules))
			return true;
	}
	return false;
}

static enum deny_reason check_times(
        const json_t *claims, const struct jws_rules *rules, int64_t *ret_expires)
{
	int64_t exp = 0, nbf = 0, iat = rules->now_s;
	int has_exp = get_time(claims, "exp", &exp);
	if (has_exp < 0 || get_time(claims, "nbf", &nbf) < 0 || get_time(claims, "iat", &iat) < 0)
		return DENY_JWT_MALFORMED;
	if (!has_exp || exp <= rules->now_s)
		return DENY_JWT_EXPIRED;
	if (nbf > rules->now_s + rules->skew_s || iat > rules->now_s + rules->skew_s)
		return DENY_JWT_NOT_YET;
	if (rules->max_lifetime_s && exp - iat > rules->max_lifetime_s)
		return DENY_JWT_LIFETIME;
	*ret_expires = exp;
	return DENY_NONE;
}

enum deny_reason jws_check(const struct jws *s, const struct jws_rules *rules, int64_t *ret_expires)
{
	const json_t *sub = json_object_get(s->claims, "sub");
	enum deny_reason why = check_times(s->claims, rules, ret_expires);
	if (why != DENY_NONE)
		return why;
	if (!is_for_us(json_object_get(s->claims, "aud"), rules))
		return DENY_JWT_AUDIENCE;
	if (sub && !json_is_string(sub))
		return DENY_JWT_MALFORMED;
	if (sub && rules->subject.p && !slice_eq(text_of(sub), rules->subject))
		return DENY_JWT_SUBJECT;
	return DENY_NONE;
}
