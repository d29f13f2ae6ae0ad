/* PUBACK, PUBREC, PUBREL, PUBCOMP from a client: sections 3.4 to 3.7. */
#include "broker/codec/read.h"

#define ACK_PROPS (PROP_BIT(PROP_REASON_STRING) | PROP_BIT(PROP_USER_PROPERTY))

/* [MQTT-3.4.2-1], [MQTT-3.5.2-1], [MQTT-3.6.2-1], [MQTT-3.7.2-1]. */
static bool ack_reason_allowed(enum mqtt_type type, uint8_t reason)
{
	if (reason == MQTT_SUCCESS)
		return true;
	if (type == MQTT_PUBREL || type == MQTT_PUBCOMP)
		return reason == MQTT_ID_NOT_FOUND;
	switch (reason) {
	case MQTT_NO_MATCHING_SUBSCRIBERS:
	case MQTT_UNSPECIFIED:
	case MQTT_IMPLEMENTATION_ERROR:
	case MQTT_NOT_AUTHORIZED:
	case MQTT_TOPIC_INVALID:
	case MQTT_ID_IN_USE:
	case MQTT_QUOTA:
	case MQTT_PAYLOAD_FORMAT: return true;
	default: return false;
	}
}

int mqtt_decode_ack(const struct mqtt_frame *f, enum mqtt_version v, struct mqtt_ack *ret)
{
	struct slice in = f->body;
	struct mqtt_ack ack = {0, MQTT_SUCCESS};
	struct prop_walk walk = {.allowed = ACK_PROPS};
	int err = read_packet_id(&in, &ack.packet_id);
	if (err)
		return err;
	if (v != MQTT_V5 && in.n > 0)
		return ERR_MALFORMED;
	if (v == MQTT_V5 && !frame_is_minimal(f))
		return ERR_MALFORMED;
	/* Reason and properties may be left out, in this order, from the end. */
	if (read_byte(&in, &ack.reason) && in.n > 0) {
		err = prop_walk_start(&walk, &in);
		if (err || in.n > 0)
			return ERR_MALFORMED;
		err = prop_walk_rest(&walk);
		if (err)
			return err;
	}
	if (!ack_reason_allowed(f->type, ack.reason))
		return ERR_PROTOCOL;
	*ret = ack;
	return 0;
}
