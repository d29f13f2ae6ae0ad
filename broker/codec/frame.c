/* Packets out of a stream: the fixed header, MQTT 5.0 section 2.1, and variable byte integers. */
#include "broker/codec/mqtt.h"
#include "server/base/err.h"

#define REMAINING_LENGTH_BYTES 4

int mqtt_varint_get(struct slice in, uint32_t *ret, size_t *ret_len)
{
	uint32_t v = 0;
	for (unsigned i = 0; i < REMAINING_LENGTH_BYTES; i++) {
		if (i >= in.n)
			return 0;
		v |= (uint32_t)(in.p[i] & 0x7F) << (7 * i);
		if (!(in.p[i] & 0x80)) {
			*ret = v;
			*ret_len = i + 1;
			return 1;
		}
	}
	return ERR_MALFORMED;
}

size_t mqtt_varint_put(uint8_t out[static 4], uint32_t v)
{
	size_t n = 0;
	while (v > 0x7F && n < REMAINING_LENGTH_BYTES - 1) {
		out[n++] = (uint8_t)(v | 0x80);
		v >>= 7;
	}
	out[n++] = (uint8_t)(v & 0x7F);
	return n;
}

/* [MQTT-2.1.3-1], Table 2-2. PUBLISH has flags of its own; type 0 is nobody's packet and the
 * broker's to refuse. */
static bool flags_allowed(enum mqtt_type type, uint8_t flags)
{
	switch (type) {
	case MQTT_PUBLISH: return true;
	case MQTT_PUBREL:
	case MQTT_SUBSCRIBE:
	case MQTT_UNSUBSCRIBE: return flags == 0x02;
	default: return flags == 0 || type == 0;
	}
}

int mqtt_frame_next(struct slice in, size_t max_size, struct mqtt_frame *ret, size_t *ret_need)
{
	if (in.n < 1) {
		*ret_need = 2;
		return 0;
	}
	enum mqtt_type type = in.p[0] >> 4;
	uint8_t flags = in.p[0] & 0x0F;
	if (!flags_allowed(type, flags))
		return ERR_MALFORMED;
	uint32_t remaining;
	size_t len;
	int got = mqtt_varint_get(slice_from(in, 1), &remaining, &len);
	if (got < 0)
		return got;
	if (got == 0) {
		*ret_need = in.n + 1;
		return 0;
	}
	if (remaining > 0 && (type == MQTT_PINGREQ || type == MQTT_PINGRESP))
		return ERR_MALFORMED;
	size_t size = 1 + len + remaining;
	if (size > max_size)
		return ERR_TOO_BIG;
	if (in.n < size) {
		*ret_need = size;
		return 0;
	}
	*ret = (struct mqtt_frame){type, flags, slice_make(in.p + 1 + len, remaining), size};
	return 1;
}
