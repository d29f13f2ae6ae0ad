#include "server/api/approvals.h"

#include "server/api/handlers.h"
#include "server/api/idempotency.h"
#include "server/api/internal.h"
#include "server/base/clock.h"
#include "server/base/err.h"

/*
 * /approvals. An approval is a document of the store: what was asked for, by whom, until when, and
 * who has agreed. It is bound to the caller, method, path, query and body of the request, and taken
 * away by the request that it lets through: that makes it good for one use, on every hub.
 */

#define LIFETIME_S 3600
#define WAITING_MAX 1000 /* approvals at once */
#define ID_BYTES 16
#define ID_LEN (2 * ID_BYTES)
#define HASH_LEN (2 * CRYPTO_HASH_LEN)

static const struct document_store *store_of(const struct api_call *c)
{
	return &c->api->store->documents;
}

static int64_t now_s(void)
{
	return clock_wall_us() / 1000000;
}

/* "token:alice": a person with two kinds of credentials counts as two. */
static json_t *caller_of(const struct api_call *c)
{
	return json_sprintf(
	        "%s:%.*s", auth_method_name(c->who->method), SLICE_ARG(principal_id(c->who)));
}

static bool is_caller(const struct api_call *c, const json_t *caller)
{
	_cleanup_json_ json_t *mine = caller_of(c);
	return mine && json_equal(mine, (json_t *)caller);
}

/* Of what the request is, whoever asks for it. */
static int hash_of(const struct api_call *c, char out[static HASH_LEN + 1])
{
	const struct slice parts[] = {c->r->method_text, c->r->path, c->r->query, c->r->body};
	uint8_t hash[CRYPTO_HASH_LEN];
	int r = api_hash_parts(parts, ARRAY_LEN(parts), hash);
	if (r == 0)
		crypto_hex_encode(slice_make(hash, sizeof(hash)), out);
	return r;
}

static const char *text_at(const json_t *doc, const char *name)
{
	const char *text = json_string_value(json_object_get(doc, name));
	return text ? text : "";
}

static bool is_over(const json_t *doc)
{
	const char *text = text_at(doc, "expiresTime");
	int64_t us;
	return clock_parse_rfc3339(text, strlen(text), &us) < 0 || us / 1000000 <= now_s();
}

/* ---- asking for one ---- */

/* Takes away those that are over. Returns how many are left, or an error. */
static int sweep(struct api_call *c)
{
	const struct document_store *store = store_of(c);
	struct document *list = NULL;
	unsigned n = 0;
	int left = 0;
	int r = store->list(store->ctx, ENTITY_APPROVAL, NULL, WAITING_MAX, &list, &n);
	if (r < 0)
		return r;
	for (unsigned i = 0; i < n; i++) {
		_cleanup_json_ json_t *doc = json_loads(list[i].text, 0, NULL);
		if (is_over(doc))
			store->remove(store->ctx, ENTITY_APPROVAL, list[i].name,
			        (struct store_match){.etag = list[i].etag});
		else
			left++;
		document_done(&list[i]);
	}
	free(list);
	return left;
}

static json_t *new_document(struct api_call *c)
{
	char hash[HASH_LEN + 1], created[CLOCK_RFC3339_LEN], expires[CLOCK_RFC3339_LEN];
	int64_t now_us = now_s() * 1000000;
	if (hash_of(c, hash) < 0)
		return NULL;
	return json_pack("{s:s, s:s%, s:s%, s:s, s:o, s:s, s:s, s:s, s:n}", "operation",
	        policy_routes()[c->match.op].name, "method", c->r->method_text.p,
	        c->r->method_text.n, "path", c->r->path.p, c->r->path.n, "requestHash", hash,
	        "requestedBy", caller_of(c), "createdTime", clock_rfc3339(now_us, created),
	        "expiresTime", clock_rfc3339(now_us + LIFETIME_S * 1000000LL, expires), "status",
	        "waiting", "approvedBy");
}

