/* CONNECT, both versions. */
#include "tests/unit/broker/packets.h"

#define BAD ERR_MALFORMED, MQTT_MALFORMED_PACKET
#define WRONG ERR_PROTOCOL, MQTT_PROTOCOL_ERROR

/* The variable header up to the keep alive, and the properties of MQTT 5. */
#define V3(flags) "10 {<MQTT> 04 " flags " 003c "
#define V5(flags, props) "10 {<MQTT> 05 " flags " 003c {" props "} "

static const struct {
	const char *name;
	unsigned version; /* as it must be known afterwards */
	const char *bytes;
	int want;
	uint8_t code;
} cases[] = {
        {"3.1.1 plain", 4, V3("02") "<a>}", 0, 0},
        {"5 plain", 5, V5("02", "") "<a>}", 0, 0},
        {"3.1.1 empty client id, persistent: not the codec's business", 4, V3("00") "<>}", 0, 0},

        {"[MQTT-3.1.2-1] another name", 0, "10 {<HTTP> 04 02 003c <a>}", ERR_INVALID, 0x84},
        {"[MQTT-3.1.2-1] in lower case", 0, "10 {<mqtt> 04 02 003c <a>}", ERR_INVALID, 0x84},
        {"[MQTT-3.1.2-1] longer", 0, "10 {<MQTTX> 04 02 003c <a>}", ERR_INVALID, 0x84},
        {"[MQTT-3.1.2-1] empty", 0, "10 {<> 04 02 003c <a>}", ERR_INVALID, 0x84},
        {"[MQTT-3.1.2-2] MQIsdp 3", 4, "10 {<MQIsdp> 03 02 003c <a>}", ERR_INVALID, 0x84},
        {"[MQTT-3.1.2-2] MQIsdp 5", 4, "10 {<MQIsdp> 05 02 003c <a>}", ERR_INVALID, 0x84},
        {"[MQTT-3.1.2-2] level 3", 4, "10 {<MQTT> 03 02 003c <a>}", ERR_INVALID, 0x84},
        {"[MQTT-3.1.2-2] level 0", 4, "10 {<MQTT> 00 02 003c <a>}", ERR_INVALID, 0x84},
        {"[MQTT-3.1.2-2] level 6", 5, "10 {<MQTT> 06 02 003c <a>}", ERR_INVALID, 0x84},
        {"[MQTT-3.1.2-2] a bridge's level", 4, "10 {<MQTT> 84 02 003c <a>}", ERR_INVALID, 0x84},
        {"no name", 0, "10 {}", BAD},
        {"name cut short", 0, "10 {0004 'MQT'}", BAD},
        {"no level", 0, "10 {<MQTT>}", BAD},
        {"no flags", 4, "10 {<MQTT> 04}", BAD},
        {"half a keep alive", 4, "10 {<MQTT> 04 02 00}", BAD},
        {"3.1.1 no client id", 4, V3("02") "}", BAD},
        {"3.1.1 client id cut short", 4, V3("02") "0005 'abcd'}", BAD},
        {"5 no properties", 5, "10 {<MQTT> 05 02 003c}", BAD},
        {"5 no client id", 5, V5("02", "") "}", BAD},

        {"[MQTT-3.1.2-3] reserved flag, 3.1.1", 4, V3("03") "<a>}", BAD},
        {"[MQTT-3.1.2-3] reserved flag, 5", 5, V5("03", "") "<a>}", BAD},
        {"[MQTT-3.1.2-11] will QoS without a will", 5, V5("0a", "") "<a>}", BAD},
        {"[MQTT-3.1.2-13] 3.1.1: will QoS without a will", 4, V3("12") "<a>}", BAD},
        {"[MQTT-3.1.2-12] will QoS 3", 5, V5("1e", "") "<a> {} <w> <x>}", BAD},
        {"[MQTT-3.1.2-14] 3.1.1: will QoS 3", 4, V3("1e") "<a> <w> <x>}", BAD},
        {"[MQTT-3.1.2-13] will retain without a will", 5, V5("22", "") "<a>}", BAD},
        {"[MQTT-3.1.2-15] 3.1.1: will retain without a will", 4, V3("22") "<a>}", BAD},
        {"[MQTT-3.1.2-22] 3.1.1: password without user name", 4, V3("42") "<a> <p>}", BAD},
        {"5: password without user name", 5, V5("42", "") "<a> <p>}", 0, 0},
        {"[MQTT-3.1.2-17] user name missing", 5, V5("82", "") "<a>}", BAD},
        {"[MQTT-3.1.2-19] password missing", 5, V5("c2", "") "<a> <u>}", BAD},
        {"[MQTT-3.1.2-16] user name without flag", 5, V5("02", "") "<a> <u>}", BAD},
        {"[MQTT-3.1.2-18] password without flag", 4, V3("82") "<a> <u> <p>}", BAD},
        {"bytes behind the payload, 3.1.1", 4, V3("02") "<a> 00}", BAD},
        {"bytes behind the payload, 5", 5, V5("02", "") "<a> 00}", BAD},
        {"3.1.1 has no properties", 4, "10 {<MQTT> 04 02 003c 00 <a>}", BAD},

        {"[MQTT-3.1.3-4] client id: NUL", 5, V5("02", "") "0001 00}", BAD},
        {"[MQTT-3.1.3-4] client id: lone continuation", 4, V3("02") "0001 80}", BAD},
        {"[MQTT-1.5.4-1] client id: high surrogate", 4, V3("02") "0003 eda080}", BAD},
        {"[MQTT-1.5.4-1] client id: low surrogate", 5, V5("02", "") "0003 edbfbf}", BAD},
        {"[MQTT-1.5.4-1] client id: overlong", 4, V3("02") "0002 c0af}", BAD},
        {"[MQTT-1.5.4-1] client id: above U+10FFFF", 4, V3("02") "0004 f4908080}", BAD},
        {"[MQTT-1.5.4-1] client id: cut short", 4, V3("02") "0002 e282}", BAD},
        {"[MQTT-1.5.4-2] client id: NUL", 4, V3("02") "0003 'a' 00 'b'}", BAD},
        {"[MQTT-1.5.4-3] client id: BOM is kept", 4, V3("02") "0003 efbbbf}", 0, 0},
        {"[MQTT-3.1.3-12] user name: not UTF-8", 5, V5("82", "") "<a> 0002 ff00}", BAD},
        {"[MQTT-3.1.3-11] 3.1.1: user name: not UTF-8", 4, V3("82") "<a> 0001 ff}", BAD},
        {"password is binary", 5, V5("c2", "") "<a> <u> 0004 00ff80ed}", 0, 0},

        {"will, 3.1.1", 4, V3("06") "<a> <w> <x>}", 0, 0},
        {"will with nothing in it", 4, V3("06") "<a> <w> <>}", 0, 0},
        {"[MQTT-3.1.2-9] no will topic", 4, V3("06") "<a>}", BAD},
        {"[MQTT-3.1.2-9] no will message", 4, V3("06") "<a> <w>}", BAD},
        {"[MQTT-3.1.2-9] 5: no will properties", 5, V5("06", "") "<a>}", BAD},
        {"[MQTT-3.1.3-11] will topic: not UTF-8", 5, V5("06", "") "<a> {} 0001 ff <x>}", BAD},
        {"[MQTT-3.1.3-10] 3.1.1: will topic: not UTF-8", 4, V3("06") "<a> 0001 ff <x>}", BAD},
        {"[MQTT-4.7.3-1] will topic empty", 5, V5("06", "") "<a> {} <> <x>}", ERR_PROTOCOL, 0x90},
        {"[MQTT-4.7.1-1] will topic #", 5, V5("06", "") "<a> {} <w/#> <x>}", ERR_PROTOCOL, 0x90},
        {"[MQTT-4.7.1-1] 3.1.1: will topic +", 4, V3("06") "<a> <+/w> <x>}", ERR_PROTOCOL, 0x90},
        {"[MQTT-4.7.3-2] will topic NUL", 5, V5("06", "") "<a> {} 0002 'w' 00 <x>}", ERR_PROTOCOL,
                0x90},

        {"property block cut short", 5, "10 {<MQTT> 05 02 003c 05 11 0000}", BAD},
        {"[MQTT-1.5.5-1] property length too long", 5, "10 {<MQTT> 05 02 003c 8000 <a>}", BAD},
        {"property length of five bytes", 5, "10 {<MQTT> 05 02 003c 8080808000 <a>}", BAD},
        {"[MQTT-1.5.5-1] remaining length too long", 5, "10 8e00 <MQTT> 05 02 003c 00 <a>", BAD},
        {"3.1.1: remaining length as long as it likes", 4, "10 8d00 <MQTT> 04 02 003c <a>", 0, 0},
        {"unknown property", 5, V5("02", "7f 00") "<a>}", BAD},
        {"property 0", 5, V5("02", "00 00") "<a>}", BAD},
        {"identifier of two bytes", 5, V5("02", "9100 00000001") "<a>}", BAD},
        {"property cut short", 5, V5("02", "11 000000") "<a>}", BAD},
        {"all properties", 5,
                V5("02",
                        "11 00000e10 21 000a 27 00001000 22 0005 19 01 17 00 26 <k> <v> 26 <k> <v> "
                        "15 "
                        "<m> 16 <d>") "<a>}",
                0, 0},
        {"session expiry twice", 5, V5("02", "11 00000001 11 00000001") "<a>}", WRONG},
        {"receive maximum twice", 5, V5("02", "21 0001 21 0001") "<a>}", WRONG},
        {"receive maximum 0", 5, V5("02", "21 0000") "<a>}", WRONG},
        {"maximum packet size twice", 5, V5("02", "27 00001000 27 00001000") "<a>}", WRONG},
        {"maximum packet size 0", 5, V5("02", "27 00000000") "<a>}", WRONG},
        {"topic alias maximum twice", 5, V5("02", "22 0000 22 0000") "<a>}", WRONG},
        {"request response information twice", 5, V5("02", "19 01 19 01") "<a>}", WRONG},
        {"request response information 2", 5, V5("02", "19 02") "<a>}", WRONG},
        {"request problem information twice", 5, V5("02", "17 01 17 01") "<a>}", WRONG},
        {"request problem information 2", 5, V5("02", "17 02") "<a>}", WRONG},
        {"authentication method twice", 5, V5("02", "15 <m> 15 <m>") "<a>}", WRONG},
        {"authentication data twice", 5, V5("02", "15 <m> 16 <d> 16 <d>") "<a>}", WRONG},
        {"authentication data without method", 5, V5("02", "16 <d>") "<a>}", WRONG},
        {"empty authentication data without method", 5, V5("02", "16 <>") "<a>}", WRONG},
        {"data before its method", 5, V5("02", "16 <d> 15 <m>") "<a>}", 0, 0},
        {"[MQTT-1.5.4-1] authentication method: not UTF-8", 5, V5("02", "15 0001 ff") "<a>}", BAD},
        {"[MQTT-1.5.7-1] user property: name not UTF-8", 5, V5("02", "26 0001 ff <v>") "<a>}", BAD},
        {"[MQTT-1.5.7-1] user property: NUL in value", 5, V5("02", "26 <k> 0001 00") "<a>}", BAD},
        {"a PUBLISH's property", 5, V5("02", "01 01") "<a>}", BAD},
        {"a will's property", 5, V5("02", "18 00000001") "<a>}", BAD},
        {"a CONNACK's property", 5, V5("02", "24 01") "<a>}", BAD},
        {"a CONNACK's server keep alive", 5, V5("02", "13 0001") "<a>}", BAD},
        {"reason string", 5, V5("02", "1f <x>") "<a>}", BAD},

        {"will properties, all", 5,
                V5("06", "") "<a> {18 00000005 01 01 02 0000000a 03 <t> 08 <r> 09 <c> 26 <k> <v>} "
                             "<w> <x>}",
                0, 0},
        {"will delay twice", 5, V5("06", "") "<a> {18 00000005 18 00000005} <w> <x>}", WRONG},
        {"payload format twice", 5, V5("06", "") "<a> {01 01 01 01} <w> <x>}", WRONG},
        {"payload format 2", 5, V5("06", "") "<a> {01 02} <w> <x>}", WRONG},
        {"message expiry twice", 5, V5("06", "") "<a> {02 00000001 02 00000001} <w> <x>}", WRONG},
        {"content type twice", 5, V5("06", "") "<a> {03 <t> 03 <t>} <w> <x>}", WRONG},
        {"response topic twice", 5, V5("06", "") "<a> {08 <t> 08 <t>} <w> <x>}", WRONG},
        {"[MQTT-3.3.2-14] response topic #", 5, V5("06", "") "<a> {08 <t/#>} <w> <x>}", WRONG},
        {"[MQTT-3.3.2-14] response topic +", 5, V5("06", "") "<a> {08 <+>} <w> <x>}", WRONG},
        {"[MQTT-4.7.3-1] response topic empty", 5, V5("06", "") "<a> {08 <>} <w> <x>}", WRONG},
        {"correlation data twice", 5, V5("06", "") "<a> {09 <t> 09 <t>} <w> <x>}", WRONG},
        {"topic alias in a will", 5, V5("06", "") "<a> {23 0001} <w> <x>}", BAD},
        {"subscription identifier in a will", 5, V5("06", "") "<a> {0b 01} <w> <x>}", BAD},
        {"a CONNECT's property in a will", 5, V5("06", "") "<a> {11 00000001} <w> <x>}", BAD},
        {"[MQTT-3.1.3-20] content type: not UTF-8", 5, V5("06", "") "<a> {03 0001 ff} <w> <x>}",
                BAD},
        {"will payload format 1, payload not UTF-8: the broker's to refuse", 5,
                V5("06", "") "<a> {01 01} <w> 0001 ff}", 0, 0},
};

