/* Who may connect by its address, and stay. */
#include "tests/unit/net/rig.h"

#include "server/net/private.h"

/* Refuses one address each of who comes and who stays; 0: nobody. */
struct door {
	struct gate opened, ended, closed;
	_Atomic uint32_t refuse, expel; /* the last byte of 127.0.0.x */
	atomic_int inside;              /* strangers: admitted and not settled */
	bool says_goodbye, knows;
};

static enum end_reason admit(void *ctx, const struct ip_addr *peer)
{
	struct door *d = ctx;
	ck_assert(loop_here());
	if (peer->bytes[3] == d->refuse)
		return END_BANNED;
	d->inside++;
	return END_NORMAL;
}

static void settled(void *ctx, HF_UNUSED const struct ip_addr *peer)
{
	((struct door *)ctx)->inside--;
}

static enum end_reason still(void *ctx, const struct ip_addr *peer)
{
	const struct door *d = ctx;
	return peer->bytes[3] == d->expel ? END_IP_RULE : END_NORMAL;
}

static ssize_t on_data(struct conn *c, HF_UNUSED void *arg, struct slice in, HF_UNUSED size_t *n)
{
	conn_send(c, in.p, in.n);
	return (ssize_t)in.n;
}

static void on_end(struct conn *c, void *arg, enum end_reason why)
{
	struct door *d = arg;
	ck_assert_int_eq(why, END_IP_RULE);
	if (d->says_goodbye)
		conn_send(c, "bye", 3);
	gate_add(&d->ended, 1);
}

static void on_closed(HF_UNUSED struct conn *c, void *arg, HF_UNUSED enum end_reason why)
{
	gate_add(&((struct door *)arg)->closed, 1);
}

static void on_accept(struct conn *c, void *arg)
{
	static const struct conn_handler h = {
	        .on_data = on_data, .on_end = on_end, .on_closed = on_closed};
	struct door *d = arg;
	conn_set_handler(c, &h, d, 1000);
	if (d->knows) {
		conn_known(c);
		conn_known(c); /* once is enough */
	}
	gate_add(&d->opened, 1);
}

static unsigned start(struct rig *rig, unsigned loops, struct door *d)
{
	char error[NET_ERROR_LEN] = "", *from[] = {(char[]){"127.0.0.0/8"}};
	const struct net_admission admission = {d, admit, settled, still};
	const struct net_listener_spec behind = {.address = "127.0.0.1:0",
	        .on_accept = on_accept,
	        .arg = d,
	        .proxy = true,
	        .proxies = from,
	        .n_proxies = 1};
	unsigned port = 0;
	gate_init(&d->opened);
	gate_init(&d->ended);
	gate_init(&d->closed);
	rig_new(rig, loops);
	rig_load(rig, "server.pem", "server.key");
	rig->plain = rig_listen(rig, false, NET_PROTOCOL_ANY, on_accept, d);
	rig->tls = rig_listen(rig, true, NET_PROTOCOL_MQTT, on_accept, d);
	ck_assert_msg(net_listen(rig->net, &behind, &port, error) == 0, "%s", error);
	net_set_admission(rig->net, &admission);
	rig_run(rig);
	return port;
}

static int64_t ended(enum end_reason why)
{
	return metric_read((enum metric)(METRIC_CONNECTIONS_ENDED + why));
}

START_TEST(refused_before_a_byte)
{
	struct door d = {.refuse = 5};
	struct rig rig;
	start(&rig, 2, &d);
	const unsigned ports[] = {rig.plain, rig.tls};
	int64_t before = ended(END_BANNED);
	for (size_t i = 0; i < ARRAY_LEN(ports); i++) {
		struct client c = client_open_from("127.0.0.5", ports[i]);
		ck_assert(client_at_end(&c));
		client_close(&c);
	}
	ck_assert_int_eq(ended(END_BANNED), before + 2);
	struct client c = client_open_from("127.0.0.6", rig.plain);
	gate_wait(&d.opened, 1);
	ck_assert_int_eq(d.inside, 1);
	client_close(&c);
	gate_wait(&d.closed, 1);
	rig_stop(&rig);
	ck_assert_int_eq(d.inside, 0);
}
END_TEST

