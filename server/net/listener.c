#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "server/base/cleanup.h"
#include "server/base/err.h"
#include "server/base/log.h"
#include "server/base/metrics.h"
#include "server/net/private.h"
#include "server/net/proxyv2.h"

#define BACKLOG 4096
#define ACCEPTS_A_TURN 32  /* each may start a TLS handshake: others must get their turn */
#define ACCEPT_REST_MS 100 /* without descriptors: as long as nobody is accepted */

/* One loop's socket of a listener. */
struct listener_socket {
	struct event ev;
	struct listener *listener;
	struct net_loop *nl;
	int fd;
	bool armed;
};

struct listener {
	struct listener *next;
	bool tls, loopback;
	enum net_protocol protocol;
	void (*on_accept)(struct conn *c, void *arg);
	void *arg;
	atomic_size_t connections;
	bool proxied;
	struct cidr *proxies; /* who may connect where proxied */
	unsigned n_proxies;
	unsigned n_sockets;
	struct listener_socket sockets[];
};

/* ---- opening ---- */

/* "a.b.c.d:port" or "[v6]:port", numbers alone. */
static int address_parse(const char *text, struct sockaddr_storage *ret, socklen_t *ret_len)
{
	char host[INET6_ADDRSTRLEN + 2];
	const char *colon = strrchr(text, ':');
	if (!colon || (size_t)(colon - text) >= sizeof(host))
		return ERR_INVALID;
	size_t n = (size_t)(colon - text);
	memcpy(host, text, n);
	host[n] = '\0';
	char *end;
	errno = 0;
	unsigned long port = strtoul(colon + 1, &end, 10);
	if (colon[1] < '0' || colon[1] > '9' || *end || errno || port > UINT16_MAX)
		return ERR_INVALID;
	memset(ret, 0, sizeof(*ret));
	if (host[0] == '[' && n > 2 && host[n - 1] == ']') {
		struct sockaddr_in6 *a = (struct sockaddr_in6 *)ret;
		host[n - 1] = '\0';
		a->sin6_family = AF_INET6;
		a->sin6_port = htons((uint16_t)port);
		*ret_len = sizeof(*a);
		return inet_pton(AF_INET6, host + 1, &a->sin6_addr) == 1 ? 0 : ERR_INVALID;
	}
	struct sockaddr_in *a = (struct sockaddr_in *)ret;
	a->sin_family = AF_INET;
	a->sin_port = htons((uint16_t)port);
	*ret_len = sizeof(*a);
	return inet_pton(AF_INET, host, &a->sin_addr) == 1 ? 0 : ERR_INVALID;
}

static bool address_is_loopback(const struct sockaddr_storage *a)
{
	if (a->ss_family == AF_INET6)
		return IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)a)->sin6_addr);
	return ntohl(((const struct sockaddr_in *)a)->sin_addr.s_addr) >> 24 == 127;
}

static int socket_option(int fd, int level, int option)
{
	const int on = 1;
	return setsockopt(fd, level, option, &on, sizeof(on));
}

/*
 * A bound, listening socket, or -1 with errno. The first socket of an address is bound before it
 * may share, so that an address in use is seen even where its owner would share it; it stays open,
 * so the port is never free in between. Accepted sockets inherit TCP_NODELAY.
 */
