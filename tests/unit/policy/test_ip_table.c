/* Networks in an order: against the naive search, at every edge, for IPv4 and IPv6. */
#include "policy/ip_scopes.h"
#include "policy/ip_suggest.h"
#include "policy/ip_table.h"

#include <stdlib.h>
#include <time.h>

#include "server/base/cleanup.h"
#include "server/base/err.h"
#include "tests/unit/base/unit.h"

static struct ip_addr address(const char *text)
{
	struct ip_addr ip;
	ck_assert_msg(ip_parse(slice_str(text), &ip) == 0, "%s", text);
	return ip;
}

static struct ip_net network(const char *text, uint32_t value)
{
	struct ip_net net = {.value = value};
	ck_assert_msg(cidr_parse(text, &net.net) == 0, "%s", text);
	return net;
}

static uint32_t naive(const struct ip_net *nets, size_t n, const struct ip_addr *ip)
{
	for (size_t i = 0; i < n; i++)
		if (cidr_has(&nets[i].net, ip->v6, ip->bytes))
			return nets[i].value;
	return IP_TABLE_NONE;
}

START_TEST(the_first_match_counts)
{
	const struct ip_net nets[] = {network("10.1.0.0/16", 1), network("10.0.0.0/8", 2),
	        network("10.2.3.4", 3), network("0.0.0.0/0", 4), network("2001:db8::/32", 5),
	        network("10.1.0.0/16", 6), network("::1", 7)};
	static const struct {
		const char *ip;
		uint32_t value;
	} table[] = {{"10.1.2.3", 1}, {"10.2.3.4", 2}, {"10.255.255.255", 2}, {"11.0.0.0", 4},
	        {"0.0.0.0", 4}, {"255.255.255.255", 4}, {"9.255.255.255", 4}, {"::1", 7},
	        {"::", IP_TABLE_NONE}, {"::2", IP_TABLE_NONE}, {"2001:db8::", 5},
	        {"2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", 5}, {"2001:db9::", IP_TABLE_NONE},
	        {"2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", IP_TABLE_NONE},
	        {"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", IP_TABLE_NONE}, {"::ffff:10.1.2.3", 1}};
	struct ip_table *t = ip_table_new(nets, ARRAY_LEN(nets));
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		struct ip_addr ip = address(table[i].ip);
		ck_assert_msg(ip_table_find(t, &ip) == table[i].value, "%s", table[i].ip);
	}
	ip_table_free(t);
}
END_TEST

START_TEST(nothing_and_everything)
{
	struct ip_table *t = ip_table_new(NULL, 0);
	struct ip_addr v4 = address("1.2.3.4"), v6 = address("::");
	ck_assert_uint_eq(ip_table_find(t, &v4), IP_TABLE_NONE);
	ck_assert_uint_eq(ip_table_find(t, &v6), IP_TABLE_NONE);
	ip_table_free(t);
	const struct ip_net all[] = {network("::/0", 1), network("0.0.0.0/0", 0)};
	t = ip_table_new(all, 2);
	ck_assert_uint_eq(ip_table_find(t, &v4), 0);
	ck_assert_uint_eq(ip_table_find(t, &v6), 1);
	ck_assert_ptr_null(ip_table_free(t));
	ck_assert_ptr_null(ip_table_free(NULL));
}
END_TEST

/* Few different bits, so that networks nest, repeat and touch. */
static struct ip_net network_random(uint32_t value)
{
	struct ip_net net = {.value = value, .net.v6 = rand() % 2};
	unsigned all = net.net.v6 ? 128 : 32;
	net.net.bits = (uint8_t)(rand() % 4 ? all - (unsigned)rand() % 12
	                                    : (unsigned)rand() % (all + 1));
	for (unsigned i = 0; i < all / 8; i++)
		net.net.ip[i] = (uint8_t)(rand() % 3 == 0 ? 0xff : rand() % 2);
	for (unsigned i = net.net.bits; i < all; i++)
		net.net.ip[i / 8] &= (uint8_t) ~(0x80 >> i % 8);
	return net;
}

