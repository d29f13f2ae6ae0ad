#include <stdatomic.h>

#include "server/base/err.h"
#include "server/net/http_stream.h"
#include "tests/unit/net/rig.h"

/*
 * The server of these tests: a thread for each request makes as many bytes as the query says, in
 * pieces of PIECE.
 *   /whole  ends well     /cut ends badly     /wait says "first", then nothing until it is told
 */
#define PIECE 1000
#define HUGE_BYTES "1000000000"

struct app {
	struct http_server server;
	pthread_t makers[8];
	atomic_uint n_makers;
	struct gate closed, full, ended, first;
	atomic_bool finish;
};

static size_t app_limit(HF_UNUSED void *arg, HF_UNUSED const struct http_request *r)
{
	return 100;
}

static void app_problem(HF_UNUSED void *arg, struct buf *out, int status,
        HF_UNUSED const char *detail, HF_UNUSED const char *trace_id)
{
	buf_printf(out, "{\"status\":%d}", status);
}

/* 0, or ERR_CLOSED. */
static int make_bytes(struct app *app, struct http_stream *s, size_t n)
{
	uint8_t piece[PIECE];
	for (size_t at = 0; at < n;) {
		size_t part = n - at < PIECE ? n - at : PIECE;
		pattern_fill(piece, part, at);
		if (http_stream_full(s)) {
			gate_add(&app->full, 1);
			int r;
			while ((r = http_stream_wait(s, 50)) == ERR_TIMEOUT)
				;
			if (r < 0)
				return r;
		}
		int r = http_stream_write(s, slice_make(piece, part));
		if (r < 0)
			return r;
		at += part;
	}
	return 0;
}

static int wait_for_word(struct app *app, struct http_stream *s)
{
	int r = http_stream_write(s, SLICE_LIT("first"));
	http_stream_flush(s);
	gate_add(&app->first, 1);
	while (r == 0 && !app->finish)
		if (http_stream_closed(s, 20))
			r = ERR_CLOSED;
	return r;
}

static void *make(void *arg)
{
	struct http_request *r = arg;
	struct app *app = r->user;
	const struct http_response head = {
	        .status = 200, .content_type = "text/plain", .extra = "X-Mine: 1\r\n"};
	struct http_stream *s = http_stream_begin(r, &head);
	ck_assert_ptr_nonnull(s);
	char digits[16];
	snprintf(digits, sizeof(digits), "%.*s", SLICE_ARG(r->query));
	int err = slice_eq_str(r->path, "/wait") ? wait_for_word(app, s)
	                                         : make_bytes(app, s, strtoul(digits, NULL, 10));
	if (err == ERR_CLOSED)
		gate_add(&app->closed, 1);
	http_stream_end(s, err == 0 && !slice_eq_str(r->path, "/cut"));
	mail_flush();
	gate_add(&app->ended, 1);
	return NULL;
}

static void app_handle(void *arg, struct http_request *r)
{
	struct app *app = arg;
	r->user = app;
	ck_assert_uint_lt(app->n_makers, ARRAY_LEN(app->makers));
	ck_assert_int_eq(pthread_create(&app->makers[app->n_makers++], NULL, make, r), 0);
}

static void app_accept(struct conn *c, void *arg)
{
	struct app *app = arg;
	http_accept(c, &app->server, NULL);
}

static void start(struct rig *rig, struct app *app, unsigned idle_ms)
{
	*app = (struct app){
	        .server = {.limits = {.head_bytes = 4096,
	                           .body_bytes = 1000,
	                           .head_ms = 20000,
	                           .body_ms = 20000,
	                           .idle_ms = idle_ms},
	                .body_limit = app_limit,
	                .handle = app_handle,
	                .problem = app_problem},
	};
	app->server.arg = app;
	gate_init(&app->closed);
	gate_init(&app->full);
	gate_init(&app->ended);
	gate_init(&app->first);
	rig_start(rig, 1, app_accept, app);
}

