#include "server/api/presence.h"

#include "server/base/cleanup.h"
#include "server/base/clock.h"

static int64_t time_of(const json_t *doc, const char *member)
{
	const json_t *text = json_object_get(doc, member);
	int64_t us = 0;
	if (json_is_string(text))
		clock_parse_rfc3339(json_string_value(text), json_string_length(text), &us);
	return us;
}

static void set_time(json_t *doc, const char *member, int64_t us)
{
	char text[CLOCK_RFC3339_LEN];
	/* Documents have milliseconds: what is the same to the reader stays as it is. */
	if (us / 1000 > time_of(doc, member) / 1000)
		json_object_set_new(doc, member, json_string(clock_rfc3339(us, text)));
}

void api_presence_set(json_t *doc, const struct broker_presence *p)
{
	if (p->connected || p->since_us > time_of(doc, "connectionStateUpdatedTime")) {
		json_object_set_new(doc, "connectionState",
		        json_string(p->connected ? "Connected" : "Disconnected"));
		set_time(doc, "connectionStateUpdatedTime", p->since_us);
	}
	set_time(doc, "lastActivityTime", p->last_activity_us);
}

/* "device" or "device/module", as principals have it. */
static const char *id_of(const json_t *doc, char out[static MODULE_ID_MAX + 1])
{
	const char *device = json_string_value(json_object_get(doc, "deviceId"));
	const char *module = json_string_value(json_object_get(doc, "moduleId"));
	snprintf(out, MODULE_ID_MAX + 1, "%s%s%s", device ? device : "", module ? "/" : "",
	        module ? module : "");
	return out;
}

void api_presence_overlay(struct broker *b, json_t *const *docs, unsigned n)
{
	if (n == 0)
		return;
	_cleanup_free_ struct slice *ids = calloc(n, sizeof(*ids));
	_cleanup_free_ struct broker_presence *known = calloc(n, sizeof(*known));
	_cleanup_free_ char(*names)[MODULE_ID_MAX + 1] = calloc(n, sizeof(*names));
	if (!ids || !known || !names)
		return; /* the database's word stands */
	for (unsigned i = 0; i < n; i++)
		ids[i] = slice_str(id_of(docs[i], names[i]));
	broker_presence(b, ids, n, known);
	for (unsigned i = 0; i < n; i++)
		api_presence_set(docs[i], &known[i]);
}
