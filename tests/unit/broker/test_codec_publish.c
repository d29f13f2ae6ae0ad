/* PUBLISH from a client, both versions. */
#include "tests/unit/broker/packets.h"

#define BAD ERR_MALFORMED, END_MALFORMED
#define WRONG ERR_PROTOCOL, END_PROTOCOL
#define NO_NAME ERR_INVALID, END_TOPIC_NAME
#define NO_TEXT ERR_MALFORMED, END_TOPIC_NAME
#define FINE 0, END_NORMAL

static const struct {
	const char *name;
	enum mqtt_version v;
	const char *bytes;
	int want;
	enum end_reason end;
} cases[] = {
        {"3.1.1 QoS 0", 4, "30 {<a/b> 'x'}", FINE},
        {"3.1.1 QoS 1", 4, "32 {<a/b> 0001 'x'}", FINE},
        {"3.1.1 QoS 2, dup, retain", 4, "3d {<a/b> ffff 'x'}", FINE},
        {"5 QoS 0", 5, "30 {<a/b> {} 'x'}", FINE},
        {"5 QoS 1", 5, "32 {<a/b> 0001 {} 'x'}", FINE},
        {"no payload, 3.1.1", 4, "30 {<a/b>}", FINE},
        {"no payload, 5", 5, "30 {<a/b> {}}", FINE},
        {"[MQTT-4.7.3-4] a slash is a topic", 5, "30 {</> {}}", FINE},
        {"a space is a topic", 4, "30 {< >}", FINE},
        {"$ topics are the broker's to judge", 4, "30 {<$SYS/x>}", FINE},

        {"[MQTT-3.3.1-4] QoS 3", 4, "36 {<a/b> 0001 'x'}", BAD},
        {"[MQTT-3.3.1-4] QoS 3, 5", 5, "36 {<a/b> 0001 {} 'x'}", BAD},
        {"[MQTT-3.3.1-2] dup with QoS 0", 4, "38 {<a/b> 'x'}", BAD},
        {"[MQTT-3.3.1-2] dup with QoS 0, 5", 5, "38 {<a/b> {} 'x'}", BAD},
        {"[MQTT-2.3.1-1] packet id 0, 3.1.1", 4, "32 {<a/b> 0000 'x'}", WRONG},
        {"[MQTT-2.2.1-3] packet id 0, 5", 5, "34 {<a/b> 0000 {} 'x'}", WRONG},
        {"nothing", 4, "30 {}", BAD},
        {"half a length", 4, "30 {00}", BAD},
        {"topic cut short", 4, "30 {0005 'abcd'}", BAD},
        {"no packet id", 4, "32 {<a/b>}", BAD},
        {"half a packet id", 4, "32 {<a/b> 00}", BAD},
        {"5 no properties", 5, "30 {<a/b>}", BAD},
        {"5 no properties, QoS 1", 5, "32 {<a/b> 0001}", BAD},
        {"[MQTT-1.5.5-1] remaining length too long", 5, "30 8400 <a> 00", BAD},
        {"[MQTT-1.5.5-1] property length too long", 5, "30 {<a> 8000}", BAD},
        {"property length over the body", 5, "30 {<a> 05 01 01}", BAD},
        {"property length of five bytes", 5, "30 {<a> 8080808001}", BAD},

        {"[MQTT-3.3.2-1] topic: not UTF-8", 4, "30 {0001 ff}", NO_TEXT},
        {"[MQTT-1.5.4-1] topic: surrogate", 5, "30 {0003 eda080 {}}", NO_TEXT},
        {"[MQTT-1.5.4-1] topic: overlong NUL", 5, "30 {0002 c080 {}}", NO_TEXT},
        {"[MQTT-1.5.4-1] topic: cut short behind 9 bytes", 4, "30 {000b 'abcdefghi' e282}",
                NO_TEXT},
        {"topic: two, three, four bytes", 5, "30 {0009 c3a9 e282ac f09f9880 {}}", FINE},
        {"[MQTT-4.7.3-2] topic: NUL", 5, "30 {0003 'a' 00 'b' {}}", NO_NAME},
        {"[MQTT-4.7.3-2] topic: NUL, 3.1.1", 4, "30 {0001 00}", NO_NAME},
        {"[MQTT-3.3.2-2] topic: #", 5, "30 {<#> {}}", NO_NAME},
        {"[MQTT-3.3.2-2] topic: a/#", 4, "30 {<a/#>}", NO_NAME},
        {"[MQTT-3.3.2-2] topic: +", 5, "30 {<+> {}}", NO_NAME},
        {"[MQTT-3.3.2-2] topic: + at the 8th byte", 5, "30 {<abcdefg+> {}}", NO_NAME},
        {"[MQTT-3.3.2-2] topic: # at the 9th byte", 5, "30 {<abcdefgh#> {}}", NO_NAME},
        {"[MQTT-3.3.2-2] topic: + in the middle of many", 5, "30 {<abcdefghi+klmnopqrst> {}}",
                NO_NAME},
        {"[MQTT-3.3.2-2] topic: + behind an accent", 5, "30 {000a c3a9 'abcdefg+' {}}", NO_NAME},
        {"neighbours of wildcards", 5, "30 {<*,\"$!(/3;K> {}}", FINE},
        {"[MQTT-4.7.3-1] topic empty, 3.1.1", 4, "30 {<>}", NO_NAME},
        {"[3.3.2.1] topic empty without alias", 5, "30 {<> {}}", WRONG},
        {"[3.3.2.1] topic empty with alias", 5, "30 {<> {23 0001}}", FINE},
        {"topic of 65535", 4, "30 {ffff 'a' * 65535}", FINE},

        {"[MQTT-3.3.2-8] alias 0", 5, "30 {<a> {23 0000}}", ERR_PROTOCOL, END_TOPIC_ALIAS},
        {"alias twice", 5, "30 {<a> {23 0001 23 0001}}", WRONG},
        {"payload format 0", 5, "30 {<a> {01 00} ff}", FINE},
        {"payload format 1, payload not UTF-8: the broker's to refuse", 5, "30 {<a> {01 01} ff}",
                FINE},
        {"payload format 2", 5, "30 {<a> {01 02}}", WRONG},
        {"payload format twice", 5, "30 {<a> {01 00 01 00}}", WRONG},
        {"expiry twice", 5, "30 {<a> {02 00000001 02 00000001}}", WRONG},
        {"content type twice", 5, "30 {<a> {03 <t> 03 <t>}}", WRONG},
        {"[MQTT-3.3.2-19] content type: not UTF-8", 5, "30 {<a> {03 0001 80}}", BAD},
        {"response topic twice", 5, "30 {<a> {08 <t> 08 <t>}}", WRONG},
        {"[MQTT-3.3.2-13] response topic: not UTF-8", 5, "30 {<a> {08 0001 80}}", BAD},
        {"[MQTT-3.3.2-14] response topic: #", 5, "30 {<a> {08 <t/#>}}", WRONG},
        {"[MQTT-3.3.2-14] response topic: +", 5, "30 {<a> {08 <+/t>}}", WRONG},
        {"[MQTT-4.7.3-1] response topic empty", 5, "30 {<a> {08 <>}}", WRONG},
        {"correlation data twice", 5, "30 {<a> {09 <t> 09 <t>}}", WRONG},
        {"correlation data is binary", 5, "30 {<a> {09 0003 00ff80}}", FINE},
        {"[MQTT-3.3.2-17] user properties, many of a name", 5, "30 {<a> {26 <k> <1> 26 <k> <2>}}",
                FINE},
        {"[MQTT-1.5.7-1] user property without value", 5, "30 {<a> {26 <k>}}", BAD},
        {"[MQTT-3.3.4-6] subscription identifier from a client", 5, "30 {<a> {0b 01}}", WRONG},
        {"a CONNECT's property", 5, "30 {<a> {11 00000001}}", BAD},
        {"a PUBACK's property", 5, "30 {<a> {1f <x>}}", BAD},
        {"a will's property", 5, "30 {<a> {18 00000001}}", BAD},
        {"unknown property", 5, "30 {<a> {04 00}}", BAD},
        {"unknown property 255", 5, "30 {<a> {ff 01}}", BAD},
        {"property cut short", 5, "30 {<a> {02 0000}}", BAD},
        {"string cut short", 5, "30 {<a> {03 0005 'abc'}}", BAD},
};

