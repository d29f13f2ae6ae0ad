#include "tests/unit/net/rig.h"

#include "server/base/clock.h"

/* ---- the protocol of these tests: what a connection does is told by its script ---- */

struct script {
	ssize_t (*on_data)(struct conn *c, void *arg, struct slice in, size_t *ret_need);
	void (*on_open)(struct conn *c, struct script *s);
	size_t in_cap, low_water;
	/* what came to pass */
	struct gate opened, called, drained, closed, moved;
	struct conn *conn; /* of the last connection; for its loop alone */
	struct loop *loop;
	size_t bytes;
	unsigned calls;
	enum end_reason why;
	/* for scripts that need it */
	struct rig *rig;
	struct msg *msg;
	size_t take, send;
	bool wrong;
};

static void script_drained(struct conn *c, void *arg)
{
	struct script *s = arg;
	ck_assert_uint_lt(conn_unsent(c), (s->low_water ? s->low_water : 65536) / 4);
	gate_add(&s->drained, 1);
}

static void script_closed(HF_UNUSED struct conn *c, void *arg, enum end_reason why)
{
	struct script *s = arg;
	s->why = why;
	s->conn = NULL;
	gate_add(&s->closed, 1);
}

static void script_accept(struct conn *c, void *arg)
{
	struct script *s = arg;
	static struct conn_handler h;
	h = (struct conn_handler){
	        .on_data = s->on_data, .on_drained = script_drained, .on_closed = script_closed};
	s->conn = c;
	s->loop = conn_loop(c);
	conn_set_handler(c, &h, s, s->in_cap ? s->in_cap : 65536);
	if (s->low_water)
		conn_set_low_water(c, s->low_water);
	if (s->on_open)
		s->on_open(c, s);
	gate_add(&s->opened, 1);
}

static void script_init(struct script *s)
{
	gate_init(&s->opened);
	gate_init(&s->called);
	gate_init(&s->drained);
	gate_init(&s->closed);
	gate_init(&s->moved);
}

static ssize_t echo(struct conn *c, void *arg, struct slice in, HF_UNUSED size_t *need)
{
	struct script *s = arg;
	s->bytes += in.n;
	conn_send(c, in.p, in.n);
	return (ssize_t)in.n;
}

static void echo_check(struct client *client)
{
	static const size_t sizes[] = {1, 5, 100, 1500, 16384, 16385, 100000};
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		size_t n = sizes[i];
		uint8_t *out = malloc(n), *back = malloc(n);
		pattern_fill(out, n, i);
		client_write(client, out, n);
		ck_assert_uint_eq(client_read(client, back, n), n);
		ck_assert(pattern_fits(back, n, i));
		free(out);
		free(back);
	}
}

START_TEST(bytes_come_back_plain)
{
	struct script s = {.on_data = echo};
	script_init(&s);
	struct rig rig;
	rig_start(&rig, 1, script_accept, &s);
	struct client client = client_open(rig.plain);
	echo_check(&client);
	client_close(&client);
	gate_wait(&s.closed, 1);
	ck_assert_int_eq(s.why, END_PEER_CLOSED);
	rig_stop(&rig);
}
END_TEST

static void echo_tls(int version, const char *name)
{
	struct script s = {.on_data = echo};
	script_init(&s);
	struct rig rig;
	rig_start(&rig, 1, script_accept, &s);
	SSL_CTX *ctx = client_ctx(version);
	struct client client = client_open(rig.tls);
	ck_assert_int_eq(client_tls(&client, ctx, NULL), 1);
	ck_assert_str_eq(SSL_get_version(client.ssl), name);
	echo_check(&client);
	client_close(&client);
	gate_wait(&s.closed, 1);
	ck_assert_int_eq(s.why, END_PEER_CLOSED);
	SSL_CTX_free(ctx);
	rig_stop(&rig);
}

START_TEST(bytes_come_back_over_tls_12)
{
	echo_tls(TLS1_2_VERSION, "TLSv1.2");
}
END_TEST

START_TEST(bytes_come_back_over_tls_13)
{
	echo_tls(TLS1_3_VERSION, "TLSv1.3");
}
END_TEST

