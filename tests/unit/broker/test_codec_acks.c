/* PUBACK, PUBREC, PUBREL, PUBCOMP, DISCONNECT and AUTH from a client. */
#include "tests/unit/broker/packets.h"

static const struct {
	const char *name;
	enum mqtt_version v;
	const char *bytes;
	int want;
	unsigned reason;
} acks[] = {
        {"PUBACK, 3.1.1", 4, "40 {0001}", 0, 0},
        {"PUBREC, 3.1.1", 4, "50 {ffff}", 0, 0},
        {"PUBREL, 3.1.1", 4, "62 {0001}", 0, 0},
        {"PUBCOMP, 3.1.1", 4, "70 {0001}", 0, 0},
        {"3.1.1 knows no reason", 4, "40 {0001 00}", ERR_MALFORMED, 0},
        {"3.1.1 PUBREL knows no reason", 4, "62 {0001 00 00}", ERR_MALFORMED, 0},
        {"[3.4.2.1] length 2 is success", 5, "40 {0001}", 0, 0},
        {"[3.4.2.1] length 3", 5, "40 {0001 10}", 0, 0x10},
        {"[3.4.2.2] length 4", 5, "40 {0001 10 {}}", 0, 0x10},
        {"reason string and user properties", 5, "40 {0001 80 {1f <r> 26 <k> <v> 26 <k> <v>}}", 0,
                0x80},
        {"nothing", 5, "40 {}", ERR_MALFORMED, 0},
        {"half a packet id", 4, "40 {01}", ERR_MALFORMED, 0},
        {"[MQTT-2.2.1-3] packet id 0", 5, "40 {0000}", ERR_PROTOCOL, 0},
        {"[MQTT-2.3.1-1] packet id 0, 3.1.1", 4, "62 {0000}", ERR_PROTOCOL, 0},
        {"bytes behind the properties", 5, "40 {0001 00 {} 00}", ERR_MALFORMED, 0},
        {"properties over the body", 5, "40 {0001 00 05 1f}", ERR_MALFORMED, 0},
        {"[MQTT-1.5.5-1] property length too long", 5, "40 {0001 00 8000}", ERR_MALFORMED, 0},
        {"[MQTT-1.5.5-1] remaining length too long", 5, "40 8200 0001", ERR_MALFORMED, 0},
        {"[MQTT-3.4.2-2] reason string twice", 5, "40 {0001 00 {1f <r> 1f <r>}}", ERR_PROTOCOL, 0},
        {"reason string: not UTF-8", 5, "40 {0001 00 {1f 0001 ff}}", ERR_MALFORMED, 0},
        {"another packet's property", 5, "40 {0001 00 {11 00000001}}", ERR_MALFORMED, 0},
        {"server reference", 5, "50 {0001 00 {1c <x>}}", ERR_MALFORMED, 0},
        {"[MQTT-3.4.2-1] PUBACK 01", 5, "40 {0001 01}", ERR_PROTOCOL, 0},
        {"[MQTT-3.4.2-1] PUBACK 92", 5, "40 {0001 92}", ERR_PROTOCOL, 0},
        {"[MQTT-3.5.2-1] PUBREC 92", 5, "50 {0001 92 {}}", ERR_PROTOCOL, 0},
        {"[MQTT-3.5.2-1] PUBREC 91", 5, "50 {0001 91}", 0, 0x91},
        {"[MQTT-3.6.2-1] PUBREL 92", 5, "62 {0001 92}", 0, 0x92},
        {"[MQTT-3.6.2-1] PUBREL 10", 5, "62 {0001 10}", ERR_PROTOCOL, 0},
        {"[MQTT-3.7.2-1] PUBCOMP 92", 5, "70 {0001 92}", 0, 0x92},
        {"[MQTT-3.7.2-1] PUBCOMP 80", 5, "70 {0001 80}", ERR_PROTOCOL, 0},
};

