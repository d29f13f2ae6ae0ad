#include "server/net/conn.h"

#include <arpa/inet.h>
#include <assert.h>
#include <stdio.h>
#include <unistd.h>

#include "server/base/cleanup.h"
#include "server/base/err.h"
#include "server/base/log.h"
#include "server/base/metrics.h"
#include "server/net/private.h"
#include "server/net/tls.h"
#include "server/net/ws.h"

#define DEFAULT_LOW_WATER 65536

/* ---- the event ---- */

static void on_event(HF_UNUSED evutil_socket_t fd, short what, void *arg)
{
	struct conn *c = arg;
	if (what & EV_WRITE) {
		c->blocked = false;
		conn_flush(c);
		conn_queue(c);
	}
	if (what & (EV_READ | EV_CLOSED))
		conn_readable(c);
}

static short events_wanted(const struct conn *c)
{
	short want = c->blocked ? EV_WRITE : 0;
	switch ((enum conn_state)c->state) {
	case CONN_PROXY:
	case CONN_HANDSHAKE:
	case CONN_LINGERING: return (short)(want | EV_READ);
	case CONN_OPEN:
		if (c->pauses == 0 || c->gone)
			return c->gone ? want : (short)(want | EV_READ);
		/* In a pause only what is new is told, once: that may be the peer's end. While
		 * output waits too, a reset shows as writable. */
		return want ? want : EV_READ | EV_CLOSED | EV_ET;
	case CONN_FLUSHING: return want;
	case CONN_MOVING:
	case CONN_DEAD: return 0;
	}
	return 0;
}

static void arm_for(struct conn *c, short want)
{
	if (want == c->armed)
		return;
	if (c->armed)
		event_del(&c->ev);
	c->armed = 0;
	if (!want)
		return;
	event_assign(&c->ev, loop_event_base(c->nl->loop), c->fd, (short)(want | EV_PERSIST),
	        on_event, c);
	if (event_add(&c->ev, NULL) == 0)
		c->armed = (uint8_t)want;
	else
		conn_abort(c, END_INTERNAL);
}

void conn_arm(struct conn *c)
{
	bool reads = (c->armed & (EV_READ | EV_WRITE)) == EV_READ;
	if (c->state == CONN_OPEN && c->pauses > 0 && !c->blocked && reads)
		return;
	conn_arm_strictly(c);
}

void conn_arm_strictly(struct conn *c)
{
	arm_for(c, events_wanted(c));
}

void conn_queue(struct conn *c)
{
	if (c->queued)
		return;
	c->queued = true;
	c->next_work = NULL;
	*c->nl->work_last = c;
	c->nl->work_last = &c->next_work;
}

static void conn_unlink(struct conn *c)
{
	if (c->nl->recheck_next == c)
		c->nl->recheck_next = c->next;
	*c->prev = c->next;
	if (c->next)
		c->next->prev = c->prev;
}

static void conn_link(struct conn *c)
{
	c->next = c->nl->conns;
	c->prev = &c->nl->conns;
	if (c->next)
		c->next->prev = &c->next;
	c->nl->conns = c;
}

void conn_tell(struct conn *c)
{
	c->told = true;
	partial_end(c);
	buf_wipe(&c->tail);
	metric_inc_by(METRIC_CONNECTIONS_ENDED, c->why);
	char peer[CONN_PEER_LEN];
	conn_peer(c, peer);
	if (end_is_error(c->why))
		log_info("connection ended", F_U64("conn", c->id), F_STR("peer", peer),
		        F_STR("reason", end_name(c->why)));
	else
		log_debug("connection ended", F_U64("conn", c->id), F_STR("peer", peer),
		        F_STR("reason", end_name(c->why)));
	if (c->handler && c->handler->on_closed)
		c->handler->on_closed(c, c->arg, c->why);
	c->handler = NULL;
	c->arg = NULL;
}

void conn_die(struct conn *c)
{
	if (c->armed)
		event_del(&c->ev);
	c->armed = 0;
	loop_timer_cancel(&c->timer);
	conn_drop_output(c);
	partial_end(c);
	buf_wipe(&c->tail);
	ws_free(c);
	tls_conn_free(c);
	c->certificate = cert_chain_unref(c->certificate);
	close(c->fd);
	c->fd = -1;
	conn_unlink(c);
	listener_count(c, -1);
	conn_known(c);
	atomic_fetch_sub_explicit(&c->nl->net->connections, 1, memory_order_relaxed);
	metric_add(METRIC_CONNECTIONS, -1);
	c->state = CONN_DEAD;
	conn_queue(c);
}

/* Output is out, or nobody is there to take it: says goodbye and waits for the peer's end, so that
 * bytes still on their way to us cannot reset what the peer has yet to read. */
