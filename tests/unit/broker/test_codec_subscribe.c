/* SUBSCRIBE and UNSUBSCRIBE. */
#include "tests/unit/broker/packets.h"

static const struct {
	const char *name;
	enum mqtt_version v;
	const char *bytes;
	int want;
	unsigned count;
	uint32_t id;
} cases[] = {
        {"one filter, 3.1.1", 4, "82 {0001 <a/#> 00}", 0, 1, 0},
        {"three filters, 3.1.1", 4, "82 {0001 <a> 00 <b> 01 <+/c> 02}", 0, 3, 0},
        {"one filter, 5", 5, "82 {0001 {} <a/#> 01}", 0, 1, 0},
        {"every option, 5", 5, "82 {0001 {} <a> 2e <b> 1d}", 0, 2, 0},
        {"subscription identifier", 5, "82 {0001 {0b 01} <a> 00}", 0, 1, 1},
        {"the largest identifier", 5, "82 {0001 {0b ffffff7f} <a> 00}", 0, 1, 268435455},
        {"user properties", 5, "82 {0001 {26 <k> <v> 0b 05 26 <k> <v>} <a> 00}", 0, 1, 5},
        {"a filter's syntax is the broker's to judge", 5, "82 {0001 {} <a#> 00}", 0, 1, 0},
        {"[MQTT-4.7.3-1] an empty filter", 4, "82 {0001 <> 00}", ERR_MALFORMED, 0, 0},
        {"[MQTT-4.7.3-1] an empty one behind another", 5, "82 {0001 {} <a> 00 <> 00}",
                ERR_MALFORMED, 0, 0},
        {"[MQTT-4.8.2-1] no share name", 5, "82 {0001 {} <$share//a> 00}", ERR_PROTOCOL, 0, 0},
        {"[MQTT-4.8.2-2] nothing shared", 5, "82 {0001 {} <$share/g/> 00}", ERR_PROTOCOL, 0, 0},
        {"[MQTT-4.8.2-2] a share name alone", 4, "82 {0001 <$share/g> 00}", ERR_PROTOCOL, 0, 0},
        {"filter: U+0001", 5, "82 {0001 {} 0002 'a' 01 00}", ERR_MALFORMED, 0, 0},
        {"filter: U+007F", 5, "82 {0001 {} 0002 'a' 7f 00}", ERR_MALFORMED, 0, 0},
        {"filter: U+009F", 4, "82 {0001 0002 c29f 00}", ERR_MALFORMED, 0, 0},
        {"filter: U+00A0", 4, "82 {0001 0002 c2a0 00}", 0, 1, 0},
        {"[MQTT-3.8.3-2] no filter, 5", 5, "82 {0001 {}}", ERR_PROTOCOL, 0, 0},
        {"[MQTT-3.8.3-3] no filter, 3.1.1", 4, "82 {0001}", ERR_PROTOCOL, 0, 0},
        {"[MQTT-2.2.1-3] packet id 0", 5, "82 {0000 {} <a> 00}", ERR_PROTOCOL, 0, 0},
        {"[MQTT-2.3.1-1] packet id 0, 3.1.1", 4, "82 {0000 <a> 00}", ERR_PROTOCOL, 0, 0},
        {"nothing", 4, "82 {}", ERR_MALFORMED, 0, 0},
        {"5 no properties", 5, "82 {0001}", ERR_MALFORMED, 0, 0},
        {"filter cut short", 4, "82 {0001 0005 'abcd'}", ERR_MALFORMED, 0, 0},
        {"options missing", 4, "82 {0001 <a>}", ERR_MALFORMED, 0, 0},
        {"options of the second missing", 5, "82 {0001 {} <a> 00 <b>}", ERR_MALFORMED, 0, 0},
        {"[MQTT-3.8.3-1] filter: not UTF-8", 5, "82 {0001 {} 0001 ff 00}", ERR_MALFORMED, 0, 0},
        {"[MQTT-4.7.3-2] filter: NUL", 4, "82 {0001 0002 'a' 00 00}", ERR_MALFORMED, 0, 0},
        {"[MQTT-1.5.4-1] filter: surrogate", 5, "82 {0001 {} 0003 eda080 00}", ERR_MALFORMED, 0, 0},
        {"[MQTT-3-8.3-4] QoS 3, 3.1.1", 4, "82 {0001 <a> 03}", ERR_MALFORMED, 0, 0},
        {"[MQTT-3-8.3-4] reserved bit, 3.1.1", 4, "82 {0001 <a> 04}", ERR_MALFORMED, 0, 0},
        {"[MQTT-3-8.3-4] reserved bit 7, 3.1.1", 4, "82 {0001 <a> 81}", ERR_MALFORMED, 0, 0},
        {"[3.8.3.1] QoS 3, 5", 5, "82 {0001 {} <a> 03}", ERR_PROTOCOL, 0, 0},
        {"[3.8.3.1] retain handling 3", 5, "82 {0001 {} <a> 30}", ERR_PROTOCOL, 0, 0},
        {"[MQTT-3.8.3-5] reserved bit 6", 5, "82 {0001 {} <a> 40}", ERR_MALFORMED, 0, 0},
        {"[MQTT-3.8.3-5] reserved bit 7", 5, "82 {0001 {} <a> 80}", ERR_MALFORMED, 0, 0},
        {"[MQTT-3.8.3-4] no local, shared", 5, "82 {0001 {} <$share/g/a> 04}", ERR_PROTOCOL, 0, 0},
        {"shared", 5, "82 {0001 {} <$share/g/a> 09}", 0, 1, 0},
        {"no local, almost shared", 5, "82 {0001 {} <$shared/a> 04}", 0, 1, 0},
        {"[3.8.2.1.2] identifier 0", 5, "82 {0001 {0b 00} <a> 00}", ERR_PROTOCOL, 0, 0},
        {"[3.8.2.1.2] identifier twice", 5, "82 {0001 {0b 01 0b 02} <a> 00}", ERR_PROTOCOL, 0, 0},
        {"[MQTT-1.5.5-1] identifier too long", 5, "82 {0001 {0b 8100} <a> 00}", ERR_MALFORMED, 0,
                0},
        {"identifier of five bytes", 5, "82 {0001 {0b 8080808001} <a> 00}", ERR_MALFORMED, 0, 0},
        {"[MQTT-1.5.5-1] remaining length too long", 5, "82 8700 0001 00 <a> 00", ERR_MALFORMED, 0,
                0},
        {"another packet's property", 5, "82 {0001 {11 00000001} <a> 00}", ERR_MALFORMED, 0, 0},
        {"properties over the body", 5, "82 {0001 20 <a> 00}", ERR_MALFORMED, 0, 0},

        {"UNSUBSCRIBE, 3.1.1", 4, "a2 {0001 <a/#> <b>}", 0, 2, 0},
        {"UNSUBSCRIBE, 5", 5, "a2 {0001 {26 <k> <v>} <a/#>}", 0, 1, 0},
        {"[MQTT-3.10.3-2] no filter, 5", 5, "a2 {0001 {}}", ERR_PROTOCOL, 0, 0},
        {"[MQTT-3.10.3-2] no filter, 3.1.1", 4, "a2 {0001}", ERR_PROTOCOL, 0, 0},
        {"[MQTT-2.2.1-3] UNSUBSCRIBE packet id 0", 5, "a2 {0000 {} <a>}", ERR_PROTOCOL, 0, 0},
        {"[MQTT-3.10.3-1] filter: not UTF-8", 4, "a2 {0001 0001 ff}", ERR_MALFORMED, 0, 0},
        {"[MQTT-4.7.3-1] UNSUBSCRIBE, empty", 5, "a2 {0001 {} <> <a>}", ERR_MALFORMED, 0, 0},
        {"UNSUBSCRIBE has no options", 4, "a2 {0001 <a> 00}", ERR_MALFORMED, 0, 0},
        {"UNSUBSCRIBE has no identifier", 5, "a2 {0001 {0b 01} <a>}", ERR_MALFORMED, 0, 0},
        {"UNSUBSCRIBE filter cut short", 5, "a2 {0001 {} 0002 'a'}", ERR_MALFORMED, 0, 0},
};

