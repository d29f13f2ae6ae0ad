/*
 * floor - the least that a broker on this kernel and this OpenSSL can cost: epoll, recv, send, and
 * answers. It takes CONNECT, SUBSCRIBE, PUBLISH and PINGREQ, answers what wants an answer and does
 * nothing else: no session, no topic, no limit, no credential. Not a server; never expose it.
 *
 *   floor PORT THREADS [CERTIFICATE KEY]
 *
 * Threads share the port (SO_REUSEPORT). Prints "ready" when they listen.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_SIZE 16384
#define EVENTS 256

struct client {
	int fd;
	SSL *ssl;
	bool open; /* the handshake is over */
	size_t n;  /* of a packet that is not whole yet */
	uint8_t *rest;
};

static SSL_CTX *ctx;

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static void client_end(struct client *c)
{
	SSL_free(c->ssl);
	close(c->fd);
	free(c->rest);
	free(c);
}

/* The length of the packet at p, 0 while it is not whole. *ret_head: of its fixed header. */
static size_t packet_size(const uint8_t *p, size_t n, size_t *ret_head)
{
	size_t len = 0;
	for (size_t i = 1; i < n && i < 5; i++) {
		len |= (size_t)(p[i] & 127) << (7 * (i - 1));
		if (p[i] & 128)
			continue;
		*ret_head = i + 1;
		return n >= i + 1 + len ? i + 1 + len : 0;
	}
	return 0;
}

/* Writes the answer to one packet, if it wants one. */
static size_t answer(const uint8_t *p, size_t head, size_t size, uint8_t out[static 5])
{
	const uint8_t *body = p + head;
	size_t topic;
	switch (p[0] >> 4) {
	case 1: memcpy(out, "\x20\2\0\0", 4); return 4;
	case 3:
		topic = size >= head + 4 ? (size_t)(body[0] << 8 | body[1]) : SIZE_MAX;
		if (!(p[0] & 6) || topic > size - head - 4)
			return 0;
		memcpy(out, "\x40\2", 2);
		memcpy(out + 2, body + 2 + topic, 2);
		return 4;
	case 8:
		if (size < head + 2)
			return 0;
		memcpy(out, "\x90\3", 2);
		memcpy(out + 2, body, 2);
		out[4] = 1;
		return 5;
	case 12: memcpy(out, "\xd0\0", 2); return 2;
	default: return 0;
	}
}

static bool send_all(struct client *c, const uint8_t *p, size_t n)
{
	if (n == 0)
		return true;
	if (c->ssl)
		return SSL_write(c->ssl, p, (int)n) == (int)n;
	return send(c->fd, p, n, MSG_NOSIGNAL) == (ssize_t)n;
}

/* Answers every whole packet of p and keeps the rest. False: the end. */
static bool take(struct client *c, const uint8_t *p, size_t n)
{
	uint8_t out[4 * READ_SIZE]; /* no answer is more than twice as long as its packet */
	size_t used = 0, n_out = 0, head, size;
	while ((size = packet_size(p + used, n - used, &head)) > 0) {
		if (p[used] >> 4 == 14)
			return false;
		n_out += answer(p + used, head, size, out + n_out);
		used += size;
	}
	if (n - used > READ_SIZE)
		return false;
	free(c->rest);
	c->rest = NULL;
	c->n = n - used;
	if (c->n > 0) {
		c->rest = malloc(c->n);
		if (!c->rest)
			return false;
		memcpy(c->rest, p + used, c->n);
	}
	return send_all(c, out, n_out);
}

/* What is there, at most READ_SIZE. -1: the end. */
static ssize_t receive(struct client *c, uint8_t *p)
{
	if (!c->ssl) {
		ssize_t n = recv(c->fd, p, READ_SIZE, 0);
		return n > 0 ? n : n < 0 && errno == EAGAIN ? 0 : -1;
	}
	size_t total = 0;
	while (total < READ_SIZE) {
		int n = SSL_read(c->ssl, p + total, (int)(READ_SIZE - total));
		if (n > 0) {
			total += (size_t)n;
			continue;
		}
		int e = SSL_get_error(c->ssl, n);
		ERR_clear_error();
		if (e != SSL_ERROR_WANT_READ && total == 0)
			return -1;
		break;
	}
	return (ssize_t)total;
}

static bool readable(struct client *c)
{
	uint8_t in[2 * READ_SIZE];
	if (c->ssl && !c->open) {
		int r = SSL_do_handshake(c->ssl);
		if (r != 1 && SSL_get_error(c->ssl, r) == SSL_ERROR_WANT_READ)
			return true;
		ERR_clear_error();
		if (r != 1)
			return false;
		c->open = true;
	}
	if (c->n > 0)
		memcpy(in, c->rest, c->n);
	ssize_t n = receive(c, in + c->n);
	return n == 0 || (n > 0 && take(c, in, c->n + (size_t)n));
}

static void accept_one(int listener, int epoll)
{
	int on = 1, fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd < 0)
		return;
	struct client *c = calloc(1, sizeof(*c));
	if (!c)
		fail("calloc");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	c->fd = fd;
	if (ctx) {
		c->ssl = SSL_new(ctx);
		if (!c->ssl)
			fail("SSL_new");
		SSL_set_fd(c->ssl, fd);
		SSL_set_accept_state(c->ssl);
	}
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = c};
	if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &ev) < 0)
		fail("epoll_ctl");
}

static int listen_on(uint16_t at)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(at)};
	int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
	if (bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 1024) < 0)
		fail("listen");
	return fd;
}

static void *serve(void *arg)
{
	struct epoll_event ev[EVENTS] = {{.events = EPOLLIN, .data.ptr = NULL}};
	int listener = *(const int *)arg, epoll = epoll_create1(EPOLL_CLOEXEC);
	if (epoll_ctl(epoll, EPOLL_CTL_ADD, listener, ev) < 0)
		fail("epoll_ctl");
	for (;;) {
		int n = epoll_wait(epoll, ev, EVENTS, -1);
		for (int i = 0; i < n; i++) {
			struct client *c = ev[i].data.ptr;
			if (!c)
				accept_one(listener, epoll);
			else if (!readable(c))
				client_end(c);
		}
	}
	return NULL;
}

static void tls_begin(const char *certificate, const char *key)
{
	ctx = SSL_CTX_new(TLS_server_method());
	if (!ctx || SSL_CTX_use_certificate_chain_file(ctx, certificate) != 1 ||
	        SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1) {
		ERR_print_errors_fp(stderr);
		exit(1);
	}
	SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_num_tickets(ctx, 1);
}

int main(int argc, char **argv)
{
	int threads = argc > 2 ? atoi(argv[2]) : 0, listeners[64];
	struct rlimit files;
	if (threads < 1 || threads > 64 || (argc != 3 && argc != 5)) {
		fputs("usage: floor PORT THREADS [CERTIFICATE KEY]\n", stderr);
		return 2;
	}
	if (argc == 5)
		tls_begin(argv[3], argv[4]);
	signal(SIGPIPE, SIG_IGN);
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	for (int i = 0; i < threads; i++)
		listeners[i] = listen_on((uint16_t)atoi(argv[1]));
	for (int i = 0; i < threads; i++) {
		pthread_t thread;
		if (pthread_create(&thread, NULL, serve, &listeners[i]) != 0)
			fail("pthread_create");
	}
	puts("ready");
	fflush(stdout);
	pause();
	return 0;
}
