/*
 * The REST API: routes (policy/access.def with server/api/routes.def), four worker threads that may
 * block, errors as RFC 9457, and the device's HTTPS door behind the same listener.
 */
#ifndef HF_API_API_H
#define HF_API_API_H

#include "broker/broker.h"
#include "registry/registry.h"
#include "server/api/audit_store.h"
#include "server/api/telemetry_query_store.h"
#include "server/base/buf.h"
#include "server/net/http.h"

struct api;

/* Why the hub is not ready (or what it warns of), each a short text. */
struct api_readiness {
	bool ready;
	const char *reasons[8];
	unsigned n_reasons;
	const char *warnings[8];
	unsigned n_warnings;
};

struct api_deps {
	struct registry *registry;
	struct policy *policy;
	struct broker *broker;
	struct telemetry_query_store telemetry;
	struct audit_store audit;
	void *ctx;
	void (*readiness)(void *ctx, struct api_readiness *ret); /* any thread */
	struct http_limits http;
	size_t device_body_bytes; /* of POST …/messages/events: mqtt.max_payload */
	unsigned device_inflight; /* https.device_inflight */
	bool four_eyes;           /* policy.four_eyes */
	unsigned workers;
	unsigned loops; /* event loops that requests may come from; 0: not known */
	const char *version;
};

/* Starts the workers. NULL when out of resources. Main thread. */
struct api *api_new(const struct api_deps *deps);
/* What https listeners hand connections to: http_accept(conn, api_http(api)). */
const struct http_server *api_http(const struct api *api);
/* Live settings; any thread. */
void api_set_limits(struct api *api, const struct http_limits *http, size_t device_body_bytes,
        unsigned device_inflight);
/* Finishes what the workers have begun, stops them; further requests get 503. */
void api_stop(struct api *api);
void api_free(struct api *api);

#endif
