#include "server/net/http.h"

#include <assert.h>
#include <stdlib.h>

#include "server/base/err.h"
#include "server/base/log.h"
#include "server/base/metrics.h"
#include "server/net/http_exchange.h"
#include "server/net/http_response.h"
#include "server/net/http_upgrade.h"
#include "server/net/private.h"
#include "server/net/ws.h"

/* Responses that the client has not taken: past this its next request waits. */
#define UNSENT_MAX 65536
/* A client that takes fewer bytes than this in an idle time-out while responses wait is closed. */
#define DRAIN_MIN 4096
#define REQUESTS_MAX 100000 /* on one connection */
#define PROBLEM_MAX 8192
#define ANSWER_MAX 512 /* to a WebSocket's opening handshake */

enum http_state {
	HTTP_NEW,     /* nothing has come yet; the head's time runs since accept */
	HTTP_IDLE,    /* between requests */
	HTTP_HEAD,    /* part of a head is there */
	HTTP_BODY,    /* part of a body is there, in x */
	HTTP_BUSY,    /* the handler has x; nothing is read */
	HTTP_DRAIN,   /* answered; nothing is read until the client has taken more */
	HTTP_LEAVING, /* the answer to a WebSocket's handshake is queued */
	HTTP_ENDED,   /* conn_close was called */
};

struct http_conn {
	struct conn *c;
	const struct http_server *server;
	const struct ws_server *ws;
	struct http_limits limits;
	struct loop_timer timer;
	struct http_exchange *x;
	struct http_scan scan;
	size_t unsent_seen; /* HTTP_DRAIN: when the timer was armed */
	unsigned n_requests;
	enum http_state state;
};

static void http_end(struct http_conn *h, enum end_reason why)
{
	loop_timer_cancel(&h->timer);
	if (h->state != HTTP_BUSY)
		h->x = http_exchange_free(h->x);
	h->state = HTTP_ENDED;
	conn_close(h->c, why);
}

/* Further header lines of a refusal; NULL: none. */
static const char *refusal_extra(int status)
{
	switch (status) {
	case 405: return "Allow: GET\r\n"; /* of a WebSocket's path; others are the handler's */
	case 426: return "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n";
	case 503: return "Retry-After: 1\r\n";
	default: return NULL;
	}
}

/* Answers a request that never got whole, and closes: what follows it cannot be told apart. */
static void http_refuse(struct http_conn *h, int status, const char *detail)
{
	char trace_id[33], peer[CONN_PEER_LEN];
	if (h->x)
		memcpy(trace_id, h->x->r.trace_id, sizeof(trace_id));
	else
		http_trace_id_new(trace_id);
	conn_peer(h->c, peer);
	metric_inc(METRIC_HTTP_ERRORS);
	log_info("HTTP request refused", F_U64("conn", conn_id(h->c)), F_STR("peer", peer),
	        F_I64("status", status), F_STR("detail", detail), F_STR("trace", trace_id));
	_cleanup_(buf_free) struct buf body;
	buf_init(&body, PROBLEM_MAX);
	h->server->problem(h->server->arg, &body, status, detail, trace_id);
	const struct http_response resp = {
	        .status = status,
	        .content_type = "application/problem+json",
	        .body = buf_slice(&body),
	        .extra = refusal_extra(status),
	};
	bool head_only = h->x && h->x->r.method == HTTP_METHOD_HEAD;
	http_response_send(h->c, &resp, HTTP_CLOSE, head_only);
	http_end(h, status == 408 ? END_REQUEST_TIMEOUT : END_HTTP_ERROR);
}

/* ---- time ---- */

static void on_timer(struct loop_timer *t, struct loop *loop)
{
	struct http_conn *h = container_of(t, struct http_conn, timer);
	size_t unsent = conn_unsent(h->c);
	switch (h->state) {
	case HTTP_NEW: http_end(h, END_REQUEST_TIMEOUT); break;
	case HTTP_IDLE: http_end(h, END_IDLE); break;
	case HTTP_HEAD: http_refuse(h, 408, "the head did not come in time"); break;
	case HTTP_BODY: http_refuse(h, 408, "the body did not come in time"); break;
	case HTTP_DRAIN:
		if (unsent + DRAIN_MIN > h->unsent_seen) {
			h->state = HTTP_ENDED;
			conn_abort(h->c, END_SLOW_READER);
			break;
		}
		h->unsent_seen = unsent;
		loop_timer_set(loop, t, h->limits.idle_ms);
		break;
	case HTTP_BUSY:
	case HTTP_LEAVING:
	case HTTP_ENDED: break;
	}
}