START_TEST(ack_table)
{
	_cleanup_packet_ struct packet in = packet_make(acks[_i].bytes);
	struct mqtt_frame f = packet_frame(&in);
	struct mqtt_ack ack = {0, 0xEE};
	int got = mqtt_decode_ack(&f, acks[_i].v, &ack);
	ck_assert_msg(got == acks[_i].want, "%s: %s", acks[_i].name, err_name(got));
	if (got == 0) {
		ck_assert_msg(ack.reason == acks[_i].reason, "%s", acks[_i].name);
		ck_assert_uint_eq(ack.packet_id, f.body.p[0] << 8 | f.body.p[1]);
	} else {
		ck_assert_msg(ack.reason == 0xEE, "%s: touched", acks[_i].name);
	}
}
END_TEST

/* Which of all 256 reason codes a client may send in which packet: MQTT 5.0, Table 2-6. */
static const struct {
	const char *name;
	enum mqtt_type type;
	const char *codes;
} reasons[] = {
        {"[MQTT-3.4.2-1]", MQTT_PUBACK, "00 10 80 83 87 90 91 97 99"},
        {"[MQTT-3.5.2-1]", MQTT_PUBREC, "00 10 80 83 87 90 91 97 99"},
        {"[MQTT-3.6.2-1]", MQTT_PUBREL, "00 92"},
        {"[MQTT-3.7.2-1]", MQTT_PUBCOMP, "00 92"},
        {"[MQTT-3.14.2-1]", MQTT_DISCONNECT, "00 04 80 81 82 83 90 93 94 95 96 97 98 99"},
        {"[MQTT-3.15.2-1]", MQTT_AUTH, "18 19"},
};

static int decode_any(const struct mqtt_frame *f)
{
	struct mqtt_ack ack;
	struct mqtt_disconnect d;
	struct mqtt_auth a;
	if (f->type == MQTT_DISCONNECT)
		return mqtt_decode_disconnect(f, MQTT_V5, &d);
	if (f->type == MQTT_AUTH)
		return mqtt_decode_auth(f, &a);
	return mqtt_decode_ack(f, MQTT_V5, &ack);
}

START_TEST(every_reason)
{
	_cleanup_packet_ struct packet codes = packet_make(reasons[_i].codes);
	for (unsigned code = 0; code < 256; code++) {
		uint8_t ack[] = {0, 1, (uint8_t)code};
		uint8_t disconnect[] = {(uint8_t)code};
		uint8_t auth[] = {(uint8_t)code, 4, 0x15, 0, 1, 'm'};
		struct mqtt_frame f = {reasons[_i].type, 0, slice_make(ack, sizeof(ack)), 0};
		if (f.type == MQTT_DISCONNECT)
			f.body = slice_make(disconnect, sizeof(disconnect));
		if (f.type == MQTT_AUTH)
			f.body = slice_make(auth, sizeof(auth));
		f.size = f.body.n + 2;
		int want = memchr(codes.p, (int)code, codes.n) ? 0 : ERR_PROTOCOL;
		int got = decode_any(&f);
		ck_assert_msg(got == want, "%s: %02x: %s", reasons[_i].name, code, err_name(got));
	}
}
END_TEST

static const struct {
	const char *name;
	enum mqtt_version v;
	const char *bytes;
	int want;
	unsigned reason;
	int64_t expiry; /* -1: none */
} disconnects[] = {
        {"3.1.1", 4, "e0 {}", 0, 0, -1},
        {"3.1.1 has no body", 4, "e0 {00}", ERR_MALFORMED, 0, -1},
        {"[3.14.2.1] length 0 is normal", 5, "e0 {}", 0, 0, -1},
        {"[3.14.2.1] length 1", 5, "e0 {04}", 0, 4, -1},
        {"[3.14.2.2.1] length 2", 5, "e0 {04 {}}", 0, 4, -1},
        {"session expiry", 5, "e0 {00 {11 00000e10}}", 0, 0, 3600},
        {"all a client may send", 5, "e0 {98 {11 ffffffff 1f <r> 26 <k> <v> 26 <k> <v>}}", 0, 0x98,
                UINT32_MAX},
        {"session expiry twice", 5, "e0 {00 {11 00000001 11 00000001}}", ERR_PROTOCOL, 0, -1},
        {"reason string twice", 5, "e0 {00 {1f <r> 1f <r>}}", ERR_PROTOCOL, 0, -1},
        {"server reference is the server's", 5, "e0 {00 {1c <x>}}", ERR_PROTOCOL, 0, -1},
        {"another packet's property", 5, "e0 {00 {21 0001}}", ERR_MALFORMED, 0, -1},
        {"a server's reason", 5, "e0 {8b}", ERR_PROTOCOL, 0, -1},
        {"bytes behind the properties", 5, "e0 {00 {} 00}", ERR_MALFORMED, 0, -1},
        {"properties cut short", 5, "e0 {00 05 11}", ERR_MALFORMED, 0, -1},
        {"[MQTT-1.5.5-1] remaining length too long", 5, "e0 8000", ERR_MALFORMED, 0, -1},
};

