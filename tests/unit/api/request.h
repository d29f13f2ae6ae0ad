/* Requests for tests, as the HTTP layer would hand them over. */
#ifndef HF_TESTS_UNIT_API_REQUEST_H
#define HF_TESTS_UNIT_API_REQUEST_H

#include <stdio.h>

#include "server/net/http.h"

static inline enum http_method request_method(const char *name)
{
	static const char *const names[] = {
	        "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"};
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(names[i], name) == 0)
			return (enum http_method)i;
	return HTTP_METHOD_OTHER;
}

static inline void request_init(struct http_request *r, const char *method, const char *target)
{
	const char *query = strchr(target, '?');
	*r = (struct http_request){
	        .method = request_method(method),
	        .method_text = slice_str(method),
	        .target = slice_str(target),
	        .path = slice_make(target, query ? (size_t)(query - target) : strlen(target)),
	        .query = slice_str(query ? query + 1 : ""),
	        .peer = "192.0.2.1:4711",
	        .trace_id = "0123456789abcdef0123456789abcdef",
	};
}

static inline void request_header(struct http_request *r, const char *name, const char *value)
{
	r->headers[r->n_headers++] = (struct http_header){
	        .name = slice_str(name), .value = slice_str(value)};
}

#endif
