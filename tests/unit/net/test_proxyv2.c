#include "server/net/proxyv2.h"

#include "tests/unit/net/rig.h"

#define SIG "\r\n\r\n\0\r\nQUIT\n"
#define V4 "\xcb\x00\x71\x07\xc0\x00\x02\x01\x12\x67\x22\xb3" /* 203.0.113.7:4711 */
#define V6                                           \
	"\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01" \
	"\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x02\x12\x67\x22\xb3"
#define MAPPED                                         \
	"\0\0\0\0\0\0\0\0\0\0\xff\xff\xcb\x00\x71\x07" \
	"\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\x00\x02\x01\x12\x67\x22\xb3"
#define BYTES(lit)                                      \
	{                                               \
		(const uint8_t *)(lit), sizeof(lit) - 1 \
	}

struct entry {
	const char *name;
	struct slice header;
	bool valid, known, v6;
};

static const struct entry entries[] = {
        {"TCP over IPv4", BYTES(SIG "\x21\x11\x00\x0c" V4), true, true, false},
        {"TCP over IPv6", BYTES(SIG "\x21\x21\x00\x24" V6), true, true, true},
        {"mapped IPv4", BYTES(SIG "\x21\x21\x00\x24" MAPPED), true, true, false},
        {"LOCAL", BYTES(SIG "\x20\x00\x00\x00"), true, false, false},
        {"LOCAL with addresses", BYTES(SIG "\x20\x11\x00\x0c" V4), true, false, false},
        {"unspecified", BYTES(SIG "\x21\x00\x00\x00"), true, false, false},
        {"a TLV", BYTES(SIG "\x21\x11\x00\x11" V4 "\x01\x00\x02h2"), true, true, false},
        {"an empty TLV", BYTES(SIG "\x21\x11\x00\x0f" V4 "\x04\x00\x00"), true, true, false},
        {"the right checksum", BYTES(SIG "\x21\x11\x00\x13" V4 "\x03\x00\x04\x57\xc8\x71\xca"),
                true, true, false},
        {"a wrong checksum", BYTES(SIG "\x21\x11\x00\x13" V4 "\x03\x00\x04\x00\x00\x00\x00"), false,
                false, false},
        {"a short checksum", BYTES(SIG "\x21\x11\x00\x11" V4 "\x03\x00\x02\x00\x00"), false, false,
                false},
        {"version 1", BYTES(SIG "\x11\x11\x00\x0c" V4), false, false, false},
        {"an unknown command", BYTES(SIG "\x22\x11\x00\x0c" V4), false, false, false},
        {"datagrams", BYTES(SIG "\x21\x12\x00\x0c" V4), false, false, false},
        {"an unknown family", BYTES(SIG "\x21\x41\x00\x0c" V4), false, false, false},
        {"too short for IPv4", BYTES(SIG "\x21\x11\x00\x0b" V4), false, false, false},
        {"too short for IPv6", BYTES(SIG "\x21\x21\x00\x0c" V4), false, false, false},
        {"too short for Unix", BYTES(SIG "\x21\x31\x00\x0c" V4), false, false, false},
        {"a TLV's head cut off", BYTES(SIG "\x21\x11\x00\x0e" V4 "\x01\x00"), false, false, false},
        {"a TLV past the end", BYTES(SIG "\x21\x11\x00\x10" V4 "\x01\x00\x02h"), false, false,
                false},
        {"bytes behind", BYTES(SIG "\x21\x11\x00\x0c" V4 "x"), false, false, false},
        {"version 1 in text", BYTES("PROXY TCP4 203.0.113.7 192.0.2.1 4711 8883\r\n"), false, false,
                false},
};

START_TEST(headers)
{
	for (size_t i = 0; i < ARRAY_LEN(entries); i++) {
		const struct entry *e = &entries[i];
		struct proxyv2_peer peer;
		int r = proxyv2_parse(e->header, &peer);
		ck_assert_msg((r == 0) == e->valid, "%s", e->name);
		ck_assert_msg(r < 0 || peer.known == e->known, "%s", e->name);
		if (r < 0 || !peer.known)
			continue;
		ck_assert_msg(peer.v6 == e->v6 && peer.port == 4711, "%s", e->name);
		if (!peer.v6)
			ck_assert_mem_eq(peer.ip, "\xcb\x00\x71\x07", 4);
		for (size_t cut = 0; cut < e->header.n; cut++)
			ck_assert_int_eq(
			        proxyv2_parse(slice_make(e->header.p, cut), &peer), ERR_INVALID);
	}
}
END_TEST