START_TEST(table)
{
	_cleanup_packet_ struct packet in = packet_make(cases[_i].bytes);
	struct mqtt_frame f = packet_frame(&in);
	struct mqtt_publish p;
	enum end_reason end = END_NORMAL;
	int got = mqtt_decode_publish(&f, cases[_i].v, &p, &end);
	ck_assert_msg(got == cases[_i].want, "%s: %s", cases[_i].name, err_name(got));
	ck_assert_msg(end == cases[_i].end, "%s: %s", cases[_i].name, end_name(end));
}
END_TEST

START_TEST(values)
{
	_cleanup_packet_ struct packet in = packet_make(
	        "3d {<t/u> 1234 {23 0007 02 0000000a 01 01 26 <k> <v>} 'payload'}");
	struct mqtt_frame f = packet_frame(&in);
	struct mqtt_publish p;
	enum end_reason end;
	ck_assert_int_eq(mqtt_decode_publish(&f, MQTT_V5, &p, &end), 0);
	ck_assert(p.qos == 2 && p.dup && p.retain && p.packet_id == 0x1234 && p.alias == 7);
	ck_assert(p.has_expiry && p.expiry == 10 && p.payload_is_utf8 && p.props_travel);
	check_slice("topic", p.topic, "t/u");
	check_slice("payload", p.payload, "payload");
	check_bytes("props", p.props, "01 01 26 <k> <v>");
}
END_TEST