/* A balancer's own address is not asked about, the one that it tells is. */
START_TEST(behind_a_balancer)
{
	static const uint8_t start_of[] = "\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\xcb\x00\x71";
	struct door d = {.refuse = 5};
	struct rig rig;
	unsigned port = start(&rig, 1, &d);
	for (uint8_t last = 5; last <= 6; last++) {
		struct client c = client_open_from("127.0.0.5", port);
		uint8_t header[28] = {0};
		memcpy(header, start_of, 19);
		header[19] = last;
		client_write(&c, header, sizeof(header));
		if (last == 5) {
			ck_assert(client_at_end(&c));
		} else {
			gate_wait(&d.opened, 1);
			ck_assert_int_eq(d.inside, 1);
		}
		client_close(&c);
	}
	gate_wait(&d.closed, 1);
	rig_stop(&rig);
	ck_assert_int_eq(d.inside, 0);
}
END_TEST

START_TEST(who_is_known_is_no_stranger)
{
	struct door d = {.knows = true};
	struct rig rig;
	start(&rig, 1, &d);
	struct client c = client_open(rig.plain);
	gate_wait(&d.opened, 1);
	ck_assert_int_eq(d.inside, 0);
	client_close(&c);
	gate_wait(&d.closed, 1);
	rig_stop(&rig);
	ck_assert_int_eq(d.inside, 0);
}
END_TEST

/* More than a turn asks about, on two loops; the others stay. */
START_TEST(asked_again)
{
	enum { MANY = 900 };
	struct door d = {.says_goodbye = true};
	struct rig rig;
	start(&rig, 2, &d);
	_cleanup_free_ struct client *clients = calloc(MANY, sizeof(*clients));
	for (unsigned i = 0; i < MANY; i++)
		clients[i] = client_open_from(i % 3 ? "127.0.0.7" : "127.0.0.8", rig.plain);
	gate_wait(&d.opened, MANY);
	net_recheck(rig.net); /* nobody has to go */
	d.expel = 7;
	net_recheck(rig.net);
	net_recheck(rig.net);
	gate_wait(&d.closed, MANY * 2 / 3);
	for (unsigned i = 0; i < MANY; i++) {
		char got[3];
		if (i % 3) {
			ck_assert_uint_eq(client_read(&clients[i], got, 3), 3);
			ck_assert_int_eq(memcmp(got, "bye", 3), 0);
			ck_assert(client_at_end(&clients[i]));
		} else {
			client_write(&clients[i], "x", 1);
			ck_assert_uint_eq(client_read(&clients[i], got, 1), 1);
		}
	}
	ck_assert_uint_eq(d.ended.n, MANY * 2 / 3);
	for (unsigned i = 0; i < MANY; i++)
		client_close(&clients[i]);
	gate_wait(&d.closed, MANY);
	rig_stop(&rig);
	ck_assert_int_eq(d.inside, 0);
}
END_TEST

/* In the middle of a handshake there is no handler, and nobody to say goodbye. */
START_TEST(asked_again_in_a_handshake)
{
	struct door d = {0};
	struct rig rig;
	start(&rig, 1, &d);
	struct client c = client_open_from("127.0.0.7", rig.tls);
	client_write(&c, "\x16\x03\x01", 3);
	int64_t before = ended(END_IP_RULE);
	d.expel = 7;
	while (ended(END_IP_RULE) == before)
		net_recheck(rig.net);
	ck_assert(client_at_end(&c));
	client_close(&c);
	rig_stop(&rig);
	ck_assert_int_eq(d.inside, 0);
}
END_TEST

RIG_MAIN("admission", refused_before_a_byte, behind_a_balancer, who_is_known_is_no_stranger,
        asked_again, asked_again_in_a_handshake)
