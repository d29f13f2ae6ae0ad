#include "tests/unit/net/rig.h"

#include "server/net/http_exchange.h"

/* ---- heads: what is refused, and with what ---- */

/* A message, given in whole: the status it is refused with, 0 when it is taken, 1 when more is
 * awaited. */
static int judge(struct slice in, size_t limit, struct http_exchange **ret)
{
	struct http_scan scan = {0};
	ssize_t n = http_scan_head(&scan, in);
	if (n <= 0)
		return n < 0 ? 400 : 1;
	const char *why = NULL;
	struct http_exchange *x;
	int status = http_exchange_new(slice_make(in.p, (size_t)n), &x, &why);
	if (status) {
		ck_assert_ptr_nonnull(why);
		return status;
	}
	status = http_exchange_limit(x, limit);
	in = slice_from(in, (size_t)n);
	while (!status && !x->complete && in.n > 0) {
		size_t used = 0;
		status = http_exchange_body(x, in, &used, &why);
		in = slice_from(in, used);
	}
	if (!status && !x->complete)
		status = 1;
	if (!status && in.n > 0)
		status = 2; /* bytes behind the message */
	if (!status && ret)
		*ret = x;
	else
		http_exchange_free(x);
	return status;
}

#define GET "GET / HTTP/1.1\r\n"
#define POST "POST / HTTP/1.1\r\nHost: h\r\n"
#define CHUNKED POST "Transfer-Encoding: chunked\r\n\r\n"