static void conn_finish(struct conn *c)
{
	if (c->hard) {
		conn_die(c);
		return;
	}
	if (c->ws && !c->out && !c->wire && ws_goodbye(c))
		conn_flush(c);
	if (c->hard) {
		conn_die(c);
		return;
	}
	if (conn_has_output(c) || c->wire)
		return;
	if (c->ssl && !c->notified) {
		c->notified = true;
		tls_close_notify(c);
		if (c->wire)
			return;
	}
	if (c->gone || shutdown(c->fd, SHUT_WR) < 0) {
		conn_die(c);
		return;
	}
	c->state = CONN_LINGERING;
	c->blocked = false;
	loop_timer_set(c->nl->loop, &c->timer, CONN_LINGER_MS);
}

static void on_timer(struct loop_timer *t, HF_UNUSED struct loop *loop)
{
	struct conn *c = container_of(t, struct conn, timer);
	if (c->state <= CONN_HANDSHAKE)
		conn_abort(c, END_HANDSHAKE_TIMEOUT);
	else
		conn_die(c);
}

static void timer_init(struct conn *c)
{
	memset(&c->timer, 0, sizeof(c->timer));
	c->timer.fire = on_timer;
}

/* ---- moving to another loop ---- */

static void conn_arrive(struct mail *m)
{
	struct conn *c = container_of(m, struct conn, mail);
	void (*moved)(struct conn * c, void *arg) = c->moved;
	timer_init(c);
	conn_link(c);
	c->state = CONN_OPEN;
	c->offer = true;
	conn_queue(c);
	moved(c, c->arg);
	conn_recheck(c); /* neither loop's walk may have met it */
}

static void conn_depart(struct conn *c)
{
	conn_arm_strictly(c); /* takes the event off */
	partial_end(c);
	conn_unlink(c);
	c->nl = c->to;
	c->mail.deliver = conn_arrive;
	mail_post(loop_mailbox(c->nl->loop), &c->mail);
}

void conn_move(struct conn *c, struct loop *to, void (*moved)(struct conn *c, void *arg))
{
	loop_assert_here(c->nl->loop);
	assert(c->state == CONN_OPEN || c->state >= CONN_FLUSHING);
	if (c->state != CONN_OPEN)
		return;
	if (to == c->nl->loop) {
		moved(c, c->arg);
		return;
	}
	c->state = CONN_MOVING;
	conn_queue(c);
	loop_timer_cancel(&c->timer);
	c->moved = moved;
	c->to = c->nl->net->loops[loop_index(to)];
}

/* ---- the end of the turn ---- */

void conn_turn_end(struct conn *c)
{
	if (c->state == CONN_DEAD) {
		free(c);
		return;
	}
	if (c->offer) {
		c->offer = false;
		conn_offer_tail(c);
	}
	if (c->state == CONN_MOVING) {
		/* Moved just now it is on the work list again, which it must be off before. */
		if (!c->queued)
			conn_depart(c);
		return;
	}
	if ((conn_has_output(c) || c->wire) && !c->blocked)
		conn_flush(c);
	if (c->state >= CONN_FLUSHING && !c->told)
		conn_tell(c);
	if (c->state == CONN_FLUSHING)
		conn_finish(c);
	if (c->state == CONN_FLUSHING && !loop_timer_armed(&c->timer))
		loop_timer_set(c->nl->loop, &c->timer, CONN_FLUSH_MS);
	conn_arm(c);
}

/* ---- beginning ---- */

static void peer_set(struct conn *c, const struct sockaddr_storage *peer)
{
	if (peer->ss_family == AF_INET6) {
		const struct sockaddr_in6 *a = (const struct sockaddr_in6 *)peer;
		memcpy(c->peer_ip, &a->sin6_addr, sizeof(a->sin6_addr));
		c->peer_port = ntohs(a->sin6_port);
		c->peer_v6 = true;
	} else {
		const struct sockaddr_in *a = (const struct sockaddr_in *)peer;
		memcpy(c->peer_ip, &a->sin_addr, sizeof(a->sin_addr));
		c->peer_port = ntohs(a->sin_port);
	}
}

void conn_opened(struct conn *c)
{
	loop_timer_cancel(&c->timer);
	c->state = CONN_OPEN;
	listener_opened(c);
	if (c->state == CONN_OPEN && !c->handler)
		conn_abort(c, END_INTERNAL);
}

void conn_start(struct conn *c)
{
	c->state = CONN_HANDSHAKE;
	if (!listener_is_tls(c->listener))
		conn_opened(c);
}

