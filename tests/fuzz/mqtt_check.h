/* What must hold for anything that a decoder accepts, whatever the bytes were. */
#ifndef HF_TESTS_FUZZ_MQTT_CHECK_H
#define HF_TESTS_FUZZ_MQTT_CHECK_H

#include <stdlib.h>

#include "broker/codec/mqtt.h"
#include "server/base/err.h"
#include "server/base/props.h"
#include "server/base/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Not assert: it must hold in every build. */
#define MUST(condition)           \
	do {                      \
		if (!(condition)) \
			abort();  \
	} while (0)

static inline void must_lie_in(struct slice outer, struct slice s)
{
	MUST(s.n == 0 || (s.p >= outer.p && s.p + s.n <= outer.p + outer.n));
}

static inline void must_be_text(struct slice outer, struct slice s)
{
	must_lie_in(outer, s);
	MUST(s.n <= UINT16_MAX && utf8_valid_mqtt(s));
}

static inline void must_be_topic(struct slice outer, struct slice s)
{
	must_be_text(outer, s);
	MUST(s.n > 0 && !memchr(s.p, '+', s.n) && !memchr(s.p, '#', s.n));
}

/* The travelling properties that a decoder announces can be copied, parsed, and sent to anybody. */
static inline void must_travel(int copied, const struct buf *out, struct slice props, bool whole)
{
	MUST(copied == 0 && buf_len(out) <= props.n && (!whole || buf_len(out) == props.n));
	struct slice rest = buf_slice(out);
	struct prop p;
	int got;
	while ((got = prop_next(&rest, &p)) == 1)
		MUST(p.id == PROP_PAYLOAD_FORMAT || p.id == PROP_CONTENT_TYPE ||
		        p.id == PROP_RESPONSE_TOPIC || p.id == PROP_CORRELATION_DATA ||
		        p.id == PROP_USER_PROPERTY);
	MUST(got == 0);
}

static inline void check_connect(const struct mqtt_frame *f)
{
	struct mqtt_connect c;
	uint8_t code = 0xEE;
	int err = mqtt_decode_connect(f, &c, &code);
	MUST(c.version == 0 || c.version == MQTT_V311 || c.version == MQTT_V5);
	if (err) {
		MUST(code >= 0x80 && code != 0xEE);
		MUST(err == ERR_MALFORMED || err == ERR_PROTOCOL || err == ERR_INVALID);
		return;
	}
	MUST(code == 0 && c.version != 0 && c.receive_maximum > 0 && c.maximum_packet_size > 0);
	must_be_text(f->body, c.client_id);
	must_be_text(f->body, c.username);
	must_lie_in(f->body, c.password);
	must_be_text(f->body, c.auth_method);
	must_lie_in(f->body, c.auth_data);
	MUST(c.has_username || c.username.n == 0);
	MUST(c.has_password || c.password.n == 0);
	if (!c.will.present) {
		MUST(c.will.qos == 0 && !c.will.retain);
		return;
	}
	MUST(c.will.qos <= 2);
	must_be_topic(f->body, c.will.topic);
	must_lie_in(f->body, c.will.payload);
	must_lie_in(f->body, c.will.props);
	struct buf out;
	buf_init(&out, UINT32_MAX - 1);
	must_travel(mqtt_will_travelling(&c.will, &out), &out, c.will.props, c.will.props_travel);
	buf_free(&out);
}

static inline void check_publish(const struct mqtt_frame *f, enum mqtt_version v)
{
	struct mqtt_publish p;
	enum end_reason end = END_NORMAL;
	if (mqtt_decode_publish(f, v, &p, &end) < 0) {
		MUST(end == END_MALFORMED || end == END_PROTOCOL || end == END_TOPIC_NAME ||
		        end == END_TOPIC_ALIAS);
		return;
	}
	MUST(p.qos <= 2 && (p.qos > 0) == (p.packet_id > 0) && (p.qos > 0 || !p.dup));
	if (p.topic.n == 0)
		MUST(v == MQTT_V5 && p.alias > 0);
	else
		must_be_topic(f->body, p.topic);
	must_lie_in(f->body, p.payload);
	must_lie_in(f->body, p.props);
	MUST(p.payload.p + p.payload.n == f->body.p + f->body.n);
	struct buf out;
	buf_init(&out, UINT32_MAX - 1);
	must_travel(mqtt_publish_travelling(&p, &out), &out, p.props, p.props_travel);
	buf_free(&out);
}

static inline void check_subscribe(const struct mqtt_frame *f, enum mqtt_version v)
{
	struct mqtt_subscribe s;
	int err = f->type == MQTT_SUBSCRIBE ? mqtt_decode_subscribe(f, v, &s)
	                                    : mqtt_decode_unsubscribe(f, v, &s);
	if (err)
		return;
	MUST(s.packet_id > 0 && s.count > 0 && s.rest.n > 0);
	unsigned count = 0;
	for (; s.rest.n > 0; count++) {
		struct mqtt_filter filter;
		mqtt_next_filter(f->type, &s.rest, &filter);
		must_be_text(f->body, filter.filter);
		MUST(filter.qos <= 2 && filter.retain_handling <= 2);
	}
	MUST(count == s.count);
}

/* Gives the frame to the decoder of its type. */
static inline void check_frame(const struct mqtt_frame *f, enum mqtt_version v)
{
	struct mqtt_ack ack;
	struct mqtt_disconnect d;
	struct mqtt_auth a;
	switch (f->type) {
	case MQTT_CONNECT: check_connect(f); break;
	case MQTT_PUBLISH: check_publish(f, v); break;
	case MQTT_PUBACK:
	case MQTT_PUBREC:
	case MQTT_PUBREL:
	case MQTT_PUBCOMP: MUST(mqtt_decode_ack(f, v, &ack) != 0 || ack.packet_id > 0); break;
	case MQTT_SUBSCRIBE:
	case MQTT_UNSUBSCRIBE: check_subscribe(f, v); break;
	case MQTT_DISCONNECT: mqtt_decode_disconnect(f, v, &d); break;
	case MQTT_AUTH:
		if (mqtt_decode_auth(f, &a) == 0) {
			must_be_text(f->body, a.method);
			must_lie_in(f->body, a.data);
		}
		break;
	default: break;
	}
}

#endif
