/*
 * What the decoders share: a cursor that never passes the end, and a walk over properties that
 * holds the rules common to all packets. Private to the codec.
 */
#ifndef HF_BROKER_CODEC_READ_H
#define HF_BROKER_CODEC_READ_H

#include "broker/codec/mqtt.h"
#include "broker/codec/scan.h"
#include "server/base/err.h"
#include "server/base/props.h"
#include "server/base/utf8.h"

/* Each takes something off the front of *in, or returns false and leaves *in as it was. */
static inline bool read_byte(struct slice *in, uint8_t *ret)
{
	if (in->n < 1)
		return false;
	*ret = in->p[0];
	*in = slice_from(*in, 1);
	return true;
}

static inline bool read_u16(struct slice *in, uint16_t *ret)
{
	if (in->n < 2)
		return false;
	*ret = (uint16_t)(in->p[0] << 8 | in->p[1]);
	*in = slice_from(*in, 2);
	return true;
}

static inline bool read_binary(struct slice *in, struct slice *ret)
{
	struct slice rest = *in;
	uint16_t n;
	if (!read_u16(&rest, &n) || rest.n < n)
		return false;
	*ret = slice_make(rest.p, n);
	*in = slice_from(rest, n);
	return true;
}

/* A UTF-8 encoded string: well-formed, no surrogates, no NUL ([MQTT-1.5.4-1], [MQTT-1.5.4-2]). */
static inline bool read_string(struct slice *in, struct slice *ret)
{
	struct slice rest = *in, s;
	if (!read_binary(&rest, &s) || !utf8_valid_mqtt(s))
		return false;
	*ret = s;
	*in = rest;
	return true;
}

/* A string that names something: no control characters either. */
static inline bool read_name(struct slice *in, struct slice *ret)
{
	struct slice rest = *in, s;
	if (!read_string(&rest, &s) || scan_has_control(s))
		return false;
	*ret = s;
	*in = rest;
	return true;
}

/* A packet identifier: 0, ERR_MALFORMED (cut short), ERR_PROTOCOL (zero, [MQTT-2.2.1-3]). */
static inline int read_packet_id(struct slice *in, uint16_t *ret)
{
	uint16_t id;
	if (!read_u16(in, &id))
		return ERR_MALFORMED;
	if (id == 0)
		return ERR_PROTOCOL;
	*ret = id;
	return 0;
}

/* How many bytes v takes as a variable byte integer. */
static inline size_t varint_size(uint32_t v)
{
	return v < 128 ? 1 : v < 16384 ? 2 : v < 2097152 ? 3 : 4;
}

/* Whether the Remaining Length took no more bytes than it needs: [MQTT-1.5.5-1]. MQTT 3.1.1 does
 * not ask for it, and small clients of that version do reserve four bytes; so only MQTT 5 is held
 * to it, by its decoders. */
static inline bool frame_is_minimal(const struct mqtt_frame *f)
{
	return f->size == f->body.n + 1 + varint_size((uint32_t)f->body.n);
}

/* A set of properties. */
#define PROP_BIT(id) (UINT64_C(1) << (id))

/*
 * A walk over the properties of a packet. allowed are those that a client may send in it. One that
 * belongs to the packet but that only servers send (from_server) is a protocol error, any other
 * one is malformed (MQTT 5.0 section 2.2.2.2).
 */
struct prop_walk {
	struct slice rest;
	uint64_t allowed, from_server;
	uint64_t seen;
};

/* Takes the length and the properties off *in. 0 or ERR_MALFORMED. */
int prop_walk_start(struct prop_walk *w, struct slice *in);
/* 1: the next property, whose form, place and (for flags) value are right; 0: none left;
 * ERR_MALFORMED; ERR_PROTOCOL. */
int prop_walk_next(struct prop_walk *w, struct prop *ret);
/* For packets whose properties the hub only checks. 0, ERR_MALFORMED, ERR_PROTOCOL. */
int prop_walk_rest(struct prop_walk *w);

/* The properties that travel with a message from its publisher to its subscribers. */
#define PROPS_TRAVEL                                                              \
	(PROP_BIT(PROP_PAYLOAD_FORMAT) | PROP_BIT(PROP_CONTENT_TYPE) |            \
	        PROP_BIT(PROP_RESPONSE_TOPIC) | PROP_BIT(PROP_CORRELATION_DATA) | \
	        PROP_BIT(PROP_USER_PROPERTY))

/* Notes the stretch from the first to the last property that travels, and whether others stand
 * between them. Feed it every property in its order. */
struct prop_span {
	struct slice props;
	size_t travelling; /* bytes of it */
};
void prop_span_add(struct prop_span *s, const struct prop *p);
static inline bool prop_span_whole(const struct prop_span *s)
{
	return s->travelling == s->props.n;
}

#endif
