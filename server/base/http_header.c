#include "server/base/http_header.h"

#include <stdlib.h>

#include "server/base/crypto.h"

static struct slice put(uint8_t **at, struct slice s)
{
	struct slice copy = slice_make(*at, s.n);
	if (s.n > 0)
		memcpy(*at, s.p, s.n);
	*at += s.n;
	return copy;
}

struct http_opening *http_opening_new(
        struct slice query, const struct http_header *headers, unsigned n)
{
	size_t size = sizeof(struct http_opening) + n * sizeof(*headers) + query.n;
	for (unsigned i = 0; i < n; i++)
		size += headers[i].name.n + headers[i].value.n;
	struct http_opening *o = malloc(size);
	if (!o)
		return NULL;
	o->size = size;
	o->n_headers = n;
	o->headers = (struct http_header *)(o + 1);
	uint8_t *at = (uint8_t *)(o->headers + n);
	o->query = put(&at, query);
	for (unsigned i = 0; i < n; i++)
		o->headers[i] = (struct http_header){
		        put(&at, headers[i].name), put(&at, headers[i].value)};
	return o;
}

struct http_opening *http_opening_free(struct http_opening *o)
{
	if (o)
		crypto_wipe(o, o->size);
	free(o);
	return NULL;
}