static void http_time(struct http_conn *h, enum http_state state, unsigned ms)
{
	h->state = state;
	loop_timer_set(conn_loop(h->c), &h->timer, ms);
}

/* ---- reading ---- */

static void request_complete(struct http_conn *h)
{
	struct http_request *r = &h->x->r;
	loop_timer_cancel(&h->timer);
	h->state = HTTP_BUSY;
	h->n_requests++;
	metric_inc(METRIC_HTTP_REQUESTS);
	conn_pause(h->c);
	h->server->handle(h->server->arg, r);
}

/* A request on the path of a WebSocket. */
static void upgrade_begin(struct http_conn *h, const struct ws_route *route, bool more_follows)
{
	_cleanup_(buf_free) struct buf answer;
	buf_init(&answer, ANSWER_MAX);
	const char *why = "bytes behind the opening handshake"; /* RFC 6455 section 4.1 */
	int status = more_follows ? 400 : upgrade_answer(h->x, route, &answer, &why);
	if (status) {
		http_refuse(h, status, why);
		return;
	}
	metric_inc(METRIC_HTTP_REQUESTS);
	metric_inc(METRIC_WEBSOCKETS);
	loop_timer_cancel(&h->timer);
	h->state = HTTP_LEAVING;
	struct slice bytes = buf_slice(&answer);
	conn_send(h->c, bytes.p, bytes.n);
}

/* The connection is the WebSocket's from here on. */
static void upgrade_end(struct http_conn *h)
{
	struct conn *c = h->c;
	const struct ws_server *ws = h->ws;
	const struct http_request *r = &h->x->r;
	struct http_opening *opening = http_opening_new(r->query, r->headers, r->n_headers);
	http_exchange_free(h->x);
	free(h);
	conn_set_handler(c, NULL, NULL, 0);
	if (!opening || ws_begin(c, opening) < 0) {
		http_opening_free(opening);
		conn_abort(c, END_INTERNAL);
		return;
	}
	ws->on_open(c, ws->arg);
}

/* The head is parsed: what the connection knows, and how large the body may be. Returns false after
 * a refusal, and after the answer to a WebSocket's handshake. */
static bool request_begin(struct http_conn *h, bool body_follows)
{
	static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
	struct http_exchange *x = h->x;
	x->hc = h;
	x->r.loop = conn_loop(h->c);
	x->r.conn_id = conn_id(h->c);
	conn_peer(h->c, x->r.peer);
	x->r.certificate = cert_chain_ref(conn_certificate(h->c));
	struct slice name = conn_server_name(h->c);
	if (name.n > 0)
		memcpy(x->r.server_name, name.p, name.n);
	const struct ws_route *route = h->ws ? upgrade_route(h->ws, &x->r) : NULL;
	if (route) {
		upgrade_begin(h, route, body_follows);
		return false;
	}
	size_t limit = h->server->body_limit ? h->server->body_limit(h->server->arg, &x->r)
	                                     : h->limits.body_bytes;
	if (http_exchange_limit(x, limit)) {
		http_refuse(h, 413, "the body is too large");
		return false;
	}
	if (x->guard.expect_continue && !x->complete && !body_follows)
		conn_send(h->c, go_on, sizeof(go_on) - 1);
	return true;
}

/* Bytes consumed; 0: more are needed, or the connection has ended. */
static size_t read_head(struct http_conn *h, struct slice in)
{
	if (h->state == HTTP_IDLE)
		http_time(h, HTTP_HEAD, h->limits.head_ms);
	h->state = HTTP_HEAD;
	/* An empty line before a request is ignored (RFC 9112 section 2.2). */
	if (h->scan.at == 0 && slice_has_prefix(in, SLICE_LIT("\r\n")))
		return 2;
	ssize_t n = http_scan_head(&h->scan, in);
	size_t seen = n > 0 ? (size_t)n : in.n;
	if (n < 0) {
		http_refuse(h, 400, "a bare CR or LF, or a control character, in the head");
	} else if (seen > h->limits.head_bytes || (n == 0 && seen == h->limits.head_bytes)) {
		bool in_target = h->scan.line == 0;
		http_refuse(h, in_target ? 414 : 431,
		        in_target ? "the target is too long" : "the head is too large");
	}
	if (n <= 0 || h->state == HTTP_ENDED)
		return 0;
	h->scan = (struct http_scan){0};
	const char *why;
	int status = http_exchange_new(slice_make(in.p, (size_t)n), &h->x, &why);
	if (status) {
		http_refuse(h, status, why);
		return 0;
	}
	if (!request_begin(h, in.n > (size_t)n))
		return h->state == HTTP_LEAVING ? (size_t)n : 0;
	if (h->x->complete)
		request_complete(h);
	else
		http_time(h, HTTP_BODY, h->limits.body_ms);
	return (size_t)n;
}

