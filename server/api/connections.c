#include <inttypes.h>

#include "server/api/audit.h"
#include "server/api/handlers.h"
#include "server/api/internal.h"
#include "server/base/clock.h"
#include "server/base/err.h"

/* /connections: who is connected to this hub process now. */

static json_t *time_json(int64_t us)
{
	char text[CLOCK_RFC3339_LEN];
	return us ? json_string(clock_rfc3339(us, text)) : json_null();
}

static json_t *connection_json(const struct broker_connection *b)
{
	return json_pack("{s:s,s:s,s:s,s:s,s:s,s:s?,s:s,s:o,s:o,s:i,s:b,s:i,s:i,s:i}", "clientId",
	        b->client_id, "principal", b->principal, "kind", b->kind, "protocol", b->protocol,
	        "mqttVersion", b->mqtt_version == 5 ? "5.0" : "3.1.1", "tlsVersion", b->tls_version,
	        "address", b->address, "connectedTime", time_json(b->connected_us),
	        "lastActivityTime", time_json(b->last_activity_us), "keepAlive", (int)b->keep_alive,
	        "cleanStart", b->clean_start, "subscriptions", (int)b->subscriptions, "inflight",
	        (int)b->inflight, "queued", (int)b->queued);
}

/* How many of the list's n > limit rows make the page: rows of one client id stay together, as the
 * cursor is the client id. */
static unsigned page_len(const struct broker_connection *list, unsigned limit)
{
	unsigned n = limit;
	while (n > 0 && strcmp(list[n - 1].client_id, list[limit].client_id) == 0)
		n--;
	return n > 0 ? n : limit;
}

static int write_page(struct buf *out, const struct broker_connection *list, unsigned n)
{
	int r = buf_append_str(out, "{\"items\":[");
	for (unsigned i = 0; r == 0 && i < n; i++) {
		_cleanup_json_ json_t *item = connection_json(&list[i]);
		if (i > 0)
			r = buf_append_byte(out, ',');
		if (r == 0)
			r = item ? api_json_append(out, item) : ERR_NOMEM;
	}
	return r;
}

void api_connection_list(struct api_call *c)
{
	const struct slice scope = SLICE_LIT("connections");
	uint8_t position[API_CURSOR_POSITION_MAX];
	char after[API_CURSOR_POSITION_MAX + 1];
	unsigned limit, n = 0;
	size_t len;
	bool given;
	if (!api_call_limit(c, &limit) || !api_call_cursor(c, scope, position, &len, &given))
		return;
	memcpy(after, position, len);
	after[len] = '\0';
	struct broker_connection *list = NULL;
	int r = broker_connections(c->api->deps.broker, given ? after : NULL, limit + 1, &list, &n);
	if (!api_call_ok(c, r, NULL))
		return;
	bool more = n > limit;
	unsigned shown = more ? page_len(list, limit) : n;
	const struct slice last = more ? slice_str(list[shown - 1].client_id) : (struct slice){0};
	r = write_page(&c->out, list, shown);
	if (r < 0)
		api_call_err(c, r);
	else
		api_call_page_end(c, scope, more ? &last : NULL);
	broker_connections_free(list, n);
}

void api_connection_end(struct api_call *c)
{
	if (!api_audit_note(c, "connection", c->params[0]))
		return;
	if (broker_disconnect(c->api->deps.broker, c->params[0]) > 0)
		api_call_empty(c, 204);
	else
		api_call_problem(c, API_PROBLEM_NOT_FOUND, "no such client is connected");
}