START_TEST(table)
{
	_cleanup_packet_ struct packet in = packet_make(cases[_i].bytes);
	struct mqtt_frame f = packet_frame(&in);
	struct mqtt_connect c;
	uint8_t code = 0xEE;
	int got = mqtt_decode_connect(&f, &c, &code);
	ck_assert_msg(got == cases[_i].want, "%s: %s", cases[_i].name, err_name(got));
	ck_assert_msg(code == cases[_i].code, "%s: code %02x", cases[_i].name, code);
	ck_assert_msg((unsigned)c.version == cases[_i].version, "%s: version", cases[_i].name);
}
END_TEST

/* Every packet of the table, cut short at every byte: nothing but refusals, nothing read past. */
START_TEST(cut_short)
{
	_cleanup_packet_ struct packet in = packet_make(cases[_i].bytes);
	struct mqtt_frame f = packet_frame(&in);
	for (size_t n = 0; n < f.body.n; n++) {
		uint8_t *copy = malloc(n + 1);
		memcpy(copy, f.body.p, n);
		struct mqtt_frame cut = {
		        MQTT_CONNECT, 0, slice_make(copy, n), n + (n < 128 ? 2 : 3)};
		struct mqtt_connect c;
		uint8_t code;
		int got = mqtt_decode_connect(&cut, &c, &code);
		ck_assert_msg(got < 0 || cases[_i].want < 0, "%s: cut at %zu", cases[_i].name, n);
		free(copy);
	}
}
END_TEST

