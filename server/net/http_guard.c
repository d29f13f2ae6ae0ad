#include "server/net/http_guard.h"

#include <strings.h>

#include "server/net/http.h"

#define MAX_METHOD 32
#define MAX_LENGTH_DIGITS 15
#define MAX_CHUNK_DIGITS 8

/* ---- the head ---- */

static bool is_control(uint8_t b)
{
	return (b < 0x20 && b != '\t') || b == 0x7f;
}

ssize_t http_scan_head(struct http_scan *scan, struct slice in)
{
	size_t i = scan->at;
	while (i < in.n) {
		if (in.p[i] != '\r') {
			if (is_control(in.p[i]))
				return -1;
			i++;
			continue;
		}
		if (i + 1 == in.n)
			break;
		if (in.p[i + 1] != '\n')
			return -1;
		if (i == scan->line)
			return (ssize_t)i + 2;
		i += 2;
		scan->line = i;
	}
	scan->at = i;
	return 0;
}

/* RFC 9110 section 5.6.2. */
static bool is_token(struct slice s)
{
	static const char marks[] = "!#$%&'*+-.^_`|~";
	for (size_t i = 0; i < s.n; i++) {
		uint8_t b = s.p[i];
		bool alnum = (b >= '0' && b <= '9') || ((b | 0x20) >= 'a' && (b | 0x20) <= 'z');
		if (!alnum && (b == 0 || !strchr(marks, b)))
			return false;
	}
	return s.n > 0;
}

static bool name_is(struct slice s, const char *name)
{
	return s.n == strlen(name) && strncasecmp((const char *)s.p, name, s.n) == 0;
}

