/* DISCONNECT and AUTH from a client: sections 3.14 and 3.15. */
#include "broker/codec/read.h"

#define DISCONNECT_PROPS                                                \
	(PROP_BIT(PROP_SESSION_EXPIRY) | PROP_BIT(PROP_REASON_STRING) | \
	        PROP_BIT(PROP_USER_PROPERTY))
#define AUTH_PROPS                                                                              \
	(PROP_BIT(PROP_AUTH_METHOD) | PROP_BIT(PROP_AUTH_DATA) | PROP_BIT(PROP_REASON_STRING) | \
	        PROP_BIT(PROP_USER_PROPERTY))

/* Those that Table 3-10 lets a client send: [MQTT-3.14.2-1]. */
static bool disconnect_reason_allowed(uint8_t reason)
{
	switch (reason) {
	case MQTT_SUCCESS:
	case MQTT_DISCONNECT_WITH_WILL:
	case MQTT_UNSPECIFIED:
	case MQTT_MALFORMED_PACKET:
	case MQTT_PROTOCOL_ERROR:
	case MQTT_IMPLEMENTATION_ERROR:
	case MQTT_TOPIC_INVALID:
	case MQTT_RECEIVE_MAXIMUM:
	case MQTT_ALIAS_INVALID:
	case MQTT_TOO_LARGE:
	case MQTT_RATE_TOO_HIGH:
	case MQTT_QUOTA:
	case MQTT_ADMINISTRATIVE:
	case MQTT_PAYLOAD_FORMAT: return true;
	default: return false;
	}
}

static int disconnect_props(struct slice in, struct mqtt_disconnect *d)
{
	struct prop_walk walk = {
	        .allowed = DISCONNECT_PROPS,
	        .from_server = PROP_BIT(PROP_SERVER_REFERENCE),
	};
	struct prop p;
	int err = prop_walk_start(&walk, &in);
	if (err || in.n > 0)
		return ERR_MALFORMED;
	while ((err = prop_walk_next(&walk, &p)) > 0) {
		if (p.id == PROP_SESSION_EXPIRY) {
			d->has_session_expiry = true;
			d->session_expiry = p.number;
		}
	}
	return err;
}

int mqtt_decode_disconnect(
        const struct mqtt_frame *f, enum mqtt_version v, struct mqtt_disconnect *ret)
{
	struct slice in = f->body;
	struct mqtt_disconnect d = {.reason = MQTT_SUCCESS};
	if (v != MQTT_V5 && in.n > 0)
		return ERR_MALFORMED;
	if (v == MQTT_V5 && !frame_is_minimal(f))
		return ERR_MALFORMED;
	/* Reason and properties may be left out, in this order, from the end. */
	if (read_byte(&in, &d.reason) && in.n > 0) {
		int err = disconnect_props(in, &d);
		if (err)
			return err;
	}
	if (!disconnect_reason_allowed(d.reason))
		return ERR_PROTOCOL;
	*ret = d;
	return 0;
}

int mqtt_decode_auth(const struct mqtt_frame *f, struct mqtt_auth *ret)
{
	struct slice in = f->body;
	struct mqtt_auth a = {.reason = MQTT_SUCCESS};
	struct prop_walk walk = {.allowed = AUTH_PROPS};
	struct prop p;
	int err = 0;
	if (!frame_is_minimal(f))
		return ERR_MALFORMED;
	if (read_byte(&in, &a.reason)) {
		err = prop_walk_start(&walk, &in);
		if (err || in.n > 0)
			return ERR_MALFORMED;
		while ((err = prop_walk_next(&walk, &p)) > 0) {
			if (p.id == PROP_AUTH_METHOD)
				a.method = p.value;
			else if (p.id == PROP_AUTH_DATA)
				a.data = p.value;
		}
	}
	if (err)
		return err;
	/* [MQTT-3.15.2-1]: success is the server's to say; section 3.15.2.2.2: never without a
	 * method. */
	if (a.reason != MQTT_CONTINUE_AUTHENTICATION && a.reason != MQTT_REAUTHENTICATE)
		return ERR_PROTOCOL;
	if (!a.method.p)
		return ERR_PROTOCOL;
	*ret = a;
	return 0;
}
