#include "server/api/policy_write.h"

#include "server/api/internal.h"
#include "server/base/err.h"

bool api_policy_write_begin(struct api_call *c,
        int (*get)(struct api_call *c, struct slice id, json_t **ret), struct policy_write *ret)
{
	struct registry_condition cond = {0};
	struct slice force;
	*ret = (struct policy_write){0};
	if (get && !api_call_match(c, get, &cond))
		return false;
	*ret = (struct policy_write){
	        .doc = c->body,
	        .if_match = cond.if_match,
	        .if_none_match_any = cond.if_none_match_any,
	};
	if (api_query_get(&c->query, "force", &force)) {
		ret->force = slice_eq_str(force, "true");
		if (!ret->force && !slice_eq_str(force, "false")) {
			api_call_bad_param(c, "force", "must be true or false");
			return false;
		}
	}
	ret->errors = json_array();
	ret->objections = json_array();
	return true;
}

void api_policy_write_done(struct policy_write *w)
{
	json_decref(w->errors);
	json_decref(w->objections);
}

/* The problem's errors point at the statements. */
static void answer_objections(struct api_call *c, const struct policy_write *w)
{
	_cleanup_json_ json_t *errors = json_array();
	const json_t *o;
	size_t i;
	json_array_foreach(w->objections, i, o)
	{
		char pointer[64], detail[512];
		snprintf(pointer, sizeof(pointer), "/document/Statement/%lld",
		        (long long)json_integer_value(json_object_get(o, "statement")));
		snprintf(detail, sizeof(detail), "%s: %s",
		        json_string_value(json_object_get(o, "code")),
		        json_string_value(json_object_get(o, "detail")));
		json_array_append_new(
		        errors, json_pack("{s:s, s:s}", "pointer", pointer, "detail", detail));
	}
	api_call_problem_errors(c, API_PROBLEM_MISTAKE,
	        "this is most likely a mistake; ?force=true stores it all the same", errors);
}

bool api_policy_write_ok(struct api_call *c, int err, const struct policy_write *w)
{
	if (err == ERR_DENIED)
		answer_objections(c, w);
	else if (err == ERR_QUOTA)
		api_call_problem(c, API_PROBLEM_CONFLICT, "there are as many as there may be");
	else
		return api_call_ok(c, err, w->errors);
	return false;
}

void api_policy_page(struct api_call *c, struct slice scope,
        int (*list)(
                struct policy *p, const char *after, unsigned limit, json_t **ret, char *ret_next))
{
	uint8_t position[API_CURSOR_POSITION_MAX];
	char after[DOCUMENT_NAME_MAX + 1] = "", next[DOCUMENT_NAME_MAX + 1];
	_cleanup_json_ json_t *docs = NULL;
	unsigned limit;
	size_t len;
	bool given;
	if (!api_call_limit(c, &limit) || !api_call_cursor(c, scope, position, &len, &given))
		return;
	if (len <= DOCUMENT_NAME_MAX)
		memcpy(after, position, len);
	int r = list(c->api->deps.policy, given ? after : NULL, limit, &docs, next);
	if (!api_call_ok(c, r, NULL))
		return;
	const struct slice last = slice_str(next);
	api_call_page(c, docs, scope, *next ? &last : NULL);
}

void api_link_page(struct api_call *c, struct link_query *q,
        int (*list)(struct policy *p, struct link_query *q, json_t **ret, bool *ret_more))
{
	char scope[3 * DOCUMENT_NAME_MAX + 32];
	uint8_t position[API_CURSOR_POSITION_MAX];
	_cleanup_json_ json_t *items = NULL;
	size_t len;
	bool given, more = false;
	int n = snprintf(scope, sizeof(scope), "links %d %s %s %s", (int)q->subject_kind,
	        q->subject ? q->subject : "", q->value ? q->value : "",
	        q->letters ? q->letters : "");
	struct slice name = slice_make(scope, (size_t)n);
	if (!api_call_limit(c, &q->limit) || !api_call_cursor(c, name, position, &len, &given))
		return;
	if (len == sizeof(q->after))
		memcpy(&q->after, position, sizeof(q->after));
	if (!api_call_ok(c, list(c->api->deps.policy, q, &items, &more), NULL))
		return;
	const struct slice last = slice_make(&q->after, sizeof(q->after));
	api_call_page(c, items, name, more ? &last : NULL);
}