/* The first and last address of a network, and those next to it. */
static void edges_of(const struct ip_net *net, struct ip_addr ret[4])
{
	unsigned all = net->net.v6 ? 128 : 32;
	for (unsigned k = 0; k < 4; k++) {
		ret[k] = (struct ip_addr){.v6 = net->net.v6};
		memcpy(ret[k].bytes, net->net.ip, all / 8);
		for (unsigned i = net->net.bits; k % 2 && i < all; i++)
			ret[k].bytes[i / 8] |= (uint8_t)(0x80 >> i % 8);
	}
	for (unsigned i = all / 8; i-- > 0;)
		if (ret[2].bytes[i]-- != 0)
			break;
	for (unsigned i = all / 8; i-- > 0;)
		if (++ret[3].bytes[i] != 0)
			break;
}

START_TEST(as_the_naive_search)
{
	srand(4711);
	for (unsigned round = 0; round < 300; round++) {
		size_t n = (size_t)rand() % 60;
		struct ip_net nets[60];
		for (size_t i = 0; i < n; i++)
			nets[i] = network_random((uint32_t)(rand() % 3 ? i : 0));
		struct ip_table *t = ip_table_new(nets, n);
		for (size_t i = 0; i < n; i++) {
			struct ip_addr edges[4];
			edges_of(&nets[i], edges);
			for (unsigned k = 0; k < 4; k++)
				ck_assert_uint_eq(
				        ip_table_find(t, &edges[k]), naive(nets, n, &edges[k]));
		}
		for (unsigned i = 0; i < 200; i++) {
			struct ip_net one = network_random(0);
			struct ip_addr ip = {.v6 = one.net.v6};
			memcpy(ip.bytes, one.net.ip, one.net.v6 ? 16 : 4);
			ck_assert_uint_eq(ip_table_find(t, &ip), naive(nets, n, &ip));
		}
		ip_table_free(t);
	}
}
END_TEST

/* 10,000 networks: what a look-up costs, well under a microsecond. */
START_TEST(many_cost_little)
{
	enum { N = 10000, ROUNDS = 2000000 };
	_cleanup_free_ struct ip_net *nets = calloc(N, sizeof(*nets));
	struct ip_addr ips[1024];
	srand(1);
	for (unsigned i = 0; i < N; i++) {
		nets[i] = (struct ip_net){.value = i, .net = {.bits = (uint8_t)(16 + i % 17)}};
		for (unsigned k = 0; k < nets[i].net.bits; k++)
			nets[i].net.ip[k / 8] |= (uint8_t)(rand() % 2 ? 0x80 >> k % 8 : 0);
	}
	for (unsigned i = 0; i < ARRAY_LEN(ips); i++) {
		ips[i] = (struct ip_addr){0};
		for (unsigned k = 0; k < 4; k++)
			ips[i].bytes[k] = (uint8_t)rand();
	}
	struct ip_table *t = ip_table_new(nets, N);
	struct timespec a, b;
	uint64_t sum = 0;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &a);
	for (unsigned i = 0; i < ROUNDS; i++)
		sum += ip_table_find(t, &ips[i % ARRAY_LEN(ips)]);
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &b);
	double ns = (double)((b.tv_sec - a.tv_sec) * 1000000000 + b.tv_nsec - a.tv_nsec) / ROUNDS;
	printf("a look-up among %d networks: %.0f ns (%llu)\n", N, ns,
	        (unsigned long long)(sum & 1));
#ifndef __SANITIZE_THREAD__
	ck_assert_msg(ns < 1000, "%.0f ns", ns);
#endif
	for (unsigned i = 0; i < ARRAY_LEN(ips); i++)
		ck_assert_uint_eq(ip_table_find(t, &ips[i]), naive(nets, N, &ips[i]));
	ip_table_free(t);
}
END_TEST

/* ---- scopes ---- */

