#include "registry/authority_doc.h"

#include <string.h>

#include "server/base/clock.h"
#include "server/base/err.h"

/* A list of the largest size in base64, and little else. */
static const struct json_limits crl_limits = {.bytes = 24 << 20, .depth = 4, .values = 16};

static const char *const status_names[] = {
        [AUTHORITY_UNVERIFIED] = "unverified",
        [AUTHORITY_ACTIVE] = "active",
        [AUTHORITY_INACTIVE] = "inactive",
        [AUTHORITY_REVOKED] = "revoked",
};

static struct slice text_of(const json_t *value)
{
	return slice_make(json_string_value(value), json_string_length(value));
}

/* ---- reading ---- */

/* What is read and how: a document of the store is believed, one of a caller is checked. */
struct reading {
	struct doc_check check;
	struct authority_doc *to;
	int64_t now;
	bool stored, patched;
};

bool authority_name_valid(struct slice name)
{
	if (name.n < 1 || name.n > AUTHORITY_NAME_MAX || slice_eq_str(name, ".") ||
	        slice_eq_str(name, ".."))
		return false;
	for (size_t i = 0; i < name.n; i++) {
		uint8_t c = name.p[i];
		bool ok = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
		        (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_';
		if (!ok)
			return false;
	}
	return true;
}

static void read_name(struct reading *r, const json_t *value)
{
	struct slice name = text_of(value);
	if (r->stored) /* the document's own name counts */
		return;
	if (!json_is_string(value) || !authority_name_valid(name))
		doc_error(&r->check,
		        "must be 1 to 64 of A-Z a-z 0-9 - . _ and neither \".\" nor \"..\"");
	else if (r->patched && !slice_eq_str(name, r->to->name))
		doc_error(&r->check, "is not the authority of the path");
	else
		snprintf(r->to->name, sizeof(r->to->name), "%.*s", SLICE_ARG(name));
}

static void read_certificate(struct reading *r, const json_t *value)
{
	struct slice pem = text_of(value);
	if (r->patched) {
		if (!slice_eq_str(pem, r->to->pem))
			doc_error(&r->check, "cannot be changed: make another authority");
		return;
	}
	if (x509_read_pem(pem, &r->to->cert) < 0) {
		doc_error(&r->check, "must be one certificate in PEM");
		return;
	}
	const char *fault = r->stored ? NULL : x509_authority_fault(r->to->cert, r->now);
	if (fault)
		doc_error(&r->check, fault);
	r->to->pem = strndup((const char *)pem.p, pem.n);
}

static void read_status(struct reading *r, const json_t *value)
{
	struct slice text = text_of(value);
	for (unsigned i = 0; i < ARRAY_LEN(status_names); i++) {
		if (!slice_eq_str(text, status_names[i]))
			continue;
		/* Whoever has not shown that the key is theirs has nothing to switch on or off. */
		bool verified = r->stored || r->to->verified;
		if ((i == AUTHORITY_UNVERIFIED) == verified && !r->stored)
			doc_error(&r->check,
			        verified ? "must be \"active\", \"inactive\" or \"revoked\""
			                 : "is \"unverified\" until possession of the key is shown "
			                   "(POST …/verify)");
		else
			r->to->status = (enum authority_status)i;
		return;
	}
	doc_error(&r->check, "must be \"active\", \"inactive\" or \"revoked\"");
}

static void read_id_from(struct reading *r, const json_t *value)
{
	struct slice text = text_of(value);
	if (slice_eq_str(text, "cn"))
		r->to->id_from = X509_ID_FROM_CN;
	else if (slice_eq_str(text, "san"))
		r->to->id_from = X509_ID_FROM_SAN;
	else
		doc_error(&r->check, "must be \"cn\" or \"san\"");
}

static void read_auto_register(struct reading *r, const json_t *value)
{
	if (json_is_boolean(value))
		r->to->auto_register = json_is_true(value);
	else
		doc_error(&r->check, "must be true or false");
}

/* ---- crl ---- */

static void read_url(struct reading *r, const json_t *value)
{
	struct slice url = text_of(value);
	bool fits = url.n <= FETCH_URL_MAX &&
	        (slice_has_prefix(url, SLICE_LIT("http://")) ||
	                slice_has_prefix(url, SLICE_LIT("https://")));
	for (size_t i = 0; fits && i < url.n; i++)
		fits = url.p[i] > ' ' && url.p[i] < 0x7f;
	if (json_is_null(value))
		r->to->crl_url[0] = '\0';
	else if (fits)
		snprintf(r->to->crl_url, sizeof(r->to->crl_url), "%.*s", SLICE_ARG(url));
	else
		doc_error(&r->check, "must be an http:// or https:// URL of at most 2,048 bytes");
}

static void read_refresh(struct reading *r, const json_t *value)
{
	json_int_t n = json_integer_value(value);
	if (json_is_integer(value) && n >= CRL_REFRESH_MIN && n <= CRL_REFRESH_MAX)
		r->to->crl_refresh_s = (unsigned)n;
	else
		doc_error(&r->check, "must be 60 to 604800 seconds");
}

static void read_mode(struct reading *r, const json_t *value)
{
	struct slice text = text_of(value);
	if (slice_eq_str(text, "soft") || slice_eq_str(text, "hard"))
		r->to->crl_hard = slice_eq_str(text, "hard");
	else
		doc_error(&r->check, "must be \"soft\" or \"hard\"");
}

struct member {
	const char *name;
	void (*read)(struct reading *r, const json_t *value);
};

static const struct member crl_members[] = {
        {"url", read_url},
        {"refreshSeconds", read_refresh},
        {"mode", read_mode},
        /* read-only: of the list in force */
        {"number", NULL},
        {"entries", NULL},
        {"thisUpdate", NULL},
        {"nextUpdate", NULL},
};

static void read_members(
        struct reading *r, const json_t *doc, const struct member *members, unsigned n)
{
	const char *name;
	json_t *value;
	json_object_foreach((json_t *)doc, name, value)
	{
		size_t mark = doc_enter(&r->check, slice_str(name));
		unsigned i = 0;
		while (i < n && strcmp(name, members[i].name) != 0)
			i++;
		if (i == n)
			doc_error(&r->check, "unknown member");
		else if (members[i].read)
			members[i].read(r, value);
		doc_leave(&r->check, mark);
	}
}

static void read_crl(struct reading *r, const json_t *value)
{
	if (json_is_object(value))
		read_members(r, value, crl_members, ARRAY_LEN(crl_members));
	else if (!json_is_null(value))
		doc_error(&r->check, "must be an object");
}

/* ---- the store's own members ---- */

static void read_verified(struct reading *r, const json_t *value)
{
	if (r->stored)
		r->to->verified = json_is_true(value);
}

static void read_challenge(struct reading *r, const json_t *value)
{
	if (r->stored)
		snprintf(r->to->challenge, sizeof(r->to->challenge), "%.*s",
		        SLICE_ARG(text_of(value)));
}

static const struct member members[] = {
        {"name", read_name},
        {"certificate", read_certificate},
        {"status", read_status},
        {"deviceIdFrom", read_id_from},
        {"autoRegister", read_auto_register},
        {"crl", read_crl},
        /* read-only */
        {"verified", read_verified},
        {"challenge", read_challenge},
        {"fingerprint", NULL},
        {"subject", NULL},
        {"notBefore", NULL},
        {"notAfter", NULL},
        {"etag", NULL},
        {"createdTime", NULL},
        {"updatedTime", NULL},
};

static int read_whole(struct reading *r, const json_t *doc)
{
	if (json_is_object(doc))
		read_members(r, doc, members, ARRAY_LEN(members));
	else
		doc_error(&r->check, "must be an object");
	return r->check.failed ? ERR_INVALID : 0;
}

static void challenge_make(char ret[static CHALLENGE_LEN + 1])
{
	uint8_t random[CHALLENGE_LEN / 2];
	crypto_random(random, sizeof(random));
	crypto_hex_encode(slice_make(random, sizeof(random)), ret);
}

int authority_doc_read(const json_t *doc, int64_t now, json_t *errors, struct authority_doc *ret)
{
	struct reading r = {.check = {.errors = errors}, .to = ret, .now = now};
	*ret = (struct authority_doc){.crl_refresh_s = CRL_REFRESH_DEFAULT};
	challenge_make(ret->challenge);
	read_whole(&r, doc);
	if (!json_object_get(doc, "name"))
		doc_member_error(&r.check, "name", "is required");
	if (!json_object_get(doc, "certificate"))
		doc_member_error(&r.check, "certificate", "is required");
	return r.check.failed ? ERR_INVALID : 0;
}

int authority_doc_load(const struct document *from, struct authority_doc *ret)
{
	struct reading r = {.to = ret, .stored = true};
	char error[JSON_ERROR_LEN];
	_cleanup_json_ json_t *doc = NULL;
	*ret = (struct authority_doc){.crl_refresh_s = CRL_REFRESH_DEFAULT};
	snprintf(ret->name, sizeof(ret->name), "%.*s", AUTHORITY_NAME_MAX, from->name);
	if (json_read(slice_str(from->text), &json_limits_body, &doc, error) < 0 ||
	        read_whole(&r, doc) < 0 || !ret->cert || !ret->pem)
		return ERR_CORRUPT;
	return 0;
}

void authority_doc_done(struct authority_doc *d)
{
	d->cert = x509_free(d->cert);
	free(d->pem);
	d->pem = NULL;
}

/* ---- writing ---- */

/* What callers may write, as they would. */
static json_t *writable(const struct authority_doc *d)
{
	return json_pack("{s:s, s:s, s:s, s:s, s:b, s:{s:o, s:i, s:s}}", "name", d->name,
	        "certificate", d->pem, "status", status_names[d->status], "deviceIdFrom",
	        d->id_from == X509_ID_FROM_CN ? "cn" : "san", "autoRegister", d->auto_register,
	        "crl", "url", d->crl_url[0] ? json_string(d->crl_url) : json_null(),
	        "refreshSeconds", (int)d->crl_refresh_s, "mode", d->crl_hard ? "hard" : "soft");
}

int authority_doc_patch(const json_t *patch, json_t *errors, struct authority_doc *d)
{
	struct reading r = {.check = {.errors = errors}, .to = d, .patched = true};
	_cleanup_json_ json_t *before = writable(d);
	_cleanup_json_ json_t *after = before ? json_merge_patch(before, patch) : NULL;
	if (!after)
		return ERR_NOMEM;
	/* What a patch takes away (null) is as if it had never been said. */
	d->id_from = X509_ID_FROM_CN;
	d->auto_register = d->crl_hard = false;
	d->crl_url[0] = '\0';
	d->crl_refresh_s = CRL_REFRESH_DEFAULT;
	if (!json_object_get(after, "status"))
		doc_member_error(&r.check, "status", "cannot be removed");
	return read_whole(&r, after);
}

char *authority_doc_text(const struct authority_doc *d)
{
	_cleanup_json_ json_t *doc = writable(d);
	bool whole = doc && json_object_set_new(doc, "verified", json_boolean(d->verified)) == 0 &&
	        json_object_set_new(doc, "challenge", json_string(d->challenge)) == 0;
	return whole ? json_dumps(doc, JSON_COMPACT) : NULL;
}

static json_t *time_json(int64_t us)
{
	char text[CLOCK_RFC3339_LEN];
	return json_string(clock_rfc3339(us, text));
}

static int add_crl(json_t *doc, const struct x509_crl *crl)
{
	char number[2 * X509_CRL_NUMBER_MAX + 1];
	json_t *to = json_object_get(doc, "crl");
	if (!crl)
		return 0;
	crypto_hex_encode(slice_make(crl->number, crl->number_len), number);
	int err = json_object_set_new(
	        to, "number", crl->number_len ? json_string(number) : json_null());
	err |= json_object_set_new(to, "entries", json_integer((json_int_t)crl->n));
	err |= json_object_set_new(to, "thisUpdate", time_json(crl->this_update * 1000000));
	err |= json_object_set_new(to, "nextUpdate",
	        crl->next_update ? time_json(crl->next_update * 1000000) : json_null());
	return err;
}

static int add_certificate(json_t *doc, const struct x509_st *cert)
{
	uint8_t id[X509_ID_LEN];
	char hex[X509_ID_TEXT + 1], subject[X509_NAME_MAX + 1];
	int64_t from, to;
	if (x509_id(cert, id) < 0 || x509_dates(cert, &from, &to) < 0)
		return ERR_CORRUPT;
	x509_id_text(id, hex);
	x509_subject(cert, subject);
	int err = json_object_set_new(doc, "fingerprint", json_string(hex));
	err |= json_object_set_new(doc, "subject", json_string(subject));
	err |= json_object_set_new(doc, "notBefore", time_json(from * 1000000));
	err |= json_object_set_new(doc, "notAfter", time_json(to * 1000000));
	return err;
}

json_t *authority_doc_render(
        const struct authority_doc *d, const struct document *stored, const struct x509_crl *crl)
{
	_cleanup_json_ json_t *doc = writable(d);
	if (!doc || add_certificate(doc, d->cert) < 0 || add_crl(doc, crl) < 0)
		return NULL;
	if (!d->verified && json_object_set_new(doc, "challenge", json_string(d->challenge)) < 0)
		return NULL;
	int err = json_object_set_new(doc, "etag", json_string(stored->etag));
	err |= json_object_set_new(doc, "createdTime", time_json(stored->created_us));
	err |= json_object_set_new(doc, "updatedTime", time_json(stored->updated_us));
	return err ? NULL : TAKE_PTR(doc);
}

/* ---- the document of a revocation list ---- */

#define CRL_PREFIX "~crl/"

void crl_doc_name(const char *authority, char ret[static CRL_DOC_NAME_MAX])
{
	snprintf(ret, CRL_DOC_NAME_MAX, CRL_PREFIX "%s", authority);
}

bool crl_doc_owner(const char *name, struct slice *ret_authority)
{
	size_t n = strlen(CRL_PREFIX);
	if (strncmp(name, CRL_PREFIX, n) != 0)
		return false;
	*ret_authority = slice_str(name + n);
	return true;
}

char *crl_doc_text(struct slice der, const char *source)
{
	_cleanup_free_ char *base64 = malloc(4 * ((der.n + 2) / 3) + 1);
	if (!base64)
		return NULL;
	crypto_base64_encode(der, base64);
	_cleanup_json_ json_t *doc = json_pack("{s:s, s:s, s:o}", "der", base64, "source", source,
	        "takenTime", time_json(clock_wall_us()));
	return doc ? json_dumps(doc, JSON_COMPACT) : NULL;
}

int crl_doc_load(const struct document *from, uint8_t **ret, size_t *ret_n)
{
	char error[JSON_ERROR_LEN];
	_cleanup_json_ json_t *doc = NULL;
	if (json_read(slice_str(from->text), &crl_limits, &doc, error) < 0)
		return ERR_CORRUPT;
	struct slice base64 = text_of(json_object_get(doc, "der"));
	_cleanup_free_ uint8_t *der = malloc(3 * (base64.n / 4) + 1);
	size_t n;
	if (!der)
		return ERR_NOMEM;
	if (base64.n == 0 || crypto_base64_decode(base64, der, &n) < 0)
		return ERR_CORRUPT;
	*ret = TAKE_PTR(der);
	*ret_n = n;
	return 0;
}