void api_identity_changed(struct api_call *c, enum entity kind, struct slice id)
{
	registry_forget(c->api->deps.registry, kind, id, true);
	broker_identity_changed(c->api->deps.broker, kind, id);
	mail_flush();
}

/* ---- somebody ---- */

#define LINKS_PAGE 1000
#define LINKS_BYTES_MAX ((size_t)1 << 20)

static const char *const auth_types[] = {
        [DEVICE_AUTH_SAS] = "sas",
        [DEVICE_AUTH_SECRET] = "secret",
        [DEVICE_AUTH_X509_THUMBPRINT] = "x509Thumbprint",
        [DEVICE_AUTH_X509_CA] = "x509Ca",
        [DEVICE_AUTH_JWT] = "jwt",
};

static int read_links(const struct document_store *store, enum entity kind, struct api_subject *s)
{
	struct link_query q = {.subject_kind = kind, .subject = s->id, .limit = LINKS_PAGE};
	struct buf _cleanup_(buf_free) text;
	unsigned n = LINKS_PAGE;
	int r = 0;
	buf_init(&text, LINKS_BYTES_MAX);
	while (r == 0 && n == LINKS_PAGE) {
		_cleanup_free_ struct link_row *rows = NULL;
		r = store->link_list(store->ctx, &q, &rows, &n);
		for (unsigned i = 0; r == 0 && i < n; i++) {
			r = buf_printf(&text, "%c %s\n", rows[i].letter, rows[i].value);
			q.after = rows[i].id;
		}
	}
	if (r == 0)
		s->links = buf_steal(&text, NULL);
	return r < 0 || s->links ? r : ERR_NOMEM;
}

static int read_device(const struct registry_store *store, struct api_subject *s)
{
	int r = store->device_get(store->ctx, s->id, &s->device);
	if (r < 0)
		return r;
	s->source.tags = slice_str(s->device.tags);
	s->source.enabled = s->device.enabled;
	s->source.auth_type = s->device.auth < ARRAY_LEN(auth_types) ? auth_types[s->device.auth]
	                                                             : "";
	return read_links(&store->documents, ENTITY_DEVICE, s);
}

static int read_key(const struct registry_store *store, struct api_subject *s)
{
	int r = store->access_key_get(store->ctx, s->id, &s->key);
	if (r == 0 && s->key.scope)
		s->source.scope = slice_str(s->key.scope);
	return r;
}

static int read_certificate(const struct registry_store *store, struct api_subject *s)
{
	_cleanup_(document_done) struct document d = {0};
	int r = store->documents.get(store->documents.ctx, ENTITY_CERTIFICATE, s->id, &d);
	return r < 0 ? r : read_links(&store->documents, ENTITY_CERTIFICATE, s);
}

int api_subject_read(struct api_call *c, enum entity kind, struct slice id, struct api_subject *ret)
{
	const struct registry_store *store = c->api->store;
	*ret = (struct api_subject){.source = {.kind = kind, .enabled = true}};
	if (id.n == 0 || id.n >= sizeof(ret->id) || (kind == ENTITY_KEY && id.n > KEY_NAME_MAX))
		return ERR_NOT_FOUND;
	memcpy(ret->id, id.p, id.n);
	ret->source.id = slice_make(ret->id, id.n);
	int r = kind == ENTITY_DEVICE ? read_device(store, ret)
	        : kind == ENTITY_KEY  ? read_key(store, ret)
	                              : read_certificate(store, ret);
	if (ret->links)
		ret->source.links = slice_str(ret->links);
	return r;
}

void api_subject_done(struct api_subject *s)
{
	device_record_done(&s->device);
	access_key_record_done(&s->key);
	free(s->links);
}

struct principal *api_subject_principal(const struct api_subject *s, struct slice client_id,
        struct access *first, struct access *second)
{
	bool key = s->source.kind == ENTITY_KEY;
	struct principal *p = NULL;
	if (client_id.n <= CLIENT_ID_MAX && s->source.id.n <= MODULE_ID_MAX)
		p = principal_new_client(key ? PRINCIPAL_KEY : PRINCIPAL_DEVICE, s->source.id,
		        (struct slice){0}, client_id);
	if (!p) {
		access_unref(first);
		access_unref(second);
		return NULL;
	}
	p->access[0] = first;
	p->access[1] = second;
	p->resolved = true;
	if (key)
		p->perms = s->key.perms;
	return p;
}
