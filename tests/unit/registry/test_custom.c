/* What somebody shows for a custom authoriser, and what it answers: pure functions. */
#include <check.h>

#include "registry/auth/custom.h"
#include "registry/auth/custom_answer.h"
#include "server/base/crypto.h"
#include "server/base/err.h"
#include "server/base/json.h"

/* ---- where names stand ---- */

static struct auth_request mqtt(const char *username)
{
	return (struct auth_request){.client_id = SLICE_LIT("c"),
	        .has_username = true,
	        .username = slice_str(username),
	        .has_password = true,
	        .password = SLICE_LIT("pw"),
	        .peer = "192.0.2.1:4711",
	        .protocol = "mqtts",
	        .server_name = SLICE_LIT("hub")};
}

static const struct {
	const char *username, *name;
	int err;
	const char *value;
} found[] = {
        {"joe?x-amz-customauthorizer-name=a&tok=t", "tok", 0, "t"},
        {"joe?x-amz-customauthorizer-name=a&tok=t", CUSTOM_NAME, 0, "a"},
        {"joe?tok=a%2Bb%3D", "tok", 0, "a+b="}, {"joe?tok=a+b=c", "tok", 0, "a+b=c"},
        {"joe?tok=a?b", "tok", 0, "a?b"}, {"joe?tok=", "tok", 0, ""}, {"joe?tok", "tok", 0, ""},
        {"joe?tok=\xc3\xa9", "tok", 0, "\xc3\xa9"}, {"joe?tok2=x", "tok", ERR_NOT_FOUND, NULL},
        {"joe?TOK=x", "tok", ERR_NOT_FOUND, NULL}, {"tok=x", "tok", ERR_NOT_FOUND, NULL},
        {"", "tok", ERR_NOT_FOUND, NULL}, {"joe?tok=a&tok=a", "tok", ERR_INVALID, NULL},
        {"joe?tok=%", "tok", ERR_INVALID, NULL}, {"joe?tok=%2", "tok", ERR_INVALID, NULL},
        {"joe?tok=%zz", "tok", ERR_INVALID, NULL}, {"joe?tok=%00", "tok", ERR_INVALID, NULL},
        {"joe?tok=%0a", "tok", ERR_INVALID, NULL}, {"joe?tok=%ff", "tok", ERR_INVALID, NULL},
        {"joe?tok=0123456789abcdef", "tok", ERR_INVALID, NULL}, /* too long for the 16 below */
};

START_TEST(values_are_found_once)
{
	for (size_t i = 0; i < ARRAY_LEN(found); i++) {
		const struct auth_request req = mqtt(found[i].username);
		char out[16];
		size_t n = 99;
		int err = custom_find(&req, found[i].name, out, sizeof(out), &n);
		ck_assert_msg(err == found[i].err, "%s: %d", found[i].username, err);
		if (err == 0) {
			ck_assert_str_eq(out, found[i].value);
			ck_assert_uint_eq(n, strlen(found[i].value));
		}
	}
}
END_TEST

START_TEST(headers_and_query_count_too)
{
	const struct http_header headers[] = {
	        {SLICE_LIT("X-Amz-CustomAuthorizer-Name"), SLICE_LIT("h")},
	        {SLICE_LIT("Tok"), SLICE_LIT("a%2Bb")}};
	struct auth_request req = {.https = true, .headers = headers, .n_headers = 2};
	char out[64];
	size_t n;
	ck_assert(custom_is_named(&req));
	ck_assert_int_eq(custom_find(&req, CUSTOM_NAME, out, sizeof(out), &n), 0);
	ck_assert_str_eq(out, "h");
	ck_assert_int_eq(custom_find(&req, "tok", out, sizeof(out), &n), 0);
	ck_assert_str_eq(out, "a%2Bb"); /* a header is as it is */
	/* In two places: which of them would be meant? */
	req.query = SLICE_LIT("x-amz-customauthorizer-name=q");
	ck_assert(custom_is_named(&req));
	ck_assert_int_eq(custom_find(&req, CUSTOM_NAME, out, sizeof(out), &n), ERR_INVALID);
	req.n_headers = 0;
	ck_assert_int_eq(custom_find(&req, CUSTOM_NAME, out, sizeof(out), &n), 0);
	ck_assert_str_eq(out, "q");
	req.query = (struct slice){0};
	ck_assert(!custom_is_named(&req));
}
END_TEST

/* ---- the question ---- */

