#include "server/api/handlers.h"
#include "server/api/internal.h"
#include "server/api/listing.h"

/* /authorizers: webhooks that judge who connects. */

#define AUTHORIZERS "/api/v1/authorizers"

static struct registry *registry_of(const struct api_call *c)
{
	return c->api->deps.registry;
}

static int read_authorizer(struct api_call *c, struct slice name, json_t **ret)
{
	return registry_authorizer_get(registry_of(c), name, ret);
}

void api_authorizer_create(struct api_call *c)
{
	_cleanup_json_ json_t *errors = json_array(), *doc = NULL;
	int r = registry_authorizer_create(registry_of(c), c->body, errors, &doc);
	if (!api_call_ok(c, r, errors))
		return;
	api_call_document(c, 201, doc);
	const char *name = json_string_value(json_object_get(doc, "name"));
	if (name && c->status == 201)
		api_call_location(c, AUTHORIZERS, name);
}

void api_authorizer_get(struct api_call *c)
{
	_cleanup_json_ json_t *doc = NULL;
	if (api_call_ok(c, registry_authorizer_get(registry_of(c), c->params[0], &doc), NULL))
		api_call_get(c, doc);
}

void api_authorizer_put(struct api_call *c)
{
	_cleanup_json_ json_t *errors = json_array(), *doc = NULL;
	struct registry_condition cond;
	bool created = false;
	if (!api_call_match(c, read_authorizer, &cond))
		return;
	int r = registry_authorizer_put(
	        registry_of(c), c->params[0], c->body, cond, errors, &doc, &created);
	if (!api_call_ok(c, r, errors))
		return;
	api_call_document(c, created ? 201 : 200, doc);
	if (c->status == 201)
		api_call_location(c, AUTHORIZERS, c->param_text[0]);
}

void api_authorizer_delete(struct api_call *c)
{
	struct registry_condition cond;
	if (!api_call_match(c, read_authorizer, &cond))
		return;
	if (api_call_ok(c, registry_authorizer_delete(registry_of(c), c->params[0], cond), NULL))
		api_call_empty(c, 204);
}

void api_authorizer_test(struct api_call *c)
{
	_cleanup_json_ json_t *errors = json_array(), *doc = NULL;
	int r = registry_authorizer_test(registry_of(c), c->params[0], c->body, errors, &doc);
	if (api_call_ok(c, r, errors))
		api_call_json(c, 200, doc);
}

void api_authorizer_list(struct api_call *c)
{
	api_list(c, "authorizers", registry_authorizer_list);
}
