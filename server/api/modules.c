#include "server/api/handlers.h"
#include "server/api/internal.h"
#include "server/api/presence.h"
#include "server/base/err.h"

/* /devices/{id}/modules: what of a device connects by itself, with a credential of its own. */

static struct registry *registry_of(const struct api_call *c)
{
	return c->api->deps.registry;
}

static struct registry_module module_of(const struct api_call *c)
{
	return (struct registry_module){.device = c->params[0], .module = c->params[1]};
}

static bool sees_keys(const struct api_call *c)
{
	return (c->who->perms & PERM_REGISTRY_WRITE) != 0;
}

static int read_module(struct api_call *c, HF_UNUSED struct slice device, json_t **ret)
{
	return registry_module_get(registry_of(c), module_of(c), false, ret);
}

static void answer_module(struct api_call *c, int status, json_t *doc)
{
	api_presence_overlay(c->api->deps.broker, &doc, 1);
	api_call_document(c, status, doc);
}

static void locate(struct api_call *c, const char *module)
{
	api_call_location_below(c, "/api/v1/devices", c->param_text[0], "modules", module);
}

void api_module_create(struct api_call *c)
{
	_cleanup_json_ json_t *errors = json_array(), *doc = NULL;
	int r = registry_module_create(registry_of(c), c->params[0], c->body, errors, &doc);
	if (!api_call_ok(c, r, errors))
		return;
	answer_module(c, 201, doc);
	const char *id = json_string_value(json_object_get(doc, "moduleId"));
	if (id && c->status == 201)
		locate(c, id);
}

void api_module_get(struct api_call *c)
{
	_cleanup_json_ json_t *doc = NULL;
	int r = registry_module_get(registry_of(c), module_of(c), sees_keys(c), &doc);
	if (!api_call_ok(c, r, NULL))
		return;
	api_presence_overlay(c->api->deps.broker, &doc, 1);
	api_call_get(c, doc);
}

void api_module_put(struct api_call *c)
{
	_cleanup_json_ json_t *errors = json_array(), *doc = NULL;
	struct registry_condition cond;
	bool created = false;
	if (!api_call_match(c, read_module, &cond))
		return;
	int r = registry_module_put(
	        registry_of(c), module_of(c), c->body, cond, errors, &doc, &created);
	if (!api_call_ok(c, r, errors))
		return;
	answer_module(c, created ? 201 : 200, doc);
	if (c->status == 201)
		locate(c, c->param_text[1]);
}

void api_module_patch(struct api_call *c)
{
	_cleanup_json_ json_t *errors = json_array(), *doc = NULL;
	struct registry_condition cond;
	if (!api_call_match(c, read_module, &cond))
		return;
	int r = registry_module_patch(registry_of(c), module_of(c), c->body, cond, errors, &doc);
	if (api_call_ok(c, r, errors))
		answer_module(c, 200, doc);
}

void api_module_delete(struct api_call *c)
{
	struct registry_condition cond;
	if (!api_call_match(c, read_module, &cond))
		return;
	if (api_call_ok(c, registry_module_delete(registry_of(c), module_of(c), cond), NULL))
		api_call_empty(c, 204);
}

void api_module_regenerate(struct api_call *c)
{
	_cleanup_json_ json_t *doc = NULL;
	struct registry_condition cond;
	bool primary;
	if (!api_call_which(c, 2, &primary) || !api_call_no_members(c) ||
	        !api_call_match(c, read_module, &cond))
		return;
	int r = registry_module_regenerate(registry_of(c), module_of(c), primary, cond, &doc);
	if (api_call_ok(c, r, NULL))
		answer_module(c, 200, doc);
}

void api_module_list(struct api_call *c)
{
	_cleanup_json_ json_t *docs = NULL;
	struct registry_page page = {0};
	uint8_t position[API_CURSOR_POSITION_MAX];
	char scope_text[sizeof("modules of ") + DEVICE_ID_MAX];
	size_t len;
	bool given;
	/* A cursor goes on in the list that it is of. */
	int n = snprintf(
	        scope_text, sizeof(scope_text), "modules of %.*s", SLICE_ARG(c->params[0]));
	const struct slice scope = slice_make(scope_text, (size_t)n);
	if (!api_call_limit(c, &page.limit) || !api_call_cursor(c, scope, position, &len, &given))
		return;
	if (len <= MODULE_ID_MAX)
		memcpy(page.position, position, len);
	int r = registry_module_list(registry_of(c), c->params[0], &page, sees_keys(c), &docs);
	if (!api_call_ok(c, r, NULL))
		return;
	for (size_t i = 0; i < json_array_size(docs); i++) {
		json_t *doc = json_array_get(docs, i);
		api_presence_overlay(c->api->deps.broker, &doc, 1);
	}
	const struct slice last = slice_str(page.position);
	api_call_page(c, docs, scope, page.position[0] ? &last : NULL);
}
