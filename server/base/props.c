#include "server/base/props.h"

#include "server/base/err.h"
#include "server/base/utf8.h"

enum prop_type { UNKNOWN, BYTE, U16, U32, VARINT, STRING, BINARY, PAIR };

/* MQTT 5.0 table 2-4. */
static const uint8_t types[] = {
        [PROP_PAYLOAD_FORMAT] = BYTE,
        [PROP_MESSAGE_EXPIRY] = U32,
        [PROP_CONTENT_TYPE] = STRING,
        [PROP_RESPONSE_TOPIC] = STRING,
        [PROP_CORRELATION_DATA] = BINARY,
        [PROP_SUBSCRIPTION_ID] = VARINT,
        [PROP_SESSION_EXPIRY] = U32,
        [PROP_ASSIGNED_CLIENT_ID] = STRING,
        [PROP_SERVER_KEEP_ALIVE] = U16,
        [PROP_AUTH_METHOD] = STRING,
        [PROP_AUTH_DATA] = BINARY,
        [PROP_REQUEST_PROBLEM_INFO] = BYTE,
        [PROP_WILL_DELAY] = U32,
        [PROP_REQUEST_RESPONSE_INFO] = BYTE,
        [PROP_RESPONSE_INFO] = STRING,
        [PROP_SERVER_REFERENCE] = STRING,
        [PROP_REASON_STRING] = STRING,
        [PROP_RECEIVE_MAXIMUM] = U16,
        [PROP_TOPIC_ALIAS_MAXIMUM] = U16,
        [PROP_TOPIC_ALIAS] = U16,
        [PROP_MAXIMUM_QOS] = BYTE,
        [PROP_RETAIN_AVAILABLE] = BYTE,
        [PROP_USER_PROPERTY] = PAIR,
        [PROP_MAXIMUM_PACKET_SIZE] = U32,
        [PROP_WILDCARD_AVAILABLE] = BYTE,
        [PROP_SUBSCRIPTION_IDS_AVAILABLE] = BYTE,
        [PROP_SHARED_AVAILABLE] = BYTE,
};

static bool take_number(struct slice *in, size_t bytes, uint32_t *ret)
{
	if (in->n < bytes)
		return false;
	uint32_t v = 0;
	for (size_t i = 0; i < bytes; i++)
		v = v << 8 | in->p[i];
	*in = slice_from(*in, bytes);
	*ret = v;
	return true;
}

/* At most four bytes, and no more of them than the value needs ([MQTT-1.5.5-1]). */
static bool take_varint(struct slice *in, uint32_t *ret)
{
	uint32_t v = 0;
	for (size_t i = 0; i < 4 && i < in->n; i++) {
		v |= (uint32_t)(in->p[i] & 0x7f) << (7 * i);
		if (in->p[i] & 0x80)
			continue;
		if (i > 0 && in->p[i] == 0)
			return false;
		*in = slice_from(*in, i + 1);
		*ret = v;
		return true;
	}
	return false;
}

static bool take_bytes(struct slice *in, struct slice *ret)
{
	uint32_t len;
	if (!take_number(in, 2, &len) || in->n < len)
		return false;
	*ret = slice_make(in->p, len);
	*in = slice_from(*in, len);
	return true;
}

static bool take_string(struct slice *in, struct slice *ret)
{
	return take_bytes(in, ret) && utf8_valid_mqtt(*ret);
}

static bool take_value(struct slice *in, enum prop_type type, struct prop *p)
{
	switch (type) {
	case BYTE: return take_number(in, 1, &p->number);
	case U16: return take_number(in, 2, &p->number);
	case U32: return take_number(in, 4, &p->number);
	case VARINT: return take_varint(in, &p->number);
	case STRING: return take_string(in, &p->value);
	case BINARY: return take_bytes(in, &p->value);
	case PAIR: return take_string(in, &p->name) && take_string(in, &p->value);
	case UNKNOWN: break;
	}
	return false;
}

int prop_next(struct slice *in, struct prop *ret)
{
	if (in->n == 0)
		return 0;
	/* The identifier is a variable byte integer, but all that exist are of one byte. */
	struct prop p = {.id = in->p[0]};
	if (p.id >= sizeof(types))
		return ERR_MALFORMED;
	struct slice rest = slice_from(*in, 1);
	if (!take_value(&rest, types[p.id], &p))
		return ERR_MALFORMED;
	p.raw = slice_make(in->p, in->n - rest.n);
	*in = rest;
	*ret = p;
	return 1;
}

static int put_number(struct buf *out, enum prop_id id, uint32_t v, unsigned bytes)
{
	uint8_t b[5] = {(uint8_t)id};
	for (unsigned i = 0; i < bytes; i++)
		b[1 + i] = (uint8_t)(v >> (8 * (bytes - 1 - i)));
	return buf_append(out, b, 1 + bytes);
}

int prop_put_byte(struct buf *out, enum prop_id id, uint8_t v)
{
	return put_number(out, id, v, 1);
}

int prop_put_u16(struct buf *out, enum prop_id id, uint16_t v)
{
	return put_number(out, id, v, 2);
}

int prop_put_u32(struct buf *out, enum prop_id id, uint32_t v)
{
	return put_number(out, id, v, 4);
}

int prop_put_varint(struct buf *out, enum prop_id id, uint32_t v)
{
	if (v > 268435455)
		return ERR_TOO_BIG;
	uint8_t b[5] = {(uint8_t)id};
	size_t n = 1;
	for (; v > 0x7f; v >>= 7)
		b[n++] = (uint8_t)(v | 0x80);
	b[n++] = (uint8_t)v;
	return buf_append(out, b, n);
}

static uint8_t *write_bytes(uint8_t *p, struct slice s)
{
	*p++ = (uint8_t)(s.n >> 8);
	*p++ = (uint8_t)s.n;
	if (s.n > 0)
		memcpy(p, s.p, s.n);
	return p + s.n;
}

int prop_put_string(struct buf *out, enum prop_id id, struct slice s)
{
	if (s.n > UINT16_MAX)
		return ERR_TOO_BIG;
	int r = buf_ensure(out, 3 + s.n);
	if (r < 0)
		return r;
	uint8_t *p = buf_reserve(out, 3 + s.n);
	*p = (uint8_t)id;
	write_bytes(p + 1, s);
	buf_added(out, 3 + s.n);
	return 0;
}

int prop_put_user(struct buf *out, struct slice name, struct slice value)
{
	if (name.n > UINT16_MAX || value.n > UINT16_MAX)
		return ERR_TOO_BIG;
	size_t len = 5 + name.n + value.n;
	int r = buf_ensure(out, len);
	if (r < 0)
		return r;
	uint8_t *p = buf_reserve(out, len);
	*p = PROP_USER_PROPERTY;
	write_bytes(write_bytes(p + 1, name), value);
	buf_added(out, len);
	return 0;
}
