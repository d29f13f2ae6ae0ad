/* The rules for properties that all packets share, and the travelling ones of a message. */
#include "broker/codec/read.h"
#include "broker/codec/scan.h"

/* Those whose value is 0 or 1. */
#define PROPS_FLAG                                                             \
	(PROP_BIT(PROP_PAYLOAD_FORMAT) | PROP_BIT(PROP_REQUEST_PROBLEM_INFO) | \
	        PROP_BIT(PROP_REQUEST_RESPONSE_INFO))
/* Those that must not be zero. */
#define PROPS_POSITIVE                                                         \
	(PROP_BIT(PROP_RECEIVE_MAXIMUM) | PROP_BIT(PROP_MAXIMUM_PACKET_SIZE) | \
	        PROP_BIT(PROP_SUBSCRIPTION_ID))

int prop_walk_start(struct prop_walk *w, struct slice *in)
{
	uint32_t n;
	size_t len;
	if (mqtt_varint_get(*in, &n, &len) != 1 || len != varint_size(n))
		return ERR_MALFORMED;
	struct slice rest = slice_from(*in, len);
	if (rest.n < n)
		return ERR_MALFORMED;
	w->rest = slice_make(rest.p, n);
	w->seen = 0;
	*in = slice_from(rest, n);
	return 0;
}

static int prop_check_value(const struct prop *p)
{
	uint64_t bit = PROP_BIT(p->id);
	if ((bit & PROPS_FLAG) && p->number > 1)
		return ERR_PROTOCOL;
	if ((bit & PROPS_POSITIVE) && p->number == 0)
		return ERR_PROTOCOL;
	/* The response topic is a topic name: [MQTT-3.3.2-14], [MQTT-4.7.3-1]. */
	if (p->id == PROP_RESPONSE_TOPIC && scan_topic_name(p->value) != 0)
		return ERR_PROTOCOL;
	return 0;
}

int prop_walk_next(struct prop_walk *w, struct prop *ret)
{
	int got = prop_next(&w->rest, ret);
	if (got <= 0)
		return got;
	/* prop_next knows no id past the last one of the standard, which is below 64. */
	uint64_t bit = PROP_BIT(ret->id);
	if (bit & w->from_server)
		return ERR_PROTOCOL;
	if (!(bit & w->allowed))
		return ERR_MALFORMED;
	if ((bit & w->seen) && ret->id != PROP_USER_PROPERTY)
		return ERR_PROTOCOL;
	w->seen |= bit;
	int err = prop_check_value(ret);
	return err ? err : 1;
}

int prop_walk_rest(struct prop_walk *w)
{
	struct prop p;
	int got;
	while ((got = prop_walk_next(w, &p)) > 0)
		;
	return got;
}

void prop_span_add(struct prop_span *s, const struct prop *p)
{
	if (!(PROP_BIT(p->id) & PROPS_TRAVEL))
		return;
	if (s->travelling == 0)
		s->props.p = p->raw.p;
	s->props.n = (size_t)(p->raw.p + p->raw.n - s->props.p);
	s->travelling += p->raw.n;
}

static int travelling_append(struct slice props, bool whole, struct buf *out)
{
	if (whole)
		return buf_append(out, props.p, props.n);
	struct prop p;
	while (prop_next(&props, &p) > 0) {
		int err = 0;
		if (PROP_BIT(p.id) & PROPS_TRAVEL)
			err = buf_append(out, p.raw.p, p.raw.n);
		if (err)
			return err;
	}
	return 0;
}

int mqtt_publish_travelling(const struct mqtt_publish *p, struct buf *out)
{
	return travelling_append(p->props, p->props_travel, out);
}

int mqtt_will_travelling(const struct mqtt_will *w, struct buf *out)
{
	return travelling_append(w->props, w->props_travel, out);
}
