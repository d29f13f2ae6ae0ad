#include "server/api/handlers.h"
#include "server/api/internal.h"
#include "server/api/ip_write.h"
#include "server/base/err.h"

/* /bans: who may not connect for a while, as hubs or administrators have it. */

#define BANS "/api/v1/bans"

static struct policy *policy_of(const struct api_call *c)
{
	return c->api->deps.policy;
}

static int read_ban(struct api_call *c, struct slice id, json_t **ret)
{
	return policy_ban_get(policy_of(c), id, ret);
}

void api_ban_create(struct api_call *c)
{
	_cleanup_json_ json_t *errors = json_array(), *doc = NULL;
	struct policy_ip_write w;
	if (!api_ip_write_begin(c, NULL, &w))
		return;
	w.errors = errors;
	int r = policy_ban_create(policy_of(c), &w, &doc);
	if (!api_ip_write_ok(c, r, &w))
		return;
	api_call_document(c, 201, doc);
	const char *id = json_string_value(json_object_get(doc, "id"));
	if (id && c->status == 201)
		api_call_location(c, BANS, id);
}

void api_ban_get(struct api_call *c)
{
	_cleanup_json_ json_t *doc = NULL;
	if (api_call_ok(c, read_ban(c, c->params[0], &doc), NULL))
		api_call_get(c, doc);
}

void api_ban_delete(struct api_call *c)
{
	struct registry_condition cond;
	if (!api_call_match(c, read_ban, &cond))
		return;
	int r = policy_ban_delete(policy_of(c), c->params[0], cond.if_match);
	if (api_call_ok(c, r, NULL))
		api_call_empty(c, 204);
}

static int ban_list(
        struct policy *p, const char *after, unsigned limit, json_t **ret, char *ret_next)
{
	return policy_ban_list(p, after, limit, ret, ret_next);
}

void api_ban_list(struct api_call *c)
{
	api_ip_list(c, SLICE_LIT("bans"), ban_list);
}
