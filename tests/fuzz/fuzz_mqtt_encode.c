/* What the encoders write is what a reader reads: packets made of arbitrary values are cut and
 * parsed again. */
#include "tests/fuzz/mqtt_check.h"

struct source {
	const uint8_t *p;
	size_t n;
};

static uint32_t take(struct source *s, unsigned bytes)
{
	uint32_t v = 0;
	for (; bytes > 0 && s->n > 0; bytes--, s->n--)
		v = v << 8 | *s->p++;
	return v;
}

static struct slice take_slice(struct source *s)
{
	size_t n = take(s, 1);
	if (n > 200) /* now and then a long one */
		n = n * 97;
	if (n > s->n)
		n = s->n;
	struct slice ret = slice_make(s->p, n);
	s->p += n;
	s->n -= n;
	return ret;
}

/* The whole buffer as one packet. */
static struct mqtt_frame whole(const struct buf *out)
{
	struct mqtt_frame f;
	size_t need;
	MUST(mqtt_frame_next(buf_slice(out), SIZE_MAX, &f, &need) == 1 && f.size == buf_len(out));
	return f;
}

/* The property block at the front of in must be whole; returns its properties, *in is what follows.
 */
static struct slice take_props(struct slice *in)
{
	uint32_t n;
	size_t len;
	MUST(mqtt_varint_get(*in, &n, &len) == 1 && in->n - len >= n);
	struct slice props = slice_make(in->p + len, n);
	*in = slice_from(*in, len + n);
	return props;
}

static void check_connack(struct source *s, struct buf *out)
{
	uint8_t flags = (uint8_t)take(s, 1);
	struct mqtt_connack c = {
	        .session_present = flags & 1,
	        .code = (uint8_t)take(s, 1),
	        .has_server_keep_alive = flags & 2,
	        .server_keep_alive = (uint16_t)take(s, 2),
	        .receive_maximum = (uint16_t)take(s, 2),
	        .maximum_packet_size = take(s, 4),
	        .topic_alias_maximum = (uint16_t)take(s, 2),
	        .has_session_expiry = flags & 4,
	        .session_expiry = take(s, 4),
	        .reason_string = flags & 8 ? "because" : NULL,
	        .assigned_client_id = take_slice(s),
	};
	if (!utf8_valid_mqtt(c.assigned_client_id))
		c.assigned_client_id.n = 0;
	enum mqtt_version v = flags & 16 ? MQTT_V5 : MQTT_V311;
	MUST(mqtt_encode_connack(out, v, &c) == 0);
	if (v == MQTT_V311 && buf_len(out) == 0)
		return;
	struct mqtt_frame f = whole(out);
	MUST(f.type == MQTT_CONNACK && f.body.p[0] == (c.session_present && c.code == 0));
	if (v == MQTT_V311) {
		MUST(f.body.n == 2 && f.body.p[1] <= 5 && (f.body.p[1] == 0) == (c.code == 0));
		return;
	}
	struct slice in = slice_from(f.body, 2), props = take_props(&in);
	struct prop p;
	while (props.n > 0) {
		MUST(prop_next(&props, &p) == 1);
		if (p.id == PROP_ASSIGNED_CLIENT_ID)
			MUST(slice_eq(p.value, c.assigned_client_id));
		if (p.id == PROP_SESSION_EXPIRY)
			MUST(c.has_session_expiry && p.number == c.session_expiry);
		if (p.id == PROP_SERVER_KEEP_ALIVE)
			MUST(c.has_server_keep_alive && p.number == c.server_keep_alive);
	}
	MUST(in.n == 0);
}

