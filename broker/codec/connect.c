/* CONNECT: MQTT 5.0 and 3.1.1, section 3.1. */
#include "broker/codec/read.h"

#define CONNECT_PROPS                                                                        \
	(PROP_BIT(PROP_SESSION_EXPIRY) | PROP_BIT(PROP_RECEIVE_MAXIMUM) |                    \
	        PROP_BIT(PROP_MAXIMUM_PACKET_SIZE) | PROP_BIT(PROP_TOPIC_ALIAS_MAXIMUM) |    \
	        PROP_BIT(PROP_REQUEST_RESPONSE_INFO) | PROP_BIT(PROP_REQUEST_PROBLEM_INFO) | \
	        PROP_BIT(PROP_USER_PROPERTY) | PROP_BIT(PROP_AUTH_METHOD) |                  \
	        PROP_BIT(PROP_AUTH_DATA))
#define WILL_PROPS (PROPS_TRAVEL | PROP_BIT(PROP_WILL_DELAY) | PROP_BIT(PROP_MESSAGE_EXPIRY))

enum connect_flag {
	FLAG_RESERVED = 0x01,
	FLAG_CLEAN_START = 0x02,
	FLAG_WILL = 0x04,
	FLAG_WILL_RETAIN = 0x20,
	FLAG_PASSWORD = 0x40,
	FLAG_USERNAME = 0x80,
};
#define FLAG_WILL_QOS(flags) (((flags) >> 3) & 3)

/* Name and level: [MQTT-3.1.2-1], [MQTT-3.1.2-2]. A refusal is spoken in the version that the
 * client is likely to understand: 3.1 ("MQIsdp") reads 3.1.1's, bridges set the level's high bit.
 */
static int connect_protocol(struct slice *in, struct mqtt_connect *c)
{
	struct slice name;
	uint8_t level;
	if (!read_binary(in, &name))
		return ERR_MALFORMED;
	bool is_mqtt = slice_eq(name, SLICE_LIT("MQTT"));
	if (!is_mqtt && !slice_eq(name, SLICE_LIT("MQIsdp")))
		return ERR_INVALID;
	if (!read_byte(in, &level))
		return ERR_MALFORMED;
	c->version = is_mqtt && (level & 0x7F) > MQTT_V311 ? MQTT_V5 : MQTT_V311;
	return is_mqtt && level == c->version ? 0 : ERR_INVALID;
}

static int connect_flags(struct mqtt_connect *c, uint8_t flags)
{
	uint8_t will_qos = FLAG_WILL_QOS(flags);
	if (flags & FLAG_RESERVED)
		return ERR_MALFORMED; /* [MQTT-3.1.2-3] */
	if (will_qos == 3)
		return ERR_MALFORMED; /* [MQTT-3.1.2-12] */
	if (!(flags & FLAG_WILL) && (will_qos || (flags & FLAG_WILL_RETAIN)))
		return ERR_MALFORMED; /* [MQTT-3.1.2-11], [MQTT-3.1.2-13] */
	if (c->version == MQTT_V311 && (flags & FLAG_PASSWORD) && !(flags & FLAG_USERNAME))
		return ERR_MALFORMED; /* [MQTT-3.1.2-22] of 3.1.1; MQTT 5 allows it */
	c->clean_start = flags & FLAG_CLEAN_START;
	c->will.present = flags & FLAG_WILL;
	c->will.qos = will_qos;
	c->will.retain = flags & FLAG_WILL_RETAIN;
	c->has_username = flags & FLAG_USERNAME;
	c->has_password = flags & FLAG_PASSWORD;
	return 0;
}

static void connect_take_prop(struct mqtt_connect *c, const struct prop *p)
{
	switch (p->id) {
	case PROP_SESSION_EXPIRY: c->session_expiry = p->number; break;
	case PROP_RECEIVE_MAXIMUM: c->receive_maximum = (uint16_t)p->number; break;
	case PROP_MAXIMUM_PACKET_SIZE: c->maximum_packet_size = p->number; break;
	case PROP_TOPIC_ALIAS_MAXIMUM: c->topic_alias_maximum = (uint16_t)p->number; break;
	case PROP_REQUEST_RESPONSE_INFO: c->request_response_info = p->number; break;
	case PROP_REQUEST_PROBLEM_INFO: c->request_problem_info = p->number; break;
	case PROP_AUTH_METHOD: c->auth_method = p->value; break;
	case PROP_AUTH_DATA: c->auth_data = p->value; break;
	default: break;
	}
}

