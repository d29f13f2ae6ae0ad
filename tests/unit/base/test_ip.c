#include "server/base/ip.h"

#include "server/base/cleanup.h"
#include "server/base/err.h"
#include "unit.h"

START_TEST(reads_addresses)
{
	static const struct {
		const char *text, *shown; /* NULL: no address */
		unsigned shared;          /* bytes that count as one */
	} table[] = {
	        {"192.0.2.1", "192.0.2.1", 4},
	        {"0.0.0.0", "0.0.0.0", 4},
	        {"2001:db8::1", "2001:db8::1", 8},
	        {"2001:0DB8:0:0:0:0:0:1", "2001:db8::1", 8},
	        {"::ffff:192.0.2.1", "192.0.2.1", 4},
	        {"::", "::", 8},
	        {"", NULL, 0},
	        {"192.0.2", NULL, 0},
	        {"192.0.2.256", NULL, 0},
	        {"192.0.2.1 ", NULL, 0},
	        {" 192.0.2.1", NULL, 0},
	        {"192.0.2.1/32", NULL, 0},
	        {"fe80::1%eth0", NULL, 0},
	        {"[::1]", NULL, 0},
	        {"1111:2222:3333:4444:5555:6666:7777:8888:9999", NULL, 0},
	        {"localhost", NULL, 0},
	};
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		struct ip_addr ip = {.bytes = {1}};
		char text[IP_TEXT_LEN];
		int r = ip_parse(slice_str(table[i].text), &ip);
		if (!table[i].shown) {
			ck_assert_msg(r == ERR_INVALID, "%s", table[i].text);
			ck_assert_uint_eq(ip.bytes[0], 1); /* untouched */
			continue;
		}
		ck_assert_msg(r == 0, "%s", table[i].text);
		ck_assert_str_eq(ip_text(&ip, text), table[i].shown);
		ck_assert_uint_eq(ip_shared(&ip).n, table[i].shared);
	}
	ck_assert_int_eq(ip_parse(SLICE_LIT("192.0.2.1\0.9"), &(struct ip_addr){0}), ERR_INVALID);
}
END_TEST

START_TEST(reads_peers)
{
	struct ip_addr a, b;
	ck_assert_int_eq(ip_parse_peer("192.0.2.1:4711", &a), 0);
	ck_assert_int_eq(ip_parse(SLICE_LIT("192.0.2.1"), &b), 0);
	ck_assert(ip_equal(&a, &b));
	ck_assert_int_eq(ip_parse_peer("[2001:db8::1]:1", &a), 0);
	ck_assert(a.v6 && !ip_equal(&a, &b));
	ck_assert_int_eq(ip_parse_peer("192.0.2.1", &a), ERR_INVALID);
	ck_assert_int_eq(ip_parse_peer("", &a), ERR_INVALID);
}
END_TEST

/* 0.0.0.0 is not ::, though their bytes are the same. */
START_TEST(tells_families_apart)
{
	struct ip_addr v4, v6;
	ck_assert_int_eq(ip_parse(SLICE_LIT("0.0.0.0"), &v4), 0);
	ck_assert_int_eq(ip_parse(SLICE_LIT("::"), &v6), 0);
	ck_assert(!ip_equal(&v4, &v6));
}
END_TEST

START_TEST(shows_networks)
{
	static const char *const table[] = {
	        "10.0.0.0/8", "192.0.2.1/32", "0.0.0.0/0", "fd00::/8", "::/0", "2001:db8::1/128"};
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		struct cidr net;
		char text[CIDR_TEXT_LEN];
		ck_assert_int_eq(cidr_parse(table[i], &net), 0);
		ck_assert_str_eq(cidr_text(&net, text), table[i]);
	}
}
END_TEST

UNIT_MAIN("addresses", reads_addresses, reads_peers, tells_families_apart, shows_networks)
