/*
 * Who sends a REST request. Read from the database each time: a revoked token or key is worth
 * nothing from the moment its revocation was answered, on every hub.
 */
#include <strings.h>

#include "registry/auth/sas.h"
#include "registry/key_scope.h"
#include "registry/oidc.h"
#include "registry/private.h"
#include "server/base/clock.h"
#include "server/base/err.h"

#define BEARER "Bearer "
#define BEARER_MAX 512

struct admin_request {
	struct registry *registry;
	const char *peer;
	struct principal *principal; /* the answer, or why not */
	enum deny_reason why;
};

static int refuse(struct admin_request *req, enum deny_reason why)
{
	req->why = why;
	switch (why) {
	case DENY_UNAVAILABLE: return ERR_UNAVAILABLE;
	case DENY_OIDC_ROLE: return ERR_DENIED;
	default: return ERR_UNAUTHENTICATED;
	}
}

static bool is_bearer(struct slice text)
{
	const size_t n = sizeof(BEARER) - 1;
	return text.n > n && strncasecmp((const char *)text.p, BEARER, n) == 0;
}

/* Where a request comes from, as the rules for the credential have it. */
static bool comes_from(const struct token_record *token, const char *peer)
{
	struct ip_addr source;
	if (token->n_cidrs == 0)
		return true;
	if (ip_parse_peer(peer, &source) < 0)
		return false;
	for (unsigned i = 0; i < token->n_cidrs; i++)
		if (cidr_has(&token->cidrs[i], source.v6, source.bytes))
			return true;
	return false;
}

static enum deny_reason judge_token(const struct token_record *token, const char *peer)
{
	if (!role_by_name(slice_str(token->role)))
		return DENY_BEARER;
	if (token->expires_at != 0 && token->expires_at <= clock_wall_us() / 1000000)
		return DENY_BEARER;
	return comes_from(token, peer) ? DENY_NONE : DENY_SCOPE;
}

static int by_oidc(struct admin_request *req, struct slice token)
{
	enum deny_reason why = oidc_authenticate(req->registry->oidc, token, &req->principal);
	return why == DENY_NONE ? 0 : refuse(req, why);
}

static int by_bearer(struct admin_request *req, struct slice token)
{
	struct registry *r = req->registry;
	uint8_t mac[CRYPTO_HASH_LEN];
	struct token_record rec;
	if (r->oidc && jws_is(token))
		return by_oidc(req, token);
	if (token.n > BEARER_MAX)
		return refuse(req, DENY_BEARER);
	r->store.mac(r->store.ctx, "token", token, mac);
	int err = r->store.token_find(r->store.ctx, mac, &rec);
	if (err == ERR_NOT_FOUND)
		return refuse(req, DENY_BEARER);
	if (err < 0)
		return refuse(req, DENY_UNAVAILABLE);
	enum deny_reason why = judge_token(&rec, req->peer);
	if (why != DENY_NONE)
		return refuse(req, why);
	struct principal *p = principal_new(
	        PRINCIPAL_TOKEN, slice_str(rec.name), (struct slice){0});
	if (!p)
		return refuse(req, DENY_UNAVAILABLE);
	p->method = AUTH_METHOD_BEARER;
	p->perms = role_by_name(slice_str(rec.role))->perms;
	p->expires_at = rec.expires_at;
	identity_credential_tag(slice_make(mac, sizeof(mac)), p->credential_tag);
	req->principal = p;
	return 0;
}

static void scope_done(struct key_scope **s)
{
	if (*s)
		proof_unref(&(*s)->proof);
}

/* *ret: what the key is narrowed to; NULL: nothing. */
static enum deny_reason judge_scope(
        const struct access_key_record *key, const char *peer, struct key_scope **ret)
{
	if (!key->scope)
		return DENY_NONE;
	*ret = key_scope_parse(slice_str(key->scope));
	if (!*ret || !key_scope_in_force(*ret, clock_wall_us() / 1000000, peer))
		return DENY_SCOPE;
	return DENY_NONE;
}

