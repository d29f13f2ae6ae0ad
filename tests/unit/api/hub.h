/*
 * A small hub for tests of the API: loops, net, registry, broker and policy as they are, the stores
 * in memory, one plain listener, and a client with a blocking socket.
 */
#ifndef HF_TESTS_UNIT_API_HUB_H
#define HF_TESTS_UNIT_API_HUB_H

#include "tests/unit/net/rig.h"

#include "broker/broker.h"
#include "policy/policy.h"
#include "registry/registry.h"
#include "server/api/api.h"
#include "server/api/openapi.h"
#include "server/base/clock.h"
#include "server/base/json.h"
#include "storage/ram/ram.h"

#define OWNER "Bearer owner-token-0123456789"
#define READER "Bearer reader-token-0123456789"
#define SERVICE "Bearer service-token-0123456789"

struct hub {
	struct rig rig;
	struct ram_store *ram;
	struct registry *registry;
	struct broker *broker;
	struct api *api;
	unsigned port, extra_port;
	size_t corrupt; /* index + 1 of the row that fails its check; 0: none */
	struct api_readiness readiness;
};
HF_UNUSED static struct hub hub;
/* Set before hub_start: a second listener with that owner. */
HF_UNUSED static void (*hub_extra)(struct conn *c, void *arg);

/* ---- the broker's hooks ---- */

static void hook_authenticate(void *ctx, struct auth_request *r)
{
	registry_authenticate(((struct hub *)ctx)->registry, r);
}
static void hook_recheck(void *ctx, struct recheck_request *r)
{
	registry_recheck(((struct hub *)ctx)->registry, r);
}
static bool hook_claimed_id(void *ctx HF_UNUSED, struct slice username, struct slice *ret)
{
	return registry_claimed_id(username, ret);
}
static bool hook_may_publish(void *ctx HF_UNUSED, const struct principal *p, struct slice topic)
{
	return policy_may_publish(p, topic);
}
static bool hook_may_subscribe(void *ctx HF_UNUSED, const struct principal *p, struct slice filter)
{
	return policy_may_subscribe(p, filter);
}
static void hook_presence(void *ctx HF_UNUSED, const struct principal *p HF_UNUSED,
        bool connected HF_UNUSED, int64_t when_us HF_UNUSED)
{
}

/* ---- stored messages: the rows of the store in memory; seq is the row's number, from 1 ---- */

static bool row_wanted(const struct telemetry_query *q, const struct ram_row *row, int64_t seq)
{
	if (row->device_key != q->device_key || row->received_us < q->from_us ||
	        row->received_us >= q->to_us)
		return false;
	if (!q->has_after)
		return true;
	return q->ascending ? seq > q->after_seq : seq < q->after_seq;
}

static int query_rows(void *ctx, const struct telemetry_query *q,
        int (*item)(const struct telemetry_item *it, void *arg), void *arg)
{
	const struct hub *h = ctx;
	size_t n = ram_row_count(h->ram);
	unsigned given = 0;
	for (size_t i = 0; i < n && given < q->limit; i++) {
		struct ram_row row;
		size_t at = q->ascending ? i : n - 1 - i;
		ram_row_get(h->ram, at, &row);
		if (!row_wanted(q, &row, (int64_t)at + 1))
			continue;
		struct telemetry_item it = {.seq = (int64_t)at + 1, .received_us = row.received_us};
		if (h->corrupt == at + 1) {
			it.corrupt = true;
		} else {
			it.qos = row.qos;
			it.topic = row.topic;
			it.module = row.module;
			it.props = row.props;
			it.payload = row.payload;
		}
		int r = item(&it, arg);
		if (r < 0)
			return r;
		given++;
	}
	return 0;
}

/* ---- the hub ---- */

static void hub_readiness(void *ctx, struct api_readiness *ret)
{
	*ret = ((struct hub *)ctx)->readiness;
}

static void hub_accept(struct conn *c, void *arg)
{
	http_accept(c, api_http(((struct hub *)arg)->api));
}

static void hub_rooms(struct hub *h)
{
	static char name[] = "hub.example", filter[] = "#";
	static char *const names[] = {name}, *const filters[] = {filter};
	const struct registry_store store = ram_registry(h->ram);
	const struct registry_limits registry_limits = {
	        .lookup_ms = 5000, .cache_entries = 100, .hub_names = names, .n_hub_names = 1};
	h->registry = registry_new(h->rig.loops, h->rig.n, &store, &registry_limits);
	const struct broker_hooks hooks = {h, hook_authenticate, hook_recheck, hook_claimed_id,
	        hook_may_publish, hook_may_subscribe, hook_presence};
	const struct telemetry_store telemetry = ram_telemetry(h->ram);
	const struct broker_limits limits = {
	        .connect_ms = 10000,
	        .max_packet_size = 278528,
	        .max_payload = 262144,
	        .max_keep_alive = 1767,
	        .receive_maximum = 256,
	        .max_inflight = 64,
	        .max_topic_levels = 64,
	        .max_subscriptions = 100,
	        .max_queued_messages = 100,
	        .max_queued_bytes = 1 << 20,
	        .max_session_expiry = 3600,
	        .max_sessions = 1000,
	        .max_retained = 100,
	        .max_retained_bytes = 1 << 20,
	        .output_soft_bytes = 1 << 20,
	        .output_hard_bytes = 8 << 20,
	        .store_queue_bytes = 64 << 20,
	        .store_filters = filters,
	        .n_store_filters = 1,
	};
	h->broker = broker_new(h->rig.loops, h->rig.n, &hooks, &telemetry, &limits);
	ck_assert(h->registry && h->broker);
}

