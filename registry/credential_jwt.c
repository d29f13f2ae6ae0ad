/*
 * A device or module by a JWT that it has signed with a key of its own: the password of MQTT (the
 * user name may be anything, the client id says who), or a bearer token of device HTTPS.
 */
#include <strings.h>

#include "registry/credential.h"
#include "registry/jwt_keys.h"
#include "server/base/clock.h"

#define BEARER "Bearer "

/* The token that the request shows; empty: none. */
static struct slice token_of(const struct auth_request *req)
{
	const size_t n = sizeof(BEARER) - 1;
	struct slice text = req->https ? req->authorization : req->password;
	if (!req->https)
		return text;
	if (text.n <= n || strncasecmp((const char *)text.p, BEARER, n) != 0)
		return (struct slice){0};
	return slice_from(text, n);
}

static bool fits(const struct attempt *a)
{
	return jws_is(token_of(a->req));
}

static enum deny_reason read_jwt(struct attempt *a)
{
	const struct auth_request *req = a->req;
	const struct settings *settings = a->query.shard->settings;
	enum deny_reason why = attempt_want_device(a, req->https ? req->device_id : req->client_id);
	if (why != DENY_NONE)
		return why;
	struct jws *token = a->own = malloc(sizeof(*token));
	if (!token)
		return DENY_UNAVAILABLE;
	why = jws_parse(token_of(req), token);
	if (why != DENY_NONE)
		return why;
	a->method = AUTH_METHOD_JWT;
	const struct jws_rules rules = {
	        .audiences = settings->hub_names,
	        .n_audiences = settings->n_hub_names,
	        .subject = a->id,
	        .now_s = attempt_now_s(a),
	        .skew_s = settings->jwt_skew_s,
	        .max_lifetime_s = settings->jwt_max_lifetime_s,
	};
	return jws_check(token, &rules, &a->expires_at);
}

static enum deny_reason judge(struct attempt *a)
{
	const struct identity *subject = who_subject(&a->who);
	const struct jws *token = a->own;
	bool kind_fits = subject && subject->auth == DEVICE_AUTH_JWT;
	struct slice keys = kind_fits ? identity_text(subject, IDENTITY_DOC) : (struct slice){0};
	struct jwt_signer signer = {0};
	enum deny_reason why = jwt_keys_signer(keys, token, attempt_now_s(a), &signer);
	if (!subject)
		return DENY_UNKNOWN_DEVICE;
	if (!kind_fits)
		return DENY_KEY_KIND;
	if (why != DENY_NONE)
		return why;
	memcpy(a->tag, signer.tag, sizeof(a->tag));
	a->expires_at = earlier_expiry(a->expires_at, signer.not_after);
	return DENY_NONE;
}

static void drop(struct attempt *a)
{
	jws_free(a->own);
	a->own = NULL;
}

/* Whether the key that signed is still the identity's, and until when. */
static bool key_stands(const struct principal *p, const struct who *who, int64_t *ret_not_after)
{
	const struct identity *subject = who_subject(who);
	return subject->auth == DEVICE_AUTH_JWT &&
	        jwt_keys_have(identity_text(subject, IDENTITY_DOC), p->credential_tag,
	                clock_wall_us() / 1000000, ret_not_after);
}

static enum end_reason judge_again(const struct principal *p, const struct who *who)
{
	int64_t until;
	return key_stands(p, who, &until) ? END_NORMAL : END_CREDENTIAL_REVOKED;
}

/* A key's notAfter may have been brought forward since it signed. */
static int64_t expires_again(const struct principal *p, const struct who *who)
{
	int64_t until;
	return key_stands(p, who, &until) ? until : p->expires_at;
}

const struct credential credential_jwt = {
        .methods = 1u << AUTH_METHOD_JWT,
        .expired = DENY_JWT_EXPIRED,
        .fits = fits,
        .read = read_jwt,
        .judge = judge,
        .drop = drop,
        .judge_again = judge_again,
        .expires_again = expires_again,
};
