#include "server/api/handlers.h"
#include "server/api/internal.h"
#include "server/api/presence.h"
#include "server/api/scope.h"
#include "server/base/err.h"

/* /devices. Rules about documents are the registry's; presence is the broker's. */

#define DEVICES "/api/v1/devices"
/* Documents are read in parts of this many, so that a page is not in memory twice. */
#define LIST_STEP 100
/* A page ends early after so many parts: to a narrowed key most of them may be nothing. */
#define LIST_STEPS_MAX 20

static struct registry *registry_of(const struct api_call *c)
{
	return c->api->deps.registry;
}

static bool sees_keys(const struct api_call *c)
{
	return (c->who->perms & PERM_REGISTRY_WRITE) != 0;
}

static int read_device(struct api_call *c, struct slice id, json_t **ret)
{
	return registry_device_get(registry_of(c), id, false, ret);
}

/* The document as the caller gets it. */
static void answer_device(struct api_call *c, int status, json_t *doc)
{
	api_presence_overlay(c->api->deps.broker, &doc, 1);
	api_call_document(c, status, doc);
}

void api_device_create(struct api_call *c)
{
	_cleanup_json_ json_t *errors = json_array(), *doc = NULL;
	int r = registry_device_create(registry_of(c), c->body, errors, &doc);
	if (!api_call_ok(c, r, errors))
		return;
	answer_device(c, 201, doc);
	const char *id = json_string_value(json_object_get(doc, "deviceId"));
	if (id && c->status == 201)
		api_call_location(c, DEVICES, id);
}

void api_device_get(struct api_call *c)
{
	_cleanup_json_ json_t *doc = NULL;
	int r = registry_device_get(registry_of(c), c->params[0], sees_keys(c), &doc);
	if (!api_call_ok(c, r, NULL))
		return;
	api_presence_overlay(c->api->deps.broker, &doc, 1);
	api_call_get(c, doc);
}

void api_device_put(struct api_call *c)
{
	_cleanup_json_ json_t *errors = json_array(), *doc = NULL;
	struct registry_condition cond;
	bool created = false;
	if (!api_call_match(c, read_device, &cond))
		return;
	int r = registry_device_put(
	        registry_of(c), c->params[0], c->body, cond, errors, &doc, &created);
	if (!api_call_ok(c, r, errors))
		return;
	answer_device(c, created ? 201 : 200, doc);
	if (c->status == 201)
		api_call_location(c, DEVICES, c->param_text[0]);
}

void api_device_patch(struct api_call *c)
{
	_cleanup_json_ json_t *errors = json_array(), *doc = NULL;
	struct registry_condition cond;
	if (!api_call_match(c, read_device, &cond))
		return;
	int r = registry_device_patch(registry_of(c), c->params[0], c->body, cond, errors, &doc);
	if (api_call_ok(c, r, errors))
		answer_device(c, 200, doc);
}

void api_device_delete(struct api_call *c)
{
	struct registry_condition cond;
	if (!api_call_match(c, read_device, &cond))
		return;
	if (api_call_ok(c, registry_device_delete(registry_of(c), c->params[0], cond), NULL))
		api_call_empty(c, 204);
}

void api_device_regenerate(struct api_call *c)
{
	_cleanup_json_ json_t *doc = NULL;
	struct registry_condition cond;
	bool primary;
	if (!api_call_which(c, 1, &primary) || !api_call_no_members(c) ||
	        !api_call_match(c, read_device, &cond))
		return;
	int r = registry_device_regenerate(registry_of(c), c->params[0], primary, cond, &doc);
	if (api_call_ok(c, r, NULL))
		answer_device(c, 200, doc);
}

/* Appends up to want documents behind after to the page. Leaves in after the last one that is in
 * it; *ret_more: there may be others behind. */
static int list_part(struct api_call *c, char after[static DEVICE_ID_MAX + 1], unsigned want,
        unsigned *n_items, bool *ret_more)
{
	_cleanup_json_ json_t *docs = NULL;
	struct registry_page page = {.limit = want};
	snprintf(page.position, sizeof(page.position), "%s", after);
	int r = registry_device_list(registry_of(c), &page, sees_keys(c), &docs);
	if (r < 0)
		return r;
	json_t *list[LIST_STEP], *doc;
	size_t i, n = 0;
	json_array_foreach(docs, i, doc) list[n++] = doc;
	api_presence_overlay(c->api->deps.broker, list, (unsigned)n);
	*ret_more = page.position[0] != '\0';
	for (i = 0; i < n; i++) {
		if (*n_items > 0 && buf_len(&c->out) >= API_PAGE_BYTES) {
			*ret_more = true;
			return 0;
		}
		const char *id = json_string_value(json_object_get(list[i], "deviceId"));
		int covers = api_scope_covers(c, slice_str(id ? id : ""));
		if (covers < 0)
			return covers;
		snprintf(after, DEVICE_ID_MAX + 1, "%s", id ? id : "");
		if (!covers)
			continue;
		if (((*n_items)++ > 0 && buf_append_byte(&c->out, ',') < 0) ||
		        api_json_append(&c->out, list[i]) < 0)
			return ERR_NOMEM;
	}
	return 0;
}

void api_device_list(struct api_call *c)
{
	const struct slice scope = SLICE_LIT("devices");
	uint8_t position[API_CURSOR_POSITION_MAX];
	char after[DEVICE_ID_MAX + 1] = "";
	unsigned limit, n = 0;
	size_t len;
	bool given, more = true;
	if (!api_call_limit(c, &limit) || !api_call_cursor(c, scope, position, &len, &given))
		return;
	if (len <= DEVICE_ID_MAX)
		memcpy(after, position, len);
	int r = buf_append_str(&c->out, "{\"items\":[");
	for (unsigned step = 0; r == 0 && more && n < limit && step < LIST_STEPS_MAX &&
	        buf_len(&c->out) < API_PAGE_BYTES;
	        step++)
		r = list_part(c, after, limit - n < LIST_STEP ? limit - n : LIST_STEP, &n, &more);
	if (r < 0) {
		api_call_err(c, r);
		return;
	}
	const struct slice last = slice_str(after);
	api_call_page_end(c, scope, more ? &last : NULL);
}
