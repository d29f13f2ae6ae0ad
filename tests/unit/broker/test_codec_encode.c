/* What the server sends. */
#include "tests/unit/broker/packets.h"

#define OUT(cap)                            \
	_cleanup_(buf_free) struct buf out; \
	buf_init(&out, cap)

static const struct {
	const char *name;
	enum mqtt_version v;
	struct mqtt_connack c;
	const char *bytes;
} connacks[] = {
        {"3.1.1 accepted", 4, {.code = 0}, "20 {00 00}"},
        {"[MQTT-3.2.2-2] 3.1.1 session present", 4, {.session_present = true}, "20 {01 00}"},
        {"[MQTT-3.2.2-4] 3.1.1 refused: no session", 4, {.session_present = true, .code = 0x87},
                "20 {00 05}"},
        {"3.1.1 level", 4, {.code = 0x84}, "20 {00 01}"},
        {"3.1.1 client id", 4, {.code = 0x85}, "20 {00 02}"},
        {"3.1.1 unavailable", 4, {.code = 0x88}, "20 {00 03}"},
        {"3.1.1 busy", 4, {.code = 0x89}, "20 {00 03}"},
        {"3.1.1 user or password", 4, {.code = 0x86}, "20 {00 04}"},
        {"3.1.1 not authorized", 4, {.code = 0x87}, "20 {00 05}"},
        {"3.1.1 knows no properties", 4, {.receive_maximum = 5, .reason_string = "x"},
                "20 {00 00}"},
        {"[MQTT-3.2.2-6] 3.1.1: no code for malformed", 4, {.code = 0x81}, ""},
        {"[MQTT-3.2.2-6] 3.1.1: no code for will topics", 4, {.code = 0x90}, ""},
        {"5 accepted", 5, {.code = 0}, "20 {00 00 {}}"},
        {"5 defaults are left out", 5,
                {.session_present = true,
                        .receive_maximum = 65535,
                        .maximum_packet_size = UINT32_MAX},
                "20 {01 00 {}}"},
        {"[MQTT-3.2.2-6] 5 refused: no session", 5, {.session_present = true, .code = 0x87},
                "20 {00 87 {}}"},
        {"5 everything", 5,
                {.has_session_expiry = true,
                        .session_expiry = 3600,
                        .receive_maximum = 256,
                        .maximum_packet_size = 278528,
                        .topic_alias_maximum = 16,
                        .has_server_keep_alive = true,
                        .server_keep_alive = 0,
                        .assigned_client_id = {(const uint8_t *)"dev", 3},
                        .reason_string = "why"},
                "20 {00 00 {11 00000e10 21 0100 27 00044000 22 0010 13 0000 12 <dev> 1f <why>}}"},
};

START_TEST(connack)
{
	OUT(1000);
	ck_assert_int_eq(mqtt_encode_connack(&out, connacks[_i].v, &connacks[_i].c), 0);
	check_bytes(connacks[_i].name, buf_slice(&out), connacks[_i].bytes);
}
END_TEST

static const struct {
	const char *name;
	enum mqtt_type type;
	enum mqtt_version v;
	uint16_t id;
	uint8_t reason;
	const char *bytes;
} acks[] = {
        {"PUBACK 3.1.1", MQTT_PUBACK, 4, 1, 0, "40 {0001}"},
        {"PUBACK 3.1.1 says no reason", MQTT_PUBACK, 4, 1, 0x87, "40 {0001}"},
        {"PUBACK 5 success", MQTT_PUBACK, 5, 0x1234, 0, "40 {1234}"},
        {"PUBACK 5", MQTT_PUBACK, 5, 1, 0x10, "40 {0001 10}"},
        {"PUBREC 5", MQTT_PUBREC, 5, 1, 0x87, "50 {0001 87}"},
        {"[MQTT-3.6.1-1] PUBREL", MQTT_PUBREL, 4, 1, 0, "62 {0001}"},
        {"PUBREL 5", MQTT_PUBREL, 5, 1, 0x92, "62 {0001 92}"},
        {"PUBCOMP 5", MQTT_PUBCOMP, 5, 65535, 0, "70 {ffff}"},
};

START_TEST(ack)
{
	OUT(1000);
	ck_assert_int_eq(
	        mqtt_encode_ack(&out, acks[_i].type, acks[_i].v, acks[_i].id, acks[_i].reason), 0);
	check_bytes(acks[_i].name, buf_slice(&out), acks[_i].bytes);
}
END_TEST