START_TEST(lengths)
{
	static const struct {
		struct slice in;
		size_t want;
	} table[] = {
	        {BYTES(""), PROXYV2_HEAD},
	        {BYTES("\r\n"), PROXYV2_HEAD},
	        {BYTES("\r\r"), 0},
	        {BYTES("\x16\x03\x01"), 0},
	        {BYTES(SIG), PROXYV2_HEAD},
	        {BYTES(SIG "\x21\x11\x00"), PROXYV2_HEAD},
	        {BYTES(SIG "\x21\x11\x00\x0c"), 28},
	        {BYTES(SIG "\x21\x11\x0f\xf0"), PROXYV2_MAX},
	        {BYTES(SIG "\x21\x11\x0f\xf1"), 0},
	        {BYTES(SIG "\x21\x11\xff\xff"), 0},
	};
	for (size_t i = 0; i < ARRAY_LEN(table); i++)
		ck_assert_uint_eq(proxyv2_length(table[i].in), table[i].want);
}
END_TEST

START_TEST(networks)
{
	static const struct {
		const char *net, *in, *out;
	} table[] = {
	        {"10.0.0.0/8", "10.255.0.1", "11.0.0.0"},
	        {"192.0.2.1", "192.0.2.1", "192.0.2.2"},
	        {"192.0.2.128/25", "192.0.2.255", "192.0.2.127"},
	        {"0.0.0.0/0", "8.8.8.8", "::1"},
	        {"fd00::/8", "fdff::1", "fe00::1"},
	        {"::1", "::1", "::2"},
	        {"::/0", "2001:db8::1", "1.2.3.4"},
	};
	static const char *const bad[] = {"", "/8", "10.0.0.0/", "10.0.0.0/33", "10.0.0.1/8",
	        "10.0.0.0/8x", "10.0.0.0/-1", "10.0.0/8", "fd00::/129", "fd00::1/8", "localhost",
	        "10.0.0.0/ 8", "1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb:cccc/8"};
	struct cidr net;
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		struct cidr in, out;
		ck_assert_int_eq(cidr_parse(table[i].net, &net), 0);
		ck_assert_int_eq(cidr_parse(table[i].in, &in), 0);
		ck_assert_int_eq(cidr_parse(table[i].out, &out), 0);
		ck_assert_msg(cidr_has(&net, in.v6, in.ip), "%s", table[i].net);
		ck_assert_msg(!cidr_has(&net, out.v6, out.ip), "%s", table[i].net);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		ck_assert_msg(cidr_parse(bad[i], &net) < 0, "%s", bad[i]);
}
END_TEST

/* ---- on the wire ---- */

/* Sends the peer's name, and then what comes. */
static ssize_t say_data(
        struct conn *c, HF_UNUSED void *arg, struct slice in, HF_UNUSED size_t *need)
{
	char peer[CONN_PEER_LEN];
	conn_peer(c, peer);
	ck_assert(!conn_is_loopback_plain(c));
	conn_send(c, peer, strlen(peer));
	conn_send(c, in.p, in.n);
	return (ssize_t)in.n;
}

static void say_accept(struct conn *c, void *arg)
{
	static const struct conn_handler h = {.on_data = say_data};
	conn_set_handler(c, &h, arg, 1000);
}

static unsigned listen_behind(struct rig *rig, bool tls, char *network)
{
	char error[NET_ERROR_LEN] = "", *from[] = {(char[]){"192.0.2.0/24"}, network};
	unsigned port = 0;
	const struct net_listener_spec spec = {
	        .address = "127.0.0.1:0",
	        .tls = tls,
	        .on_accept = say_accept,
	        .proxy = true,
	        .proxies = from,
	        .n_proxies = 2,
	};
	ck_assert_msg(net_listen(rig->net, &spec, &port, error) == 0, "%s", error);
	return port;
}

static void answer_is(struct client *client, const char *want)
{
	char got[64] = "";
	client_write(client, "hi", 2);
	ck_assert_uint_eq(client_read(client, got, strlen(want)), strlen(want));
	ck_assert_str_eq(got, want);
}

static int64_t ended(enum end_reason why)
{
	return metric_read((enum metric)(METRIC_CONNECTIONS_ENDED + why));
}

