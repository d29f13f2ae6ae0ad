#include "tests/unit/net/rig.h"

#include "server/net/http.h"

/*
 * The server of these tests: what a path does.
 *   /echo    answers with the body     /big N bytes as the query says
 *   /hold    is answered by a worker   /close closes    /none 204    /fixed with extra headers
 */
struct app {
	struct http_server server;
	struct mailbox worker_box;
	pthread_t worker;
	bool worker_stops;
	struct gate held, answered;
	atomic_uint handled;
};

static size_t app_limit(HF_UNUSED void *arg, const struct http_request *r)
{
	return slice_eq_str(r->path, "/small") ? 10 : 100000;
}

static void app_problem(
        HF_UNUSED void *arg, struct buf *out, int status, const char *detail, const char *trace_id)
{
	buf_printf(out, "{\"status\":%d,\"detail\":\"%s\",\"traceId\":\"%s\"}", status, detail,
	        trace_id);
}

static void respond_text(struct http_request *r, int status, struct slice body)
{
	const struct http_response resp = {
	        .status = status, .content_type = "text/plain", .body = body};
	http_respond(r, &resp);
}

static void answer_on_loop(struct mail *m)
{
	struct http_request *r = container_of(m, struct http_request, mail);
	struct app *app = r->user;
	respond_text(r, 200, SLICE_LIT("held"));
	gate_add(&app->answered, 1);
}

/* On the worker: reads the request while the connection may be gone, then posts it back. */
static void work(struct mail *m)
{
	struct http_request *r = container_of(m, struct http_request, mail);
	struct app *app = r->user;
	uint64_t sum = 0;
	for (size_t i = 0; i < r->body.n; i++)
		sum += r->body.p[i];
	ck_assert_uint_eq(sum, r->body.n * 'b');
	ck_assert(slice_eq_str(r->path, "/hold"));
	m->deliver = answer_on_loop;
	mail_send(loop_mailbox(r->loop), m);
	(void)app;
}

static void *worker_main(void *arg)
{
	struct app *app = arg;
	while (!app->worker_stops) {
		mailbox_wait(&app->worker_box, -1);
		mailbox_run(&app->worker_box);
	}
	return NULL;
}

static void worker_stop(struct mail *m)
{
	/* The mail is the app's only one that is no request. */
	struct app **app = (struct app **)(void *)(m + 1);
	(*app)->worker_stops = true;
}

static void app_handle(void *arg, struct http_request *r)
{
	struct app *app = arg;
	app->handled++;
	r->user = app;
	if (slice_eq_str(r->path, "/echo") || slice_eq_str(r->path, "/small")) {
		respond_text(r, 200, r->body);
	} else if (slice_eq_str(r->path, "/big")) {
		char digits[16] = "";
		snprintf(digits, sizeof(digits), "%.*s", SLICE_ARG(r->query));
		size_t n = strtoul(digits, NULL, 10);
		uint8_t *p = malloc(n);
		pattern_fill(p, n, 0);
		respond_text(r, 200, slice_make(p, n));
		free(p);
	} else if (slice_eq_str(r->path, "/hold")) {
		gate_add(&app->held, 1);
		r->mail.deliver = work;
		mail_post(&app->worker_box, &r->mail);
	} else if (slice_eq_str(r->path, "/none")) {
		http_respond(r, &(struct http_response){.status = 204, .close = false});
	} else if (slice_eq_str(r->path, "/close")) {
		http_respond(r, &(struct http_response){.status = 200, .close = true});
	} else if (slice_eq_str(r->path, "/fixed")) {
		http_respond(r,
		        &(struct http_response){.status = 200,
		                .content_type = "text/html",
		                .body = SLICE_LIT("hello"),
		                .extra = "ETag: \"1\"\r\nCache-Control: no-cache\r\n"});
	} else {
		respond_text(r, 404, SLICE_LIT("no"));
	}
}

static void app_accept(struct conn *c, void *arg)
{
	struct app *app = arg;
	http_accept(c, &app->server, NULL);
}

static void start(struct rig *rig, struct app *app)
{
	*app = (struct app){
	        .server = {.limits = {.head_bytes = 4096,
	                           .body_bytes = 1000,
	                           .head_ms = 20000,
	                           .body_ms = 20000,
	                           .idle_ms = 20000},
	                .body_limit = app_limit,
	                .handle = app_handle,
	                .problem = app_problem},
	};
	app->server.arg = app;
	gate_init(&app->held);
	gate_init(&app->answered);
	ck_assert_int_eq(mailbox_init(&app->worker_box), 0);
	pthread_create(&app->worker, NULL, worker_main, app);
	rig_start(rig, 1, app_accept, app);
}

