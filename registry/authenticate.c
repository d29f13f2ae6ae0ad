/*
 * Who is this? Everything that needs no identity is checked first (form, scope, expiry); then the
 * device, the access key, or both are read; then the credential is checked against them. A refusal
 * after that point has computed the same whatever the reason, so that time does not tell whether
 * an id exists.
 */
#include "registry/auth/creds_mqtt.h"
#include "registry/auth/sas.h"
#include "registry/auth/secret.h"
#include "registry/query.h"
#include "server/base/err.h"

struct attempt {
	struct query query;
	struct auth_request *req;
	struct slice id;           /* of the device (with "/module"), or the key's name */
	struct want *device, *key; /* what has to be known; NULL: not needed */
	bool by_sas;               /* else by secret */
	struct sas sas;
};

/* ---- answering ---- */

static int err_of(enum deny_reason why)
{
	switch (why) {
	case DENY_NONE: return 0;
	case DENY_CLIENT_ID: return ERR_INVALID;
	case DENY_UNAVAILABLE: return ERR_UNAVAILABLE;
	default: return ERR_UNAUTHENTICATED;
	}
}

/* principal: the asker's from now on; NULL where why says why not. */
static void answer(struct auth_request *req, enum deny_reason why, struct slice id,
        struct principal *principal)
{
	req->reason = why;
	req->err = err_of(why);
	req->principal = principal;
	if (principal)
		registry_note_allowed(principal, req->peer);
	else
		registry_note_denied(why, id, req->peer);
	req->done(req);
}

static void attempt_free(struct attempt *a)
{
	query_end(&a->query);
	crypto_wipe(a, sizeof(*a));
	free(a);
}

static void attempt_end(struct attempt *a, enum deny_reason why, struct principal *principal)
{
	struct auth_request *req = a->req;
	struct slice id = a->id.n > 0 ? a->id : req->https ? req->device_id : req->client_id;
	loop_timer_cancel(&req->timer);
	req->state = NULL;
	attempt_free(a);
	answer(req, why, id, principal);
}

static void attempt_drop(struct query *q)
{
	attempt_free(container_of(q, struct attempt, query));
}

static void attempt_timeout(struct loop_timer *t, HF_UNUSED struct loop *loop)
{
	struct auth_request *req = container_of(t, struct auth_request, timer);
	attempt_end(req->state, DENY_UNAVAILABLE, NULL);
}

/* ---- judging, with the identities at hand ---- */

static struct slice key_of(const struct identity *i, unsigned which)
{
	return i ? identity_key(i, which) : (struct slice){0};
}

static int signer_of(const struct attempt *a, const struct identity *i)
{
	const struct slice keys[2] = {key_of(i, 0), key_of(i, 1)};
	return sas_signer(&a->sas, keys);
}

static enum deny_reason judge_key_token(
        const struct attempt *a, const struct identity *key, struct slice *ret_credential)
{
	uint32_t need = a->device ? PERM_DEVICE_CONNECT : PERM_SERVICE_CONNECT;
	int signer = signer_of(a, key);
	if (!key)
		return DENY_UNKNOWN_KEY;
	if (signer < 0)
		return DENY_TOKEN_SIGNATURE;
	if (!(key->perms & need))
		return DENY_KEY_PERMISSION;
	*ret_credential = identity_key(key, (unsigned)signer);
	return DENY_NONE;
}

static enum deny_reason judge_device_token(
        const struct attempt *a, const struct identity *device, struct slice *ret_credential)
{
	bool fits = device && device->auth == DEVICE_AUTH_SAS;
	int signer = signer_of(a, fits ? device : NULL);
	if (!device)
		return DENY_UNKNOWN_DEVICE;
	if (!fits)
		return DENY_KEY_KIND;
	if (signer < 0)
		return DENY_TOKEN_SIGNATURE;
	*ret_credential = identity_key(device, (unsigned)signer);
	return DENY_NONE;
}

static enum deny_reason judge_secret(
        const struct attempt *a, const struct identity *device, struct slice *ret_credential)
{
	bool fits = device && device->auth == DEVICE_AUTH_SECRET;
	bool same = secret_fits(&a->query.shard->registry->store, a->id, a->req->password,
	        fits ? identity_key(device, 0).p : NULL);
	if (!device)
		return DENY_UNKNOWN_DEVICE;
	if (!fits)
		return DENY_KEY_KIND;
	if (!same)
		return DENY_SECRET;
	*ret_credential = identity_key(device, 0);
	return DENY_NONE;
}