int conn_begin(struct net_loop *nl, struct listener *l, int fd, const struct sockaddr_storage *peer)
{
	struct conn *c = calloc(1, sizeof(*c));
	if (!c) {
		close(fd);
		return ERR_NOMEM;
	}
	c->stranger = !listener_is_proxied(l);
	c->nl = nl;
	c->listener = l;
	c->fd = fd;
	c->state = CONN_PROXY;
	c->protocol = (uint8_t)listener_protocol(l);
	c->low_water = DEFAULT_LOW_WATER;
	c->id = atomic_fetch_add_explicit(&nl->net->next_id, 1, memory_order_relaxed);
	c->opened_ms = loop_now_ms(nl->loop);
	peer_set(c, peer);
	listener_count(c, 1);
	timer_init(c);
	conn_link(c);
	atomic_fetch_add_explicit(&nl->net->connections, 1, memory_order_relaxed);
	metric_inc(METRIC_CONNECTIONS_ACCEPTED);
	metric_add(METRIC_CONNECTIONS, 1);
	loop_timer_set(nl->loop, &c->timer,
	        atomic_load_explicit(&nl->net->handshake_ms, memory_order_relaxed));
	if (!listener_is_proxied(l))
		conn_start(c);
	conn_arm(c);
	return 0;
}

/* ---- ending ---- */

static void conn_end(struct conn *c, enum end_reason why)
{
	if (c->state == CONN_MOVING)
		timer_init(c); /* the same memory holds the mail */
	loop_timer_cancel(&c->timer);
	c->state = CONN_FLUSHING;
	c->why = (uint8_t)why;
	conn_queue(c);
}

void conn_close(struct conn *c, enum end_reason why)
{
	loop_assert_here(c->nl->loop);
	if (c->state < CONN_FLUSHING)
		conn_end(c, why);
}

void conn_abort(struct conn *c, enum end_reason why)
{
	loop_assert_here(c->nl->loop);
	if (c->state == CONN_DEAD)
		return;
	c->hard = true;
	c->blocked = false;
	conn_drop_output(c);
	if (c->state < CONN_FLUSHING)
		conn_end(c, why);
	else if (c->state == CONN_LINGERING)
		conn_die(c);
	else
		conn_queue(c);
}

/* ---- what the protocol on top asks for ---- */

void conn_set_handler(struct conn *c, const struct conn_handler *h, void *arg, size_t in_cap)
{
	loop_assert_here(c->nl->loop);
	if (c->state >= CONN_FLUSHING)
		return;
	c->handler = h;
	c->arg = arg;
	c->in_cap = in_cap < UINT32_MAX / 2 ? (uint32_t)in_cap : UINT32_MAX / 2;
	c->need = 0;
	/* A paused connection keeps what one more read brought. */
	c->tail.cap = c->in_cap + 2 * NET_READ_ROOM + NET_TAIL_INLINE;
}

void conn_set_low_water(struct conn *c, size_t bytes)
{
	c->low_water = bytes < UINT32_MAX ? (uint32_t)bytes : UINT32_MAX;
}

void conn_pause(struct conn *c)
{
	loop_assert_here(c->nl->loop);
	assert(c->pauses < UINT16_MAX);
	c->pauses++;
}

void conn_resume(struct conn *c)
{
	loop_assert_here(c->nl->loop);
	assert(c->pauses > 0);
	if (--c->pauses > 0 || c->state != CONN_OPEN)
		return;
	c->offer = true;
	conn_queue(c);
}

bool conn_paused(const struct conn *c)
{
	return c->pauses > 0;
}

/* ---- what there is to know ---- */

struct loop *conn_loop(const struct conn *c)
{
	return c->nl->loop;
}

void *conn_arg(const struct conn *c)
{
	return c->arg;
}

bool conn_is_tls(const struct conn *c)
{
	return c->ssl != NULL;
}

enum net_protocol conn_protocol(const struct conn *c)
{
	return c->protocol;
}

struct cert_chain *conn_certificate(struct conn *c)
{
	if (!c->certificate)
		c->certificate = tls_peer_chain(c);
	return c->certificate;
}

struct slice conn_server_name(const struct conn *c)
{
	return tls_server_name(c);
}

const char *conn_tls_version(const struct conn *c)
{
	return tls_version(c);
}

bool conn_is_loopback_plain(const struct conn *c)
{
	return !listener_is_tls(c->listener) && listener_is_loopback(c->listener) &&
	        !listener_is_proxied(c->listener);
}

void conn_peer(const struct conn *c, char ret[static CONN_PEER_LEN])
{
	char ip[INET6_ADDRSTRLEN];
	inet_ntop(c->peer_v6 ? AF_INET6 : AF_INET, c->peer_ip, ip, sizeof(ip));
	snprintf(ret, CONN_PEER_LEN, c->peer_v6 ? "[%s]:%u" : "%s:%u", ip, c->peer_port);
}

uint64_t conn_opened_ms(const struct conn *c)
{
	return c->opened_ms;
}

uint64_t conn_id(const struct conn *c)
{
	return c->id;
}