START_TEST(table)
{
	_cleanup_packet_ struct packet in = packet_make(cases[_i].bytes);
	struct mqtt_frame f = packet_frame(&in);
	struct mqtt_subscribe s = {0};
	int got = f.type == MQTT_SUBSCRIBE ? mqtt_decode_subscribe(&f, cases[_i].v, &s)
	                                   : mqtt_decode_unsubscribe(&f, cases[_i].v, &s);
	ck_assert_msg(got == cases[_i].want, "%s: %s", cases[_i].name, err_name(got));
	ck_assert_msg(s.count == cases[_i].count, "%s: %u filters", cases[_i].name, s.count);
	ck_assert_msg(s.subscription_id == cases[_i].id, "%s: id", cases[_i].name);
	unsigned count = 0;
	struct mqtt_filter filter;
	for (; s.rest.n > 0; count++)
		mqtt_next_filter(f.type, &s.rest, &filter);
	ck_assert_uint_eq(count, s.count);
}
END_TEST

START_TEST(values)
{
	_cleanup_packet_ struct packet in = packet_make(
	        "82 {0102 {} <a/+> 2e <$share/g/#> 19 <b> 00}");
	struct mqtt_frame f = packet_frame(&in);
	struct mqtt_subscribe s;
	struct mqtt_filter filter;
	ck_assert_int_eq(mqtt_decode_subscribe(&f, MQTT_V5, &s), 0);
	ck_assert(s.packet_id == 0x0102 && s.count == 3 && s.subscription_id == 0);
	mqtt_next_filter(MQTT_SUBSCRIBE, &s.rest, &filter);
	check_slice("first", filter.filter, "a/+");
	ck_assert(filter.qos == 2 && filter.no_local && filter.retain_as_published);
	ck_assert_uint_eq(filter.retain_handling, 2);
	mqtt_next_filter(MQTT_SUBSCRIBE, &s.rest, &filter);
	check_slice("second", filter.filter, "$share/g/#");
	ck_assert(filter.qos == 1 && !filter.no_local && filter.retain_as_published);
	ck_assert_uint_eq(filter.retain_handling, 1);
	mqtt_next_filter(MQTT_SUBSCRIBE, &s.rest, &filter);
	check_slice("third", filter.filter, "b");
	ck_assert(filter.qos == 0 && filter.retain_handling == 0 && s.rest.n == 0);
}
END_TEST

/* All 256 option bytes of MQTT 5, on a plain and on a shared filter. */
START_TEST(every_option)
{
	for (unsigned options = 0; options < 256; options++) {
		for (unsigned shared = 0; shared < 2; shared++) {
			char text[60];
			snprintf(text, sizeof(text), "82 {0001 {} <%s> %02x}",
			        shared ? "$share/g/a" : "a", options);
			_cleanup_packet_ struct packet in = packet_make(text);
			struct mqtt_frame f = packet_frame(&in);
			struct mqtt_subscribe s;
			int want = 0;
			if (options & 0xC0)
				want = ERR_MALFORMED;
			else if ((options & 3) == 3 || (options & 0x30) == 0x30 ||
			        (shared && (options & 4)))
				want = ERR_PROTOCOL;
			ck_assert_msg(mqtt_decode_subscribe(&f, MQTT_V5, &s) == want, "%s", text);
		}
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("codec: SUBSCRIBE, UNSUBSCRIBE");
	TCase *tc = tcase_create("all");
	tcase_add_loop_test(tc, table, 0, ARRAY_LEN(cases));
	tcase_add_test(tc, values);
	tcase_add_test(tc, every_option);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
