#include "server/api/handlers.h"
#include "server/api/internal.h"
#include "server/base/err.h"

/* What needs no credential and no worker: it answers also while every worker waits. */

void api_health(
        struct api *api HF_UNUSED, struct http_request *r, const struct api_match *m HF_UNUSED)
{
	http_respond(r,
	        &(struct http_response){
	                .status = 200,
	                .content_type = API_JSON_TYPE,
	                .body = SLICE_LIT("{\"status\":\"alive\"}"),
	        });
}

static json_t *texts(const char *const *list, unsigned n)
{
	json_t *array = json_array();
	for (unsigned i = 0; array && i < n; i++)
		json_array_append_new(array, json_string(list[i]));
	return array;
}

void api_ready(struct api *api, struct http_request *r, const struct api_match *m HF_UNUSED)
{
	struct api_readiness state = {0};
	api->deps.readiness(api->deps.ctx, &state);
	_cleanup_json_ json_t *doc = json_pack("{s:s,s:o,s:o}", "status",
	        state.ready ? "ready" : "not ready", "reasons",
	        texts(state.reasons, state.n_reasons), "warnings",
	        texts(state.warnings, state.n_warnings));
	struct buf _cleanup_(buf_free) out;
	buf_init(&out, API_PAGE_BYTES);
	if (!doc || api_json_append(&out, doc) < 0) {
		api_respond_problem(r, API_PROBLEM_UNAVAILABLE, NULL, NULL);
		return;
	}
	http_respond(r,
	        &(struct http_response){
	                .status = state.ready ? 200 : 503,
	                .content_type = API_JSON_TYPE,
	                .body = buf_slice(&out),
	                .extra = state.ready ? NULL : "Retry-After: 1\r\n",
	        });
}

void api_openapi(struct api *api, struct http_request *r, const struct api_match *m HF_UNUSED)
{
	http_respond(r,
	        &(struct http_response){
	                .status = 200,
	                .content_type = API_JSON_TYPE,
	                .body = slice_make(api->openapi, api->openapi_len),
	        });
}

void api_device_send(struct api *api, struct http_request *r, const struct api_match *m)
{
	ingest_handle(
	        api->ingest, r, m->params[0], m->n_params > 1 ? m->params[1] : (struct slice){0});
}
