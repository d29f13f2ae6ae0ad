/*
 * The balancer's header in front of a connection: read to its last byte and no further, so that
 * what follows it is the client's. Then the client's address is the connection's.
 */
#include "server/base/err.h"
#include "server/base/log.h"
#include "server/net/private.h"
#include "server/net/proxyv2.h"

static void header_refuse(struct conn *c, const char *what)
{
	char peer[CONN_PEER_LEN];
	conn_peer(c, peer);
	log_info("PROXY header refused", F_U64("conn", c->id), F_STR("peer", peer),
	        F_STR("error", what));
	conn_abort(c, END_PROXY_HEADER);
}

/* The whole header is in the tail. */
static void header_done(struct conn *c)
{
	struct proxyv2_peer peer;
	if (proxyv2_parse(buf_slice(&c->tail), &peer) < 0) {
		header_refuse(c, "a malformed header");
		return;
	}
	buf_free(&c->tail);
	if (peer.known) {
		memcpy(c->peer_ip, peer.ip, sizeof(c->peer_ip));
		c->peer_v6 = peer.v6;
		c->peer_port = peer.port;
	}
	struct ip_addr ip = conn_ip(c);
	enum end_reason why = net_admit(c->nl->net, &ip);
	c->stranger = why == END_NORMAL;
	if (why == END_NORMAL && peer.known && !listener_admits(c))
		why = END_ADDRESS_LIMIT;
	if (why == END_NORMAL)
		conn_start(c);
	else
		conn_abort(c, why);
}

/* Reads up to n more bytes of the header. False: they are not there yet, or the peer has gone. */
static bool header_more(struct conn *c, size_t n)
{
	uint8_t *p = buf_reserve(&c->tail, n);
	if (!p) {
		conn_abort(c, END_INTERNAL);
		return false;
	}
	size_t got = conn_socket_read(c, p, n);
	buf_added(&c->tail, got);
	return got == n;
}

void conn_proxy_readable(struct conn *c)
{
	size_t want;
	bool more = true;
	c->tail.cap = PROXYV2_MAX;
	while ((want = proxyv2_length(buf_slice(&c->tail))) > buf_len(&c->tail) && more) {
		more = header_more(c, want - buf_len(&c->tail));
		if (c->state != CONN_PROXY)
			return;
	}
	if (want == 0)
		header_refuse(c, "no header, or one that is too long");
	else if (c->gone)
		conn_close(c, c->why);
	else if (buf_len(&c->tail) == want)
		header_done(c);
}
