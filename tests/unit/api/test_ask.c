/* Topic filters, and functions over the values of a window. */
#include <check.h>

#include "server/api/ask.h"
#include "server/api/tally.h"
#include "server/base/err.h"
#include "tests/unit/base/unit.h"

START_TEST(topic_filters)
{
	static const struct {
		const char *filter, *topic;
		bool matches;
	} cases[] = {
	        {"a/b", "a/b", true},
	        {"a/b", "a/b/", false},
	        {"a/+", "a/", true},
	        {"a/+", "a", false},
	        {"a/#", "a", true},
	        {"a/#", "a/b/c", true},
	        {"#", "a/b", true},
	        {"#", "$aws/x", false},
	        {"+/x", "$aws/x", false},
	        {"$aws/#", "$aws/x", true},
	        {"/+", "/x", true},
	        {"+", "/x", false},
	};
	static const char *const bad[] = {"", "a/#/b", "a#", "a/b+", "##"};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		ck_assert(api_topic_filter_valid(slice_str(cases[i].filter)));
		ck_assert_msg(api_topic_filter_matches(slice_str(cases[i].filter),
		                      slice_str(cases[i].topic)) == cases[i].matches,
		        "%s of %s", cases[i].filter, cases[i].topic);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		ck_assert(!api_topic_filter_valid(slice_str(bad[i])));
}
END_TEST

START_TEST(functions)
{
	static const char *const bad[] = {"", "avg,", ",avg", "mean", "avg,avg", "p", "p101",
	        "p50.", "p1.2345", "p-1", "AVG",
	        "p1,p2,p3,p4,p5,p6,p7,p8,p9,p10,p11,p12,p13,p14,p15,p16,p17"};
	struct api_tally t;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		ck_assert_msg(!api_tally_read(slice_str(bad[i]), &t), "%s", bad[i]);
	ck_assert(api_tally_read(SLICE_LIT("count"), &t));
	ck_assert(!t.needs_value && !t.keeps);
	ck_assert(api_tally_read(
	        SLICE_LIT("count,sum,avg,min,max,first,last,p0,p25,p50,p99.9,p100"), &t));
	ck_assert(t.needs_value && t.keeps);
	struct buf _cleanup_(buf_free) out;
	buf_init(&out, 4096);
	api_tally_begin(&t);
	ck_assert_int_eq(api_tally_write(&t, &out), 0);
	buf_truncate(&out, 0);
	/* A sum that plain addition loses. */
	static const double values[] = {1e100, 3, -1e100, 1};
	for (unsigned round = 0; round < 2; round++) { /* nothing of the window before is left */
		api_tally_begin(&t);
		for (size_t i = 0; i < ARRAY_LEN(values); i++)
			ck_assert_int_eq(api_tally_add(&t, values[i]), 0);
	}
	ck_assert_int_eq(api_tally_write(&t, &out), 0);
	ck_assert_int_eq(buf_append(&out, "", 1), 0);
	const char *text = (const char *)buf_slice(&out).p;
	ck_assert_ptr_nonnull(strstr(text,
	        ",\"count\":4,\"sum\":4,\"avg\":1,\"min\":-1e+100,"
	        "\"max\":1e+100,\"first\":1e+100,\"last\":1,"));
	ck_assert_ptr_nonnull(strstr(text, "\"p0\":-1e+100,"));
	ck_assert_ptr_nonnull(strstr(text, "\"p50\":2,"));
	ck_assert_ptr_nonnull(strstr(text, "\"p100\":1e+100"));
	api_tally_done(&t);
}
END_TEST

UNIT_MAIN("api ask", topic_filters, functions)
