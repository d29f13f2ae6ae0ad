/*
 * MQTT packets as bytes: 3.1.1 (OASIS Standard, 29 October 2014) and 5.0 (7 March 2019). Decoding
 * allocates nothing: slices point into the input. Every length is checked before it is used. A
 * decoder refuses what the standard calls malformed (ERR_MALFORMED) or a protocol error
 * (ERR_PROTOCOL) and names a reason code; it does not know sessions. Any thread.
 */
#ifndef HF_BROKER_CODEC_MQTT_H
#define HF_BROKER_CODEC_MQTT_H

#include "broker/codec/reason.h"
#include "server/base/buf.h"
#include "server/base/end.h"
#include "server/base/err.h"
#include "server/base/slice.h"

enum mqtt_type {
	MQTT_CONNECT = 1,
	MQTT_CONNACK,
	MQTT_PUBLISH,
	MQTT_PUBACK,
	MQTT_PUBREC,
	MQTT_PUBREL,
	MQTT_PUBCOMP,
	MQTT_SUBSCRIBE,
	MQTT_SUBACK,
	MQTT_UNSUBSCRIBE,
	MQTT_UNSUBACK,
	MQTT_PINGREQ,
	MQTT_PINGRESP,
	MQTT_DISCONNECT,
	MQTT_AUTH,
};

enum mqtt_version { MQTT_V311 = 4, MQTT_V5 = 5 };

struct mqtt_frame {
	enum mqtt_type type;
	uint8_t flags;     /* the low nibble of the first byte */
	struct slice body; /* behind the fixed header */
	size_t size;       /* of the whole packet */
};

/*
 * Cuts the first packet off in. 1: *ret is it. 0: incomplete, *ret_need is the total size needed to
 * go on (at least in.n + 1). ERR_MALFORMED: bad remaining length, or flags that the type does not
 * allow ([MQTT-2.1.3-1]). ERR_TOO_BIG: the packet is over max_size (known from the header alone).
 */
int mqtt_frame_next(struct slice in, size_t max_size, struct mqtt_frame *ret, size_t *ret_need);

struct mqtt_will {
	bool present;
	uint8_t qos;
	bool retain;
	struct slice topic, payload;
	struct slice props; /* as in struct mqtt_publish; mqtt_will_travelling copies them */
	bool props_travel;  /* every one of props travels with the message */
	uint32_t delay;     /* s */
	bool has_expiry;
	uint32_t expiry; /* s */
};

struct mqtt_connect {
	enum mqtt_version version;
	bool clean_start;
	uint16_t keep_alive;
	struct slice client_id;
	bool has_username, has_password;
	struct slice username, password;
	struct mqtt_will will;
	/* MQTT 5 properties, with the standard's defaults where absent */
	uint32_t session_expiry; /* s; 0xFFFFFFFF: never */
	uint16_t receive_maximum;
	uint32_t maximum_packet_size; /* UINT32_MAX: no limit */
	uint16_t topic_alias_maximum;
	bool request_response_info, request_problem_info;
	struct slice auth_method, auth_data; /* p NULL: absent */
};

/*
 * 0, ERR_MALFORMED, ERR_PROTOCOL, or ERR_INVALID when the protocol name or level is unknown
 * (answered with 0x84 / 1). ret_code: the CONNACK reason code in terms of MQTT 5 (0x90 for a will
 * topic that is no topic name). ret->version is set as soon as it is known, so that the refusal is
 * spoken in the client's version: 0 if it is not (a foreign protocol name): close without a word.
 */
int mqtt_decode_connect(const struct mqtt_frame *f, struct mqtt_connect *ret, uint8_t *ret_code);
/* Appends those of w->props that travel with the will message (see struct msg); all of them, as
 * they stand, where w->props_travel. 0 or buf's error. */
int mqtt_will_travelling(const struct mqtt_will *w, struct buf *out);

struct mqtt_publish {
	uint8_t qos;
	bool dup, retain;
	uint16_t packet_id; /* 0 with QoS 0 */
	struct slice topic; /* may be empty with an alias */
	struct slice payload;
	uint16_t alias; /* 0: none */
	bool has_expiry;
	uint32_t expiry;    /* s */
	struct slice props; /* the properties as sent, from the first to the last that travels */
	bool props_travel; /* every one of props travels with the message: props can be copied whole
	                    */
	bool payload_is_utf8; /* payload format indicator 1 */
};
/* 0; ERR_MALFORMED, ERR_PROTOCOL, or ERR_INVALID (topic name) with *ret_end telling how the
 * connection ends (END_MALFORMED, END_PROTOCOL, END_TOPIC_NAME, END_TOPIC_ALIAS). */
int mqtt_decode_publish(const struct mqtt_frame *f, enum mqtt_version v, struct mqtt_publish *ret,
        enum end_reason *ret_end);
