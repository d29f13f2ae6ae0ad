#include "server/net/proxyv2.h"

#include <arpa/inet.h>
#include <stdlib.h>

#include "server/base/err.h"

#define VERSION_LOCAL 0x20
#define VERSION_PROXY 0x21
#define TLV_CRC32C 0x03
#define TLV_HEAD 3

static const uint8_t signature[12] = "\r\n\r\n\0\r\nQUIT\n";
static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

/* Families and how long their addresses are, both together. Datagrams do not come this way. */
static const struct {
	uint8_t code, address_n, addresses_n;
} families[] = {
        {0x00, 0, 0},   /* unspecified */
        {0x11, 4, 12},  /* TCP over IPv4 */
        {0x21, 16, 36}, /* TCP over IPv6 */
        {0x31, 0, 216}, /* a Unix stream */
};

static unsigned u16(const uint8_t *p)
{
	return (unsigned)p[0] << 8 | p[1];
}

size_t proxyv2_length(struct slice in)
{
	size_t n = in.n < sizeof(signature) ? in.n : sizeof(signature);
	if (n > 0 && memcmp(in.p, signature, n) != 0)
		return 0;
	if (in.n < PROXYV2_HEAD)
		return PROXYV2_HEAD;
	size_t total = PROXYV2_HEAD + u16(in.p + 14);
	return total <= PROXYV2_MAX ? total : 0;
}

/* CRC-32C (RFC 3720 appendix B.4) going on from crc. */
static uint32_t crc32c(uint32_t crc, struct slice in)
{
	for (size_t i = 0; i < in.n; i++) {
		crc ^= in.p[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78U : 0);
	}
	return crc;
}

/* The checksum is taken over the header with zeros in its own place. */
static bool checksum_fits(struct slice header, size_t at)
{
	static const uint8_t zeros[4];
	const uint8_t *p = header.p + at;
	uint32_t want = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
	uint32_t crc = crc32c(UINT32_MAX, slice_make(header.p, at));
	crc = crc32c(crc, slice_make(zeros, sizeof(zeros)));
	crc = crc32c(crc, slice_from(header, at + sizeof(zeros)));
	return ~crc == want;
}

static bool tlvs_valid(struct slice header, size_t at)
{
	while (at < header.n) {
		if (header.n - at < TLV_HEAD)
			return false;
		size_t n = u16(header.p + at + 1);
		if (header.n - at - TLV_HEAD < n)
			return false;
		if (header.p[at] == TLV_CRC32C && (n != 4 || !checksum_fits(header, at + TLV_HEAD)))
			return false;
		at += TLV_HEAD + n;
	}
	return true;
}

static void peer_take(struct proxyv2_peer *peer, const uint8_t *addresses, size_t address_n)
{
	peer->known = true;
	peer->v6 = address_n == 16;
	memcpy(peer->ip, addresses, address_n);
	peer->port = (uint16_t)u16(addresses + 2 * address_n);
	if (peer->v6 && memcmp(peer->ip, mapped, sizeof(mapped)) == 0) {
		memmove(peer->ip, peer->ip + sizeof(mapped), 4);
		memset(peer->ip + 4, 0, 12);
		peer->v6 = false;
	}
}

int proxyv2_parse(struct slice header, struct proxyv2_peer *ret)
{
	*ret = (struct proxyv2_peer){0};
	if (header.n < PROXYV2_HEAD || proxyv2_length(header) != header.n)
		return ERR_INVALID;
	uint8_t command = header.p[12];
	if (command != VERSION_LOCAL && command != VERSION_PROXY)
		return ERR_INVALID;
	for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
		if (families[i].code != header.p[13])
			continue;
		size_t tlvs = PROXYV2_HEAD + families[i].addresses_n;
		if (header.n < tlvs || !tlvs_valid(header, tlvs))
			return ERR_INVALID;
		if (command == VERSION_PROXY && families[i].address_n > 0)
			peer_take(ret, header.p + PROXYV2_HEAD, families[i].address_n);
		return 0;
	}
	return ERR_INVALID;
}
