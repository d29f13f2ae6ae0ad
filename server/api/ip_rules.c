#include "policy/policy_ip.h"
#include "server/api/handlers.h"
#include "server/api/internal.h"
#include "server/api/ip_write.h"
#include "server/base/err.h"

/* /ip-rules: who may connect from where. */

#define IP_RULES "/api/v1/ip-rules"

static struct policy *policy_of(const struct api_call *c)
{
	return c->api->deps.policy;
}

static int read_rule(struct api_call *c, struct slice id, json_t **ret)
{
	return policy_ip_rule_get(policy_of(c), id, ret);
}

bool api_ip_write_begin(struct api_call *c,
        int (*get)(struct api_call *c, struct slice id, json_t **ret), struct policy_ip_write *ret)
{
	struct registry_condition cond = {0};
	struct slice force;
	if (get && !api_call_match(c, get, &cond))
		return false;
	*ret = (struct policy_ip_write){
	        .doc = c->body,
	        .if_match = cond.if_match,
	        .if_none_match_any = cond.if_none_match_any,
	        .peer = c->r->peer,
	};
	if (api_query_get(&c->query, "force", &force)) {
		ret->force = slice_eq_str(force, "true");
		if (!ret->force && !slice_eq_str(force, "false")) {
			api_call_bad_param(c, "force", "must be true or false");
			return false;
		}
	}
	return true;
}

bool api_ip_write_ok(struct api_call *c, int err, const struct policy_ip_write *w)
{
	if (err == ERR_DENIED && w->objection)
		api_call_problem(c, API_PROBLEM_LOCK_OUT, w->objection);
	else if (err == ERR_QUOTA)
		api_call_problem(c, API_PROBLEM_CONFLICT, "there are as many as there may be");
	else
		return api_call_ok(c, err, w->errors);
	return false;
}

void api_ip_rule_create(struct api_call *c)
{
	_cleanup_json_ json_t *errors = json_array(), *doc = NULL;
	struct policy_ip_write w;
	if (!api_ip_write_begin(c, NULL, &w))
		return;
	w.errors = errors;
	int r = policy_ip_rule_create(policy_of(c), &w, &doc);
	if (!api_ip_write_ok(c, r, &w))
		return;
	api_call_document(c, 201, doc);
	const char *id = json_string_value(json_object_get(doc, "id"));
	if (id && c->status == 201)
		api_call_location(c, IP_RULES, id);
}

void api_ip_rule_get(struct api_call *c)
{
	_cleanup_json_ json_t *doc = NULL;
	if (api_call_ok(c, read_rule(c, c->params[0], &doc), NULL))
		api_call_get(c, doc);
}

void api_ip_rule_put(struct api_call *c)
{
	_cleanup_json_ json_t *errors = json_array(), *doc = NULL;
	struct policy_ip_write w;
	bool created = false;
	if (!api_ip_write_begin(c, read_rule, &w))
		return;
	w.errors = errors;
	int r = policy_ip_rule_put(policy_of(c), c->params[0], &w, &doc, &created);
	if (!api_ip_write_ok(c, r, &w))
		return;
	api_call_document(c, created ? 201 : 200, doc);
	if (c->status == 201)
		api_call_location(c, IP_RULES, c->param_text[0]);
}

void api_ip_rule_delete(struct api_call *c)
{
	struct policy_ip_write w;
	if (!api_ip_write_begin(c, read_rule, &w))
		return;
	if (api_ip_write_ok(c, policy_ip_rule_delete(policy_of(c), c->params[0], &w), &w))
		api_call_empty(c, 204);
}

void api_ip_rule_dry_run(struct api_call *c)
{
	_cleanup_json_ json_t *errors = json_array(), *report = NULL;
	struct policy_ip_write w;
	if (!api_ip_write_begin(c, NULL, &w))
		return;
	w.errors = errors;
	if (api_ip_write_ok(c, policy_ip_rule_dry_run(policy_of(c), &w, &report), &w))
		api_call_json(c, 200, report);
}

static int rule_list(
        struct policy *p, const char *after, unsigned limit, json_t **ret, char *ret_next)
{
	return policy_ip_rule_list(p, after, limit, ret, ret_next);
}

void api_ip_rule_list(struct api_call *c)
{
	api_ip_list(c, SLICE_LIT("ip-rules"), rule_list);
}

void api_ip_list(struct api_call *c, struct slice scope,
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
	int r = list(policy_of(c), given ? after : NULL, limit, &docs, next);
	if (!api_call_ok(c, r, NULL))
		return;
	json_t *doc;
	size_t i;
	r = buf_append_str(&c->out, "{\"items\":[");
	json_array_foreach(docs, i, doc)
	{
		if (r == 0 && i > 0)
			r = buf_append_byte(&c->out, ',');
		if (r == 0)
			r = api_json_append(&c->out, doc);
	}
	if (r < 0) {
		api_call_err(c, r);
		return;
	}
	const struct slice last = slice_str(next);
	api_call_page_end(c, scope, *next ? &last : NULL);
}