HF_UNUSED static void hub_start(void)
{
	struct hub *h = &hub;
	*h = (struct hub){.readiness = {.ready = true}};
	rig_new(&h->rig, 2);
	h->ram = ram_new();
	ram_add_token(h->ram, slice_str(OWNER + 7), "owner", PERM_ALL_KEY | PERM_OWNER, 0);
	ram_add_token(h->ram, slice_str(READER + 7), "reader", PERM_REGISTRY_READ, 0);
	ram_add_token(h->ram, slice_str(SERVICE + 7), "service", PERM_SERVICE_CONNECT, 0);
	hub_rooms(h);
	const struct api_deps deps = {
	        .registry = h->registry,
	        .broker = h->broker,
	        .telemetry = {h, query_rows},
	        .ctx = h,
	        .readiness = hub_readiness,
	        .http = {.head_bytes = 16384,
	                .body_bytes = 1 << 20,
	                .head_ms = 10000,
	                .body_ms = 10000,
	                .idle_ms = 60000},
	        .device_body_bytes = 262144,
	        .device_inflight = 4,
	        .workers = 4,
	        .loops = 2,
	        .version = "1.2.3",
	};
	h->api = api_new(&deps);
	ck_assert_ptr_nonnull(h->api);
	h->port = rig_listen(&h->rig, false, NET_PROTOCOL_ANY, hub_accept, h);
	if (hub_extra)
		h->extra_port = rig_listen(&h->rig, false, NET_PROTOCOL_ANY, hub_extra, h);
	rig_run(&h->rig);
}

HF_UNUSED static void hub_stop(void)
{
	struct hub *h = &hub;
	api_stop(h->api);
	rig_halt(&h->rig);
	net_free(h->rig.net);
	api_free(h->api);
	broker_free(h->broker);
	registry_free(h->registry);
	for (unsigned i = 0; i < h->rig.n; i++)
		loop_free(h->rig.loops[i]);
	ram_free(h->ram);
	dir_remove();
}

/* ---- a client ---- */

struct reply {
	int status;
	char head[8192];
	char *body;
	size_t body_len;
	json_t *json; /* the body, where it is JSON */
};

static int hub_connect(void)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)hub.port)};
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	const struct timeval limit = {.tv_sec = RIG_WAIT_S};
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	ck_assert_int_eq(connect(fd, (const struct sockaddr *)&to, sizeof(to)), 0);
	return fd;
}

static void send_all(int fd, const void *p, size_t n)
{
	const char *at = p;
	while (n > 0) {
		ssize_t sent = send(fd, at, n, MSG_NOSIGNAL);
		ck_assert_int_gt(sent, 0);
		at += sent;
		n -= (size_t)sent;
	}
}

/* headers: whole lines, or NULL. */
HF_UNUSED static void request_send(int fd, const char *method, const char *target, const char *auth,
        const char *headers, struct slice body)
{
	char head[8192];
	int n = snprintf(head, sizeof(head),
	        "%s %s HTTP/1.1\r\nHost: hub.example\r\n%s%s%s%sContent-Length: %zu\r\n\r\n",
	        method, target, auth ? "Authorization: " : "", auth ? auth : "", auth ? "\r\n" : "",
	        headers ? headers : "", body.n);
	ck_assert_int_lt(n, (int)sizeof(head));
	send_all(fd, head, (size_t)n);
	send_all(fd, body.p, body.n);
}

static void reply_head(int fd, struct reply *r)
{
	size_t n = 0;
	while (n < 4 || memcmp(r->head + n - 4, "\r\n\r\n", 4) != 0) {
		ck_assert_uint_lt(n, sizeof(r->head) - 1);
		ck_assert_msg(
		        recv(fd, r->head + n, 1, 0) == 1, "no whole head: %.*s", (int)n, r->head);
		n++;
	}
	r->head[n] = '\0';
	r->status = atoi(r->head + strlen("HTTP/1.1 "));
}

HF_UNUSED static void reply_read(int fd, bool head_only, struct reply *r)
{
	*r = (struct reply){0};
	reply_head(fd, r);
	const char *length = strcasestr(r->head, "\r\nContent-Length: ");
	r->body_len = length && !head_only ? strtoul(length + 18, NULL, 10) : 0;
	r->body = calloc(1, r->body_len + 1);
	for (size_t n = 0; n < r->body_len;) {
		ssize_t got = recv(fd, r->body + n, r->body_len - n, 0);
		ck_assert_int_gt(got, 0);
		n += (size_t)got;
	}
	r->json = json_loadb(r->body, r->body_len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, NULL);
}

