#include "tests/unit/net/rig.h"

#include <sys/resource.h>

#include "server/base/clock.h"

struct counted {
	struct gate opened, closed;
	atomic_bool loopback_plain;
};

static ssize_t counted_data(
        struct conn *c, HF_UNUSED void *arg, struct slice in, HF_UNUSED size_t *n)
{
	conn_send(c, in.p, in.n);
	return (ssize_t)in.n;
}

static void counted_closed(HF_UNUSED struct conn *c, void *arg, HF_UNUSED enum end_reason why)
{
	struct counted *k = arg;
	gate_add(&k->closed, 1);
}

static void counted_accept(struct conn *c, void *arg)
{
	static const struct conn_handler h = {.on_data = counted_data, .on_closed = counted_closed};
	struct counted *k = arg;
	conn_set_handler(c, &h, k, 1000);
	k->loopback_plain = conn_is_loopback_plain(c);
	char peer[CONN_PEER_LEN];
	conn_peer(c, peer);
	ck_assert_msg(
	        strncmp(peer, "127.0.0.", 8) == 0 || strncmp(peer, "[::1]:", 6) == 0, "%s", peer);
	gate_add(&k->opened, 1);
}

static void start(struct rig *rig, unsigned n, struct counted *k)
{
	*k = (struct counted){0};
	gate_init(&k->opened);
	gate_init(&k->closed);
	rig_start(rig, n, counted_accept, k);
}

static int listen_at(
        struct rig *rig, const char *address, unsigned *port, char error[NET_ERROR_LEN])
{
	static struct counted k;
	const struct net_listener_spec spec = {
	        .address = address, .on_accept = counted_accept, .arg = &k};
	error[0] = '\0';
	return net_listen(rig->net, &spec, port, error);
}

START_TEST(addresses_are_numbers)
{
	static const char *const bad[] = {"", ":", "8883", "localhost:8883", "127.0.0.1",
	        "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:80x", "127.0.0.1:65536", "127.0.0.1:-1",
	        "127.0.0.1: 1", "127.0.0.1:+1", "127.0.0.1:99999999999999999999", "::1:0", "[::1]",
	        "[::1]:", "[::1:0", "[]:0", "[127.0.0.1]:0", "127.0.0.1.1:0", "[::1%lo]:0", ":0",
	        "1111111111111111111111111111111111111111111111111111111111111111111:1"};
	struct rig rig;
	rig_new(&rig, 1);
	char error[NET_ERROR_LEN];
	unsigned port = 7;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		ck_assert_msg(listen_at(&rig, bad[i], &port, error) == ERR_INVALID, "%s", bad[i]);
		ck_assert_ptr_nonnull(strstr(error, "is not an IP address and a port"));
	}
	ck_assert_uint_eq(port, 7);
	ck_assert_int_eq(listen_at(&rig, "203.0.113.1:0", &port, error), ERR_IO);
	ck_assert_str_eq(error, "address 203.0.113.1:0 is not one of this machine");
	rig_stop(&rig);
}
END_TEST

