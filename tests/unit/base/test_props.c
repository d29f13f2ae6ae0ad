#include "tests/unit/base/unit.h"

#include "server/base/err.h"
#include "server/base/props.h"

START_TEST(every_kind_goes_there_and_back)
{
	struct buf b;
	buf_init(&b, 1000);
	ck_assert_int_eq(prop_put_byte(&b, PROP_PAYLOAD_FORMAT, 1), 0);
	ck_assert_int_eq(prop_put_u16(&b, PROP_TOPIC_ALIAS, 0xabcd), 0);
	ck_assert_int_eq(prop_put_u32(&b, PROP_MESSAGE_EXPIRY, 0xdeadbeef), 0);
	ck_assert_int_eq(prop_put_varint(&b, PROP_SUBSCRIPTION_ID, 268435455), 0);
	ck_assert_int_eq(prop_put_string(&b, PROP_CONTENT_TYPE, SLICE_LIT("text")), 0);
	ck_assert_int_eq(prop_put_string(&b, PROP_CORRELATION_DATA, SLICE_LIT("\xff\x01")), 0);
	ck_assert_int_eq(prop_put_user(&b, SLICE_LIT("name"), SLICE_LIT("value")), 0);
	struct slice in = buf_slice(&b);
	struct prop p;
	size_t raw = 0;
	const uint32_t numbers[] = {1, 0xabcd, 0xdeadbeef, 268435455};
	for (size_t i = 0; i < 4; i++) {
		ck_assert_int_eq(prop_next(&in, &p), 1);
		ck_assert_uint_eq(p.number, numbers[i]);
		raw += p.raw.n;
	}
	ck_assert_int_eq(p.id, PROP_SUBSCRIPTION_ID);
	ck_assert_int_eq(prop_next(&in, &p), 1);
	assert_slice(p.value, "text");
	raw += p.raw.n;
	ck_assert_int_eq(prop_next(&in, &p), 1);
	assert_slice(p.value, "\xff\x01");
	raw += p.raw.n;
	ck_assert_int_eq(prop_next(&in, &p), 1);
	ck_assert_int_eq(p.id, PROP_USER_PROPERTY);
	assert_slice(p.name, "name");
	assert_slice(p.value, "value");
	raw += p.raw.n;
	ck_assert_int_eq(prop_next(&in, &p), 0);
	ck_assert_uint_eq(raw, buf_len(&b));
	buf_free(&b);
}
END_TEST

START_TEST(each_prefix_is_malformed)
{
	struct buf b;
	buf_init(&b, 1000);
	prop_put_user(&b, SLICE_LIT("name"), SLICE_LIT("value"));
	for (size_t n = 1; n < buf_len(&b); n++) {
		struct slice in = slice_make(buf_slice(&b).p, n);
		struct prop p = {.id = 99};
		ck_assert_int_eq(prop_next(&in, &p), ERR_MALFORMED);
		ck_assert_int_eq(p.id, 99);
		ck_assert_uint_eq(in.n, n);
	}
	buf_free(&b);
}
END_TEST

static int next_of(const char *bytes, size_t n)
{
	struct slice in = slice_make(bytes, n);
	struct prop p;
	return prop_next(&in, &p);
}
#define NEXT(bytes) next_of(bytes, sizeof(bytes) - 1)

START_TEST(malformed_properties)
{
	ck_assert_int_eq(NEXT("\x00\x00"), ERR_MALFORMED);
	ck_assert_int_eq(NEXT("\x04\x00"), ERR_MALFORMED);
	ck_assert_int_eq(NEXT("\x2b\x00"), ERR_MALFORMED);
	ck_assert_int_eq(NEXT("\xff\x00"), ERR_MALFORMED);
	ck_assert_int_eq(NEXT("\x01"), ERR_MALFORMED);
	ck_assert_int_eq(NEXT("\x02\x00\x00\x00"), ERR_MALFORMED);
	ck_assert_int_eq(NEXT("\x21\x00"), ERR_MALFORMED);
	ck_assert_int_eq(NEXT("\x03\x00\x02"
	                      "a"),
	        ERR_MALFORMED);
	ck_assert_int_eq(NEXT("\x03\x00\x01\x00"), ERR_MALFORMED);
	ck_assert_int_eq(NEXT("\x03\x00\x02\xc3\x28"), ERR_MALFORMED);
	ck_assert_int_eq(NEXT("\x26\x00\x01\xff\x00\x00"), ERR_MALFORMED);
	ck_assert_int_eq(NEXT("\x26\x00\x00\x00\x01\x00"), ERR_MALFORMED);
	ck_assert_int_eq(NEXT("\x26\x00\x00\x00\x00"), 1);
	ck_assert_int_eq(NEXT("\x0b\x80\x80\x80\x80\x01"), ERR_MALFORMED);
	ck_assert_int_eq(NEXT("\x0b\x80\x80\x80"), ERR_MALFORMED);
	/* More bytes than the value needs. */
	ck_assert_int_eq(NEXT("\x0b\x80\x00"), ERR_MALFORMED);
	ck_assert_int_eq(NEXT("\x0b\xff\xff\xff\x7f"), 1);
	ck_assert_int_eq(NEXT("\x0b\x00"), 1);
}
END_TEST

START_TEST(what_does_not_fit_is_not_written)
{
	struct buf b;
	buf_init(&b, 20);
	static const char big[65536];
	ck_assert_int_eq(
	        prop_put_string(&b, PROP_REASON_STRING, slice_make(big, 65536)), ERR_TOO_BIG);
	ck_assert_int_eq(prop_put_user(&b, slice_make(big, 65536), SLICE_LIT("")), ERR_TOO_BIG);
	ck_assert_int_eq(prop_put_user(&b, SLICE_LIT(""), slice_make(big, 65536)), ERR_TOO_BIG);
	ck_assert_int_eq(prop_put_varint(&b, PROP_SUBSCRIPTION_ID, 268435456), ERR_TOO_BIG);
	ck_assert_int_eq(prop_put_string(&b, PROP_REASON_STRING, slice_make(big, 18)), ERR_TOO_BIG);
	ck_assert_int_eq(prop_put_user(&b, slice_make(big, 8), slice_make(big, 8)), ERR_TOO_BIG);
	ck_assert_uint_eq(buf_len(&b), 0);
	ck_assert_int_eq(
	        prop_put_string(&b, PROP_REASON_STRING, slice_make("12345678901234567", 17)), 0);
	ck_assert_uint_eq(buf_len(&b), 20);
	ck_assert_int_eq(prop_put_byte(&b, PROP_PAYLOAD_FORMAT, 1), ERR_TOO_BIG);
	buf_free(&b);
	buf_init(&b, 70000);
	ck_assert_int_eq(prop_put_string(&b, PROP_CORRELATION_DATA, slice_make(big, 65535)), 0);
	ck_assert_uint_eq(buf_len(&b), 65538);
	buf_free(&b);
}
END_TEST

UNIT_MAIN("props", every_kind_goes_there_and_back, each_prefix_is_malformed, malformed_properties,
        what_does_not_fit_is_not_written)