HF_UNUSED static void reply_done(struct reply *r)
{
	json_decref(r->json);
	free(r->body);
	*r = (struct reply){0};
}

/* One request on a connection of its own. */
HF_UNUSED static void call_with(struct reply *r, const char *method, const char *target,
        const char *auth, const char *headers, const char *body)
{
	int fd = hub_connect();
	request_send(fd, method, target, auth, headers, slice_str(body ? body : ""));
	reply_read(fd, strcmp(method, "HEAD") == 0, r);
	close(fd);
}

/* The same, with an expected status; the reply is the last one of this thread. */
HF_UNUSED static struct reply last;
HF_UNUSED static json_t *call(int status, const char *method, const char *target, const char *auth,
        const char *headers, const char *body)
{
	reply_done(&last);
	call_with(&last, method, target, auth, headers, body);
	ck_assert_msg(last.status == status, "%s %s: %d, not %d: %s", method, target, last.status,
	        status, last.body);
	if (status >= 400)
		ck_assert_msg(strcasestr(last.head,
		                      "\r\nContent-Type: application/problem+json\r\n") != NULL,
		        "%s", last.head);
	return last.json;
}

HF_UNUSED static const char *text_at(const json_t *doc, const char *name)
{
	return json_string_value(json_object_get(doc, name));
}

/* errors[i].pointer, or .parameter */
HF_UNUSED static const char *error_at(const json_t *problem, size_t i, const char *member)
{
	return text_at(json_array_get(json_object_get(problem, "errors"), i), member);
}

/* The value of a header of the last reply, "" if it isn't there. */
HF_UNUSED static const char *header_of(const char *name)
{
	static char value[4096];
	char line[128];
	snprintf(line, sizeof(line), "\r\n%s: ", name);
	const char *at = strcasestr(last.head, line);
	if (!at)
		return "";
	at += strlen(line);
	snprintf(value, sizeof(value), "%.*s", (int)strcspn(at, "\r"), at);
	return value;
}

/* Every member of the answer is in the schema of that name, and all that are required are there. */
HF_UNUSED static void documented(const json_t *value, const char *schema)
{
	_cleanup_json_ json_t *doc = api_openapi_build("1");
	const json_t *schemas = json_object_get(json_object_get(doc, "components"), "schemas");
	const json_t *s = json_object_get(schemas, schema), *required;
	const char *name;
	json_t *member;
	size_t i;
	ck_assert(json_is_object(value) && json_is_object(s));
	json_object_foreach((json_t *)value, name, member)
	        ck_assert_msg(json_object_get(json_object_get(s, "properties"), name) != NULL,
	                "%s is not in %s", name, schema);
	json_array_foreach(json_object_get(s, "required"), i, required)
	        ck_assert_msg(json_object_get(value, json_string_value(required)) != NULL,
	                "%s has no %s", schema, json_string_value(required));
}

/* A SAS token for resource (percent-encoded already), signed with the Base64 key. */
HF_UNUSED static const char *sas_token(const char *resource, const char *key, const char *skn)
{
	static char token[2048];
	uint8_t raw[256], mac[32];
	char text[512], sig[64];
	size_t n;
	ck_assert_int_eq(crypto_base64_decode(slice_str(key), raw, &n), 0);
	int64_t expires = clock_wall_us() / 1000000 + 3600;
	snprintf(text, sizeof(text), "%s\n%lld", resource, (long long)expires);
	crypto_hmac_sha256(slice_make(raw, n), slice_str(text), (struct slice){0}, mac);
	crypto_base64_encode(slice_make(mac, sizeof(mac)), sig);
	int len = snprintf(token, sizeof(token), "SharedAccessSignature sr=%s&sig=", resource);
	for (const char *s = sig; *s; s++)
		len += snprintf(token + len, sizeof(token) - (size_t)len,
		        *s == '+' || *s == '/' || *s == '=' ? "%%%02X" : "%c", *s);
	len += snprintf(token + len, sizeof(token) - (size_t)len, "&se=%lld", (long long)expires);
	if (skn)
		snprintf(token + len, sizeof(token) - (size_t)len, "&skn=%s", skn);
	return token;
}

#define HUB_MAIN_WITH(setup, name, ...)                            \
	int main(void)                                             \
	{                                                          \
		Suite *suite = suite_create(name);                 \
		TCase *tcase = tcase_create(name);                 \
		tcase_set_timeout(tcase, 120);                     \
		tcase_add_checked_fixture(tcase, setup, hub_stop); \
		const TTest *const tests[] = {__VA_ARGS__};        \
		for (size_t i = 0; i < ARRAY_LEN(tests); i++)      \
			tcase_add_test(tcase, tests[i]);           \
		suite_add_tcase(suite, tcase);                     \
		SRunner *runner = srunner_create(suite);           \
		srunner_run_all(runner, CK_NORMAL);                \
		int failed = srunner_ntests_failed(runner);        \
		srunner_free(runner);                              \
		return failed ? EXIT_FAILURE : EXIT_SUCCESS;       \
	}

#define HUB_MAIN(name, ...) HUB_MAIN_WITH(hub_start, name, __VA_ARGS__)

#endif