static int socket_open(struct sockaddr_storage *addr, socklen_t len, bool first)
{
	int fd = socket(addr->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	bool ok = socket_option(fd, SOL_SOCKET, SO_REUSEADDR) == 0 &&
	        socket_option(fd, IPPROTO_TCP, TCP_NODELAY) == 0 &&
	        (addr->ss_family != AF_INET6 ||
	                socket_option(fd, IPPROTO_IPV6, IPV6_V6ONLY) == 0) &&
	        (first || socket_option(fd, SOL_SOCKET, SO_REUSEPORT) == 0) &&
	        bind(fd, (struct sockaddr *)addr, len) == 0 &&
	        (!first || socket_option(fd, SOL_SOCKET, SO_REUSEPORT) == 0) &&
	        listen(fd, BACKLOG) == 0 &&
	        (!first || getsockname(fd, (struct sockaddr *)addr, &len) == 0);
	if (ok)
		return fd;
	int e = errno;
	close(fd);
	errno = e;
	return -1;
}

static void listener_close(struct listener *l)
{
	for (unsigned i = 0; i < l->n_sockets; i++) {
		if (l->sockets[i].fd >= 0)
			close(l->sockets[i].fd);
		l->sockets[i].fd = -1;
	}
}

static struct listener *listener_new(struct net *net, const struct net_listener_spec *spec)
{
	struct listener *l = calloc(1, sizeof(*l) + net->n_loops * sizeof(l->sockets[0]));
	if (!l)
		return NULL;
	l->tls = spec->tls;
	l->protocol = spec->protocol;
	l->on_accept = spec->on_accept;
	l->arg = spec->arg;
	l->n_sockets = net->n_loops;
	for (unsigned i = 0; i < l->n_sockets; i++) {
		l->sockets[i].listener = l;
		l->sockets[i].nl = net->loops[i];
		l->sockets[i].fd = -1;
	}
	return l;
}

static void listener_free(struct listener *l)
{
	free(l->proxies);
	free(l);
}

bool net_network_valid(const char *text)
{
	struct cidr net;
	return cidr_parse(text, &net) == 0;
}

static int proxies_read(
        struct listener *l, const struct net_listener_spec *spec, char error[static NET_ERROR_LEN])
{
	l->proxied = spec->proxy;
	if (!spec->proxy || spec->n_proxies == 0)
		return 0;
	l->proxies = calloc(spec->n_proxies, sizeof(*l->proxies));
	if (!l->proxies) {
		snprintf(error, NET_ERROR_LEN, "%s", err_text(ERR_NOMEM));
		return ERR_NOMEM;
	}
	for (; l->n_proxies < spec->n_proxies; l->n_proxies++) {
		const char *text = spec->proxies[l->n_proxies];
		if (cidr_parse(text, &l->proxies[l->n_proxies]) < 0) {
			snprintf(error, NET_ERROR_LEN, "%.100s is no network, as in 10.0.0.0/8",
			        text);
			return ERR_INVALID;
		}
	}
	return 0;
}

static int open_error(const char *address, int e, char error[static NET_ERROR_LEN])
{
	if (e == EADDRINUSE)
		snprintf(error, NET_ERROR_LEN, "address %s is in use", address);
	else if (e == EACCES)
		snprintf(error, NET_ERROR_LEN, "address %s: not permitted to use this port",
		        address);
	else if (e == EADDRNOTAVAIL)
		snprintf(error, NET_ERROR_LEN, "address %s is not one of this machine", address);
	else
		snprintf(error, NET_ERROR_LEN, "address %s: %s", address, strerror(e));
	return ERR_IO;
}

int net_listen(struct net *net, const struct net_listener_spec *spec, unsigned *ret_port,
        char error[static NET_ERROR_LEN])
{
	struct sockaddr_storage addr;
	socklen_t len;
	if (address_parse(spec->address, &addr, &len) < 0) {
		snprintf(error, NET_ERROR_LEN,
		        "address %.100s is not an IP address and a port, as in 127.0.0.1:8883 or "
		        "[::1]:8883",
		        spec->address);
		return ERR_INVALID;
	}
	struct listener *l = listener_new(net, spec);
	if (!l) {
		snprintf(error, NET_ERROR_LEN, "%s", err_text(ERR_NOMEM));
		return ERR_NOMEM;
	}
	int r = proxies_read(l, spec, error);
	if (r < 0) {
		listener_free(l);
		return r;
	}
	l->loopback = address_is_loopback(&addr);
	for (unsigned i = 0; i < l->n_sockets; i++) {
		l->sockets[i].fd = socket_open(&addr, len, i == 0);
		if (l->sockets[i].fd < 0) {
			int e = errno;
			listener_close(l);
			listener_free(l);
			return open_error(spec->address, e, error);
		}
	}
	l->next = net->listeners;
	net->listeners = l;
	if (ret_port)
		/* The port is at the same place in both families. */
		*ret_port = ntohs(((const struct sockaddr_in *)&addr)->sin_port);
	return 0;
}

/* ---- accepting ---- */

static void sockets_arm(struct net_loop *nl, bool on);

static void accept_again(struct loop_timer *t, HF_UNUSED struct loop *loop)
{
	sockets_arm(container_of(t, struct net_loop, accept_timer), true);
}

/*
 * No descriptors: the one kept in reserve is given up to take the first in the queue and close it,
 * so that it does not wait for ever; then nobody is accepted for a moment, because the listening
 * sockets stay readable and the loop would spin.
 */
static void accept_exhausted(struct listener_socket *s)
{
	struct net_loop *nl = s->nl;
	log_warn("no file descriptors left: connections wait");
	metric_inc_by(METRIC_CONNECTIONS_ENDED, END_LIMIT);
	if (nl->reserve_fd >= 0) {
		close(nl->reserve_fd);
		int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC);
		if (fd >= 0)
			close(fd);
	}
	nl->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	sockets_arm(nl, false);
	loop_timer_set(nl->loop, &nl->accept_timer, ACCEPT_REST_MS);
}

