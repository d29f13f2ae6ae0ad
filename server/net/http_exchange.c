#include "server/net/http_exchange.h"

/* The parser has an enum of our enum's name. */
#define http_method http_parser_method
#include <http_parser.h>
#undef http_method
#include <stdatomic.h>
#include <stdlib.h>

#include "server/base/crypto.h"

static const char *const detail_too_large = "the body is too large";
static const char *const detail_malformed = "malformed request";

/* ---- the memory of all bodies ---- */

/* That much of each body is free: whoever fills the common room with large ones keeps nobody with a
 * small one out. */
#define BODY_FREE ((size_t)16 << 10)

static atomic_size_t bodies_limit = (size_t)64 << 20;
static atomic_size_t bodies;

void http_set_bodies_limit(size_t bytes)
{
	atomic_store_explicit(&bodies_limit, bytes, memory_order_relaxed);
}

static void body_discharge(struct http_exchange *x)
{
	atomic_fetch_sub_explicit(&bodies, x->charged, memory_order_relaxed);
	x->charged = 0;
}

/* Whether what the body takes by now fits beside all others. */
static bool body_charge(struct http_exchange *x)
{
	size_t due = x->body.size > BODY_FREE ? x->body.size - BODY_FREE : 0;
	size_t more = due - x->charged;
	if (more == 0)
		return true;
	size_t before = atomic_fetch_add_explicit(&bodies, more, memory_order_relaxed);
	x->charged = due;
	return before + more <= atomic_load_explicit(&bodies_limit, memory_order_relaxed);
}

/* ---- http-parser's callbacks: slices of the copy of the head ---- */

static struct http_exchange *exchange_of(const http_parser *p)
{
	return p->data;
}

/* The parser may give one thing in parts; they lie side by side. */
static void slice_extend(struct slice *s, const char *at, size_t n)
{
	if (s->n == 0)
		s->p = (const uint8_t *)at;
	s->n += n;
}

static int on_url(http_parser *p, const char *at, size_t n)
{
	slice_extend(&exchange_of(p)->r.target, at, n);
	return 0;
}

static int on_header_field(http_parser *p, const char *at, size_t n)
{
	struct http_request *r = &exchange_of(p)->r;
	/* A value, be it empty, has come since: this is a new header. */
	if (r->n_headers == 0 || r->headers[r->n_headers - 1].value.p) {
		if (r->n_headers == HTTP_MAX_HEADERS)
			return 1;
		r->headers[r->n_headers++] = (struct http_header){0};
	}
	slice_extend(&r->headers[r->n_headers - 1].name, at, n);
	return 0;
}

static int on_header_value(http_parser *p, const char *at, size_t n)
{
	struct http_request *r = &exchange_of(p)->r;
	if (r->n_headers == 0)
		return 1;
	slice_extend(&r->headers[r->n_headers - 1].value, at, n);
	return 0;
}

static int on_headers_complete(http_parser *p)
{
	exchange_of(p)->keep_alive = http_should_keep_alive(p) != 0;
	return 0;
}

static int on_body(http_parser *p, const char *at, size_t n)
{
	struct http_exchange *x = exchange_of(p);
	x->failed = buf_append(&x->body, at, n) < 0;
	return x->failed;
}

static int on_message_complete(http_parser *p)
{
	exchange_of(p)->complete = true;
	return 0;
}

static const http_parser_settings settings = {
        .on_url = on_url,
        .on_header_field = on_header_field,
        .on_header_value = on_header_value,
        .on_headers_complete = on_headers_complete,
        .on_body = on_body,
        .on_message_complete = on_message_complete,
};

/* ---- the request ---- */

static enum http_method method_of(struct slice text)
{
	static const struct {
		const char *name;
		enum http_method method;
	} methods[] = {
	        {"GET", HTTP_METHOD_GET},
	        {"HEAD", HTTP_METHOD_HEAD},
	        {"POST", HTTP_METHOD_POST},
	        {"PUT", HTTP_METHOD_PUT},
	        {"PATCH", HTTP_METHOD_PATCH},
	        {"DELETE", HTTP_METHOD_DELETE},
	        {"OPTIONS", HTTP_METHOD_OPTIONS},
	};
	for (size_t i = 0; i < ARRAY_LEN(methods); i++)
		if (slice_eq_str(text, methods[i].name))
			return methods[i].method;
	return HTTP_METHOD_OTHER;
}

static void values_trim(struct http_request *r)
{
	for (unsigned i = 0; i < r->n_headers; i++) {
		struct slice *v = &r->headers[i].value;
		while (v->n > 0 && (v->p[v->n - 1] == ' ' || v->p[v->n - 1] == '\t'))
			v->n--;
	}
}

static void target_split(struct http_request *r)
{
	const uint8_t *mark = memchr(r->target.p, '?', r->target.n);
	size_t n = mark ? (size_t)(mark - r->target.p) : r->target.n;
	r->path = slice_make(r->target.p, n);
	r->query = mark ? slice_from(r->target, n + 1) : slice_make(r->target.p + n, 0);
}

