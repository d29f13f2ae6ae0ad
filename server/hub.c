#include "server/hub.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "policy/policy.h"
#include "registry/registry.h"
#include "server/api/api.h"
#include "server/base/cleanup.h"
#include "server/base/clock.h"
#include "server/base/crypto.h"
#include "server/base/err.h"
#include "server/base/log.h"
#include "server/base/loop.h"
#include "server/base/metrics.h"
#include "server/doors.h"
#include "server/gate.h"
#include "server/limits.h"
#include "server/net/net.h"
#include "server/outbound/outbound.h"
#include "server/watch.h"
#include "storage/storage.h"

#define HUB_MAX_LOOPS 16
#define HUB_API_WORKERS 4
#define WATCHDOG_MS 5000
#define ANNOUNCE_MS 5000 /* then the line is printed all the same */

struct hub {
	struct config *cfg;
	unsigned n_loops;
	struct loop *loops[HUB_MAX_LOOPS];
	pthread_t threads[HUB_MAX_LOOPS];
	unsigned n_running;
	struct watch watches[HUB_MAX_LOOPS];
	struct storage *storage;
	struct policy *policy;
	struct registry *registry;
	struct broker *broker;
	struct net *net;
	struct outbound *outbound;
	struct api *api;
	struct gate gate;
	struct doors doors;
	atomic_bool accepting; /* false before the start and while draining */
	bool storage_runs;
};

/* ---- wiring: hooks and ports ---- */

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

static bool hook_certificate_id(
        void *ctx, const struct cert_chain *certificate, char ret[static MODULE_ID_MAX + 1])
{
	return registry_certificate_id(((struct hub *)ctx)->registry, certificate, ret);
}

static bool hook_may_publish(
        void *ctx HF_UNUSED, const struct principal *p, struct slice topic, bool retain)
{
	return policy_may_publish(p, topic, retain);
}

static bool hook_may_subscribe(void *ctx HF_UNUSED, const struct principal *p, struct slice filter)
{
	return policy_may_subscribe(p, filter);
}

static bool hook_may_receive(void *ctx HF_UNUSED, const struct principal *p, struct slice topic,
        const struct access *from)
{
	return policy_may_receive(p, topic, from);
}

static bool hook_filters_receive(void *ctx HF_UNUSED, const struct principal *p)
{
	return policy_filters_receive(p);
}

static struct access *hook_access_make(void *ctx, const struct access_source *source)
{
	return policy_access_make(((struct hub *)ctx)->policy, source);
}

static uint64_t hook_access_version(void *ctx)
{
	return policy_version(((struct hub *)ctx)->policy);
}

static bool hook_access_fresh(void *ctx)
{
	return policy_fresh(((struct hub *)ctx)->policy);
}

static enum deny_reason hook_may_connect(
        void *ctx, const struct principal *p, const struct auth_request *req)
{
	struct policy *policy = ((struct hub *)ctx)->policy;
	enum deny_reason why = policy_may_connect_from(policy, p);

	return why == DENY_NONE ? policy_may_connect(policy, p, req) : why;
}

static enum deny_reason hook_attempt(void *ctx, const char *peer, struct slice id, struct slice key)
{
	return policy_attempt(((struct hub *)ctx)->policy, peer, id, key);
}

static void hook_outcome(
        void *ctx, const char *peer, struct slice id, struct slice key, enum deny_reason why)
{
	struct hub *hub = ctx;
	struct ip_addr ip;

	policy_outcome(hub->policy, peer, id, key, why);
	if (ip_parse_peer(peer, &ip) == 0)
		storage_note_address(hub->storage, &ip, why == DENY_NONE);
}

static void hook_presence(void *ctx, const struct principal *p, bool connected, int64_t when_us)
{
	uint64_t key = p->module_key ? p->module_key : p->device_key;

	if (connected)
		policy_note_connected(((struct hub *)ctx)->policy, p);
	if (key)
		storage_note_presence(((struct hub *)ctx)->storage, key, connected, when_us);
}

static void hook_fetch(void *ctx, struct fetch *f)
{
	outbound_ask(((struct hub *)ctx)->outbound, f);
}

/* An identity changed, heard from the feed or done by a worker of this process: the registry's
 * caches first, so that the broker's rechecks (behind it in each loop's mailbox) read anew. */
static bool is_identity(enum entity kind)
{
	return kind == ENTITY_DEVICE || kind == ENTITY_KEY || kind == ENTITY_CERTIFICATE;
}

