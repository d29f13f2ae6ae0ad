/* A desk on a loop that does not run: asks and answers come from here. */
#include "registry/authorizer_call.h"
#include "server/base/metrics.h"
#include "tests/unit/registry/documents.h"

enum { N = 3000 };

struct asked_one {
	struct authorizer_ask ask;
	unsigned answers;
	enum deny_reason why;
	char principal[CUSTOM_PRINCIPAL_MAX + 1];
};

static struct fake store;
static struct registry *registry;
static struct loop *loop;
static struct authorizer *authorizer;
static struct fetch *fetches[N];
static unsigned n_fetches;
static struct asked_one asks[N];

static void fetch(void *ctx, struct fetch *f)
{
	ck_assert_ptr_eq(ctx, &store);
	ck_assert_uint_lt(n_fetches, N);
	buf_init(&f->body, f->max_bytes);
	fetches[n_fetches++] = f;
}

static void set_authorizer(const char *text)
{
	_cleanup_json_ json_t *d = doc(text);
	static unsigned serial;
	authorizer = authorizer_unref(authorizer);
	ck_assert_int_eq(authorizer_doc_read(d, (struct slice){0}, NULL, &authorizer), 0);
	snprintf(authorizer->etag, sizeof(authorizer->etag), "%u", ++serial);
}

static void setup(void)
{
	const struct registry_hooks hooks = {.ctx = &store, .fetch = fetch};
	struct registry_limits limits = rig_limits(5000);
	limits.authorizer_min_s = 300;
	ck_assert_int_eq(crypto_init(), 0);
	log_configure(LOG_ERROR, false);
	fake_init(&store);
	const struct registry_store port = fake_store(&store);
	loop = loop_new(0);
	registry = registry_new(&loop, 1, &port, &hooks, &limits);
	ck_assert_ptr_nonnull(registry);
	set_authorizer(
	        "{'name': 'a', 'url': 'https://a/', 'signingDisabled': true, 'cacheSeconds': 60}");
	n_fetches = 0;
	memset(asks, 0, sizeof(asks));
}

static void teardown(void)
{
	registry_free(registry);
	authorizer = authorizer_unref(authorizer);
	loop_free(loop);
	fake_done(&store);
}

static void on_answer(
        struct authorizer_ask *ask, enum deny_reason why, struct custom_answer *answer)
{
	struct asked_one *a = container_of(ask, struct asked_one, ask);
	a->answers++;
	a->why = why;
	ck_assert(!answer == (why != DENY_NONE && why != DENY_AUTHORIZER));
	if (answer)
		snprintf(a->principal, sizeof(a->principal), "%s", answer->principal);
}

static void ask_as(unsigned i, const char *peer, unsigned question, bool afresh)
{
	struct buf event;
	buf_init(&event, CUSTOM_EVENT_MAX);
	ck_assert_int_eq(buf_printf(&event, "{\"token\":\"%u\"", question), 0);
	asks[i].ask.done = on_answer;
	authorizer_ask(registry->shards[0].desk, authorizer, &event, peer, afresh, &asks[i].ask);
	ck_assert_uint_eq(buf_len(&event), 0);
}

static void answer(unsigned which, int err, const char *body)
{
	struct fetch *f = fetches[which];
	f->err = err;
	f->status = 200;
	if (err == 0)
		ck_assert_int_eq(buf_append_str(&f->body, body), 0);
	f->mail.deliver(&f->mail);
}

static const char yes[] = "{\"isAuthenticated\":true,\"principalId\":\"p\",\"policyDocuments\":[]}";
static const char no[] = "{\"isAuthenticated\":false}";

/* ---- tests ---- */

START_TEST(the_same_question_is_asked_once)
{
	for (unsigned i = 0; i < 100; i++)
		ask_as(i, "192.0.2.1:1", 7, false);
	ck_assert_uint_eq(n_fetches, 1);
	authorizer_ask_drop(&asks[50].ask); /* one of them does not wait any more */
	answer(0, 0, yes);
	for (unsigned i = 0; i < 100; i++) {
		ck_assert_uint_eq(asks[i].answers, i != 50);
		if (i != 50)
			ck_assert_str_eq(asks[i].principal, "p");
	}
}
END_TEST

START_TEST(answers_are_kept)
{
	ask_as(0, "192.0.2.1:1", 7, false);
	answer(0, 0, yes);
	ask_as(1, "192.0.2.9:1", 7, false);
	ck_assert_uint_eq(n_fetches, 1);
	ck_assert_uint_eq(asks[1].answers, 1);
	ck_assert_int_eq(asks[1].why, DENY_NONE);
	/* Not for who wants it afresh, for another question, or of another state of it. */
	ask_as(2, "192.0.2.1:1", 7, true);
	ask_as(3, "192.0.2.1:1", 8, false);
	ck_assert_uint_eq(n_fetches, 3);
	answer(1, 0, no);
	answer(2, 0, yes);
	ck_assert_int_eq(asks[2].why, DENY_AUTHORIZER);
	/* The newer answer counts. */
	ask_as(4, "192.0.2.1:1", 7, false);
	ck_assert_int_eq(asks[4].why, DENY_AUTHORIZER);
	set_authorizer("{'name': 'a', 'url': 'https://a/', 'signingDisabled': true}");
	ask_as(5, "192.0.2.1:1", 8, false);
	ck_assert_uint_eq(n_fetches, 4);
	answer(3, ERR_TIMEOUT, NULL);
	ck_assert_int_eq(asks[5].why, DENY_AUTHORIZER_FAILED);
	/* A failure is not kept. */
	ask_as(6, "192.0.2.1:1", 8, false);
	ck_assert_uint_eq(n_fetches, 5);
	answer(4, 0, yes);
}
END_TEST

