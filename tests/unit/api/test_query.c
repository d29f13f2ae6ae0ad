#include <stdio.h>

#include "tests/unit/base/unit.h"

#include "server/api/query.h"
#include "server/base/err.h"

static const char *value_of(const struct api_query *q, const char *name)
{
	static char text[256];
	struct slice v;
	if (!api_query_get(q, name, &v))
		return NULL;
	snprintf(text, sizeof(text), "%.*s", SLICE_ARG(v));
	return text;
}

START_TEST(parameters_are_decoded_once)
{
	struct api_query q;
	struct api_query_error e;
	const char *text = "from=2026-11-22T18:40:26+01:00&to=a%2Bb%2526&&%6fr%64er=asc&limit";
	ck_assert_int_eq(api_query_read(POLICY_OP_telemetry_query, slice_str(text), &q, &e), 0);
	ck_assert_str_eq(value_of(&q, "from"), "2026-11-22T18:40:26+01:00");
	ck_assert_str_eq(value_of(&q, "to"), "a+b%26");
	ck_assert_str_eq(value_of(&q, "order"), "asc");
	ck_assert_str_eq(value_of(&q, "limit"), "");
	ck_assert_ptr_null(value_of(&q, "cursor"));
	api_query_done(&q);
	ck_assert_int_eq(api_query_read(POLICY_OP_stats, slice_str(""), &q, &e), 0);
	api_query_done(&q);
}
END_TEST

START_TEST(bad_queries_name_the_parameter)
{
	static const struct {
		enum policy_op op;
		const char *query, *name;
	} cases[] = {
	        {POLICY_OP_stats, "limit=1", "limit"},
	        {POLICY_OP_device_list, "limit=1&order=asc", "order"},
	        {POLICY_OP_device_list, "limit=1&limit=2", "limit"},
	        {POLICY_OP_device_list, "Limit=1", "Limit"},
	        {POLICY_OP_device_list, "=1", ""},
	        {POLICY_OP_device_list, "cursor=%", "cursor"},
	        {POLICY_OP_device_list, "cursor=%00", "cursor"},
	        {POLICY_OP_device_list, "cursor=%ff", "cursor"},
	        {POLICY_OP_device_list, "a%20b=1", "a b"},
	        {POLICY_OP_device_list, "%zz=1", "%zz"},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct api_query q;
		struct api_query_error e;
		int r = api_query_read(cases[i].op, slice_str(cases[i].query), &q, &e);
		ck_assert_msg(r == ERR_INVALID, "%s", cases[i].query);
		ck_assert_str_eq(e.name, cases[i].name);
		ck_assert_ptr_nonnull(e.why);
	}
	char longest[5000];
	memset(longest, 'n', sizeof(longest));
	struct api_query q;
	struct api_query_error e;
	ck_assert_int_eq(
	        api_query_read(POLICY_OP_device_list, slice_make(longest, sizeof(longest)), &q, &e),
	        ERR_INVALID);
	ck_assert_uint_eq(strlen(e.name), API_QUERY_NAME_MAX);
}
END_TEST

START_TEST(no_operation_takes_more_than_there_is_room_for)
{
	unsigned n, count[POLICY_OP_COUNT] = {0};
	const struct api_param *params = api_params(&n);
	for (unsigned i = 0; i < n; i++)
		ck_assert_uint_le(++count[params[i].op], API_QUERY_MAX);
}
END_TEST

START_TEST(integers_are_strict)
{
	const char *bad[] = {"", "0", "1001", "-1", "+1", " 1", "1 ", "1.0", "1e2", "0x1",
	        "99999999999999999999999"};
	uint64_t v = 7;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_msg(api_parse_uint(slice_str(bad[i]), 1, 1000, &v) == ERR_INVALID, "%s",
		        bad[i]);
	ck_assert_uint_eq(v, 7);
	ck_assert_int_eq(api_parse_uint(SLICE_LIT("0001000"), 1, 1000, &v), 0);
	ck_assert_uint_eq(v, 1000);
	ck_assert_int_eq(api_parse_uint(SLICE_LIT("0"), 0, 1000, &v), 0);
	ck_assert_uint_eq(v, 0);
}
END_TEST

UNIT_MAIN("api query", parameters_are_decoded_once, bad_queries_name_the_parameter,
        no_operation_takes_more_than_there_is_room_for, integers_are_strict)
