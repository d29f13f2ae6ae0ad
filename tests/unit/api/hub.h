/*
 * A small hub for tests of the API: loops, net, registry, broker and policy as they are, the stores
 * in memory, one plain listener. Clients are in client.h.
 */
#ifndef HF_TESTS_UNIT_API_HUB_H
#define HF_TESTS_UNIT_API_HUB_H

#include "tests/unit/api/client.h"

#include "broker/broker.h"
#include "policy/policy.h"
#include "registry/registry.h"
#include "server/api/api.h"
#include "storage/ram/ram.h"

#define OWNER "Bearer owner-token-0123456789"
#define READER "Bearer reader-token-0123456789"
#define SERVICE "Bearer service-token-0123456789"

struct hub {
	struct rig rig;
	struct ram_store *ram;
	struct registry *registry;
	struct policy *policy;
	struct broker *broker;
	struct api *api;
	unsigned extra_port;
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
static bool hook_may_publish(
        void *ctx HF_UNUSED, const struct principal *p, struct slice topic, bool retain HF_UNUSED)
{
	return policy_may_publish(p, topic, false);
}
static bool hook_may_subscribe(void *ctx HF_UNUSED, const struct principal *p, struct slice filter)
{
	return policy_may_subscribe(p, filter);
}
static bool hook_may_receive(void *ctx HF_UNUSED, const struct principal *p HF_UNUSED,
        struct slice topic HF_UNUSED, const struct access *from HF_UNUSED)
{
	return true;
}
static bool hook_filters_receive(void *ctx HF_UNUSED, const struct principal *p HF_UNUSED)
{
	return false;
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
	http_accept(c, api_http(((struct hub *)arg)->api), NULL);
}

static void hub_rooms(struct hub *h)
{
	static char name[] = "hub.example", filter[] = "#";
	static char *const names[] = {name}, *const filters[] = {filter};
	const struct registry_store store = ram_registry(h->ram);
	const struct registry_limits registry_limits = {
	        .lookup_ms = 5000, .cache_entries = 100, .hub_names = names, .n_hub_names = 1};
	h->registry = registry_new(h->rig.loops, h->rig.n, &store, NULL, &registry_limits);
	const struct policy_store policy_store = {.documents = store.documents};
	const struct policy_limits policy_limits = {.device_defaults = true};
	h->policy = policy_new(h->rig.loops, h->rig.n, &policy_store, &policy_limits);
	ck_assert(h->policy && policy_start(h->policy) == 0);
	const struct broker_hooks hooks = {
	        .ctx = h,
	        .authenticate = hook_authenticate,
	        .recheck = hook_recheck,
	        .claimed_id = hook_claimed_id,
	        .may_publish = hook_may_publish,
	        .may_subscribe = hook_may_subscribe,
	        .may_receive = hook_may_receive,
	        .filters_receive = hook_filters_receive,
	        .presence = hook_presence,
	};
	const struct telemetry_store telemetry = ram_telemetry(h->ram);
	const struct session_store sessions = ram_sessions(h->ram);
	const struct broker_limits limits = {
	        .lookup_ms = 5000,
	        .command_depth = 50,
	        .command_ttl = 3600,
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
	h->broker = broker_new(h->rig.loops, h->rig.n, &hooks,
	        &(struct broker_stores){.telemetry = &telemetry, .sessions = &sessions}, &limits);
	ck_assert(h->registry && h->broker);
}

HF_UNUSED static void hub_start(void)
{
	struct hub *h = &hub;
	*h = (struct hub){.readiness = {.ready = true}};
	rig_new(&h->rig, 2);
	h->ram = ram_new();
	ram_add_token(h->ram, slice_str(OWNER + 7), "owner", "owner");
	ram_add_token(h->ram, slice_str(READER + 7), "reader", "analyst");
	ram_add_token(h->ram, slice_str(SERVICE + 7), "service", "operator");
	hub_rooms(h);
	const struct api_deps deps = {
	        .registry = h->registry,
	        .policy = h->policy,
	        .broker = h->broker,
	        .telemetry = {h, query_rows},
	        .audit = ram_audit(h->ram),
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
	client_port = rig_listen(&h->rig, false, NET_PROTOCOL_ANY, hub_accept, h);
	if (hub_extra)
		h->extra_port = rig_listen(&h->rig, false, NET_PROTOCOL_ANY, hub_extra, h);
	rig_run(&h->rig);
}

HF_UNUSED static void hub_stop(void)
{
	struct hub *h = &hub;
	api_stop(h->api);
	policy_stop(h->policy);
	rig_halt(&h->rig);
	net_free(h->rig.net);
	api_free(h->api);
	policy_free(h->policy);
	broker_free(h->broker);
	registry_free(h->registry);
	for (unsigned i = 0; i < h->rig.n; i++)
		loop_free(h->rig.loops[i]);
	ram_free(h->ram);
	dir_remove();
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
