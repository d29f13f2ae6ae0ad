/*
 * What the files of this room share and nobody else sees: the connection, the part of the room that
 * each loop owns, and the output queue. Everything is for the loop's own thread.
 */
#ifndef HF_NET_PRIVATE_H
#define HF_NET_PRIVATE_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <netinet/in.h>
#include <stdatomic.h>

#include "server/base/buf.h"
#include "server/base/tally.h"
#include "server/net/net.h"

/* One recv a turn and connection: enough for some 70 small messages, and so little that a client
 * that is paused with all of it unread costs no more than this. */
#define NET_READ_SIZE 16384
/* What one read can become: the bytes of the read, and a TLS record that was all but complete. */
#define NET_READ_ROOM (NET_READ_SIZE + 18 * 1024)
/* Unread bytes up to this are put before the fresh ones, more are read on where they lie. */
#define NET_TAIL_INLINE 16384
#define NET_RECORD_SIZE 16384 /* plaintext of a TLS record (RFC 8446 section 5.1) */
#define NET_WIRE_MAX 65536 /* ciphertext that the socket did not take; a record at most in fact */

#define NET_LOOPS_MAX 64

#define CONN_FLUSH_MS 2000  /* for queued output after conn_close */
#define CONN_LINGER_MS 1000 /* for the peer to take the end and close too */

struct listener;
struct partial;
struct tls;
struct ws;
struct ws_reader;

/*
 * A piece of output: bytes [start, end) of data, then a part of a message. A small one holds an
 * acknowledgement or a head, large ones a stream of them; both come from the loop's free lists.
 */
struct out_piece {
	struct out_piece *next;
	struct msg *msg; /* NULL: no body */
	const uint8_t *body;
	size_t body_n;
	uint32_t size, start, end; /* of data; size is the capacity */
	uint8_t data[];
};

enum conn_state {
	CONN_PROXY,     /* the balancer's header; no handler yet */
	CONN_HANDSHAKE, /* TLS; no handler yet */
	CONN_OPEN,
	CONN_MOVING,    /* to another loop; nothing here touches it */
	CONN_FLUSHING,  /* conn_close was called; output is still written */
	CONN_LINGERING, /* our side is shut; the peer's bytes are thrown away */
	CONN_DEAD,      /* freed when it comes off the work list */
};

struct conn {
	struct event ev;
	struct net_loop *nl;
	struct conn *next, **prev; /* of the loop */
	struct conn *next_work;
	const struct conn_handler *handler;
	void *arg;
	void *ssl;                      /* tls.c's; NULL when plain, and before the first byte */
	struct ws *ws;                  /* ws.c's; NULL unless WebSocket is spoken */
	struct cert_chain *certificate; /* conn_certificate's; NULL until it is asked for */
	struct listener *listener;
	struct buf tail;         /* unread bytes, only while there are some */
	struct partial *partial; /* partial.c's, while the tail is long */
	struct out_piece *out, *out_last;
	struct out_piece *wire; /* ciphertext that the socket did not take */
	size_t out_bytes;       /* in out */
	union {
		struct loop_timer timer; /* handshake, flush, linger */
		struct {                 /* while CONN_MOVING */
			struct mail mail;
			void (*moved)(struct conn *c, void *arg);
			struct net_loop *to;
		};
	};
	uint64_t id, opened_ms;
	uint32_t in_cap, need, low_water;
	int fd;
	uint8_t peer_ip[16]; /* IPv4 in the first four */
	uint16_t peer_port;  /* host order */
	uint16_t pauses;
	uint8_t state;    /* enum conn_state */
	uint8_t why;      /* enum end_reason, once it ends */
	uint8_t protocol; /* enum net_protocol */
	uint8_t armed;    /* EV_READ, EV_WRITE: what the event waits for */
	uint8_t seen;     /* the loop's mark: when it was read */
	bool peer_v6 : 1;
	bool stranger : 1; /* was admitted, and the admission has not been told more */
	bool tallied : 1;  /* counts among the connections of its address */
	bool queued : 1;   /* on the work list */
	bool offer : 1;    /* unread bytes are to be offered without a read */
	bool blocked : 1;  /* the socket took no more; the write event goes on */
	bool corked : 1;   /* the wire waits for the end of the turn, not for the socket */
	bool above : 1;    /* output rose past a quarter of low_water */
	bool gone : 1;     /* the peer has closed or the read failed: why says it */
	bool hard : 1;     /* no flush, no goodbye */
	bool told : 1;     /* on_closed has run */
	bool notified : 1; /* close_notify is out */
};

