#include "tests/unit/net/rig.h"

#include "server/net/private.h"

#define PACKET 250000
#define BEGUN 200000
#define MANY 7

struct counts {
	struct gate begun, ended;
	unsigned partial;
	bool pause;
};

/* Packets of one size; an answer for each. */
static ssize_t packet_data(struct conn *c, void *arg, struct slice in, size_t *ret_need)
{
	struct counts *counts = arg;
	if (counts->pause) {
		conn_pause(c);
		gate_add(&counts->begun, 1);
		return 0;
	}
	*ret_need = in.n < BEGUN ? BEGUN : PACKET;
	if (in.n >= PACKET) {
		conn_send(c, "!", 1);
		return PACKET;
	}
	if (in.n >= BEGUN)
		gate_add(&counts->begun, 1);
	return 0;
}

static void packet_closed(HF_UNUSED struct conn *c, void *arg, enum end_reason why)
{
	struct counts *counts = arg;
	counts->partial += why == END_PARTIAL;
	gate_add(&counts->ended, 1);
}

static void packet_accept(struct conn *c, void *arg)
{
	static const struct conn_handler h = {.on_data = packet_data, .on_closed = packet_closed};
	conn_set_handler(c, &h, arg, PACKET);
}

static void start(struct rig *rig, struct counts *counts)
{
	*counts = (struct counts){0};
	gate_init(&counts->begun);
	gate_init(&counts->ended);
	rig_start(rig, 1, packet_accept, counts);
	const struct net_limits limits = {
	        .handshake_ms = 10000, .max_connections = 1000, .partial_bytes = 1 << 20};
	net_set_limits(rig->net, &limits);
}

START_TEST(the_oldest_ends_first)
{
	static uint8_t bytes[PACKET];
	struct client clients[MANY];
	struct counts counts;
	struct rig rig;
	start(&rig, &counts);
	for (unsigned i = 0; i < MANY; i++) {
		clients[i] = client_open(rig.plain);
		client_write(&clients[i], bytes, BEGUN);
		gate_wait(&counts.begun, i + 1);
	}
	/* 256 KiB each: four fit into a MiB */
	gate_wait(&counts.ended, MANY - 4);
	ck_assert_uint_eq(counts.partial, MANY - 4);
	for (unsigned i = 0; i < MANY - 4; i++)
		ck_assert(client_at_end(&clients[i]));
	/* whoever came last is served */
	char byte = 0;
	client_write(&clients[MANY - 1], bytes, PACKET - BEGUN);
	ck_assert_uint_eq(client_read(&clients[MANY - 1], &byte, 1), 1);
	ck_assert_int_eq(byte, '!');
	for (unsigned i = 0; i < MANY; i++)
		client_close(&clients[i]);
	gate_wait(&counts.ended, MANY);
	rig_halt(&rig);
	ck_assert_uint_eq(rig.net->loops[0]->partial_bytes, 0);
	ck_assert_ptr_null(rig.net->loops[0]->partials);
	rig_stop(&rig);
}
END_TEST

/* Back-pressure is no reason to end anybody. */
START_TEST(what_waits_in_a_pause_does_not_count)
{
	static uint8_t bytes[16000];
	struct client clients[100];
	struct counts counts;
	struct rig rig;
	start(&rig, &counts);
	counts.pause = true;
	for (unsigned i = 0; i < ARRAY_LEN(clients); i++) {
		clients[i] = client_open(rig.plain);
		client_write(&clients[i], bytes, sizeof(bytes));
		gate_wait(&counts.begun, i + 1);
	}
	rig_halt(&rig);
	ck_assert_uint_eq(rig.net->loops[0]->partial_bytes, 0);
	rig_stop(&rig);
	ck_assert_uint_eq(counts.partial, 0);
	for (unsigned i = 0; i < ARRAY_LEN(clients); i++)
		client_close(&clients[i]);
}
END_TEST

RIG_MAIN("partial", the_oldest_ends_first, what_waits_in_a_pause_does_not_count)