START_TEST(values_v311)
{
	_cleanup_packet_ struct packet in = packet_make(
	        "10 {<MQTT> 04 f6 1234 <dev> <w/t> <bye> <user> <pass>}");
	struct mqtt_frame f = packet_frame(&in);
	struct mqtt_connect c;
	uint8_t code;
	ck_assert_int_eq(mqtt_decode_connect(&f, &c, &code), 0);
	ck_assert(c.clean_start && c.has_username && c.has_password && c.will.present);
	ck_assert(c.will.retain && c.will.qos == 2 && c.keep_alive == 0x1234);
	check_slice("client id", c.client_id, "dev");
	check_slice("will topic", c.will.topic, "w/t");
	check_slice("will payload", c.will.payload, "bye");
	check_slice("user name", c.username, "user");
	check_slice("password", c.password, "pass");
	ck_assert(c.receive_maximum == 65535 && c.maximum_packet_size == UINT32_MAX);
	ck_assert(c.topic_alias_maximum == 0 && c.session_expiry == 0);
	ck_assert(c.request_problem_info && !c.request_response_info);
	ck_assert(!c.auth_method.p && !c.auth_data.p && !c.will.has_expiry);
}
END_TEST

START_TEST(values_v5)
{
	_cleanup_packet_ struct packet in = packet_make(
	        "10 {<MQTT> 05 0c 0000 {11 ffffffff 21 000a 27 00001000 22 0005 19 01 17 00 15 <m> "
	        "16 <>} "
	        "<> {18 00000005 02 0000000a} <w> <x>}");
	struct mqtt_frame f = packet_frame(&in);
	struct mqtt_connect c;
	uint8_t code;
	ck_assert_int_eq(mqtt_decode_connect(&f, &c, &code), 0);
	ck_assert(!c.clean_start && c.will.present && c.will.qos == 1 && !c.will.retain);
	ck_assert(c.session_expiry == UINT32_MAX && c.receive_maximum == 10);
	ck_assert(c.maximum_packet_size == 4096 && c.topic_alias_maximum == 5);
	ck_assert(c.request_response_info && !c.request_problem_info);
	check_slice("method", c.auth_method, "m");
	ck_assert(c.auth_data.p && c.auth_data.n == 0);
	ck_assert(c.will.delay == 5 && c.will.has_expiry && c.will.expiry == 10);
	ck_assert(c.will.props_travel && c.will.props.n == 0);
	ck_assert(c.client_id.n == 0);
}
END_TEST

