#include "tests/unit/base/unit.h"

#include "server/base/err.h"
#include "server/base/json.h"

START_TEST(valid_texts)
{
	const char *good[] = {"{}", "[]", "0", "-0", "1.5e-7", "10E+2", "\"\"", "true", "false",
	        "null", " \t\r\n1 ", "{\"a\":1,\"a\":2}", "[1,[2,{\"b\":[]}],\"x\"]",
	        "\"\\u00e4\\n\\\"\\\\\\/\"", "\"\xc3\xa4\"", "{\"\":{}}", "[{},[],[[]]]",
	        "123456789012345678901234567890", "\"\\ud800\"", "\"\\u0000\"", "\"\x7f\"",
	        "{ \"a\" : [ ] , \"b\" : { } }"};
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		ck_assert_msg(json_is_valid(slice_str(good[i])), "%s", good[i]);
}
END_TEST

START_TEST(invalid_texts)
{
	const char *bad[] = {"", " ", "{", "}", "[", "]", "[1,]", "[,1]", "{\"a\"}", "{\"a\":}",
	        "{\"a\":1,}", "{,}", "{1:2}", "{a:1}", "01", "-", "+1", "1.", ".5", "1e", "1e+",
	        "0x1", "NaN", "Infinity", "tru", "truex", "nul", "'a'", "\"", "\"\\x\"",
	        "\"\\u12g4\"", "\"\\u123", "\"\n\"", "\"\xff\"", "\"\xed\xa0\x80\"", "1 2", "{}{}",
	        "[1 2]", "[1}", "{\"a\":1]", "\xef\xbb\xbf{}", "// x\n1", "[1]]", "\"a\"\"b\"",
	        "{\"a\" 1}", "[\"a\":1]", "- 1", "\"\\", "{\"a\":1 \"b\":2}"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_msg(!json_is_valid(slice_str(bad[i])), "%s", bad[i]);
	ck_assert(!json_is_valid((struct slice){0}));
	ck_assert(!json_is_valid(SLICE_LIT("1\0")));
	ck_assert(!json_is_valid(SLICE_LIT("\"\0\"")));
}
END_TEST

static char *nested(unsigned depth, const char *open, const char *close)
{
	struct buf b;
	buf_init(&b, 1 << 20);
	for (unsigned i = 0; i < depth; i++)
		buf_append_str(&b, open);
	buf_append_str(&b, "1");
	for (unsigned i = 0; i < depth; i++)
		buf_append_str(&b, close);
	return buf_steal(&b, NULL);
}

START_TEST(depth_is_bounded)
{
	const char *kinds[][2] = {{"[", "]"}, {"{\"k\":", "}"}};
	for (int i = 0; i < 2; i++) {
		char *fits = nested(256, kinds[i][0], kinds[i][1]);
		char *deep = nested(257, kinds[i][0], kinds[i][1]);
		ck_assert(json_is_valid(slice_str(fits)));
		ck_assert(!json_is_valid(slice_str(deep)));
		free(fits);
		free(deep);
	}
	char *huge = nested(100000, "[", "]");
	ck_assert(!json_is_valid(slice_str(huge)));
	free(huge);
	/* A level's kind is forgotten when it closes. */
	ck_assert(!json_is_valid(SLICE_LIT("[{\"a\":[1}]]")));
	ck_assert(json_is_valid(SLICE_LIT("[{\"a\":[1]},[{}],{\"b\":[]}]")));
}
END_TEST

static int read_with(const char *text, struct json_limits limits)
{
	json_t *j = NULL;
	char error[JSON_ERROR_LEN] = "";
	int r = json_read(slice_str(text), &limits, &j, error);
	ck_assert((r == 0) == (j != NULL));
	ck_assert((r == 0) == (error[0] == '\0'));
	json_decref(j);
	return r;
}

START_TEST(limits_hold_exactly)
{
	const struct json_limits l = {.bytes = 20, .depth = 2, .values = 4};
	ck_assert_int_eq(read_with("[[1]]", l), 0);
	ck_assert_int_eq(read_with("[[[1]]]", l), ERR_TOO_BIG);
	ck_assert_int_eq(read_with("[1,2,3]", l), 0);
	ck_assert_int_eq(read_with("[1,2,3,4]", l), ERR_TOO_BIG);
	ck_assert_int_eq(read_with("\"123456789012345678\"", l), 0);
	ck_assert_int_eq(read_with("\"1234567890123456789\"", l), ERR_TOO_BIG);
	ck_assert_int_eq(read_with("{\"a\":1,\"b\":[2]}", l), 0);
	ck_assert_int_eq(read_with("[", l), ERR_INVALID);
}
END_TEST

START_TEST(reading_refuses_what_deceives)
{
	ck_assert_int_eq(read_with("{\"a\":1,\"a\":2}", json_limits_body), ERR_INVALID);
	ck_assert_int_eq(read_with("\"\\u0000\"", json_limits_body), ERR_INVALID);
	ck_assert_int_eq(read_with("\"\\ud800\"", json_limits_body), ERR_INVALID);
	ck_assert_int_eq(read_with("1e999", json_limits_body), ERR_INVALID);
	ck_assert_int_eq(read_with("99999999999999999999", json_limits_body), ERR_INVALID);
	ck_assert_int_eq(read_with("1", json_limits_body), 0);
	ck_assert_int_eq(read_with("\"x\"", json_limits_body), 0);
	ck_assert_int_eq(read_with("null", json_limits_body), 0);
}
END_TEST

static void assert_string(struct slice in, const char *want)
{
	struct buf b;
	buf_init(&b, 100);
	ck_assert_int_eq(json_append_string(&b, in), 0);
	assert_slice(buf_slice(&b), want);
	ck_assert(json_is_valid(buf_slice(&b)));
	buf_free(&b);
}

START_TEST(strings_are_escaped)
{
	assert_string(SLICE_LIT(""), "\"\"");
	assert_string(SLICE_LIT("a\"b\\c/d"), "\"a\\\"b\\\\c/d\"");
	assert_string(SLICE_LIT("\n\r\t\b\f\x01\x7f"), "\"\\n\\r\\t\\b\\f\\u0001\\u007f\"");
	assert_string(SLICE_LIT("\0"), "\"\\u0000\"");
	assert_string(SLICE_LIT("ä€😀"), "\"ä€😀\"");
	assert_string(SLICE_LIT("a\xff"
	                        "b\xc3"),
	        "\"a\xef\xbf\xbd"
	        "b\xef\xbf\xbd\"");
	struct buf b;
	buf_init(&b, 10);
	buf_append_str(&b, "12345");
	ck_assert_int_eq(json_append_string(&b, SLICE_LIT("abcd")), ERR_TOO_BIG);
	assert_slice(buf_slice(&b), "12345");
	ck_assert_int_eq(json_append_string(&b, SLICE_LIT("abc")), 0);
	buf_free(&b);
}
END_TEST

/* RFC 7396, appendix A. */
START_TEST(merge_patch_of_rfc_7396)
{
	const char *cases[][3] = {
	        {"{\"a\":\"b\"}", "{\"a\":\"c\"}", "{\"a\":\"c\"}"},
	        {"{\"a\":\"b\"}", "{\"b\":\"c\"}", "{\"a\":\"b\",\"b\":\"c\"}"},
	        {"{\"a\":\"b\"}", "{\"a\":null}", "{}"},
	        {"{\"a\":\"b\",\"b\":\"c\"}", "{\"a\":null}", "{\"b\":\"c\"}"},
	        {"{\"a\":[\"b\"]}", "{\"a\":\"c\"}", "{\"a\":\"c\"}"},
	        {"{\"a\":\"c\"}", "{\"a\":[\"b\"]}", "{\"a\":[\"b\"]}"},
	        {"{\"a\":{\"b\":\"c\"}}", "{\"a\":{\"b\":\"d\",\"c\":null}}",
	                "{\"a\":{\"b\":\"d\"}}"},
	        {"{\"a\":[{\"b\":\"c\"}]}", "{\"a\":[1]}", "{\"a\":[1]}"},
	        {"[\"a\",\"b\"]", "[\"c\",\"d\"]", "[\"c\",\"d\"]"},
	        {"{\"a\":\"b\"}", "[\"c\"]", "[\"c\"]"},
	        {"{\"a\":\"foo\"}", "null", "null"},
	        {"{\"a\":\"foo\"}", "\"bar\"", "\"bar\""},
	        {"{\"e\":null}", "{\"a\":1}", "{\"e\":null,\"a\":1}"},
	        {"[1,2]", "{\"a\":\"b\",\"c\":null}", "{\"a\":\"b\"}"},
	        {"{}", "{\"a\":{\"bb\":{\"ccc\":null}}}", "{\"a\":{\"bb\":{}}}"},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		json_t *j[3];
		char error[JSON_ERROR_LEN];
		for (int k = 0; k < 3; k++)
			ck_assert_int_eq(
			        json_read(slice_str(cases[i][k]), &json_limits_body, &j[k], error),
			        0);
		json_t *before = json_deep_copy(j[0]), *merged = json_merge_patch(j[0], j[1]);
		ck_assert_msg(json_equal(merged, j[2]), "%s + %s", cases[i][0], cases[i][1]);
		ck_assert(json_equal(before, j[0]));
		json_decref(before);
		json_decref(merged);
		for (int k = 0; k < 3; k++)
			json_decref(j[k]);
	}
}
END_TEST

#define NEEDLE "needle-needle-needle"

/* A fresh block of each size that a document may have left: what was freed last comes back first.
 */
static bool is_in_freed_memory(const char *needle)
{
	void *blocks[64];
	bool found = false;
	for (unsigned i = 0; i < 64; i++) {
		size_t n = 32 + 16 * (i / 2);
		void *volatile block = malloc(n); /* volatile: read without having been written */
		blocks[i] = block;
		ck_assert_ptr_nonnull(blocks[i]);
		found |= memmem(blocks[i], n, needle, strlen(needle)) != NULL;
	}
	for (unsigned i = 0; i < 64; i++)
		free(blocks[i]);
	return found;
}

START_TEST(wipes_what_it_frees)
{
	static const char text[] = "{\"auth\": {\"primaryKey\": \"" NEEDLE NEEDLE NEEDLE
	                           "\", \"" NEEDLE NEEDLE "\": [\"" NEEDLE "\"]}}";
	static const char twice[] = "{\"a\": \"" NEEDLE NEEDLE "\", \"a\": 1}";
	char error[JSON_ERROR_LEN];
	json_t *j = NULL;
	ck_assert_int_eq(json_read(slice_str(text), &json_limits_body, &j, error), 0);
	json_t *copy = json_deep_copy(j);
	json_decref(j);
	json_decref(copy);
	ck_assert(!is_in_freed_memory("needle-needle"));
	/* What the parser had when it refused the rest. */
	ck_assert_int_eq(json_read(slice_str(twice), &json_limits_body, &j, error), ERR_INVALID);
	ck_assert(!is_in_freed_memory("needle-needle"));
	/* Texts that jansson made may be freed as any other. */
	_cleanup_json_ json_t *list = json_pack("[s]", "x");
	char *dumped = json_dumps(list, JSON_COMPACT);
	ck_assert_str_eq(dumped, "[\"x\"]");
	free(dumped);
}
END_TEST

UNIT_MAIN("json", valid_texts, invalid_texts, depth_is_bounded, limits_hold_exactly,
        reading_refuses_what_deceives, strings_are_escaped, merge_patch_of_rfc_7396,
        wipes_what_it_frees)
