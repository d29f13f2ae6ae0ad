#include "registry/authorizer_doc.h"

#include <stdlib.h>
#include <strings.h>

#include "registry/auth/x509.h"
#include "server/base/clock.h"
#include "server/base/err.h"

#define KID_MAX 64

struct reading {
	struct doc_check check;
	struct authorizer *to;
	const json_t *doc;
};

static bool is_name(struct slice s, size_t max, const char *signs)
{
	if (s.n < 1 || s.n > max)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		char c = (char)s.p[i];
		bool ok = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
		        (c >= '0' && c <= '9') || (c && strchr(signs, c));
		if (!ok)
			return false;
	}
	return true;
}

bool authorizer_name_valid(struct slice name)
{
	return is_name(name, AUTHORIZER_NAME_MAX, "-._=,@") && !slice_eq_str(name, ".") &&
	        !slice_eq_str(name, "..");
}

static struct slice text_of(const json_t *value)
{
	return slice_make(json_string_value(value), json_string_length(value));
}

/* ---- members ---- */

static void read_name(struct reading *r, const json_t *value)
{
	struct slice name = text_of(value);
	if (!authorizer_name_valid(name))
		doc_error(&r->check, "must be 1 to 128 of A-Z a-z 0-9 - . _ = , @");
	else if (r->to->name[0] && !slice_eq_str(name, r->to->name))
		doc_error(&r->check, "is not the name of the path");
	else
		memcpy(r->to->name, name.p, name.n);
}

/* https://host…, printable, without a user name in it. Where it leads is checked when it is asked
 * (server/outbound). */
static bool url_valid(struct slice url)
{
	static const struct slice scheme = SLICE_LIT("https://");
	if (url.n <= scheme.n || url.n > FETCH_URL_MAX || !slice_has_prefix(url, scheme))
		return false;
	size_t host_end = 0;
	for (size_t i = scheme.n; i < url.n; i++) {
		if (url.p[i] <= ' ' || url.p[i] >= 0x7f || strchr("\"<>\\^`{|}#", url.p[i]))
			return false;
		if (!host_end && (url.p[i] == '/' || url.p[i] == '?'))
			host_end = i;
	}
	host_end = host_end ? host_end : url.n;
	return host_end > scheme.n && !memchr(url.p + scheme.n, '@', host_end - scheme.n);
}

static void read_url(struct reading *r, const json_t *value)
{
	struct slice url = text_of(value);
	if (!url_valid(url))
		doc_error(&r->check, "must be a URL of https:// without a user name or fragment");
	else
		memcpy(r->to->url, url.p, url.n);
}

static void read_status(struct reading *r, const json_t *value)
{
	r->to->active = slice_eq_str(text_of(value), "active");
	if (!r->to->active && !slice_eq_str(text_of(value), "inactive"))
		doc_error(&r->check, "must be \"active\" or \"inactive\"");
}

static void read_bool(struct reading *r, const json_t *value, bool *ret)
{
	*ret = json_is_true(value);
	if (!json_is_boolean(value))
		doc_error(&r->check, "must be true or false");
}

static void read_default(struct reading *r, const json_t *value)
{
	read_bool(r, value, &r->to->is_default);
}

static void read_signing_disabled(struct reading *r, const json_t *value)
{
	read_bool(r, value, &r->to->signing_disabled);
}

static void read_token_key(struct reading *r, const json_t *value)
{
	struct slice key = text_of(value);
	if (!is_name(key, AUTHORIZER_TOKEN_KEY_MAX, "-_"))
		doc_error(&r->check, "must be 1 to 128 of A-Z a-z 0-9 - _");
	else if (strncasecmp((const char *)key.p, "x-amz-customauthorizer-", 23) == 0)
		doc_error(&r->check, "must not begin with \"x-amz-customauthorizer-\"");
	else
		memcpy(r->to->token_key, key.p, key.n);
}