static void tell_broker(
        struct hub *hub, enum entity kind, struct slice id, uint64_t device_key, bool gone)
{
	if (gone && kind == ENTITY_DEVICE)
		broker_device_gone(hub->broker, id, device_key);
	else
		broker_identity_changed(hub->broker, kind, id);
}

/* What is looked up one by one is forgotten and asked for again; what is read whole, policy reads
 * again, and tells when it is in force. */
static void feed_changed(
        void *ctx, enum entity kind, struct slice id, uint64_t device_key, bool gone)
{
	struct hub *hub = ctx;

	if (!is_identity(kind)) {
		policy_changed(hub->policy, kind);
		registry_trust_changed(hub->registry, kind);
		return;
	}
	registry_forget(hub->registry, kind, id, false);
	tell_broker(hub, kind, id, device_key, gone);
	mail_flush();
}

static void feed_resync(void *ctx)
{
	struct hub *hub = ctx;

	policy_changed_all(hub->policy);
	registry_trust_changed_all(hub->registry);
	registry_forget_all(hub->registry);
	broker_recheck_all(hub->broker);
	mail_flush();
}

/* Rules changed, and every loop has the new ones. */
static void rules_applied(void *ctx, enum entity kind)
{
	struct hub *hub = ctx;

	/* The hub's own bans end nobody. */
	if (kind == ENTITY_BAN && !policy_bans_by_hand(hub->policy))
		return;
	if (kind == ENTITY_IP_RULE || kind == ENTITY_BAN)
		net_recheck(hub->net);
	broker_recheck_all(hub->broker);
}

/* Whom the registry trusts has changed, and every loop knows. */
static void trust_applied(void *ctx)
{
	broker_recheck_all(((struct hub *)ctx)->broker);
}

static void observe_write(
        void *ctx, enum entity kind, struct slice id, uint64_t device_key, bool gone)
{
	tell_broker(ctx, kind, id, device_key, gone);
	mail_flush();
}

static void hub_readiness(void *ctx, struct api_readiness *ret)
{
	struct hub *hub = ctx;
	struct storage_health health;

	*ret = (struct api_readiness){0};
	storage_health(hub->storage, &health);
	if (!atomic_load(&hub->accepting))
		ret->reasons[ret->n_reasons++] = "the hub is starting or draining";
	if (!health.lanes_up)
		ret->reasons[ret->n_reasons++] = "the database does not take batches";
	if (!health.feed_fresh)
		ret->reasons[ret->n_reasons++] = "the change feed is down";
	if (health.one_role)
		ret->warnings[ret->n_warnings++] =
		        "database.url and database.owner_url are one role";
	if (!health.maintenance_ok)
		ret->warnings[ret->n_warnings++] = "partitions are not made ahead of time";
	ret->ready = ret->n_reasons == 0;
}

/* ---- start ---- */

static const char *log_format_words[] = {"text", "json"};

static void log_configure_from(const struct config *c)
{
	log_configure(
	        (enum log_level)c->log_level, strcmp(log_format_words[c->log_format], "json") == 0);
}

static int open_storage(struct hub *hub, char *error)
{
	const struct config *c = hub->cfg;
	struct storage_settings settings = {
	        .url = c->database_url,
	        .owner_url = c->database_owner_url[0] ? c->database_owner_url : c->database_url,
	        .master_key_file = c->secrets_master_key,
	        .owner_token_file = c->secrets_owner_token,
	        .owner_connection_file = c->secrets_owner_connection,
	        .connect_timeout_s = (unsigned)c->database_connect_timeout,
	        .lanes = (unsigned)c->storage_lanes,
	        .batch_rows = (unsigned)c->storage_batch_rows,
	        .batch_bytes = (size_t)c->storage_batch_bytes,
	        .queue_bytes = (size_t)c->storage_queue_bytes,
	        .retention_days = (unsigned)c->telemetry_retention_days,
	        .audit_days = (unsigned)c->audit_retention_days,
	        .max_queued_age_s = (uint64_t)c->mqtt_max_queued_age,
	        .lookup_ms = (unsigned)c->registry_lookup_timeout * 1000,
	};
	char why[STORAGE_ERROR_LEN];
	int r;

	if (!c->database_url[0]) {
		snprintf(error, HUB_ERROR_LEN,
		        "database.url is not set: make run has a private cluster, else set "
		        "HOLDFAST_DATABASE_URL");
		return ERR_INVALID;
	}
	r = storage_open(&settings, &hub->storage, why);
	if (r < 0)
		snprintf(error, HUB_ERROR_LEN, "%s", why);
	return r;
}

