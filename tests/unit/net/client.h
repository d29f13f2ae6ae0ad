/*
 * Clients of the unit tests of server/net: blocking sockets with a limit on waiting, TLS or not,
 * and bytes that are easy to check.
 */
#ifndef HF_TESTS_UNIT_NET_CLIENT_H
#define HF_TESTS_UNIT_NET_CLIENT_H

#include <arpa/inet.h>
#include <check.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "server/base/cleanup.h"

#define RIG_WAIT_S 20 /* for what must happen; sanitizers are slow */

struct client {
	int fd;
	SSL *ssl;
};

HF_UNUSED static struct client client_open_from(const char *address, unsigned port)
{
	struct client c = {.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
	ck_assert_int_ge(c.fd, 0);
	const struct timeval tv = {.tv_sec = RIG_WAIT_S};
	setsockopt(c.fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	setsockopt(c.fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
	const struct sockaddr_in a = {.sin_family = AF_INET,
	        .sin_port = htons((uint16_t)port),
	        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr_in own = {.sin_family = AF_INET};
	ck_assert_int_eq(inet_pton(AF_INET, address, &own.sin_addr), 1);
	ck_assert_int_eq(bind(c.fd, (const struct sockaddr *)&own, sizeof(own)), 0);
	ck_assert_int_eq(connect(c.fd, (const struct sockaddr *)&a, sizeof(a)), 0);
	return c;
}

HF_UNUSED static struct client client_open(unsigned port)
{
	return client_open_from("127.0.0.1", port);
}

HF_UNUSED static SSL_CTX *client_ctx(int version)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	ck_assert_ptr_nonnull(ctx);
	/* Old suites and versions may be asked for, to see them refused. */
	SSL_CTX_set_security_level(ctx, 0);
	SSL_CTX_set_min_proto_version(ctx, version);
	SSL_CTX_set_max_proto_version(ctx, version);
	return ctx;
}

/* Returns SSL_connect's result; ctx is borrowed. */
HF_UNUSED static int client_tls(struct client *c, SSL_CTX *ctx, SSL_SESSION *session)
{
	c->ssl = SSL_new(ctx);
	SSL_set_fd(c->ssl, c->fd);
	if (session)
		SSL_set_session(c->ssl, session);
	return SSL_connect(c->ssl);
}

HF_UNUSED static void client_write(struct client *c, const void *p, size_t n)
{
	const char *at = p;
	while (n > 0) {
		int r = c->ssl ? SSL_write(c->ssl, at, n < 1 << 20 ? (int)n : 1 << 20)
		               : (int)send(c->fd, at, n, MSG_NOSIGNAL);
		ck_assert_int_gt(r, 0);
		at += r;
		n -= (size_t)r;
	}
}

/* Up to n bytes; fewer at the end of the stream. */
HF_UNUSED static size_t client_read(struct client *c, void *p, size_t n)
{
	size_t total = 0;
	while (total < n) {
		char *at = (char *)p + total;
		ssize_t r = c->ssl ? SSL_read(c->ssl, at, (int)(n - total))
		                   : recv(c->fd, at, n - total, 0);
		if (r <= 0)
			break;
		total += (size_t)r;
	}
	ERR_clear_error();
	return total;
}

/* Whether the server closes without another byte. */
HF_UNUSED static bool client_at_end(struct client *c)
{
	char byte;
	return client_read(c, &byte, 1) == 0;
}

HF_UNUSED static void client_close(struct client *c)
{
	if (c->ssl) {
		SSL_shutdown(c->ssl);
		SSL_free(c->ssl);
	}
	ERR_clear_error();
	close(c->fd);
}

/* A reset instead of an end. */
HF_UNUSED static void client_reset(struct client *c)
{
	const struct linger l = {.l_onoff = 1, .l_linger = 0};
	setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l));
	SSL_free(c->ssl);
	close(c->fd);
}

/* Bytes that are easy to check: each position has its own. */
HF_UNUSED static void pattern_fill(uint8_t *p, size_t n, size_t offset)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)((offset + i) * 2654435761U >> 13);
}

HF_UNUSED static bool pattern_fits(const uint8_t *p, size_t n, size_t offset)
{
	for (size_t i = 0; i < n; i++)
		if (p[i] != (uint8_t)((offset + i) * 2654435761U >> 13))
			return false;
	return true;
}

#endif
