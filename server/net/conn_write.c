#include <errno.h>
#include <stdlib.h>
#include <sys/uio.h>

#include "server/base/err.h"
#include "server/base/metrics.h"
#include "server/net/private.h"
#include "server/net/tls.h"
#include "server/net/ws.h"

#define PIECE_SMALL (192 - sizeof(struct out_piece))
#define PIECE_LARGE (2048 - sizeof(struct out_piece))
#define FREE_SMALL_MAX 512
#define FREE_LARGE_MAX 256
/* A shorter body is copied: that is cheaper than a reference that other threads count too. */
#define BODY_COPY_MAX 512
#define HEAD_INLINE_MAX 64
#define CORK_MAX 1024
#define IOV_MAX_PIECES 64
/* What one connection may write in one turn; then the others get theirs. */
#define FLUSH_BUDGET (256 * 1024)

/* ---- pieces ---- */

static struct out_piece *piece_new(struct net_loop *nl, size_t want)
{
	size_t size = want;
	struct out_piece *p = NULL;
	if (want <= PIECE_SMALL) {
		size = PIECE_SMALL;
		p = nl->free_small;
		if (p) {
			nl->free_small = p->next;
			nl->n_free_small--;
		}
	} else if (want <= PIECE_LARGE) {
		size = PIECE_LARGE;
		p = nl->free_large;
		if (p) {
			nl->free_large = p->next;
			nl->n_free_large--;
		}
	}
	if (!p)
		p = malloc(sizeof(*p) + size);
	if (p)
		*p = (struct out_piece){.size = (uint32_t)size};
	return p;
}

static void piece_free(struct net_loop *nl, struct out_piece *p)
{
	msg_unref(p->msg);
	if (p->size == PIECE_SMALL && nl->n_free_small < FREE_SMALL_MAX) {
		p->next = nl->free_small;
		nl->free_small = p;
		nl->n_free_small++;
	} else if (p->size == PIECE_LARGE && nl->n_free_large < FREE_LARGE_MAX) {
		p->next = nl->free_large;
		nl->free_large = p;
		nl->n_free_large++;
	} else {
		free(p);
	}
}

static void pieces_free(struct out_piece *p)
{
	while (p) {
		struct out_piece *next = p->next;
		free(p);
		p = next;
	}
}

void net_loop_free_pieces(struct net_loop *nl)
{
	pieces_free(nl->free_small);
	pieces_free(nl->free_large);
	nl->free_small = nl->free_large = NULL;
	nl->n_free_small = nl->n_free_large = 0;
}

void conn_drop_output(struct conn *c)
{
	while (c->out) {
		struct out_piece *next = c->out->next;
		piece_free(c->nl, c->out);
		c->out = next;
	}
	c->out_last = NULL;
	c->out_bytes = 0;
	if (c->wire)
		piece_free(c->nl, c->wire);
	c->wire = NULL;
	c->corked = false;
}

/* ---- queueing ---- */

/* The last piece with room for at least one more byte, a new one otherwise. The first of a queue is
 * small, because most queues are one acknowledgement; those that grow go on in large ones. */
static struct out_piece *piece_for(struct conn *c, size_t n)
{
	struct out_piece *last = c->out_last;
	if (last && !last->msg && last->end < last->size)
		return last;
	size_t want = n;
	if (last && !last->msg && want < PIECE_LARGE)
		want = PIECE_LARGE;
	struct out_piece *p = piece_new(c->nl, want);
	if (!p) {
		conn_abort(c, END_INTERNAL);
		return NULL;
	}
	if (last)
		last->next = p;
	else
		c->out = p;
	c->out_last = p;
	return p;
}

static bool queue_bytes(struct conn *c, const uint8_t *p, size_t n)
{
	while (n > 0) {
		struct out_piece *piece = piece_for(c, n);
		if (!piece)
			return false;
		size_t room = piece->size - piece->end;
		size_t part = n < room ? n : room;
		memcpy(piece->data + piece->end, p, part);
		piece->end += (uint32_t)part;
		c->out_bytes += part;
		p += part;
		n -= part;
	}
	return true;
}

static void queued_output(struct conn *c)
{
	if (c->low_water && conn_unsent(c) >= c->low_water / 4)
		c->above = true;
	if (!c->blocked)
		conn_queue(c);
}

void conn_send(struct conn *c, const void *p, size_t n)
{
	loop_assert_here(c->nl->loop);
	if (n == 0 || c->state >= CONN_FLUSHING)
		return;
	if (n > UINT32_MAX / 2) {
		conn_abort(c, END_INTERNAL);
		return;
	}
	if (queue_bytes(c, p, n))
		queued_output(c);
}