static struct ip_addr peer_ip(const struct sockaddr_storage *peer)
{
	struct ip_addr ip = {.v6 = peer->ss_family == AF_INET6};
	if (ip.v6)
		memcpy(ip.bytes, &((const struct sockaddr_in6 *)peer)->sin6_addr, 16);
	else
		memcpy(ip.bytes, &((const struct sockaddr_in *)peer)->sin_addr, 4);
	return ip;
}

static void tally(struct conn *c, int n)
{
	struct ip_addr ip = conn_ip(c);
	c->tallied = n > 0;
	tally_add(c->nl->net->addresses, ip_shared(&ip), n);
}

void listener_count(struct conn *c, int n)
{
	atomic_fetch_add_explicit(&c->listener->connections, (size_t)n, memory_order_relaxed);
	if (n > 0 ? !c->listener->proxied : c->tallied)
		tally(c, n);
}

static size_t load(const atomic_size_t *v)
{
	return atomic_load_explicit(v, memory_order_relaxed);
}

/* Whether one more is too many, and of what. */
static bool too_many(
        const struct listener_socket *s, const struct ip_addr *peer, enum end_reason *ret)
{
	const struct net *net = s->nl->net;
	size_t of_listener = load(&net->listener_connections),
	       of_address = load(&net->address_connections);
	if (load(&net->connections) >= load(&net->max_connections))
		*ret = END_LIMIT;
	else if (of_listener && load(&s->listener->connections) >= of_listener)
		*ret = END_LISTENER_LIMIT;
	/* Through a balancer the client's address counts, which is not known yet. */
	else if (of_address && !s->listener->proxied &&
	        tally_sum(net->addresses, ip_shared(peer)) >= (int64_t)of_address)
		*ret = END_ADDRESS_LIMIT;
	else
		return false;
	return true;
}

bool listener_admits(struct conn *c)
{
	const struct net *net = c->nl->net;
	size_t most = load(&net->address_connections);
	struct ip_addr ip = conn_ip(c);
	if (most && tally_sum(net->addresses, ip_shared(&ip)) >= (int64_t)most)
		return false;
	tally(c, 1);
	return true;
}

/* Whether it may connect there at all. */
static bool trusted(const struct listener *l, const struct ip_addr *peer)
{
	for (unsigned i = 0; i < l->n_proxies; i++)
		if (cidr_has(&l->proxies[i], peer->v6, peer->bytes))
			return true;
	return !l->proxied;
}

