#include "server/api/handlers.h"
#include "server/api/internal.h"
#include "server/base/err.h"

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
	const struct slice scope = SLICE_LIT("authorizers");
	uint8_t position[API_CURSOR_POSITION_MAX];
	char after[DOCUMENT_NAME_MAX + 1] = "", next[DOCUMENT_NAME_MAX + 1];
	_cleanup_json_ json_t *docs = NULL;
	unsigned limit;
	size_t len, i;
	bool given;
	if (!api_call_limit(c, &limit) || !api_call_cursor(c, scope, position, &len, &given))
		return;
	if (len <= DOCUMENT_NAME_MAX)
		memcpy(after, position, len);
	int r = registry_authorizer_list(registry_of(c), given ? after : NULL, limit, &docs, next);
	if (!api_call_ok(c, r, NULL))
		return;
	json_t *doc;
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
