/* One PUBLISH, as the client is to see it. */
#include "broker/client.h"
#include "broker/out.h"
#include "server/base/metrics.h"

/* What is left of the Message Expiry Interval ([MQTT-3.3.2-6]), to the nearest second, because the
 * clocks of two turns differ by less. */
static uint32_t seconds_left(const struct msg *m, uint64_t now)
{
	uint64_t ms = m->expires_ms > now ? m->expires_ms - now : 0;
	return ms < 1000 ? ms > 0 : (uint32_t)((ms + 500) / 1000);
}

bool wire_publish(struct broker_client *c, const struct wire *w)
{
	struct msg *m = w->msg;
	struct buf *b = shard_scratch(c->shard);
	struct mqtt_publish_out p = {
	        .qos = w->qos,
	        .dup = w->dup,
	        .retain = w->retain,
	        .packet_id = w->packet_id,
	        .topic = msg_topic(m),
	        .payload_len = m->payload_len,
	};
	bool new_alias = false;
	struct slice body = msg_payload(m);
	if (c->version == MQTT_V5) {
		p.alias = alias_out_get(&c->aliases_out, c->alias_out_max, p.topic, &new_alias);
		if (p.alias && !new_alias)
			p.topic.n = 0;
		p.has_expiry = m->expires;
		p.expiry = m->expires ? seconds_left(m, shard_now(c->shard)) : 0;
		p.subscription_ids = w->ids;
		p.n_subscription_ids = w->n_ids;
		p.props_len = m->props_len;
		body = slice_make(m->bytes + m->topic_len, m->props_len + m->payload_len);
	}
	size_t size;
	if (mqtt_encode_publish_head(b, c->version, &p, &size) != 0 || size > c->max_packet) {
		metric_inc(METRIC_DROPPED_TOO_LARGE);
		return false;
	}
	if (new_alias)
		alias_out_keep(c->aliases_out, p.alias, msg_topic(m));
	c->ops->send_msg(c->link, buf_slice(b), m, body);
	metric_inc(METRIC_PUBLISH_OUT);
	client_sent(c);
	return true;
}
