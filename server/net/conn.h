/*
 * A connection: a non-blocking socket, TLS or not, owned by one loop. Bytes come up to a handler;
 * output is queued, gathered and written once at the end of the loop's turn. The protocol on top
 * (MQTT, HTTP) decides what bytes mean; this layer decides nothing but time-outs of the handshake.
 *
 * All calls on the connection's loop. A connection is freed by the layer itself after on_closed;
 * conn_close is safe inside every callback.
 */
#ifndef HF_NET_CONN_H
#define HF_NET_CONN_H

#include <sys/socket.h>
#include <sys/types.h>

#include "server/base/cert_chain.h"
#include "server/base/end.h"
#include "server/base/loop.h"
#include "server/base/msg.h"
#include "server/base/slice.h"

struct conn;
struct net;

/* What a connection speaks. */
enum net_protocol { NET_PROTOCOL_ANY, NET_PROTOCOL_MQTT, NET_PROTOCOL_HTTP };

struct conn_handler {
	/* Bytes are there: all that is unread so far. Returns how many were consumed (the rest is
	 * offered again together with what comes next), or -1 after conn_close. Never called while
	 * paused, before the handshake is done, or after conn_close. Set *ret_need to the total
	 * number of unread bytes that is needed before a further call makes sense (default: one
	 * more). */
	ssize_t (*on_data)(struct conn *c, void *arg, struct slice in, size_t *ret_need);
	/* The output queue fell below a quarter of what conn_set_low_water says; may be NULL. */
	void (*on_drained)(struct conn *c, void *arg);
	/* The connection is to end for a reason of its transport's (an IP rule): say goodbye and
	 * call conn_close; may be NULL: it is closed without a word. */
	void (*on_end)(struct conn *c, void *arg, enum end_reason why);
	/* The last call: the connection is gone. Free arg here. */
	void (*on_closed)(struct conn *c, void *arg, enum end_reason why);
};

/* Installs or replaces the handler (HTTP upgrade). in_cap: largest number of unread bytes that are
 * kept; a peer that sends more without being consumed is closed with END_TOO_LARGE. */
void conn_set_handler(struct conn *c, const struct conn_handler *h, void *arg, size_t in_cap);

/* Queue output; nothing is written before the end of the turn. After conn_close: ignored.
 * conn_send copies p. conn_send_msg copies head (at most 64 bytes; longer ones are copied into
 * memory of their own) and keeps a reference on m for body, which must lie inside m. */
void conn_send(struct conn *c, const void *p, size_t n);
void conn_send_msg(struct conn *c, struct slice head, struct msg *m, struct slice body);
/* Unsent bytes. */
size_t conn_unsent(const struct conn *c);
/* When on_drained is called; 64 KiB if it is never set, 0: not at all. */
void conn_set_low_water(struct conn *c, size_t bytes);

/* Stops and resumes reading. Counted: as many resumes as pauses. Pings cannot be seen while paused.
 */
void conn_pause(struct conn *c);
void conn_resume(struct conn *c);
bool conn_paused(const struct conn *c);

/* Ends the connection: queued output is written first (up to 2 s, then dropped), unless hard.
 * on_closed is called from the loop later in this or the next turn, exactly once, with the first
 * reason given. Nothing is read any more. */
void conn_close(struct conn *c, enum end_reason why);
void conn_abort(struct conn *c, enum end_reason why); /* drops queued output */

/*
 * Hands the connection over to another loop: all events are taken off here, moved(c, arg) runs on
 * the other one and on_data goes on there with what was unread. Only with an empty output queue,
 * only before anything on this loop refers to it, and at most once in a turn. The handler must
 * return from on_data right after (consumed as usual). If to is this loop, moved is called from
 * here at once.
 */
void conn_move(struct conn *c, struct loop *to, void (*moved)(struct conn *c, void *arg));

/* Somebody on it has proved who he is: it counts no more among the strangers (net_admission). */
void conn_known(struct conn *c);

struct loop *conn_loop(const struct conn *c);
void *conn_arg(const struct conn *c);
bool conn_is_tls(const struct conn *c);
/* What is spoken: as ALPN has it, else the listener's own. */
enum net_protocol conn_protocol(const struct conn *c);
/* The client's certificate and what it sent with it: the first one's key is the peer's, nothing
 * else of them was looked at. Made when it is asked for the first time, then kept; borrowed,
 * whoever outlives the connection takes a reference. NULL: the client has shown none, or out of
 * memory. */
struct cert_chain *conn_certificate(struct conn *c);
/* The host name that the client asked for (SNI, RFC 6066 section 3), as it sent it; empty: none.
 * At most CONN_NAME_MAX bytes; a view of the connection. */
#define CONN_NAME_MAX 255
struct slice conn_server_name(const struct conn *c);
/* The request that opened its WebSocket, once: the caller's. NULL: there was none, or it is taken.
 */
struct http_opening *conn_take_opening(struct conn *c);
const char *conn_tls_version(const struct conn *c); /* "TLSv1.3", NULL when plain */
bool conn_is_loopback_plain(
        const struct conn *c); /* accepted on a plain loopback listener, and from no balancer */
/* "203.0.113.7:4711" or "[::1]:4711"; ret holds CONN_PEER_LEN. */
#define CONN_PEER_LEN 64
void conn_peer(const struct conn *c, char ret[static CONN_PEER_LEN]);
uint64_t conn_opened_ms(const struct conn *c);
/* A number unique in this process, for logs and REST. */
uint64_t conn_id(const struct conn *c);

#endif