static void check_publish_out(struct source *s, struct buf *out)
{
	uint8_t flags = (uint8_t)take(s, 1);
	uint32_t ids[4] = {take(s, 1) + 1, take(s, 2) + 1, take(s, 3) + 1, 268435455};
	struct mqtt_publish_out p = {
	        .qos = flags & 3,
	        .dup = flags & 4,
	        .retain = flags & 8,
	        .packet_id = (uint16_t)(take(s, 2) | 1),
	        .alias = (uint16_t)take(s, 2),
	        .has_expiry = flags & 16,
	        .expiry = take(s, 4),
	        .subscription_ids = ids,
	        .n_subscription_ids = flags & 32 ? 1 + flags % 4 : 0,
	        .topic = take_slice(s),
	};
	struct slice content_type = take_slice(s), payload = take_slice(s);
	enum mqtt_version v = flags & 64 ? MQTT_V5 : MQTT_V311;
	struct buf props;
	buf_init(&props, 100000);
	if (v == MQTT_V5 && utf8_valid_mqtt(content_type))
		MUST(prop_put_string(&props, PROP_CONTENT_TYPE, content_type) == 0);
	p.props_len = buf_len(&props);
	p.payload_len = payload.n;
	size_t size = 0;
	MUST(mqtt_encode_publish_head(out, v, &p, &size) == 0);
	MUST(buf_append(out, buf_slice(&props).p, buf_len(&props)) == 0);
	MUST(buf_append(out, payload.p, payload.n) == 0);
	struct mqtt_frame f = whole(out);
	MUST(f.size == size);
	struct mqtt_publish got;
	enum end_reason end;
	/* A client's decoder would also take subscription identifiers; ours takes the rest. */
	if (p.n_subscription_ids == 0 && mqtt_decode_publish(&f, v, &got, &end) == 0) {
		MUST(slice_eq(got.topic, p.topic) && slice_eq(got.payload, payload));
		MUST(got.qos == p.qos && got.dup == p.dup && got.retain == p.retain);
		MUST(got.packet_id == (p.qos ? p.packet_id : 0));
		MUST(v == MQTT_V311 ||
		        (got.alias == p.alias && got.expiry == (p.has_expiry ? p.expiry : 0)));
		MUST(slice_eq(got.props, buf_slice(&props)));
	}
	buf_free(&props);
}

static void check_short(struct source *s, struct buf *out)
{
	static const enum mqtt_type types[] = {MQTT_PUBACK, MQTT_PUBREC, MQTT_PUBREL, MQTT_PUBCOMP};
	uint8_t flags = (uint8_t)take(s, 1), reason = (uint8_t)take(s, 1);
	uint16_t id = (uint16_t)(take(s, 2) | 1);
	enum mqtt_version v = flags & 4 ? MQTT_V5 : MQTT_V311;
	MUST(mqtt_encode_ack(out, types[flags & 3], v, id, reason) == 0);
	struct mqtt_frame f = whole(out);
	struct mqtt_ack ack;
	if (mqtt_decode_ack(&f, v, &ack) == 0)
		MUST(ack.packet_id == id && ack.reason == (v == MQTT_V5 ? reason : 0));
	buf_consume(out, buf_len(out));

	MUST(mqtt_encode_disconnect(out, reason, flags & 8 ? "text" : NULL) == 0);
	f = whole(out);
	struct mqtt_disconnect d;
	if (mqtt_decode_disconnect(&f, MQTT_V5, &d) == 0)
		MUST(d.reason == reason);
	buf_consume(out, buf_len(out));

	struct slice codes = take_slice(s);
	MUST(mqtt_encode_suback(out, flags & 16 ? MQTT_SUBACK : MQTT_UNSUBACK, v, id, codes) == 0);
	f = whole(out);
	size_t want = v == MQTT_V5 || flags & 16 ? codes.n : 0;
	MUST(f.body.n == 2u + (v == MQTT_V5 ? 1u : 0u) + want);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct source s = {data, size};
	struct buf out;
	buf_init(&out, 1000000);
	switch (take(&s, 1) % 3) {
	case 0: check_connack(&s, &out); break;
	case 1: check_publish_out(&s, &out); break;
	default: check_short(&s, &out); break;
	}
	buf_free(&out);
	return 0;
}
