#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <sys/ioctl.h>

#include "server/base/err.h"
#include "server/base/metrics.h"
#include "server/net/private.h"
#include "server/net/tls.h"
#include "server/net/ws.h"

void conn_gone(struct conn *c, enum end_reason why)
{
	if (c->gone)
		return;
	c->gone = true;
	if (c->state < CONN_FLUSHING)
		c->why = (uint8_t)why;
}

#define HANDSHAKES_A_TURN 8

size_t conn_socket_read(struct conn *c, uint8_t *p, size_t cap)
{
	ssize_t n;
	do
		n = recv(c->fd, p, cap, 0);
	while (n < 0 && errno == EINTR);
	if (n > 0)
		return (size_t)n;
	if (n == 0)
		conn_gone(c, END_PEER_CLOSED);
	else if (errno != EAGAIN && errno != EWOULDBLOCK)
		conn_gone(c, END_PEER_RESET);
	return 0;
}

/* The stage holds bytes of the handshake. OpenSSL's part of a connection is 8 KiB and more: those
 * who never say a word do without. */
static void handshake_read(struct conn *c)
{
	int r = c->ssl ? 0 : tls_conn_init(c);
	if (r == 0)
		r = tls_handshake(c);
	if (r > 0)
		conn_opened(c);
	else if (r < 0)
		conn_close(c, END_TLS_HANDSHAKE);
	if (c->wire || c->state >= CONN_FLUSHING)
		conn_queue(c);
}

static size_t tls_fresh_read(struct conn *c, uint8_t *p)
{
	struct net_loop *nl = c->nl;
	assert(nl->stage.n == 0);
	nl->stage = slice_make(nl->stage_data, conn_socket_read(c, nl->stage_data, NET_READ_SIZE));
	if (c->state == CONN_HANDSHAKE && nl->stage.n > 0)
		handshake_read(c);
	/* After conn_close nothing is read any more. */
	bool reading = c->state == CONN_OPEN || c->state == CONN_MOVING;
	size_t n = reading ? tls_read(c, p, NET_READ_ROOM) : 0;
	nl->stage.n = 0;
	return n;
}

/* Reads what the socket has, at most NET_READ_SIZE, as the handler sees it. p has NET_READ_ROOM
 * bytes. */
static size_t fresh_read(struct conn *c, uint8_t *p)
{
	size_t n = listener_is_tls(c->listener) ? tls_fresh_read(c, p)
	                                        : conn_socket_read(c, p, NET_READ_SIZE);
	return c->ws ? ws_decode(c, p, n) : n;
}

static bool may_offer(const struct conn *c, size_t unread)
{
	return c->state == CONN_OPEN && c->pauses == 0 && unread > 0 && unread >= c->need;
}

/* Gives the handler what is unread. Returns how much of it is done with. */
static size_t conn_offer(struct conn *c, struct slice in)
{
	const struct conn_handler *h = c->handler;
	size_t need = 0;
	c->need = 0;
	ssize_t n = h->on_data(c, c->arg, in, &need);
	if (n < 0 || c->state >= CONN_FLUSHING)
		return in.n;
	assert((size_t)n <= in.n);
	if (c->handler != h && (size_t)n < in.n) {
		c->offer = true; /* the rest is for the new handler */
		conn_queue(c);
	} else if (need > in.n - (size_t)n) {
		c->need = need < UINT32_MAX ? (uint32_t)need : UINT32_MAX;
	}
	return (size_t)n;
}

/* Keeps what was not consumed: of total unread bytes, the last fresh ones are not in the tail yet.
 */
static void tail_keep(struct conn *c, const uint8_t *fresh, size_t n_fresh, size_t consumed)
{
	size_t had = buf_len(&c->tail);
	size_t from_tail = consumed < had ? consumed : had;
	size_t from_fresh = consumed - from_tail;
	buf_consume(&c->tail, from_tail);
	if (from_fresh < n_fresh &&
	        buf_append(&c->tail, fresh + from_fresh, n_fresh - from_fresh) < 0)
		conn_abort(c, END_INTERNAL);
}

