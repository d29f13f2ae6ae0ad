#include "server/api/api.h"

#include "server/api/handlers.h"
#include "server/api/internal.h"
#include "server/api/openapi.h"
#include "server/base/clock.h"
#include "server/base/err.h"

/* The door: what connections are given, and where each request goes. */

#define LOOPS_MAX 64
/* A body that an operation does not take is read that far, to be refused with a reason. */
#define UNWANTED_BODY_BYTES ((size_t)16 << 10)

void api_respond_problem(
        struct http_request *r, enum api_problem kind, const char *detail, const char *extra)
{
	struct buf _cleanup_(buf_free) body;
	buf_init(&body, 4096);
	api_problem_write(&body, kind, detail, r->trace_id, NULL);
	http_respond(r,
	        &(struct http_response){
	                .status = api_problem_status(kind),
	                .content_type = API_PROBLEM_TYPE,
	                .body = buf_slice(&body),
	                .extra = extra,
	        });
}

static void begin(struct api *api, struct http_request *r, const struct api_match *m)
{
	struct api_call *c = api_call_new(api, r, m);
	if (c && api_pool_push(&api->pool, c))
		return;
	api_call_drop(c);
	api_respond_problem(
	        r, API_PROBLEM_UNAVAILABLE, "too much is waiting", "Retry-After: 1\r\n");
}

static void handle(void *arg, struct http_request *r)
{
	struct api *api = arg;
	struct api_match m;
	unsigned allowed = 0;
	switch (api_route_find(r->method, r->path, &m, &allowed)) {
	case 404: api_respond_problem(r, API_PROBLEM_NOT_FOUND, NULL, NULL); return;
	case 405: {
		char methods[API_ALLOW_LEN], line[API_ALLOW_LEN + 16];
		api_route_allow(allowed, methods);
		snprintf(line, sizeof(line), "Allow: %s\r\n", methods);
		api_respond_problem(r, API_PROBLEM_METHOD, NULL, line);
		return;
	}
	}
	if (m.route->on_loop)
		m.route->on_loop(api, r, &m);
	else
		begin(api, r, &m);
}

static size_t body_limit(void *arg, const struct http_request *r)
{
	const struct api *api = arg;
	struct api_match m;
	unsigned allowed;
	if (api_route_find(r->method, r->path, &m, &allowed) != 0 || m.route->body == API_BODY_NONE)
		return UNWANTED_BODY_BYTES;
	return m.route->body == API_BODY_MESSAGE
	        ? atomic_load_explicit(&api->device_body_bytes, memory_order_relaxed)
	        : atomic_load_explicit(&api->body_bytes, memory_order_relaxed);
}

static void problem(
        void *arg HF_UNUSED, struct buf *out, int status, const char *detail, const char *trace_id)
{
	api_problem_append(out, status, detail, trace_id);
}

/* Connections read the limits when they begin, on any loop: so a set of limits never changes, and
 * lives as long as the API. */
static int add_listener(struct api *api, const struct http_limits *limits)
{
	struct api_listener *l = malloc(sizeof(*l));
	if (!l)
		return ERR_NOMEM;
	*l = (struct api_listener){
	        .server =
	                {
	                        .limits = *limits,
	                        .body_limit = body_limit,
	                        .handle = handle,
	                        .problem = problem,
	                        .arg = api,
	                },
	        .older = atomic_load_explicit(&api->listener, memory_order_relaxed),
	};
	atomic_store_explicit(&api->listener, l, memory_order_release);
	return 0;
}

static int start(struct api *api)
{
	const struct api_deps *d = &api->deps;
	api->openapi = api_openapi_text(d->version, &api->openapi_len);
	api->ingest = ingest_new(
	        d->registry, d->broker, d->loops ? d->loops : LOOPS_MAX, api_problem_append);
	if (!api->openapi || !api->ingest || add_listener(api, &d->http) < 0)
		return ERR_NOMEM;
	ingest_set_inflight(api->ingest, d->device_inflight);
	return api_pool_start(&api->pool, d->workers);
}

struct api *api_new(const struct api_deps *deps)
{
	struct api *api = calloc(1, sizeof(*api));
	if (!api)
		return NULL;
	api->deps = *deps;
	api->store = registry_port(deps->registry);
	api->started_ms = clock_ms();
	atomic_init(&api->body_bytes, deps->http.body_bytes);
	atomic_init(&api->device_body_bytes, deps->device_body_bytes);
	api_claims_init(&api->claims);
	if (start(api) < 0) {
		api_free(api);
		return NULL;
	}
	return api;
}

const struct http_server *api_http(const struct api *api)
{
	return &atomic_load_explicit(&api->listener, memory_order_acquire)->server;
}

void api_set_limits(struct api *api, const struct http_limits *http, size_t device_body_bytes,
        unsigned device_inflight)
{
	atomic_store_explicit(&api->body_bytes, http->body_bytes, memory_order_relaxed);
	atomic_store_explicit(&api->device_body_bytes, device_body_bytes, memory_order_relaxed);
	ingest_set_inflight(api->ingest, device_inflight);
	/* Out of memory: connections go on beginning with the limits before. */
	add_listener(api, http);
}

void api_stop(struct api *api)
{
	if (api->pool.threads)
		api_pool_stop(&api->pool);
}

void api_free(struct api *api)
{
	if (!api)
		return;
	api_stop(api);
	api_pool_done(&api->pool);
	api_claims_done(&api->claims);
	ingest_free(api->ingest);
	struct api_listener *l = atomic_load_explicit(&api->listener, memory_order_relaxed);
	while (l) {
		struct api_listener *older = l->older;
		free(l);
		l = older;
	}
	free(api->openapi);
	free(api);
}
