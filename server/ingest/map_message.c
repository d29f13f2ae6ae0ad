#include "server/ingest/map_message.h"

#include <strings.h>

#include "server/base/clock.h"
#include "server/base/device_id.h"
#include "server/base/err.h"
#include "server/base/principal.h"
#include "server/base/props.h"
#include "server/base/utf8.h"

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

static bool header_is(struct slice name, const char *want)
{
	return name.n == strlen(want) && strncasecmp((const char *)name.p, want, name.n) == 0;
}

static int put_user(struct buf *props, struct slice name, struct slice value, const char **ret_why)
{
	if (utf8_valid_mqtt(name) && utf8_valid_mqtt(value))
		return prop_put_user(props, name, value);
	*ret_why = "a property is not UTF-8";
	return ERR_INVALID;
}

static int put_header(struct buf *props, const struct http_header *h, const char **ret_why)
{
	const struct slice app = SLICE_LIT("iothub-app-");
	if (h->name.n >= app.n && strncasecmp((const char *)h->name.p, "iothub-app-", app.n) == 0)
		return put_user(props, slice_from(h->name, app.n), h->value, ret_why);
	for (size_t i = 0; i < ARRAY_LEN(system_headers); i++)
		if (header_is(h->name, system_headers[i].header))
			return put_user(
			        props, slice_str(system_headers[i].property), h->value, ret_why);
	return 0;
}

/* Azure's own header wins over HTTP's, which a client library may have set by itself. */
static int one_of(const struct http_request *r, const char *azure, const char *http,
        struct slice *ret, const char **ret_why)
{
	bool many_azure = false, many_http = false;
	*ret = http_header_get(r, azure, &many_azure);
	if (!ret->p)
		*ret = http_header_get(r, http, &many_http);
	if (!many_azure && !many_http && (!ret->p || utf8_valid_mqtt(*ret)))
		return 0;
	*ret_why = "content type or encoding is not one value in UTF-8";
	return ERR_INVALID;
}

int ingest_map_properties(const struct http_request *r, struct buf *props, const char **ret_why)
{
	struct slice type = {0}, encoding = {0};
	int err = one_of(r, "iothub-contenttype", "Content-Type", &type, ret_why);
	if (err == 0)
		err = one_of(r, "iothub-contentencoding", "Content-Encoding", &encoding, ret_why);
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
	char topic[DEVICE_ID_MAX + 64];
	int n = snprintf(topic, sizeof(topic), "devices/%s/messages/events/", id);
	struct msg *m = msg_new(slice_make(topic, (size_t)n), buf_slice(&props), r->body);
	if (!m)
		return ERR_NOMEM;
	m->qos = 1;
	m->received_us = clock_wall_us();
	*ret = m;
	return 0;
}
