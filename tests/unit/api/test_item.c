#include "tests/unit/base/unit.h"

#include "server/api/bag.h"
#include "server/api/item.h"
#include "server/base/clock.h"
#include "server/base/err.h"
#include "server/base/json.h"
#include "server/base/props.h"

#define RECEIVED 1795372826123456 /* 2026-11-22T18:40:26.123456Z */

static char *render(const struct telemetry_item *it, int64_t age)
{
	struct buf out;
	buf_init(&out, (size_t)16 << 20);
	ck_assert_int_eq(api_item_write(&out, it, age), 0);
	ck_assert_msg(json_is_valid(buf_slice(&out)), "%.*s", SLICE_ARG(buf_slice(&out)));
	return buf_steal(&out, NULL);
}

static json_t *rendered(const struct telemetry_item *it)
{
	char *text = render(it, API_AGE_NONE);
	json_t *doc = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
	ck_assert_msg(doc != NULL, "%s", text);
	free(text);
	return doc;
}

static const char *text_of(const json_t *doc, const char *name)
{
	return json_string_value(json_object_get(doc, name));
}

static struct telemetry_item item(const char *topic, struct slice props, struct slice payload)
{
	return (struct telemetry_item){.seq = 42,
	        .received_us = RECEIVED,
	        .qos = 1,
	        .topic = slice_str(topic),
	        .props = props,
	        .payload = payload};
}

START_TEST(the_whole_of_an_item)
{
	struct telemetry_item it = item(
	        "devices/d/messages/events/", (struct slice){0}, SLICE_LIT("{ \"t\":1.50 }"));
	char *text = render(&it, API_AGE_NONE);
	ck_assert_str_eq(text,
	        "{\"seq\":42,\"receivedAt\":\"2026-11-22T18:40:26.123Z\","
	        "\"topic\":\"devices/d/messages/events/\",\"qos\":1,\"contentType\":null,"
	        "\"contentEncoding\":null,\"properties\":{},\"payload\":{ \"t\":1.50 }}");
	free(text);
	it.module = SLICE_LIT("camera");
	text = render(&it, 1234567);
	ck_assert_ptr_nonnull(strstr(text, "\"moduleId\":\"camera\""));
	ck_assert_ptr_nonnull(strstr(text, ",\"ageSeconds\":1.234}"));
	free(text);
	text = render(&it, -5);
	ck_assert_ptr_nonnull(strstr(text, ",\"ageSeconds\":0.000}"));
	free(text);
}
END_TEST

START_TEST(payloads)
{
	static const struct {
		struct slice payload;
		const char *want;
	} cases[] = {
	        {SLICE_LIT("12345678901234567890123.5000"),
	                "\"payload\":12345678901234567890123.5000}"},
	        {SLICE_LIT("\"a\\u00e4\\/\""), "\"payload\":\"a\\u00e4\\/\"}"},
	        {SLICE_LIT("null"), "\"payload\":null}"},
	        {SLICE_LIT("{\"a\":1,\"a\":2}"), "\"payload\":{\"a\":1,\"a\":2}}"},
	        {SLICE_LIT(""), "\"payloadBase64\":\"\"}"},
	        {SLICE_LIT("{"), "\"payloadBase64\":\"ew==\"}"},
	        {SLICE_LIT("\xff\0\x01"), "\"payloadBase64\":\"/wAB\"}"},
	        {SLICE_LIT("\"\xff\""), "\"payloadBase64\":\"Iv8i\"}"},
	        {SLICE_LIT("1}"), "\"payloadBase64\":\"MX0=\"}"},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct telemetry_item it = item("t", (struct slice){0}, cases[i].payload);
		char *text = render(&it, API_AGE_NONE);
		ck_assert_msg(strstr(text, cases[i].want) != NULL, "%s in %s", cases[i].want, text);
		free(text);
	}
}
END_TEST

START_TEST(deep_and_huge_payloads)
{
	struct buf b;
	buf_init(&b, (size_t)4 << 20);
	for (int i = 0; i < 200000; i++)
		buf_append_byte(&b, '[');
	struct telemetry_item it = item("t", (struct slice){0}, buf_slice(&b));
	json_t *doc = rendered(&it);
	ck_assert_ptr_nonnull(text_of(doc, "payloadBase64"));
	json_decref(doc);
	buf_free(&b);
	buf_append_byte(&b, '"');
	for (int i = 0; i < 262142; i++)
		buf_append_byte(&b, 'x');
	buf_append_byte(&b, '"');
	it.payload = buf_slice(&b);
	doc = rendered(&it);
	ck_assert_uint_eq(json_string_length(json_object_get(doc, "payload")), 262142);
	json_decref(doc);
	buf_free(&b);
}
END_TEST

START_TEST(the_buffer_is_bounded)
{
	struct telemetry_item it = item("t", (struct slice){0}, SLICE_LIT("\"0123456789\""));
	for (size_t cap = 0; cap < 100; cap++) {
		struct buf out;
		buf_init(&out, cap);
		ck_assert_int_eq(api_item_write(&out, &it, API_AGE_NONE), ERR_TOO_BIG);
		buf_free(&out);
	}
}
END_TEST

START_TEST(corrupt_rows_are_said_to_be)
{
	struct telemetry_item it = {.seq = 7, .received_us = RECEIVED, .corrupt = true};
	char *text = render(&it, API_AGE_NONE);
	ck_assert_str_eq(text,
	        "{\"seq\":7,\"receivedAt\":\"2026-11-22T18:40:26.123Z\","
	        "\"error\":\"integrity check failed\"}");
	free(text);
}
END_TEST