/* ---- reading ---- */

/* Packets of a four-byte length and as many bytes. */
static ssize_t packets(struct conn *c, void *arg, struct slice in, size_t *need)
{
	struct script *s = arg;
	size_t used = 0;
	s->calls++;
	while (in.n - used >= 4) {
		uint32_t n;
		memcpy(&n, in.p + used, 4);
		if (in.n - used - 4 < n) {
			*need = 4 + n;
			break;
		}
		if (!pattern_fits(in.p + used + 4, n, s->bytes))
			s->wrong = true;
		s->bytes += n;
		used += 4 + n;
		conn_send(c, "k", 1);
	}
	return (ssize_t)used;
}

static void packet_make(uint8_t *p, uint32_t n, size_t offset)
{
	memcpy(p, &n, 4);
	pattern_fill(p + 4, n, offset);
}

START_TEST(packets_cut_anywhere_come_whole)
{
	struct script s = {.on_data = packets, .in_cap = 400000};
	script_init(&s);
	struct rig rig;
	rig_start(&rig, 1, script_accept, &s);
	SSL_CTX *ctx = client_ctx(TLS1_3_VERSION);
	struct client clients[2] = {client_open(rig.plain), client_open(rig.tls)};
	ck_assert_int_eq(client_tls(&clients[1], ctx, NULL), 1);
	uint8_t *p = malloc(300004);
	char k;
	for (int i = 0; i < 2; i++) {
		s.bytes = s.calls = 0;
		packet_make(p, 20, 0);
		for (size_t at = 0; at < 24; at++)
			client_write(&clients[i], p + at, 1);
		ck_assert_uint_eq(client_read(&clients[i], &k, 1), 1);
		/* The length is asked for byte by byte, the rest once. */
		ck_assert_uint_le(s.calls, 5);
		size_t sent = 20;
		static const uint32_t sizes[] = {0, 16000, 16380, 40000, 300000, 7};
		for (size_t j = 0; j < ARRAY_LEN(sizes); j++) {
			packet_make(p, sizes[j], sent);
			client_write(&clients[i], p, sizes[j] / 3);
			client_write(&clients[i], p + sizes[j] / 3, sizes[j] - sizes[j] / 3 + 4);
			sent += sizes[j];
			ck_assert_uint_eq(client_read(&clients[i], &k, 1), 1);
		}
		ck_assert_uint_eq(s.bytes, sent);
		ck_assert(!s.wrong);
		client_close(&clients[i]);
		gate_wait(&s.closed, (unsigned)i + 1);
	}
	free(p);
	SSL_CTX_free(ctx);
	rig_stop(&rig);
}
END_TEST

START_TEST(too_much_unread_ends_the_connection)
{
	struct script s = {.on_data = packets, .in_cap = 1000};
	script_init(&s);
	struct rig rig;
	rig_start(&rig, 1, script_accept, &s);
	struct client client = client_open(rig.plain);
	uint8_t p[2004];
	packet_make(p, 2000, 0);
	client_write(&client, p, 1001);
	gate_wait(&s.closed, 1);
	ck_assert_int_eq(s.why, END_TOO_LARGE);
	ck_assert(client_at_end(&client));
	client_close(&client);
	rig_stop(&rig);
}
END_TEST

/* Takes ten bytes, pauses, and is resumed by mail. */
static void resume(void *arg)
{
	struct script *s = arg;
	if (s->conn)
		conn_resume(s->conn);
}

static ssize_t ten_at_a_time(struct conn *c, void *arg, struct slice in, HF_UNUSED size_t *need)
{
	struct script *s = arg;
	size_t n = in.n < 10 ? in.n : 10;
	ck_assert(!conn_paused(c));
	if (!pattern_fits(in.p, n, s->bytes))
		s->wrong = true;
	s->bytes += n;
	conn_pause(c);
	gate_add(&s->called, 1);
	return (ssize_t)n;
}