static enum deny_reason judge(const struct attempt *a, struct slice *ret_credential)
{
	const struct identity *device = a->device ? a->device->identity : NULL;
	const struct identity *key = a->key ? a->key->identity : NULL;
	enum deny_reason why;
	if (a->key)
		why = judge_key_token(a, key, ret_credential);
	else if (a->by_sas)
		why = judge_device_token(a, device, ret_credential);
	else
		why = judge_secret(a, device, ret_credential);
	if (why != DENY_NONE)
		return why;
	if (a->device && !device)
		return DENY_UNKNOWN_DEVICE;
	if (device && !device->enabled)
		return DENY_DISABLED;
	/* Reading the identity may have taken seconds. */
	if (a->by_sas && sas_expired(&a->sas, loop_wall_us(a->req->loop) / 1000000))
		return DENY_TOKEN_EXPIRED;
	return DENY_NONE;
}

static struct principal *principal_of(const struct attempt *a, struct slice credential)
{
	bool via_key = a->device && a->key;
	struct slice key_name = via_key ? slice_str(a->sas.skn) : (struct slice){0};
	struct principal *p = principal_new(
	        a->device ? PRINCIPAL_DEVICE : PRINCIPAL_KEY, a->id, key_name);
	if (!p)
		return NULL;
	p->via_key = via_key;
	if (a->device)
		p->device_key = a->device->identity->device_key;
	else
		p->perms = a->key->identity->perms;
	if (a->by_sas)
		p->expires_at = a->sas.expires_at;
	identity_credential_tag(credential, p->credential_tag);
	return p;
}

static void attempt_judge(struct query *q)
{
	struct attempt *a = container_of(q, struct attempt, query);
	struct slice credential = {0};
	for (unsigned i = 0; i < q->n; i++)
		if (q->wants[i].state == WANT_UNUSABLE) {
			attempt_end(a, DENY_UNAVAILABLE, NULL);
			return;
		}
	enum deny_reason why = judge(a, &credential);
	/* Nobody is refused for what the cache says: another hub may have let them in a moment ago.
	 * It also makes a wrong key take as long as an unknown id, which is never cached. */
	if (why != DENY_NONE && why != DENY_TOKEN_EXPIRED && query_run_afresh(q))
		return;
	struct principal *p = why == DENY_NONE ? principal_of(a, credential) : NULL;
	if (why == DENY_NONE && !p) /* out of memory */
		why = DENY_UNAVAILABLE;
	attempt_end(a, why, p);
}

/* ---- reading the request ---- */

static void want_device(struct attempt *a)
{
	a->device = query_want(&a->query, ENTITY_DEVICE, a->id);
}

/* A SAS token for path: reads it and notes whose keys can have signed it. */
static enum deny_reason read_token(
        struct attempt *a, struct slice token, struct slice path, const char **ret_skn)
{
	const struct settings *settings = a->query.shard->settings;
	if (sas_parse(token, &a->sas) < 0)
		return DENY_TOKEN_MALFORMED;
	a->by_sas = true;
	enum deny_reason why = sas_check_scope(
	        &a->sas, settings->hub_names, settings->n_hub_names, path);
	if (why != DENY_NONE)
		return why;
	if (sas_expired(&a->sas, loop_wall_us(a->req->loop) / 1000000))
		return DENY_TOKEN_EXPIRED;
	*ret_skn = a->sas.skn;
	return DENY_NONE;
}

/* A device's id is read; what is behind it in its path narrows what a token must cover. */
static enum deny_reason read_device_token(
        struct attempt *a, struct slice token, const char *path_end)
{
	char path[sizeof("devices//messages/events") + DEVICE_ID_MAX];
	int n = snprintf(path, sizeof(path), "devices/%.*s%s", SLICE_ARG(a->id), path_end);
	const char *skn = NULL;
	enum deny_reason why = read_token(a, token, slice_make(path, (size_t)n), &skn);
	if (why != DENY_NONE)
		return why;
	want_device(a);
	if (skn[0])
		a->key = query_want(&a->query, ENTITY_KEY, slice_str(skn));
	return DENY_NONE;
}