static int connect_props(struct slice *in, struct mqtt_connect *c)
{
	struct prop_walk walk = {.allowed = CONNECT_PROPS};
	struct prop p;
	int err = prop_walk_start(&walk, in);
	if (err)
		return err;
	while ((err = prop_walk_next(&walk, &p)) > 0)
		connect_take_prop(c, &p);
	if (err)
		return err;
	/* Section 3.1.2.11.10: data without a method is a protocol error. */
	if (c->auth_data.p && !c->auth_method.p)
		return ERR_PROTOCOL;
	return 0;
}

static int will_props(struct slice *in, struct mqtt_will *will)
{
	struct prop_walk walk = {.allowed = WILL_PROPS};
	struct prop_span span = {{NULL, 0}, 0};
	struct prop p;
	int err = prop_walk_start(&walk, in);
	if (err)
		return err;
	while ((err = prop_walk_next(&walk, &p)) > 0) {
		prop_span_add(&span, &p);
		if (p.id == PROP_WILL_DELAY)
			will->delay = p.number;
		if (p.id == PROP_MESSAGE_EXPIRY) {
			will->has_expiry = true;
			will->expiry = p.number;
		}
	}
	will->props = span.props;
	will->props_travel = prop_span_whole(&span);
	return err;
}

static int connect_will(struct slice *in, struct mqtt_connect *c, uint8_t *code)
{
	if (c->version == MQTT_V5) {
		int err = will_props(in, &c->will);
		if (err)
			return err;
	}
	if (!read_binary(in, &c->will.topic) || !read_binary(in, &c->will.payload))
		return ERR_MALFORMED;
	switch (scan_topic_name(c->will.topic)) {
	case 0: return 0;
	case ERR_MALFORMED: return ERR_MALFORMED; /* [MQTT-3.1.3-11] */
	default: *code = MQTT_TOPIC_INVALID; return ERR_PROTOCOL;
	}
}

/* Everything behind the level. Payload order: [MQTT-3.1.3-1]. */
static int connect_rest(struct slice in, struct mqtt_connect *c, uint8_t *code)
{
	uint8_t flags;
	if (!read_byte(&in, &flags))
		return ERR_MALFORMED;
	int err = connect_flags(c, flags);
	if (err)
		return err;
	if (!read_u16(&in, &c->keep_alive))
		return ERR_MALFORMED;
	if (c->version == MQTT_V5 && (err = connect_props(&in, c)) != 0)
		return err;
	if (!read_name(&in, &c->client_id))
		return ERR_MALFORMED; /* [MQTT-3.1.3-3], [MQTT-3.1.3-4] */
	if (c->will.present && (err = connect_will(&in, c, code)) != 0)
		return err;
	if (c->has_username && !read_name(&in, &c->username))
		return ERR_MALFORMED; /* [MQTT-3.1.3-12] */
	if (c->has_password && !read_binary(&in, &c->password))
		return ERR_MALFORMED;
	return in.n > 0 ? ERR_MALFORMED : 0;
}

static uint8_t connect_code(int err)
{
	switch (err) {
	case ERR_INVALID: return MQTT_UNSUPPORTED_VERSION;
	case ERR_PROTOCOL: return MQTT_PROTOCOL_ERROR;
	default: return MQTT_MALFORMED_PACKET;
	}
}

int mqtt_decode_connect(const struct mqtt_frame *f, struct mqtt_connect *ret, uint8_t *ret_code)
{
	struct slice in = f->body;
	uint8_t code = MQTT_SUCCESS;
	*ret = (struct mqtt_connect){
	        .receive_maximum = UINT16_MAX,
	        .maximum_packet_size = UINT32_MAX,
	        .request_problem_info = true,
	};
	int err = connect_protocol(&in, ret);
	if (!err && ret->version == MQTT_V5 && !frame_is_minimal(f))
		err = ERR_MALFORMED;
	if (!err)
		err = connect_rest(in, ret, &code);
	*ret_code = err && code == MQTT_SUCCESS ? connect_code(err) : code;
	return err;
}
