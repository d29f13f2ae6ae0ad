/* SharedAccessSignature tokens and MQTT user names: whatever is taken fits what was given, and no
 * token covers more by its text than by its segments. */
#include "registry/auth/sas.h"

#include <assert.h>

#include "registry/auth/creds_mqtt.h"
#include "server/base/cleanup.h"
#include "server/base/err.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char *const hub[] = {"localhost", "::1", "hub.test"};

static bool inside(struct slice part, struct slice whole)
{
	return part.p >= whole.p && part.p + part.n <= whole.p + whole.n;
}

/* The path of every whole segment of the resource is covered, a longer last segment is not. */
static void check_scope(const struct sas *s)
{
	const char *slash = memchr(s->resource, '/', s->resource_len);
	char path[SAS_RESOURCE_MAX + 2];
	size_t n = slash ? s->resource_len - (size_t)(slash + 1 - s->resource) : 0;
	struct slice none = {0};
	enum deny_reason why = sas_check_scope(s, hub, ARRAY_LEN(hub), none);
	assert(why == DENY_NONE || why == DENY_TOKEN_HOST || why == DENY_TOKEN_SCOPE);
	if (why == DENY_TOKEN_HOST)
		return;
	assert((why == DENY_NONE) == !slash);
	if (n == 0)
		return;
	memcpy(path, slash + 1, n);
	assert(sas_check_scope(s, hub, ARRAY_LEN(hub), slice_make(path, n)) == DENY_NONE);
	path[n] = '0';
	assert(sas_check_scope(s, hub, ARRAY_LEN(hub), slice_make(path, n + 1)) != DENY_NONE);
	path[n] = '/';
	path[n + 1] = 'x';
	assert(sas_check_scope(s, hub, ARRAY_LEN(hub), slice_make(path, n + 2)) == DENY_NONE);
	assert(sas_check_scope(s, hub, ARRAY_LEN(hub), slice_make(path, n - 1)) != DENY_NONE);
}

static void check_token(struct slice token)
{
	struct sas s;
	if (sas_parse(token, &s) < 0)
		return;
	assert(token.n <= SAS_TOKEN_MAX && sas_is(token));
	assert(inside(s.sr, token) && inside(s.se, token) && s.sr.n > 0 && s.se.n > 0);
	assert(s.resource_len > 0 && s.resource_len <= s.sr.n);
	assert(strlen(s.skn) <= KEY_NAME_MAX && s.expires_at >= 0);
	for (size_t i = 0; i < s.resource_len; i++)
		assert((uint8_t)s.resource[i] > ' ');
	const struct slice keys[2] = {SLICE_LIT("a key that has signed nothing"), {0}};
	assert(sas_signer(&s, keys) < 0);
	check_scope(&s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice in = slice_make(data, size);
	struct creds_mqtt claim;
	check_token(in);
	if (creds_mqtt_parse(in, &claim)) {
		assert(claim.id.n > 0 && inside(claim.id, in));
		assert(!claim.is_key || (memcmp(in.p, "key/", 4) == 0 && claim.id.n == in.n - 4));
	}
	return 0;
}
