/* /authorities: whose certificates name devices. */
#include "server/api/handlers.h"
#include "server/api/internal.h"
#include "server/api/listing.h"

#define AUTHORITIES "/api/v1/authorities"

static struct registry *registry_of(const struct api_call *c)
{
	return c->api->deps.registry;
}

static int read_authority(struct api_call *c, struct slice name, json_t **ret)
{
	return registry_authority_get(registry_of(c), name, ret);
}

void api_authority_create(struct api_call *c)
{
	_cleanup_json_ json_t *errors = json_array(), *doc = NULL;
	int r = registry_authority_create(registry_of(c), c->body, errors, &doc);
	if (!api_call_ok(c, r, errors))
		return;
	api_call_document(c, 201, doc);
	const char *name = json_string_value(json_object_get(doc, "name"));
	if (name && c->status == 201)
		api_call_location(c, AUTHORITIES, name);
}

void api_authority_list(struct api_call *c)
{
	api_list(c, "authorities", registry_authority_list);
}

void api_authority_get(struct api_call *c)
{
	_cleanup_json_ json_t *doc = NULL;
	if (api_call_ok(c, read_authority(c, c->params[0], &doc), NULL))
		api_call_get(c, doc);
}

void api_authority_patch(struct api_call *c)
{
	_cleanup_json_ json_t *errors = json_array(), *doc = NULL;
	struct registry_condition cond;
	if (!api_call_match(c, read_authority, &cond))
		return;
	int r = registry_authority_patch(registry_of(c), c->params[0], c->body, cond, errors, &doc);
	if (api_call_ok(c, r, errors))
		api_call_document(c, 200, doc);
}

void api_authority_delete(struct api_call *c)
{
	struct registry_condition cond;
	if (!api_call_match(c, read_authority, &cond))
		return;
	if (api_call_ok(c, registry_authority_delete(registry_of(c), c->params[0], cond), NULL))
		api_call_empty(c, 204);
}

void api_authority_verify(struct api_call *c)
{
	_cleanup_json_ json_t *errors = json_array(), *doc = NULL;
	int r = registry_authority_verify(registry_of(c), c->params[0], c->body, errors, &doc);
	if (api_call_ok(c, r, errors))
		api_call_document(c, 200, doc);
}

void api_authority_crl(struct api_call *c)
{
	_cleanup_json_ json_t *errors = json_array(), *doc = NULL;
	int r = registry_authority_crl(registry_of(c), c->params[0], c->body, errors, &doc);
	if (api_call_ok(c, r, errors))
		api_call_document(c, 200, doc);
}
