#include "registry/auth/sas.h"

#include <strings.h>

#include "server/base/cleanup.h"
#include "server/base/err.h"
#include "server/base/utf8.h"

#define SCHEME "SharedAccessSignature"
#define SE_DIGITS_MAX 20
#define YEAR_9999 253402300799LL /* its last second */

bool sas_is(struct slice text)
{
	const size_t n = sizeof(SCHEME) - 1;
	return text.n > n && text.p[n] == ' ' && strncasecmp((const char *)text.p, SCHEME, n) == 0;
}

/* ---- parsing ---- */

static int hex_digit(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* Percent-decodes once; refuses what is cut short, does not fit, or is no printable text. */
static int percent_decode(struct slice in, char *out, size_t size, size_t *ret_len)
{
	size_t n = 0;
	for (size_t i = 0; i < in.n; i++) {
		int c = in.p[i];
		if (c == '%') {
			if (in.n - i < 3)
				return ERR_INVALID;
			int high = hex_digit(in.p[i + 1]), low = hex_digit(in.p[i + 2]);
			if (high < 0 || low < 0)
				return ERR_INVALID;
			c = high << 4 | low;
			i += 2;
		}
		if (c <= ' ' || c == 0x7f || n == size)
			return ERR_INVALID;
		out[n++] = (char)c;
	}
	*ret_len = n;
	return 0;
}

static int parse_sr(struct slice value, struct sas *ret)
{
	ret->sr = value;
	return percent_decode(value, ret->resource, sizeof(ret->resource), &ret->resource_len);
}

static int parse_sig(struct slice value, struct sas *ret)
{
	/* 32 bytes are 44 characters of base64, no more and no fewer. */
	char text[44];
	uint8_t bytes[33];
	size_t n;
	if (percent_decode(value, text, sizeof(text), &n) < 0 ||
	        crypto_base64_decode(slice_make(text, n), bytes, &n) < 0 || n != sizeof(ret->sig))
		return ERR_INVALID;
	memcpy(ret->sig, bytes, sizeof(ret->sig));
	return 0;
}

static int parse_se(struct slice value, struct sas *ret)
{
	if (value.n == 0 || value.n > SE_DIGITS_MAX)
		return ERR_INVALID;
	int64_t se = 0;
	for (size_t i = 0; i < value.n; i++) {
		if (value.p[i] < '0' || value.p[i] > '9')
			return ERR_INVALID;
		se = se * 10 + (value.p[i] - '0');
		if (se > YEAR_9999)
			se = YEAR_9999;
	}
	ret->se = value;
	ret->expires_at = se;
	return 0;
}

static int parse_skn(struct slice value, struct sas *ret)
{
	size_t n;
	/* Whoever sends a token chooses its name before anything is verified: text that the
	 * database would not take must not get into a look-up, which others share. */
	if (percent_decode(value, ret->skn, KEY_NAME_MAX, &n) < 0 ||
	        !utf8_valid(slice_make(ret->skn, n)))
		return ERR_INVALID;
	ret->skn[n] = '\0';
	return 0;
}

static const struct {
	const char *name;
	int (*parse)(struct slice value, struct sas *ret);
	bool required;
} fields[] = {
        {"sr", parse_sr, true},
        {"sig", parse_sig, true},
        {"se", parse_se, true},
        {"skn", parse_skn, false},
};

static int parse_field(struct slice field, unsigned *seen, struct sas *ret)
{
	const uint8_t *equals = field.n > 0 ? memchr(field.p, '=', field.n) : NULL;
	if (!equals)
		return ERR_INVALID;
	struct slice name = slice_make(field.p, (size_t)(equals - field.p));
	for (unsigned i = 0; i < ARRAY_LEN(fields); i++) {
		if (!slice_eq_str(name, fields[i].name))
			continue;
		if (*seen & 1u << i)
			return ERR_INVALID;
		*seen |= 1u << i;
		return fields[i].parse(slice_from(field, name.n + 1), ret);
	}
	return ERR_INVALID;
}

int sas_parse(struct slice token, struct sas *ret)
{
	if (token.n > SAS_TOKEN_MAX || !sas_is(token))
		return ERR_INVALID;
	struct slice rest = slice_from(token, sizeof(SCHEME) - 1);
	while (rest.n > 0 && rest.p[0] == ' ')
		rest = slice_from(rest, 1);
	memset(ret, 0, sizeof(*ret));
	unsigned seen = 0;
	bool more = true;
	while (more) {
		const uint8_t *amp = rest.n > 0 ? memchr(rest.p, '&', rest.n) : NULL;
		struct slice field = rest;
		more = amp != NULL;
		if (more)
			field.n = (size_t)(amp - rest.p);
		if (parse_field(field, &seen, ret) < 0)
			return ERR_INVALID;
		rest = slice_from(rest, field.n + 1);
	}
	for (unsigned i = 0; i < ARRAY_LEN(fields); i++)
		if (fields[i].required && !(seen & 1u << i))
			return ERR_INVALID;
	return ret->resource_len > 0 ? 0 : ERR_INVALID;
}

/* ---- scope ---- */

static bool host_is(struct slice host, const char *name)
{
	return host.n == strlen(name) && strncasecmp((const char *)host.p, name, host.n) == 0;
}

static struct slice without_port(struct slice host)
{
	size_t n = host.n;
	while (n > 0 && host.p[n - 1] >= '0' && host.p[n - 1] <= '9')
		n--;
	if (n > 0 && n < host.n && host.p[n - 1] == ':')
		host.n = n - 1;
	return host;
}

static struct slice without_brackets(struct slice host)
{
	if (host.n > 2 && host.p[0] == '[' && host.p[host.n - 1] == ']')
		return slice_make(host.p + 1, host.n - 2);
	return host;
}

/* A bare IPv6 address looks as if it had a port: what stands there is tried first. */
static bool host_is_ours(struct slice host, char *const *names, unsigned n)
{
	struct slice bare = without_brackets(without_port(host));
	for (unsigned i = 0; i < n; i++)
		if (host_is(host, names[i]) || host_is(without_brackets(host), names[i]) ||
		        host_is(bare, names[i]))
			return true;
	return false;
}

enum deny_reason sas_check_scope(
        const struct sas *s, char *const *hub_names, unsigned n, struct slice path)
{
	struct slice resource = slice_make(s->resource, s->resource_len);
	const uint8_t *slash = memchr(resource.p, '/', resource.n);
	struct slice host = resource;
	if (slash)
		host.n = (size_t)(slash - resource.p);
	if (!host_is_ours(host, hub_names, n))
		return DENY_TOKEN_HOST;
	if (!slash)
		return DENY_NONE;
	struct slice scope = slice_from(resource, host.n + 1);
	bool covers = scope.n > 0 && slice_has_prefix(path, scope) &&
	        (path.n == scope.n || path.p[scope.n] == '/');
	return covers ? DENY_NONE : DENY_TOKEN_SCOPE;
}

bool sas_expired(const struct sas *s, int64_t now_wall_s)
{
	return s->expires_at <= now_wall_s;
}

/* ---- signature ---- */

int sas_signer(const struct sas *s, const struct slice keys[static 2])
{
	/* What is signed is the text as it stands in the token: "{sr}\n{se}". */
	uint8_t tail[1 + SE_DIGITS_MAX] = "\n";
	memcpy(tail + 1, s->se.p, s->se.n);
	int signer = ERR_UNAUTHENTICATED;
	for (int i = 0; i < 2; i++) {
		uint8_t mac[CRYPTO_HASH_LEN];
		crypto_hmac_sha256(keys[i], s->sr, slice_make(tail, 1 + s->se.n), mac);
		bool same = crypto_equal(mac, s->sig, sizeof(mac));
		if (same && keys[i].n > 0 && signer < 0)
			signer = i;
		crypto_wipe(mac, sizeof(mac));
	}
	return signer;
}
