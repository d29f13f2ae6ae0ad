#include "server/base/metrics.h"
#include "tests/unit/outbound/rig.h"

static const struct outbound_limits limits = {
        .max_requests = 8, .max_waiting = 16, .allow_private = true};

#define assert_body(a, text)                                                            \
	do {                                                                            \
		struct slice body_ = buf_slice(&(a)->fetch.body);                       \
		ck_assert_msg(slice_eq_str(body_, text), "\"%.*s\"", SLICE_ARG(body_)); \
	} while (0)

/* ---- one request ---- */

static const struct {
	const char *path;
	int err, status;
	int64_t max_age_s;
	const char *body;
} answers[] = {
        {"/ok", 0, 200, -1, "hello"},
        {"/404", 0, 404, 60, "none"},
        {"/age", 0, 200, 3600, "x"},
        {"/no-store", 0, 200, 0, "x"},
        {"/redirect", 0, 302, -1, ""}, /* not followed */
        {"/big", ERR_TOO_BIG, 0, -1, ""},
        {"/big-chunks", ERR_TOO_BIG, 0, -1, ""},
        {"/short", ERR_UNAVAILABLE, 0, -1, ""},
        {"/garbage", ERR_UNAVAILABLE, 0, -1, ""},
};

START_TEST(answers_are_told)
{
	struct rig rig;
	struct ask a;

	rig_open(&rig, limits);
	for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
		ask_init(&rig, &a, answers[i].path);
		ask(&a);
		ck_assert_msg(a.fetch.err == answers[i].err, "%s: %s: %s", answers[i].path,
		        err_text(a.fetch.err), a.fetch.why);
		ck_assert_int_eq(a.fetch.status, answers[i].status);
		ck_assert_int_eq(a.fetch.max_age_s, answers[i].max_age_s);
		ck_assert_int_eq(a.fetch.why[0] != '\0', a.fetch.err < 0);
		assert_body(&a, answers[i].body);
		ask_done(&a);
	}
	rig_close(&rig);
}
END_TEST

START_TEST(a_post_carries_its_body_and_headers)
{
	static const char *const headers[] = {"X-One: 1", NULL};
	struct rig rig;
	struct ask a;

	rig_open(&rig, limits);
	ask_init(&rig, &a, "/");
	a.fetch.post = SLICE_LIT("{\"a\":1}");
	a.fetch.content_type = "application/json";
	a.fetch.headers = headers;
	ask(&a);
	ck_assert_int_eq(a.fetch.err, 0);
	assert_body(&a, "application/json|1|-|{\"a\":1}");
	ask_done(&a);
	rig_close(&rig);
}
END_TEST

START_TEST(connections_are_used_again)
{
	struct rig rig;
	struct ask a;
	char first[16] = "";

	rig_open(&rig, limits);
	for (unsigned i = 0; i < 3; i++) {
		ask_init(&rig, &a, "/port");
		ask(&a);
		ck_assert_int_eq(a.fetch.err, 0);
		if (i == 0)
			snprintf(first, sizeof(first), "%.*s", SLICE_ARG(buf_slice(&a.fetch.body)));
		assert_body(&a, first);
		ask_done(&a);
	}
	rig_close(&rig);
}
END_TEST

/* ---- who may be asked ---- */

START_TEST(certificates_are_checked)
{
	struct rig rig;
	struct ask a;
	char other[128];
	_cleanup_free_ char *pem = NULL;
	_cleanup_fclose_ FILE *f = fopen(ca_file, "r");
	size_t size = 0;

	snprintf(other, sizeof(other), "%s/other.pem", folder);
	rig_open(&rig, limits);
	ask_init(&rig, &a, "/ok");
	a.fetch.ca_file = other;
	ask(&a);
	ck_assert_int_eq(a.fetch.err, ERR_UNAVAILABLE);
	ck_assert_ptr_nonnull(strstr(a.fetch.why, "certificate"));
	ask_init(&rig, &a, "/ok");
	a.fetch.ca_file = NULL; /* the system's */
	ask(&a);
	ck_assert_int_eq(a.fetch.err, ERR_UNAVAILABLE);
	/* One that is right, but of another name. */
	ask_init(&rig, &a, "/ok");
	snprintf(a.url, sizeof(a.url), "https://127.0.0.2:%u/ok", tls_peer.port);
	ask(&a);
	ck_assert_int_eq(a.fetch.err, ERR_UNAVAILABLE);
	/* As text; a connection that was made with another trust is not used for it. */
	ck_assert_int_ge(getdelim(&pem, &size, '\0', f), 1);
	ask_init(&rig, &a, "/ok");
	ask(&a);
	ck_assert_int_eq(a.fetch.err, 0);
	ask_done(&a);
	ask_init(&rig, &a, "/ok");
	a.fetch.ca_file = other;
	ask(&a);
	ck_assert_int_eq(a.fetch.err, ERR_UNAVAILABLE);
	ask_init(&rig, &a, "/ok");
	a.fetch.ca_file = NULL;
	a.fetch.ca_pem = slice_str(pem);
	ask(&a);
	ck_assert_int_eq(a.fetch.err, 0);
	assert_body(&a, "hello");
	ask_done(&a);
	rig_close(&rig);
}
END_TEST

