#include <arpa/inet.h>
#include <ctype.h>
#include <string.h>

#include "server/config_table.h"

/* Which addresses can be listened on. Names are not resolved here: that may take seconds. */

static bool port_valid(const char *port)
{
	size_t n = strspn(port, "0123456789");
	long v = 0;
	if (n < 1 || n > 5 || port[n] != '\0')
		return false;
	for (; *port; port++)
		v = v * 10 + (*port - '0');
	return v <= 65535;
}

/* Letters, digits, '-' and '.'; not what was meant as an IPv4 address and is none. */
static bool name_valid(const char *host)
{
	const char *dot = strrchr(host, '.'), *last = dot ? dot + 1 : host;
	for (const char *p = host; *p; p++)
		if (!isalnum((unsigned char)*p) && *p != '-' && *p != '.')
			return false;
	return *host != '\0' && last[strspn(last, "0123456789")] != '\0';
}

static const char *v6_problem(const char *host, bool loopback_only)
{
	struct in6_addr v6;
	if (inet_pton(AF_INET6, host, &v6) != 1)
		return "is no IPv6 address; allowed: [address]:port";
	if (loopback_only && !IN6_IS_ADDR_LOOPBACK(&v6))
		return "is not loopback; allowed: 127.0.0.0/8, [::1] or localhost";
	return NULL;
}

static const char *v4_problem(const char *host, bool loopback_only)
{
	struct in_addr v4;
	bool is_v4 = inet_pton(AF_INET, host, &v4) == 1;
	if (!is_v4 && !name_valid(host))
		return "is no address; allowed: address:port, name:port or [v6]:port";
	bool loopback = is_v4 ? ntohl(v4.s_addr) >> 24 == 127 : strcmp(host, "localhost") == 0;
	if (loopback_only && !loopback)
		return "is not loopback; allowed: 127.0.0.0/8, [::1] or localhost";
	return NULL;
}

const char *config_listen_problem(const char *address, bool loopback_only)
{
	char host[254];
	bool v6 = *address == '[';
	const char *end = v6 ? strchr(address, ']') : strchr(address, ':');
	const char *start = v6 ? address + 1 : address;
	if (!end || (v6 && end[1] != ':'))
		return "has no port; allowed: address:port, name:port or [v6]:port";
	if ((size_t)(end - start) >= sizeof(host))
		return "is too long; allowed: address:port, name:port or [v6]:port";
	memcpy(host, start, (size_t)(end - start));
	host[end - start] = '\0';
	if (!v6 && strchr(end + 1, ':'))
		return "has several colons; allowed: address:port, name:port or [v6]:port";
	if (!port_valid(v6 ? end + 2 : end + 1))
		return "has no valid port; allowed: 0 (a free one) to 65535";
	return v6 ? v6_problem(host, loopback_only) : v4_problem(host, loopback_only);
}
