/*
 * Who sends a REST request. Read from the database each time: a revoked token or key is worth
 * nothing from the moment its revocation was answered, on every hub.
 */
#include <strings.h>

#include "registry/auth/sas.h"
#include "registry/private.h"
#include "server/base/clock.h"
#include "server/base/err.h"

#define BEARER "Bearer "
#define BEARER_MAX 512

static int refuse(enum deny_reason *ret_reason, enum deny_reason why)
{
	*ret_reason = why;
	return why == DENY_UNAVAILABLE ? ERR_UNAVAILABLE : ERR_UNAUTHENTICATED;
}

static bool is_bearer(struct slice text)
{
	const size_t n = sizeof(BEARER) - 1;
	return text.n > n && strncasecmp((const char *)text.p, BEARER, n) == 0;
}

static int by_bearer(struct registry *r, struct slice token, struct principal **ret,
        enum deny_reason *ret_reason)
{
	uint8_t mac[CRYPTO_HASH_LEN];
	char name[KEY_NAME_MAX + 1];
	uint32_t perms;
	int64_t expires;
	if (token.n > BEARER_MAX)
		return refuse(ret_reason, DENY_BEARER);
	r->store.mac(r->store.ctx, "token", token, mac);
	int err = r->store.token_get(r->store.ctx, mac, &perms, name, &expires);
	if (err == ERR_NOT_FOUND)
		return refuse(ret_reason, DENY_BEARER);
	if (err < 0)
		return refuse(ret_reason, DENY_UNAVAILABLE);
	if (expires != 0 && expires <= clock_wall_us() / 1000000)
		return refuse(ret_reason, DENY_BEARER);
	struct principal *p = principal_new(PRINCIPAL_TOKEN, slice_str(name), (struct slice){0});
	if (!p)
		return refuse(ret_reason, DENY_UNAVAILABLE);
	p->perms = perms;
	p->expires_at = expires;
	identity_credential_tag(slice_make(mac, sizeof(mac)), p->credential_tag);
	*ret = p;
	return 0;
}

static int principal_of_key(const struct access_key_record *key, const struct sas *sas,
        struct principal **ret, enum deny_reason *ret_reason)
{
	const struct slice keys[2] = {
	        slice_make(key->primary.bytes, key->primary.len),
	        slice_make(key->secondary.bytes, key->secondary.len),
	};
	int signer = sas_signer(sas, keys);
	if (signer < 0)
		return refuse(ret_reason, key->name[0] ? DENY_TOKEN_SIGNATURE : DENY_UNKNOWN_KEY);
	struct principal *p = principal_new(PRINCIPAL_KEY, slice_str(key->name), (struct slice){0});
	if (!p)
		return refuse(ret_reason, DENY_UNAVAILABLE);
	p->perms = key->perms & PERM_ALL_KEY;
	p->expires_at = sas->expires_at;
	identity_credential_tag(keys[signer], p->credential_tag);
	*ret = p;
	return 0;
}

static enum deny_reason check_token(struct registry *r, struct slice token, struct sas *ret)
{
	_cleanup_settings_ struct settings *settings = registry_settings(r);
	if (sas_parse(token, ret) < 0)
		return DENY_TOKEN_MALFORMED;
	/* The resource is the hub: a token for one device opens nothing here. */
	enum deny_reason why = sas_check_scope(
	        ret, settings->hub_names, settings->n_hub_names, (struct slice){0});
	if (why != DENY_NONE)
		return why;
	if (sas_expired(ret, clock_wall_us() / 1000000))
		return DENY_TOKEN_EXPIRED;
	return ret->skn[0] ? DENY_NONE : DENY_KEY_KIND;
}

static int by_key(struct registry *r, struct slice token, struct principal **ret,
        enum deny_reason *ret_reason)
{
	_cleanup_(access_key_record_done) struct access_key_record key = {0};
	struct sas sas;
	enum deny_reason why = check_token(r, token, &sas);
	if (why != DENY_NONE)
		return refuse(ret_reason, why);
	/* An unknown name goes the same way as a known one, with empty keys that sign nothing. */
	int err = r->store.access_key_get(r->store.ctx, sas.skn, &key);
	if (err < 0 && err != ERR_NOT_FOUND)
		return refuse(ret_reason, DENY_UNAVAILABLE);
	return principal_of_key(&key, &sas, ret, ret_reason);
}

/* Who is refused, for the log: a name that somebody claims, never a token. */
static struct slice claimed_name(struct slice authorization, struct sas *sas)
{
	if (sas_parse(authorization, sas) < 0)
		return (struct slice){0};
	return slice_str(sas->skn);
}

int registry_authenticate_admin(struct registry *r, struct slice authorization, const char *peer,
        struct principal **ret, enum deny_reason *ret_reason)
{
	enum deny_reason why = DENY_NONE;
	struct principal *p = NULL;
	int err;
	if (is_bearer(authorization))
		err = by_bearer(r, slice_from(authorization, sizeof(BEARER) - 1), &p, &why);
	else if (sas_is(authorization))
		err = by_key(r, authorization, &p, &why);
	else
		err = refuse(&why, DENY_NO_CREDENTIAL);
	if (err < 0) {
		struct sas sas;
		registry_note_denied(why, claimed_name(authorization, &sas), peer);
		*ret_reason = why;
		return err;
	}
	registry_note_allowed(p, peer);
	*ret = p;
	return 0;
}
