/* Fixed headers and variable byte integers. */
#include "tests/unit/broker/packets.h"

static const struct {
	const char *name, *bytes;
	int want;
	uint32_t value;
	size_t len;
} varints[] = {
        {"[1.5.5] 0", "00", 1, 0, 1},
        {"[1.5.5] 127", "7f", 1, 127, 1},
        {"[1.5.5] 128", "80 01", 1, 128, 2},
        {"[1.5.5] 16383", "ff 7f", 1, 16383, 2},
        {"[1.5.5] 16384", "80 80 01", 1, 16384, 3},
        {"[1.5.5] 2097151", "ff ff 7f", 1, 2097151, 3},
        {"[1.5.5] 2097152", "80 80 80 01", 1, 2097152, 4},
        {"[1.5.5] 268435455", "ff ff ff 7f", 1, 268435455, 4},
        {"only the first counts", "05 80", 1, 5, 1},
        {"nothing", "", 0, 0, 0},
        {"cut short after 1", "80", 0, 0, 0},
        {"cut short after 3", "ff ff ff", 0, 0, 0},
        {"five bytes", "80 80 80 80 01", ERR_MALFORMED, 0, 0},
        {"four bytes that go on", "ff ff ff ff", ERR_MALFORMED, 0, 0},
};

START_TEST(varint_get)
{
	_cleanup_packet_ struct packet in = packet_make(varints[_i].bytes);
	uint32_t value = 0;
	size_t len = 0;
	int got = mqtt_varint_get(packet_slice(&in), &value, &len);
	ck_assert_msg(
	        got == varints[_i].want && value == varints[_i].value && len == varints[_i].len,
	        "%s: %d, %u, %zu", varints[_i].name, got, value, len);
}
END_TEST

START_TEST(varint_put)
{
	if (varints[_i].want != 1)
		return;
	uint8_t out[4];
	size_t n = mqtt_varint_put(out, varints[_i].value);
	ck_assert_uint_eq(n, varints[_i].len);
	_cleanup_packet_ struct packet want = packet_make(varints[_i].bytes);
	ck_assert_mem_eq(out, want.p, n);
}
END_TEST

static const struct {
	const char *name, *bytes;
	int want;
	size_t size; /* of the packet, or needed where it is incomplete */
} frames[] = {
        {"nothing", "", 0, 2},
        {"one byte", "c0", 0, 2},
        {"PINGREQ", "c0 00", 1, 2},
        {"the first of two", "c0 00 c0 00", 1, 2},
        {"length cut short", "30 80", 0, 3},
        {"length cut short after 3", "30 80 80 80", 0, 5},
        {"body missing", "30 05", 0, 7},
        {"body cut short", "30 05 0001", 0, 7},
        {"body there", "30 05 0001 'a' 'bc'", 1, 7},
        {"as large as allowed", "30 {00 * 997}", 1, 1000},
        {"one byte over", "30 {00 * 998}", ERR_TOO_BIG, 0},
        {"over, seen from the header", "30 e6 07", ERR_TOO_BIG, 0},
        {"the largest length", "30 ff ff ff 7f", ERR_TOO_BIG, 0},
        {"[MQTT-1.5.5] length of five bytes", "30 ff ff ff ff 01", ERR_MALFORMED, 0},
        {"[MQTT-1.5.5] seen after four", "30 ff ff ff ff", ERR_MALFORMED, 0},
        {"length longer than need be: left to MQTT 5's decoders", "30 83 00 0001 'a'", 1, 6},
        {"PINGREQ with a body", "c0 01 00", ERR_MALFORMED, 0},
        {"PINGRESP with a body", "d0 01 00", ERR_MALFORMED, 0},
        {"type 0 is the broker's to refuse", "00 00", 1, 2},
        {"type 0 with flags too", "0f 00", 1, 2},
        {"PUBLISH, all flags", "3f 00", 1, 2},
        {"AUTH", "f0 00", 1, 2},
        {"[MQTT-2.1.3-1] CONNECT 1", "11 00", ERR_MALFORMED, 0},
        {"[MQTT-2.1.3-1] CONNECT 8, at the first byte", "18", ERR_MALFORMED, 0},
        {"[MQTT-2.1.3-1] CONNACK", "21 00", ERR_MALFORMED, 0},
        {"[MQTT-2.1.3-1] PUBACK", "42 02 0001", ERR_MALFORMED, 0},
        {"[MQTT-2.1.3-1] PUBREC", "52 02 0001", ERR_MALFORMED, 0},
        {"[MQTT-3.6.1-1] PUBREL 0", "60 02 0001", ERR_MALFORMED, 0},
        {"[MQTT-3.6.1-1] PUBREL 3", "63 02 0001", ERR_MALFORMED, 0},
        {"[MQTT-3.6.1-1] PUBREL 2", "62 02 0001", 1, 4},
        {"[MQTT-2.1.3-1] PUBCOMP", "72 02 0001", ERR_MALFORMED, 0},
        {"[MQTT-3.8.1-1] SUBSCRIBE 0", "80 00", ERR_MALFORMED, 0},
        {"[MQTT-3.8.1-1] SUBSCRIBE 6", "86 00", ERR_MALFORMED, 0},
        {"[MQTT-3.8.1-1] SUBSCRIBE 2", "82 00", 1, 2},
        {"[MQTT-3.10.1-1] UNSUBSCRIBE 0", "a0 00", ERR_MALFORMED, 0},
        {"[MQTT-3.10.1-1] UNSUBSCRIBE 2", "a2 00", 1, 2},
        {"[MQTT-2.1.3-1] PINGREQ", "c1 00", ERR_MALFORMED, 0},
        {"[MQTT-3.14.1-1] DISCONNECT", "e1 00", ERR_MALFORMED, 0},
        {"[MQTT-3.15.1-1] AUTH", "f1 00", ERR_MALFORMED, 0},
};

START_TEST(frame_next)
{
	_cleanup_packet_ struct packet in = packet_make(frames[_i].bytes);
	struct mqtt_frame f = {0};
	size_t need = 0;
	int got = mqtt_frame_next(packet_slice(&in), 1000, &f, &need);
	ck_assert_msg(got == frames[_i].want, "%s: %d", frames[_i].name, got);
	if (got == 1) {
		ck_assert_uint_eq(f.size, frames[_i].size);
		ck_assert_uint_eq(f.type, in.p[0] >> 4);
		ck_assert_uint_eq(f.flags, in.p[0] & 15);
		ck_assert_ptr_eq(f.body.p + f.body.n, in.p + f.size);
	}
	if (got == 0)
		ck_assert_msg(need == frames[_i].size, "%s: need %zu", frames[_i].name, need);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("codec: frames");
	TCase *tc = tcase_create("all");
	tcase_add_loop_test(tc, varint_get, 0, ARRAY_LEN(varints));
	tcase_add_loop_test(tc, varint_put, 0, ARRAY_LEN(varints));
	tcase_add_loop_test(tc, frame_next, 0, ARRAY_LEN(frames));
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
