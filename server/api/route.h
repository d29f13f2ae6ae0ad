/* The route table and the search in it. Nothing is allocated. Any thread. */
#ifndef HF_API_ROUTE_H
#define HF_API_ROUTE_H

#include "policy/policy.h"
#include "server/net/http.h"

struct api;
struct api_call;
struct api_match;

enum api_body { API_BODY_NONE, API_BODY_JSON, API_BODY_OPTIONAL, API_BODY_PATCH, API_BODY_MESSAGE };

enum api_route_flag {
	API_IF_MATCH = 1 << 0,
	API_IF_NONE_MATCH = 1 << 1,
	API_IDEMPOTENT = 1 << 2,
	API_DESTRUCTIVE = 1 << 3, /* another person has to agree, where policy.four_eyes says so: it
	                           * destroys something, or could make that other person up */
};

struct api_route {
	/* One of the two: on the connection's loop, or on a worker. */
	void (*on_loop)(struct api *api, struct http_request *r, const struct api_match *m);
	void (*on_worker)(struct api_call *c);
	enum api_body body;
	unsigned flags;
};

#define API_PARAMS_MAX 3

struct api_match {
	enum policy_op op;
	const struct api_route *route;
	unsigned n_params;
	struct slice params[API_PARAMS_MAX]; /* as in the path: still percent-encoded */
};

const struct api_route *api_route(enum policy_op op);
/* Which operation a request means: 0 with *ret; 404; or 405 with the methods that the path knows in
 * *ret_allowed (bits 1 << HTTP_METHOD_…). HEAD finds GET. */
int api_route_find(
        enum http_method method, struct slice path, struct api_match *ret, unsigned *ret_allowed);
/* Writes "GET, HEAD, …" into out. */
#define API_ALLOW_LEN 64
void api_route_allow(unsigned allowed, char out[static API_ALLOW_LEN]);

#endif