static void paused_reading(bool tls)
{
	struct script s = {.on_data = ten_at_a_time, .in_cap = 16};
	script_init(&s);
	struct rig rig;
	rig_start(&rig, 1, script_accept, &s);
	SSL_CTX *ctx = client_ctx(TLS1_3_VERSION);
	struct client client = client_open(tls ? rig.tls : rig.plain);
	if (tls)
		ck_assert_int_eq(client_tls(&client, ctx, NULL), 1);
	uint8_t p[400];
	pattern_fill(p, sizeof(p), 0);
	client_write(&client, p, sizeof(p));
	/* What was sent before the end is offered before the end is told. */
	if (tls)
		SSL_shutdown(client.ssl);
	shutdown(client.fd, SHUT_WR);
	gate_wait(&s.opened, 1);
	for (unsigned i = 1; i <= 40; i++) {
		gate_wait(&s.called, i);
		ck_assert_uint_eq(s.bytes, i * 10);
		rig_on_loop(s.loop, resume, &s);
	}
	gate_wait(&s.closed, 1);
	ck_assert(!s.wrong);
	ck_assert_uint_eq(s.bytes, 400);
	ck_assert_int_eq(s.why, END_PEER_CLOSED);
	client_close(&client);
	SSL_CTX_free(ctx);
	rig_stop(&rig);
	/* Why it pauses is the handler's to say and to count. */
	ck_assert_int_eq(metric_read(METRIC_READ_PAUSES), 0);
}

START_TEST(a_pause_keeps_what_is_unread)
{
	paused_reading(false);
	paused_reading(true);
}
END_TEST

/* Back-pressure may last as long as the database is away: the dead do not wait for it. */
START_TEST(a_pause_does_not_hide_the_peers_end)
{
	static const enum end_reason whys[] = {END_PEER_CLOSED, END_PEER_RESET};
	for (size_t i = 0; i < ARRAY_LEN(whys); i++) {
		struct script s = {.on_data = ten_at_a_time, .in_cap = 16};
		script_init(&s);
		struct rig rig;
		rig_start(&rig, 1, script_accept, &s);
		struct client client = client_open(rig.plain);
		uint8_t p[10];
		pattern_fill(p, sizeof(p), 0);
		client_write(&client, p, sizeof(p));
		gate_wait(&s.called, 1);
		if (whys[i] == END_PEER_RESET)
			client_reset(&client);
		else
			client_close(&client);
		gate_wait(&s.closed, 1);
		ck_assert_int_eq(s.why, whys[i]);
		rig_stop(&rig);
	}
}
END_TEST

static int64_t cpu_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Unread bytes and an end behind them: both stay readable, and no loop may turn for them. */
START_TEST(a_pause_costs_no_time)
{
	struct script s = {.on_data = ten_at_a_time, .in_cap = 100000};
	script_init(&s);
	struct rig rig;
	rig_start(&rig, 1, script_accept, &s);
	struct client client = client_open(rig.plain);
	static uint8_t p[60000];
	pattern_fill(p, sizeof(p), 0);
	client_write(&client, p, sizeof(p));
	shutdown(client.fd, SHUT_WR);
	gate_wait(&s.called, 1);
	int64_t before = cpu_ms();
	usleep(400000);
	ck_assert_int_lt(cpu_ms() - before, 100);
	ck_assert_uint_eq(s.closed.n, 0);
	client_close(&client);
	rig_stop(&rig);
}
END_TEST

static ssize_t upper(struct conn *c, void *arg, struct slice in, HF_UNUSED size_t *need)
{
	struct script *s = arg;
	char out[64];
	for (size_t i = 0; i < in.n && i < sizeof(out); i++)
		out[i] = (char)(in.p[i] & ~0x20);
	s->bytes += in.n;
	conn_send(c, out, in.n);
	return (ssize_t)in.n;
}

static const struct conn_handler upper_handler = {
        .on_data = upper, .on_drained = script_drained, .on_closed = script_closed};

static ssize_t upgrade(struct conn *c, void *arg, struct slice in, HF_UNUSED size_t *need)
{
	if (in.n < 2)
		return 0;
	conn_set_handler(c, &upper_handler, arg, 100);
	return 2;
}

