#include "server/api/call.h"
#include "server/api/internal.h"
#include "server/base/clock.h"
#include "server/base/crypto.h"
#include "server/base/err.h"
#include "server/base/log.h"
#include "server/base/utf8.h"

/* Answers, and what handlers have in common. */

void api_call_clear(struct api_call *c)
{
	buf_wipe(&c->out);
	buf_free(&c->extra);
	c->content_type = NULL;
}

void api_call_header(struct api_call *c, const char *fmt, ...)
{
	char line[4096];
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	/* A line that does not fit is left out whole. */
	if (n > 0 && (size_t)n < sizeof(line))
		buf_append(&c->extra, line, (size_t)n);
}

void api_call_problem(struct api_call *c, enum api_problem kind, const char *detail)
{
	api_call_clear(c);
	c->status = api_problem_status(kind);
	c->content_type = API_PROBLEM_TYPE;
	api_problem_write(&c->out, kind, detail, c->r->trace_id, NULL);
	if (kind == API_PROBLEM_UNAUTHENTICATED)
		api_call_header(c, API_CHALLENGE);
	if (c->status == 503 || c->status == 429)
		api_call_header(c, "Retry-After: 1\r\n");
}

void api_call_err(struct api_call *c, int err)
{
	enum api_problem kind = api_problem_of_err(err);
	if (api_problem_status(kind) >= 500)
		log_error("request failed", F_STR("trace", c->r->trace_id),
		        F_STR("operation", policy_routes()[c->match.op].name),
		        F_STR("error", err_text(err)));
	api_call_problem(c, kind, NULL);
}

void api_call_problem_errors(
        struct api_call *c, enum api_problem kind, const char *detail, const json_t *errors)
{
	api_call_clear(c);
	c->status = api_problem_status(kind);
	c->content_type = API_PROBLEM_TYPE;
	api_problem_write(&c->out, kind, detail, c->r->trace_id, errors);
}

static void problem_with(struct api_call *c, const char *detail, const json_t *errors)
{
	api_call_problem_errors(c, API_PROBLEM_INVALID, detail, errors);
}

void api_call_invalid(struct api_call *c, const json_t *errors)
{
	problem_with(c, "the document is not valid", errors);
}

void api_call_bad_body(struct api_call *c, const char *pointer, const char *detail)
{
	_cleanup_json_ json_t *errors = json_pack(
	        "[{s:s,s:s}]", "pointer", pointer, "detail", detail);
	problem_with(c, "the document is not valid", errors);
}

void api_call_bad_param(struct api_call *c, const char *name, const char *detail)
{
	char text[API_QUERY_NAME_MAX + 160];
	snprintf(text, sizeof(text), "the query parameter \"%s\" %s", name, detail);
	/* json_pack refuses what is not UTF-8; the text goes without the list then. */
	_cleanup_json_ json_t *errors = json_pack(
	        "[{s:s,s:s}]", "parameter", name, "detail", detail);
	problem_with(c, text, errors);
}

bool api_call_ok(struct api_call *c, int err, const json_t *errors)
{
	if (err == 0)
		return true;
	bool listed = errors && json_array_size(errors) > 0;
	if (err == ERR_INVALID && listed)
		api_call_invalid(c, errors);
	else if (err == ERR_EXISTS && c->condition.none_match.any)
		api_call_problem(c, API_PROBLEM_STALE, "it is there already");
	else
		api_call_err(c, err);
	return false;
}

void api_call_empty(struct api_call *c, int status)
{
	c->status = status;
	c->content_type = NULL;
}

void api_call_text(struct api_call *c, int status, const char *content_type)
{
	c->status = status;
	c->content_type = content_type;
}

void api_call_json(struct api_call *c, int status, const json_t *doc)
{
	if (!doc || api_json_append(&c->out, doc) < 0) {
		api_call_err(c, ERR_NOMEM);
		return;
	}
	api_call_text(c, status, API_JSON_TYPE);
}

static const char *etag_of(const json_t *doc)
{
	const char *etag = json_string_value(json_object_get(doc, "etag"));
	return etag ? etag : "";
}

void api_call_document(struct api_call *c, int status, const json_t *doc)
{
	api_call_json(c, status, doc);
	if (c->status == status && *etag_of(doc))
		api_call_header(c, "ETag: \"%s\"\r\n", etag_of(doc));
}

void api_call_get(struct api_call *c, const json_t *doc)
{
	const char *etag = etag_of(doc);
	if (!c->condition.none_match.given || !api_tags_has(&c->condition.none_match, etag)) {
		api_call_document(c, 200, doc);
		return;
	}
	api_call_empty(c, 304);
	api_call_header(c, "ETag: \"%s\"\r\n", etag);
}

static void append_encoded(struct buf *line, const char *segment)
{
	buf_append_byte(line, '/');
	for (const char *s = segment; *s; s++) {
		if (strchr("-._~", *s) || (*s >= '0' && *s <= '9') || (*s >= 'a' && *s <= 'z') ||
		        (*s >= 'A' && *s <= 'Z'))
			buf_append_byte(line, (uint8_t)*s);
		else
			buf_printf(line, "%%%02X", (unsigned)(uint8_t)*s);
	}
}

static void locate(struct api_call *c, const char *base, struct buf *path)
{
	buf_append_byte(path, '\0');
	if (path->data)
		api_call_header(c, "Location: %s%s\r\n", base, (const char *)buf_slice(path).p);
}

void api_call_location(struct api_call *c, const char *base, const char *segment)
{
	struct buf _cleanup_(buf_free) path;
	buf_init(&path, 4 * API_PARAM_MAX);
	append_encoded(&path, segment);
	locate(c, base, &path);
}

