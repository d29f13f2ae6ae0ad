#include "server/api/audit.h"

#include <inttypes.h>

#include "server/api/handlers.h"
#include "server/api/internal.h"
#include "server/api/window.h"
#include "server/base/clock.h"
#include "server/base/err.h"
#include "server/base/role.h"

/* /audit: who did what, and who was not let. */

#define FILTER_MAX 1024
#define FILTERS 6

/* ---- on whose behalf ---- */

static const char *role_of(const struct principal *p)
{
	unsigned n;
	const struct role *roles = role_list(&n);
	for (unsigned i = 0; p->kind == PRINCIPAL_TOKEN && i < n; i++)
		if (roles[i].perms == p->perms)
			return roles[i].name;
	return "";
}

static const char *kind_of(const struct principal *p)
{
	if (p->kind == PRINCIPAL_TOKEN)
		return p->method == AUTH_METHOD_OIDC ? "oidc" : "token";
	return principal_kind_name(p->kind);
}

void api_audit_begin(struct api_call *c)
{
	if (!c->who)
		return;
	/* A principal's id ends with a NUL. */
	c->actor = (struct audit_actor){
	        .name = (const char *)principal_id(c->who).p,
	        .kind = kind_of(c->who),
	        .role = role_of(c->who),
	        .peer = c->r->peer,
	        .trace_id = c->r->trace_id,
	        .operation = policy_routes()[c->match.op].name,
	};
	audit_begin(&c->actor);
}

void api_audit_end(void)
{
	audit_end();
}

void api_audit_forbidden(const struct api_call *c)
{
	audit_denied(&(struct audit_denial){
	        .operation = policy_routes()[c->match.op].name,
	        .reason = "forbidden",
	        .who = c->who ? principal_id(c->who) : (struct slice){0},
	        .target = c->match.n_params > 0 ? c->match.params[0] : (struct slice){0},
	        .peer = c->r->peer,
	});
}

bool api_audit_note(struct api_call *c, const char *kind, struct slice name)
{
	const struct audit_store *store = &c->api->deps.audit;
	/* A parameter of the path ends with a NUL. */
	int r = store->append(store->ctx, kind, (const char *)name.p, NULL);
	return api_call_ok(c, r, NULL);
}

/* ---- reading ---- */

struct page {
	struct api_call *call;
	unsigned limit, n;
	bool more;
	int64_t last_us, last_id;
};

static int write_text(struct buf *out, const char *name, struct slice text)
{
	int r = buf_printf(out, ",\"%s\":", name);
	return r == 0 ? json_append_string(out, text) : r;
}

static int write_json(struct buf *out, const char *name, struct slice json)
{
	int r = buf_printf(out, ",\"%s\":", name);
	if (r < 0)
		return r;
	return json.p ? buf_append(out, json.p, json.n) : buf_append_str(out, "null");
}

static int write_row(struct buf *out, const struct audit_row *row)
{
	const struct {
		const char *name;
		struct slice text;
	} texts[] = {{"actor", row->actor}, {"actorKind", row->actor_kind}, {"role", row->role},
	        {"source", row->source}, {"traceId", row->trace_id}, {"operation", row->operation},
	        {"outcome", row->outcome}, {"reason", row->reason}, {"kind", row->kind},
	        {"name", row->name}};
	char when[CLOCK_RFC3339_LEN];
	int r = buf_printf(out, "{\"id\":%" PRId64 ",\"time\":\"%s\",\"count\":%" PRIu32, row->id,
	        clock_rfc3339(row->at_us, when), row->count);
	for (size_t i = 0; r == 0 && i < ARRAY_LEN(texts); i++)
		r = write_text(out, texts[i].name, texts[i].text);
	if (r == 0)
		r = write_json(out, "before", row->before);
	if (r == 0)
		r = write_json(out, "after", row->after);
	return r == 0 ? buf_append_byte(out, '}') : r;
}

