#include "server/ingest/ingest.h"

#include "policy/policy.h"
#include "server/base/cleanup.h"
#include "server/base/device_id.h"
#include "server/base/err.h"
#include "server/base/map.h"
#include "server/ingest/map_message.h"

/* How many messages of one device wait for the store. */
struct meter {
	unsigned n;
	size_t id_len;
	char id[];
};

struct lane {              /* what one loop owns */
	struct map meters; /* of devices with n > 0 */
} __attribute__((aligned(64)));

struct ingest {
	struct registry *registry;
	struct broker *broker;
	void (*problem)(struct buf *out, int status, const char *detail, const char *trace_id);
	_Atomic unsigned inflight;
	unsigned n_lanes;
	struct lane *lanes;
};

/* One request, from its authentication to its answer; owned by the loop. */
struct send {
	struct ingest *in;
	struct http_request *r;
	struct auth_request auth;
	struct broker_publish publish;
	struct meter *meter;
	char id[MODULE_ID_MAX + 1]; /* "device" or "device/module" */
};

struct ingest *ingest_new(struct registry *r, struct broker *b, unsigned n_loops,
        void (*problem)(struct buf *out, int status, const char *detail, const char *trace_id))
{
	struct ingest *in = calloc(1, sizeof(*in));
	if (!in)
		return NULL;
	*in = (struct ingest){.registry = r, .broker = b, .problem = problem, .n_lanes = n_loops};
	atomic_init(&in->inflight, 64);
	in->lanes = aligned_alloc(_Alignof(struct lane), n_loops * sizeof(*in->lanes));
	if (!in->lanes) {
		free(in);
		return NULL;
	}
	for (unsigned i = 0; i < n_loops; i++)
		map_init(&in->lanes[i].meters);
	return in;
}

void ingest_free(struct ingest *in)
{
	if (!in)
		return;
	for (unsigned i = 0; i < in->n_lanes; i++) {
		struct meter *m;
		map_for_each (&in->lanes[i].meters, pos, m)
			free(m);
		map_free(&in->lanes[i].meters);
	}
	free(in->lanes);
	free(in);
}

void ingest_set_inflight(struct ingest *in, unsigned per_device)
{
	atomic_store_explicit(&in->inflight, per_device, memory_order_relaxed);
}

/* ---- the limit of one device ---- */

static int meter_enter(struct send *s)
{
	struct map *meters = &s->in->lanes[loop_index(s->r->loop)].meters;
	struct slice id = slice_str(s->id);
	struct meter *m = map_get(meters, id);
	if (m && m->n >= atomic_load_explicit(&s->in->inflight, memory_order_relaxed))
		return ERR_QUOTA;
	if (!m) {
		m = calloc(1, sizeof(*m) + id.n);
		if (!m)
			return ERR_NOMEM;
		m->id_len = id.n;
		memcpy(m->id, id.p, id.n);
		if (map_put(meters, slice_make(m->id, m->id_len), m, NULL) < 0) {
			free(m);
			return ERR_NOMEM;
		}
	}
	m->n++;
	s->meter = m;
	return 0;
}

static void meter_leave(struct send *s)
{
	struct meter *m = TAKE_PTR(s->meter);
	if (!m || --m->n > 0)
		return;
	map_remove(&s->in->lanes[loop_index(s->r->loop)].meters, slice_make(m->id, m->id_len));
	free(m);
}

/* ---- answers ---- */

static const char *extra_of(int status)
{
	switch (status) {
	case 401: return "WWW-Authenticate: Bearer, SharedAccessSignature\r\n";
	case 429:
	case 503: return "Retry-After: 1\r\n";
	default: return NULL;
	}
}

static void answer(struct ingest *in, struct http_request *r, int status, const char *detail)
{
	if (status == 204) {
		http_respond(r, &(struct http_response){.status = 204});
		return;
	}
	struct buf _cleanup_(buf_free) body;
	buf_init(&body, 4096);
	in->problem(&body, status, detail, r->trace_id);
	http_respond(r,
	        &(struct http_response){
	                .status = status,
	                .content_type = "application/problem+json",
	                .body = buf_slice(&body),
	                .extra = extra_of(status),
	        });
}

