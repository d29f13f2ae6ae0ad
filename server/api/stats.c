#include "server/api/handlers.h"
#include "server/api/internal.h"
#include "server/base/clock.h"
#include "server/base/err.h"
#include "server/base/metrics.h"

/* /stats for people and /metrics for machines. */

static json_t *figure(enum metric m)
{
	int64_t v = metric_read(m);
	return json_integer(v > 0 ? v : 0);
}

/* How many connections ended in each way, those that did; since the start of the process. */
static json_t *ended(void)
{
	json_t *doc = json_object();
	for (unsigned i = 0; doc && i < END_COUNT; i++) {
		int64_t n = metric_read((enum metric)(METRIC_CONNECTIONS_ENDED + i));
		if (n > 0 &&
		        json_object_set_new(doc, end_name((enum end_reason)i), json_integer(n)) < 0)
			json_decref(TAKE_PTR(doc));
	}
	return doc;
}

void api_stats(struct api_call *c)
{
	uint64_t all, disabled;
	int r = registry_device_count(c->api->deps.registry, &all, &disabled);
	if (!api_call_ok(c, r, NULL))
		return;
	int64_t dropped = metric_read(METRIC_DROPPED_QOS0) + metric_read(METRIC_DROPPED_QUEUE) +
	        metric_read(METRIC_DROPPED_EXPIRED) + metric_read(METRIC_DROPPED_TOO_LARGE);
	_cleanup_json_ json_t *doc = json_pack(
	        "{s:s,s:I,s:{s:I,s:I},s:o,s:o,s:o,s:o,s:o,s:o,s:{s:o,s:o,s:I,s:o},"
	        "s:{s:o,s:o,s:o,s:o,s:o,s:o}}",
	        "version", c->api->deps.version, "uptimeSeconds",
	        (json_int_t)((clock_ms() - c->api->started_ms) / 1000), "devices", "total",
	        (json_int_t)all, "disabled", (json_int_t)disabled, "connections",
	        figure(METRIC_CONNECTIONS), "connectionsEnded", ended(), "mqttClients",
	        figure(METRIC_MQTT_CLIENTS), "sessions", figure(METRIC_SESSIONS), "subscriptions",
	        figure(METRIC_SUBSCRIPTIONS), "retainedMessages", figure(METRIC_RETAINED),
	        "messages", "received", figure(METRIC_PUBLISH_IN), "sent",
	        figure(METRIC_PUBLISH_OUT), "dropped", (json_int_t)dropped, "denied",
	        figure(METRIC_PUBLISH_DENIED), "telemetry", "stored",
	        figure(METRIC_TELEMETRY_STORED), "storedBytes", figure(METRIC_TELEMETRY_BYTES),
	        "backlogMessages", figure(METRIC_STORE_BACKLOG), "backlogBytes",
	        figure(METRIC_STORE_BACKLOG_BYTES), "setAside", figure(METRIC_TELEMETRY_POISON),
	        "corrupt", figure(METRIC_TELEMETRY_CORRUPT));
	api_call_json(c, 200, doc);
}

void api_metrics(struct api_call *c)
{
	int r = metrics_render(&c->out);
	if (r < 0)
		api_call_err(c, r);
	else
		api_call_text(c, 200, "text/plain; version=0.0.4; charset=utf-8");
}