START_TEST(disconnect_table)
{
	_cleanup_packet_ struct packet in = packet_make(disconnects[_i].bytes);
	struct mqtt_frame f = packet_frame(&in);
	struct mqtt_disconnect d;
	int got = mqtt_decode_disconnect(&f, disconnects[_i].v, &d);
	ck_assert_msg(got == disconnects[_i].want, "%s: %s", disconnects[_i].name, err_name(got));
	if (got < 0)
		return;
	ck_assert_msg(d.reason == disconnects[_i].reason, "%s", disconnects[_i].name);
	ck_assert_msg(
	        d.has_session_expiry == (disconnects[_i].expiry >= 0), "%s", disconnects[_i].name);
	if (d.has_session_expiry)
		ck_assert_int_eq(d.session_expiry, disconnects[_i].expiry);
}
END_TEST

static const struct {
	const char *name, *bytes;
	int want;
} auths[] = {
        {"continue", "f0 {18 {15 <m> 16 <d>}}", 0},
        {"again, with all", "f0 {19 {15 <m> 16 <d> 1f <r> 26 <k> <v> 26 <k> <v>}}", 0},
        {"without data", "f0 {18 {15 <m>}}", 0},
        {"[MQTT-3.15.2-1] success is the server's", "f0 {00 {15 <m>}}", ERR_PROTOCOL},
        {"[MQTT-3.15.2-1] length 0 means success", "f0 {}", ERR_PROTOCOL},
        {"properties missing", "f0 {18}", ERR_MALFORMED},
        {"[3.15.2.2.2] method missing", "f0 {18 {}}", ERR_PROTOCOL},
        {"[3.15.2.2.2] data without method", "f0 {18 {16 <d>}}", ERR_PROTOCOL},
        {"method twice", "f0 {18 {15 <m> 15 <m>}}", ERR_PROTOCOL},
        {"data twice", "f0 {18 {15 <m> 16 <d> 16 <d>}}", ERR_PROTOCOL},
        {"reason string twice", "f0 {18 {15 <m> 1f <r> 1f <r>}}", ERR_PROTOCOL},
        {"another packet's property", "f0 {18 {15 <m> 11 00000001}}", ERR_MALFORMED},
        {"method: not UTF-8", "f0 {18 {15 0001 ff}}", ERR_MALFORMED},
        {"bytes behind the properties", "f0 {18 {15 <m>} 00}", ERR_MALFORMED},
        {"[MQTT-1.5.5-1] remaining length too long", "f0 8600 18 04 15 <m>", ERR_MALFORMED},
};

START_TEST(auth_table)
{
	_cleanup_packet_ struct packet in = packet_make(auths[_i].bytes);
	struct mqtt_frame f = packet_frame(&in);
	struct mqtt_auth a;
	int got = mqtt_decode_auth(&f, &a);
	ck_assert_msg(got == auths[_i].want, "%s: %s", auths[_i].name, err_name(got));
	if (got < 0)
		return;
	ck_assert_uint_eq(a.reason, f.body.p[0]);
	check_slice("method", a.method, "m");
	if (a.data.p)
		check_slice("data", a.data, "d");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("codec: acknowledgements, DISCONNECT, AUTH");
	TCase *tc = tcase_create("all");
	tcase_add_loop_test(tc, ack_table, 0, ARRAY_LEN(acks));
	tcase_add_loop_test(tc, every_reason, 0, ARRAY_LEN(reasons));
	tcase_add_loop_test(tc, disconnect_table, 0, ARRAY_LEN(disconnects));
	tcase_add_loop_test(tc, auth_table, 0, ARRAY_LEN(auths));
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