void conn_send_msg(struct conn *c, struct slice head, struct msg *m, struct slice body)
{
	loop_assert_here(c->nl->loop);
	if (c->state >= CONN_FLUSHING)
		return;
	if (body.n <= BODY_COPY_MAX) {
		if (queue_bytes(c, head.p, head.n) && queue_bytes(c, body.p, body.n))
			queued_output(c);
		return;
	}
	if (head.n > 0 && !queue_bytes(c, head.p, head.n))
		return;
	struct out_piece *p = c->out_last;
	if (!p || p->msg) {
		p = piece_for(c, 0);
		if (!p)
			return;
	}
	p->msg = msg_ref(m);
	p->body = body.p;
	p->body_n = body.n;
	c->out_bytes += body.n;
	queued_output(c);
}

size_t conn_unsent(const struct conn *c)
{
	return c->out_bytes + (c->wire && !c->corked ? c->wire->end - c->wire->start : 0);
}

/* ---- writing ---- */

/* Drops n bytes from the front of the queue: they are written. */
static void out_advance(struct conn *c, size_t n)
{
	c->out_bytes -= n;
	while (c->out) {
		struct out_piece *p = c->out;
		size_t part = p->end - p->start;
		part = n < part ? n : part;
		p->start += (uint32_t)part;
		n -= part;
		part = n < p->body_n ? n : p->body_n;
		p->body_n -= part;
		p->body = part ? p->body + part : p->body;
		n -= part;
		if (p->start < p->end || p->body_n > 0)
			return;
		c->out = p->next;
		if (!c->out)
			c->out_last = NULL;
		piece_free(c->nl, p);
	}
}

static unsigned out_iov(const struct conn *c, struct iovec iov[static IOV_MAX_PIECES])
{
	unsigned n = 0;
	for (struct out_piece *p = c->out; p && n + 2 <= IOV_MAX_PIECES; p = p->next) {
		if (p->start < p->end)
			iov[n++] = (struct iovec){p->data + p->start, p->end - p->start};
		if (p->body_n > 0)
			iov[n++] = (struct iovec){(void *)(uintptr_t)p->body, p->body_n};
	}
	return n;
}

/* How many bytes the socket took; fewer than there are: it is full, or the connection is lost. */
static size_t socket_write(struct conn *c, struct iovec *iov, unsigned n_iov)
{
	struct msghdr m = {.msg_iov = iov, .msg_iovlen = n_iov};
	ssize_t n;
	do /* the kernel does less for one part */
		n = n_iov == 1 ? send(c->fd, iov->iov_base, iov->iov_len, MSG_NOSIGNAL)
		               : sendmsg(c->fd, &m, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n >= 0)
		return (size_t)n;
	if (errno != EAGAIN && errno != EWOULDBLOCK)
		conn_abort(c, END_PEER_RESET);
	return 0;
}

static size_t write_plain(struct conn *c)
{
	struct iovec iov[IOV_MAX_PIECES];
	unsigned n_iov = out_iov(c, iov);
	size_t want = 0;
	for (unsigned i = 0; i < n_iov; i++)
		want += iov[i].iov_len;
	size_t n = socket_write(c, iov, n_iov);
	if (c->hard)
		return 0;
	out_advance(c, n);
	c->blocked = n < want;
	return n;
}

/* Copies the first n bytes of the queue, which holds them. */
static void out_gather(const struct conn *c, uint8_t *to, size_t n)
{
	for (const struct out_piece *p = c->out; p && n > 0; p = p->next) {
		size_t part = p->end - p->start;
		part = part < n ? part : n;
		memcpy(to, p->data + p->start, part);
		to += part;
		n -= part;
		part = p->body_n < n ? p->body_n : n;
		if (part > 0)
			memcpy(to, p->body, part);
		to += part;
		n -= part;
	}
}

/* The next record's plaintext: where it lies if it is in one piece, else gathered. */
static struct slice out_record(struct conn *c)
{
	const struct out_piece *p = c->out;
	size_t n = c->out_bytes < NET_RECORD_SIZE ? c->out_bytes : NET_RECORD_SIZE;
	if (!p->next && p->body_n == 0)
		return slice_make(p->data + p->start, n);
	out_gather(c, c->nl->record, n);
	return slice_make(c->nl->record, n);
}

static size_t write_tls(struct conn *c)
{
	struct slice record = out_record(c);
	if (tls_write(c, record.p, record.n) < 0) {
		conn_abort(c, END_TLS_ERROR);
		return 0;
	}
	if (c->hard)
		return 0;
	out_advance(c, record.n);
	c->blocked = c->wire != NULL;
	return record.n;
}

