/* What the parts of the API share of struct api. */
#ifndef HF_API_INTERNAL_H
#define HF_API_INTERNAL_H

#include <stdatomic.h>

#include "server/api/api.h"
#include "server/api/idempotency.h"
#include "server/api/pool.h"
#include "server/api/problem.h"
#include "server/ingest/ingest.h"

/* What connections are given; a new one for each change of limits, the old ones live on. */
struct api_listener {
	struct http_server server;
	struct api_listener *older;
};

struct api {
	struct api_deps deps;
	const struct registry_store *store; /* for MACs and idempotency keys */
	struct ingest *ingest;
	struct api_pool pool;
	struct api_claims claims;
	_Atomic(struct api_listener *) listener;
	_Atomic size_t body_bytes, device_body_bytes;
	char *openapi;
	size_t openapi_len;
	uint64_t started_ms;
};

/* The header of every 401, whatever it was that failed. */
#define API_CHALLENGE "WWW-Authenticate: Bearer, SharedAccessSignature\r\n"
#define API_JSON_TYPE "application/json"

/* On a loop: answers with a problem and further header lines (or NULL). */
void api_respond_problem(
        struct http_request *r, enum api_problem kind, const char *detail, const char *extra);

#endif