START_TEST(values_v311)
{
	_cleanup_packet_ struct packet in = packet_make("33 {<t> 0009 00 01 02}");
	struct mqtt_frame f = packet_frame(&in);
	struct mqtt_publish p;
	enum end_reason end;
	ck_assert_int_eq(mqtt_decode_publish(&f, MQTT_V311, &p, &end), 0);
	ck_assert(p.qos == 1 && !p.dup && p.retain && p.packet_id == 9 && p.alias == 0);
	ck_assert(!p.has_expiry && !p.payload_is_utf8 && p.props_travel && p.props.n == 0);
	check_bytes("payload", p.payload, "00 01 02");
}
END_TEST

static const struct {
	const char *name, *props, *travelling;
	bool whole;
} travels[] = {
        {"none", "", "", true},
        {"alias alone", "23 0001", "", true},
        {"all that travel", "01 00 03 <t> 08 <r> 09 <c> 26 <k> <v>",
                "01 00 03 <t> 08 <r> 09 <c> 26 <k> <v>", true},
        {"alias first", "23 0001 26 <k> <v>", "26 <k> <v>", true},
        {"expiry last", "26 <k> <v> 02 00000001", "26 <k> <v>", true},
        {"alias between", "26 <k> <v> 23 0001 26 <l> <w>", "26 <k> <v> 26 <l> <w>", false},
        {"all over", "23 0001 03 <t> 02 00000001 26 <l> <w> 01 01", "03 <t> 26 <l> <w> 01 01",
                false},
};

START_TEST(travelling)
{
	char text[200];
	snprintf(text, sizeof(text), "30 {<a> {%s} 'x'}", travels[_i].props);
	_cleanup_packet_ struct packet in = packet_make(text);
	struct mqtt_frame f = packet_frame(&in);
	struct mqtt_publish p;
	enum end_reason end;
	ck_assert_int_eq(mqtt_decode_publish(&f, MQTT_V5, &p, &end), 0);
	ck_assert_msg(p.props_travel == travels[_i].whole, "%s", travels[_i].name);
	struct buf out;
	buf_init(&out, 1000);
	ck_assert_int_eq(mqtt_publish_travelling(&p, &out), 0);
	check_bytes(travels[_i].name, buf_slice(&out), travels[_i].travelling);
	buf_free(&out);
	buf_init(&out, 4);
	int want = p.props.n > 4 ? ERR_TOO_BIG : 0;
	ck_assert_int_eq(mqtt_publish_travelling(&p, &out), want);
	buf_free(&out);
}
END_TEST

/* Each byte value at each place of a 17 byte topic: what the fast scan says is what the rules say.
 */
START_TEST(every_byte_everywhere)
{
	for (unsigned at = 0; at < 17; at++) {
		for (unsigned byte = 0; byte < 256; byte++) {
			uint8_t packet[2 + 2 + 17] = {0x30, 19, 0, 17};
			memset(packet + 4, 'x', 17);
			packet[4 + at] = (uint8_t)byte;
			struct mqtt_frame f;
			size_t need;
			struct slice in = slice_make(packet, sizeof(packet));
			ck_assert_int_eq(mqtt_frame_next(in, 100, &f, &need), 1);
			struct mqtt_publish p;
			enum end_reason end = END_NORMAL;
			int want = 0;
			if (byte == 0 || byte == '+' || byte == '#')
				want = ERR_INVALID;
			else if (byte < ' ' || byte >= 0x7F)
				want = ERR_MALFORMED;
			ck_assert_int_eq(mqtt_decode_publish(&f, MQTT_V311, &p, &end), want);
		}
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("codec: PUBLISH");
	TCase *tc = tcase_create("all");
	tcase_add_loop_test(tc, table, 0, ARRAY_LEN(cases));
	tcase_add_test(tc, values);
	tcase_add_test(tc, values_v311);
	tcase_add_loop_test(tc, travelling, 0, ARRAY_LEN(travels));
	tcase_add_test(tc, every_byte_everywhere);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
