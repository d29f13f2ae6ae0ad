#include "tests/unit/base/unit.h"

#include "server/base/utf8.h"

static void assert_both(const char *s, size_t n, bool mqtt, bool plain)
{
	/* At each place of a longer text, so that the fast path meets it too. */
	char text[64];
	for (size_t at = 0; at < 20; at++) {
		memset(text, 'a', sizeof(text));
		memcpy(text + at, s, n);
		struct slice whole = slice_make(text, at + n + 20), end = slice_make(text, at + n);
		ck_assert_msg(utf8_valid_mqtt(whole) == mqtt, "%s at %zu", s, at);
		ck_assert_msg(utf8_valid_mqtt(end) == mqtt, "%s at the end, %zu", s, at);
		ck_assert_msg(utf8_valid(whole) == plain, "%s at %zu", s, at);
		ck_assert_msg(utf8_valid(end) == plain, "%s at the end, %zu", s, at);
	}
}

START_TEST(well_formed)
{
	const char *good[] = {"", "a", "\x01", "\x7f", "\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80",
	        "\xed\x9f\xbf", "\xee\x80\x80", "\xef\xbf\xbf", "\xf0\x90\x80\x80",
	        "\xf4\x8f\xbf\xbf", "\xef\xbb\xbf", "ä€😀"};
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		assert_both(good[i], strlen(good[i]), true, true);
	ck_assert(utf8_valid_mqtt((struct slice){0}));
}
END_TEST

START_TEST(ill_formed)
{
	const char *bad[] = {"\x80", "\xbf", "\xc0\x80", "\xc1\xbf", "\xc2", "\xc2\x41",
	        "\xe0\x80\x80", "\xe0\x9f\xbf", "\xe2\x82", "\xe2\x28\xa1", "\xe2\x82\x28",
	        "\xed\xa0\x80", "\xed\xbf\xbf", "\xf0\x80\x80\x80", "\xf0\x8f\xbf\xbf",
	        "\xf0\x9f\x98", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xfe", "\xff",
	        "\xf8\x88\x80\x80\x80"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_both(bad[i], strlen(bad[i]), false, false);
}
END_TEST

START_TEST(nul_only_where_it_is_allowed)
{
	assert_both("\0", 1, false, true);
}
END_TEST

START_TEST(every_code_point_comes_back)
{
	for (uint32_t c = 0; c <= 0x10ffff + 16; c++) {
		uint8_t b[4];
		size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
		static const uint8_t first[] = {0, 0, 0xc0, 0xe0, 0xf0};
		for (size_t i = n; i-- > 1;)
			b[i] = (uint8_t)(0x80 | (c >> (6 * (n - 1 - i)) & 0x3f));
		b[0] = (uint8_t)(first[n] | c >> (6 * (n - 1)));
		uint32_t code;
		bool exists = c <= 0x10ffff && (c < 0xd800 || c > 0xdfff);
		ck_assert_uint_eq(utf8_next(b, n, &code), exists ? n : 0);
		if (exists)
			ck_assert_uint_eq(code, c);
		if (n > 1)
			ck_assert_uint_eq(utf8_next(b, n - 1, &code), 0);
	}
}
END_TEST

UNIT_MAIN(
        "utf8", well_formed, ill_formed, nul_only_where_it_is_allowed, every_code_point_comes_back)
