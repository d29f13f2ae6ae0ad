#include "server/base/ip.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

#include "server/base/err.h"

int ip_parse(struct slice text, struct ip_addr *ret)
{
	static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
	char copy[IP_TEXT_LEN];
	struct ip_addr ip = {0};
	if (text.n == 0 || text.n >= sizeof(copy) || memchr(text.p, 0, text.n))
		return ERR_INVALID;
	memcpy(copy, text.p, text.n);
	copy[text.n] = '\0';
	ip.v6 = memchr(text.p, ':', text.n) != NULL;
	if (inet_pton(ip.v6 ? AF_INET6 : AF_INET, copy, ip.bytes) != 1)
		return ERR_INVALID;
	if (ip.v6 && memcmp(ip.bytes, mapped, sizeof(mapped)) == 0) {
		memmove(ip.bytes, ip.bytes + sizeof(mapped), 4);
		memset(ip.bytes + 4, 0, sizeof(ip.bytes) - 4);
		ip.v6 = false;
	}
	*ret = ip;
	return 0;
}

int ip_parse_peer(const char *peer, struct ip_addr *ret)
{
	const char *colon = strrchr(peer, ':');
	size_t n = colon ? (size_t)(colon - peer) : 0;
	if (n > 2 && peer[0] == '[' && peer[n - 1] == ']')
		return ip_parse(slice_make(peer + 1, n - 2), ret);
	return ip_parse(slice_make(peer, n), ret);
}

const char *ip_text(const struct ip_addr *ip, char out[static IP_TEXT_LEN])
{
	if (!inet_ntop(ip->v6 ? AF_INET6 : AF_INET, ip->bytes, out, IP_TEXT_LEN))
		out[0] = '\0';
	return out;
}

bool ip_equal(const struct ip_addr *a, const struct ip_addr *b)
{
	return a->v6 == b->v6 && memcmp(a->bytes, b->bytes, a->v6 ? 16 : 4) == 0;
}

/* ---- networks ---- */

int cidr_parse(const char *text, struct cidr *ret)
{
	char address[INET6_ADDRSTRLEN];
	const char *slash = strchr(text, '/');
	size_t n = slash ? (size_t)(slash - text) : strlen(text);
	*ret = (struct cidr){0};
	if (n >= sizeof(address))
		return ERR_INVALID;
	memcpy(address, text, n);
	address[n] = '\0';
	ret->v6 = strchr(address, ':') != NULL;
	if (inet_pton(ret->v6 ? AF_INET6 : AF_INET, address, ret->ip) != 1)
		return ERR_INVALID;
	unsigned all = ret->v6 ? 128 : 32, bits = all;
	if (slash) {
		char *end;
		unsigned long v = strtoul(slash + 1, &end, 10);
		if (slash[1] < '0' || slash[1] > '9' || *end || v > all)
			return ERR_INVALID;
		bits = (unsigned)v;
	}
	for (unsigned i = bits; i < all; i++)
		if (ret->ip[i / 8] & (0x80 >> i % 8))
			return ERR_INVALID;
	ret->bits = (uint8_t)bits;
	return 0;
}

bool cidr_has(const struct cidr *net, bool v6, const uint8_t *ip)
{
	size_t whole = net->bits / 8;
	unsigned rest = net->bits % 8;
	if (net->v6 != v6 || memcmp(net->ip, ip, whole) != 0)
		return false;
	return rest == 0 || (net->ip[whole] ^ ip[whole]) >> (8 - rest) == 0;
}

const char *cidr_text(const struct cidr *net, char out[static CIDR_TEXT_LEN])
{
	char ip[INET6_ADDRSTRLEN];
	if (!inet_ntop(net->v6 ? AF_INET6 : AF_INET, net->ip, ip, sizeof(ip)))
		ip[0] = '\0';
	snprintf(out, CIDR_TEXT_LEN, "%s/%u", ip, net->bits);
	return out;
}
