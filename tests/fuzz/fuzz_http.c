/*
 * An HTTP/1.1 message as a connection gets it: the scan for the head's end, the check of the raw
 * head, the parser, the body by length or in chunks. The first byte says where the input is cut:
 * the verdict must not depend on it.
 */
#include <stdlib.h>

#include "server/base/crypto.h"
#include "server/net/http_exchange.h"

#define BODY_LIMIT 1000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct verdict {
	int status; /* 0: taken, 1: more is awaited */
	size_t used, body_n;
	uint64_t body_hash;
	unsigned n_headers;
};

static size_t smaller(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* What was taken must hold what the guard promises. */
static void check_taken(const struct http_exchange *x)
{
	const struct http_request *r = &x->r;
	const uint8_t *start = (const uint8_t *)x->head, *end = start + x->head_n;
	if (r->n_headers > HTTP_MAX_HEADERS || r->path.n == 0 || r->path.p[0] != '/')
		abort();
	for (unsigned i = 0; i < r->n_headers; i++) {
		struct slice name = r->headers[i].name, value = r->headers[i].value;
		if (name.n == 0 || name.p < start || name.p + name.n > end || value.p < start ||
		        value.p + value.n > end)
			abort();
		for (size_t j = 0; j < value.n; j++)
			if ((value.p[j] < 0x20 && value.p[j] != '\t') || value.p[j] == 0x7f)
				abort();
	}
	if (r->body.n > BODY_LIMIT || (!x->guard.chunked && r->body.n != x->guard.content_length))
		abort();
	char *decoded = malloc(r->target.n);
	size_t n = 0;
	if (http_percent_decode(r->path, decoded, &n) == 0 && n > r->path.n)
		abort();
	struct slice value;
	if (http_query_get(r->query, "a", &value) && value.n >= r->query.n)
		abort();
	free(decoded);
}

/* Feeds in parts of step bytes; 0: all at once. */
static struct verdict judge(struct slice in, size_t step)
{
	struct verdict v = {.status = 1};
	struct http_scan scan = {0};
	ssize_t head = 0;
	size_t seen = 0;
	while (head == 0 && seen < in.n) {
		seen = step ? smaller(in.n, seen + step) : in.n;
		head = http_scan_head(&scan, slice_make(in.p, seen));
	}
	if (head <= 0) {
		v.status = head < 0 ? 400 : 1;
		return v;
	}
	struct http_exchange *x = NULL;
	const char *why = NULL;
	v.used = (size_t)head;
	v.status = http_exchange_new(slice_make(in.p, v.used), &x, &why);
	if (v.status)
		return v;
	v.status = http_exchange_limit(x, BODY_LIMIT);
	while (!v.status && !x->complete && v.used < in.n) {
		struct slice rest = slice_from(in, v.used);
		size_t used = 0;
		rest.n = step ? smaller(rest.n, step) : rest.n;
		v.status = http_exchange_body(x, rest, &used, &why);
		if (!v.status && used == 0)
			abort();
		v.used += used;
	}
	if (!v.status && !x->complete)
		v.status = 1;
	if (!v.status) {
		check_taken(x);
		uint8_t hash[CRYPTO_HASH_LEN];
		crypto_sha256(x->r.body, hash);
		memcpy(&v.body_hash, hash, sizeof(v.body_hash));
		v.body_n = x->r.body.n;
		v.n_headers = x->r.n_headers;
	}
	http_exchange_free(x);
	return v;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int ready = -1;
	if (ready < 0)
		ready = crypto_init();
	if (size < 1)
		return 0;
	struct slice in = slice_make(data + 1, size - 1);
	struct verdict whole = judge(in, 0), parts = judge(in, (size_t)data[0] + 1);
	if (whole.status != parts.status) {
		/* A body that is both too large and malformed may be refused for either. */
		if (whole.status < 400 || parts.status < 400)
			abort();
	} else if (whole.status == 0 &&
	        (whole.used != parts.used || whole.body_n != parts.body_n ||
	                whole.body_hash != parts.body_hash || whole.n_headers != parts.n_headers)) {
		abort();
	}
	return 0;
}