void api_call_location_below(struct api_call *c, const char *base, const char *owner,
        const char *collection, const char *segment)
{
	struct buf _cleanup_(buf_free) path;
	buf_init(&path, 8 * API_PARAM_MAX);
	append_encoded(&path, owner);
	append_encoded(&path, collection);
	append_encoded(&path, segment);
	locate(c, base, &path);
}

bool api_call_limit(struct api_call *c, unsigned *ret)
{
	struct slice text;
	uint64_t limit = API_LIMIT_DEFAULT;
	if (api_query_get(&c->query, "limit", &text) &&
	        api_parse_uint(text, 1, API_LIMIT_MAX, &limit) < 0) {
		api_call_bad_param(c, "limit", "must be an integer from 1 to 1000");
		return false;
	}
	*ret = (unsigned)limit;
	return true;
}

bool api_call_cursor(struct api_call *c, struct slice scope,
        uint8_t ret[static API_CURSOR_POSITION_MAX], size_t *ret_len, bool *ret_given)
{
	struct slice text;
	*ret_len = 0;
	*ret_given = api_query_get(&c->query, "cursor", &text);
	if (!*ret_given || api_cursor_read(c->api->store, scope, text, ret, ret_len) == 0)
		return true;
	api_call_bad_param(c, "cursor", "is not a cursor of this list");
	return false;
}

void api_call_page_end(struct api_call *c, struct slice scope, const struct slice *position)
{
	char cursor[API_CURSOR_LEN + 1];
	int r;
	if (position) {
		api_cursor_make(c->api->store, scope, *position, cursor);
		r = buf_printf(&c->out, "],\"nextCursor\":\"%s\"}", cursor);
	} else {
		r = buf_append_str(&c->out, "],\"nextCursor\":null}");
	}
	if (r < 0)
		api_call_err(c, r);
	else
		api_call_text(c, 200, API_JSON_TYPE);
}

void api_call_page(
        struct api_call *c, const json_t *items, struct slice scope, const struct slice *position)
{
	const json_t *item;
	size_t i;
	int r = buf_append_str(&c->out, "{\"items\":[");
	json_array_foreach((json_t *)items, i, item)
	{
		if (r == 0 && i > 0)
			r = buf_append_byte(&c->out, ',');
		if (r == 0)
			r = api_json_append(&c->out, item);
	}
	if (r < 0)
		api_call_err(c, r);
	else
		api_call_page_end(c, scope, position);
}

/* The registry compares with one tag: of several, the one that the document has now is asked for,
 * and the registry still sees whether it changes before the write. */
static bool match_one_of(struct api_call *c,
        int (*get)(struct api_call *c, struct slice name, json_t **ret),
        struct registry_condition *ret)
{
	_cleanup_json_ json_t *doc = NULL;
	struct api_tags *tags = &c->condition.match;
	int r = get(c, c->params[0], &doc);
	if (r < 0 && r != ERR_NOT_FOUND) {
		api_call_err(c, r);
		return false;
	}
	for (unsigned i = 0; r == 0 && i < tags->n; i++)
		if (strcmp(tags->tags[i], etag_of(doc)) == 0)
			ret->if_match = tags->tags[i];
	if (!ret->if_match)
		ret->if_match = tags->tags[0];
	return true;
}

bool api_call_match(struct api_call *c,
        int (*get)(struct api_call *c, struct slice name, json_t **ret),
        struct registry_condition *ret)
{
	const struct api_tags *none = &c->condition.none_match;
	struct api_tags *match = &c->condition.match;
	*ret = (struct registry_condition){.if_none_match_any = none->any};
	if (none->given && !none->any) {
		api_call_problem(c, API_PROBLEM_INVALID, "on a write If-None-Match takes * alone");
		return false;
	}
	if (match->any)
		ret->if_match = "*";
	else if (match->given && match->n == 0)
		ret->if_match = ""; /* only tags that cannot be one of ours: nothing matches */
	else if (match->n == 1)
		ret->if_match = match->tags[0];
	else if (match->n > 1)
		return match_one_of(c, get, ret);
	return true;
}

void api_call_unknown_member(struct api_call *c, const char *member)
{
	/* RFC 6901: '~' is ~0, '/' is ~1. */
	char pointer[2 * API_QUERY_NAME_MAX + 2] = "/";
	size_t n = 1;
	for (const char *m = member; *m && n < sizeof(pointer) - 2; m++) {
		if (*m == '~' || *m == '/')
			pointer[n++] = '~';
		pointer[n++] = *m == '~' ? '0' : *m == '/' ? '1' : *m;
	}
	/* Cut between characters, not inside one. */
	while (n > 1 && !utf8_valid(slice_make(pointer, n)))
		n--;
	pointer[n] = '\0';
	api_call_bad_body(c, pointer, "is not known");
}

bool api_call_no_members(struct api_call *c)
{
	if (!c->body)
		return true;
	if (!json_is_object(c->body))
		api_call_bad_body(c, "", "must be an object");
	else if (json_object_size(c->body) > 0)
		api_call_unknown_member(c, json_object_iter_key(json_object_iter(c->body)));
	else
		return true;
	return false;
}

bool api_call_which(struct api_call *c, unsigned param, bool *ret_primary)
{
	*ret_primary = slice_eq_str(c->params[param], "primary");
	if (*ret_primary || slice_eq_str(c->params[param], "secondary"))
		return true;
	api_call_problem(c, API_PROBLEM_NOT_FOUND, "the keys are primary and secondary");
	return false;
}