static int principal_of_key(
        struct admin_request *req, const struct access_key_record *key, const struct sas *sas)
{
	const struct slice keys[2] = {
	        slice_make(key->primary.bytes, key->primary.len),
	        slice_make(key->secondary.bytes, key->secondary.len),
	};
	int signer = sas_signer(sas, keys);
	if (signer < 0)
		return refuse(req, key->name[0] ? DENY_TOKEN_SIGNATURE : DENY_UNKNOWN_KEY);
	_cleanup_(scope_done) struct key_scope *scope = NULL;
	enum deny_reason why = judge_scope(key, req->peer, &scope);
	if (why != DENY_NONE)
		return refuse(req, why);
	struct principal *p = principal_new(PRINCIPAL_KEY, slice_str(key->name), (struct slice){0});
	if (!p)
		return refuse(req, DENY_UNAVAILABLE);
	p->method = AUTH_METHOD_ACCESS_KEY;
	p->perms = key->perms & PERM_ALL_KEY;
	p->expires_at = sas->expires_at;
	if (scope) {
		p->proof = TAKE_PTR(scope);
		p->proof_free = proof_unref;
	}
	identity_credential_tag(keys[signer], p->credential_tag);
	req->principal = p;
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

static int by_key(struct admin_request *req, struct slice token)
{
	struct registry *r = req->registry;
	_cleanup_(access_key_record_done) struct access_key_record key = {0};
	struct sas sas;
	enum deny_reason why = check_token(r, token, &sas);
	if (why != DENY_NONE)
		return refuse(req, why);
	/* An unknown name goes the same way as a known one, with empty keys that sign nothing. */
	int err = r->store.access_key_get(r->store.ctx, sas.skn, &key);
	if (err < 0 && err != ERR_NOT_FOUND)
		return refuse(req, DENY_UNAVAILABLE);
	return principal_of_key(req, &key, &sas);
}

/* Who is refused, for the log: a name that somebody claims, never a token. */
static struct slice claimed_name(struct slice authorization, struct sas *sas)
{
	if (sas_parse(authorization, sas) < 0)
		return (struct slice){0};
	return slice_str(sas->skn);
}

/* Whether too many came, or failed, from there or in that key's name. */
static enum deny_reason admin_attempt(struct registry *r, struct slice key, const char *peer)
{
	const struct registry_hooks *hooks = &r->hooks;
	return hooks->attempt ? hooks->attempt(hooks->ctx, peer, (struct slice){0}, key)
	                      : DENY_NONE;
}

static void admin_outcome(
        struct registry *r, struct slice key, const char *peer, enum deny_reason why)
{
	const struct registry_hooks *hooks = &r->hooks;
	if (hooks->outcome)
		hooks->outcome(hooks->ctx, peer, (struct slice){0}, key, why);
}

int registry_authenticate_admin(struct registry *r, struct slice authorization, const char *peer,
        struct principal **ret, enum deny_reason *ret_reason)
{
	struct admin_request req = {.registry = r, .peer = peer};
	struct sas claim;
	struct slice key = claimed_name(authorization, &claim);
	enum deny_reason over = admin_attempt(r, key, peer);
	int err;
	if (over != DENY_NONE)
		err = refuse(&req, over);
	else if (is_bearer(authorization))
		err = by_bearer(&req, slice_from(authorization, sizeof(BEARER) - 1));
	else if (sas_is(authorization))
		err = by_key(&req, authorization);
	else
		err = refuse(&req, DENY_NO_CREDENTIAL);
	admin_outcome(r, key, peer, err < 0 ? req.why : DENY_NONE);
	if (err < 0) {
		registry_note_denied(req.why, key, peer);
		*ret_reason = req.why;
		return err;
	}
	struct principal *p = req.principal;
	p->resolved = true;
	p->has_source = ip_parse_peer(peer, &p->source) == 0;
	registry_note_allowed(p, peer);
	*ret = p;
	return 0;
}
