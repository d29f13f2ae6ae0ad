#include "tests/unit/net/rig.h"

#include "server/net/private.h"
#include "server/net/ws.h"

/* Wire tests are in tests/integ/test_ws; here is what they cannot see: frames cut anywhere, a move
 * in the middle of one, what a connection keeps. */

#define TOTAL 300000

struct echo {
	struct gate closed;
	struct rig *rig;
	bool move, moved;
	enum end_reason why;
};

static void echo_moved(HF_UNUSED struct conn *c, HF_UNUSED void *arg)
{
}

static ssize_t echo_data(struct conn *c, void *arg, struct slice in, HF_UNUSED size_t *need)
{
	struct echo *e = arg;
	/* Part of the first frame is there; the rest comes on the other loop. */
	if (e->move && !e->moved) {
		e->moved = true;
		conn_move(c, e->rig->loops[!loop_index(conn_loop(c))], echo_moved);
		return 0;
	}
	conn_send(c, in.p, in.n);
	return (ssize_t)in.n;
}

static void echo_closed(HF_UNUSED struct conn *c, void *arg, enum end_reason why)
{
	struct echo *e = arg;
	e->why = why;
	gate_add(&e->closed, 1);
}

static void echo_accept(struct conn *c, void *arg)
{
	static const struct conn_handler h = {.on_data = echo_data, .on_closed = echo_closed};
	conn_send(c, "raw", 3); /* what is queued by now belongs to no frame */
	ck_assert_int_eq(ws_begin(c, NULL), 0);
	conn_set_handler(c, &h, arg, TOTAL);
}

/* A masked binary frame around n bytes of the pattern; returns its length. */
static size_t frame_make(uint8_t *out, size_t n, size_t offset, bool first, bool fin)
{
	static const uint8_t mask[4] = {0xa1, 0x02, 0x83, 0x44};
	size_t at = 0;
	out[at++] = (uint8_t)((fin ? 0x80 : 0) | (first ? 2 : 0));
	if (n < 126) {
		out[at++] = (uint8_t)(0x80 | n);
	} else {
		out[at++] = 0x80 | 126;
		out[at++] = (uint8_t)(n >> 8);
		out[at++] = (uint8_t)n;
	}
	memcpy(out + at, mask, 4);
	at += 4;
	pattern_fill(out + at, n, offset);
	for (size_t i = 0; i < n; i++)
		out[at + i] ^= mask[i % 4];
	return at + n;
}

/* TOTAL bytes in frames of many sizes; malloc'ed. */
static uint8_t *frames_make(size_t *ret_n)
{
	uint8_t *out = malloc(2 * TOTAL);
	size_t at = 0, frames = 0;
	bool first = true;
	for (size_t done = 0; done < TOTAL; frames++) {
		size_t n = (frames * 7919) % 9000;
		bool fin = frames % 3 == 2 || done + n >= TOTAL;
		n = done + n < TOTAL ? n : TOTAL - done;
		at += frame_make(out + at, n, done, first, fin);
		first = fin;
		done += n;
	}
	*ret_n = at;
	return out;
}

static void read_exactly(struct client *client, uint8_t *p, size_t n)
{
	ck_assert_uint_eq(client_read(client, p, n), n);
}

static void answers_fit(struct client *client)
{
	uint8_t head[4], *payload = malloc(NET_RECORD_SIZE);
	for (size_t got = 0; got < TOTAL;) {
		read_exactly(client, head, 2);
		ck_assert_int_eq(head[0], 0x82);
		size_t n = head[1];
		if (n == 126) {
			read_exactly(client, head + 2, 2);
			n = (size_t)head[2] << 8 | head[3];
		}
		ck_assert(n > 0 && n <= NET_RECORD_SIZE);
		read_exactly(client, payload, n);
		ck_assert(pattern_fits(payload, n, got));
		got += n;
	}
	free(payload);
}

struct feed {
	struct client *client;
	uint8_t *bytes;
	size_t n, step;
};

static void *feed_run(void *arg)
{
	struct feed *f = arg;
	for (size_t i = 0; i < f->n; i += f->step)
		client_write(f->client, f->bytes + i, f->n - i < f->step ? f->n - i : f->step);
	return NULL;
}

static void stream(bool move, size_t step)
{
	struct echo e = {.move = move};
	struct rig rig;
	uint8_t raw[3];
	gate_init(&e.closed);
	e.rig = &rig;
	rig_start(&rig, 2, echo_accept, &e);
	struct client client = client_open(rig.plain);
	read_exactly(&client, raw, sizeof(raw));
	ck_assert_mem_eq(raw, "raw", 3);
	struct feed f = {.client = &client, .step = step};
	f.bytes = frames_make(&f.n);
	pthread_t feeder;
	pthread_create(&feeder, NULL, feed_run, &f);
	answers_fit(&client);
	pthread_join(feeder, NULL);
	ck_assert(e.moved == move);
	rig_halt(&rig);
	/* between frames it keeps nothing of wslay's: all readers are back with the loops */
	unsigned back = 0;
	for (unsigned i = 0; i < rig.n; i++)
		back += rig.net->loops[i]->n_free_readers;
	ck_assert_uint_eq(back, 1);
	client_close(&client);
	rig_stop(&rig);
	ck_assert_int_eq(e.why, END_SHUTDOWN);
	free(f.bytes);
}

START_TEST(frames_cut_anywhere_come_whole)
{
	static const size_t steps[] = {37, 4097, 70000};
	for (size_t i = 0; i < ARRAY_LEN(steps); i++)
		stream(false, steps[i]);
}
END_TEST

START_TEST(a_connection_moves_in_the_middle_of_a_frame)
{
	stream(true, 5000);
}
END_TEST

RIG_MAIN("ws", frames_cut_anywhere_come_whole, a_connection_moves_in_the_middle_of_a_frame)