void http_trace_id_new(char ret[static 33])
{
	uint8_t id[16];
	crypto_random(id, sizeof(id));
	crypto_hex_encode(slice_make(id, sizeof(id)), ret);
}

/* trace-id of a version 00 traceparent header (W3C Trace Context section 3.2), or a new one. */
static void trace_id_set(struct http_request *r)
{
	uint8_t id[16];
	struct slice parent = http_header_get(r, "traceparent", NULL);
	bool valid = parent.n == 55 && slice_has_prefix(parent, SLICE_LIT("00-")) &&
	        parent.p[35] == '-' &&
	        crypto_hex_decode(slice_make(parent.p + 3, 32), id, sizeof(id)) == 0;
	if (valid && memcmp(id, (uint8_t[16]){0}, sizeof(id)) != 0)
		crypto_hex_encode(slice_make(id, sizeof(id)), r->trace_id);
	else
		http_trace_id_new(r->trace_id);
}

/* Two readers, one message: what the guard saw must be what the parser saw. */
static bool readers_agree(const struct http_exchange *x)
{
	const struct http_guard *g = &x->guard;
	bool chunked = (x->parser->flags & F_CHUNKED) != 0;
	bool has_body = g->chunked || g->content_length > 0;
	return x->r.n_headers == g->n_headers && chunked == g->chunked &&
	        slice_eq(x->r.target, g->target) && x->complete == !has_body;
}

static int parse_head(struct http_exchange *x, size_t n, const char **ret_why)
{
	http_parser_init(x->parser, HTTP_REQUEST);
	x->parser->data = x;
	size_t parsed = http_parser_execute(x->parser, &settings, x->head, n);
	enum http_errno e = HTTP_PARSER_ERRNO(x->parser);
	if (e == HPE_INVALID_METHOD) {
		*ret_why = "unknown method";
		return 501;
	}
	if (e != HPE_OK || parsed != n || !readers_agree(x)) {
		*ret_why = detail_malformed;
		return 400;
	}
	return 0;
}

int http_exchange_new(struct slice head, struct http_exchange **ret, const char **ret_why)
{
	struct http_guard guard;
	int status = http_guard_head(head, &guard);
	if (status) {
		*ret_why = guard.why;
		return status;
	}
	/* The parser lies behind the head, aligned. */
	size_t room = (head.n + 15) & ~(size_t)15;
	struct http_exchange *x = calloc(1, sizeof(*x) + room + sizeof(*x->parser));
	if (!x) {
		*ret_why = "out of memory";
		return 503;
	}
	x->head_n = head.n;
	memcpy(x->head, head.p, head.n);
	x->parser = (struct http_parser *)(void *)((char *)x + sizeof(*x) + room);
	/* Again over the copy, so that its slices last as long as the request. */
	http_guard_head(slice_make(x->head, head.n), &x->guard);
	status = parse_head(x, head.n, ret_why);
	if (status) {
		http_exchange_free(x);
		return status;
	}
	x->r.method_text = x->guard.method;
	x->r.method = method_of(x->guard.method);
	values_trim(&x->r);
	target_split(&x->r);
	trace_id_set(&x->r);
	*ret = x;
	return 0;
}

int http_exchange_limit(struct http_exchange *x, size_t limit)
{
	x->body_limit = limit;
	buf_init(&x->body, limit);
	return x->guard.content_length > limit ? 413 : 0;
}

int http_exchange_body(
        struct http_exchange *x, struct slice in, size_t *ret_used, const char **ret_why)
{
	int ended = 0;
	size_t n = in.n;
	if (x->guard.chunked) {
		ended = http_guard_chunks(&x->chunks, in, &n);
		*ret_why = "malformed chunk";
		if (ended < 0)
			return 400;
		*ret_why = detail_too_large;
		if (x->chunks.total > x->body_limit)
			return 413;
	} else {
		uint64_t left = x->guard.content_length - buf_len(&x->body);
		n = in.n < left ? in.n : (size_t)left;
		ended = n == left;
	}
	size_t parsed = http_parser_execute(x->parser, &settings, (const char *)in.p, n);
	*ret_why = x->failed ? "out of memory" : detail_malformed;
	if (x->failed)
		return 503;
	if (!body_charge(x)) {
		*ret_why = "too many large bodies are on their way";
		return 503;
	}
	if (parsed != n || HTTP_PARSER_ERRNO(x->parser) != HPE_OK || x->complete != (ended == 1))
		return 400;
	x->r.body = buf_slice(&x->body);
	*ret_used = n;
	return 0;
}

struct http_exchange *http_exchange_free(struct http_exchange *x)
{
	if (!x)
		return NULL;
	body_discharge(x);
	cert_chain_unref(x->r.certificate);
	/* Head and body may hold credentials. */
	buf_wipe(&x->body);
	crypto_wipe(x->head, x->head_n);
	free(x);
	return NULL;
}