static void finish(struct send *s, int status, const char *detail)
{
	meter_leave(s);
	answer(s->in, s->r, status, detail);
	principal_unref(s->publish.principal);
	msg_unref(s->publish.msg);
	free(s);
}

static int status_of(int err)
{
	switch (err) {
	case 0: return 204;
	/* The device was deleted meanwhile: nobody is told more than that the credential is void.
	 */
	case ERR_NOT_FOUND: return 401;
	default: return err_http(err);
	}
}

/* ---- the way of a message ---- */

static void on_published(struct broker_publish *p)
{
	/* The broker knows one reason to be unavailable: the store's queue is full. */
	if (p->err == ERR_UNAVAILABLE)
		finish(p->user, 429, "too many messages wait for the store");
	else
		finish(p->user, status_of(p->err), NULL);
}

static void publish(struct send *s)
{
	const char *why = NULL;
	int err = meter_enter(s);
	if (err == 0)
		err = ingest_map_message(s->r, s->id, &s->publish.msg, &why);
	/* What MQTT would refuse on that topic is refused here. */
	if (err == 0 && !policy_may_publish(s->publish.principal, msg_topic(s->publish.msg), false))
		err = ERR_DENIED;
	if (err < 0) {
		finish(s, status_of(err),
		        err == ERR_QUOTA ? "too many messages of this device wait for the store"
		                         : why);
		return;
	}
	s->publish.done = on_published;
	s->publish.user = s;
	broker_publish(s->in->broker, s->r->loop, &s->publish);
}

static void on_authenticated(struct auth_request *a)
{
	struct send *s = a->user;
	if (a->err < 0) {
		finish(s, a->err == ERR_INVALID ? 401 : status_of(a->err), NULL);
		return;
	}
	s->publish.principal = a->principal;
	s->r->known = true;
	/* A device acts for itself alone, whoever signed the token. */
	if (a->principal->kind == PRINCIPAL_DEVICE &&
	        !slice_eq_str(principal_id(a->principal), s->id))
		finish(s, 401, NULL);
	else if (!policy_may(a->principal, POLICY_OP_device_send))
		finish(s, 403, NULL);
	else
		publish(s);
}

static bool decode_name(struct slice raw, char ret[static DEVICE_ID_MAX + 1])
{
	char decoded[3 * DEVICE_ID_MAX];
	size_t n;
	if (raw.n > sizeof(decoded) || http_percent_decode(raw, decoded, &n) < 0 ||
	        !device_id_valid(slice_make(decoded, n)))
		return false;
	memcpy(ret, decoded, n);
	ret[n] = '\0';
	return true;
}

static bool decode_id(struct slice device, struct slice module, char ret[static MODULE_ID_MAX + 1])
{
	char name[DEVICE_ID_MAX + 1];
	if (!decode_name(device, ret))
		return false;
	if (module.n == 0)
		return true;
	if (!decode_name(module, name))
		return false;
	size_t n = strlen(ret);
	snprintf(ret + n, MODULE_ID_MAX + 1 - n, "/%s", name);
	return true;
}

void ingest_handle(
        struct ingest *in, struct http_request *r, struct slice device, struct slice module)
{
	struct send *s = calloc(1, sizeof(*s));
	if (!s) {
		answer(in, r, 503, NULL);
		return;
	}
	if (!decode_id(device, module, s->id)) {
		free(s);
		answer(in, r, 400, "the device id is not valid");
		return;
	}
	s->in = in;
	s->r = r;
	s->auth = (struct auth_request){
	        .loop = r->loop,
	        .https = true,
	        .device_id = slice_str(s->id),
	        .authorization = http_header_get(r, "Authorization", NULL),
	        .protocol = "https",
	        .server_name = slice_str(r->server_name),
	        .certificate = r->certificate,
	        .query = r->query,
	        .headers = r->headers,
	        .n_headers = r->n_headers,
	        .done = on_authenticated,
	        .user = s,
	};
	snprintf(s->auth.peer, sizeof(s->auth.peer), "%s", r->peer);
	registry_authenticate(in->registry, &s->auth);
}
