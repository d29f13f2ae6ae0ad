/*
 * The PROXY protocol, version 2 (HAProxy's specification, section 2.2): what a balancer says in
 * front of a connection about the client at its other end. Bytes in, verdict out. Any thread.
 * Private to server/net.
 */
#ifndef HF_NET_PROXYV2_H
#define HF_NET_PROXYV2_H

#include "server/base/ip.h"
#include "server/base/slice.h"

#define PROXYV2_HEAD 16 /* the part that says how long the header is */
#define PROXYV2_MAX \
	4096 /* longest header that is taken; addresses need 52 bytes, the rest is TLVs */

struct proxyv2_peer {
	bool known; /* false: the balancer speaks for itself, or has no address to tell */
	bool v6;
	uint8_t ip[16]; /* IPv4 in the first four */
	uint16_t port;  /* host order */
};

/* in: the header's first bytes, as many as are there. How long it is, PROXYV2_HEAD while that is
 * not known; 0: this is no such header, or one that is too long. */
size_t proxyv2_length(struct slice in);
/* A whole header. 0, or ERR_INVALID: malformed, or its checksum (CRC-32C) does not fit. IPv4
 * addresses in IPv6's clothes are IPv4 addresses. */
int proxyv2_parse(struct slice header, struct proxyv2_peer *ret);

#endif
