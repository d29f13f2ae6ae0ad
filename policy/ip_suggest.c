#include "policy/ip_suggest.h"

#include <stdlib.h>
#include <string.h>

#include "server/base/cleanup.h"

static int ip_compare(const void *a, const void *b)
{
	const struct ip_addr *x = a, *y = b;
	if (x->v6 != y->v6)
		return x->v6 ? 1 : -1;
	return memcmp(x->bytes, y->bytes, sizeof(x->bytes));
}

/* How many bits two addresses of one family begin with in common. */
static unsigned common_bits(const struct ip_addr *a, const struct ip_addr *b)
{
	unsigned bits = 0, all = a->v6 ? 128 : 32;
	while (bits < all && a->bytes[bits / 8] == b->bytes[bits / 8] && bits % 8 == 0)
		bits += 8;
	while (bits < all && !((a->bytes[bits / 8] ^ b->bytes[bits / 8]) & (0x80 >> bits % 8)))
		bits++;
	return bits;
}

/* The network of all addresses from first to last. A host may choose its address within an IPv6
 * /64, so no network is narrower. */
static struct cidr cover(const struct ip_addr *first, const struct ip_addr *last)
{
	unsigned bits = common_bits(first, last);
	struct cidr net = {.v6 = first->v6};
	if (net.v6 && bits > 64)
		bits = 64;
	net.bits = (uint8_t)bits;
	memcpy(net.ip, first->bytes, bits / 8);
	if (bits % 8)
		net.ip[bits / 8] = (uint8_t)(first->bytes[bits / 8] & (0xff00 >> bits % 8));
	return net;
}

/* Sorted addresses of one family are cut where neighbours have least in common: how many bits that
 * is, so that fewer than max cuts remain. Neighbours that have as many as the limit are cut only
 * while *ret_more lasts. */
static unsigned cut_limit(const struct ip_addr *ips, size_t n, unsigned max, unsigned *ret_more)
{
	size_t with[129] = {0}, cuts = 0;
	for (size_t i = 1; i < n; i++)
		with[common_bits(&ips[i - 1], &ips[i])]++;
	for (unsigned bits = 0; bits <= 128; bits++) {
		if (cuts + with[bits] > max - 1) {
			*ret_more = (unsigned)(max - 1 - cuts);
			return bits;
		}
		cuts += with[bits];
	}
	*ret_more = 0;
	return 129;
}

static size_t suggest_family(const struct ip_addr *ips, size_t n, unsigned max, struct cidr *ret)
{
	unsigned more, limit = cut_limit(ips, n, max, &more);
	size_t count = 0, first = 0;
	for (size_t i = 1; i <= n; i++) {
		unsigned bits = i < n ? common_bits(&ips[i - 1], &ips[i]) : 0;
		bool cut = i == n || bits < limit;
		if (!cut && bits == limit && more > 0) {
			more--;
			cut = true;
		}
		/* Those of one IPv6 /64 are one. */
		if (!cut || (i < n && ips[i].v6 && bits >= 64))
			continue;
		ret[count++] = cover(&ips[first], &ips[i - 1]);
		first = i;
	}
	return count;
}

size_t ip_suggest(struct ip_addr *ips, size_t n, unsigned max, struct cidr *ret)
{
	size_t n_v4 = 0, count = 0;
	if (n == 0)
		return 0;
	qsort(ips, n, sizeof(*ips), ip_compare);
	while (n_v4 < n && !ips[n_v4].v6)
		n_v4++;
	if (n_v4 > 0)
		count = suggest_family(ips, n_v4, max, ret);
	if (n_v4 < n)
		count += suggest_family(ips + n_v4, n - n_v4, max, ret + count);
	return count;
}
