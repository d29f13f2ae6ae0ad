/*
 * A request while it is read and answered: bytes in, a struct http_request out, without sockets or
 * timers, so that tests and fuzzing drive it with bytes. Private to server/net.
 */
#ifndef HF_NET_HTTP_EXCHANGE_H
#define HF_NET_HTTP_EXCHANGE_H

#include "server/net/http.h"
#include "server/net/http_guard.h"

struct http_conn;
struct http_parser;

struct http_exchange {
	struct http_request r;
	struct http_conn *hc; /* NULL: the connection has closed meanwhile */
	struct http_guard guard;
	struct http_chunks chunks;
	struct http_parser *parser; /* in the same allocation */
	struct buf body;
	size_t body_limit;
	size_t charged;  /* what of the body counts against http_set_bodies_limit */
	bool keep_alive; /* by version and Connection header */
	bool complete;   /* head and body are there */
	bool failed;     /* out of memory in the parser's callback */
	size_t head_n;
	char head[];
};

/* Parses a head that http_scan_head has found. 0 with *ret, or the status to refuse it with and its
 * detail. The body may be still to come: x->complete. */
int http_exchange_new(struct slice head, struct http_exchange **ret, const char **ret_why);
/* The largest body; call it before the first byte of it. 0 or 413. */
int http_exchange_limit(struct http_exchange *x, size_t limit);
/* Takes body bytes, no more than belong to it. 0 or a status with its detail. */
int http_exchange_body(
        struct http_exchange *x, struct slice in, size_t *ret_used, const char **ret_why);
void http_trace_id_new(char ret[static 33]);
struct http_exchange *http_exchange_free(struct http_exchange *x);

#endif
