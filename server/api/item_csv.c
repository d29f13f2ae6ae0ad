#include "server/api/item_csv.h"

#include <inttypes.h>

#include "server/api/bag.h"
#include "server/base/clock.h"
#include "server/base/crypto.h"
#include "server/base/err.h"
#include "server/base/json.h"

int api_item_csv_head(struct buf *out)
{
	return buf_append_str(out,
	        "deviceId,seq,receivedAt,moduleId,topic,qos,contentType,contentEncoding,"
	        "properties,payload,payloadBase64,error\r\n");
}

static bool needs_quotes(struct slice text)
{
	for (size_t i = 0; i < text.n; i++)
		if (text.p[i] == ',' || text.p[i] == '"' || text.p[i] == '\n' || text.p[i] == '\r')
			return true;
	return false;
}

/* A field and the comma behind it. */
static int field(struct buf *out, struct slice text)
{
	if (!needs_quotes(text)) {
		int r = buf_append(out, text.p, text.n);
		return r == 0 ? buf_append_byte(out, ',') : r;
	}
	int r = buf_append_byte(out, '"');
	while (r == 0 && text.n > 0) {
		const uint8_t *quote = memchr(text.p, '"', text.n);
		size_t n = quote ? (size_t)(quote - text.p) + 1 : text.n;
		r = buf_append(out, text.p, n);
		if (r == 0 && quote)
			r = buf_append_byte(out, '"');
		text = slice_from(text, n);
	}
	return r == 0 ? buf_append_str(out, "\",") : r;
}

static int properties(struct buf *out, const struct api_bag *bag)
{
	struct buf _cleanup_(buf_free) text;
	buf_init(&text, (size_t)4 << 20);
	int r = api_item_properties(&text, bag);
	return r == 0 ? field(out, buf_slice(&text)) : r;
}

static int payload(struct buf *out, struct slice bytes)
{
	if (json_is_valid(bytes)) {
		int r = field(out, bytes);
		return r == 0 ? buf_append_byte(out, ',') : r;
	}
	/* One byte more than is added: the encoder ends with a NUL. */
	size_t size = (bytes.n + 2) / 3 * 4 + 1;
	int r = buf_append_byte(out, ',');
	if (r == 0)
		r = buf_ensure(out, size);
	if (r < 0)
		return r;
	buf_added(out, crypto_base64_encode(bytes, (char *)buf_reserve(out, size)));
	return buf_append_byte(out, ',');
}

static int message(struct buf *out, const struct telemetry_item *it, const struct api_bag *bag)
{
	int r = field(out, it->module);
	if (r == 0)
		r = field(out, it->topic);
	if (r == 0)
		r = buf_printf(out, "%u,", it->qos);
	if (r == 0)
		r = field(out, bag->content_type);
	if (r == 0)
		r = field(out, bag->content_encoding);
	if (r == 0)
		r = properties(out, bag);
	return r == 0 ? payload(out, it->payload) : r;
}

int api_item_csv(struct buf *out, const struct telemetry_item *it)
{
	char received[CLOCK_RFC3339_LEN];
	int r = field(out, it->device);
	if (r == 0)
		r = buf_printf(
		        out, "%" PRId64 ",%s,", it->seq, clock_rfc3339(it->received_us, received));
	if (r == 0 && it->corrupt)
		return buf_append_str(out, ",,,,,,,,integrity check failed\r\n");
	if (r == 0) {
		struct api_bag _cleanup_(api_bag_done) bag;
		r = api_bag_read(&bag, it->topic, it->props);
		if (r == 0)
			r = message(out, it, &bag);
	}
	return r == 0 ? buf_append_str(out, "\r\n") : r;
}
