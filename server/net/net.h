/*
 * Listeners, TLS and the life of connections, over all loops.
 */
#ifndef HF_NET_NET_H
#define HF_NET_NET_H

#include "server/base/ip.h"
#include "server/base/loop.h"
#include "server/net/conn.h"

#define NET_ERROR_LEN 256

struct net;

struct net_limits {
	unsigned handshake_ms; /* for the TLS handshake */
	/* Memory for what has come in part, over all connections; past it the oldest ends. 0: no
	 * limit. */
	size_t partial_bytes;
	size_t max_connections;
	size_t listener_connections; /* of one listener; 0: no limit */
	size_t address_connections;  /* of one IPv4 address or IPv6 /64; 0: no limit */
};

/* loops: n of them, not running yet. NULL when out of memory. Main thread. */
struct net *net_new(struct loop *const *loops, unsigned n, const struct net_limits *limits);
void net_free(struct net *net); /* after all loops have stopped; closes what is left */
void net_set_limits(struct net *net, const struct net_limits *limits); /* any thread */

/*
 * Who may connect at all, judged by the address alone: asked on the connection's loop when it is
 * accepted, before TLS; behind a balancer once its header has told the address. END_NORMAL: let in,
 * else why not. A member that is NULL is not asked; none may block.
 */
struct net_admission {
	void *ctx;
	enum end_reason (*admit)(void *ctx, const struct ip_addr *peer);
	/* Once for everybody who was let in: is known by now (conn_known), or gone. */
	void (*settled)(void *ctx, const struct ip_addr *peer);
	/* Whether somebody who is connected may stay: asked of all by net_recheck. */
	enum end_reason (*still)(void *ctx, const struct ip_addr *peer);
};
/* Copies it. Main thread, before the loops run. */
void net_set_admission(struct net *net, const struct net_admission *a);
/* Asks admission->still of every connection, whatever it speaks, some hundred in each turn of each
 * loop, and ends those that may not stay. Any thread. */
void net_recheck(struct net *net);

/*
 * Server certificate and tickets. Loads and checks certificate chain and key (PEM files); on
 * success new handshakes use them on every loop, running connections go on. On failure everything
 * stays as it was. TLS 1.2 (ECDHE with AES-GCM or ChaCha20) and 1.3; a client certificate is asked
 * for and never required or verified against a chain here; no renegotiation, no compression, no
 * 0-RTT; stateless tickets whose keys rotate every ticket_rotation_s, the key before is honoured
 * once more. Any thread but one at a time. 0 or ERR_INVALID with error.
 */
int net_tls_load(struct net *net, const char *cert_file, const char *key_file,
        unsigned ticket_rotation_s, char error[static NET_ERROR_LEN]);

/*
 * A TLS listener lets the client choose by ALPN (RFC 7301), whatever its port: "mqtt" and
 * "x-amzn-mqtt-ca" for MQTT, "http/1.1" and "x-amzn-http-ca" for HTTP. Without a list, or with
 * unknown names alone, the listener's own protocol is spoken; NET_PROTOCOL_ANY answers no list.
 */
struct net_listener_spec {
	const char *address; /* "127.0.0.1:8883", "[::1]:0"; port 0: a free one */
	bool tls;
	enum net_protocol protocol;
	/*
	 * Connections come through a balancer and begin with a header of the PROXY protocol,
	 * version 2, which is then required; whoever connects from elsewhere than proxies is closed
	 * at once. The client's address in it is the connection's peer from there on. proxies:
	 * networks
	 * ("10.0.0.0/8", "192.0.2.1"), n_proxies of them; read in net_listen alone.
	 */
	bool proxy;
	char *const *proxies;
	unsigned n_proxies;
	/* A connection is there, handshake done (tls): install a handler. On its loop. */
	void (*on_accept)(struct conn *c, void *arg);
	void *arg;
};
/*
 * Opens a listener: a socket for each loop with SO_REUSEPORT; the address is bound once without it
 * first, so that one in use is an error. ret_port (may be NULL) gets the port. Accepting starts
 * when the loops run and net_accept(true) was called. Main thread, before the loops run. 0,
 * ERR_INVALID (address, networks), ERR_IO with error (in use, not permitted).
 */
int net_listen(struct net *net, const struct net_listener_spec *spec, unsigned *ret_port,
        char error[static NET_ERROR_LEN]);
/* Whether text is a network as net_listener_spec.proxies has them. Any thread. */
bool net_network_valid(const char *text);
/* Starts or stops accepting on all loops; stopping closes the listening sockets for good. Any
 * thread; takes effect in each loop's next turn. */
void net_accept(struct net *net, bool on);
/* Open connections in all. Any thread. */
size_t net_connections(const struct net *net);

#endif
