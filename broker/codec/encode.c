/*
 * What the server sends. Each encoder knows the size first, reserves it once and then writes: a
 * packet is in the buffer whole or not at all.
 */
#include "broker/codec/read.h"

#define REMAINING_LENGTH_MAX 268435455u

static uint8_t *put_u16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
	return p + 2;
}

static uint8_t *put_u32(uint8_t *p, uint32_t v)
{
	return put_u16(put_u16(p, (uint16_t)(v >> 16)), (uint16_t)v);
}

static uint8_t *put_bytes(uint8_t *p, struct slice s)
{
	if (s.n > 0)
		memcpy(p, s.p, s.n);
	return p + s.n;
}

static uint8_t *put_string(uint8_t *p, struct slice s)
{
	return put_bytes(put_u16(p, (uint16_t)s.n), s);
}

static uint8_t *put_varint(uint8_t *p, uint32_t v)
{
	return p + mqtt_varint_put(p, v);
}

static uint8_t *put_prop_u16(uint8_t *p, enum prop_id id, uint16_t v)
{
	*p++ = (uint8_t)id;
	return put_u16(p, v);
}

static uint8_t *put_prop_u32(uint8_t *p, enum prop_id id, uint32_t v)
{
	*p++ = (uint8_t)id;
	return put_u32(p, v);
}

static uint8_t *put_prop_string(uint8_t *p, enum prop_id id, struct slice s)
{
	*p++ = (uint8_t)id;
	return put_string(p, s);
}

/* Makes room for a whole packet and writes its fixed header; *ret is where the rest goes. The room
 * counts as filled: the caller must fill it. */
static int start_packet(struct buf *out, uint8_t first, size_t remaining, uint8_t **ret)
{
	if (remaining > REMAINING_LENGTH_MAX)
		return ERR_TOO_BIG;
	size_t size = 1 + varint_size((uint32_t)remaining) + remaining;
	int err = buf_ensure(out, size);
	if (err)
		return err;
	uint8_t *p = buf_reserve(out, size);
	buf_added(out, size);
	*p++ = first;
	*ret = put_varint(p, (uint32_t)remaining);
	return 0;
}

/* ---- CONNACK ---- */

/* Table 3.1 of 3.1.1, or -1: none of its codes says this. */
static int connack_code_v311(uint8_t code)
{
	switch (code) {
	case MQTT_SUCCESS: return 0;
	case MQTT_UNSUPPORTED_VERSION: return 1;
	case MQTT_CLIENT_ID_INVALID: return 2;
	case MQTT_UNSPECIFIED:
	case MQTT_IMPLEMENTATION_ERROR:
	case MQTT_UNAVAILABLE:
	case MQTT_BUSY:
	case MQTT_SHUTTING_DOWN:
	case MQTT_QUOTA:
	case MQTT_USE_ANOTHER:
	case MQTT_MOVED:
	case MQTT_RATE_EXCEEDED: return 3;
	case MQTT_BAD_USER_OR_PASSWORD: return 4;
	case MQTT_NOT_AUTHORIZED:
	case MQTT_BANNED:
	case MQTT_BAD_AUTH_METHOD: return 5;
	default: return -1;
	}
}

static int connack_v311(struct buf *out, const struct mqtt_connack *c)
{
	int code = connack_code_v311(c->code);
	if (code < 0)
		return 0; /* [MQTT-3.2.2-6] of 3.1.1: close without a CONNACK */
	const uint8_t packet[] = {
	        MQTT_CONNACK << 4, 2, code == 0 && c->session_present, (uint8_t)code};
	return buf_append(out, packet, sizeof(packet));
}

/* Which properties a CONNACK carries: what is at its default is left out. */
struct connack_has {
	bool receive_maximum, packet_size, alias_maximum, client_id, reason;
	size_t size;
};