static int add_row(const struct audit_row *row, void *arg)
{
	struct page *page = arg;
	struct buf *out = &page->call->out;
	if (page->n == page->limit || (page->n > 0 && buf_len(out) >= API_PAGE_BYTES)) {
		page->more = true;
		return ERR_TOO_BIG; /* enough: ends the query */
	}
	int r = page->n > 0 ? buf_append_byte(out, ',') : 0;
	if (r == 0)
		r = write_row(out, row);
	page->n++;
	page->last_us = row->at_us;
	page->last_id = row->id;
	return r;
}

static const char *const filter_names[FILTERS] = {
        "actor", "operation", "outcome", "reason", "kind", "name"};

/* Also as a document: what somebody looked for is part of the row that he did. */
static bool read_filters(struct api_call *c, char text[static FILTERS][FILTER_MAX + 1],
        struct audit_query *q, json_t *detail)
{
	const char **const to[FILTERS] = {
	        &q->actor, &q->operation, &q->outcome, &q->reason, &q->kind, &q->name};
	for (unsigned i = 0; i < FILTERS; i++) {
		struct slice value;
		if (!api_query_get(&c->query, filter_names[i], &value))
			continue;
		if (value.n > FILTER_MAX || (value.n > 0 && memchr(value.p, 0, value.n))) {
			api_call_bad_param(c, filter_names[i], "is too long or holds a NUL");
			return false;
		}
		snprintf(text[i], FILTER_MAX + 1, "%.*s", SLICE_ARG(value));
		*to[i] = text[i];
		json_object_set_new(detail, filter_names[i], json_string(text[i]));
	}
	if (q->outcome && strcmp(q->outcome, "done") != 0 && strcmp(q->outcome, "denied") != 0) {
		api_call_bad_param(c, "outcome", "must be done or denied");
		return false;
	}
	return true;
}

static struct slice scope_of(const struct audit_query *q)
{
	return q->ascending ? SLICE_LIT("audit asc") : SLICE_LIT("audit desc");
}

static bool read_after(struct api_call *c, struct audit_query *q)
{
	uint8_t position[API_CURSOR_POSITION_MAX];
	size_t len;
	if (!api_call_cursor(c, scope_of(q), position, &len, &q->has_after))
		return false;
	if (len != API_WINDOW_POSITION_LEN)
		return !q->has_after;
	api_window_get(position, &q->after_us, &q->after_id);
	return true;
}

static int note_reading(struct api_call *c, const json_t *detail)
{
	const struct audit_store *store = &c->api->deps.audit;
	_cleanup_free_ char *text = json_dumps(detail, JSON_COMPACT);
	return text ? store->append(store->ctx, "audit", "", text) : ERR_NOMEM;
}

void api_audit_list(struct api_call *c)
{
	const struct audit_store *store = &c->api->deps.audit;
	struct audit_query q = {.from_us = INT64_MIN, .to_us = INT64_MAX};
	struct page page = {.call = c};
	char text[FILTERS][FILTER_MAX + 1];
	_cleanup_json_ json_t *detail = json_object();
	if (!api_window_read(c, &q.from_us, &q.to_us, &q.ascending) ||
	        !api_call_limit(c, &page.limit) || !read_filters(c, text, &q, detail) ||
	        !read_after(c, &q))
		return;
	q.limit = page.limit + 1; /* one more tells whether there is a next page */
	int r = note_reading(c, detail);
	if (r == 0)
		r = buf_append_str(&c->out, "{\"items\":[");
	if (r == 0)
		r = store->query(store->ctx, &q, add_row, &page);
	if (r < 0 && !page.more) {
		api_call_err(c, r);
		return;
	}
	uint8_t position[API_WINDOW_POSITION_LEN];
	api_window_put(position, page.last_us, page.last_id);
	const struct slice last = slice_make(position, sizeof(position));
	api_call_page_end(c, scope_of(&q), page.more ? &last : NULL);
}