static int make_net(struct hub *hub)
{
	struct net_limits net_limits = net_limits_of(hub->cfg);

	for (unsigned i = 0; i < hub->n_loops; i++) {
		hub->loops[i] = loop_new(i);
		if (!hub->loops[i])
			return ERR_NOMEM;
	}
	hub->net = net_new(hub->loops, hub->n_loops, &net_limits);
	return hub->net ? 0 : ERR_NOMEM;
}

static int make_rooms(struct hub *hub)
{
	struct registry_store registry_store = storage_registry(hub->storage);
	const struct policy_store policy_store = storage_policy(hub->storage);
	const struct policy_limits policy_limits = {
	        .device_defaults = hub->cfg->policy_device_defaults};
	const struct registry_hooks registry_hooks = {
	        .ctx = hub,
	        .access_make = hook_access_make,
	        .access_version = hook_access_version,
	        .access_fresh = hook_access_fresh,
	        .may_connect = hook_may_connect,
	        .attempt = hook_attempt,
	        .outcome = hook_outcome,
	        .fetch = hook_fetch,
	};
	const struct outbound_limits outbound_limits = outbound_limits_of(hub->cfg);
	struct registry_limits registry_limits = registry_limits_of(hub->cfg);
	struct telemetry_store telemetry_store = storage_telemetry(hub->storage);
	struct session_store session_store = storage_sessions(hub->storage);
	const struct broker_stores stores = {
	        .telemetry = &telemetry_store, .sessions = &session_store};
	struct broker_limits broker_limits = broker_limits_of(hub->cfg);
	const struct broker_hooks hooks = {
	        .ctx = hub,
	        .authenticate = hook_authenticate,
	        .recheck = hook_recheck,
	        .claimed_id = hook_claimed_id,
	        .certificate_id = hook_certificate_id,
	        .may_publish = hook_may_publish,
	        .may_subscribe = hook_may_subscribe,
	        .may_receive = hook_may_receive,
	        .filters_receive = hook_filters_receive,
	        .presence = hook_presence,
	};
	int r;

	hub->outbound = outbound_new(&outbound_limits);
	if (!hub->outbound)
		return ERR_NOMEM;
	hub->policy = policy_new(hub->loops, hub->n_loops, &policy_store, &policy_limits);
	if (!hub->policy)
		return ERR_NOMEM;
	policy_set_observer(hub->policy, rules_applied, hub);
	hub->gate = (struct gate){.policy = hub->policy, .storage = hub->storage};
	r = gate_make(&hub->gate, hub->net, hub->cfg);
	if (r < 0)
		return r;
	hub->registry = registry_new(
	        hub->loops, hub->n_loops, &registry_store, &registry_hooks, &registry_limits);
	if (!hub->registry)
		return ERR_NOMEM;
	registry_set_observer(hub->registry, observe_write, hub);
	registry_set_trust_observer(hub->registry, trust_applied, hub);
	hub->broker = broker_new(hub->loops, hub->n_loops, &hooks, &stores, &broker_limits);
	if (!hub->broker)
		return ERR_NOMEM;
	hub->api = api_new(&(struct api_deps){
	        .registry = hub->registry,
	        .policy = hub->policy,
	        .broker = hub->broker,
	        .telemetry = storage_query(hub->storage),
	        .audit = storage_audit(hub->storage),
	        .ctx = hub,
	        .readiness = hub_readiness,
	        .http = http_limits_of(hub->cfg),
	        .device_body_bytes = (size_t)hub->cfg->mqtt_max_payload,
	        .device_inflight = (unsigned)hub->cfg->https_device_inflight,
	        .four_eyes = hub->cfg->policy_four_eyes,
	        .workers = HUB_API_WORKERS,
	        .loops = hub->n_loops,
	        .version = HOLDFAST_VERSION,
	});
	if (!hub->api)
		return ERR_NOMEM;
	http_set_bodies_limit((size_t)hub->cfg->https_max_bodies_bytes);
	doors_serve(&hub->doors, hub->broker, hub->api);
	return 0;
}

static void *loop_thread(void *arg)
{
	loop_run(arg);
	crypto_thread_done();
	return NULL;
}