static struct slice trimmed(struct slice s)
{
	while (s.n > 0 && (s.p[0] == ' ' || s.p[0] == '\t'))
		s = slice_from(s, 1);
	while (s.n > 0 && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
		s.n--;
	return s;
}

static int refuse(struct http_guard *g, int status, const char *why)
{
	g->why = why;
	return status;
}

/* Takes the bytes up to the first sep off *line, sep too; all of it where there is none. */
static struct slice take_until(struct slice *line, uint8_t sep)
{
	const uint8_t *at = line->n ? memchr(line->p, sep, line->n) : NULL;
	size_t n = at ? (size_t)(at - line->p) : line->n;
	struct slice part = slice_make(line->p, n);
	*line = slice_from(*line, at ? n + 1 : n);
	return part;
}

/* METHOD SP origin-form SP HTTP/1.x, single spaces (RFC 9112 section 3). */
static int check_request_line(struct slice line, struct http_guard *g)
{
	g->method = take_until(&line, ' ');
	g->target = take_until(&line, ' ');
	if (!is_token(g->method) || g->method.n > MAX_METHOD)
		return refuse(g, 400, "malformed request line");
	if (slice_eq_str(g->method, "CONNECT"))
		return refuse(g, 501, "this server is no proxy");
	if (g->target.n > HTTP_MAX_TARGET)
		return refuse(g, 414, "the target is too long");
	if (g->target.n == 0 || g->target.p[0] != '/')
		return refuse(g, 400, "the target must be a path that begins with /");
	for (size_t i = 0; i < g->target.n; i++)
		if (g->target.p[i] <= 0x20 || g->target.p[i] >= 0x7f || g->target.p[i] == '#')
			return refuse(g, 400, "the target holds a character that must be encoded");
	g->http10 = slice_eq(line, SLICE_LIT("HTTP/1.0"));
	if (!g->http10 && !slice_eq(line, SLICE_LIT("HTTP/1.1")))
		return refuse(g, 400, "the version must be HTTP/1.1 or HTTP/1.0");
	return 0;
}

static int check_host(struct slice value, struct http_guard *g)
{
	if (g->n_host++ > 0)
		return refuse(g, 400, "more than one Host header");
	/* uri-host [":" port] (RFC 3986 section 3.2.2), but no list and no user */
	for (size_t i = 0; i < value.n; i++)
		if (value.p[i] <= 0x20 || value.p[i] >= 0x7f || strchr(",/?#@\\\"<>", value.p[i]))
			return refuse(g, 400, "malformed Host header");
	return 0;
}

static int check_length(struct slice value, struct http_guard *g)
{
	if (g->has_length)
		return refuse(g, 400, "more than one Content-Length header");
	if (value.n == 0 || value.n > MAX_LENGTH_DIGITS)
		return refuse(g, 400, "malformed Content-Length header");
	for (size_t i = 0; i < value.n; i++) {
		if (value.p[i] < '0' || value.p[i] > '9')
			return refuse(g, 400, "malformed Content-Length header");
		g->content_length = g->content_length * 10 + (value.p[i] - '0');
	}
	g->has_length = true;
	return 0;
}

static int check_encoding(struct slice value, struct http_guard *g)
{
	if (g->chunked || !name_is(value, "chunked"))
		return refuse(g, 400, "Transfer-Encoding must be chunked, once");
	g->chunked = true;
	return 0;
}

static int check_header(struct slice line, struct http_guard *g)
{
	if (line.p[0] == ' ' || line.p[0] == '\t')
		return refuse(g, 400, "folded header");
	if (!memchr(line.p, ':', line.n))
		return refuse(g, 400, "header without a colon");
	struct slice name = take_until(&line, ':');
	if (!is_token(name))
		return refuse(g, 400, "malformed header name");
	if (++g->n_headers > HTTP_MAX_HEADERS)
		return refuse(g, 431, "too many headers");
	struct slice value = trimmed(line);
	if (name_is(name, "host"))
		return check_host(value, g);
	if (name_is(name, "content-length"))
		return check_length(value, g);
	if (name_is(name, "transfer-encoding"))
		return check_encoding(value, g);
	if (name_is(name, "expect") && name_is(value, "100-continue"))
		g->expect_continue = true;
	return 0;
}

static int check_framing(struct http_guard *g)
{
	if (g->n_host == 0 && !g->http10)
		return refuse(g, 400, "the Host header is missing");
	if (g->chunked && g->has_length)
		return refuse(g, 400, "both Content-Length and Transfer-Encoding");
	if (g->chunked && g->http10)
		return refuse(g, 400, "Transfer-Encoding in HTTP/1.0");
	if (g->http10)
		g->expect_continue = false; /* RFC 9110 section 10.1.1 */
	return 0;
}

int http_guard_head(struct slice head, struct http_guard *ret)
{
	*ret = (struct http_guard){0};
	bool first = true;
	while (head.n > 0) {
		/* http_scan_head has seen that CR and LF come in pairs alone. */
		struct slice line = take_until(&head, '\r');
		head = slice_from(head, 1);
		if (line.n == 0)
			break;
		int status = first ? check_request_line(line, ret) : check_header(line, ret);
		if (status)
			return status;
		first = false;
	}
	return first ? refuse(ret, 400, "malformed request line") : check_framing(ret);
}

/* ---- chunks ---- */

enum chunk_state {
	CHUNK_SIZE,
	CHUNK_SIZE_LF,
	CHUNK_DATA,
	CHUNK_DATA_CR,
	CHUNK_DATA_LF,
	CHUNK_LAST_CR,
	CHUNK_LAST_LF,
};

static int hex_digit(uint8_t b)
{
	if (b >= '0' && b <= '9')
		return b - '0';
	b |= 0x20;
	return b >= 'a' && b <= 'f' ? b - 'a' + 10 : -1;
}

/* A byte of the line with the size: digits alone, so no sign, no space, no extension. */
static int chunk_size_byte(struct http_chunks *ch, uint8_t b)
{
	int digit = hex_digit(b);
	if (digit >= 0) {
		if (ch->digits++ == MAX_CHUNK_DIGITS)
			return -1;
		ch->left = ch->left * 16 + (unsigned)digit;
		return 0;
	}
	if (b != '\r' || ch->digits == 0)
		return -1;
	ch->state = CHUNK_SIZE_LF;
	return 0;
}

static int chunk_expect(struct http_chunks *ch, uint8_t b, uint8_t want, enum chunk_state next)
{
	if (b != want)
		return -1;
	ch->state = next;
	return 0;
}

static int chunk_byte(struct http_chunks *ch, uint8_t b)
{
	switch ((enum chunk_state)ch->state) {
	case CHUNK_SIZE: return chunk_size_byte(ch, b);
	case CHUNK_SIZE_LF:
		ch->digits = 0;
		ch->total += ch->left;
		/* Behind the last chunk an empty line alone: trailers are refused. */
		return chunk_expect(ch, b, '\n', ch->left ? CHUNK_DATA : CHUNK_LAST_CR);
	case CHUNK_DATA_CR: return chunk_expect(ch, b, '\r', CHUNK_DATA_LF);
	case CHUNK_DATA_LF: return chunk_expect(ch, b, '\n', CHUNK_SIZE);
	case CHUNK_LAST_CR: return chunk_expect(ch, b, '\r', CHUNK_LAST_LF);
	case CHUNK_LAST_LF: return b == '\n' ? 1 : -1;
	case CHUNK_DATA: break;
	}
	return -1;
}

int http_guard_chunks(struct http_chunks *chunks, struct slice in, size_t *ret_used)
{
	size_t i = 0;
	while (i < in.n) {
		if (chunks->state == CHUNK_DATA) {
			size_t n = in.n - i < chunks->left ? in.n - i : (size_t)chunks->left;
			chunks->left -= n;
			i += n;
			if (chunks->left == 0)
				chunks->state = CHUNK_DATA_CR;
			continue;
		}
		int r = chunk_byte(chunks, in.p[i++]);
		if (r != 0) {
			*ret_used = i;
			return r;
		}
	}
	*ret_used = i;
	return 0;
}
