#include "server/ingest/map_message.h"

#include "server/base/clock.h"
#include "server/base/device_id.h"
#include "server/base/err.h"
#include "server/base/principal.h"
#include "server/base/props.h"
#include "server/base/utf8.h"
#include "server/ingest/headers.h"

#define PROPS_MAX ((size_t)128 << 10) /* a head is at most 64 KiB */

/* Headers with a meaning of their own, as Azure's SDKs send them. */
static const struct {
	const char *header, *property;
} system_headers[] = {
        {"IoTHub-MessageId", "$.mid"},
        {"IoTHub-CorrelationId", "$.cid"},
        {"IoTHub-UserId", "$.uid"},
        {"IoTHub-To", "$.to"},
        {"IoTHub-Expiry", "$.exp"},
        {"IoTHub-InterfaceId", "$.ifid"},
        {"iothub-interface-id", "$.ifid"},
};

static int put_user(struct buf *props, struct slice name, struct slice value, const char **ret_why)
{
	if (utf8_valid_mqtt(name) && utf8_valid_mqtt(value))
		return prop_put_user(props, name, value);
	*ret_why = "a property is not UTF-8";
	return ERR_INVALID;
}

static int put_header(struct buf *props, const struct http_header *h, const char **ret_why)
{
	struct slice name;
	if (ingest_header_app(h, &name))
		return put_user(props, name, h->value, ret_why);
	for (size_t i = 0; i < ARRAY_LEN(system_headers); i++)
		if (ingest_header_is(h->name, system_headers[i].header))
			return put_user(
			        props, slice_str(system_headers[i].property), h->value, ret_why);
	return 0;
}

int ingest_map_properties(const struct http_request *r, struct buf *props, const char **ret_why)
{
	struct slice type = {0}, encoding = {0};
	int err = ingest_header_one(r, "iothub-contenttype", "Content-Type", &type, ret_why);
	if (err == 0)
		err = ingest_header_one(
		        r, "iothub-contentencoding", "Content-Encoding", &encoding, ret_why);
	if (err == 0 && type.n > 0)
		err = prop_put_string(props, PROP_CONTENT_TYPE, type);
	for (unsigned i = 0; err == 0 && i < r->n_headers; i++)
		err = put_header(props, &r->headers[i], ret_why);
	if (err == 0 && encoding.n > 0)
		err = prop_put_user(props, SLICE_LIT("$.ce"), encoding);
	return err;
}

int ingest_map_message(
        const struct http_request *r, const char *id, struct msg **ret, const char **ret_why)
{
	struct buf _cleanup_(buf_free) props;
	buf_init(&props, PROPS_MAX);
	int err = ingest_map_properties(r, &props, ret_why);
	if (err < 0)
		return err;
	char topic[MODULE_ID_MAX + 64];
	const char *slash = strchr(id, '/');
	int n = snprintf(topic, sizeof(topic), "devices/%.*s%s%s/messages/events/",
	        (int)strcspn(id, "/"), id, slash ? "/modules" : "", slash ? slash : "");
	struct msg *m = msg_new(slice_make(topic, (size_t)n), buf_slice(&props), r->body);
	if (!m)
		return ERR_NOMEM;
	m->qos = 1;
	m->received_us = clock_wall_us();
	*ret = m;
	return 0;
}
