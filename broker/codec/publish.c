/* PUBLISH from a client: section 3.3. The hub's hottest decoder: one look at each byte of the
 * topic, none at the payload. */
#include "broker/codec/read.h"
#include "broker/codec/scan.h"

#define PUBLISH_PROPS (PROPS_TRAVEL | PROP_BIT(PROP_MESSAGE_EXPIRY) | PROP_BIT(PROP_TOPIC_ALIAS))

static enum end_reason publish_end(int err)
{
	switch (err) {
	case ERR_PROTOCOL: return END_PROTOCOL;
	case ERR_INVALID: return END_TOPIC_NAME;
	default: return END_MALFORMED;
	}
}

static int publish_props(struct slice *in, struct mqtt_publish *p, enum end_reason *end)
{
	/* [MQTT-3.3.4-6]: subscription identifiers are the server's to send. */
	struct prop_walk walk = {
	        .allowed = PUBLISH_PROPS,
	        .from_server = PROP_BIT(PROP_SUBSCRIPTION_ID),
	};
	struct prop_span span = {{NULL, 0}, 0};
	struct prop prop;
	int err = prop_walk_start(&walk, in);
	if (err)
		return err;
	while ((err = prop_walk_next(&walk, &prop)) > 0) {
		prop_span_add(&span, &prop);
		switch (prop.id) {
		case PROP_PAYLOAD_FORMAT: p->payload_is_utf8 = prop.number; break;
		case PROP_MESSAGE_EXPIRY:
			p->has_expiry = true;
			p->expiry = prop.number;
			break;
		case PROP_TOPIC_ALIAS:
			if (prop.number == 0) { /* [MQTT-3.3.2-8] */
				*end = END_TOPIC_ALIAS;
				return ERR_PROTOCOL;
			}
			p->alias = (uint16_t)prop.number;
			break;
		default: break;
		}
	}
	p->props = span.props;
	p->props_travel = prop_span_whole(&span);
	return err;
}

static int publish_decode(const struct mqtt_frame *f, enum mqtt_version v, struct mqtt_publish *p,
        enum end_reason *end)
{
	struct slice in = f->body;
	int err;
	p->dup = f->flags & 0x08;
	p->qos = (f->flags >> 1) & 0x03;
	p->retain = f->flags & 0x01;
	p->props_travel = true;
	if (p->qos == 3 || (p->dup && p->qos == 0))
		return ERR_MALFORMED; /* [MQTT-3.3.1-4], [MQTT-3.3.1-2] */
	if (v == MQTT_V5 && !frame_is_minimal(f))
		return ERR_MALFORMED;
	if (!read_binary(&in, &p->topic))
		return ERR_MALFORMED;
	if (p->qos > 0 && (err = read_packet_id(&in, &p->packet_id)) != 0)
		return err;
	if (v == MQTT_V5 && in.n > 0 && in.p[0] == 0)
		in = slice_from(in, 1); /* no properties, the usual case */
	else if (v == MQTT_V5 && (err = publish_props(&in, p, end)) != 0)
		return err;
	p->payload = in;
	if (p->topic.n == 0 && v == MQTT_V5)
		return p->alias ? 0 : ERR_PROTOCOL; /* section 3.3.2.1 */
	err = scan_topic_name(p->topic);
	/* Text that is not UTF-8 is the topic's fault, and the client learns it as such. */
	if (err == ERR_MALFORMED)
		*end = END_TOPIC_NAME;
	return err;
}

int mqtt_decode_publish(const struct mqtt_frame *f, enum mqtt_version v, struct mqtt_publish *ret,
        enum end_reason *ret_end)
{
	struct mqtt_publish p = {0};
	enum end_reason end = END_NORMAL;
	int err = publish_decode(f, v, &p, &end);
	if (err) {
		*ret_end = end != END_NORMAL ? end : publish_end(err);
		return err;
	}
	*ret = p;
	return 0;
}