static enum deny_reason read_back_end(struct attempt *a, struct slice token)
{
	const char *skn = NULL;
	if (!sas_is(token))
		return DENY_KEY_KIND;
	enum deny_reason why = read_token(a, token, (struct slice){0}, &skn);
	if (why != DENY_NONE)
		return why;
	if (!slice_eq_str(a->id, skn))
		return DENY_UNKNOWN_KEY;
	a->key = query_want(&a->query, ENTITY_KEY, a->id);
	return DENY_NONE;
}

/* Modules have no identities of their own yet: none of them is known. */
static enum deny_reason check_device_id(struct slice id)
{
	const uint8_t *slash = id.n > 0 ? memchr(id.p, '/', id.n) : NULL;
	struct slice device = slash ? slice_make(id.p, (size_t)(slash - id.p)) : id;
	if (!device_id_valid(device))
		return DENY_BAD_ID;
	if (slash)
		return device_id_valid(slice_from(id, device.n + 1)) ? DENY_UNKNOWN_DEVICE
		                                                     : DENY_BAD_ID;
	return DENY_NONE;
}

static enum deny_reason read_mqtt(struct attempt *a)
{
	const struct auth_request *req = a->req;
	struct creds_mqtt claim;
	if (!req->has_username && !req->has_password)
		return DENY_ANONYMOUS;
	if (!req->has_username || !creds_mqtt_parse(req->username, &claim))
		return DENY_NO_CREDENTIAL;
	a->id = claim.id;
	if (!claim.is_key && !slice_eq(claim.id, req->client_id))
		return DENY_CLIENT_ID;
	if (!req->has_password || req->password.n == 0)
		return DENY_NO_CREDENTIAL;
	if (claim.is_key)
		return read_back_end(a, req->password);
	enum deny_reason why = check_device_id(a->id);
	if (why != DENY_NONE)
		return why;
	if (sas_is(req->password))
		return read_device_token(a, req->password, "");
	want_device(a);
	return DENY_NONE;
}

static enum deny_reason read_https(struct attempt *a)
{
	a->id = a->req->device_id;
	if (!sas_is(a->req->authorization))
		return DENY_NO_CREDENTIAL;
	enum deny_reason why = check_device_id(a->id);
	if (why != DENY_NONE)
		return why;
	return read_device_token(a, a->req->authorization, "/messages/events");
}

static bool is_anonymous(const struct auth_request *req)
{
	return !req->https && req->anonymous_allowed && !req->has_username && !req->has_password;
}

static void admit_anonymous(struct auth_request *req)
{
	struct slice none = {0};
	struct principal *p = principal_new(PRINCIPAL_ANONYMOUS, none, none);
	answer(req, p ? DENY_NONE : DENY_UNAVAILABLE, req->client_id, p);
}

void registry_authenticate(struct registry *r, struct auth_request *req)
{
	struct shard *s = &r->shards[loop_index(req->loop)];
	loop_assert_here(req->loop);
	if (is_anonymous(req)) {
		admit_anonymous(req);
		return;
	}
	struct attempt *a = calloc(1, sizeof(*a));
	if (!a) {
		answer(req, DENY_UNAVAILABLE, (struct slice){0}, NULL);
		return;
	}
	a->req = req;
	a->query.needs_feed = true;
	a->query.ready = attempt_judge;
	a->query.drop = attempt_drop;
	query_init(&a->query, s);
	req->state = a;
	req->timer = (struct loop_timer){.fire = attempt_timeout};
	enum deny_reason why = req->https ? read_https(a) : read_mqtt(a);
	if (why != DENY_NONE) {
		attempt_end(a, why, NULL);
		return;
	}
	loop_timer_set(req->loop, &req->timer, s->settings->lookup_ms);
	query_run(&a->query);
}

bool registry_claimed_id(struct slice username, struct slice *ret)
{
	struct creds_mqtt claim;
	if (!creds_mqtt_parse(username, &claim) || claim.is_key ||
	        check_device_id(claim.id) == DENY_BAD_ID)
		return false;
	*ret = claim.id;
	return true;
}