/* Without a connection, and without a DISCONNECT: nobody has said yet what is spoken. */
static void turn_away(int fd, const struct ip_addr *peer, enum end_reason why)
{
	char ip[IP_TEXT_LEN];
	log_warn("connection refused", F_STR("peer", ip_text(peer, ip)),
	        F_STR("reason", end_name(why)));
	metric_inc_by(METRIC_CONNECTIONS_ENDED, why);
	close(fd);
}

/* A balancer's connection is judged by the client's address, which is not known yet. */
static enum end_reason judge(const struct listener_socket *s, const struct ip_addr *peer)
{
	enum end_reason why;
	if (!trusted(s->listener, peer))
		return END_PROXY_UNTRUSTED;
	if (too_many(s, peer, &why))
		return why;
	return s->listener->proxied ? END_NORMAL : net_admit(s->nl->net, peer);
}

static void on_acceptable(HF_UNUSED evutil_socket_t lfd, HF_UNUSED short what, void *arg)
{
	struct listener_socket *s = arg;
	for (int i = 0; i < ACCEPTS_A_TURN; i++) {
		struct sockaddr_storage peer = {0};
		socklen_t len = sizeof(peer);
		int fd = accept4(
		        s->fd, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0) {
			if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS ||
			        errno == ENOMEM)
				accept_exhausted(s);
			if (errno == EAGAIN || errno == EMFILE || errno == ENFILE ||
			        errno == ENOBUFS || errno == ENOMEM)
				return;
			continue; /* the peer has gone already, or its network failed */
		}
		struct ip_addr ip = peer_ip(&peer);
		enum end_reason why = judge(s, &ip);
		if (why != END_NORMAL) {
			turn_away(fd, &ip, why);
			continue;
		}
		if (conn_begin(s->nl, s->listener, fd, &peer) < 0) {
			if (!s->listener->proxied)
				net_settle(s->nl->net, &ip);
			return;
		}
	}
}

static void sockets_arm(struct net_loop *nl, bool on)
{
	for (struct listener *l = nl->net->listeners; l; l = l->next) {
		struct listener_socket *s = &l->sockets[loop_index(nl->loop)];
		if (s->fd < 0 || s->armed == on)
			continue;
		if (on) {
			event_assign(&s->ev, loop_event_base(nl->loop), s->fd, EV_READ | EV_PERSIST,
			        on_acceptable, s);
			s->armed = event_add(&s->ev, NULL) == 0;
		} else {
			event_del(&s->ev);
			s->armed = false;
		}
	}
}

void listeners_apply(struct net_loop *nl, bool on)
{
	nl->accept_timer.fire = accept_again;
	sockets_arm(nl, on);
	if (on)
		return;
	loop_timer_cancel(&nl->accept_timer);
	for (struct listener *l = nl->net->listeners; l; l = l->next) {
		struct listener_socket *s = &l->sockets[loop_index(nl->loop)];
		if (s->fd >= 0)
			close(s->fd);
		s->fd = -1;
	}
}

void listeners_free(struct net *net)
{
	while (net->listeners) {
		struct listener *l = net->listeners;
		net->listeners = l->next;
		for (unsigned i = 0; i < l->n_sockets; i++)
			if (l->sockets[i].armed)
				event_del(&l->sockets[i].ev);
		listener_close(l);
		listener_free(l);
	}
}

void listener_opened(struct conn *c)
{
	c->listener->on_accept(c, c->listener->arg);
}

bool listener_is_loopback(const struct listener *l)
{
	return l->loopback;
}

bool listener_is_proxied(const struct listener *l)
{
	return l->proxied;
}

bool listener_is_tls(const struct listener *l)
{
	return l->tls;
}

enum net_protocol listener_protocol(const struct listener *l)
{
	return l->protocol;
}
