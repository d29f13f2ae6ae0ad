#include "tests/unit/net/rig.h"

#include <fcntl.h>
#include <signal.h>

/*
 * Everything at once: each byte a client sends is an order (echo, pause, move, much output, another
 * handler, an end), clients come and go, read or do not. Afterwards each connection has been told
 * its end exactly once and nothing is left; the sanitizers watch the rest.
 */

#define CLIENTS 8
#define ROUNDS 100

struct chaos {
	struct rig *rig;
	struct gate opened, closed;
	struct msg *msg;
};

struct peer {
	struct chaos *chaos;
	struct conn *c; /* NULL once it is closed */
	struct mail resume;
	bool resume_posted, ended;
};

static const struct conn_handler first_handler, second_handler;

static void peer_put(struct peer *p)
{
	if (!p->c && !p->resume_posted)
		free(p);
}

static void on_resume(struct mail *m)
{
	struct peer *p = container_of(m, struct peer, resume);
	p->resume_posted = false;
	if (p->c)
		conn_resume(p->c);
	peer_put(p);
}

static void on_moved(struct conn *c, void *arg)
{
	struct peer *p = arg;
	ck_assert_ptr_eq(p->c, c);
	ck_assert_ptr_eq(loop_here(), conn_loop(c));
	conn_send(c, "m", 1);
}

/* Returns false when nothing more may be read now. */
static bool obey(struct peer *p, uint8_t order)
{
	static const uint8_t block[5000];
	struct conn *c = p->c;
	switch (order) {
	case 'p':
		conn_pause(c);
		p->resume.deliver = on_resume;
		p->resume_posted = true;
		mail_post(loop_mailbox(conn_loop(c)), &p->resume);
		return false;
	case 'm': {
		unsigned to = 1 - loop_index(conn_loop(c));
		conn_move(c, p->chaos->rig->loops[to], on_moved);
		return false;
	}
	case 'b':
		for (int i = 0; i < 40; i++)
			conn_send_msg(
			        c, slice_make(block, 7), p->chaos->msg, msg_payload(p->chaos->msg));
		return true;
	case 's': conn_send(c, block, sizeof(block)); return true;
	case 'h': conn_set_handler(c, &second_handler, p, 1000); return false;
	case 'c': conn_close(c, END_NORMAL); return false;
	case 'a': conn_abort(c, END_TAKEN_OVER); return false;
	default: conn_send(c, &order, 1); return true;
	}
}

static ssize_t on_data(struct conn *c, void *arg, struct slice in, HF_UNUSED size_t *need)
{
	struct peer *p = arg;
	ck_assert_ptr_eq(p->c, c);
	ck_assert(!p->ended && !conn_paused(c));
	for (size_t i = 0; i < in.n; i++)
		if (!obey(p, in.p[i]))
			return (ssize_t)i + 1;
	return (ssize_t)in.n;
}

static void on_closed(struct conn *c, void *arg, HF_UNUSED enum end_reason why)
{
	struct peer *p = arg;
	ck_assert_ptr_eq(p->c, c);
	ck_assert(!p->ended);
	p->ended = true;
	p->c = NULL;
	gate_add(&p->chaos->closed, 1);
	peer_put(p);
}

static const struct conn_handler first_handler = {.on_data = on_data, .on_closed = on_closed};
static const struct conn_handler second_handler = {.on_data = on_data, .on_closed = on_closed};

static void on_accept(struct conn *c, void *arg)
{
	struct peer *p = calloc(1, sizeof(*p));
	p->chaos = arg;
	p->c = c;
	conn_set_handler(c, &first_handler, p, 1000);
	conn_set_low_water(c, 4096);
	gate_add(&p->chaos->opened, 1);
}

static uint32_t next_random(uint32_t *state)
{
	*state = *state * 1664525U + 1013904223U;
	return *state >> 8;
}

struct visitor {
	struct rig *rig;
	SSL_CTX *ctx;
	uint32_t state;
};

/* One connection: some orders, some reading, then an end of one kind or another. */
static void visit(struct visitor *v)
{
	static const char orders[] = "xxxxxxpmbshpmxxxxpca";
	bool tls = next_random(&v->state) % 2;
	struct client c = client_open(tls ? v->rig->tls : v->rig->plain);
	if (tls)
		ck_assert_int_eq(client_tls(&c, v->ctx, NULL), 1);
	/* Answers may come or not: nobody waits for them. */
	fcntl(c.fd, F_SETFL, fcntl(c.fd, F_GETFL) | O_NONBLOCK);
	unsigned writes = 1 + next_random(&v->state) % 8;
	while (writes-- > 0) {
		char text[200];
		size_t n = 1 + next_random(&v->state) % sizeof(text);
		/* Ends are rare in short texts and sure in long ones. */
		for (size_t i = 0; i < n; i++)
			text[i] = orders[next_random(&v->state) % (i % 32 ? 18 : 20)];
		ssize_t sent = tls ? SSL_write(c.ssl, text, (int)n)
		                   : send(c.fd, text, n, MSG_NOSIGNAL);
		if (sent <= 0)
			break;
		char back[20000];
		if (next_random(&v->state) % 2)
			(void)!(tls ? SSL_read(c.ssl, back, sizeof(back))
			            : recv(c.fd, back, sizeof(back), 0));
	}
	ERR_clear_error();
	if (next_random(&v->state) % 3 == 0)
		client_reset(&c);
	else
		client_close(&c);
}

static void *visitor_main(void *arg)
{
	for (int i = 0; i < ROUNDS; i++)
		visit(arg);
	return NULL;
}

START_TEST(every_connection_ends_once)
{
	signal(SIGPIPE, SIG_IGN); /* OpenSSL's socket BIO of the clients */
	struct chaos chaos = {0};
	gate_init(&chaos.opened);
	gate_init(&chaos.closed);
	uint8_t payload[3000] = {0};
	chaos.msg = msg_new(
	        SLICE_LIT("t"), (struct slice){0}, slice_make(payload, sizeof(payload)));
	struct rig rig;
	chaos.rig = &rig;
	rig_start(&rig, 2, on_accept, &chaos);
	SSL_CTX *ctx = client_ctx(TLS1_3_VERSION);
	struct visitor visitors[CLIENTS];
	pthread_t threads[CLIENTS];
	for (unsigned i = 0; i < CLIENTS; i++) {
		visitors[i] = (struct visitor){.rig = &rig, .ctx = ctx, .state = i};
		pthread_create(&threads[i], NULL, visitor_main, &visitors[i]);
	}
	for (unsigned i = 0; i < CLIENTS; i++)
		pthread_join(threads[i], NULL);
	gate_wait(&chaos.opened, 1);
	while (net_connections(rig.net) > 0)
		sched_yield();
	rig_stop(&rig);
	ck_assert_uint_eq(chaos.opened.n, chaos.closed.n);
	ck_assert_uint_eq(atomic_load(&chaos.msg->refs), 1);
	msg_unref(chaos.msg);
	SSL_CTX_free(ctx);
}
END_TEST

RIG_MAIN("conn_chaos", every_connection_ends_once)