static int start_threads(struct hub *hub)
{
	const struct storage_changes changes = {
	        .ctx = hub, .changed = feed_changed, .resync = feed_resync};
	int r;

	r = outbound_start(hub->outbound);
	if (r < 0)
		return r;
	r = storage_start(hub->storage, &changes);
	if (r < 0)
		return r;
	hub->storage_runs = true;
	r = policy_start(hub->policy);
	if (r < 0) {
		log_error("the policies cannot be read", F_STR("error", err_text(r)));
		return r;
	}
	r = registry_start(hub->registry);
	if (r < 0) {
		log_error("authorities or authorisers cannot be read", F_STR("error", err_text(r)));
		return r;
	}
	r = broker_restore(hub->broker);
	if (r < 0) {
		log_error(
		        "the sessions of the last run cannot be read", F_STR("error", err_text(r)));
		return r;
	}
	for (unsigned i = 0; i < hub->n_loops; i++) {
		if (pthread_create(&hub->threads[i], NULL, loop_thread, hub->loops[i]) != 0)
			return ERR_NOMEM;
		hub->n_running++;
	}
	return 0;
}

static void hub_free(struct hub *hub)
{
	registry_stop(hub->registry);
	policy_stop(hub->policy);
	for (unsigned i = 0; i < hub->n_running; i++)
		loop_stop(hub->loops[i]);
	for (unsigned i = 0; i < hub->n_running; i++)
		pthread_join(hub->threads[i], NULL);
	outbound_free(hub->outbound);
	net_free(hub->net);
	api_free(hub->api);
	broker_free(hub->broker);
	registry_free(hub->registry);
	policy_free(hub->policy);
	for (unsigned i = 0; i < hub->n_loops; i++)
		loop_free(hub->loops[i]);
	storage_free(hub->storage);
	config_unref(hub->cfg);
	free(hub);
}

int hub_start(struct config *cfg, struct hub **ret, char error[static HUB_ERROR_LEN])
{
	struct hub *hub = calloc(1, sizeof(*hub));
	int r;

	if (!hub)
		return ERR_NOMEM;
	hub->cfg = config_ref(cfg);
	hub->n_loops = (unsigned)cfg->hub_threads;
	error[0] = '\0';
	log_configure_from(cfg);
	/* What is refused most often comes first: an address in use leaves the database untouched.
	 */
	r = make_net(hub);
	if (r == 0)
		r = doors_open(&hub->doors, hub->net, cfg, error);
	if (r == 0)
		r = open_storage(hub, error);
	if (r == 0)
		r = make_rooms(hub);
	if (r == 0)
		r = start_threads(hub);
	if (r < 0) {
		if (!error[0])
			snprintf(error, HUB_ERROR_LEN, "%s", err_text(r));
		hub_stop(hub);
		return r;
	}
	atomic_store(&hub->accepting, true);
	net_accept(hub->net, true);
	mail_flush();
	*ret = hub;
	return 0;
}

/* The name under which people reach a listener: loopback and "any" addresses are localhost. */
static void url_host(const struct config_list *addresses, char *out, size_t size)
{
	const char *address = addresses->n ? addresses->items[0] : "127.0.0.1:0";
	const char *colon = strrchr(address, ':');
	size_t n = colon ? (size_t)(colon - address) : strlen(address);

	snprintf(out, size, "%.*s", (int)n, address);
	if (strcmp(out, "127.0.0.1") == 0 || strcmp(out, "0.0.0.0") == 0 ||
	        strcmp(out, "[::1]") == 0 || strcmp(out, "[::]") == 0)
		snprintf(out, size, "localhost");
}

/* Lanes and feed connect in their own threads: the line says "ready", so it waits for them. */
static void wait_until_ready(struct hub *hub)
{
	uint64_t deadline = clock_ms() + ANNOUNCE_MS;
	struct api_readiness readiness;

	for (;;) {
		hub_readiness(hub, &readiness);
		if (readiness.ready)
			return;
		if (clock_ms() >= deadline)
			break;
		usleep(2000);
	}
	log_warn("started, but not ready", F_STR("reason", readiness.reasons[0]));
}

void hub_announce(struct hub *hub)
{
	char https[256], mqtts[256];

	wait_until_ready(hub);
	url_host(&hub->cfg->https_listen, https, sizeof(https));
	url_host(&hub->cfg->mqtt_tls_listen, mqtts, sizeof(mqtts));
	printf("holdfast ready https=https://%s:%u mqtts=mqtts://%s:%u home=%s\n", https,
	        hub->doors.https_port, mqtts, hub->doors.mqtts_port, hub->cfg->home);
	fflush(stdout);
}