/* In use by a socket that would share it, by one that would not, and by the hub itself. */
START_TEST(an_address_in_use_is_seen)
{
	struct rig rig;
	rig_new(&rig, 2);
	char error[NET_ERROR_LEN], address[64], want[128];
	for (int share = 0; share < 2; share++) {
		int fd = socket(AF_INET, SOCK_STREAM, 0);
		const int on = 1;
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
		if (share)
			setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
		struct sockaddr_in a = {
		        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
		socklen_t len = sizeof(a);
		ck_assert_int_eq(bind(fd, (struct sockaddr *)&a, len), 0);
		ck_assert_int_eq(listen(fd, 1), 0);
		getsockname(fd, (struct sockaddr *)&a, &len);
		snprintf(address, sizeof(address), "127.0.0.1:%u", ntohs(a.sin_port));
		snprintf(want, sizeof(want), "address %s is in use", address);
		ck_assert_int_eq(listen_at(&rig, address, NULL, error), ERR_IO);
		ck_assert_str_eq(error, want);
		close(fd);
	}
	unsigned port;
	ck_assert_int_eq(listen_at(&rig, "127.0.0.1:0", &port, error), 0);
	snprintf(address, sizeof(address), "127.0.0.1:%u", port);
	ck_assert_int_eq(listen_at(&rig, address, NULL, error), ERR_IO);
	ck_assert_ptr_nonnull(strstr(error, "is in use"));
	rig_stop(&rig);
}
END_TEST

START_TEST(every_loop_accepts)
{
	struct counted k;
	struct rig rig;
	start(&rig, 2, &k);
	struct client clients[100];
	for (unsigned i = 0; i < ARRAY_LEN(clients); i++)
		clients[i] = client_open(rig.plain);
	gate_wait(&k.opened, ARRAY_LEN(clients));
	ck_assert(k.loopback_plain);
	ck_assert_uint_eq(net_connections(rig.net), ARRAY_LEN(clients));
	for (unsigned i = 0; i < ARRAY_LEN(clients); i++)
		client_close(&clients[i]);
	gate_wait(&k.closed, ARRAY_LEN(clients));
	rig_stop(&rig);
}
END_TEST

START_TEST(ipv6_is_its_own)
{
	struct rig rig;
	rig_new(&rig, 2);
	char error[NET_ERROR_LEN], address[64];
	unsigned port;
	bool shared = false;
	/* The same port is free for IPv4, unless somebody else's connection has it just then. */
	for (int i = 0; i < 10 && !shared; i++) {
		if (listen_at(&rig, "[::1]:0", &port, error) < 0) {
			ck_assert_ptr_nonnull(strstr(error, "[::1]:0")); /* no IPv6 here */
			break;
		}
		snprintf(address, sizeof(address), "0.0.0.0:%u", port);
		shared = listen_at(&rig, address, NULL, error) == 0;
	}
	ck_assert_msg(shared || strstr(error, "[::1]:0"), "%s", error);
	rig_stop(&rig);
}
END_TEST

START_TEST(the_limit_holds)
{
	struct counted k;
	struct rig rig;
	start(&rig, 1, &k);
	const struct net_limits limits = {.handshake_ms = 1000, .max_connections = 3};
	net_set_limits(rig.net, &limits);
	struct client in[3], out;
	for (unsigned i = 0; i < 3; i++) {
		in[i] = client_open(rig.plain);
		gate_wait(&k.opened, i + 1);
	}
	out = client_open(rig.plain);
	ck_assert(client_at_end(&out));
	client_close(&out);
	ck_assert_int_eq(metric_read((enum metric)(METRIC_CONNECTIONS_ENDED + END_LIMIT)), 1);
	client_close(&in[0]);
	gate_wait(&k.closed, 1);
	while (net_connections(rig.net) > 2)
		sched_yield();
	out = client_open(rig.plain);
	gate_wait(&k.opened, 4);
	client_close(&out);
	client_close(&in[1]);
	client_close(&in[2]);
	gate_wait(&k.closed, 4);
	rig_stop(&rig);
}
END_TEST

static void expect_refused(const char *from, unsigned port, enum end_reason why)
{
	enum metric m = (enum metric)(METRIC_CONNECTIONS_ENDED + why);
	int64_t before = metric_read(m);
	struct client out = client_open_from(from, port);
	ck_assert(client_at_end(&out));
	client_close(&out);
	ck_assert_int_eq(metric_read(m) - before, 1);
}

static void wait_connections(const struct rig *rig, size_t n)
{
	while (net_connections(rig->net) > n)
		sched_yield();
}

/* One address cannot take what others need, nor one listener; both get back what they lose. */
START_TEST(addresses_and_listeners_have_a_part)
{
	struct counted k;
	struct rig rig;
	start(&rig, 2, &k);
	struct net_limits limits = {
	        .handshake_ms = 1000, .max_connections = 100, .address_connections = 3};
	net_set_limits(rig.net, &limits);
	struct client in[5];
	for (unsigned i = 0; i < 3; i++) {
		in[i] = client_open_from("127.0.0.1", rig.plain);
		gate_wait(&k.opened, i + 1);
	}
	expect_refused("127.0.0.1", rig.plain, END_ADDRESS_LIMIT);
	expect_refused("127.0.0.1", rig.tls, END_ADDRESS_LIMIT);
	in[3] = client_open_from("127.0.0.2", rig.plain);
	gate_wait(&k.opened, 4);
	client_close(&in[0]);
	wait_connections(&rig, 3);
	in[0] = client_open_from("127.0.0.1", rig.plain);
	gate_wait(&k.opened, 5);
	limits = (struct net_limits){
	        .handshake_ms = 1000, .max_connections = 100, .listener_connections = 4};
	net_set_limits(rig.net, &limits);
	expect_refused("127.0.0.3", rig.plain, END_LISTENER_LIMIT);
	in[4] = client_open_from("127.0.0.3", rig.tls);
	while (net_connections(rig.net) < 5)
		sched_yield();
	client_close(&in[3]);
	wait_connections(&rig, 4);
	in[3] = client_open_from("127.0.0.3", rig.plain);
	gate_wait(&k.opened, 6);
	for (unsigned i = 0; i < 5; i++)
		client_close(&in[i]);
	wait_connections(&rig, 0);
	rig_stop(&rig);
}
END_TEST

/* What is open when all ends is closed before what it counts for goes. */
START_TEST(the_end_comes_with_connections_open)
{
	struct counted k;
	struct rig rig;
	start(&rig, 2, &k);
	struct client in[4];
	for (unsigned i = 0; i < 4; i++)
		in[i] = client_open(i % 2 ? rig.plain : rig.tls);
	gate_wait(&k.opened, 2);
	while (net_connections(rig.net) < 4)
		sched_yield();
	rig_stop(&rig);
	for (unsigned i = 0; i < 4; i++) {
		ck_assert(client_at_end(&in[i]));
		client_close(&in[i]);
	}
}
END_TEST

START_TEST(stopping_closes_the_listeners)
{
	struct counted k;
	struct rig rig;
	start(&rig, 2, &k);
	struct client client = client_open(rig.plain);
	gate_wait(&k.opened, 1);
	net_accept(rig.net, false);
	net_accept(rig.net, false);
	const struct sockaddr_in a = {.sin_family = AF_INET,
	        .sin_port = htons((uint16_t)rig.plain),
	        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int refused = 0;
	for (uint64_t until = clock_ms() + 10000; !refused && clock_ms() < until;) {
		int fd = socket(AF_INET, SOCK_STREAM, 0);
		refused = connect(fd, (const struct sockaddr *)&a, sizeof(a)) < 0;
		close(fd);
	}
	ck_assert(refused);
	/* Those that are in stay. */
	char byte;
	client_write(&client, "x", 1);
	ck_assert_uint_eq(client_read(&client, &byte, 1), 1);
	client_close(&client);
	rig_stop(&rig);
}
END_TEST

/* Lowers the limit to little more than what is open and fills what is free below it. Returns how
 * many fillers there are. */
static unsigned descriptors_use_up(int fillers[static 64])
{
	struct rlimit limit;
	getrlimit(RLIMIT_NOFILE, &limit);
	int top = dup(0);
	ck_assert_int_ge(top, 0);
	limit.rlim_cur = (rlim_t)top + 32;
	close(top);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	unsigned n = 0;
	while (n < 64 && (fillers[n] = dup(0)) >= 0)
		n++;
	ck_assert_uint_lt(n, 64);
	return n;
}

static uint64_t cpu_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/*
 * Without descriptors: the old are served, the new are closed one by one instead of waiting for
 * ever, the loop does not spin, and all is well when descriptors come back.
 */
START_TEST(it_lives_without_descriptors)
{
	struct counted k;
	struct rig rig;
	start(&rig, 1, &k);
	struct client old = client_open(rig.plain), extra[6];
	gate_wait(&k.opened, 1);
	int sockets[6];
	for (unsigned i = 0; i < 6; i++)
		sockets[i] = socket(AF_INET, SOCK_STREAM, 0);
	int fillers[64];
	unsigned n_fillers = descriptors_use_up(fillers);
	const struct timeval tv = {.tv_sec = RIG_WAIT_S};
	const struct sockaddr_in a = {.sin_family = AF_INET,
	        .sin_port = htons((uint16_t)rig.plain),
	        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	for (unsigned i = 0; i < 6; i++) {
		setsockopt(sockets[i], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
		ck_assert_int_eq(connect(sockets[i], (const struct sockaddr *)&a, sizeof(a)), 0);
		extra[i] = (struct client){.fd = sockets[i]};
	}
	uint64_t wall = clock_ms(), cpu = cpu_ms();
	char byte;
	for (int i = 0; i < 10; i++) {
		client_write(&old, "x", 1);
		ck_assert_uint_eq(client_read(&old, &byte, 1), 1);
	}
	for (unsigned i = 0; i < 4; i++)
		ck_assert(client_at_end(&extra[i]));
	wall = clock_ms() - wall;
	cpu = cpu_ms() - cpu;
	ck_assert_uint_ge(wall, 200);
	ck_assert_msg(
	        cpu * 5 < wall, "%lu ms of CPU in %lu ms", (unsigned long)cpu, (unsigned long)wall);
	ck_assert_uint_eq(k.opened.n, 1);
	while (n_fillers > 0)
		close(fillers[--n_fillers]);
	struct client fresh = client_open(rig.plain);
	client_write(&fresh, "y", 1);
	ck_assert_uint_eq(client_read(&fresh, &byte, 1), 1);
	client_close(&fresh);
	client_close(&old);
	for (unsigned i = 0; i < 6; i++)
		client_close(&extra[i]);
	rig_stop(&rig);
}
END_TEST

RIG_MAIN("listener", addresses_are_numbers, an_address_in_use_is_seen, every_loop_accepts,
        ipv6_is_its_own, the_limit_holds, addresses_and_listeners_have_a_part,
        the_end_comes_with_connections_open, stopping_closes_the_listeners,
        it_lives_without_descriptors)