static void stop(struct rig *rig, struct app *app)
{
	struct {
		struct mail mail;
		struct app *app;
	} last = {{.deliver = worker_stop}, app};
	mail_send(&app->worker_box, &last.mail);
	pthread_join(app->worker, NULL);
	rig_stop(rig);
	mailbox_done(&app->worker_box);
}

/* ---- the client's side ---- */

struct answer {
	int status;
	char head[4096];
	uint8_t *body;
	size_t n;
};

static void say(struct client *c, const char *text)
{
	client_write(c, text, strlen(text));
}

/* Reads one response; without a body where there is none to be (204, HEAD, 100). */
static struct answer hear(struct client *c, bool bodyless)
{
	struct answer a = {0};
	size_t n = 0;
	while (n < 4 || memcmp(a.head + n - 4, "\r\n\r\n", 4) != 0) {
		ck_assert_uint_lt(n, sizeof(a.head) - 1);
		ck_assert_msg(client_read(c, a.head + n, 1) == 1, "cut after \"%s\"", a.head);
		n++;
	}
	ck_assert_int_eq(sscanf(a.head, "HTTP/1.1 %d ", &a.status), 1);
	const char *length = strstr(a.head, "\r\nContent-Length: ");
	a.n = length && !bodyless ? strtoul(length + 18, NULL, 10) : 0;
	a.body = calloc(1, a.n + 1);
	ck_assert_uint_eq(client_read(c, a.body, a.n), a.n);
	return a;
}

static void expect(struct client *c, int status, const char *body)
{
	struct answer a = hear(c, status == 204);
	ck_assert_msg(a.status == status, "%d, not %d: %s", a.status, status, (char *)a.body);
	if (body)
		ck_assert_str_eq((char *)a.body, body);
	free(a.body);
}

static void expect_end(struct client *c)
{
	ck_assert(client_at_end(c));
	client_close(c);
}

#define H " HTTP/1.1\r\nHost: h\r\n"