/* ---- properties ---- */

static json_t *properties_of(const char *topic, struct slice props, json_t **ret_doc)
{
	struct telemetry_item it = item(topic, props, SLICE_LIT("1"));
	*ret_doc = rendered(&it);
	ck_assert_str_eq(text_of(*ret_doc, "topic"), topic);
	return json_object_get(*ret_doc, "properties");
}

START_TEST(bags_of_topics)
{
	static const struct {
		const char *topic, *want, *type, *encoding;
	} cases[] = {
	        {"devices/d/messages/events/", "{}", NULL, NULL},
	        {"devices/d/messages/events", "{}", NULL, NULL},
	        {"devices/d/messages/events/a=1&b=x%20y%26", "{\"a\":\"1\",\"b\":\"x y&\"}", NULL,
	                NULL},
	        {"devices/d/messages/events/a=1/", "{\"a\":\"1\"}", NULL, NULL},
	        {"devices/d/modules/m/messages/events/a=1", "{\"a\":\"1\"}", NULL, NULL},
	        {"devices/d/messages/events/key&empty=&&a=b=c",
	                "{\"key\":null,\"empty\":\"\",\"a\":\"b=c\"}", NULL, NULL},
	        {"devices/d/messages/events/a=1&b=2&a=3", "{\"a\":\"3\",\"b\":\"2\"}", NULL, NULL},
	        {"devices/d/messages/events/a=1&%61=2", "{\"a\":\"2\"}", NULL, NULL},
	        {"devices/d/messages/events/%24.ct=application%2Fjson&$.ce=utf-8&%24.mid=m1",
	                "{\"$.mid\":\"m1\"}", "application/json", "utf-8"},
	        {"devices/d/messages/events/$.ct&x=1", "{\"x\":\"1\"}", NULL, NULL},
	        {"devices/d/messages/events/a%2=%zz&b=%ff&c=%00&d=%2541",
	                "{\"a%2\":\"%zz\",\"b\":\"%ff\",\"c\":\"%00\",\"d\":\"%41\"}", NULL, NULL},
	        {"devices/d/messages/events/=v", "{\"\":\"v\"}", NULL, NULL},
	        {"devices/d/other/a=1", "{}", NULL, NULL},
	        {"devices/d/messages/devicebound/a=1", "{}", NULL, NULL},
	        {"devices//messages/events/a=1", "{}", NULL, NULL},
	        {"x/devices/d/messages/events/a=1", "{}", NULL, NULL},
	        {"plain", "{}", NULL, NULL},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		json_t *doc, *got = properties_of(cases[i].topic, (struct slice){0}, &doc);
		json_t *want = json_loads(cases[i].want, 0, NULL);
		ck_assert_msg(json_equal(got, want), "%s", cases[i].topic);
		ck_assert_pstr_eq(text_of(doc, "contentType"), cases[i].type);
		ck_assert_pstr_eq(text_of(doc, "contentEncoding"), cases[i].encoding);
		json_decref(want);
		json_decref(doc);
	}
}
END_TEST

START_TEST(properties_of_mqtt_5)
{
	struct buf p;
	buf_init(&p, 4096);
	prop_put_byte(&p, PROP_PAYLOAD_FORMAT, 1);
	prop_put_string(&p, PROP_CONTENT_TYPE, SLICE_LIT("text/plain"));
	prop_put_string(&p, PROP_RESPONSE_TOPIC, SLICE_LIT("answers"));
	prop_put_string(&p, PROP_CORRELATION_DATA, SLICE_LIT("\xff\0"));
	prop_put_user(&p, SLICE_LIT("a"), SLICE_LIT("first"));
	prop_put_user(&p, SLICE_LIT("q\"\n"), SLICE_LIT("\xc3\xa4"));
	prop_put_user(&p, SLICE_LIT("a"), SLICE_LIT("last"));
	prop_put_user(&p, SLICE_LIT("$.ce"), SLICE_LIT("gzip"));
	prop_put_user(&p, SLICE_LIT("$.ct"), SLICE_LIT("loses"));
	prop_put_user(&p, SLICE_LIT(""), SLICE_LIT(""));
	json_t *doc,
	        *got = properties_of("devices/d/messages/events/a=bag&b=bag", buf_slice(&p), &doc);
	ck_assert_uint_eq(json_object_size(got), 4);
	ck_assert_str_eq(text_of(got, "a"), "last");
	ck_assert_str_eq(text_of(got, "b"), "bag");
	ck_assert_str_eq(text_of(got, "q\"\n"), "\xc3\xa4");
	ck_assert_str_eq(text_of(got, ""), "");
	ck_assert_str_eq(text_of(doc, "contentType"), "text/plain");
	ck_assert_str_eq(text_of(doc, "contentEncoding"), "gzip");
	json_decref(doc);
	buf_free(&p);
}
END_TEST

START_TEST(many_properties)
{
	struct buf p;
	buf_init(&p, (size_t)1 << 20);
	for (int i = 0; i < 50000; i++) {
		char name[16];
		snprintf(name, sizeof(name), "%d", i % 1000);
		prop_put_user(&p, slice_str(name), slice_str(name));
	}
	json_t *doc, *got = properties_of("t", buf_slice(&p), &doc);
	ck_assert_uint_eq(json_object_size(got), 1000);
	json_decref(doc);
	buf_free(&p);
}
END_TEST

UNIT_MAIN("api item", the_whole_of_an_item, payloads, deep_and_huge_payloads, the_buffer_is_bounded,
        corrupt_rows_are_said_to_be, bags_of_topics, properties_of_mqtt_5, many_properties)