static void read_keys(struct reading *r, const json_t *value)
{
	const char *kid;
	json_t *pem;
	if (!json_is_object(value) || json_object_size(value) > CUSTOM_KEYS_MAX) {
		doc_error(&r->check, "must be an object of at most 8 keys");
		return;
	}
	json_object_foreach((json_t *)value, kid, pem)
	{
		size_t mark = doc_enter(&r->check, slice_str(kid));
		if (!is_name(slice_str(kid), KID_MAX, "-._:"))
			doc_error(&r->check, "is not a name of 1 to 64 of A-Z a-z 0-9 - . _ :");
		else if (custom_key_read(text_of(pem), &r->to->keys[r->to->n_keys]) < 0)
			doc_error(&r->check,
			        "must be an RSA public key of 2048 to 8192 bits, in PEM");
		else
			r->to->n_keys++;
		doc_leave(&r->check, mark);
	}
}

static void read_integer(
        struct reading *r, const json_t *value, unsigned min, unsigned max, unsigned *ret)
{
	char text[64];
	json_int_t n = json_integer_value(value);
	if (json_is_integer(value) && n >= (json_int_t)min && n <= (json_int_t)max) {
		*ret = (unsigned)n;
		return;
	}
	snprintf(text, sizeof(text), "must be an integer from %u to %u", min, max);
	doc_error(&r->check, text);
}

static void read_cache(struct reading *r, const json_t *value)
{
	read_integer(r, value, 0, AUTHORIZER_CACHE_MAX, &r->to->cache_s);
}

static void read_timeout(struct reading *r, const json_t *value)
{
	read_integer(r, value, AUTHORIZER_TIMEOUT_MIN, AUTHORIZER_TIMEOUT_MAX, &r->to->timeout_ms);
}

static void read_ca(struct reading *r, const json_t *value)
{
	struct x509_st *cert = NULL;
	if (json_is_null(value))
		return;
	if (!json_is_string(value) || x509_read_pem(text_of(value), &cert) < 0) {
		doc_error(&r->check, "must be one certificate, in PEM");
		return;
	}
	x509_free(cert);
	r->to->ca_pem = strdup(json_string_value(value));
	if (!r->to->ca_pem)
		doc_error(&r->check, "could not be read: out of memory");
}

static const struct {
	const char *name;
	void (*read)(struct reading *r, const json_t *value);
} members[] = {
        {"name", read_name},
        {"url", read_url},
        {"status", read_status},
        {"default", read_default},
        {"tokenKeyName", read_token_key},
        {"tokenSigningPublicKeys", read_keys},
        {"signingDisabled", read_signing_disabled},
        {"cacheSeconds", read_cache},
        {"timeoutMs", read_timeout},
        {"caCertificate", read_ca},
        /* read-only */
        {"etag", NULL},
        {"createdTime", NULL},
        {"updatedTime", NULL},
};

/* ---- the document ---- */

static void read_member(struct reading *r, const char *name, const json_t *value)
{
	for (unsigned i = 0; i < ARRAY_LEN(members); i++)
		if (strcmp(name, members[i].name) == 0) {
			if (members[i].read)
				members[i].read(r, value);
			return;
		}
	doc_error(&r->check, "unknown member");
}

/* What the members have to do with each other. */
static void check_whole(struct reading *r, bool named)
{
	struct doc_check *c = &r->check;
	if (!named && !json_object_get(r->doc, "name"))
		doc_member_error(c, "name", "is required");
	if (!json_object_get(r->doc, "url"))
		doc_member_error(c, "url", "is required");
	if (r->to->signing_disabled)
		return;
	if (!json_object_get(r->doc, "tokenKeyName"))
		doc_member_error(c, "tokenKeyName", "is required unless signing is disabled");
	if (json_object_size(json_object_get(r->doc, "tokenSigningPublicKeys")) == 0)
		doc_member_error(
		        c, "tokenSigningPublicKeys", "must have a key unless signing is disabled");
}

static void read_document(struct reading *r, struct slice name)
{
	const char *member;
	json_t *value;
	if (!json_is_object(r->doc)) {
		doc_error(&r->check, "must be an object");
		return;
	}
	if (authorizer_name_valid(name))
		memcpy(r->to->name, name.p, name.n);
	else if (name.p)
		doc_member_error(&r->check, "name", "the path names no possible authoriser");
	json_object_foreach((json_t *)r->doc, member, value)
	{
		size_t mark = doc_enter(&r->check, slice_str(member));
		read_member(r, member, value);
		doc_leave(&r->check, mark);
	}
	check_whole(r, name.p != NULL);
}