static const char *const bad_urls[] = {"", "localhost", "http://localhost/", "ftp://localhost/",
        "file:///etc/passwd", "HTTPS://localhost/", "https://", "https://user:secret@localhost/",
        "https://a b/", "https://localhost:99999/"};

START_TEST(urls_are_checked)
{
	struct rig rig;
	struct ask a;

	rig_open(&rig, limits);
	for (size_t i = 0; i < ARRAY_LEN(bad_urls); i++) {
		ask_init(&rig, &a, "");
		snprintf(a.url, sizeof(a.url), "%s", bad_urls[i]);
		ask(&a);
		ck_assert_msg(a.fetch.err == ERR_INVALID, "%s: %s", bad_urls[i], a.fetch.why);
	}
	ask_init(&rig, &a, "");
	memset(a.url + strlen(a.url), '/', FETCH_URL_MAX);
	ask(&a);
	ck_assert_int_eq(a.fetch.err, ERR_INVALID);
	rig_close(&rig);
}
END_TEST

START_TEST(headers_are_lines)
{
	static const char *const headers[] = {"X: 1\r\nY: 2", NULL};
	struct rig rig;
	struct ask a;

	rig_open(&rig, limits);
	ask_init(&rig, &a, "/ok");
	a.fetch.headers = headers;
	ask(&a);
	ck_assert_int_eq(a.fetch.err, ERR_INVALID);
	rig_close(&rig);
}
END_TEST

START_TEST(plain_where_it_may)
{
	struct rig rig;
	struct ask a;

	rig_open(&rig, limits);
	ask_init(&rig, &a, "");
	snprintf(a.url, sizeof(a.url), "http://127.0.0.1:%u/ok", plain_peer.port);
	a.fetch.plain = true;
	ask(&a);
	ck_assert_int_eq(a.fetch.err, 0);
	assert_body(&a, "hello");
	ask_done(&a);
	rig_close(&rig);
}
END_TEST

static const struct {
	const char *host;
	bool never; /* else: where private ones may not */
} closed_hosts[] = {
        {"127.0.0.1", false},
        {"localhost", false},
        {"10.1.2.3", false},
        {"[::1]", false},
        {"[::ffff:127.0.0.1]", false},
        {"[64:ff9b::7f00:1]", false},
        {"[2002:7f00:1::]", false},
        {"[fd00::1]", false},
        {"169.254.169.254", true},
        {"[::ffff:169.254.169.254]", true},
        {"[fe80::1]", true},
        {"0.0.0.0", true},
        {"0x7f.1", false},
        {"2130706433", false},
        {"[::]", true},
        {"224.0.0.1", true},
        {"255.255.255.255", true},
};

START_TEST(private_addresses_are_closed_by_setting)
{
	struct rig rig;
	struct ask a;

	for (int allow = 0; allow < 2; allow++) {
		rig_open(&rig, (struct outbound_limits){.max_requests = 1, .allow_private = allow});
		for (size_t i = 0; i < ARRAY_LEN(closed_hosts); i++) {
			if (allow && !closed_hosts[i].never)
				continue;
			ask_init(&rig, &a, "");
			snprintf(a.url, sizeof(a.url), "https://%s:%u/ok", closed_hosts[i].host,
			        tls_peer.port);
			ask(&a);
			ck_assert_int_eq(a.fetch.err, ERR_UNAVAILABLE);
			ck_assert_msg(strstr(a.fetch.why, "may not be connected to") != NULL,
			        "%s: %s", closed_hosts[i].host, a.fetch.why);
		}
		rig_close(&rig);
	}
}
END_TEST

/* ---- time, number, the end ---- */

START_TEST(what_takes_too_long_ends)
{
	struct rig rig;
	struct ask a;
	uint64_t before = clock_ms();

	rig_open(&rig, limits);
	ask_init(&rig, &a, "/slow");
	a.fetch.timeout_ms = 200;
	ask(&a);
	ck_assert_int_eq(a.fetch.err, ERR_TIMEOUT);
	ck_assert_uint_ge(clock_ms() - before, 200);
	rig_close(&rig);
}
END_TEST

