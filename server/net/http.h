/*
 * HTTP/1.1 (RFC 9110, 9112) on connections: strict about the raw head (both lengths, lists in
 * Transfer-Encoding, bare LF, folding, odd sizes, trailers, spaces before the colon: 400 and
 * closed), bounded in everything, one request at a time on a connection (pipelined ones wait).
 * On the connection's loop unless said otherwise.
 */
#ifndef HF_NET_HTTP_H
#define HF_NET_HTTP_H

#include "server/base/buf.h"
#include "server/base/http_header.h"
#include "server/base/mail.h"
#include "server/net/conn.h"

#define HTTP_MAX_HEADERS 64

enum http_method {
	HTTP_METHOD_GET,
	HTTP_METHOD_HEAD,
	HTTP_METHOD_POST,
	HTTP_METHOD_PUT,
	HTTP_METHOD_PATCH,
	HTTP_METHOD_DELETE,
	HTTP_METHOD_OPTIONS,
	HTTP_METHOD_OTHER
};

/*
 * A request, complete with its body. It stays valid until http_respond, also if the connection
 * closes before (the answer is dropped then); a worker thread may read it meanwhile. Everything in
 * it is the layer's.
 */
struct http_request {
	struct mail mail;  /* free for the handler: to post the request to a worker and back */
	void *user;        /* free for the handler */
	bool known;        /* the handler's to set: whoever asks has proved who it is */
	struct loop *loop; /* where the answer must be given: http_respond */
	enum http_method method;
	struct slice method_text;
	struct slice target; /* as sent */
	struct slice path;   /* before '?', as sent (still percent-encoded) */
	struct slice query;  /* behind '?', as sent */
	struct http_header headers[HTTP_MAX_HEADERS];
	unsigned n_headers;
	struct slice body;
	uint64_t conn_id;
	char peer[CONN_PEER_LEN];
	struct cert_chain *certificate;      /* that the client has shown; NULL: none */
	char server_name[CONN_NAME_MAX + 1]; /* SNI; "": none */
	char trace_id[33]; /* of this request: random hex, or from a valid traceparent header */
};

struct http_limits {
	size_t head_bytes, body_bytes;
	unsigned head_ms, body_ms, idle_ms;
};

struct http_server {
	struct http_limits limits; /* read when a connection begins */
	/* The head is there: say how large a body may be (bytes; at most this many are read before
	 * 413), so that each route has its own limit. */
	size_t (*body_limit)(void *arg, const struct http_request *r);
	/* The request is complete: answer now or later, by http_respond on r->loop. */
	void (*handle)(void *arg, struct http_request *r);
	/* Appends the body of an error that this layer finds itself (400, 408, 413, 414, 431, 501,
	 * 503) as problem+json. */
	void (*problem)(
	        void *arg, struct buf *out, int status, const char *detail, const char *trace_id);
	void *arg;
};

/* Where a WebSocket can be opened (RFC 6455), and for which subprotocols, the best first. */
#define WS_PROTOCOLS 4
struct ws_route {
	const char *path;
	const char *protocols[WS_PROTOCOLS]; /* NULL ends them */
};
struct ws_server {
	const struct ws_route *routes;
	unsigned n_routes;
	/* The handshake is done: install a handler, which sees what messages hold and nothing of
	 * frames. What it keeps unread is the largest message too. On the connection's loop. */
	void (*on_open)(struct conn *c, void *arg);
	void *arg;
};

/* How much memory the bodies of all requests may take, but for the first 16 KiB of each; what comes
 * on top gets 503. Nobody has to be known to send a body. Any thread. */
void http_set_bodies_limit(size_t bytes);

/* Makes c an HTTP connection of server, and of ws, which may be NULL. Both outlive it. */
void http_accept(struct conn *c, const struct http_server *server, const struct ws_server *ws);

/* The value of the only header of that name; an empty slice with p NULL if there is none or more
 * than one (then *ret_many, which may be NULL, is true). Any thread. */
struct slice http_header_get(const struct http_request *r, const char *name, bool *ret_many);

struct http_response {
	int status;
	const char *content_type; /* NULL: no body */
	struct slice body;        /* copied */
	const char *extra;        /* further header lines, each with CRLF, or NULL; already safe */
	bool close;               /* close after it */
};
/* Answers and ends the request's life: r must not be touched after it. HEAD gets no body. Adds
 * Date, Content-Length, X-Content-Type-Options, Cache-Control: no-store (unless in extra),
 * Strict-Transport-Security. On r->loop. */
void http_respond(struct http_request *r, const struct http_response *resp);

/* Percent-decodes s into out (at least s.n bytes). 0 with *ret_len, or ERR_INVALID: bad escape or
 * an encoded NUL. '+' stays '+'. Any thread. */
int http_percent_decode(struct slice s, char *out, size_t *ret_len);
/* The raw value of a query parameter; false if it isn't there. Any thread. */
bool http_query_get(struct slice query, const char *name, struct slice *ret);

#endif
