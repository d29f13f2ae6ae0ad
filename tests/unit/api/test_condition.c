#include "tests/unit/base/unit.h"

#include "server/api/condition.h"
#include "server/base/err.h"
#include "tests/unit/api/request.h"

START_TEST(if_match)
{
	static const struct {
		const char *value;
		bool any;
		const char *tags; /* joined by '|' */
	} cases[] = {
	        {"\"abc\"", false, "abc"},
	        {"abc", false, "abc"},
	        {"*", true, ""},
	        {"\"*\"", true, ""},
	        {" \"a\" , \"b\",\"c\" ", false, "a|b|c"},
	        {"a,b", false, "a|b"},
	        {"W/\"a\"", false, ""},
	        {"W/\"a\", \"b\"", false, "b"},
	        {"\"a,b\"", false, "a,b"},
	        {"\"\"", false, ""},
	        {"\"0123456789abcdef01234567\"", false, "0123456789abcdef01234567"},
	        {"\"0123456789abcdef012345678\"", false, ""},
	        {"", false, ""},
	        {",,\"a\",,", false, "a"},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct http_request r;
		struct api_condition c;
		char tags[256] = "";
		request_init(&r, "PUT", "/");
		request_header(&r, "if-match", cases[i].value);
		ck_assert_msg(api_condition_read(&r, &c) == 0, "%s", cases[i].value);
		ck_assert(c.match.given && !c.none_match.given);
		ck_assert_msg(c.match.any == cases[i].any, "%s", cases[i].value);
		for (unsigned k = 0; k < c.match.n; k++)
			snprintf(tags + strlen(tags), sizeof(tags) - strlen(tags), "%s%s",
			        k ? "|" : "", c.match.tags[k]);
		ck_assert_str_eq(tags, cases[i].tags);
	}
}
END_TEST

START_TEST(malformed)
{
	const char *bad[] = {"\"a", "a\"", "\"a\"b", "\"a\"\"b\"", "W/", "\"a\x7f\"", "\"a b\"",
	        "\"\x01\"", "a b\"c"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct http_request r;
		struct api_condition c;
		request_init(&r, "PUT", "/");
		request_header(&r, "If-Match", bad[i]);
		ck_assert_msg(api_condition_read(&r, &c) == ERR_INVALID, "%s", bad[i]);
	}
}
END_TEST

START_TEST(lists_over_several_lines_and_their_bound)
{
	struct http_request r;
	struct api_condition c;
	request_init(&r, "PUT", "/");
	for (int i = 0; i < API_TAGS_MAX; i++)
		request_header(&r, "If-Match", "\"tag\"");
	ck_assert_int_eq(api_condition_read(&r, &c), 0);
	ck_assert_uint_eq(c.match.n, API_TAGS_MAX);
	request_header(&r, "If-Match", "\"one more\"");
	ck_assert_int_eq(api_condition_read(&r, &c), ERR_INVALID);
}
END_TEST

START_TEST(if_none_match_compares_weakly)
{
	struct http_request r;
	struct api_condition c;
	request_init(&r, "GET", "/");
	ck_assert_int_eq(api_condition_read(&r, &c), 0);
	ck_assert(!c.match.given && !c.none_match.given);
	request_header(&r, "If-None-Match", "W/\"a\", \"b\"");
	ck_assert_int_eq(api_condition_read(&r, &c), 0);
	ck_assert(api_tags_has(&c.none_match, "a") && api_tags_has(&c.none_match, "b"));
	ck_assert(!api_tags_has(&c.none_match, "c"));
	r.headers[0].value = SLICE_LIT("*");
	ck_assert_int_eq(api_condition_read(&r, &c), 0);
	ck_assert(api_tags_has(&c.none_match, "anything"));
}
END_TEST

UNIT_MAIN("api condition", if_match, malformed, lists_over_several_lines_and_their_bound,
        if_none_match_compares_weakly)