START_TEST(a_closed_port_is_unavailable)
{
	struct rig rig;
	struct ask a;

	rig_open(&rig, limits);
	ask_init(&rig, &a, "");
	snprintf(a.url, sizeof(a.url), "https://127.0.0.1:1/");
	ask(&a);
	ck_assert_int_eq(a.fetch.err, ERR_UNAVAILABLE);
	rig_close(&rig);
}
END_TEST

START_TEST(who_waits_too_long_ends)
{
	struct rig rig;
	struct ask slow, a;

	rig_open(&rig,
	        (struct outbound_limits){
	                .max_requests = 1, .max_waiting = 1, .allow_private = true});
	ask_init(&rig, &slow, "/slow");
	outbound_ask(rig.outbound, &slow.fetch);
	ask_init(&rig, &a, "/ok");
	a.fetch.timeout_ms = 200;
	ask(&a);
	ck_assert_int_eq(a.fetch.err, ERR_TIMEOUT);
	ck_assert(!slow.answered);
	outbound_close(rig.outbound);
	wait_answers(&rig, 2);
	rig_close(&rig);
}
END_TEST

START_TEST(a_thousand_at_once_are_bounded)
{
	enum { N = 1000, UNDER_WAY = 4, WAITING = 100 };
	struct rig rig;
	unsigned ok = 0;
	struct ask *many = calloc(N, sizeof(*many));

	rig_open(&rig,
	        (struct outbound_limits){
	                .max_requests = UNDER_WAY, .max_waiting = WAITING, .allow_private = true});
	for (unsigned i = 0; i < N; i++) {
		ask_init(&rig, &many[i], "/ok");
		outbound_ask(rig.outbound, &many[i].fetch);
	}
	wait_answers(&rig, N);
	for (unsigned i = 0; i < N; i++) {
		ck_assert(many[i].answered);
		ck_assert(many[i].fetch.err == 0 || many[i].fetch.err == ERR_UNAVAILABLE);
		ok += many[i].fetch.err == 0;
		ask_done(&many[i]);
	}
	/* What found room was answered. */
	ck_assert_uint_ge(ok, UNDER_WAY + WAITING);
	ck_assert_int_eq(metric_read(METRIC_OUTBOUND_UNDER_WAY), 0);
	rig_close(&rig);
	free(many);
}
END_TEST

START_TEST(a_stop_answers_everybody)
{
	enum { N = 10 };
	struct rig rig;
	struct ask many[N], late;
	uint64_t before;

	rig_open(&rig,
	        (struct outbound_limits){
	                .max_requests = 3, .max_waiting = N, .allow_private = true});
	for (unsigned i = 0; i < N; i++) {
		ask_init(&rig, &many[i], "/slow");
		outbound_ask(rig.outbound, &many[i].fetch);
	}
	/* The first are under way. */
	while (metric_read(METRIC_OUTBOUND_UNDER_WAY) < 3)
		usleep(1000);
	before = clock_ms();
	outbound_close(rig.outbound);
	wait_answers(&rig, N);
	for (unsigned i = 0; i < N; i++)
		ck_assert_int_eq(many[i].fetch.err, ERR_UNAVAILABLE);
	ask_init(&rig, &late, "/ok");
	ask(&late);
	ck_assert_int_eq(late.fetch.err, ERR_UNAVAILABLE);
	ck_assert_uint_lt(clock_ms() - before, 10000);
	rig_close(&rig);
}
END_TEST

START_TEST(freed_while_under_way)
{
	struct rig rig;
	struct ask a;

	rig_open(&rig, limits);
	ask_init(&rig, &a, "/slow");
	outbound_ask(rig.outbound, &a.fetch);
	while (metric_read(METRIC_OUTBOUND_UNDER_WAY) < 1)
		usleep(1000);
	rig_close(&rig);
	ck_assert(!a.answered);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {answers_are_told, a_post_carries_its_body_and_headers,
	        connections_are_used_again, certificates_are_checked, urls_are_checked,
	        headers_are_lines, plain_where_it_may, private_addresses_are_closed_by_setting,
	        what_takes_too_long_ends, a_closed_port_is_unavailable, who_waits_too_long_ends,
	        a_thousand_at_once_are_bounded, a_stop_answers_everybody, freed_while_under_way};
	Suite *suite = suite_create("outbound");
	TCase *tcase = tcase_create("outbound");

	if (crypto_init() < 0)
		return EXIT_FAILURE;
	tcase_set_timeout(tcase, 60);
	/* The world is made once, and each test's process asks it. */
	tcase_add_unchecked_fixture(tcase, setup_world, teardown_world);
	for (size_t i = 0; i < ARRAY_LEN(tests); i++)
		tcase_add_test(tcase, tests[i]);
	suite_add_tcase(suite, tcase);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
