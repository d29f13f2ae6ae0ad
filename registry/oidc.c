#include "registry/oidc.h"

#include <pthread.h>

#include "registry/auth/jwk.h"
#include "registry/private.h"
#include "server/base/clock.h"
#include "server/base/err.h"
#include "server/base/log.h"

#define KEYS_MAX 32
#define ROLES_PER_TOKEN 64
#define BODY_MAX ((size_t)256 << 10)
#define FETCH_MS 5000
#define AGE_MIN_S 60
#define AGE_MAX_S 86400
#define AGE_DEFAULT_S 3600
#define RETRY_S                                                                                 \
	10 /* after a fetch that failed, and between those for keys that are not known: anybody \
	      can name one */

static const struct json_limits keys_limits = {.bytes = BODY_MAX, .depth = 8, .values = 8192};

struct oidc_key {
	enum jws_alg alg;
	char kid[JWS_KID_MAX + 1];
	char *pem;
};

struct oidc {
	struct registry *registry;
	char *issuer, *audience, *jwks_url, *ca_file, *role_claim;
	unsigned skew_s, max_stale_s;
	unsigned n_roles;
	char **roles; /* "claim value=role" */

	pthread_mutex_t mutex; /* for what follows */
	bool fetching;         /* a worker is at it; the others go by what there is */
	unsigned n;
	struct oidc_key keys[KEYS_MAX];
	uint64_t fetched_ms, tried_ms; /* monotonic; 0: never */
	uint64_t max_age_ms;
};

/* ---- life ---- */

static char *copy(const char *text)
{
	return text && text[0] ? strdup(text) : NULL;
}

struct oidc *oidc_new(struct registry *r, const struct registry_oidc *settings)
{
	struct oidc *o = calloc(1, sizeof(*o));
	if (!o)
		return NULL;
	pthread_mutex_init(&o->mutex, NULL);
	o->registry = r;
	o->issuer = copy(settings->issuer);
	o->audience = copy(settings->audience);
	o->jwks_url = copy(settings->jwks_url);
	o->ca_file = copy(settings->ca_file);
	o->role_claim = copy(settings->role_claim);
	o->skew_s = settings->skew_s;
	o->max_stale_s = settings->max_stale_s;
	o->roles = calloc(settings->n_roles + 1, sizeof(*o->roles));
	bool whole = o->roles && o->issuer && o->audience && o->jwks_url && o->role_claim;
	for (; whole && o->n_roles < settings->n_roles; o->n_roles++) {
		o->roles[o->n_roles] = strdup(settings->roles[o->n_roles]);
		whole = o->roles[o->n_roles] != NULL;
	}
	if (whole)
		return o;
	oidc_free(o);
	return NULL;
}

static void drop_keys(struct oidc_key *keys, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		free(keys[i].pem);
}

void oidc_free(struct oidc *o)
{
	if (!o)
		return;
	for (unsigned i = 0; o->roles && i < o->n_roles; i++)
		free(o->roles[i]);
	free(o->roles);
	drop_keys(o->keys, o->n);
	free(o->issuer);
	free(o->audience);
	free(o->jwks_url);
	free(o->ca_file);
	free(o->role_claim);
	pthread_mutex_destroy(&o->mutex);
	free(o);
}

/* ---- fetching the keys ---- */

/* Keys that are not understood are nobody's: others of the set may be. */
static unsigned read_keys(const json_t *root, struct oidc_key keys[static KEYS_MAX])
{
	const json_t *list = json_object_get(root, "keys"), *jwk;
	unsigned n = 0;
	size_t i;
	json_array_foreach((json_t *)list, i, jwk)
	{
		const json_t *kid = json_object_get(jwk, "kid");
		struct oidc_key *k = &keys[n];
		if (n == KEYS_MAX)
			break;
		if (kid && (!json_is_string(kid) || json_string_length(kid) > JWS_KID_MAX))
			continue;
		*k = (struct oidc_key){0};
		if (jwk_read(jwk, &k->alg, &k->pem) < 0)
			continue;
		snprintf(k->kid, sizeof(k->kid), "%s", kid ? json_string_value(kid) : "");
		n++;
	}
	return n;
}