static size_t read_body(struct http_conn *h, struct slice in)
{
	size_t used = 0;
	const char *why;
	int status = http_exchange_body(h->x, in, &used, &why);
	if (status) {
		http_refuse(h, status, why);
		return 0;
	}
	if (h->x->complete)
		request_complete(h);
	return used;
}

static ssize_t on_data(
        HF_UNUSED struct conn *c, void *arg, struct slice in, HF_UNUSED size_t *ret_need)
{
	struct http_conn *h = arg;
	size_t used = 0, n = 1;
	while (n > 0 && used < in.n && h->state <= HTTP_BODY) {
		struct slice rest = slice_from(in, used);
		n = h->state == HTTP_BODY ? read_body(h, rest) : read_head(h, rest);
		used += n;
	}
	if (h->state == HTTP_LEAVING) {
		upgrade_end(h);
		return (ssize_t)used;
	}
	return h->state == HTTP_ENDED ? -1 : (ssize_t)used;
}

/* ---- answering ---- */

static void next_request(struct http_conn *h)
{
	http_time(h, HTTP_IDLE, h->limits.idle_ms);
	conn_resume(h->c);
}

static void on_drained(HF_UNUSED struct conn *c, void *arg)
{
	struct http_conn *h = arg;
	if (h->state == HTTP_DRAIN)
		next_request(h);
}

static void on_closed(HF_UNUSED struct conn *c, void *arg, HF_UNUSED enum end_reason why)
{
	struct http_conn *h = arg;
	loop_timer_cancel(&h->timer);
	/* A request that the handler has stays until it is answered. */
	if (h->x && h->x->complete)
		h->x->hc = NULL;
	else
		http_exchange_free(h->x);
	free(h);
}

static const struct conn_handler http_handler = {
        .on_data = on_data,
        .on_drained = on_drained,
        .on_closed = on_closed,
};

void http_accept(struct conn *c, const struct http_server *server, const struct ws_server *ws)
{
	struct http_conn *h = calloc(1, sizeof(*h));
	if (!h) {
		conn_abort(c, END_INTERNAL);
		return;
	}
	h->c = c;
	h->server = server;
	h->ws = ws;
	h->limits = server->limits;
	h->timer.fire = on_timer;
	conn_set_handler(c, &http_handler, h, h->limits.head_bytes);
	conn_set_low_water(c, UNSENT_MAX);
	http_time(h, HTTP_NEW, h->limits.head_ms);
}

void http_respond(struct http_request *r, const struct http_response *resp)
{
	loop_assert_here(r->loop);
	struct http_exchange *x = container_of(r, struct http_exchange, r);
	struct http_conn *h = x->hc;
	if (!h) {
		http_exchange_free(x);
		return;
	}
	if (r->known)
		conn_known(h->c);
	bool keep = x->keep_alive && !resp->close && h->n_requests < REQUESTS_MAX;
	enum http_persistence persistence = HTTP_CLOSE;
	if (keep)
		persistence = x->guard.http10 ? HTTP_KEEP_10 : HTTP_KEEP;
	http_response_send(h->c, resp, persistence, r->method == HTTP_METHOD_HEAD);
	h->x = http_exchange_free(x);
	if (!keep) {
		h->state = HTTP_ENDED;
		conn_close(h->c, END_HTTP_DONE);
	} else if (conn_unsent(h->c) > UNSENT_MAX) {
		h->unsent_seen = conn_unsent(h->c);
		http_time(h, HTTP_DRAIN, h->limits.idle_ms);
	} else {
		next_request(h);
	}
}
