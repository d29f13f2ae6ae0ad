#include "tests/unit/base/unit.h"

#include "server/base/clock.h"
#include "server/base/err.h"

static int64_t parse(const char *s)
{
	int64_t us = INT64_MIN;
	ck_assert_msg(clock_parse_rfc3339(s, strlen(s), &us) == 0, "%s", s);
	return us;
}

START_TEST(times_are_written_and_read_back)
{
	const struct {
		int64_t us;
		const char *text;
	} cases[] = {
	        {0, "1970-01-01T00:00:00.000Z"},
	        {1, "1970-01-01T00:00:00.000Z"},
	        {-1, "1969-12-31T23:59:59.999Z"},
	        {951782400000000, "2000-02-29T00:00:00.000Z"},
	        {1795372826123999, "2026-11-22T18:40:26.123Z"},
	        {253402300799999999, "9999-12-31T23:59:59.999Z"},
	        {INT64_MAX, "9999-12-31T23:59:59.999Z"},
	        {-62135596800000000, "0001-01-01T00:00:00.000Z"},
	        {INT64_MIN, "0001-01-01T00:00:00.000Z"},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char out[CLOCK_RFC3339_LEN];
		ck_assert_str_eq(clock_rfc3339(cases[i].us, out), cases[i].text);
		char again[CLOCK_RFC3339_LEN];
		ck_assert_str_eq(clock_rfc3339(parse(out), again), cases[i].text);
	}
}
END_TEST

START_TEST(every_form_of_rfc_3339)
{
	ck_assert_int_eq(parse("1970-01-01T00:00:01Z"), 1000000);
	ck_assert_int_eq(parse("1970-01-01t00:00:01z"), 1000000);
	ck_assert_int_eq(parse("1970-01-01T00:00:00.5Z"), 500000);
	ck_assert_int_eq(parse("1970-01-01T00:00:00.123456789Z"), 123456);
	ck_assert_int_eq(parse("1970-01-01T01:00:00+01:00"), 0);
	ck_assert_int_eq(parse("1969-12-31T18:30:00-05:30"), 0);
	ck_assert_int_eq(parse("1970-01-01T00:00:00-00:00"), 0);
	ck_assert_int_eq(parse("2016-12-31T23:59:60Z"), parse("2017-01-01T00:00:00Z"));
	ck_assert_int_eq(
	        parse("2024-02-29T00:00:00Z") - parse("2024-02-28T00:00:00Z"), 86400000000);
	/* RFC 3339 section 5.8. */
	ck_assert_int_eq(parse("1996-12-19T16:39:57-08:00"), parse("1996-12-20T00:39:57Z"));
}
END_TEST

START_TEST(what_is_no_time_is_refused)
{
	const char *bad[] = {"", "1970", "1970-01-01", "1970-01-01T00:00:00",
	        "1970-01-01 00:00:00Z", "1970-13-01T00:00:00Z", "1970-00-01T00:00:00Z",
	        "1970-01-32T00:00:00Z", "2023-02-29T00:00:00Z", "2100-02-29T00:00:00Z",
	        "1970-04-31T00:00:00Z", "1970-01-01T24:00:00Z", "1970-01-01T00:60:00Z",
	        "1970-01-01T00:00:61Z", "1970-01-01T00:00:00.Z", "1970-01-01T00:00:00.1234567890Z",
	        "1970-01-01T00:00:00+24:00", "1970-01-01T00:00:00+0100", "1970-01-01T00:00:00+01",
	        "1970-01-01T00:00:00Zx", " 1970-01-01T00:00:00Z", "0000-01-01T00:00:00Z",
	        "-970-01-01T00:00:00Z", "1970-1-01T00:00:00Z", "1970-01-01T00:00:00,5Z",
	        "1970-01-01T00:00:00 Z", "+970-01-01T00:00:00Z"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		int64_t us = 42;
		ck_assert_msg(clock_parse_rfc3339(bad[i], strlen(bad[i]), &us) == ERR_INVALID, "%s",
		        bad[i]);
		ck_assert_int_eq(us, 42);
	}
	int64_t us;
	const char *good = "1970-01-01T00:00:00Z";
	for (size_t n = 0; n < strlen(good); n++)
		ck_assert_int_eq(clock_parse_rfc3339(good, n, &us), ERR_INVALID);
}
END_TEST

START_TEST(clocks_go_forward)
{
	uint64_t ms = clock_ms(), us = clock_us();
	ck_assert_uint_le(ms, clock_ms());
	ck_assert_uint_le(us, clock_us());
	ck_assert_uint_le(ms, us / 1000);
	ck_assert_int_gt(clock_wall_us(), parse("2024-01-01T00:00:00Z"));
}
END_TEST

/* It begins as the wall clock and goes on as the monotonic one. */
START_TEST(the_steady_clock_is_both)
{
	int64_t wall = clock_wall_us(), steady = clock_steady_us();
	ck_assert_int_lt(wall > steady ? wall - steady : steady - wall, 5000000);
	uint64_t from = clock_us();
	while (clock_us() - from < 20000)
		;
	int64_t went = clock_steady_us() - steady;
	ck_assert_int_ge(went, 20000);
	ck_assert_int_le(went, (int64_t)(clock_us() - from) + 1000000);
}
END_TEST

UNIT_MAIN("clock", times_are_written_and_read_back, every_form_of_rfc_3339,
        what_is_no_time_is_refused, clocks_go_forward, the_steady_clock_is_both)