/* After an offer: an end that came with the bytes, and the cap on what stays unread. */
static void conn_offered(struct conn *c)
{
	if (c->state != CONN_OPEN || c->pauses > 0 || c->offer)
		return;
	if (c->gone)
		conn_close(c, c->why);
	else if (buf_len(&c->tail) > c->in_cap)
		conn_close(c, END_TOO_LARGE);
}

/* The tail goes before the fresh bytes in the loop's buffer, so that most packets that were cut in
 * two need no buffer that grows. */
static void read_short(struct conn *c)
{
	uint8_t *in = c->nl->in;
	size_t had = buf_len(&c->tail);
	size_t n = fresh_read(c, in + NET_TAIL_INLINE);
	if (n == 0)
		return;
	metric_add(METRIC_BYTES_IN, (int64_t)n);
	size_t consumed = 0;
	if (may_offer(c, had + n)) {
		uint8_t *start = in + NET_TAIL_INLINE - had;
		struct slice tail = buf_slice(&c->tail);
		if (tail.p)
			memcpy(start, tail.p, tail.n);
		consumed = conn_offer(c, slice_make(start, had + n));
	}
	tail_keep(c, in + NET_TAIL_INLINE, n, consumed);
}

/* A long tail is read on where it lies. */
static void read_long(struct conn *c)
{
	uint8_t *p = buf_reserve(&c->tail, NET_READ_ROOM);
	if (!p) {
		conn_abort(c, END_INTERNAL);
		return;
	}
	size_t n = fresh_read(c, p);
	if (n == 0)
		return;
	metric_add(METRIC_BYTES_IN, (int64_t)n);
	buf_added(&c->tail, n);
	if (may_offer(c, buf_len(&c->tail)))
		buf_consume(&c->tail, conn_offer(c, buf_slice(&c->tail)));
}

static void discard(struct conn *c)
{
	conn_socket_read(c, c->nl->stage_data, NET_READ_SIZE);
	if (c->gone)
		conn_die(c);
}

/* Something came in a pause. It stays where it is, unless it is the peer's end with nothing before
 * it that is still to be read. */
static void paused_readable(struct conn *c)
{
	struct pollfd p = {.fd = c->fd, .events = POLLRDHUP};
	int unread = 0;
	conn_arm_strictly(c);
	if (c->state != CONN_OPEN || c->gone || poll(&p, 1, 0) <= 0)
		return;
	if (p.revents & (POLLERR | POLLHUP)) {
		conn_abort(c, END_PEER_RESET);
	} else if (buf_len(&c->tail) == 0 && ioctl(c->fd, FIONREAD, &unread) == 0 && unread == 0) {
		conn_gone(c, END_PEER_CLOSED);
		conn_close(c, END_PEER_CLOSED);
	}
}

void conn_readable(struct conn *c)
{
	loop_note_work(c->nl->loop, &c->seen);
	if (c->state == CONN_LINGERING) {
		discard(c);
		return;
	}
	if (c->state == CONN_PROXY) {
		conn_proxy_readable(c);
		return;
	}
	/* A handshake costs as much as thousands of messages: past some of them in one turn the
	 * others wait, unread, so that a storm of new connections does not hold up those that are
	 * open. */
	if (c->state == CONN_HANDSHAKE) {
		if (c->nl->handshakes >= HANDSHAKES_A_TURN)
			return;
		c->nl->handshakes++;
	}
	bool reading = c->state == CONN_HANDSHAKE ||
	        (c->state == CONN_OPEN && c->pauses == 0 && !c->gone);
	if (!reading) {
		paused_readable(c);
		return;
	}
	if (buf_len(&c->tail) <= NET_TAIL_INLINE)
		read_short(c);
	else
		read_long(c);
	if (c->state == CONN_HANDSHAKE && c->gone)
		conn_close(c, c->why);
	conn_offered(c);
	if (c->tail.size > 0 || c->partial)
		partial_note(c);
}

void conn_offer_tail(struct conn *c)
{
	struct slice in = buf_slice(&c->tail);
	if (may_offer(c, in.n))
		buf_consume(&c->tail, conn_offer(c, in));
	conn_offered(c);
	if (c->tail.size > 0 || c->partial)
		partial_note(c);
}
