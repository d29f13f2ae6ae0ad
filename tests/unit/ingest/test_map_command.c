#include "tests/unit/base/unit.h"

#include "server/base/clock.h"
#include "server/base/err.h"
#include "server/base/props.h"
#include "server/ingest/map_command.h"
#include "tests/unit/api/request.h"

#define TOPIC "devices/d/messages/devicebound/"
#define TO "%24.to=%2Fdevices%2Fd%2Fmessages%2FdeviceBound"

/* The properties as text: "03=…;" for a property with a value, "name=value;" for user properties.
 */
static void describe(struct slice props, char *out, size_t size)
{
	struct prop p;
	out[0] = '\0';
	while (prop_next(&props, &p) == 1) {
		size_t n = strlen(out);
		if (p.id == PROP_USER_PROPERTY)
			snprintf(out + n, size - n, "%.*s=%.*s;", SLICE_ARG(p.name),
			        SLICE_ARG(p.value));
		else
			snprintf(out + n, size - n, "%02x=%.*s;", p.id, SLICE_ARG(p.value));
	}
	ck_assert_uint_eq(props.n, 0);
}

static struct http_request request;

static void begin(void)
{
	request_init(&request, "POST", "/devices/d/messages/deviceBound?api-version=2021-04-12");
}

static struct msg *map(void)
{
	struct msg *m = NULL;
	const char *why = NULL;
	ck_assert_int_eq(ingest_map_command(&request, "d", &m, &why), 0);
	ck_assert_ptr_nonnull(m);
	return m;
}

static void refused(int err)
{
	struct msg *m = NULL;
	const char *why = NULL;
	ck_assert_int_eq(ingest_map_command(&request, "d", &m, &why), err);
	ck_assert_ptr_null(m);
	ck_assert_ptr_nonnull(why);
}

static void refuse(const char *header, const char *value)
{
	begin();
	request_header(&request, header, value);
	refused(ERR_INVALID);
}

START_TEST(nothing_but_a_body)
{
	begin();
	request.body = SLICE_LIT("\0\x01");
	struct msg *m = map();
	assert_slice(msg_topic(m), TOPIC TO);
	ck_assert(slice_eq(msg_payload(m), request.body));
	ck_assert_uint_eq(msg_props(m).n, 0);
	ck_assert_uint_eq(m->qos, 1);
	ck_assert(!m->retain && !m->expires && m->device_key == 0);
	ck_assert_int_gt(m->received_us, 0);
	msg_unref(m);
}
END_TEST

START_TEST(the_bag_is_in_azures_order)
{
	char props[256];
	begin();
	request_header(&request, "Host", "localhost");
	request_header(&request, "Authorization", "SharedAccessSignature secret");
	request_header(&request, "iothub-app-key 1", "a/b&c=d+e%");
	request_header(&request, "iothub-ack", "Full");
	request_header(&request, "content-encoding", "utf-8");
	request_header(&request, "Content-Type", "text/plain; charset=UTF-8");
	request_header(&request, "iothub-userid", "u");
	request_header(&request, "IoTHub-CorrelationId", "c#1");
	request_header(&request, "iothub-to", "/x");
	request_header(&request, "iothub-messageid", "m-1_~.");
	request_header(&request, "IoTHub-App-\xc3\xa4", "");
	struct msg *m = map();
	assert_slice(msg_topic(m),
	        TOPIC "%24.mid=m-1_~.&%24.to=%2Fx&%24.cid=c%231&%24.uid=u"
	              "&%24.ct=text%2Fplain%3B%20charset%3DUTF-8&%24.ce=utf-8&iothub-ack=full"
	              "&key%201=a%2Fb%26c%3Dd%2Be%25&%C3%A4=");
	describe(msg_props(m), props, sizeof(props));
	ck_assert_str_eq(props, "09=c#1;03=text/plain; charset=UTF-8;key 1=a/b&c=d+e%;\xc3\xa4=;");
	msg_unref(m);
}
END_TEST

START_TEST(an_encoding_alone_is_no_type)
{
	begin();
	request_header(&request, "Content-Type", "a/b");
	request_header(&request, "iothub-contenttype", "application/json");
	request_header(&request, "iothub-contentencoding", "utf-8");
	struct msg *m = map();
	assert_slice(msg_topic(m), TOPIC TO "&%24.ct=application%2Fjson&%24.ce=utf-8");
	msg_unref(m);
	begin();
	request_header(&request, "Content-Encoding", "gzip");
	m = map();
	assert_slice(msg_topic(m), TOPIC TO "&%24.ce=gzip");
	ck_assert_uint_eq(msg_props(m).n, 0);
	msg_unref(m);
}
END_TEST

START_TEST(an_expiry_is_the_messages)
{
	char text[CLOCK_RFC3339_LEN], want[256];
	clock_rfc3339(clock_wall_us() + 3600 * INT64_C(1000000), text);
	begin();
	request_header(&request, "IoTHub-Expiry", text);
	struct msg *m = map();
	ck_assert(m->expires);
	ck_assert_uint_le(m->expires_ms, clock_ms() + 3600000);
	ck_assert_uint_ge(m->expires_ms, clock_ms() + 3590000);
	/* The colons of the time are escaped. */
	snprintf(want, sizeof(want), "%s%.13s%%3A%.2s%%3A%s%s", TOPIC "%24.exp=", text, text + 14,
	        text + 17, "&" TO);
	assert_slice(msg_topic(m), want);
	msg_unref(m);
	refuse("iothub-expiry", "tomorrow");
	refuse("iothub-expiry", "");
	refuse("iothub-expiry", "2020-01-01T00:00:00Z");
}
END_TEST

START_TEST(what_no_device_could_read_is_refused)
{
	refuse("iothub-app-a", "\xff");
	refuse("iothub-app-\xc3", "v");
	refuse("iothub-app-", "nameless");
	refuse("iothub-app-$.mid", "forged");
	refuse("Content-Type", "\xed\xa0\x80");
	refuse("iothub-messageid", "\xf8");
	refuse("iothub-ack", "maybe");
	begin();
	request_header(&request, "iothub-messageid", "1");
	request_header(&request, "IOTHUB-MESSAGEID", "2");
	refused(ERR_INVALID);
}
END_TEST

START_TEST(a_bag_that_fills_the_topic)
{
	static char value[65536 / 3];
	begin();
	memset(value, '/', sizeof(value) - 1);
	request_header(&request, "iothub-app-a", value);
	refused(ERR_TOO_BIG);
	/* "&a=" and three bytes for each slash: one slash more would be too much. */
	value[(65535 - strlen(TOPIC TO "&a=")) / 3] = '\0';
	begin();
	request_header(&request, "iothub-app-a", value);
	struct msg *m = map();
	ck_assert_uint_gt(m->topic_len, 65530);
	msg_unref(m);
}
END_TEST

UNIT_MAIN("ingest command", nothing_but_a_body, the_bag_is_in_azures_order,
        an_encoding_alone_is_no_type, an_expiry_is_the_messages,
        what_no_device_could_read_is_refused, a_bag_that_fills_the_topic)
