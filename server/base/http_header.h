/* Headers of an HTTP request, for those who read them and know nothing of HTTP. */
#ifndef HF_BASE_HTTP_HEADER_H
#define HF_BASE_HTTP_HEADER_H

#include "server/base/slice.h"

/* One, as the transport has read it: a view. */
struct http_header {
	struct slice name, value; /* name as sent; compare without case */
};

/* What is kept of the request that opened a WebSocket, until it is known who it is. Owned by one.
 */
struct http_opening {
	struct slice query; /* behind '?', as sent */
	struct http_header *headers;
	unsigned n_headers;
	size_t size; /* of all of it */
};

/* Copies. NULL when out of memory. */
struct http_opening *http_opening_new(
        struct slice query, const struct http_header *headers, unsigned n);
/* Wipes it: there may be credentials in it. NULL is fine; returns NULL. */
struct http_opening *http_opening_free(struct http_opening *o);

#endif