static uint64_t age_ms(int64_t max_age_s)
{
	int64_t s = max_age_s < 0 ? AGE_DEFAULT_S : max_age_s;
	s = s < AGE_MIN_S ? AGE_MIN_S : s > AGE_MAX_S ? AGE_MAX_S : s;
	return (uint64_t)s * 1000;
}

/* The mutex held. */
static void take_keys(struct oidc *o, const struct oidc_key *keys, unsigned n, int64_t max_age_s)
{
	drop_keys(o->keys, o->n);
	memcpy(o->keys, keys, n * sizeof(*keys));
	o->n = n;
	o->fetched_ms = clock_ms();
	o->max_age_ms = age_ms(max_age_s);
}

/* Without the mutex; o->fetching is the caller's. */
static void fetch_keys(struct oidc *o)
{
	struct fetch f = {
	        .url = o->jwks_url,
	        .ca_file = o->ca_file,
	        .timeout_ms = FETCH_MS,
	        .max_bytes = BODY_MAX,
	};
	struct oidc_key keys[KEYS_MAX];
	_cleanup_json_ json_t *root = NULL;
	char error[JSON_ERROR_LEN];
	unsigned n = 0;
	int err = registry_fetch(o->registry, &f);
	if (err == 0 && f.status == 200 &&
	        json_read(buf_slice(&f.body), &keys_limits, &root, error) == 0)
		n = read_keys(root, keys);
	if (n == 0)
		log_warn("the keys of the issuer cannot be fetched", F_STR("url", o->jwks_url),
		        F_U64("status", (uint64_t)f.status), F_STR("error", f.why));
	buf_free(&f.body);
	pthread_mutex_lock(&o->mutex);
	if (n > 0)
		take_keys(o, keys, n, f.max_age_s);
	pthread_mutex_unlock(&o->mutex);
}

/* Whether the keys ought to be fetched now, the mutex held. unknown: for a key that is not there.
 */
static bool fetch_due(const struct oidc *o, bool unknown)
{
	uint64_t now = clock_ms();
	if (o->fetching)
		return false;
	if (o->tried_ms && now - o->tried_ms < RETRY_S * 1000u)
		return false;
	return unknown || !o->fetched_ms || now - o->fetched_ms > o->max_age_ms;
}

static void refresh(struct oidc *o, bool unknown)
{
	pthread_mutex_lock(&o->mutex);
	bool due = fetch_due(o, unknown);
	if (due) {
		o->fetching = true;
		o->tried_ms = clock_ms();
	}
	pthread_mutex_unlock(&o->mutex);
	if (!due)
		return;
	fetch_keys(o);
	pthread_mutex_lock(&o->mutex);
	o->fetching = false;
	pthread_mutex_unlock(&o->mutex);
}

/* Whether the keys are good for anything: those of an issuer that is away are, for a while. */
static bool keys_good(const struct oidc *o)
{
	uint64_t limit = o->max_age_ms + (uint64_t)o->max_stale_s * 1000;
	return o->n > 0 && clock_ms() - o->fetched_ms <= limit;
}

/* ---- judging ---- */

/* Those that may have signed the token: *ret has copies of their PEMs. Returns how many; -1: there
 * are no keys at all. */
static int candidates(struct oidc *o, const struct jws *token, char *ret[static KEYS_MAX])
{
	int n = 0;
	pthread_mutex_lock(&o->mutex);
	if (!keys_good(o))
		n = -1;
	for (unsigned i = 0; n >= 0 && i < o->n; i++) {
		const struct oidc_key *k = &o->keys[i];
		bool named = token->kid[0] ? strcmp(k->kid, token->kid) == 0 : true;
		if (!named || k->alg != token->alg)
			continue;
		ret[n] = strdup(k->pem);
		n += ret[n] != NULL;
	}
	pthread_mutex_unlock(&o->mutex);
	return n;
}