static const struct {
	const char *name;
	enum mqtt_type type;
	enum mqtt_version v;
	const char *codes, *bytes;
} subacks[] = {
        {"3.1.1", MQTT_SUBACK, 4, "00 01 02", "90 {0007 00 01 02}"},
        {"[MQTT-3.9.3-2] 3.1.1 knows one failure", MQTT_SUBACK, 4, "87 01 8f",
                "90 {0007 80 01 80}"},
        {"5", MQTT_SUBACK, 5, "00 87", "90 {0007 {} 00 87}"},
        {"UNSUBACK 3.1.1 has no codes", MQTT_UNSUBACK, 4, "00 11", "b0 {0007}"},
        {"UNSUBACK 5", MQTT_UNSUBACK, 5, "00 11", "b0 {0007 {} 00 11}"},
        {"two bytes of length", MQTT_SUBACK, 4, "01 * 200", "90 {0007 01 * 200}"},
};

START_TEST(suback)
{
	OUT(1000);
	_cleanup_packet_ struct packet codes = packet_make(subacks[_i].codes);
	ck_assert_int_eq(
	        mqtt_encode_suback(&out, subacks[_i].type, subacks[_i].v, 7, packet_slice(&codes)),
	        0);
	check_bytes(subacks[_i].name, buf_slice(&out), subacks[_i].bytes);
}
END_TEST

START_TEST(disconnect)
{
	OUT(1000);
	ck_assert_int_eq(mqtt_encode_disconnect(&out, 0, NULL), 0);
	ck_assert_int_eq(mqtt_encode_disconnect(&out, 0x8b, NULL), 0);
	ck_assert_int_eq(mqtt_encode_disconnect(&out, 0x8b, ""), 0);
	ck_assert_int_eq(mqtt_encode_disconnect(&out, 0x81, "bad"), 0);
	ck_assert_int_eq(mqtt_encode_disconnect(&out, 0, "bye"), 0);
	ck_assert_int_eq(mqtt_encode_pingresp(&out), 0);
	check_bytes("all", buf_slice(&out),
	        "e0 {} e0 {8b} e0 {8b} e0 {81 {1f <bad>}} e0 {00 {1f <bye>}} d0 {}");
}
END_TEST

static const uint32_t ids[] = {1, 128, 268435455};
static const struct {
	const char *name;
	enum mqtt_version v;
	struct mqtt_publish_out p;
	const char *props, *payload; /* of the message */
	const char *bytes;
} publishes[] = {
        {"3.1.1 QoS 0", 4, {.topic = {(const uint8_t *)"a/b", 3}}, "", "'x'", "30 {<a/b> 'x'}"},
        {"3.1.1 QoS 2, all flags", 4,
                {.topic = {(const uint8_t *)"a", 1},
                        .qos = 2,
                        .dup = true,
                        .retain = true,
                        .packet_id = 9},
                "", "'x'", "3d {<a> 0009 'x'}"},
        {"3.1.1 sends no properties", 4,
                {.topic = {(const uint8_t *)"a", 1},
                        .alias = 3,
                        .has_expiry = true,
                        .subscription_ids = ids,
                        .n_subscription_ids = 3,
                        .props_len = 7},
                "", "'x'", "30 {<a> 'x'}"},
        {"5 QoS 0", 5, {.topic = {(const uint8_t *)"a", 1}}, "", "", "30 {<a> {}}"},
        {"5 with the message's properties", 5,
                {.topic = {(const uint8_t *)"a", 1}, .qos = 1, .packet_id = 1}, "26 <k> <v>", "'x'",
                "32 {<a> 0001 {26 <k> <v>} 'x'}"},
        {"5 everything", 5,
                {.topic = {NULL, 0},
                        .qos = 1,
                        .packet_id = 1,
                        .alias = 3,
                        .has_expiry = true,
                        .expiry = 10,
                        .subscription_ids = ids,
                        .n_subscription_ids = 3},
                "26 <k> <v>", "'x'",
                "32 {<> 0001 {23 0003 02 0000000a 0b 01 0b 8001 0b ffffff7f 26 <k> <v>} 'x'}"},
        {"5 lengths of two bytes", 5, {.topic = {(const uint8_t *)"a", 1}}, "09 00c8 'c' * 200",
                "'x' * 20000", "30 {<a> {09 00c8 'c' * 200} 'x' * 20000}"},
};

