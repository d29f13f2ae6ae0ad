#include "server/api/handlers.h"
#include "server/api/internal.h"
#include "server/base/err.h"

/* /access-keys: the shared access policies of back ends. */

#define ACCESS_KEYS "/api/v1/access-keys"

static struct registry *registry_of(const struct api_call *c)
{
	return c->api->deps.registry;
}

/* Whoever may make new keys may see those that are. */
static bool sees_keys(const struct api_call *c)
{
	return (c->who->perms & PERM_SECURITY_WRITE) != 0;
}

static int read_key(struct api_call *c, struct slice name, json_t **ret)
{
	return registry_access_key_get(registry_of(c), name, false, ret);
}

void api_access_key_create(struct api_call *c)
{
	_cleanup_json_ json_t *errors = json_array(), *doc = NULL;
	int r = registry_access_key_create(registry_of(c), c->body, errors, &doc);
	if (!api_call_ok(c, r, errors))
		return;
	api_call_document(c, 201, doc);
	const char *name = json_string_value(json_object_get(doc, "name"));
	if (name && c->status == 201)
		api_call_location(c, ACCESS_KEYS, name);
}

void api_access_key_get(struct api_call *c)
{
	_cleanup_json_ json_t *doc = NULL;
	int r = registry_access_key_get(registry_of(c), c->params[0], sees_keys(c), &doc);
	if (api_call_ok(c, r, NULL))
		api_call_get(c, doc);
}

void api_access_key_put(struct api_call *c)
{
	_cleanup_json_ json_t *errors = json_array(), *doc = NULL;
	struct registry_condition cond;
	bool created = false;
	if (!api_call_match(c, read_key, &cond))
		return;
	int r = registry_access_key_put(
	        registry_of(c), c->params[0], c->body, cond, errors, &doc, &created);
	if (!api_call_ok(c, r, errors))
		return;
	api_call_document(c, created ? 201 : 200, doc);
	if (c->status == 201)
		api_call_location(c, ACCESS_KEYS, c->param_text[0]);
}

void api_access_key_delete(struct api_call *c)
{
	struct registry_condition cond;
	if (!api_call_match(c, read_key, &cond))
		return;
	if (api_call_ok(c, registry_access_key_delete(registry_of(c), c->params[0], cond), NULL))
		api_call_empty(c, 204);
}

static void regenerate(struct api_call *c, bool primary)
{
	_cleanup_json_ json_t *doc = NULL;
	struct registry_condition cond;
	if (!api_call_match(c, read_key, &cond))
		return;
	int r = registry_access_key_regenerate(registry_of(c), c->params[0], primary, cond, &doc);
	if (api_call_ok(c, r, NULL))
		api_call_document(c, 200, doc);
}

void api_access_key_regenerate(struct api_call *c)
{
	bool primary;
	if (api_call_which(c, 1, &primary) && api_call_no_members(c))
		regenerate(c, primary);
}

/* The body names the key: {"key": "secondary"}; without one it is the primary. */
void api_access_key_regenerate_named(struct api_call *c)
{
	const char *member;
	json_t *value;
	bool primary = true;
	if (c->body && !json_is_object(c->body)) {
		api_call_bad_body(c, "", "must be an object");
		return;
	}
	json_object_foreach(c->body, member, value)
	{
		const char *which = json_string_value(value);
		if (strcmp(member, "key") != 0) {
			api_call_unknown_member(c, member);
			return;
		}
		primary = which && strcmp(which, "primary") == 0;
		if (!which || (!primary && strcmp(which, "secondary") != 0)) {
			api_call_bad_body(c, "/key", "must be \"primary\" or \"secondary\"");
			return;
		}
	}
	regenerate(c, primary);
}

void api_access_key_list(struct api_call *c)
{
	const struct slice scope = SLICE_LIT("access-keys");
	uint8_t position[API_CURSOR_POSITION_MAX];
	char after[KEY_NAME_MAX + 1] = "", next[KEY_NAME_MAX + 1];
	_cleanup_json_ json_t *docs = NULL;
	unsigned limit;
	size_t len;
	bool given;
	if (!api_call_limit(c, &limit) || !api_call_cursor(c, scope, position, &len, &given))
		return;
	if (len <= KEY_NAME_MAX)
		memcpy(after, position, len);
	int r = registry_access_key_list(
	        registry_of(c), given ? after : NULL, limit, sees_keys(c), &docs, next);
	if (!api_call_ok(c, r, NULL))
		return;
	const struct slice last = slice_str(next);
	api_call_page(c, docs, scope, *next ? &last : NULL);
}