static enum deny_reason check_signature(struct oidc *o, const struct jws *token)
{
	char *pems[KEYS_MAX];
	bool signed_by_one = false;
	refresh(o, false);
	int n = candidates(o, token, pems);
	if (n == 0) {
		refresh(o, true);
		n = candidates(o, token, pems);
	}
	for (int i = 0; i < n; i++) {
		signed_by_one = signed_by_one || jws_signed_by(token, token->alg, pems[i]);
		free(pems[i]);
	}
	if (n < 0)
		return DENY_UNAVAILABLE;
	return signed_by_one ? DENY_NONE : DENY_JWT_KEY;
}

/* Whether the claim's value is mapped to a role: its place in the table of roles. */
static bool role_of_value(const struct oidc *o, const json_t *value, unsigned *ret)
{
	struct slice text = slice_make(json_string_value(value), json_string_length(value));
	unsigned n;
	const struct role *all = role_list(&n);
	for (unsigned i = 0; json_is_string(value) && i < o->n_roles; i++) {
		const char *equals = strrchr(o->roles[i], '=');
		const struct role *role = equals ? role_by_name(slice_str(equals + 1)) : NULL;
		if (!role ||
		        !slice_eq(text, slice_make(o->roles[i], (size_t)(equals - o->roles[i]))))
			continue;
		*ret = (unsigned)(role - all);
		return true;
	}
	return false;
}

/* The role that may most of those that the claim (a string, or an array of them) is mapped to;
 * NULL: none. */
static const struct role *role_of(const struct oidc *o, const json_t *claims)
{
	const json_t *claim = json_object_get(claims, o->role_claim);
	unsigned n, found, best = UINT32_MAX;
	const struct role *all = role_list(&n);
	if (role_of_value(o, claim, &found))
		best = found;
	for (size_t i = 0; i < json_array_size(claim) && i < ROLES_PER_TOKEN; i++)
		if (role_of_value(o, json_array_get(claim, i), &found) && found < best)
			best = found;
	return best < n ? &all[best] : NULL;
}

/* sub, as the audit log will have it. */
static bool subject_of(const json_t *claims, struct slice *ret)
{
	const json_t *sub = json_object_get(claims, "sub");
	struct slice text = slice_make(json_string_value(sub), json_string_length(sub));
	if (text.n < 1 || text.n > 255)
		return false;
	for (size_t i = 0; i < text.n; i++)
		if (text.p[i] < ' ' || text.p[i] == 0x7f)
			return false;
	*ret = text;
	return true;
}

static enum deny_reason judge(struct oidc *o, const struct jws *token, struct principal **ret)
{
	const struct jws_rules rules = {
	        .audiences = &o->audience,
	        .n_audiences = 1,
	        .now_s = clock_wall_us() / 1000000,
	        .skew_s = o->skew_s,
	};
	const char *issuer = json_string_value(json_object_get(token->claims, "iss"));
	struct slice subject;
	int64_t expires;
	if (!issuer || strcmp(issuer, o->issuer) != 0)
		return DENY_OIDC_ISSUER;
	enum deny_reason why = jws_check(token, &rules, &expires);
	if (why == DENY_NONE)
		why = check_signature(o, token);
	if (why != DENY_NONE)
		return why;
	const struct role *role = role_of(o, token->claims);
	if (!subject_of(token->claims, &subject))
		return DENY_JWT_SUBJECT;
	if (!role)
		return DENY_OIDC_ROLE;
	struct principal *p = principal_new(PRINCIPAL_TOKEN, subject, (struct slice){0});
	if (!p)
		return DENY_UNAVAILABLE;
	p->method = AUTH_METHOD_OIDC;
	p->perms = role->perms;
	p->expires_at = expires;
	identity_credential_tag(slice_str(token->text), p->credential_tag);
	*ret = p;
	return DENY_NONE;
}

enum deny_reason oidc_authenticate(struct oidc *o, struct slice token, struct principal **ret)
{
	struct jws *s = malloc(sizeof(*s));
	if (!s)
		return DENY_UNAVAILABLE;
	enum deny_reason why = jws_parse(token, s);
	if (why == DENY_NONE)
		why = judge(o, s, ret);
	jws_free(s);
	return why;
}