START_TEST(a_new_handler_gets_the_rest)
{
	struct script s = {.on_data = upgrade};
	script_init(&s);
	struct rig rig;
	rig_start(&rig, 1, script_accept, &s);
	struct client client = client_open(rig.plain);
	client_write(&client, "upabc", 5);
	char back[4] = "";
	ck_assert_uint_eq(client_read(&client, back, 3), 3);
	ck_assert_str_eq(back, "ABC");
	client_close(&client);
	gate_wait(&s.closed, 1);
	rig_stop(&rig);
}
END_TEST

/* ---- writing ---- */

#define BIG 6000000

static void send_big(struct conn *c, struct script *s)
{
	uint8_t *p = malloc(s->send);
	pattern_fill(p, s->send, 0);
	/* in odd parts, some by copy, some by reference */
	size_t at = 0;
	for (size_t i = 1; at < s->send; i = i * 3 % 100003 + 1) {
		size_t n = s->send - at < i ? s->send - at : i;
		if (i % 2) {
			conn_send(c, p + at, n);
		} else {
			struct msg *m = msg_new(
			        SLICE_LIT("t"), (struct slice){0}, slice_make(p + at, n));
			size_t head = n < 9 ? n : 9;
			conn_send_msg(
			        c, slice_make(p + at, head), m, slice_from(msg_payload(m), head));
			msg_unref(m);
		}
		at += n;
	}
	ck_assert_uint_eq(conn_unsent(c), s->send);
	free(p);
}

static void slow_reader(bool tls)
{
	struct script s = {.on_data = echo, .on_open = send_big, .low_water = 65536, .send = BIG};
	script_init(&s);
	struct rig rig;
	rig_start(&rig, 1, script_accept, &s);
	SSL_CTX *ctx = client_ctx(TLS1_3_VERSION);
	struct client client = client_open(tls ? rig.tls : rig.plain);
	if (tls)
		ck_assert_int_eq(client_tls(&client, ctx, NULL), 1);
	gate_wait(&s.opened, 1);
	ck_assert_uint_eq(s.drained.n, 0);
	uint8_t *back = malloc(BIG);
	ck_assert_uint_eq(client_read(&client, back, BIG), BIG);
	ck_assert(pattern_fits(back, BIG, 0));
	gate_wait(&s.drained, 1);
	client_write(&client, "x", 1);
	ck_assert_uint_eq(client_read(&client, back, 1), 1);
	free(back);
	client_close(&client);
	gate_wait(&s.closed, 1);
	SSL_CTX_free(ctx);
	rig_stop(&rig);
}

START_TEST(a_slow_reader_gets_everything)
{
	slow_reader(false);
	slow_reader(true);
}
END_TEST

static void send_refs(struct conn *c, struct script *s)
{
	for (int i = 0; i < 1000; i++)
		conn_send_msg(c, SLICE_LIT("head"), s->msg, msg_payload(s->msg));
}

START_TEST(references_are_given_back)
{
	uint8_t payload[5000] = {0};
	struct script s = {.on_data = echo, .on_open = send_refs};
	script_init(&s);
	s.msg = msg_new(SLICE_LIT("t"), (struct slice){0}, slice_make(payload, sizeof(payload)));
	struct rig rig;
	rig_start(&rig, 1, script_accept, &s);
	struct client reads = client_open(rig.plain);
	uint8_t *back = malloc(5004 * 1000);
	ck_assert_uint_eq(client_read(&reads, back, 5004 * 1000), 5004 * 1000);
	free(back);
	struct client resets = client_open(rig.plain);
	gate_wait(&s.opened, 2);
	client_reset(&resets);
	gate_wait(&s.closed, 1);
	client_close(&reads);
	gate_wait(&s.closed, 2);
	rig_stop(&rig);
	ck_assert_uint_eq(atomic_load(&s.msg->refs), 1);
	msg_unref(s.msg);
}
END_TEST

/* ---- ending ---- */