/*
 * WebSocket: control frames that are due, then one frame with as much of the queue as a record
 * holds. Pieces know nothing of frames, so a message to many is encoded once here too.
 */
static size_t write_ws(struct conn *c)
{
	uint8_t *record = c->nl->record;
	size_t raw = ws_raw(c->ws), n = 0, room = NET_RECORD_SIZE, part = c->out_bytes;
	if (raw > 0) {
		part = raw < room ? raw : room;
		ws_raw_sent(c->ws, part);
	} else {
		n = ws_take_controls(c->ws, record);
		room -= n + WS_HEAD_MAX;
		part = part < room ? part : room;
		if (part > 0)
			n += ws_head(record + n, part);
	}
	out_gather(c, record + n, part);
	n += part;
	int r = c->ssl ? tls_write(c, record, n) : conn_wire_send(c, record, n);
	if (r < 0)
		conn_abort(c, c->ssl ? END_TLS_ERROR : END_INTERNAL);
	if (c->hard)
		return 0;
	out_advance(c, part);
	c->blocked = c->wire != NULL;
	return n;
}

static void wire_flush(struct conn *c)
{
	struct out_piece *w = c->wire;
	struct iovec iov = {w->data + w->start, w->end - w->start};
	size_t n = socket_write(c, &iov, 1);
	if (c->hard)
		return; /* conn_abort has dropped it */
	w->start += (uint32_t)n;
	c->corked = false;
	c->blocked = w->start < w->end;
	if (!c->blocked) {
		piece_free(c->nl, w);
		c->wire = NULL;
	}
}

static int wire_keep(struct conn *c, const uint8_t *p, size_t n)
{
	struct out_piece *old = c->wire;
	size_t had = old ? old->end - old->start : 0;
	if (had + n > NET_WIRE_MAX)
		return ERR_TOO_BIG;
	struct out_piece *w = piece_new(c->nl, had + n);
	if (!w)
		return ERR_NOMEM;
	if (had > 0)
		memcpy(w->data, old->data + old->start, had);
	memcpy(w->data + had, p, n);
	w->end = (uint32_t)(had + n);
	if (old)
		piece_free(c->nl, old);
	c->wire = w;
	c->blocked = true;
	return 0;
}

/* What ends a handshake, a session ticket above all, waits for the end of the turn: the client has
 * often sent its first request with its Finished, and the answer goes out with the ticket. */
static int wire_cork(struct conn *c, const uint8_t *p, size_t n)
{
	int r = wire_keep(c, p, n);
	c->corked = r == 0;
	c->blocked = false;
	return r;
}

/* One write for what waited and what comes behind it. */
static int wire_uncork(struct conn *c, const uint8_t *p, size_t n)
{
	int r = wire_keep(c, p, n);
	if (r == 0)
		wire_flush(c);
	return c->hard ? ERR_CLOSED : r;
}

int conn_wire_send(struct conn *c, const uint8_t *p, size_t n)
{
	size_t sent = 0;
	if (c->state == CONN_HANDSHAKE && (!c->wire || c->corked) && n <= CORK_MAX)
		return wire_cork(c, p, n);
	if (c->corked)
		return wire_uncork(c, p, n);
	if (!c->wire) {
		struct iovec iov = {(void *)(uintptr_t)p, n};
		sent = socket_write(c, &iov, 1);
		if (c->hard)
			return ERR_CLOSED;
	}
	return sent < n ? wire_keep(c, p + sent, n - sent) : 0;
}

bool conn_has_output(const struct conn *c)
{
	return c->out || (c->ws && ws_due(c->ws));
}

void conn_flush(struct conn *c)
{
	size_t written = 0;
	if (c->wire && !(c->corked && conn_has_output(c)))
		wire_flush(c);
	while (conn_has_output(c) && !c->blocked && written < FLUSH_BUDGET && !c->hard)
		written += c->ws ? write_ws(c) : c->ssl ? write_tls(c) : write_plain(c);
	if (written > 0)
		metric_add(METRIC_BYTES_OUT, (int64_t)written);
	/* Past the budget it goes on when the socket is seen writable, which it is. */
	if (conn_has_output(c) && !c->hard)
		c->blocked = true;
	if (c->above && conn_unsent(c) < c->low_water / 4) {
		c->above = false;
		if (c->state == CONN_OPEN && c->handler && c->handler->on_drained)
			c->handler->on_drained(c, c->arg);
	}
}