int authorizer_doc_read(
        const json_t *doc, struct slice name, json_t *errors, struct authorizer **ret)
{
	struct reading r = {.check.errors = errors, .doc = doc};
	_cleanup_authorizer_ struct authorizer *a = calloc(1, sizeof(*a));
	if (!a)
		return ERR_NOMEM;
	atomic_init(&a->refs, 1);
	a->active = true;
	a->cache_s = AUTHORIZER_CACHE_DEFAULT;
	a->timeout_ms = AUTHORIZER_TIMEOUT_MAX;
	r.to = a;
	read_document(&r, name);
	if (r.check.failed)
		return ERR_INVALID;
	*ret = TAKE_PTR(a);
	return 0;
}

int authorizer_doc_load(const struct document *from, struct authorizer **ret)
{
	char error[JSON_ERROR_LEN];
	_cleanup_json_ json_t *doc = NULL;
	struct authorizer *a = NULL;
	if (json_read(slice_str(from->text), &json_limits_body, &doc, error) < 0)
		return ERR_CORRUPT;
	int err = authorizer_doc_read(doc, slice_str(from->name), NULL, &a);
	if (err < 0)
		return err == ERR_INVALID ? ERR_CORRUPT : err;
	memcpy(a->etag, from->etag, sizeof(a->etag));
	*ret = a;
	return 0;
}

struct authorizer *authorizer_ref(struct authorizer *a)
{
	atomic_fetch_add_explicit(&a->refs, 1, memory_order_relaxed);
	return a;
}

struct authorizer *authorizer_unref(struct authorizer *a)
{
	if (!a || atomic_fetch_sub_explicit(&a->refs, 1, memory_order_acq_rel) != 1)
		return NULL;
	for (unsigned i = 0; i < a->n_keys; i++)
		custom_key_free(a->keys[i]);
	free(a->ca_pem);
	free(a);
	return NULL;
}

/* ---- showing ---- */

/* Every member is there, whether it was given or not. */
static json_t *whole(const json_t *doc, const struct authorizer *a)
{
	const json_t *keys = json_object_get(doc, "tokenSigningPublicKeys");
	return json_pack("{s:s, s:s, s:s, s:b, s:s?, s:o, s:b, s:i, s:i, s:s?}", "name", a->name,
	        "url", a->url, "status", a->active ? "active" : "inactive", "default",
	        a->is_default, "tokenKeyName", a->token_key[0] ? a->token_key : NULL,
	        "tokenSigningPublicKeys", keys ? json_deep_copy(keys) : json_object(),
	        "signingDisabled", a->signing_disabled, "cacheSeconds", (int)a->cache_s,
	        "timeoutMs", (int)a->timeout_ms, "caCertificate", a->ca_pem);
}

char *authorizer_doc_text(const json_t *doc, const struct authorizer *a)
{
	_cleanup_json_ json_t *stored = whole(doc, a);
	if (stored && !a->token_key[0])
		json_object_del(stored, "tokenKeyName");
	return stored ? json_dumps(stored, JSON_COMPACT) : NULL;
}

json_t *authorizer_doc_render(const struct document *d)
{
	char error[JSON_ERROR_LEN], created[CLOCK_RFC3339_LEN], updated[CLOCK_RFC3339_LEN];
	json_t *doc = NULL;
	if (json_read(slice_str(d->text), &json_limits_body, &doc, error) < 0)
		return json_pack("{s:s, s:s}", "name", d->name, "error", "cannot be read");
	if (json_object_set_new(doc, "etag", json_string(d->etag)) < 0 ||
	        json_object_set_new(doc, "createdTime",
	                json_string(clock_rfc3339(d->created_us, created))) < 0 ||
	        json_object_set_new(doc, "updatedTime",
	                json_string(clock_rfc3339(d->updated_us, updated))) < 0) {
		json_decref(doc);
		return NULL;
	}
	return doc;
}
