/* IP addresses and networks, without a socket. Any thread. */
#ifndef HF_BASE_IP_H
#define HF_BASE_IP_H

#include "server/base/slice.h"

struct ip_addr {
	bool v6;
	uint8_t bytes[16]; /* IPv4 in the first four, the rest 0 */
};
#define IP_TEXT_LEN 46

/* "192.0.2.1" or "2001:db8::1", nothing before or behind it; an IPv4 address in IPv6's clothes is
 * an IPv4 address. 0 or ERR_INVALID. */
int ip_parse(struct slice text, struct ip_addr *ret);
/* The same of "192.0.2.1:4711" and "[2001:db8::1]:4711", as peers are written. */
int ip_parse_peer(const char *peer, struct ip_addr *ret);
/* Returns out. IPv6 as in RFC 5952. */
const char *ip_text(const struct ip_addr *ip, char out[static IP_TEXT_LEN]);
bool ip_equal(const struct ip_addr *a, const struct ip_addr *b);
/* Who shares an address, for counting: all behind one IPv4 address (4 bytes), and all of one IPv6
 * /64 (8 bytes), in which a host may choose its own addresses. Borrows from ip. */
static inline struct slice ip_shared(const struct ip_addr *ip)
{
	return slice_make(ip->bytes, ip->v6 ? 8 : 4);
}

/* A network: an address and how many of its bits count. */
struct cidr {
	bool v6;
	uint8_t bits;
	uint8_t ip[16];
};
#define CIDR_TEXT_LEN (IP_TEXT_LEN + 4)
/* "10.0.0.0/8", "fd00::/8", "192.0.2.1": 0 or ERR_INVALID; bits behind the prefix must be 0. */
int cidr_parse(const char *text, struct cidr *ret);
bool cidr_has(const struct cidr *net, bool v6, const uint8_t *ip);
const char *cidr_text(const struct cidr *net, char out[static CIDR_TEXT_LEN]);

#endif
