#include "server/ingest/map_command.h"

#include <strings.h>

#include "server/base/clock.h"
#include "server/base/err.h"
#include "server/base/principal.h"
#include "server/base/props.h"
#include "server/base/utf8.h"
#include "server/ingest/headers.h"

#define TOPIC_MAX ((size_t)65535)
#define PROPS_MAX ((size_t)128 << 10) /* a head is at most 64 KiB */

struct command {
	const struct http_request *r;
	const char *id, *why;
	bool expires;
	int64_t expires_us; /* wall clock */
	size_t bag_start;   /* in topic */
	struct buf topic, props;
};

static int refuse(struct command *c, int err, const char *why)
{
	c->why = why;
	return err;
}

/* ---- the bag ---- */

static bool stands_for_itself(uint8_t byte)
{
	return (byte >= '0' && byte <= '9') || (byte >= 'A' && byte <= 'Z') ||
	        (byte >= 'a' && byte <= 'z') || (byte && strchr("-._~", byte));
}

static int put_encoded(struct buf *out, struct slice text)
{
	static const char digits[] = "0123456789ABCDEF";
	for (size_t i = 0; i < text.n; i++) {
		uint8_t byte = text.p[i];
		const char escape[3] = {'%', digits[byte >> 4], digits[byte & 15]};
		int r = stands_for_itself(byte) ? buf_append_byte(out, byte)
		                                : buf_append(out, escape, sizeof(escape));
		if (r < 0)
			return r;
	}
	return 0;
}

static int put_pair(struct command *c, struct slice name, struct slice value)
{
	int r = 0;
	if (buf_len(&c->topic) > c->bag_start)
		r = buf_append_byte(&c->topic, '&');
	if (r == 0)
		r = put_encoded(&c->topic, name);
	if (r == 0)
		r = buf_append_byte(&c->topic, '=');
	if (r == 0)
		r = put_encoded(&c->topic, value);
	return r == ERR_TOO_BIG ? refuse(c, r, "the properties are too long for a topic") : r;
}

/* ---- system properties ---- */

static int read_to(struct command *c, struct slice sent)
{
	char text[sizeof("/devices//messages/deviceBound") + DEVICE_ID_MAX];
	int n = snprintf(text, sizeof(text), "/devices/%s/messages/deviceBound", c->id);
	return put_pair(c, SLICE_LIT("$.to"), sent.p ? sent : slice_make(text, (size_t)n));
}

static int read_expiry(struct command *c, struct slice sent)
{
	char text[CLOCK_RFC3339_LEN];
	if (!sent.p)
		return 0;
	if (clock_parse_rfc3339((const char *)sent.p, sent.n, &c->expires_us) < 0)
		return refuse(c, ERR_INVALID, "iothub-expiry is not an RFC 3339 time");
	if (c->expires_us <= clock_wall_us())
		return refuse(c, ERR_INVALID, "iothub-expiry has passed");
	c->expires = true;
	return put_pair(c, SLICE_LIT("$.exp"), slice_str(clock_rfc3339(c->expires_us, text)));
}

static int read_correlation(struct command *c, struct slice sent)
{
	int r = sent.p ? put_pair(c, SLICE_LIT("$.cid"), sent) : 0;
	return r == 0 && sent.n > 0 ? prop_put_string(&c->props, PROP_CORRELATION_DATA, sent) : r;
}

static int read_type(struct command *c, struct slice sent)
{
	int r = sent.p ? put_pair(c, SLICE_LIT("$.ct"), sent) : 0;
	return r == 0 && sent.n > 0 ? prop_put_string(&c->props, PROP_CONTENT_TYPE, sent) : r;
}

static int read_ack(struct command *c, struct slice sent)
{
	static const char *const known[] = {"none", "positive", "negative", "full"};
	for (size_t i = 0; i < ARRAY_LEN(known); i++)
		if (sent.n == strlen(known[i]) &&
		        strncasecmp((const char *)sent.p, known[i], sent.n) == 0)
			return put_pair(c, SLICE_LIT("iothub-ack"), slice_str(known[i]));
	return sent.p ? refuse(c, ERR_INVALID, "iothub-ack is not none, positive, negative or full")
	              : 0;
}

/* In the order in which Azure's hub writes them. A row with read decides for itself, sent or not.
 */
static const struct {
	const char *header, *http, *key;
	int (*read)(struct command *c, struct slice sent);
} system_headers[] = {
        {"IoTHub-MessageId", NULL, "$.mid", NULL},
        {"IoTHub-Expiry", NULL, "$.exp", read_expiry},
        {"IoTHub-To", NULL, "$.to", read_to},
        {"IoTHub-CorrelationId", NULL, "$.cid", read_correlation},
        {"IoTHub-UserId", NULL, "$.uid", NULL},
        {"iothub-contenttype", "Content-Type", "$.ct", read_type},
        {"iothub-contentencoding", "Content-Encoding", "$.ce", NULL},
        {"IoTHub-Ack", NULL, "iothub-ack", read_ack},
};

static int map_system(struct command *c)
{
	for (size_t i = 0; i < ARRAY_LEN(system_headers); i++) {
		struct slice value;
		int r = ingest_header_one(
		        c->r, system_headers[i].header, system_headers[i].http, &value, &c->why);
		if (r == 0 && system_headers[i].read)
			r = system_headers[i].read(c, value);
		else if (r == 0 && value.p)
			r = put_pair(c, slice_str(system_headers[i].key), value);
		if (r < 0)
			return r;
	}
	return 0;
}

/* ---- application properties ---- */

static int map_application(struct command *c)
{
	for (unsigned i = 0; i < c->r->n_headers; i++) {
		const struct http_header *h = &c->r->headers[i];
		struct slice name;
		if (!ingest_header_app(h, &name))
			continue;
		if (name.n == 0 || (name.n >= 2 && memcmp(name.p, "$.", 2) == 0))
			return refuse(c, ERR_INVALID,
			        "a property has no name, or one that the hub gives");
		if (!utf8_valid_mqtt(name) || !utf8_valid_mqtt(h->value))
			return refuse(c, ERR_INVALID, "a property is not UTF-8");
		int r = put_pair(c, name, h->value);
		if (r == 0)
			r = prop_put_user(&c->props, name, h->value);
		if (r < 0)
			return r;
	}
	return 0;
}

/* ---- the message ---- */

static int map(struct command *c, struct msg **ret)
{
	int r = buf_printf(&c->topic, "devices/%s/messages/devicebound/", c->id);
	c->bag_start = buf_len(&c->topic);
	if (r == 0)
		r = map_system(c);
	if (r == 0)
		r = map_application(c);
	if (r < 0)
		return r;
	struct msg *m = msg_new(buf_slice(&c->topic), buf_slice(&c->props), c->r->body);
	if (!m)
		return ERR_NOMEM;
	m->qos = 1;
	m->received_us = clock_wall_us();
	m->expires = c->expires;
	if (c->expires && c->expires_us > m->received_us)
		m->expires_ms = clock_ms() + (uint64_t)(c->expires_us - m->received_us) / 1000;
	*ret = m;
	return 0;
}

int ingest_map_command(
        const struct http_request *r, const char *id, struct msg **ret, const char **ret_why)
{
	struct command c = {.r = r, .id = id};
	buf_init(&c.topic, TOPIC_MAX);
	buf_init(&c.props, PROPS_MAX);
	int err = map(&c, ret);
	buf_free(&c.topic);
	buf_free(&c.props);
	if (err < 0)
		*ret_why = c.why;
	return err;
}