START_TEST(scopes_stand_apart)
{
	const struct ip_entry entries[] = {
	        {.scope = SCOPE_GROUP,
	                .name = "a",
	                .net = network("10.0.0.0/8", 0).net,
	                .value = 1},
	        {.scope = SCOPE_HUB, .net = network("10.1.0.0/16", 0).net, .value = 2},
	        {.scope = SCOPE_GROUP,
	                .name = "a",
	                .net = network("10.0.0.0/8", 0).net,
	                .value = 3},
	        {.scope = SCOPE_DEVICE,
	                .name = "a",
	                .everywhere = true,
	                .value = 4,
	                .closes = true},
	        {.scope = SCOPE_GROUP, .name = "ab", .net = network("::/0", 0).net, .value = 5},
	};
	struct ip_scopes *s = ip_scopes_new(entries, ARRAY_LEN(entries));
	struct ip_addr v4 = address("10.1.2.3"), v6 = address("::1");
	bool closed = true;
	const struct ip_table *t = ip_scopes_get(s, SCOPE_GROUP, SLICE_LIT("a"), &closed);
	ck_assert(!closed);
	ck_assert_uint_eq(ip_table_find(t, &v4), 1);
	ck_assert_uint_eq(ip_table_find(t, &v6), IP_TABLE_NONE);
	t = ip_scopes_get(s, SCOPE_DEVICE, SLICE_LIT("a"), &closed);
	ck_assert(closed);
	ck_assert_uint_eq(ip_table_find(t, &v4), 4);
	ck_assert_uint_eq(ip_table_find(t, &v6), 4);
	t = ip_scopes_get(s, SCOPE_HUB, (struct slice){0}, NULL);
	ck_assert_uint_eq(ip_table_find(t, &v4), 2);
	t = ip_scopes_get(s, SCOPE_GROUP, SLICE_LIT("ab"), NULL);
	ck_assert_uint_eq(ip_table_find(t, &v4), IP_TABLE_NONE);
	ck_assert_ptr_null(ip_scopes_get(s, SCOPE_GROUP, SLICE_LIT("b"), NULL));
	ck_assert_ptr_null(ip_scopes_get(s, SCOPE_DEVICE, SLICE_LIT("ab"), NULL));
	ck_assert(ip_scopes_named(s));
	ip_scopes_free(s);
	s = ip_scopes_new(&entries[1], 1);
	ck_assert(!ip_scopes_named(s));
	ck_assert_ptr_null(ip_scopes_get(s, SCOPE_GROUP, SLICE_LIT("a"), NULL));
	ck_assert_ptr_null(ip_scopes_free(s));
}
END_TEST

/* ---- suggestions ---- */

static void suggests(const char *const *in, size_t n, unsigned max, const char *want)
{
	struct ip_addr ips[32];
	struct cidr nets[64];
	char got[1024] = "", text[CIDR_TEXT_LEN];
	for (size_t i = 0; i < n; i++)
		ips[i] = address(in[i]);
	size_t count = ip_suggest(ips, n, max, nets);
	for (size_t i = 0; i < count; i++) {
		strcat(got, i ? " " : "");
		strcat(got, cidr_text(&nets[i], text));
	}
	ck_assert_str_eq(got, want);
	for (size_t i = 0; i < n; i++) {
		bool has = false;
		for (size_t k = 0; k < count; k++)
			has = has || cidr_has(&nets[k], ips[i].v6, ips[i].bytes);
		ck_assert(has);
	}
}

START_TEST(suggests_networks)
{
	static const char *const one[] = {"192.0.2.1"};
	static const char *const near[] = {"10.0.0.2", "10.0.0.1", "10.0.0.3"};
	static const char *const far[] = {"10.0.0.1", "10.0.0.7", "192.0.2.1", "192.0.2.9"};
	static const char *const six[] = {"2001:db8::1", "2001:db8::2", "2001:db8:1::1"};
	static const char *const both[] = {"::1", "10.0.0.1"};
	suggests(NULL, 0, 4, "");
	suggests(one, 1, 4, "192.0.2.1/32");
	suggests(near, 3, 1, "10.0.0.0/30");
	suggests(near, 3, 3, "10.0.0.1/32 10.0.0.2/32 10.0.0.3/32");
	suggests(far, 4, 2, "10.0.0.0/29 192.0.2.0/28");
	suggests(far, 4, 1, "0.0.0.0/0");
	suggests(six, 3, 8, "2001:db8::/64 2001:db8:1::/64");
	suggests(six, 3, 1, "2001:db8::/47");
	suggests(both, 2, 1, "10.0.0.1/32 ::/64");
}
END_TEST

UNIT_MAIN("ip_table", the_first_match_counts, nothing_and_everything, as_the_naive_search,
        many_cost_little, scopes_stand_apart, suggests_networks)