static const struct {
	const char *name, *props, *travelling;
	bool whole;
} wills[] = {
        {"none", "", "", true},
        {"only its own", "18 00000005 02 0000000a", "", true},
        {"its own first", "18 00000005 01 01 26 <k> <v>", "01 01 26 <k> <v>", true},
        {"its own last", "26 <k> <v> 03 <t> 18 00000005", "26 <k> <v> 03 <t>", true},
        {"mixed", "26 <k> <v> 18 00000005 26 <k> <w>", "26 <k> <v> 26 <k> <w>", false},
};

START_TEST(will_travelling)
{
	char text[200];
	snprintf(text, sizeof(text), "10 {<MQTT> 05 04 0000 {} <a> {%s} <w> <x>}", wills[_i].props);
	_cleanup_packet_ struct packet in = packet_make(text);
	struct mqtt_frame f = packet_frame(&in);
	struct mqtt_connect c;
	uint8_t code;
	ck_assert_int_eq(mqtt_decode_connect(&f, &c, &code), 0);
	ck_assert_msg(c.will.props_travel == wills[_i].whole, "%s", wills[_i].name);
	struct buf out;
	buf_init(&out, 1000);
	ck_assert_int_eq(mqtt_will_travelling(&c.will, &out), 0);
	check_bytes(wills[_i].name, buf_slice(&out), wills[_i].travelling);
	if (wills[_i].whole)
		check_bytes(wills[_i].name, c.will.props, wills[_i].travelling);
	buf_free(&out);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("codec: CONNECT");
	TCase *tc = tcase_create("all");
	tcase_add_loop_test(tc, table, 0, ARRAY_LEN(cases));
	tcase_add_loop_test(tc, cut_short, 0, ARRAY_LEN(cases));
	tcase_add_test(tc, values_v311);
	tcase_add_test(tc, values_v5);
	tcase_add_loop_test(tc, will_travelling, 0, ARRAY_LEN(wills));
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
