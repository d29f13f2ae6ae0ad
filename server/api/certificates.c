/* /certificates: client certificates that an administrator has registered, or that have come. */
#include "server/api/handlers.h"
#include "server/api/internal.h"
#include "server/api/listing.h"

#define CERTIFICATES "/api/v1/certificates"

static struct registry *registry_of(const struct api_call *c)
{
	return c->api->deps.registry;
}

static int read_certificate(struct api_call *c, struct slice id, json_t **ret)
{
	return registry_certificate_get(registry_of(c), id, ret);
}

void api_certificate_create(struct api_call *c)
{
	_cleanup_json_ json_t *errors = json_array(), *doc = NULL;
	int r = registry_certificate_create(registry_of(c), c->body, errors, &doc);
	if (!api_call_ok(c, r, errors))
		return;
	api_call_document(c, 201, doc);
	const char *id = json_string_value(json_object_get(doc, "certificateId"));
	if (id && c->status == 201)
		api_call_location(c, CERTIFICATES, id);
}

void api_certificate_list(struct api_call *c)
{
	api_list(c, "certificates", registry_certificate_list);
}

void api_certificate_get(struct api_call *c)
{
	_cleanup_json_ json_t *doc = NULL;
	if (api_call_ok(c, read_certificate(c, c->params[0], &doc), NULL))
		api_call_get(c, doc);
}

void api_certificate_patch(struct api_call *c)
{
	_cleanup_json_ json_t *errors = json_array(), *doc = NULL;
	struct registry_condition cond;
	if (!api_call_match(c, read_certificate, &cond))
		return;
	int r = registry_certificate_patch(
	        registry_of(c), c->params[0], c->body, cond, errors, &doc);
	if (api_call_ok(c, r, errors))
		api_call_document(c, 200, doc);
}

void api_certificate_delete(struct api_call *c)
{
	struct registry_condition cond;
	if (!api_call_match(c, read_certificate, &cond))
		return;
	if (api_call_ok(c, registry_certificate_delete(registry_of(c), c->params[0], cond), NULL))
		api_call_empty(c, 204);
}
