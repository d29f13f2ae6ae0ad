#include "server/api/listing.h"

#include "server/api/handlers.h"
#include "server/api/internal.h"

void api_list(struct api_call *c, const char *what, api_list_read read)
{
	const struct slice scope = slice_str(what);
	uint8_t position[API_CURSOR_POSITION_MAX];
	char after[REGISTRY_NAME_MAX + 1] = "", next[REGISTRY_NAME_MAX + 1];
	_cleanup_json_ json_t *docs = NULL;
	unsigned limit;
	size_t len;
	bool given;
	if (!api_call_limit(c, &limit) || !api_call_cursor(c, scope, position, &len, &given))
		return;
	if (len <= REGISTRY_NAME_MAX)
		memcpy(after, position, len);
	int r = read(c->api->deps.registry, given ? after : NULL, limit, &docs, next);
	if (!api_call_ok(c, r, NULL))
		return;
	const struct slice last = slice_str(next);
	api_call_page(c, docs, scope, *next ? &last : NULL);
}