START_TEST(publish)
{
	OUT(100000);
	_cleanup_packet_ struct packet props = packet_make(publishes[_i].props);
	_cleanup_packet_ struct packet payload = packet_make(publishes[_i].payload);
	struct mqtt_publish_out p = publishes[_i].p;
	if (publishes[_i].v == MQTT_V5)
		p.props_len = props.n;
	p.payload_len = payload.n;
	size_t size = 0;
	ck_assert_int_eq(mqtt_encode_publish_head(&out, publishes[_i].v, &p, &size), 0);
	buf_append(&out, props.p, props.n);
	buf_append(&out, payload.p, payload.n);
	check_bytes(publishes[_i].name, buf_slice(&out), publishes[_i].bytes);
	ck_assert_uint_eq(size, buf_len(&out));
}
END_TEST

/* A packet is in the buffer whole or not at all, whatever room there is. */
START_TEST(too_big)
{
	uint8_t codes[10] = {0};
	struct mqtt_connack c = connacks[ARRAY_LEN(connacks) - 1].c;
	struct mqtt_publish_out p = {.topic = slice_str("abcdef"), .payload_len = 1};
	for (size_t cap = 0; cap < 60; cap++) {
		OUT(cap);
		const int got[] = {
		        mqtt_encode_connack(&out, MQTT_V5, &c),
		        mqtt_encode_connack(&out, MQTT_V311, &c),
		        mqtt_encode_suback(&out, MQTT_SUBACK, MQTT_V5, 1, slice_make(codes, 10)),
		        mqtt_encode_ack(&out, MQTT_PUBACK, MQTT_V5, 1, 0x87),
		        mqtt_encode_pingresp(&out),
		        mqtt_encode_disconnect(&out, 0x81, "text"),
		        mqtt_encode_publish_head(&out, MQTT_V5, &p, NULL),
		};
		const size_t sizes[] = {36, 4, 15, 5, 2, 11, 11};
		size_t held = 0;
		for (size_t i = 0; i < ARRAY_LEN(got); i++) {
			bool fits = held + sizes[i] <= cap;
			ck_assert_msg(got[i] == (fits ? 0 : ERR_TOO_BIG), "cap %zu, %zu: %d", cap,
			        i, got[i]);
			held += fits ? sizes[i] : 0;
		}
		ck_assert_uint_eq(buf_len(&out), held);
	}
}
END_TEST

START_TEST(over_the_protocol)
{
	OUT(1000);
	struct mqtt_publish_out p = {.topic = slice_str("a"), .payload_len = 268435455 - 3};
	size_t size;
	ck_assert_int_eq(mqtt_encode_publish_head(&out, MQTT_V311, &p, &size), 0);
	ck_assert_uint_eq(size, 268435455 + 5);
	p.payload_len++;
	ck_assert_int_eq(mqtt_encode_publish_head(&out, MQTT_V311, &p, &size), ERR_TOO_BIG);
	p.payload_len = SIZE_MAX;
	ck_assert_int_eq(mqtt_encode_publish_head(&out, MQTT_V311, &p, &size), ERR_TOO_BIG);
	/* Nobody reads them: the length alone is too much. */
	struct slice codes = slice_make(&size, 268435455);
	ck_assert_int_eq(mqtt_encode_suback(&out, MQTT_SUBACK, MQTT_V311, 1, codes), ERR_TOO_BIG);

	char *text = calloc(1, 65537);
	memset(text, 'x', 65536);
	struct mqtt_connack c = {.reason_string = text};
	ck_assert_int_eq(mqtt_encode_connack(&out, MQTT_V5, &c), ERR_TOO_BIG);
	c = (struct mqtt_connack){.assigned_client_id = slice_str(text)};
	ck_assert_int_eq(mqtt_encode_connack(&out, MQTT_V5, &c), ERR_TOO_BIG);
	ck_assert_int_eq(mqtt_encode_disconnect(&out, 0x81, text), ERR_TOO_BIG);
	free(text);
	ck_assert_uint_eq(buf_len(&out), 8); /* the head that fitted */
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("codec: encoding");
	TCase *tc = tcase_create("all");
	tcase_add_loop_test(tc, connack, 0, ARRAY_LEN(connacks));
	tcase_add_loop_test(tc, ack, 0, ARRAY_LEN(acks));
	tcase_add_loop_test(tc, suback, 0, ARRAY_LEN(subacks));
	tcase_add_test(tc, disconnect);
	tcase_add_loop_test(tc, publish, 0, ARRAY_LEN(publishes));
	tcase_add_test(tc, too_big);
	tcase_add_test(tc, over_the_protocol);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