START_TEST(requests_are_answered_and_the_connection_kept)
{
	struct app app;
	struct rig rig;
	start(&rig, &app);
	SSL_CTX *ctx = client_ctx(TLS1_3_VERSION);
	for (int tls = 0; tls < 2; tls++) {
		struct client c = client_open(tls ? rig.tls : rig.plain);
		if (tls)
			ck_assert_int_eq(client_tls(&c, ctx, NULL), 1);
		say(&c, "POST /echo" H "Content-Length: 5\r\n\r\nhello");
		expect(&c, 200, "hello");
		say(&c,
		        "POST /echo" H "Transfer-Encoding: chunked\r\n\r\n"
		        "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
		expect(&c, 200, "abcde");
		say(&c, "GET /none" H "\r\n");
		struct answer a = hear(&c, true);
		ck_assert_int_eq(a.status, 204);
		ck_assert_ptr_null(strstr(a.head, "Content-Length"));
		ck_assert_ptr_nonnull(strstr(a.head, "Cache-Control: no-store\r\n"));
		ck_assert_ptr_nonnull(strstr(a.head, "X-Content-Type-Options: nosniff\r\n"));
		ck_assert_ptr_nonnull(strstr(a.head, "\r\nDate: "));
		ck_assert((strstr(a.head, "Strict-Transport-Security: ") != NULL) == tls);
		free(a.body);
		say(&c, "HEAD /fixed" H "\r\n");
		a = hear(&c, true);
		ck_assert_ptr_nonnull(strstr(a.head, "Content-Length: 5\r\n"));
		ck_assert_ptr_nonnull(strstr(a.head, "ETag: \"1\"\r\n"));
		ck_assert_ptr_null(strstr(a.head, "no-store"));
		free(a.body);
		say(&c, "GET /other" H "\r\n");
		expect(&c, 404, "no");
		say(&c, "GET /other" H "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
		expect(&c, 404, "no");
		say(&c, "GET /close" H "\r\n");
		expect(&c, 200, "");
		expect_end(&c);
	}
	SSL_CTX_free(ctx);
	stop(&rig, &app);
}
END_TEST

START_TEST(persistence_follows_the_version)
{
	struct app app;
	struct rig rig;
	start(&rig, &app);
	struct client c = client_open(rig.plain);
	say(&c, "GET /echo" H "Connection: close\r\n\r\n");
	struct answer a = hear(&c, false);
	ck_assert_ptr_nonnull(strstr(a.head, "\r\nConnection: close\r\n"));
	free(a.body);
	expect_end(&c);
	c = client_open(rig.plain);
	say(&c, "GET /echo HTTP/1.0\r\n\r\n");
	expect(&c, 200, "");
	expect_end(&c);
	c = client_open(rig.plain);
	say(&c, "GET /echo HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
	a = hear(&c, false);
	ck_assert_ptr_nonnull(strstr(a.head, "\r\nConnection: keep-alive\r\n"));
	free(a.body);
	say(&c, "GET /echo HTTP/1.0\r\n\r\n");
	expect(&c, 200, "");
	expect_end(&c);
	stop(&rig, &app);
}
END_TEST

START_TEST(pipelined_requests_are_answered_in_order)
{
	struct app app;
	struct rig rig;
	start(&rig, &app);
	struct client c = client_open(rig.plain);
	say(&c,
	        "POST /hold" H "Content-Length: 3\r\n\r\nbbb"
	        "POST /echo" H "Content-Length: 1\r\n\r\n1\r\n"
	        "GET /big?200000" H "\r\n"
	        "POST /hold" H "Content-Length: 0\r\n\r\n"
	        "POST /echo" H "Transfer-Encoding: chunked\r\n\r\n1\r\n2\r\n0\r\n\r\n"
	        "GET /close" H "\r\n"
	        "POST /echo" H "Content-Length: 1\r\n\r\n3");
	expect(&c, 200, "held");
	expect(&c, 200, "1");
	struct answer a = hear(&c, false);
	ck_assert_uint_eq(a.n, 200000);
	ck_assert(pattern_fits(a.body, a.n, 0));
	free(a.body);
	expect(&c, 200, "held");
	expect(&c, 200, "2");
	expect(&c, 200, "");
	expect_end(&c);
	ck_assert_uint_eq(app.handled, 6);
	stop(&rig, &app);
}
END_TEST

/* Requests whose answers nobody reads wait instead of piling up. */
START_TEST(unread_answers_hold_back_the_next)
{
	struct app app;
	struct rig rig;
	start(&rig, &app);
	struct client c = client_open(rig.plain);
	const unsigned n = 60;
	for (unsigned i = 0; i < n; i++)
		say(&c, "GET /big?1000000" H "\r\n");
	/* Another client is served meanwhile. */
	struct client other = client_open(rig.plain);
	say(&other, "GET /close" H "\r\n");
	expect(&other, 200, "");
	expect_end(&other);
	ck_assert_uint_lt(app.handled, n);
	for (unsigned i = 0; i < n; i++) {
		struct answer a = hear(&c, false);
		ck_assert_uint_eq(a.n, 1000000);
		ck_assert(pattern_fits(a.body, a.n, 0));
		free(a.body);
	}
	client_close(&c);
	stop(&rig, &app);
}
END_TEST

START_TEST(a_request_outlives_its_connection)
{
	struct app app;
	struct rig rig;
	start(&rig, &app);
	for (unsigned i = 1; i <= 50; i++) {
		struct client c = client_open(rig.plain);
		char head[200];
		snprintf(head, sizeof(head), "POST /hold" H "Content-Length: %u\r\n\r\n", i);
		say(&c, head);
		char body[64];
		memset(body, 'b', sizeof(body));
		client_write(&c, body, i);
		client_reset(&c);
	}
	struct client c = client_open(rig.plain);
	say(&c, "POST /hold" H "Content-Length: 0\r\n\r\n");
	expect(&c, 200, "held");
	client_close(&c);
	gate_wait(&app.answered, app.held.n);
	stop(&rig, &app);
}
END_TEST

START_TEST(bad_requests_get_a_problem_and_the_end)
{
	static const struct {
		const char *text;
		int status;
	} cases[] = {
	        {"GET /\r\n\r\n", 400},
	        {"GET / HTTP/1.1\n", 400},
	        {"POST /echo" H "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
	        {"POST /echo" H "Transfer-Encoding: chunked\r\n\r\n+1\r\n", 400},
	        {"POST /echo" H "Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX: y\r\n\r\n",
	                400},
	        {"BREW /" H "\r\n", 501},
	        {"POST /small" H "Content-Length: 11\r\n\r\n", 413},
	        {"POST /small" H "Content-Length: 11\r\nExpect: 100-continue\r\n\r\n", 413},
	        {"POST /small" H "Content-Length: 100000000\r\n\r\nsome of it", 413},
	        {"POST /small" H "Transfer-Encoding: chunked\r\n\r\n9\r\n123456789\r\n2\r\n", 413},
	};
	struct app app;
	struct rig rig;
	start(&rig, &app);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct client c = client_open(rig.plain);
		say(&c, cases[i].text);
		struct answer a = hear(&c, false);
		ck_assert_msg(a.status == cases[i].status, "%s: %d", cases[i].text, a.status);
		ck_assert_ptr_nonnull(strstr(a.head, "Content-Type: application/problem+json\r\n"));
		ck_assert_ptr_nonnull(strstr(a.head, "Connection: close\r\n"));
		ck_assert_ptr_nonnull(strstr((char *)a.body, "\"traceId\":\""));
		free(a.body);
		expect_end(&c);
	}
	ck_assert_uint_eq(app.handled, 0);
	ck_assert_int_eq(metric_read(METRIC_HTTP_ERRORS), ARRAY_LEN(cases));
	stop(&rig, &app);
}
END_TEST

/* The answer reaches a client that goes on sending its body: no reset takes it away. */
START_TEST(a_refusal_outlives_what_is_still_sent)
{
	struct app app;
	struct rig rig;
	start(&rig, &app);
	struct client c = client_open(rig.plain);
	say(&c, "POST /echo" H "Content-Length: 3000000\r\n\r\n");
	char part[10000] = {0};
	for (int i = 0; i < 300; i++)
		client_write(&c, part, sizeof(part));
	expect(&c, 413, NULL);
	expect_end(&c);
	stop(&rig, &app);
}
END_TEST

START_TEST(large_heads_are_refused)
{
	struct app app;
	struct rig rig;
	start(&rig, &app);
	char big[9000];
	memset(big, 'a', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	struct client c = client_open(rig.plain);
	say(&c, "GET /");
	say(&c, big);
	expect(&c, 414, NULL);
	expect_end(&c);
	c = client_open(rig.plain);
	say(&c, "GET /" H "X: ");
	say(&c, big);
	expect(&c, 431, NULL);
	expect_end(&c);
	c = client_open(rig.plain);
	say(&c, "GET /" H);
	for (int i = 0; i < 65; i++)
		say(&c, "X: y\r\n");
	say(&c, "\r\n");
	expect(&c, 431, NULL);
	expect_end(&c);
	stop(&rig, &app);
}
END_TEST

START_TEST(an_expectation_is_met)
{
	struct app app;
	struct rig rig;
	start(&rig, &app);
	struct client c = client_open(rig.plain);
	say(&c, "POST /small" H "Content-Length: 2\r\nExpect: 100-continue\r\n\r\n");
	struct answer a = hear(&c, true);
	ck_assert_int_eq(a.status, 100);
	free(a.body);
	say(&c, "ab");
	expect(&c, 200, "ab");
	client_close(&c);
	stop(&rig, &app);
}
END_TEST

START_TEST(slow_requests_time_out)
{
	struct app app;
	struct rig rig;
	start(&rig, &app);
	app.server.limits.head_ms = app.server.limits.body_ms = app.server.limits.idle_ms = 200;
	struct client silent = client_open(rig.plain), head = client_open(rig.plain),
	              body = client_open(rig.plain), idle = client_open(rig.plain);
	say(&head, "GET / HT");
	say(&body, "POST /echo" H "Content-Length: 9\r\n\r\nabc");
	say(&idle, "POST /echo" H "Content-Length: 1\r\n\r\na");
	expect(&idle, 200, "a");
	expect_end(&idle);
	expect_end(&silent);
	expect(&head, 408, NULL);
	expect_end(&head);
	expect(&body, 408, NULL);
	expect_end(&body);
	ck_assert_int_eq(metric_read((enum metric)(METRIC_CONNECTIONS_ENDED + END_IDLE)), 1);
	ck_assert_int_eq(
	        metric_read((enum metric)(METRIC_CONNECTIONS_ENDED + END_REQUEST_TIMEOUT)), 3);
	stop(&rig, &app);
}
END_TEST

START_TEST(a_client_that_does_not_read_is_ended)
{
	struct app app;
	struct rig rig;
	start(&rig, &app);
	app.server.limits.idle_ms = 200;
	struct client c = client_open(rig.plain);
	say(&c, "GET /big?30000000" H "\r\n");
	while (metric_read((enum metric)(METRIC_CONNECTIONS_ENDED + END_SLOW_READER)) == 0)
		sched_yield();
	client_close(&c);
	stop(&rig, &app);
}
END_TEST

RIG_MAIN("http", a_refusal_outlives_what_is_still_sent,
        requests_are_answered_and_the_connection_kept, persistence_follows_the_version,
        pipelined_requests_are_answered_in_order, unread_answers_hold_back_the_next,
        a_request_outlives_its_connection, bad_requests_get_a_problem_and_the_end,
        large_heads_are_refused, an_expectation_is_met, slow_requests_time_out,
        a_client_that_does_not_read_is_ended)
