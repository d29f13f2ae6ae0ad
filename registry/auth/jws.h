/*
 * Signed JSON Web Tokens (RFC 7515 compact form, RFC 7519): ES256 and RS256, and nothing else. What
 * verifies is always chosen by the key at hand, never by the token. libjwt's only home is the .c.
 * Any thread.
 */
#ifndef HF_REGISTRY_AUTH_JWS_H
#define HF_REGISTRY_AUTH_JWS_H

#include "server/base/deny.h"
#include "server/base/json.h"
#include "server/base/slice.h"

#define JWS_TOKEN_MAX 8192
#define JWS_KID_MAX 256
#define JWS_PEM_MAX 2048

enum jws_alg { JWS_ES256, JWS_RS256 };
const char *jws_alg_name(enum jws_alg alg);
bool jws_alg_parse(struct slice name, enum jws_alg *ret);

/* A token whose form was checked, and whose signature was not. */
struct jws {
	enum jws_alg alg;
	char kid[JWS_KID_MAX + 1]; /* "": it names no key */
	json_t *claims;            /* an object */
	char text[JWS_TOKEN_MAX + 1];
};
/* RFC 7515 section 2: without padding; out holds s.n bytes. 0 or ERR_INVALID. */
int jws_base64url_decode(struct slice s, uint8_t *out, size_t *ret_n);
/* Whether the text looks like one: nothing else that is a credential does. */
bool jws_is(struct slice text);
/* DENY_NONE, DENY_JWT_MALFORMED, or DENY_JWT_ALGORITHM. To be done with in any case. */
enum deny_reason jws_parse(struct slice token, struct jws *ret);
void jws_done(struct jws *s);
/* The same on the heap; NULL is fine. */
void jws_free(struct jws *s);

/* Whether the key of that algorithm has signed it; pem: NUL-terminated, checked by
 * jws_key_error. */
bool jws_signed_by(const struct jws *s, enum jws_alg alg, const char *pem);
/* Computes as much as the former, against a key that nobody has. */
void jws_waste(const struct jws *s);
/* Why the PEM is no public key for the algorithm (P-256; RSA of 2048 to 8192 bits); NULL: it is. */
const char *jws_key_error(enum jws_alg alg, const char *pem);

/* What its claims have to say; all times are wall-clock seconds. */
struct jws_rules {
	char *const *audiences; /* one of them has to be in aud (any case) */
	unsigned n_audiences;
	struct slice subject; /* sub, where it is there; p NULL: anybody */
	int64_t now_s;
	unsigned skew_s;         /* nbf and iat may be so much ahead */
	unsigned max_lifetime_s; /* from iat (else now) to exp; 0: no limit */
};
/* DENY_NONE with exp in *ret_expires, or DENY_JWT_EXPIRED, _NOT_YET, _LIFETIME, _AUDIENCE,
 * _SUBJECT, _MALFORMED (a claim of the wrong type). RFC 7519 section 4.1. */
enum deny_reason jws_check(
        const struct jws *s, const struct jws_rules *rules, int64_t *ret_expires);

#endif