static void answer_waiting(struct api_call *c, const char *id, const json_t *doc)
{
	_cleanup_json_ json_t *answer = json_pack("{s:s, s:s, s:s}", "approvalId", id, "status",
	        "waiting", "expiresTime", text_at(doc, "expiresTime"));
	api_call_json(c, 202, answer);
	if (c->status == 202)
		api_call_location(c, "/api/v1/approvals", id);
}

static void ask(struct api_call *c)
{
	_cleanup_(document_done) struct document d = {.kind = ENTITY_APPROVAL};
	uint8_t id[ID_BYTES];
	int r = sweep(c);
	if (r >= WAITING_MAX) {
		api_call_problem(c, API_PROBLEM_QUOTA, "too many approvals wait");
		return;
	}
	_cleanup_json_ json_t *doc = r < 0 ? NULL : new_document(c);
	d.text = doc ? json_dumps(doc, JSON_COMPACT) : NULL;
	if (r >= 0)
		r = d.text ? 0 : ERR_NOMEM;
	crypto_random(id, sizeof(id));
	crypto_hex_encode(slice_make(id, sizeof(id)), d.name);
	if (r == 0)
		r = store_of(c)->insert(store_of(c)->ctx, &d);
	if (api_call_ok(c, r, NULL))
		answer_waiting(c, d.name, doc);
}

/* ---- using one ---- */

/* Why the approval does not let the request through; NULL: it does. */
static const char *objection(const struct api_call *c, const json_t *doc, const char *hash)
{
	const char *kept = text_at(doc, "requestHash");
	if (!doc || is_over(doc))
		return "there is no such approval, or its hour is over";
	if (!is_caller(c, json_object_get(doc, "requestedBy")))
		return "the approval is somebody else's";
	if (strlen(kept) != HASH_LEN || !crypto_equal(kept, hash, HASH_LEN))
		return "the approval is for another request";
	if (strcmp(text_at(doc, "status"), "approved") != 0)
		return "nobody has approved it yet";
	return NULL;
}

static bool id_text(struct slice id, char out[static ID_LEN + 1])
{
	uint8_t bytes[ID_BYTES];
	if (crypto_hex_decode(id, bytes, sizeof(bytes)) < 0)
		return false;
	crypto_hex_encode(slice_make(bytes, sizeof(bytes)), out);
	return true;
}

static int get(struct api_call *c, struct slice id, struct document *ret, json_t **ret_doc)
{
	char name[ID_LEN + 1];
	if (!id_text(id, name))
		return ERR_NOT_FOUND;
	int r = store_of(c)->get(store_of(c)->ctx, ENTITY_APPROVAL, name, ret);
	if (r < 0)
		return r;
	*ret_doc = json_loads(ret->text, 0, NULL);
	return *ret_doc ? 0 : ERR_CORRUPT;
}

static bool use(struct api_call *c, struct slice id)
{
	_cleanup_(document_done) struct document d = {0};
	_cleanup_json_ json_t *doc = NULL;
	char hash[HASH_LEN + 1];
	int r = get(c, id, &d, &doc);
	if (r == ERR_NOT_FOUND)
		r = 0;
	if (r == 0)
		r = hash_of(c, hash);
	if (r < 0) {
		api_call_err(c, r);
		return false;
	}
	const char *why = objection(c, doc, hash);
	/* Whoever takes it away has it: nobody uses it twice. */
	if (!why &&
	        store_of(c)->remove(store_of(c)->ctx, ENTITY_APPROVAL, d.name,
	                (struct store_match){.etag = d.etag}) < 0)
		why = "the approval was used, or has changed";
	if (why)
		api_call_problem(c, API_PROBLEM_FORBIDDEN, why);
	return !why;
}