/* Appends those of p->props that travel with a message (see struct msg). 0 or buf's error. */
int mqtt_publish_travelling(const struct mqtt_publish *p, struct buf *out);

/* PUBACK, PUBREC, PUBREL, PUBCOMP. */
struct mqtt_ack {
	uint16_t packet_id;
	uint8_t reason;
};
int mqtt_decode_ack(const struct mqtt_frame *f, enum mqtt_version v, struct mqtt_ack *ret);

struct mqtt_filter {
	struct slice filter; /* as sent, "$share/…" included */
	uint8_t qos;
	bool no_local, retain_as_published;
	uint8_t retain_handling; /* 0, 1, 2 */
};
/* SUBSCRIBE and UNSUBSCRIBE: walk the filters by mqtt_next_filter until *rest is empty. At least
 * one is there. subscription_id 0: none. */
struct mqtt_subscribe {
	uint16_t packet_id;
	uint32_t subscription_id;
	struct slice rest;
	unsigned count; /* filters in all */
};
int mqtt_decode_subscribe(
        const struct mqtt_frame *f, enum mqtt_version v, struct mqtt_subscribe *ret);
int mqtt_decode_unsubscribe(
        const struct mqtt_frame *f, enum mqtt_version v, struct mqtt_subscribe *ret);
/* All filters were checked by the decoder for structure and UTF-8 (not for their syntax as
 * filters): cannot fail while rest is not empty. */
void mqtt_next_filter(enum mqtt_type type, struct slice *rest, struct mqtt_filter *ret);

struct mqtt_disconnect {
	uint8_t reason;
	bool has_session_expiry;
	uint32_t session_expiry;
};
int mqtt_decode_disconnect(
        const struct mqtt_frame *f, enum mqtt_version v, struct mqtt_disconnect *ret);

struct mqtt_auth {
	uint8_t reason;
	struct slice method, data;
};
int mqtt_decode_auth(const struct mqtt_frame *f, struct mqtt_auth *ret);

/*
 * Encoders: append whole packets to a buffer; 0 or the buffer's error.
 */
struct mqtt_connack {
	bool session_present;
	uint8_t code; /* MQTT 5 reason; translated for 3.1.1 (Table 3.1 there) by the encoder */
	/* MQTT 5, left out when at their defaults */
	struct slice assigned_client_id;
	bool has_server_keep_alive;
	uint16_t server_keep_alive;
	uint16_t receive_maximum;
	uint32_t maximum_packet_size;
	uint16_t topic_alias_maximum;
	bool has_session_expiry;
	uint32_t session_expiry;
	const char *reason_string;
};
int mqtt_encode_connack(struct buf *out, enum mqtt_version v, const struct mqtt_connack *c);
/* type: PUBACK, PUBREC, PUBREL or PUBCOMP; the reason is left out for 3.1.1 and for success. */
int mqtt_encode_ack(struct buf *out, enum mqtt_type type, enum mqtt_version v, uint16_t packet_id,
        uint8_t reason);
/* SUBACK and UNSUBACK; codes in terms of MQTT 5 (3.1.1: >= 0x80 becomes 0x80, no codes in
 * UNSUBACK). */
int mqtt_encode_suback(struct buf *out, enum mqtt_type type, enum mqtt_version v,
        uint16_t packet_id, struct slice codes);
int mqtt_encode_pingresp(struct buf *out);
int mqtt_encode_disconnect(struct buf *out, uint8_t reason, const char *reason_string);

/* The head of a PUBLISH: everything before the travelling properties and the payload of the
 * message, which follow from the struct msg unchanged (msg_props directly before msg_payload in
 * memory). */
struct mqtt_publish_out {
	uint8_t qos;
	bool dup, retain;
	uint16_t packet_id;
	struct slice topic; /* empty when an alias that the client knows stands for it */
	uint16_t alias;     /* 0: none */
	bool has_expiry;
	uint32_t expiry; /* s that remain */
	const uint32_t *subscription_ids;
	unsigned n_subscription_ids;
	size_t props_len, payload_len; /* of the message; 3.1.1 sends the payload alone */
};
/* Appends the head; the body is props + payload (5.0) or payload (3.1.1). *ret_packet_size (may be
 * NULL) is the size of the whole packet, to be held against the client's Maximum Packet Size. */
int mqtt_encode_publish_head(struct buf *out, enum mqtt_version v, const struct mqtt_publish_out *p,
        size_t *ret_packet_size);

/* Variable byte integers, MQTT 5.0 section 1.5.5. get: 1 and the value, 0 incomplete,
 * ERR_MALFORMED; *ret_len is how many bytes it took. put: writes 1 to 4 bytes, returns how many. */
int mqtt_varint_get(struct slice in, uint32_t *ret, size_t *ret_len);
size_t mqtt_varint_put(uint8_t out[static 4], uint32_t v);

#endif