static void stop(struct rig *rig, struct app *app)
{
	for (unsigned i = 0; i < app->n_makers; i++)
		pthread_join(app->makers[i], NULL);
	rig_stop(rig);
}

/* ---- the client's side ---- */

#define H " HTTP/1.1\r\nHost: h\r\n"

static void say(struct client *c, const char *text)
{
	client_write(c, text, strlen(text));
}

static void hear_head(struct client *c, char head[static 4096])
{
	size_t n = 0;
	memset(head, 0, 4096);
	while (n < 4 || memcmp(head + n - 4, "\r\n\r\n", 4) != 0) {
		ck_assert_uint_lt(n, 4095);
		ck_assert_msg(client_read(c, head + n, 1) == 1, "cut after \"%s\"", head);
		n++;
	}
	ck_assert_ptr_nonnull(strstr(head, "HTTP/1.1 200 OK\r\n"));
	ck_assert_ptr_nonnull(strstr(head, "X-Mine: 1\r\n"));
	ck_assert_ptr_null(strstr(head, "Content-Length"));
}

/* Reads one chunk into p (room for n); its length, 0 for the last one. SIZE_MAX: the end came. */
static size_t hear_chunk(struct client *c, uint8_t *p, size_t room)
{
	char line[20] = "";
	for (size_t n = 0; n < 2 || memcmp(line + n - 2, "\r\n", 2) != 0; n++) {
		ck_assert_uint_lt(n, sizeof(line) - 1);
		if (client_read(c, line + n, 1) == 0)
			return SIZE_MAX;
	}
	size_t n = strtoul(line, NULL, 16);
	char end[2];
	ck_assert_uint_le(n, room);
	if (client_read(c, p, n) < n || client_read(c, end, 2) < 2)
		return SIZE_MAX;
	ck_assert_int_eq(memcmp(end, "\r\n", 2), 0);
	return n;
}

#define CHUNK_ROOM (4u << 20)

/* The chunks of a body of n bytes. Whether the last chunk came. */
static bool hear_chunks(struct client *c, size_t n)
{
	uint8_t *p = malloc(CHUNK_ROOM);
	size_t at = 0, part;
	while ((part = hear_chunk(c, p, CHUNK_ROOM)) != 0 && part != SIZE_MAX) {
		ck_assert(pattern_fits(p, part, at));
		at += part;
	}
	free(p);
	ck_assert_uint_eq(at, n);
	return part == 0;
}

static void get(struct client *c, const char *target)
{
	char head[4096], request[128];
	snprintf(request, sizeof(request), "GET %s" H "\r\n", target);
	say(c, request);
	hear_head(c, head);
	ck_assert_ptr_nonnull(strstr(head, "Transfer-Encoding: chunked\r\n"));
}

START_TEST(bodies_come_in_chunks_and_the_connection_is_kept)
{
	struct rig rig;
	struct app app;
	start(&rig, &app, 20000);
	struct client c = client_open(rig.plain);
	get(&c, "/whole?5");
	ck_assert(hear_chunks(&c, 5));
	get(&c, "/whole?0");
	ck_assert(hear_chunks(&c, 0));
	get(&c, "/whole?3000000");
	ck_assert(hear_chunks(&c, 3000000));
	/* The next ones wait their turn. */
	char head[4096];
	say(&c, "GET /whole?700000" H "\r\nGET /whole?12" H "\r\n");
	hear_head(&c, head);
	ck_assert(hear_chunks(&c, 700000));
	hear_head(&c, head);
	ck_assert(hear_chunks(&c, 12));
	client_close(&c);
	stop(&rig, &app);
}
END_TEST

START_TEST(what_is_not_whole_has_no_last_chunk)
{
	struct rig rig;
	struct app app;
	start(&rig, &app, 20000);
	struct client c = client_open(rig.plain);
	get(&c, "/cut?100000");
	ck_assert(!hear_chunks(&c, 100000));
	client_close(&c);
	stop(&rig, &app);
}
END_TEST