bool api_approval_passes(struct api_call *c)
{
	bool many = false;
	if (!(c->match.route->flags & API_DESTRUCTIVE) || !c->api->deps.four_eyes)
		return true;
	struct slice id = http_header_get(c->r, "Holdfast-Approval", &many);
	if (!many && id.n > 0)
		return use(c, id);
	ask(c);
	return false;
}

/* ---- the resource ---- */

static int show(const char *id, const json_t *doc, json_t **ret)
{
	_cleanup_json_ json_t *shown = json_pack("{s:s}", "id", id);
	if (!shown || json_object_update(shown, (json_t *)doc) < 0)
		return ERR_NOMEM;
	json_object_del(shown, "requestHash");
	*ret = TAKE_PTR(shown);
	return 0;
}

void api_approval_get(struct api_call *c)
{
	_cleanup_(document_done) struct document d = {0};
	_cleanup_json_ json_t *doc = NULL, *shown = NULL;
	int r = get(c, c->params[0], &d, &doc);
	if (r == 0)
		r = is_over(doc) ? ERR_NOT_FOUND : show(d.name, doc, &shown);
	if (api_call_ok(c, r, NULL))
		api_call_json(c, 200, shown);
}

void api_approval_list(struct api_call *c)
{
	const struct document_store *store = store_of(c);
	_cleanup_json_ json_t *items = json_array();
	struct document *list = NULL;
	unsigned n = 0;
	int r = store->list(store->ctx, ENTITY_APPROVAL, NULL, WAITING_MAX, &list, &n);
	for (unsigned i = 0; i < n; i++) {
		_cleanup_json_ json_t *doc = json_loads(list[i].text, 0, NULL), *shown = NULL;
		if (!is_over(doc) && show(list[i].name, doc, &shown) == 0)
			json_array_append(items, shown);
		document_done(&list[i]);
	}
	free(list);
	if (api_call_ok(c, r, NULL))
		api_call_page(c, items, (struct slice){0}, NULL);
}

/* The operation's row; NULL: an older hub knew it. */
static const struct policy_route *route_named(const char *name)
{
	for (unsigned op = 0; op < POLICY_OP_COUNT; op++)
		if (strcmp(policy_routes()[op].name, name) == 0)
			return &policy_routes()[op];
	return NULL;
}

/* Whether the caller may agree to it: another person, who might do it himself. */
static bool may_approve(struct api_call *c, const json_t *doc)
{
	const struct policy_route *route = route_named(text_at(doc, "operation"));
	const char *why = NULL;
	if (c->who->kind != PRINCIPAL_TOKEN)
		why = "an access key is no person";
	else if (is_caller(c, json_object_get(doc, "requestedBy")))
		why = "somebody else has to agree";
	else if (!route || !policy_may(c->who, route->op))
		why = "who may not do it himself cannot agree to it";
	if (why)
		api_call_problem(c, API_PROBLEM_FORBIDDEN, why);
	return !why;
}

void api_approval_approve(struct api_call *c)
{
	_cleanup_(document_done) struct document d = {0};
	_cleanup_json_ json_t *doc = NULL, *shown = NULL;
	char etag[ETAG_LEN + 1];
	int r = get(c, c->params[0], &d, &doc);
	if (r == 0 && is_over(doc))
		r = ERR_NOT_FOUND;
	if (!api_call_ok(c, r, NULL) || !api_call_no_members(c) || !may_approve(c, doc))
		return;
	json_object_set_new(doc, "status", json_string("approved"));
	json_object_set_new(doc, "approvedBy", caller_of(c));
	free(d.text);
	d.text = json_dumps(doc, JSON_COMPACT);
	memcpy(etag, d.etag, sizeof(etag));
	r = d.text ? store_of(c)->update(store_of(c)->ctx, &d, (struct store_match){.etag = etag})
	           : ERR_NOMEM;
	if (r == 0)
		r = show(d.name, doc, &shown);
	if (api_call_ok(c, r, NULL))
		api_call_json(c, 200, shown);
}