START_TEST(the_clients_address_counts)
{
	struct rig rig;
	rig_new(&rig, 1);
	rig_load(&rig, "server.pem", "server.key");
	unsigned plain = listen_behind(&rig, false, (char[]){"127.0.0.0/8"});
	unsigned tls = listen_behind(&rig, true, (char[]){"127.0.0.0/8"});
	rig_run(&rig);
	const struct slice v4 = entries[0].header, v6 = entries[1].header;
	struct client client = client_open(plain);
	client_write(&client, v4.p, v4.n);
	answer_is(&client, "203.0.113.7:4711hi");
	client_close(&client);
	client = client_open(tls);
	client_write(&client, v6.p, v6.n);
	SSL_CTX *ctx = client_ctx(TLS1_3_VERSION);
	ck_assert_int_eq(client_tls(&client, ctx, NULL), 1);
	answer_is(&client, "[2001:db8::1]:4711hi");
	client_close(&client);
	SSL_CTX_free(ctx);
	/* byte by byte, and with what follows in the same segment */
	client = client_open(plain);
	for (size_t i = 0; i < v4.n; i++)
		client_write(&client, v4.p + i, 1);
	answer_is(&client, "203.0.113.7:4711hi");
	client_close(&client);
	uint8_t all[64];
	memcpy(all, v4.p, v4.n);
	all[v4.n] = '!';
	client = client_open(plain);
	client_write(&client, all, v4.n + 1);
	char got[32] = "";
	ck_assert_uint_eq(client_read(&client, got, 17), 17);
	ck_assert_str_eq(got, "203.0.113.7:4711!");
	client_close(&client);
	rig_stop(&rig);
}
END_TEST

START_TEST(what_is_no_header_ends_it)
{
	struct rig rig;
	rig_new(&rig, 1);
	const struct net_limits limits = {.handshake_ms = 300, .max_connections = 1000};
	net_set_limits(rig.net, &limits);
	unsigned plain = listen_behind(&rig, false, (char[]){"127.0.0.1"});
	unsigned closed = listen_behind(&rig, false, (char[]){"127.0.0.2"});
	rig_run(&rig);
	static const struct slice bad[] = {BYTES("\x10"), BYTES(SIG "\x21\x11\xff\xff"),
	        BYTES(SIG "\x31\x11\x00\x0c" V4), BYTES("PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n")};
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct client client = client_open(plain);
		client_write(&client, bad[i].p, bad[i].n);
		ck_assert(client_at_end(&client));
		client_close(&client);
	}
	ck_assert_int_eq(ended(END_PROXY_HEADER), ARRAY_LEN(bad));
	/* half a header, and silence */
	struct client half = client_open(plain), silent = client_open(plain);
	client_write(&half, SIG "\x21\x11\x00\x0c", 16);
	ck_assert(client_at_end(&half));
	ck_assert(client_at_end(&silent));
	ck_assert_int_eq(ended(END_HANDSHAKE_TIMEOUT), 2);
	client_close(&half);
	client_close(&silent);
	/* not from a balancer, however right the header is */
	struct client foreign = client_open(closed);
	ck_assert(client_at_end(&foreign));
	ck_assert_int_eq(ended(END_PROXY_UNTRUSTED), 1);
	client_close(&foreign);
	rig_stop(&rig);
}
END_TEST

START_TEST(the_limit_of_an_address_is_the_clients)
{
	struct rig rig;
	rig_new(&rig, 1);
	const struct net_limits limits = {
	        .handshake_ms = 10000, .max_connections = 1000, .address_connections = 2};
	net_set_limits(rig.net, &limits);
	unsigned plain = listen_behind(&rig, false, (char[]){"127.0.0.1"});
	rig_run(&rig);
	const struct slice v4 = entries[0].header, v6 = entries[1].header;
	struct client clients[5];
	for (size_t i = 0; i < ARRAY_LEN(clients); i++) {
		struct slice header = i < 3 ? v4 : v6;
		clients[i] = client_open(plain);
		client_write(&clients[i], header.p, header.n);
		if (i == 2)
			ck_assert(client_at_end(&clients[i]));
		else
			answer_is(
			        &clients[i], i < 3 ? "203.0.113.7:4711hi" : "[2001:db8::1]:4711hi");
	}
	ck_assert_int_eq(ended(END_ADDRESS_LIMIT), 1);
	for (size_t i = 0; i < ARRAY_LEN(clients); i++)
		client_close(&clients[i]);
	rig_stop(&rig);
}
END_TEST

RIG_MAIN("proxyv2", headers, lengths, networks, the_clients_address_counts,
        what_is_no_header_ends_it, the_limit_of_an_address_is_the_clients)