static ssize_t send_and_close(struct conn *c, void *arg, struct slice in, HF_UNUSED size_t *need)
{
	struct script *s = arg;
	send_big(c, s);
	conn_close(c, END_KEEP_ALIVE);
	conn_close(c, END_INTERNAL);
	conn_send(c, "late", 4);
	/* on_closed comes later, never from inside */
	ck_assert_uint_eq(s->closed.n, 0);
	return (ssize_t)in.n;
}

START_TEST(a_close_lets_the_output_out)
{
	SSL_CTX *ctx = client_ctx(TLS1_3_VERSION);
	for (int tls = 0; tls < 2; tls++) {
		struct script s = {.on_data = send_and_close, .send = 300000};
		script_init(&s);
		struct rig rig;
		rig_start(&rig, 1, script_accept, &s);
		struct client client = client_open(tls ? rig.tls : rig.plain);
		if (tls)
			ck_assert_int_eq(client_tls(&client, ctx, NULL), 1);
		client_write(&client, "go", 2);
		gate_wait(&s.closed, 1);
		ck_assert_int_eq(s.why, END_KEEP_ALIVE);
		uint8_t *back = malloc(300001);
		ck_assert_uint_eq(client_read(&client, back, 300001), 300000);
		ck_assert(pattern_fits(back, 300000, 0));
		if (tls)
			ck_assert(SSL_get_shutdown(client.ssl) & SSL_RECEIVED_SHUTDOWN);
		free(back);
		client_close(&client);
		rig_stop(&rig);
		ck_assert_uint_eq(s.closed.n, 1);
	}
	SSL_CTX_free(ctx);
}
END_TEST

/* Waits until the net has no connection left; its loops say so as they end theirs. */
static void wait_no_connections(struct rig *rig, uint64_t at_most_ms)
{
	uint64_t until = clock_ms() + at_most_ms;
	while (net_connections(rig->net) > 0) {
		ck_assert_msg(
		        clock_ms() < until, "%zu connections left", net_connections(rig->net));
		sched_yield();
	}
}

START_TEST(a_close_does_not_wait_for_a_peer_that_never_reads)
{
	struct script s = {.on_data = send_and_close, .send = BIG};
	script_init(&s);
	struct rig rig;
	rig_start(&rig, 1, script_accept, &s);
	struct client client = client_open(rig.plain);
	uint64_t start = clock_ms();
	client_write(&client, "go", 2);
	gate_wait(&s.closed, 1);
	wait_no_connections(&rig, 10000);
	ck_assert_uint_ge(clock_ms() - start, 1500);
	client_close(&client);
	rig_stop(&rig);
}
END_TEST

static ssize_t send_and_abort(struct conn *c, void *arg, HF_UNUSED struct slice in, size_t *need)
{
	*need = 1;
	send_big(c, arg);
	conn_abort(c, END_TAKEN_OVER);
	return -1;
}

START_TEST(an_abort_drops_the_output)
{
	struct script s = {.on_data = send_and_abort, .send = 1000};
	script_init(&s);
	struct rig rig;
	rig_start(&rig, 1, script_accept, &s);
	struct client client = client_open(rig.plain);
	client_write(&client, "go", 2);
	ck_assert(client_at_end(&client));
	gate_wait(&s.closed, 1);
	ck_assert_int_eq(s.why, END_TAKEN_OVER);
	client_close(&client);
	wait_no_connections(&rig, 1000);
	rig_stop(&rig);
}
END_TEST

START_TEST(a_reset_is_told)
{
	struct script s = {.on_data = echo};
	script_init(&s);
	struct rig rig;
	rig_start(&rig, 1, script_accept, &s);
	struct client client = client_open(rig.plain);
	gate_wait(&s.opened, 1);
	client_reset(&client);
	gate_wait(&s.closed, 1);
	ck_assert_int_eq(s.why, END_PEER_RESET);
	rig_stop(&rig);
}
END_TEST

START_TEST(what_is_open_at_the_end_is_closed)
{
	struct script s = {.on_data = echo, .on_open = send_big, .send = BIG};
	script_init(&s);
	struct rig rig;
	rig_start(&rig, 1, script_accept, &s);
	struct client client = client_open(rig.plain);
	gate_wait(&s.opened, 1);
	rig_stop(&rig);
	ck_assert_uint_eq(s.closed.n, 1);
	ck_assert_int_eq(s.why, END_SHUTDOWN);
	client_close(&client);
}
END_TEST

