#include "server/api/item.h"

#include <inttypes.h>

#include "server/api/bag.h"
#include "server/base/clock.h"
#include "server/base/crypto.h"
#include "server/base/err.h"
#include "server/base/json.h"

static int write_member(struct buf *out, const char *name, struct slice text)
{
	int r = buf_printf(out, ",\"%s\":", name);
	if (r < 0)
		return r;
	return text.p ? json_append_string(out, text) : buf_append_str(out, "null");
}

static int write_properties(struct buf *out, const struct api_bag *bag)
{
	const char *comma = "";
	int r = buf_append_str(out, ",\"properties\":{");
	for (size_t i = 0; r == 0 && i < bag->n; i++) {
		const struct api_bag_entry *e = &bag->entries[i];
		if (e->hidden)
			continue;
		r = buf_append_str(out, comma);
		if (r == 0)
			r = json_append_string(out, e->name);
		if (r == 0)
			r = buf_append_byte(out, ':');
		if (r == 0)
			r = e->null ? buf_append_str(out, "null")
			            : json_append_string(out, e->value);
		comma = ",";
	}
	return r == 0 ? buf_append_byte(out, '}') : r;
}

static int write_base64(struct buf *out, struct slice payload)
{
	int r = buf_append_str(out, ",\"payloadBase64\":\"");
	/* One byte more than is added: the encoder ends with a NUL. */
	size_t size = (payload.n + 2) / 3 * 4 + 1;
	if (r == 0)
		r = buf_ensure(out, size);
	if (r < 0)
		return r;
	buf_added(out, crypto_base64_encode(payload, (char *)buf_reserve(out, size)));
	return buf_append_byte(out, '"');
}

static int write_payload(struct buf *out, struct slice payload)
{
	if (!json_is_valid(payload))
		return write_base64(out, payload);
	int r = buf_append_str(out, ",\"payload\":");
	return r == 0 ? buf_append(out, payload.p, payload.n) : r;
}

static int write_message(
        struct buf *out, const struct telemetry_item *it, const struct api_bag *bag)
{
	int r = write_member(out, "topic", it->topic.p ? it->topic : slice_str(""));
	if (r == 0)
		r = buf_printf(out, ",\"qos\":%u", it->qos);
	if (r == 0 && it->module.n > 0)
		r = write_member(out, "moduleId", it->module);
	if (r == 0)
		r = write_member(out, "contentType", bag->content_type);
	if (r == 0)
		r = write_member(out, "contentEncoding", bag->content_encoding);
	if (r == 0)
		r = write_properties(out, bag);
	return r == 0 ? write_payload(out, it->payload) : r;
}

static int write_age(struct buf *out, int64_t age_us)
{
	if (age_us == API_AGE_NONE)
		return 0;
	if (age_us < 0)
		age_us = 0; /* the clock was set back */
	return buf_printf(out, ",\"ageSeconds\":%" PRId64 ".%03" PRId64, age_us / 1000000,
	        age_us % 1000000 / 1000);
}

int api_item_write(struct buf *out, const struct telemetry_item *it, int64_t age_us)
{
	char received[CLOCK_RFC3339_LEN];
	int r = buf_printf(out, "{\"seq\":%" PRId64 ",\"receivedAt\":\"%s\"", it->seq,
	        clock_rfc3339(it->received_us, received));
	if (r == 0 && it->corrupt) {
		r = buf_append_str(out, ",\"error\":\"integrity check failed\"");
	} else if (r == 0) {
		struct api_bag _cleanup_(api_bag_done) bag;
		r = api_bag_read(&bag, it->topic, it->props);
		if (r == 0)
			r = write_message(out, it, &bag);
	}
	if (r == 0)
		r = write_age(out, age_us);
	return r == 0 ? buf_append_byte(out, '}') : r;
}