START_TEST(the_cache_is_bounded)
{
	for (unsigned round = 0; round < 2; round++)
		for (unsigned i = 0; i < N; i++) {
			n_fetches = 0;
			ask_as(i, "192.0.2.1:1", round * N + i, false);
			ck_assert_uint_eq(n_fetches, 1);
			answer(0, 0, yes);
		}
	/* The oldest have gone, the newest are there. */
	n_fetches = 0;
	ask_as(0, "192.0.2.1:1", 2 * N - 1, false);
	ck_assert_uint_eq(n_fetches, 0);
	ask_as(0, "192.0.2.1:1", 2 * N - ANSWERS_MAX, false);
	ck_assert_uint_eq(n_fetches, 0);
	ask_as(0, "192.0.2.1:1", 2 * N - ANSWERS_MAX - 1, false);
	ck_assert_uint_eq(n_fetches, 1);
	answer(0, 0, yes);
}
END_TEST

/* A flood from one address leaves half of the calls to the others; what comes on top of the queue
 * is refused. */
START_TEST(a_flood_is_bounded)
{
	unsigned refused = 0, answered = 0;
	for (unsigned i = 0; i < N - 1; i++)
		ask_as(i, "[2001:db8::1]:1", i, false);
	ck_assert_uint_eq(n_fetches, CALLS_MAX / 2);
	for (unsigned i = 0; i < N - 1; i++)
		refused += asks[i].answers == 1 && asks[i].why == DENY_BUDGET;
	ck_assert_uint_eq(refused, N - 1 - CALLS_MAX / 2 - WAITING_MAX);
	/* Somebody else is asked about at once, a neighbour of the same /64 is not. */
	ask_as(N - 1, "192.0.2.1:1", N, false);
	ck_assert_uint_eq(n_fetches, CALLS_MAX / 2 + 1);
	answer(n_fetches - 1, 0, yes);
	ck_assert_int_eq(asks[N - 1].answers, 1);
	/* Half of those who wait go away: they are not asked about. */
	for (unsigned i = 0; i < N - 1; i += 2)
		authorizer_ask_drop(&asks[i].ask);
	for (unsigned i = 0; i < n_fetches; i++)
		if (i != CALLS_MAX / 2)
			answer(i, 0, no);
	for (unsigned i = 0; i < N - 1; i++) {
		ck_assert_uint_le(asks[i].answers, 1);
		answered += asks[i].answers;
	}
	ck_assert_uint_eq(answered, refused + (CALLS_MAX / 2 + WAITING_MAX) / 2);
	ck_assert_uint_le(n_fetches, CALLS_MAX / 2 + 1 + WAITING_MAX / 2);
}
END_TEST

START_TEST(who_fails_is_left_alone)
{
	int64_t before = metric_read(METRIC_AUTHORIZERS_SHUT);
	for (unsigned i = 0; i < BREAKER_FAILURES; i++) {
		ask_as(i, "192.0.2.1:1", i, false);
		answer(i, i % 2 ? ERR_TIMEOUT : 0, "nonsense");
		ck_assert_int_eq(asks[i].why, DENY_AUTHORIZER_FAILED);
	}
	ck_assert_int_eq(metric_read(METRIC_AUTHORIZERS_SHUT), before + 1);
	ask_as(10, "192.0.2.1:1", 10, false);
	ck_assert_int_eq(asks[10].why, DENY_AUTHORIZER_FAILED);
	ck_assert_uint_eq(n_fetches, BREAKER_FAILURES);
	/* Another one is another matter, and so is this one once it was changed. */
	set_authorizer("{'name': 'a', 'url': 'https://b/', 'signingDisabled': true}");
	ask_as(11, "192.0.2.1:1", 11, false);
	ck_assert_uint_eq(n_fetches, BREAKER_FAILURES + 1);
	ck_assert_int_eq(metric_read(METRIC_AUTHORIZERS_SHUT), before);
	answer(BREAKER_FAILURES, 0, yes);
	ck_assert_int_eq(asks[11].why, DENY_NONE);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {the_same_question_is_asked_once, answers_are_kept,
	        the_cache_is_bounded, a_flood_is_bounded, who_fails_is_left_alone};
	Suite *suite = suite_create("custom authorisers: calls");
	TCase *tcase = tcase_create("calls");
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_set_timeout(tcase, 60);
	for (size_t i = 0; i < ARRAY_LEN(tests); i++)
		tcase_add_test(tcase, tests[i]);
	suite_add_tcase(suite, tcase);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
