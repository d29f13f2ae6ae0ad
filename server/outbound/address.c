#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#include "server/base/cleanup.h"
#include "server/base/ip.h"
#include "server/outbound/private.h"

struct range {
	bool private; /* else: never */
	struct cidr net;
};

#define V4(priv, a, b, c, d, n)                                      \
	{                                                            \
		priv,                                                \
		{                                                    \
			.v6 = false, .bits = n, .ip = { a, b, c, d } \
		}                                                    \
	}
#define V6(priv, n, ...)                                             \
	{                                                            \
		priv,                                                \
		{                                                    \
			.v6 = true, .bits = n, .ip = { __VA_ARGS__ } \
		}                                                    \
	}

/* RFC 6890 and its successors in IANA's registries of special-purpose addresses. */
static const struct range ranges[] = {
        V4(false, 0, 0, 0, 0, 8),                /* this network */
        V4(true, 10, 0, 0, 0, 8),                /* private */
        V4(true, 100, 64, 0, 0, 10),             /* behind a carrier's NAT */
        V4(true, 127, 0, 0, 0, 8),               /* loopback */
        V4(false, 169, 254, 0, 0, 16),           /* link-local */
        V4(true, 172, 16, 0, 0, 12),             /* private */
        V4(true, 192, 0, 0, 0, 24),              /* of protocols */
        V4(true, 192, 168, 0, 0, 16),            /* private */
        V4(true, 198, 18, 0, 0, 15),             /* benchmarks */
        V4(false, 224, 0, 0, 0, 3),              /* multicast, reserved, broadcast */
        V6(false, 128, 0),                       /* unspecified */
        V6(true, 128, [15] = 1),                 /* loopback */
        V6(true, 7, 0xfc),                       /* unique local */
        V6(false, 10, 0xfe, 0x80),               /* link-local */
        V6(true, 10, 0xfe, 0xc0),                /* site-local, given up */
        V6(false, 8, 0xff),                      /* multicast */
        V6(true, 48, 0, 0x64, 0xff, 0x9b, 0, 1), /* translated to IPv4, locally */
};

static bool allowed(bool v6, const uint8_t *ip, bool private_too)
{
	for (size_t i = 0; i < ARRAY_LEN(ranges); i++)
		if (cidr_has(&ranges[i].net, v6, ip))
			return ranges[i].private && private_too;
	return true;
}

/* Where an IPv6 address leads to an IPv4 one: mapped and compatible ones, NAT64 (RFC 6052), 6to4
 * (RFC 3056). NULL: nowhere. */
static const uint8_t *inner_v4(const uint8_t *ip)
{
	static const uint8_t zero[12], mapped[12] = {[10] = 0xff, [11] = 0xff},
	                               nat64[12] = {0, 0x64, 0xff, 0x9b};
	static const uint8_t v4_6to4[2] = {0x20, 0x02};

	if (memcmp(ip, mapped, 12) == 0 || memcmp(ip, nat64, 12) == 0)
		return ip + 12;
	/* :: and ::1 are themselves. */
	if (memcmp(ip, zero, 12) == 0 && (ip[12] || ip[13]))
		return ip + 12;
	return memcmp(ip, v4_6to4, 2) == 0 ? ip + 2 : NULL;
}

bool address_allowed(const struct sockaddr *sa, bool private_too)
{
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
	const uint8_t *inner;

	if (sa->sa_family == AF_INET) {
		memcpy(&v4, sa, sizeof(v4));
		return allowed(false, (const uint8_t *)&v4.sin_addr, private_too);
	}
	if (sa->sa_family != AF_INET6)
		return false;
	memcpy(&v6, sa, sizeof(v6));
	inner = inner_v4(v6.sin6_addr.s6_addr);
	return inner ? allowed(false, inner, private_too)
	             : allowed(true, v6.sin6_addr.s6_addr, private_too);
}
