/* SUBSCRIBE and UNSUBSCRIBE: sections 3.8 and 3.10. */
#include "broker/codec/read.h"

enum subscribe_option {
	OPTION_QOS = 0x03,
	OPTION_NO_LOCAL = 0x04,
	OPTION_RETAIN_AS_PUBLISHED = 0x08,
	OPTION_RETAIN_HANDLING = 0x30,
	OPTION_RESERVED = 0xC0,
};

static int options_check(uint8_t options, struct slice filter, enum mqtt_version v)
{
	if (v != MQTT_V5) /* [MQTT-3-8.3-4] of 3.1.1 */
		return options > 2 ? ERR_MALFORMED : 0;
	if (options & OPTION_RESERVED)
		return ERR_MALFORMED; /* [MQTT-3.8.3-5] */
	if ((options & OPTION_QOS) == 3)
		return ERR_PROTOCOL;
	if ((options & OPTION_RETAIN_HANDLING) == OPTION_RETAIN_HANDLING)
		return ERR_PROTOCOL;
	if ((options & OPTION_NO_LOCAL) && slice_has_prefix(filter, SLICE_LIT("$share/")))
		return ERR_PROTOCOL; /* [MQTT-3.8.3-4] */
	return 0;
}

/* What a session's own limits and rights say of a filter is answered in SUBACK; one that can be no
 * filter at all ends the connection. */
static int filter_check(enum mqtt_type type, struct slice filter)
{
	struct slice share = SLICE_LIT("$share/");
	if (filter.n == 0)
		return ERR_MALFORMED; /* [MQTT-4.7.3-1] */
	if (type != MQTT_SUBSCRIBE || !slice_has_prefix(filter, share))
		return 0;
	filter = slice_from(filter, share.n);
	const uint8_t *slash = memchr(filter.p, '/', filter.n);
	/* [MQTT-4.8.2-1], [MQTT-4.8.2-2]: a name, a slash and a filter behind it */
	return slash && slash > filter.p && slash + 1 < filter.p + filter.n ? 0 : ERR_PROTOCOL;
}

/* Checks all filters and counts them. */
static int filters_check(
        enum mqtt_type type, enum mqtt_version v, struct slice in, unsigned *ret_count)
{
	unsigned count = 0;
	while (in.n > 0) {
		struct slice filter;
		uint8_t options;
		if (!read_name(&in, &filter))
			return ERR_MALFORMED; /* [MQTT-3.8.3-1], [MQTT-3.10.3-1] */
		int err = filter_check(type, filter);
		if (err)
			return err;
		if (type == MQTT_SUBSCRIBE) {
			if (!read_byte(&in, &options))
				return ERR_MALFORMED;
			err = options_check(options, filter, v);
			if (err)
				return err;
		}
		count++;
	}
	if (count == 0)
		return ERR_PROTOCOL; /* [MQTT-3.8.3-2], [MQTT-3.10.3-2] */
	*ret_count = count;
	return 0;
}

static int subscribe_props(struct slice *in, uint64_t allowed, struct mqtt_subscribe *s)
{
	struct prop_walk walk = {.allowed = allowed};
	struct prop p;
	int err = prop_walk_start(&walk, in);
	if (err)
		return err;
	while ((err = prop_walk_next(&walk, &p)) > 0) {
		if (p.id == PROP_SUBSCRIPTION_ID)
			s->subscription_id = p.number;
	}
	return err;
}

static int filters_decode(const struct mqtt_frame *f, enum mqtt_version v, uint64_t allowed,
        struct mqtt_subscribe *ret)
{
	struct slice in = f->body;
	struct mqtt_subscribe s = {0};
	if (v == MQTT_V5 && !frame_is_minimal(f))
		return ERR_MALFORMED;
	int err = read_packet_id(&in, &s.packet_id);
	if (err)
		return err;
	if (v == MQTT_V5 && (err = subscribe_props(&in, allowed, &s)) != 0)
		return err;
	s.rest = in;
	err = filters_check(f->type, v, in, &s.count);
	if (err)
		return err;
	*ret = s;
	return 0;
}

int mqtt_decode_subscribe(
        const struct mqtt_frame *f, enum mqtt_version v, struct mqtt_subscribe *ret)
{
	uint64_t allowed = PROP_BIT(PROP_SUBSCRIPTION_ID) | PROP_BIT(PROP_USER_PROPERTY);
	return filters_decode(f, v, allowed, ret);
}

int mqtt_decode_unsubscribe(
        const struct mqtt_frame *f, enum mqtt_version v, struct mqtt_subscribe *ret)
{
	return filters_decode(f, v, PROP_BIT(PROP_USER_PROPERTY), ret);
}

void mqtt_next_filter(enum mqtt_type type, struct slice *rest, struct mqtt_filter *ret)
{
	struct mqtt_filter filter = {0};
	uint8_t options = 0;
	if (!read_binary(rest, &filter.filter) ||
	        (type == MQTT_SUBSCRIBE && !read_byte(rest, &options)))
		rest->n = 0; /* only where the decoder was not asked first */
	filter.qos = options & OPTION_QOS;
	filter.no_local = options & OPTION_NO_LOCAL;
	filter.retain_as_published = options & OPTION_RETAIN_AS_PUBLISHED;
	filter.retain_handling = (uint8_t)((options & OPTION_RETAIN_HANDLING) >> 4);
	*ret = filter;
}
