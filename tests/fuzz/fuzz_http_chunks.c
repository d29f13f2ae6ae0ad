/*
 * A chunked body: guard and parser together, cut as the first byte says, against a decoder that is
 * written to be plainly right and sees everything at once.
 */
#include <stdlib.h>

#include "server/base/crypto.h"
#include "server/net/http_exchange.h"

#define BODY_LIMIT 4000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct decoded {
	int status; /* 0: whole, 1: more is awaited, else refused */
	size_t used, n;
	uint8_t body[BODY_LIMIT];
};

static int digit_of(uint8_t b)
{
	const char *digits = "0123456789abcdefABCDEF";
	const char *at = b ? strchr(digits, b) : NULL;
	if (!at)
		return -1;
	return at - digits < 16 ? (int)(at - digits) : (int)(at - digits) - 6;
}

/* Takes the line end: 0, 1 when it is not all there, 400. */
static int take_crlf(struct slice *in)
{
	if (in->n > 0 && in->p[0] != '\r')
		return 400;
	if (in->n > 1 && in->p[1] != '\n')
		return 400;
	if (in->n < 2)
		return 1;
	*in = slice_from(*in, 2);
	return 0;
}

static int take_size(struct slice *in, uint64_t *ret)
{
	uint64_t size = 0;
	size_t n = 0;
	while (n < in->n && digit_of(in->p[n]) >= 0) {
		size = size * 16 + (uint64_t)digit_of(in->p[n]);
		if (++n > 8)
			return 400;
	}
	if (n == 0)
		return in->n ? 400 : 1;
	*in = slice_from(*in, n);
	*ret = size;
	return take_crlf(in);
}

static int decode(struct slice in, struct decoded *d)
{
	size_t whole = in.n;
	uint64_t size, total = 0;
	do {
		int r = take_size(&in, &size);
		if (r)
			return r;
		total += size;
		if (total > BODY_LIMIT)
			return 413;
		size_t part = in.n < size ? in.n : (size_t)size;
		if (part > 0)
			memcpy(d->body + d->n, in.p, part);
		d->n += part;
		in = slice_from(in, part);
		if (part < size)
			return 1;
		r = take_crlf(&in);
		if (r)
			return r;
	} while (size > 0);
	d->used = whole - in.n;
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char head[] =
	        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
	static struct decoded want;
	static int ready = -1;
	if (ready < 0)
		ready = crypto_init();
	if (size < 1)
		return 0;
	size_t step = (size_t)data[0] + 1;
	struct slice in = slice_make(data + 1, size - 1);
	want.n = want.used = 0;
	want.status = decode(in, &want);

	struct http_exchange *x = NULL;
	const char *why;
	if (http_exchange_new(slice_make(head, sizeof(head) - 1), &x, &why) != 0)
		abort();
	int status = http_exchange_limit(x, BODY_LIMIT);
	size_t used = 0;
	while (!status && !x->complete && used < in.n) {
		struct slice rest = slice_from(in, used);
		rest.n = rest.n < step ? rest.n : step;
		size_t n = 0;
		status = http_exchange_body(x, rest, &n, &why);
		used += n;
	}
	if (!status && !x->complete)
		status = 1;
	/* In one part there may be a size that is too large and a flaw behind it. */
	if ((status >= 400) != (want.status >= 400) || (status < 400 && status != want.status))
		abort();
	if (status == 0 &&
	        (used != want.used || !slice_eq(x->r.body, slice_make(want.body, want.n))))
		abort();
	http_exchange_free(x);
	return 0;
}