struct net_loop {
	struct net *net;
	struct loop *loop;
	struct loop_hook hook;
	struct event wake; /* makes the loop turn again at once */
	struct conn *conns;
	struct conn *work, **work_last; /* those that the end of the turn looks at */
	struct out_piece *free_small, *free_large;
	unsigned n_free_small, n_free_large;
	unsigned handshakes;                       /* gone on with in this turn */
	struct partial *partials, **partials_last; /* partial.c's */
	size_t partial_bytes;
	struct ws_reader *free_readers;
	unsigned n_free_readers;
	/* Accepting: wanted by any thread, applied by mail. */
	struct mail accept_mail;
	atomic_bool accept_posted;
	atomic_int accept_wanted;
	/* Asking about everybody again: wanted by any thread, done by mail, a slice a turn. */
	struct mail recheck_mail;
	atomic_bool recheck_posted, recheck_wanted;
	struct conn *recheck_next; /* the next one to be asked about; NULL: all were */
	int reserve_fd; /* given up to refuse a connection when descriptors have run out */
	struct loop_timer accept_timer;
	/* Ciphertext of the connection that is being read; always used up within the read. */
	struct slice stage;
	uint8_t stage_data[NET_READ_SIZE];
	uint8_t in[NET_TAIL_INLINE + NET_READ_ROOM];
	uint8_t record[NET_RECORD_SIZE];
};

struct net {
	struct net_admission admission;
	unsigned n_loops;
	struct net_loop *loops[NET_LOOPS_MAX];
	struct tls *tls;
	struct listener *listeners;
	atomic_size_t connections, max_connections, listener_connections, address_connections;
	struct tally *addresses;     /* connections of each */
	atomic_size_t partial_bytes; /* over all loops, an equal part for each */
	atomic_uint handshake_ms;
	atomic_uint_fast64_t next_id;
};

/* conn.c: begins a connection on an accepted socket, which it owns from here on. Unless a
 * balancer's it was admitted (net_admit) and counts as a stranger. 0 or ERR_NOMEM. */
int conn_begin(
        struct net_loop *nl, struct listener *l, int fd, const struct sockaddr_storage *peer);
/* Has the end of the turn look at it. */
void conn_queue(struct conn *c);
/* The end of the turn for one connection: offers, writes, ends, frees. */
void conn_turn_end(struct conn *c);
/* Lets the event wait for what the connection's state needs. A pause alone leaves reading armed:
 * conn_arm_strictly changes it when the event comes nevertheless, so that a pause which ends before
 * the peer sends more costs no system call. */
void conn_arm(struct conn *c);
void conn_arm_strictly(struct conn *c);
/* Handshake done (or none needed): the listener's owner installs a handler. */
void conn_opened(struct conn *c);
/* The peer's address is known: TLS, or conn_opened. */
void conn_start(struct conn *c);
/* The end without on_closed or goodbye: socket and memory are given back. */
void conn_die(struct conn *c);
/* on_closed and what is counted with it. */
void conn_tell(struct conn *c);

/* conn_admit.c */
/* Whether the peer may connect; if so it counts as a stranger until conn_settle. END_NORMAL, or why
 * not. */
enum end_reason net_admit(struct net *net, const struct ip_addr *peer);
void net_settle(struct net *net, const struct ip_addr *peer);
/* The connection's peer, without the port. */
struct ip_addr conn_ip(const struct conn *c);
/* Asks about it, and ends it if it may not stay. */
void conn_recheck(struct conn *c);
void recheck_deliver(struct mail *m);

/* conn_read.c */
void conn_readable(struct conn *c);
/* One recv. 0 also when there is nothing, or when the peer has gone. */
size_t conn_socket_read(struct conn *c, uint8_t *p, size_t cap);
/* Notes that the peer's side is over. The connection ends once what it sent was offered. */
void conn_gone(struct conn *c, enum end_reason why);
/* Offers the unread bytes again, after a resume or a move. */
void conn_offer_tail(struct conn *c);

/* conn_proxy.c: reads in state CONN_PROXY. */
void conn_proxy_readable(struct conn *c);

/* partial.c: after the tail has changed, and before it moves to another loop or goes. */
void partial_note(struct conn *c);
void partial_end(struct conn *c);

/* conn_write.c */
void conn_flush(struct conn *c);
/* Whether there is something to write that is not on the wire yet. */
bool conn_has_output(const struct conn *c);
void conn_drop_output(struct conn *c);
/* Sends ciphertext, or keeps what the socket does not take. 0, ERR_CLOSED or ERR_NOMEM. */
int conn_wire_send(struct conn *c, const uint8_t *p, size_t n);
void net_loop_free_pieces(struct net_loop *nl);

/* listener.c */
void listeners_apply(struct net_loop *nl, bool on);
void listeners_free(struct net *net);
void listener_opened(struct conn *c);
/* Counts the connection (1) or counts it no more (-1) for its listener and, but for a balancer's,
 * for its address. */
void listener_count(struct conn *c, int n);
/* Counts it for the address that the balancer has told; false: that address has too many. */
bool listener_admits(struct conn *c);
bool listener_is_loopback(const struct listener *l);
bool listener_is_proxied(const struct listener *l);
bool listener_is_tls(const struct listener *l);
enum net_protocol listener_protocol(const struct listener *l);

#endif