static struct connack_has connack_has(const struct mqtt_connack *c, struct slice reason)
{
	struct connack_has has = {
	        .receive_maximum = c->receive_maximum != 0 && c->receive_maximum != UINT16_MAX,
	        .packet_size = c->maximum_packet_size != 0 && c->maximum_packet_size != UINT32_MAX,
	        .alias_maximum = c->topic_alias_maximum != 0,
	        .client_id = c->assigned_client_id.n > 0,
	        .reason = reason.n > 0,
	};
	has.size = (c->has_session_expiry ? 5u : 0u) + (has.receive_maximum ? 3u : 0u) +
	        (has.packet_size ? 5u : 0u) + (has.alias_maximum ? 3u : 0u) +
	        (c->has_server_keep_alive ? 3u : 0u) +
	        (has.client_id ? 3 + c->assigned_client_id.n : 0u) +
	        (has.reason ? 3 + reason.n : 0u);
	return has;
}

static int connack_v5(struct buf *out, const struct mqtt_connack *c)
{
	struct slice reason = slice_str(c->reason_string);
	struct connack_has has = connack_has(c, reason);
	if (c->assigned_client_id.n > UINT16_MAX || reason.n > UINT16_MAX)
		return ERR_TOO_BIG;
	uint8_t *p;
	size_t remaining = 2 + varint_size((uint32_t)has.size) + has.size;
	int err = start_packet(out, MQTT_CONNACK << 4, remaining, &p);
	if (err)
		return err;
	*p++ = c->code == MQTT_SUCCESS && c->session_present; /* [MQTT-3.2.2-6] */
	*p++ = c->code;
	p = put_varint(p, (uint32_t)has.size);
	if (c->has_session_expiry)
		p = put_prop_u32(p, PROP_SESSION_EXPIRY, c->session_expiry);
	if (has.receive_maximum)
		p = put_prop_u16(p, PROP_RECEIVE_MAXIMUM, c->receive_maximum);
	if (has.packet_size)
		p = put_prop_u32(p, PROP_MAXIMUM_PACKET_SIZE, c->maximum_packet_size);
	if (has.alias_maximum)
		p = put_prop_u16(p, PROP_TOPIC_ALIAS_MAXIMUM, c->topic_alias_maximum);
	if (c->has_server_keep_alive)
		p = put_prop_u16(p, PROP_SERVER_KEEP_ALIVE, c->server_keep_alive);
	if (has.client_id)
		p = put_prop_string(p, PROP_ASSIGNED_CLIENT_ID, c->assigned_client_id);
	if (has.reason)
		put_prop_string(p, PROP_REASON_STRING, reason);
	return 0;
}

int mqtt_encode_connack(struct buf *out, enum mqtt_version v, const struct mqtt_connack *c)
{
	return v == MQTT_V5 ? connack_v5(out, c) : connack_v311(out, c);
}

/* ---- short packets ---- */

int mqtt_encode_ack(struct buf *out, enum mqtt_type type, enum mqtt_version v, uint16_t packet_id,
        uint8_t reason)
{
	uint8_t packet[5];
	bool has_reason = v == MQTT_V5 && reason != MQTT_SUCCESS;
	packet[0] = (uint8_t)(type << 4 | (type == MQTT_PUBREL ? 0x02 : 0));
	packet[1] = has_reason ? 3 : 2;
	put_u16(packet + 2, packet_id);
	packet[4] = reason;
	return buf_append(out, packet, has_reason ? 5 : 4);
}

int mqtt_encode_suback(struct buf *out, enum mqtt_type type, enum mqtt_version v,
        uint16_t packet_id, struct slice codes)
{
	bool has_codes = v == MQTT_V5 || type == MQTT_SUBACK;
	size_t n_codes = has_codes ? codes.n : 0;
	uint8_t *p;
	int err = start_packet(
	        out, (uint8_t)(type << 4), 2 + (v == MQTT_V5 ? 1u : 0u) + n_codes, &p);
	if (err)
		return err;
	p = put_u16(p, packet_id);
	if (v == MQTT_V5)
		*p++ = 0;                    /* no properties */
	for (size_t i = 0; i < n_codes; i++) /* 3.1.1 knows one failure: [MQTT-3.9.3-2] there */
		p[i] = v != MQTT_V5 && codes.p[i] >= 0x80 ? 0x80 : codes.p[i];
	return 0;
}