START_TEST(head_gets_no_body)
{
	struct rig rig;
	struct app app;
	char head[4096];
	start(&rig, &app, 20000);
	struct client c = client_open(rig.plain);
	say(&c, "HEAD /whole?" HUGE_BYTES H "\r\n");
	hear_head(&c, head);
	gate_wait(&app.closed, 1);
	get(&c, "/whole?7");
	ck_assert(hear_chunks(&c, 7));
	client_close(&c);
	stop(&rig, &app);
}
END_TEST

START_TEST(http_1_0_reads_to_the_end)
{
	struct rig rig;
	struct app app;
	char head[4096];
	uint8_t *body = malloc(500001);
	start(&rig, &app, 20000);
	struct client c = client_open(rig.plain);
	say(&c, "GET /whole?500000 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
	hear_head(&c, head);
	ck_assert_ptr_null(strstr(head, "Transfer-Encoding"));
	ck_assert_ptr_nonnull(strstr(head, "Connection: close\r\n"));
	ck_assert_uint_eq(client_read(&c, body, 500001), 500000);
	ck_assert(pattern_fits(body, 500000, 0));
	client_close(&c);
	stop(&rig, &app);
	free(body);
}
END_TEST

START_TEST(a_maker_waits_for_its_client_and_learns_that_it_is_gone)
{
	struct rig rig;
	struct app app;
	start(&rig, &app, 20000);
	for (unsigned i = 0; i < 4; i++) {
		struct client c = client_open(rig.plain);
		get(&c, i < 2 ? "/whole?" HUGE_BYTES : "/wait");
		/* Nobody reads: it is not made to the end. */
		gate_wait(i < 2 ? &app.full : &app.first, 1);
		ck_assert_uint_eq(app.ended.n, i);
		if (i % 2)
			client_reset(&c);
		else
			client_close(&c);
		gate_wait(&app.closed, i + 1);
		gate_wait(&app.ended, i + 1);
	}
	stop(&rig, &app);
}
END_TEST

START_TEST(a_client_that_does_not_read_is_closed_and_one_that_waits_is_not)
{
	struct rig rig;
	struct app app;
	uint8_t first[8];
	start(&rig, &app, 300);
	struct client idle = client_open(rig.plain), lazy = client_open(rig.plain);
	get(&idle, "/wait");
	ck_assert_uint_eq(hear_chunk(&idle, first, sizeof(first)), 5);
	get(&lazy, "/whole?" HUGE_BYTES);
	gate_wait(&app.ended, 1); /* by time alone */
	ck_assert_uint_eq(app.closed.n, 1);
	client_close(&lazy);
	app.finish = true;
	ck_assert_uint_eq(hear_chunk(&idle, first, sizeof(first)), 0);
	client_close(&idle);
	stop(&rig, &app);
}
END_TEST

START_TEST(what_a_stopped_maker_said_still_arrives)
{
	struct rig rig;
	struct app app;
	uint8_t first[8];
	start(&rig, &app, 20000);
	struct client c = client_open(rig.plain);
	get(&c, "/wait");
	app.finish = true;
	gate_wait(&app.ended, 1);
	ck_assert_uint_eq(hear_chunk(&c, first, sizeof(first)), 5);
	ck_assert_uint_eq(hear_chunk(&c, first, sizeof(first)), 0);
	client_close(&c);
	stop(&rig, &app);
}
END_TEST

RIG_MAIN("http_stream", bodies_come_in_chunks_and_the_connection_is_kept,
        what_is_not_whole_has_no_last_chunk, head_gets_no_body, http_1_0_reads_to_the_end,
        a_maker_waits_for_its_client_and_learns_that_it_is_gone,
        a_client_that_does_not_read_is_closed_and_one_that_waits_is_not,
        what_a_stopped_maker_said_still_arrives)
