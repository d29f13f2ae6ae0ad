/*
 * SAS tokens: of a device or module, signed with its own key or with an access key that may stand
 * for devices (skn), and of a back end, signed with its access key.
 */
#include "registry/credential.h"
#include "server/base/cleanup.h"

#define PATH_MAX_LEN (sizeof("devices//modules//messages/events") + MODULE_ID_MAX)

/* ---- reading ---- */

/* A token for path: its form, what it covers, when it expires. */
static enum deny_reason read_token(struct attempt *a, struct slice token, struct slice path)
{
	const struct settings *settings = a->query.shard->settings;
	if (sas_parse(token, &a->sas) < 0)
		return DENY_TOKEN_MALFORMED;
	enum deny_reason why = sas_check_scope(
	        &a->sas, settings->hub_names, settings->n_hub_names, path);
	if (why != DENY_NONE)
		return why;
	if (sas_expired(&a->sas, attempt_now_s(a)))
		return DENY_TOKEN_EXPIRED;
	a->expires_at = a->sas.expires_at;
	return DENY_NONE;
}

/* "devices/d", "devices/d/modules/m"; what is behind it narrows what a token must cover. */
static struct slice path_of(struct slice id, const char *end, char out[static PATH_MAX_LEN])
{
	const uint8_t *slash = memchr(id.p, '/', id.n);
	struct slice device = slash ? slice_make(id.p, (size_t)(slash - id.p)) : id;
	struct slice module = slash ? slice_from(id, device.n + 1) : (struct slice){0};
	int n = snprintf(out, PATH_MAX_LEN, "devices/%.*s%s%.*s%s", SLICE_ARG(device),
	        slash ? "/modules/" : "", SLICE_ARG(module), end);
	return slice_make(out, (size_t)n);
}

static bool device_fits(const struct attempt *a)
{
	const struct auth_request *req = a->req;
	if (req->https)
		return sas_is(req->authorization);
	return a->claimed && !a->claim.is_key && sas_is(req->password);
}

static enum deny_reason device_read(struct attempt *a)
{
	const struct auth_request *req = a->req;
	char path[PATH_MAX_LEN];
	enum deny_reason why = attempt_want_device(a, req->https ? req->device_id : a->claim.id);
	if (why != DENY_NONE)
		return why;
	why = read_token(a, req->https ? req->authorization : req->password,
	        path_of(a->id, req->https ? "/messages/events" : "", path));
	if (why != DENY_NONE)
		return why;
	a->method = AUTH_METHOD_SAS;
	if (a->sas.skn[0]) {
		a->method = AUTH_METHOD_ACCESS_KEY;
		a->key_name = slice_str(a->sas.skn);
		a->who.key = query_want(&a->query, ENTITY_KEY, a->key_name);
	}
	return DENY_NONE;
}

static bool key_fits(const struct attempt *a)
{
	return !a->req->https && a->claimed && a->claim.is_key && a->req->password.n > 0;
}

static enum deny_reason key_read(struct attempt *a)
{
	a->id = a->claim.id;
	a->method = AUTH_METHOD_ACCESS_KEY;
	if (!sas_is(a->req->password))
		return DENY_KEY_KIND;
	enum deny_reason why = read_token(a, a->req->password, (struct slice){0});
	if (why != DENY_NONE)
		return why;
	if (!slice_eq_str(a->id, a->sas.skn))
		return DENY_UNKNOWN_KEY;
	a->who.key = query_want(&a->query, ENTITY_KEY, a->id);
	return DENY_NONE;
}

/* ---- judging ---- */

/* Both keys are computed, for unknown identities too. */
static int signer_of(struct attempt *a, const struct identity *i)
{
	const struct slice none = {0};
	const struct slice keys[2] = {i ? identity_key(i, 0) : none, i ? identity_key(i, 1) : none};
	int signer = sas_signer(&a->sas, keys);
	if (signer >= 0)
		identity_credential_tag(keys[signer], a->tag);
	return signer;
}

static enum deny_reason key_judge(struct attempt *a)
{
	const struct identity *key = identity_of(a->who.key);
	uint32_t need = a->who.device ? PERM_DEVICE_CONNECT : PERM_SERVICE_CONNECT;
	int signer = signer_of(a, key);
	if (!key)
		return DENY_UNKNOWN_KEY;
	if (signer < 0)
		return DENY_TOKEN_SIGNATURE;
	if (!(key->perms & need))
		return DENY_KEY_PERMISSION;
	if (!key->enabled || (key->not_after && key->not_after <= attempt_now_s(a)))
		return DENY_SCOPE;
	a->expires_at = identity_cut(key, a->sas.expires_at);
	return DENY_NONE;
}

static enum deny_reason device_judge(struct attempt *a)
{
	if (a->who.key)
		return key_judge(a);
	const struct identity *subject = who_subject(&a->who);
	bool fits = subject && subject->auth == DEVICE_AUTH_SAS;
	int signer = signer_of(a, fits ? subject : NULL);
	if (!subject)
		return DENY_UNKNOWN_DEVICE;
	if (!fits)
		return DENY_KEY_KIND;
	return signer < 0 ? DENY_TOKEN_SIGNATURE : DENY_NONE;
}

/* The key is there, may what it was used for, and has the very key that signed. */
static enum end_reason judge_again(const struct principal *p, const struct who *who)
{
	const struct identity *i = who->key ? identity_of(who->key) : who_subject(who);
	uint32_t need = p->via_key ? PERM_DEVICE_CONNECT : PERM_SERVICE_CONNECT;
	if (!i || (who->key && (!(i->perms & need) || !i->enabled)) ||
	        !identity_has_credential(i, p->credential_tag))
		return END_CREDENTIAL_REVOKED;
	return END_NORMAL;
}

const struct credential credential_sas = {
        .methods = 1u << AUTH_METHOD_SAS | 1u << AUTH_METHOD_ACCESS_KEY,
        .expired = DENY_TOKEN_EXPIRED,
        .fits = device_fits,
        .read = device_read,
        .judge = device_judge,
        .judge_again = judge_again,
};

/* Its principals are judged again by the row above, as those of devices that came with a key. */
const struct credential credential_key = {
        .expired = DENY_TOKEN_EXPIRED,
        .fits = key_fits,
        .read = key_read,
        .judge = key_judge,
};