int mqtt_encode_pingresp(struct buf *out)
{
	static const uint8_t packet[] = {MQTT_PINGRESP << 4, 0};
	return buf_append(out, packet, sizeof(packet));
}

int mqtt_encode_disconnect(struct buf *out, uint8_t reason, const char *reason_string)
{
	struct slice text = slice_str(reason_string);
	if (text.n > UINT16_MAX)
		return ERR_TOO_BIG;
	size_t props = text.n > 0 ? 3 + text.n : 0;
	size_t remaining = 1;
	if (props > 0)
		remaining = 1 + varint_size((uint32_t)props) + props;
	else if (reason == MQTT_SUCCESS)
		remaining = 0;
	uint8_t *p;
	int err = start_packet(out, MQTT_DISCONNECT << 4, remaining, &p);
	if (err)
		return err;
	if (remaining > 0)
		*p++ = reason;
	if (props > 0)
		put_prop_string(put_varint(p, (uint32_t)props), PROP_REASON_STRING, text);
	return 0;
}

/* ---- PUBLISH ---- */

/* Bytes of the properties that stand before the message's own. */
static size_t publish_own_props(const struct mqtt_publish_out *p)
{
	size_t n = (p->alias ? 3u : 0u) + (p->has_expiry ? 5u : 0u);
	for (unsigned i = 0; i < p->n_subscription_ids; i++)
		n += 1 + varint_size(p->subscription_ids[i]);
	return n;
}

static uint8_t *publish_put_props(uint8_t *at, const struct mqtt_publish_out *p, size_t size)
{
	at = put_varint(at, (uint32_t)size);
	if (p->alias)
		at = put_prop_u16(at, PROP_TOPIC_ALIAS, p->alias);
	if (p->has_expiry)
		at = put_prop_u32(at, PROP_MESSAGE_EXPIRY, p->expiry);
	for (unsigned i = 0; i < p->n_subscription_ids; i++) {
		*at++ = PROP_SUBSCRIPTION_ID;
		at = put_varint(at, p->subscription_ids[i]);
	}
	return at;
}

int mqtt_encode_publish_head(struct buf *out, enum mqtt_version v, const struct mqtt_publish_out *p,
        size_t *ret_packet_size)
{
	size_t own = v == MQTT_V5 ? publish_own_props(p) : 0;
	size_t props = v == MQTT_V5 ? own + p->props_len : 0;
	if (props > REMAINING_LENGTH_MAX || p->payload_len > REMAINING_LENGTH_MAX ||
	        p->topic.n > UINT16_MAX)
		return ERR_TOO_BIG;
	size_t head = 2 + p->topic.n + (p->qos > 0 ? 2u : 0u) + own;
	if (v == MQTT_V5)
		head += varint_size((uint32_t)props);
	size_t remaining = head + (props - own) + p->payload_len;
	if (remaining > REMAINING_LENGTH_MAX)
		return ERR_TOO_BIG;
	size_t fixed = 1 + varint_size((uint32_t)remaining);
	int err = buf_ensure(out, fixed + head);
	if (err)
		return err;
	uint8_t *at = buf_reserve(out, fixed + head);
	buf_added(out, fixed + head);
	*at++ = (uint8_t)(MQTT_PUBLISH << 4 | (p->dup ? 0x08 : 0) | p->qos << 1 | p->retain);
	at = put_string(put_varint(at, (uint32_t)remaining), p->topic);
	if (p->qos > 0)
		at = put_u16(at, p->packet_id);
	if (v == MQTT_V5)
		publish_put_props(at, p, props);
	if (ret_packet_size)
		*ret_packet_size = fixed + remaining;
	return 0;
}