/* ---- moving ---- */

static void moved(struct conn *c, void *arg)
{
	struct script *s = arg;
	ck_assert_ptr_eq(conn_loop(c), s->loop);
	ck_assert_ptr_eq(loop_here(), s->loop);
	conn_set_handler(c, &upper_handler, s, 1000);
	gate_add(&s->moved, 1);
}

/* Takes two bytes and goes to the other loop, as CONNECT does. */
static ssize_t go_over(struct conn *c, void *arg, struct slice in, HF_UNUSED size_t *need)
{
	struct script *s = arg;
	if (in.n < 2)
		return 0;
	s->loop = s->rig->loops[1 - loop_index(conn_loop(c))];
	conn_move(c, s->loop, moved);
	return 2;
}

static void move_with_data(bool tls, bool in_pieces)
{
	struct script s = {.on_data = go_over};
	script_init(&s);
	struct rig rig;
	s.rig = &rig;
	rig_start(&rig, 2, script_accept, &s);
	SSL_CTX *ctx = client_ctx(TLS1_3_VERSION);
	for (unsigned round = 1; round <= 20; round++) {
		struct client client = client_open(tls ? rig.tls : rig.plain);
		if (tls)
			ck_assert_int_eq(client_tls(&client, ctx, NULL), 1);
		if (in_pieces) {
			for (int i = 0; i < 12; i++)
				client_write(&client, "goabcdefghij" + i, 1);
		} else {
			client_write(&client, "goabcdefghij", 12);
		}
		char back[11] = "";
		ck_assert_uint_eq(client_read(&client, back, 10), 10);
		ck_assert_str_eq(back, "ABCDEFGHIJ");
		gate_wait(&s.moved, round);
		client_close(&client);
		gate_wait(&s.closed, round);
		ck_assert_int_eq(s.why, END_PEER_CLOSED);
	}
	SSL_CTX_free(ctx);
	rig_stop(&rig);
}

START_TEST(a_connection_moves_with_its_data)
{
	move_with_data(false, false);
	move_with_data(false, true);
	move_with_data(true, false);
	move_with_data(true, true);
}
END_TEST

static void moved_here(struct conn *c, void *arg)
{
	struct script *s = arg;
	s->take = 1;
	conn_set_handler(c, &upper_handler, s, 1000);
}

static ssize_t stay(struct conn *c, void *arg, struct slice in, HF_UNUSED size_t *need)
{
	struct script *s = arg;
	if (in.n < 2)
		return 0;
	conn_move(c, conn_loop(c), moved_here);
	ck_assert_uint_eq(s->take, 1); /* at once */
	return 2;
}

START_TEST(a_move_to_the_same_loop_is_a_call)
{
	struct script s = {.on_data = stay};
	script_init(&s);
	struct rig rig;
	rig_start(&rig, 1, script_accept, &s);
	struct client client = client_open(rig.plain);
	client_write(&client, "goab", 4);
	char back[3] = "";
	ck_assert_uint_eq(client_read(&client, back, 2), 2);
	ck_assert_str_eq(back, "AB");
	client_close(&client);
	gate_wait(&s.closed, 1);
	rig_stop(&rig);
}
END_TEST

RIG_MAIN("conn", bytes_come_back_plain, bytes_come_back_over_tls_12, bytes_come_back_over_tls_13,
        packets_cut_anywhere_come_whole, too_much_unread_ends_the_connection,
        a_pause_keeps_what_is_unread, a_pause_does_not_hide_the_peers_end, a_pause_costs_no_time,
        a_new_handler_gets_the_rest, a_slow_reader_gets_everything, references_are_given_back,
        a_close_lets_the_output_out, a_close_does_not_wait_for_a_peer_that_never_reads,
        an_abort_drops_the_output, a_reset_is_told, what_is_open_at_the_end_is_closed,
        a_connection_moves_with_its_data, a_move_to_the_same_loop_is_a_call)
