#include "tests/unit/base/unit.h"

#include "server/base/buf.h"
#include "server/base/err.h"

START_TEST(an_empty_buffer_holds_no_memory)
{
	struct buf b;
	buf_init(&b, 100);
	ck_assert_ptr_null(b.data);
	ck_assert_uint_eq(buf_slice(&b).n, 0);
	ck_assert_int_eq(buf_append(&b, NULL, 0), 0);
	ck_assert_ptr_null(b.data);
	ck_assert_int_eq(buf_append_str(&b, "abc"), 0);
	buf_consume(&b, 3);
	ck_assert_ptr_null(b.data);
	ck_assert_int_eq(buf_append_str(&b, "again"), 0);
	assert_slice(buf_slice(&b), "again");
	buf_free(&b);
}
END_TEST

START_TEST(the_cap_holds_to_the_byte)
{
	struct buf b;
	buf_init(&b, 10);
	ck_assert_int_eq(buf_append_str(&b, "0123456789"), 0);
	ck_assert_int_eq(buf_append_byte(&b, 'x'), ERR_TOO_BIG);
	ck_assert_int_eq(buf_append(&b, "", SIZE_MAX), ERR_TOO_BIG);
	ck_assert_int_eq(buf_printf(&b, "%d", 1), ERR_TOO_BIG);
	ck_assert_ptr_null(buf_reserve(&b, 1));
	assert_slice(buf_slice(&b), "0123456789");
	buf_consume(&b, 4);
	ck_assert_int_eq(buf_append_str(&b, "abcd"), 0);
	assert_slice(buf_slice(&b), "456789abcd");
	ck_assert_int_eq(buf_append_byte(&b, 'x'), ERR_TOO_BIG);
	buf_free(&b);
	buf_init(&b, 0);
	ck_assert_int_eq(buf_append_byte(&b, 'x'), ERR_TOO_BIG);
	ck_assert_int_eq(buf_printf(&b, "%s", ""), 0);
	buf_free(&b);
}
END_TEST

START_TEST(a_stream_goes_through_whole)
{
	struct buf b;
	buf_init(&b, 5000);
	unsigned in = 0, out = 0;
	for (int round = 0; round < 3000; round++) {
		for (int i = 0; i < round % 97; i++, in++)
			if (buf_append_byte(&b, (uint8_t)in) < 0)
				break;
		size_t n = buf_len(&b) < (size_t)(round % 89) ? buf_len(&b) : (size_t)(round % 89);
		for (size_t i = 0; i < n; i++, out++)
			ck_assert_uint_eq(buf_slice(&b).p[i], (uint8_t)out);
		buf_consume(&b, n);
	}
	ck_assert_uint_eq(in - out, buf_len(&b));
	buf_free(&b);
}
END_TEST

START_TEST(reserved_room_is_filled_in_place)
{
	struct buf b;
	buf_init(&b, 1000);
	uint8_t *p = buf_reserve(&b, 500);
	ck_assert_ptr_nonnull(p);
	memcpy(p, "hello", 5);
	buf_added(&b, 5);
	assert_slice(buf_slice(&b), "hello");
	ck_assert_int_eq(buf_ensure(&b, 995), 0);
	ck_assert_int_eq(buf_ensure(&b, 996), ERR_TOO_BIG);
	buf_wipe(&b);
	ck_assert_uint_eq(buf_len(&b), 0);
}
END_TEST

START_TEST(printf_may_fill_the_cap)
{
	struct buf b;
	buf_init(&b, 200);
	ck_assert_int_eq(buf_printf(&b, "%0100d", 7), 0);
	ck_assert_int_eq(buf_printf(&b, "%0100d", 8), 0);
	ck_assert_uint_eq(buf_len(&b), 200);
	ck_assert_uint_eq(buf_slice(&b).p[199], '8');
	buf_free(&b);
}
END_TEST

START_TEST(truncate_and_steal)
{
	struct buf b;
	buf_init(&b, 100);
	size_t n;
	char *s = buf_steal(&b, &n);
	ck_assert_str_eq(s, "");
	ck_assert_uint_eq(n, 0);
	free(s);
	buf_append_str(&b, "xxhello");
	buf_consume(&b, 2);
	buf_truncate(&b, 4);
	s = buf_steal(&b, NULL);
	ck_assert_str_eq(s, "hell");
	free(s);
	ck_assert_ptr_null(b.data);
	buf_append_str(&b, "x");
	buf_truncate(&b, 0);
	ck_assert_ptr_null(b.data);
}
END_TEST

UNIT_MAIN("buf", an_empty_buffer_holds_no_memory, the_cap_holds_to_the_byte,
        a_stream_goes_through_whole, reserved_room_is_filled_in_place, printf_may_fill_the_cap,
        truncate_and_steal)