static const struct {
	const char *what;
	struct slice in;
	int status;
} shapes[] = {
#define S(what, text, status)                                             \
	{                                                                 \
		what, {(const uint8_t *)(text), sizeof(text) - 1}, status \
	}
        S("plain", GET "Host: h\r\n\r\n", 0),
        S("empty host", GET "Host:\r\n\r\n", 0),
        S("tab around a value", GET "Host:\t h \t\r\n\r\n", 0),
        S("1.0 without Host", "GET / HTTP/1.0\r\n\r\n", 0),
        S("length 0", POST "Content-Length: 0\r\n\r\n", 0),
        S("length", POST "Content-Length: 3\r\n\r\nabc", 0),
        S("length with zeros", POST "Content-Length: 003\r\n\r\nabc", 0),
        S("chunked", CHUNKED "3\r\nabc\r\n0\r\n\r\n", 0),
        S("CHUNKED", POST "transfer-encoding:Chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 0),
        S("chunk size digits", CHUNKED "00000003\r\nabc\r\n0A\r\n0123456789\r\n000\r\n\r\n", 0),
        S("obs-text in a value", GET "Host: h\r\nX: caf\xc3\xa9\r\n\r\n", 0),
        S("unknown upgrade", GET "Host: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", 0),
        S("upgrade with a body",
                POST "Connection: upgrade\r\nUpgrade: x\r\nContent-Length: 2\r\n\r\nab", 0),
        S("two messages", GET "Host: h\r\n\r\nGET", 2),
        S("half", GET "Host: h\r\n", 1),
        S("half a body", POST "Content-Length: 3\r\n\r\nab", 1),
        S("half a chunk", CHUNKED "3\r\nab", 1),
        S("half an end", CHUNKED "0\r\n\r", 1),

        /* framing that two readers could see differently */
        S("length and chunked", POST "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
                400),
        S("chunked and length", POST "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
                400),
        S("two lengths", POST "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc", 400),
        S("two equal lengths", POST "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400),
        S("list of lengths", POST "Content-Length: 3, 3\r\n\r\nabc", 400),
        S("length +", POST "Content-Length: +3\r\n\r\nabc", 400),
        S("length -", POST "Content-Length: -3\r\n\r\nabc", 400),
        S("length _", POST "Content-Length: 1_0\r\n\r\nabc", 400),
        S("length hex", POST "Content-Length: 0x3\r\n\r\nabc", 400),
        S("length empty", POST "Content-Length: \r\n\r\n", 400),
        S("length with a space", POST "Content-Length: 3 0\r\n\r\nabc", 400),
        S("length fraction", POST "Content-Length: 3.0\r\n\r\nabc", 400),
        S("length of 16 digits", POST "Content-Length: 1000000000000000\r\n\r\n", 400),
        S("length wraps 2^64", POST "Content-Length: 18446744073709551619\r\n\r\nabc", 400),
        S("length too large", POST "Content-Length: 1001\r\n\r\n", 413),
        S("two encodings", POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
                400),
        S("identity, chunked",
                POST "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        S("gzip, chunked", POST "Transfer-Encoding: gzip, chunked\r\n\r\n", 400),
        S("chunked, chunked", POST "Transfer-Encoding: chunked, chunked\r\n\r\n", 400),
        S("chunked, identity", POST "Transfer-Encoding: chunked, identity\r\n\r\n", 400),
        S("chunked,", POST "Transfer-Encoding: chunked,\r\n\r\n", 400),
        S(",chunked", POST "Transfer-Encoding: ,chunked\r\n\r\n", 400),
        S("chunked;q", POST "Transfer-Encoding: chunked;q=1\r\n\r\n", 400),
        S("xchunked", POST "Transfer-Encoding: xchunked\r\n\r\n", 400),
        S("quoted chunked", POST "Transfer-Encoding: \"chunked\"\r\n\r\n", 400),
        S("identity", POST "Transfer-Encoding: identity\r\n\r\n", 400),
        S("empty encoding", POST "Transfer-Encoding:\r\n\r\n", 400),
        S("vertical tab",
                POST "Transfer-Encoding: \x0b"
                     "chunked\r\n\r\n",
                400),
        S("form feed", POST "Transfer-Encoding: chunked\x0c\r\n\r\n", 400),
        S("chunked in 1.0", "POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n",
                400),
        S("space before the colon", POST "Content-Length : 3\r\n\r\nabc", 400),
        S("tab before the colon", POST "Transfer-Encoding\t: chunked\r\n\r\n", 400),
        S("space before the name", GET " Host: h\r\n\r\n", 400),
        S("folded", GET "Host: h\r\nX: a\r\n b\r\n\r\n", 400),
        S("folded by a tab", GET "Host: h\r\nX: a\r\n\tb\r\n\r\n", 400),
        S("folded encoding", POST "Transfer-Encoding:\r\n chunked\r\n\r\n", 400),
        S("underscored name is another name", POST "Content_Length: 3\r\n\r\nabc", 2),
        S("name with a NUL", GET "Host: h\r\nX\0: a\r\n\r\n", 400),
        S("name with a bracket", GET "Host: h\r\nX(a): a\r\n\r\n", 400),
        S("name in UTF-8", GET "Host: h\r\n\xc3\xa9: a\r\n\r\n", 400),
        S("no name", GET "Host: h\r\n: a\r\n\r\n", 400),
        S("no colon", GET "Host: h\r\nX\r\n\r\n", 400),
        S("value with a NUL", GET "Host: h\r\nX: a\0b\r\n\r\n", 400),
        S("value with DEL", GET "Host: h\r\nX: a\x7f\r\n\r\n", 400),
        S("value with a bare CR", GET "Host: h\r\nX: a\rb\r\n\r\n", 400),
        S("value with a bare LF", GET "Host: h\r\nX: a\nb\r\n\r\n", 400),
        S("bare LF lines", "GET / HTTP/1.1\nHost: h\n\n", 400),
        S("bare LF at the end", GET "Host: h\r\n\n", 400),
        S("CR CR LF", GET "Host: h\r\r\n\r\n", 400),
        S("LF CR", GET "Host: h\n\r\n\r", 400),

        /* chunks */
        S("size +", CHUNKED "+3\r\nabc\r\n0\r\n\r\n", 400),
        S("size -", CHUNKED "-3\r\nabc\r\n0\r\n\r\n", 400),
        S("size 0x", CHUNKED "0x3\r\nabc\r\n0\r\n\r\n", 400),
        S("size _", CHUNKED "1_0\r\nabc\r\n0\r\n\r\n", 400),
        S("size with a space", CHUNKED "3 \r\nabc\r\n0\r\n\r\n", 400),
        S("space before the size", CHUNKED " 3\r\nabc\r\n0\r\n\r\n", 400),
        S("no size", CHUNKED "\r\nabc\r\n0\r\n\r\n", 400),
        S("size of 9 digits", CHUNKED "000000003\r\nabc\r\n0\r\n\r\n", 400),
        S("size of 17 digits", CHUNKED "10000000000000003\r\nabc\r\n0\r\n\r\n", 400),
        S("size too large", CHUNKED "3e9\r\n", 413),
        S("sizes too large in sum", CHUNKED "3\r\nabc\r\n3e6\r\n", 413),
        S("size of 4 GiB", CHUNKED "ffffffff\r\n", 413),
        S("extension", CHUNKED "3;a=b\r\nabc\r\n0\r\n\r\n", 400),
        S("empty extension", CHUNKED "3;\r\nabc\r\n0\r\n\r\n", 400),
        S("extension with a LF", CHUNKED "3;\nabc\r\n0\r\n\r\n", 400),
        S("extension on the last", CHUNKED "3\r\nabc\r\n0;x\r\n\r\n", 400),
        S("size with a bare LF", CHUNKED "3\nabc\r\n0\r\n\r\n", 400),
        S("size with CR CR LF", CHUNKED "3\r\r\nabc\r\n0\r\n\r\n", 400),
        S("data with a bare LF", CHUNKED "3\r\nabc\n0\r\n\r\n", 400),
        S("data longer than said", CHUNKED "3\r\nabcd\r\n0\r\n\r\n", 400),
        S("data without an end", CHUNKED "3\r\nabc0\r\n\r\n", 400),
        S("trailer", CHUNKED "3\r\nabc\r\n0\r\nX: y\r\n\r\n", 400),
        S("trailer with a length", CHUNKED "0\r\nContent-Length: 3\r\n\r\n", 400),
        S("last chunk with a bare LF", CHUNKED "0\r\n\n", 400),
        S("non-hex size", CHUNKED "g\r\n", 400),

        /* the request line */
        S("lower version", "GET / http/1.1\r\nHost: h\r\n\r\n", 400),
        S("version 0.9", "GET /\r\nHost: h\r\n\r\n", 400),
        S("version 1.2", "GET / HTTP/1.2\r\nHost: h\r\n\r\n", 400),
        S("version 2.0", "PRI * HTTP/2.0\r\n\r\n", 400),
        S("version 1.10", "GET / HTTP/1.10\r\nHost: h\r\n\r\n", 400),
        S("version 01.1", "GET / HTTP/01.1\r\nHost: h\r\n\r\n", 400),
        S("no version", "GET / \r\nHost: h\r\n\r\n", 400),
        S("two spaces", "GET  / HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        S("two spaces later", "GET /  HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        S("space at the end", "GET / HTTP/1.1 \r\nHost: h\r\n\r\n", 400),
        S("space at the start", " GET / HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        S("tab", "GET\t/ HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        S("space in the target", "GET /a b HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        S("absolute form", "GET http://h/ HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        S("authority form", "CONNECT h:443 HTTP/1.1\r\nHost: h\r\n\r\n", 501),
        S("asterisk form", "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        S("fragment", "GET /#a HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        S("target in UTF-8", "GET /\xc3\xa9 HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        S("target with a NUL", "GET /\0 HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        S("method not a token", "G@T / HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        S("method too long", "GETGETGETGETGETGETGETGETGETGETGET / HTTP/1.1\r\nHost: h\r\n\r\n",
                400),
        S("unknown method", "BREW / HTTP/1.1\r\nHost: h\r\n\r\n", 501),
        S("method in lower case", "get / HTTP/1.1\r\nHost: h\r\n\r\n", 501),
        S("CONNECT to a path", "CONNECT / HTTP/1.1\r\nHost: h\r\n\r\n", 501),

        /* Host */
        S("no Host", GET "X: y\r\n\r\n", 400),
        S("two Hosts", GET "Host: h\r\nHost: h\r\n\r\n", 400),
        S("two Hosts in 1.0", "GET / HTTP/1.0\r\nHost: h\r\nhost: i\r\n\r\n", 400),
        S("list of Hosts", GET "Host: h, i\r\n\r\n", 400),
        S("Host with a path", GET "Host: h/x\r\n\r\n", 400),
        S("Host with a user", GET "Host: u@h\r\n\r\n", 400),
        S("Host in UTF-8", GET "Host: \xc3\xa9\r\n\r\n", 400),
#undef S
};

START_TEST(shapes_are_judged)
{
	struct http_exchange *x = NULL;
	int status = judge(shapes[_i].in, 1000, &x);
	ck_assert_msg(status == shapes[_i].status, "%s: %d, not %d", shapes[_i].what, status,
	        shapes[_i].status);
	http_exchange_free(x);
}
END_TEST

/* Wherever it is cut, the verdict is the same, but that it may come before the rest. */
START_TEST(shapes_are_judged_byte_by_byte)
{
	struct slice in = shapes[_i].in;
	struct http_scan scan = {0};
	ssize_t n = 0;
	size_t at = 0;
	while (n == 0 && at < in.n)
		n = http_scan_head(&scan, slice_make(in.p, ++at));
	int status = n < 0 ? 400 : n == 0 ? 1 : 0;
	struct http_exchange *x = NULL;
	const char *why;
	if (!status)
		status = http_exchange_new(slice_make(in.p, (size_t)n), &x, &why);
	if (!status)
		status = http_exchange_limit(x, 1000);
	while (!status && !x->complete && at < in.n) {
		size_t used = 0;
		status = http_exchange_body(x, slice_make(in.p + at++, 1), &used, &why);
		ck_assert(status || used == 1);
	}
	if (!status && !x->complete)
		status = 1;
	if (!status && at < in.n)
		status = 2;
	ck_assert_msg(status == shapes[_i].status, "%s: %d, not %d", shapes[_i].what, status,
	        shapes[_i].status);
	http_exchange_free(x);
}
END_TEST

START_TEST(too_many_headers_are_refused)
{
	char in[4096] = GET "Host: h\r\n";
	for (int i = 0; i < HTTP_MAX_HEADERS - 1; i++)
		strcat(in, "X: y\r\n");
	size_t n = strlen(in);
	strcat(in, "\r\n");
	struct http_exchange *x = NULL;
	ck_assert_int_eq(judge(slice_str(in), 0, &x), 0);
	ck_assert_uint_eq(x->r.n_headers, HTTP_MAX_HEADERS);
	http_exchange_free(x);
	strcpy(in + n, "X: y\r\n\r\n");
	ck_assert_int_eq(judge(slice_str(in), 0, NULL), 431);
}
END_TEST

START_TEST(a_long_target_is_refused)
{
	char in[HTTP_MAX_TARGET + 100] = "GET /";
	memset(in + 5, 'a', HTTP_MAX_TARGET - 1);
	strcpy(in + 4 + HTTP_MAX_TARGET, " HTTP/1.1\r\nHost: h\r\n\r\n");
	struct http_exchange *x = NULL;
	ck_assert_int_eq(judge(slice_str(in), 0, &x), 0);
	ck_assert_uint_eq(x->r.target.n, HTTP_MAX_TARGET);
	http_exchange_free(x);
	strcpy(in + 4 + HTTP_MAX_TARGET, "a HTTP/1.1\r\nHost: h\r\n\r\n");
	ck_assert_int_eq(judge(slice_str(in), 0, NULL), 414);
}
END_TEST

/* ---- what a request holds ---- */

static void slice_is(struct slice s, const char *text)
{
	ck_assert_msg(slice_eq_str(s, text), "got \"%.*s\", want \"%s\"", SLICE_ARG(s), text);
}

START_TEST(a_request_has_its_parts)
{
	static const char in[] =
	        "PUT /a%20b/c?x=1&yy=%41&y=&z HTTP/1.1\r\n"
	        "Host: h\r\n"
	        "X-One:  1 \t\r\n"
	        "x-two:\r\n"
	        "twice: a\r\nTwice: b\r\n"
	        "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n"
	        "Content-Length: 4\r\n\r\nbody";
	struct http_exchange *x = NULL;
	ck_assert_int_eq(judge(slice_str(in), 4, &x), 0);
	struct http_request *r = &x->r;
	ck_assert_int_eq(r->method, HTTP_METHOD_PUT);
	slice_is(r->method_text, "PUT");
	slice_is(r->target, "/a%20b/c?x=1&yy=%41&y=&z");
	slice_is(r->path, "/a%20b/c");
	slice_is(r->query, "x=1&yy=%41&y=&z");
	slice_is(r->body, "body");
	bool many = true;
	slice_is(http_header_get(r, "x-one", &many), "1");
	ck_assert(!many);
	struct slice empty = http_header_get(r, "X-TWO", NULL);
	ck_assert(empty.p && empty.n == 0);
	ck_assert_ptr_null(http_header_get(r, "twice", &many).p);
	ck_assert(many);
	ck_assert_ptr_null(http_header_get(r, "none", &many).p);
	ck_assert(!many);
	ck_assert_str_eq(r->trace_id, "0af7651916cd43dd8448eb211c80319c");
	struct slice v;
	ck_assert(http_query_get(r->query, "x", &v));
	slice_is(v, "1");
	ck_assert(http_query_get(r->query, "y", &v));
	slice_is(v, "");
	ck_assert(http_query_get(r->query, "yy", &v));
	slice_is(v, "%41");
	ck_assert(http_query_get(r->query, "z", &v));
	slice_is(v, "");
	ck_assert(!http_query_get(r->query, "w", &v));
	http_exchange_free(x);
}
END_TEST

START_TEST(a_bad_trace_id_is_replaced)
{
	static const char *const bad[] = {"00-00000000000000000000000000000000-b7ad6b7169203331-01",
	        "00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01",
	        "00-0af7651916cd43dd8448eb211c80319g-b7ad6b7169203331-01", "x"};
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		char in[200];
		snprintf(in, sizeof(in), GET "Host: h\r\ntraceparent: %s\r\n\r\n", bad[i]);
		struct http_exchange *x = NULL;
		ck_assert_int_eq(judge(slice_str(in), 0, &x), 0);
		ck_assert_uint_eq(strlen(x->r.trace_id), 32);
		ck_assert_ptr_null(strstr(bad[i], x->r.trace_id));
		http_exchange_free(x);
	}
}
END_TEST

START_TEST(a_chunked_body_is_joined)
{
	char in[40000] = CHUNKED;
	for (int i = 0; i < 5000; i++)
		strcat(in, "1\r\nx\r\n");
	strcat(in, "0\r\n\r\n");
	struct http_exchange *x = NULL;
	ck_assert_int_eq(judge(slice_str(in), 5000, &x), 0);
	ck_assert_uint_eq(x->r.body.n, 5000);
	http_exchange_free(x);
	ck_assert_int_eq(judge(slice_str(in), 4999, NULL), 413);
}
END_TEST

/* A request of which n bytes of a body of 100,000 have come: the status of their reading. */
static int send_part(size_t n, struct http_exchange **ret)
{
	static const uint8_t body[100000];
	const char *why;
	size_t used;
	struct slice head = SLICE_LIT(
	        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n");
	ck_assert_int_eq(http_exchange_new(head, ret, &why), 0);
	ck_assert_int_eq(http_exchange_limit(*ret, sizeof(body)), 0);
	return http_exchange_body(*ret, slice_make(body, n), &used, &why);
}

START_TEST(large_bodies_share_a_limit)
{
	struct http_exchange *large, *other, *small;
	http_set_bodies_limit(90000);
	for (int round = 0; round < 3; round++) {
		ck_assert_int_eq(send_part(60000, &large), 0);
		ck_assert_int_eq(send_part(60000, &other), 503);
		ck_assert_int_eq(send_part(16000, &small), 0);
		http_exchange_free(small);
		http_exchange_free(other);
		http_exchange_free(large);
	}
}
END_TEST

START_TEST(percent_decoding_is_strict)
{
	static const struct {
		const char *in, *out;
	} cases[] = {{"", ""}, {"abc", "abc"}, {"a%20b+c", "a b+c"}, {"%2f%2F", "//"}, {"%", NULL},
	        {"%4", NULL}, {"%4g", NULL}, {"%00", NULL}, {"a%", NULL}, {"%%41", NULL},
	        {"%c3%a9", "\xc3\xa9"}, {"%+1", NULL}, {"% 1", NULL}};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char out[64];
		size_t n = 99;
		int r = http_percent_decode(slice_str(cases[i].in), out, &n);
		ck_assert_msg((r == 0) == (cases[i].out != NULL), "%s", cases[i].in);
		if (r == 0)
			slice_is(slice_make(out, n), cases[i].out);
		else
			ck_assert_uint_eq(n, 99);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("http_guard");
	TCase *tcase = tcase_create("shapes");
	tcase_set_timeout(tcase, 60);
	tcase_add_loop_test(tcase, shapes_are_judged, 0, (int)ARRAY_LEN(shapes));
	tcase_add_loop_test(tcase, shapes_are_judged_byte_by_byte, 0, (int)ARRAY_LEN(shapes));
	tcase_add_test(tcase, too_many_headers_are_refused);
	tcase_add_test(tcase, a_long_target_is_refused);
	tcase_add_test(tcase, a_request_has_its_parts);
	tcase_add_test(tcase, a_bad_trace_id_is_replaced);
	tcase_add_test(tcase, a_chunked_body_is_joined);
	tcase_add_test(tcase, large_bodies_share_a_limit);
	tcase_add_test(tcase, percent_decoding_is_strict);
	suite_add_tcase(suite, tcase);
	if (crypto_init() < 0)
		return EXIT_FAILURE;
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
