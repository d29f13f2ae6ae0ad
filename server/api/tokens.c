#include "server/api/handlers.h"
#include "server/api/internal.h"
#include "server/base/err.h"

/* /tokens: the bearer tokens of people and programs. */

#define TOKENS "/api/v1/tokens"

static struct registry *registry_of(const struct api_call *c)
{
	return c->api->deps.registry;
}

/* Who is no owner neither makes owners nor takes them away: else a role could widen itself. */
static bool may_touch(struct api_call *c, const json_t *doc)
{
	const char *role = json_string_value(json_object_get(doc, "role"));
	if (!role || strcmp(role, "owner") != 0 || (c->who->perms & PERM_OWNER))
		return true;
	api_call_problem(c, API_PROBLEM_FORBIDDEN, "only an owner makes or revokes owners");
	return false;
}

void api_token_create(struct api_call *c)
{
	_cleanup_json_ json_t *errors = json_array(), *doc = NULL;
	if (!may_touch(c, c->body))
		return;
	int r = registry_token_create(registry_of(c), c->body, principal_id(c->who), errors, &doc);
	if (!api_call_ok(c, r, errors))
		return;
	api_call_json(c, 201, doc);
	const char *name = json_string_value(json_object_get(doc, "name"));
	if (name && c->status == 201)
		api_call_location(c, TOKENS, name);
}

void api_token_get(struct api_call *c)
{
	_cleanup_json_ json_t *doc = NULL;
	if (api_call_ok(c, registry_token_get(registry_of(c), c->params[0], &doc), NULL))
		api_call_json(c, 200, doc);
}

void api_token_delete(struct api_call *c)
{
	_cleanup_json_ json_t *doc = NULL;
	int r = registry_token_get(registry_of(c), c->params[0], &doc);
	if (!api_call_ok(c, r, NULL) || !may_touch(c, doc))
		return;
	r = registry_token_delete(registry_of(c), c->params[0]);
	if (r == ERR_CONFLICT)
		api_call_problem(c, API_PROBLEM_CONFLICT,
		        "it is the last token of an owner that does not expire");
	else if (api_call_ok(c, r, NULL))
		api_call_empty(c, 204);
}

void api_token_list(struct api_call *c)
{
	const struct slice scope = SLICE_LIT("tokens");
	char after[KEY_NAME_MAX + 1] = "", next[KEY_NAME_MAX + 1];
	uint8_t position[API_CURSOR_POSITION_MAX];
	_cleanup_json_ json_t *docs = NULL;
	unsigned limit;
	size_t len;
	bool given;
	if (!api_call_limit(c, &limit) || !api_call_cursor(c, scope, position, &len, &given))
		return;
	if (len <= KEY_NAME_MAX)
		memcpy(after, position, len);
	int r = registry_token_list(registry_of(c), given ? after : NULL, limit, &docs, next);
	if (!api_call_ok(c, r, NULL))
		return;
	const struct slice last = slice_str(next);
	api_call_page(c, docs, scope, *next ? &last : NULL);
}
