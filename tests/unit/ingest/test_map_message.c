#include "tests/unit/base/unit.h"

#include "server/base/err.h"
#include "server/base/props.h"
#include "server/ingest/map_message.h"
#include "tests/unit/api/request.h"

/* The properties as text: "type=…;" for the content type, "name=value;" for user properties. */
static void describe(struct slice props, char *out, size_t size)
{
	struct prop p;
	out[0] = '\0';
	while (prop_next(&props, &p) == 1) {
		size_t n = strlen(out);
		if (p.id == PROP_CONTENT_TYPE)
			snprintf(out + n, size - n, "type=%.*s;", SLICE_ARG(p.value));
		else
			snprintf(out + n, size - n, "%.*s=%.*s;", SLICE_ARG(p.name),
			        SLICE_ARG(p.value));
	}
	ck_assert_uint_eq(props.n, 0);
}

static void expect(const struct http_request *r, const char *want)
{
	struct buf props;
	const char *why = NULL;
	char got[1024];
	buf_init(&props, 4096);
	ck_assert_int_eq(ingest_map_properties(r, &props, &why), 0);
	describe(buf_slice(&props), got, sizeof(got));
	ck_assert_str_eq(got, want);
	buf_free(&props);
}

static void refuse(const char *header, const char *value)
{
	struct http_request r;
	struct buf props;
	const char *why = NULL;
	buf_init(&props, 4096);
	request_init(&r, "POST", "/devices/d/messages/events");
	request_header(&r, header, value);
	ck_assert_int_eq(ingest_map_properties(&r, &props, &why), ERR_INVALID);
	ck_assert_ptr_nonnull(why);
	buf_free(&props);
}

START_TEST(headers_become_properties)
{
	struct http_request r;
	request_init(&r, "POST", "/devices/d/messages/events");
	expect(&r, "");
	request_header(&r, "Host", "localhost");
	request_header(&r, "Content-Type", "application/json; charset=utf-8");
	request_header(&r, "content-encoding", "gzip");
	request_header(&r, "iothub-app-Temp", "21.5");
	request_header(&r, "IoTHub-App-b", "");
	request_header(&r, "iothub-app-", "nameless");
	request_header(&r, "IoTHub-MessageId", "m-1");
	request_header(&r, "iothub-correlationid", "c-1");
	request_header(&r, "iothub-userid", "u");
	request_header(&r, "iothub-to", "/devices/d/messages/events");
	request_header(&r, "iothub-expiry", "2026-11-22T00:00:00Z");
	request_header(&r, "iothub-application", "no property");
	request_header(&r, "Authorization", "SharedAccessSignature secret");
	expect(&r,
	        "type=application/json; charset=utf-8;Temp=21.5;b=;=nameless;$.mid=m-1;"
	        "$.cid=c-1;$.uid=u;$.to=/devices/d/messages/events;"
	        "$.exp=2026-11-22T00:00:00Z;$.ce=gzip;");
}
END_TEST

START_TEST(azures_own_content_headers_win)
{
	struct http_request r;
	request_init(&r, "POST", "/devices/d/messages/events");
	request_header(&r, "Content-Type", "application/octet-stream");
	request_header(&r, "iothub-contenttype", "application/json");
	request_header(&r, "iothub-contentencoding", "utf-8");
	expect(&r, "type=application/json;$.ce=utf-8;");
}
END_TEST

START_TEST(bad_text_is_refused)
{
	refuse("iothub-app-a", "\xff");
	refuse("iothub-app-\xc3", "v");
	refuse("Content-Type", "\xed\xa0\x80");
	refuse("Content-Encoding", "\xc0\x80");
	refuse("iothub-messageid", "\xf8");
	struct http_request r;
	struct buf props;
	const char *why = NULL;
	buf_init(&props, 4096);
	request_init(&r, "POST", "/devices/d/messages/events");
	request_header(&r, "Content-Type", "a/b");
	request_header(&r, "content-type", "c/d");
	ck_assert_int_eq(ingest_map_properties(&r, &props, &why), ERR_INVALID);
	buf_free(&props);
}
END_TEST

START_TEST(the_message)
{
	struct http_request r;
	struct msg *m = NULL;
	const char *why = NULL;
	char got[64];
	request_init(&r, "POST", "/devices/d%25/messages/events");
	request_header(&r, "iothub-app-a", "1");
	r.body = SLICE_LIT("\0\x01");
	ck_assert_int_eq(ingest_map_message(&r, "d%", &m, &why), 0);
	assert_slice(msg_topic(m), "devices/d%/messages/events/");
	ck_assert(slice_eq(msg_payload(m), r.body));
	describe(msg_props(m), got, sizeof(got));
	ck_assert_str_eq(got, "a=1;");
	ck_assert_uint_eq(m->qos, 1);
	ck_assert(!m->retain && !m->expires);
	ck_assert_int_gt(m->received_us, 0);
	msg_unref(m);
}
END_TEST

UNIT_MAIN("ingest map", headers_become_properties, azures_own_content_headers_win,
        bad_text_is_refused, the_message)