START_TEST(the_event_is_json_whatever_is_in_it)
{
	struct auth_request req = mqtt("jo\"e\\\n?tok=\x01");
	const struct http_header headers[] = {
	        {SLICE_LIT("X-A"), SLICE_LIT("1\"")}, {SLICE_LIT("x-a"), SLICE_LIT("2")}};
	char error[JSON_ERROR_LEN];
	req.headers = headers;
	req.n_headers = 2;
	req.query = SLICE_LIT("a=\"b\"");
	for (int https = 0; https < 2; https++) {
		struct buf a, b;
		json_t *doc = NULL;
		req.https = https;
		buf_init(&a, CUSTOM_EVENT_MAX);
		buf_init(&b, CUSTOM_EVENT_MAX);
		ck_assert_int_eq(custom_event_begin(&a, &req, SLICE_LIT("t\"k"), true), 0);
		ck_assert_int_eq(custom_event_begin(&b, &req, SLICE_LIT("t\"k"), true), 0);
		/* The same question is the same text, up to its end. */
		ck_assert(slice_eq(buf_slice(&a), buf_slice(&b)));
		ck_assert_int_eq(custom_event_end(&a), 0);
		ck_assert_int_eq(custom_event_end(&b), 0);
		ck_assert(!slice_eq(buf_slice(&a), buf_slice(&b)));
		ck_assert_msg(json_read(buf_slice(&a), &json_limits_body, &doc, error) == 0,
		        "%.*s: %s", SLICE_ARG(buf_slice(&a)), error);
		ck_assert_str_eq(json_string_value(json_object_get(doc, "token")), "t\"k");
		ck_assert_str_eq(json_string_value(json_object_get(doc, "address")), "192.0.2.1");
		json_decref(doc);
		buf_free(&a);
		buf_free(&b);
	}
}
END_TEST

START_TEST(a_question_that_is_too_long_is_none)
{
	static char password[CUSTOM_EVENT_MAX];
	struct auth_request req = mqtt("joe");
	struct buf event;
	req.password = slice_make(password, sizeof(password));
	buf_init(&event, CUSTOM_EVENT_MAX);
	ck_assert_int_eq(custom_event_begin(&event, &req, (struct slice){0}, false), ERR_TOO_BIG);
	buf_free(&event);
}
END_TEST

/* ---- answers ---- */

#define YES "{\"isAuthenticated\":true,\"principalId\":\"p1\",\"policyDocuments\":["
static const struct {
	const char *body;
	int err;
	unsigned disconnect_s, refresh_s;
} answers[] = {
        {"{\"isAuthenticated\":false}", 0, 0, 0},
        {YES "]}", 0, 86400, 0},
        {YES "{}]}", 0, 86400, 0},
        {YES "\"{}\"]}", 0, 86400, 0},
        {YES "],\"else\":[1]}", 0, 86400, 0},
        {YES "],\"disconnectAfterInSeconds\":300,\"refreshAfterInSeconds\":86400}", 0, 300, 86400},
        {YES "],\"disconnectAfterInSeconds\":299}", ERR_INVALID, 0, 0},
        {YES "],\"disconnectAfterInSeconds\":86401}", ERR_INVALID, 0, 0},
        {YES "],\"refreshAfterInSeconds\":299}", ERR_INVALID, 0, 0},
        {YES "],\"refreshAfterInSeconds\":300.0}", ERR_INVALID, 0, 0},
        {YES "],\"refreshAfterInSeconds\":9223372036854775807}", ERR_INVALID, 0, 0},
        {YES "],\"refreshAfterInSeconds\":-300}", ERR_INVALID, 0, 0},
        {YES "\"[]\"]}", ERR_INVALID, 0, 0},
        {YES "\"{\"]}", ERR_INVALID, 0, 0},
        {YES "[]]}", ERR_INVALID, 0, 0},
        {YES "null]}", ERR_INVALID, 0, 0},
        {YES "{},{},{},{},{},{},{},{},{},{}]}", 0, 86400, 0},
        {YES "{},{},{},{},{},{},{},{},{},{},{}]}", ERR_INVALID, 0, 0},
        {"{\"isAuthenticated\":true,\"principalId\":\"p\"}", ERR_INVALID, 0, 0},
        {"{\"isAuthenticated\":true,\"principalId\":\"p\",\"deviceId\":\"d/m\"}", 0, 86400, 0},
        {"{\"isAuthenticated\":true,\"principalId\":\"p\",\"deviceId\":\"d/\"}", ERR_INVALID, 0, 0},
        {"{\"isAuthenticated\":true,\"principalId\":\"p q\",\"policyDocuments\":[]}", ERR_INVALID,
                0, 0},
        {"{\"isAuthenticated\":true,\"isAuthenticated\":true}", ERR_INVALID, 0, 0},
        {"[]", ERR_INVALID, 0, 0},
        {"", ERR_INVALID, 0, 0},
};

START_TEST(answers_are_checked)
{
	for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
		struct custom_answer *a = NULL;
		const char *why = NULL;
		int err = custom_answer_read(
		        slice_str(answers[i].body), CUSTOM_SECONDS_MIN, &a, &why);
		ck_assert_msg(err == answers[i].err, "%s: %d", answers[i].body, err);
		ck_assert_int_eq(why != NULL, err < 0);
		if (err == 0) {
			ck_assert_uint_eq(a->disconnect_s, answers[i].disconnect_s);
			ck_assert_uint_eq(a->refresh_s, answers[i].refresh_s);
			ck_assert_int_eq(a->allowed, answers[i].disconnect_s > 0);
		}
		custom_answer_unref(a);
	}
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {values_are_found_once, headers_and_query_count_too,
	        the_event_is_json_whatever_is_in_it, a_question_that_is_too_long_is_none,
	        answers_are_checked};
	Suite *suite = suite_create("custom authorisers: forms");
	TCase *tcase = tcase_create("custom");
	if (crypto_init() < 0)
		return EXIT_FAILURE;
	for (size_t i = 0; i < ARRAY_LEN(tests); i++)
		tcase_add_test(tcase, tests[i]);
	suite_add_tcase(suite, tcase);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