/* ---- reload ---- */

static void note_change(const char *name, bool needs_restart, void *arg HF_UNUSED)
{
	if (needs_restart)
		log_warn("setting needs a restart", F_STR("setting", name));
	else
		log_info("setting changed", F_STR("setting", name));
}

void hub_reload(struct hub *hub)
{
	struct config *fresh = NULL;
	char error[CONFIG_ERROR_LEN];

	if (config_load(hub->cfg->home, hub->cfg->file, &fresh, error) < 0) {
		log_error("reload refused, the old settings stay", F_STR("error", error));
		return;
	}
	/* The certificate is the last thing that can be refused; what follows only applies. */
	if (net_tls_load(hub->net, fresh->tls_certificate, fresh->tls_key,
	            (unsigned)fresh->tls_ticket_rotation, error) < 0) {
		log_error("reload refused, the old settings stay", F_STR("error", error));
		config_unref(fresh);
		return;
	}

	struct broker_limits broker_limits = broker_limits_of(fresh);
	struct registry_limits registry_limits = registry_limits_of(fresh);
	struct net_limits net_limits = net_limits_of(fresh);
	struct http_limits http_limits = http_limits_of(fresh);

	/* What needs a restart stays as it was for the rooms too. */
	broker_limits.max_packet_size = (size_t)hub->cfg->mqtt_max_packet_size;
	broker_limits.store_queue_bytes = (size_t)hub->cfg->storage_queue_bytes;
	registry_limits.cache_entries = (size_t)hub->cfg->registry_cache_entries;
	http_limits.head_bytes = (size_t)hub->cfg->https_max_head_bytes;
	http_limits.body_bytes = (size_t)hub->cfg->https_max_body_bytes;
	if (broker_set_limits(hub->broker, &broker_limits) < 0 ||
	        registry_set_limits(hub->registry, &registry_limits) < 0)
		log_error("out of memory while settings were applied");
	net_set_limits(hub->net, &net_limits);
	policy_set_limits(hub->policy,
	        &(struct policy_limits){.device_defaults = fresh->policy_device_defaults});
	gate_set_limits(hub->policy, fresh);
	api_set_limits(hub->api, &http_limits, (size_t)fresh->mqtt_max_payload,
	        (unsigned)fresh->https_device_inflight);
	http_set_bodies_limit((size_t)fresh->https_max_bodies_bytes);
	storage_set_retention(hub->storage, (unsigned)fresh->telemetry_retention_days);
	storage_set_audit_retention(hub->storage, (unsigned)fresh->audit_retention_days);
	storage_set_queued_age(hub->storage, (uint64_t)fresh->mqtt_max_queued_age);
	log_configure_from(fresh);
	mail_flush();
	config_diff(hub->cfg, fresh, note_change, NULL);
	config_unref(hub->cfg);
	hub->cfg = fresh;
	metric_inc(METRIC_RELOADS);
	log_info("reloaded");
}

/* ---- watch and stop ---- */

void hub_watch(struct hub *hub)
{
	uint64_t now = clock_ms();

	for (unsigned i = 0; i < hub->n_running; i++) {
		uint64_t beat = loop_heartbeat_ms(hub->loops[i]);
		uint64_t silent = watch_silent_ms(&hub->watches[i], beat, now);

		if (beat && silent > WATCHDOG_MS) {
			log_error(
			        "an event loop hangs", F_U64("loop", i), F_U64("silentMs", silent));
			log_stop(); /* writes what is queued */
			abort();
		}
	}
}

static void drain(struct hub *hub, uint64_t deadline)
{
	atomic_store(&hub->accepting, false);
	net_accept(hub->net, false);
	broker_drain(hub->broker, deadline);
	mail_flush();
	while (broker_busy(hub->broker) > 0 && clock_ms() < deadline)
		usleep(2000);
	if (broker_busy(hub->broker) > 0)
		log_warn("drain timed out", F_U64("left", broker_busy(hub->broker)));
}

void hub_stop(struct hub *hub)
{
	uint64_t deadline = clock_ms() + (uint64_t)hub->cfg->hub_drain_timeout * 1000;

	if (hub->n_running > 0) {
		log_info("draining");
		storage_hurry(hub->storage, deadline);
		drain(hub, deadline);
		outbound_close(hub->outbound);
		api_stop(hub->api);
		registry_stop(hub->registry);
	}
	if (hub->storage_runs)
		storage_stop(hub->storage, deadline);
	hub_free(hub);
}
