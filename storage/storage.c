/* The room's door: opens, starts, stops; the ports' tables; connections for calls that block. */
#include "storage/storage.h"

#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "server/base/clock.h"
#include "server/base/err.h"
#include "server/base/log.h"
#include "server/base/map.h"
#include "storage/addresses.h"
#include "storage/audit.h"
#include "storage/private.h"

#define CALL_MS (POOL_STATEMENT_MS + 5000) /* the server gives up first */

#define FAIL(error, err, ...) (snprintf(error, STORAGE_ERROR_LEN, __VA_ARGS__), (err))

/* ---- connections for calls that block ---- */

int pool_take(struct storage *s, struct pg *ret)
{
	const struct pg_use use = {.name = "holdfast api",
	        .connect_timeout_s = s->connect_timeout_s,
	        .statement_timeout_ms = POOL_STATEMENT_MS};
	struct pg pg = {.stop = &s->hurry};

	for (;;) {
		pthread_mutex_lock(&s->pool.mutex);
		bool found = s->pool.n > 0;
		if (found)
			pg = s->pool.idle[--s->pool.n];
		pthread_mutex_unlock(&s->pool.mutex);
		if (!found)
			break;
		if (pg_alive(&pg)) {
			*ret = pg;
			return 0;
		}
		pg_close(&pg);
	}
	int err = pg_open(&pg, s->url, &use, NULL, 0);
	if (err == 0)
		*ret = pg;
	return err;
}

void pool_give(struct storage *s, struct pg *pg)
{
	/* One that was left in a transaction or in the middle of a result is not used again. */
	bool clean = pg->conn && PQtransactionStatus(pg->conn) == PQTRANS_IDLE;

	pthread_mutex_lock(&s->pool.mutex);
	if (clean && s->pool.n < POOL_SIZE) {
		s->pool.idle[s->pool.n++] = *pg;
		pg->conn = NULL;
	}
	pthread_mutex_unlock(&s->pool.mutex);
	pg_close(pg);
}

int pool_call(struct storage *s, const char *sql, const struct pg_params *p, PGresult **ret)
{
	struct pg pg = {0};
	int err = pool_take(s, &pg);

	if (err < 0)
		return err;
	err = pg_exec(&pg, sql, p, clock_ms() + CALL_MS, ret);
	if (err == ERR_INTERNAL)
		log_error("the database refuses a statement", F_STR("sqlstate", pg.sqlstate));
	pool_give(s, &pg);
	return err;
}

void storage_pause(const struct storage *s, unsigned ms)
{
	uint64_t until = clock_ms() + ms;

	for (uint64_t now = clock_ms(); now < until && !pg_stop_due(&s->stop); now = clock_ms())
		(void)poll(NULL, 0, until - now < 50 ? (int)(until - now) : 50);
}

/* ---- opening ---- */

/* The same for the same home on the same machine: after a crash the hub finds what it had noted. */
static void make_hub_id(struct storage *s, const char *master_key_file)
{
	char host[256] = "", path[PATH_MAX] = "";
	uint8_t sum[CRYPTO_HASH_LEN];
	char text[PATH_MAX + 300];

	(void)gethostname(host, sizeof(host) - 1);
	if (!realpath(master_key_file, path))
		path[0] = '\0';
	int n = snprintf(text, sizeof(text), "%s:%s", host, path);
	crypto_sha256(slice_make(text, (size_t)n), sum);
	crypto_hex_encode(slice_make(sum, HUB_ID_LEN / 2), s->hub_id);
}

static int check_version(struct pg *pg, char *error)
{
	_cleanup_result_ PGresult *r = NULL;
	int err = pg_exec(pg, "SELECT coalesce(max(version), 0) FROM holdfast.migrations", NULL,
	        clock_ms() + ROUND_TRIP_MS, &r);

	if (err == ERR_UNAVAILABLE)
		return FAIL(error, err, "the database does not answer");
	if (err < 0)
		return FAIL(error, ERR_CONFLICT,
		        "the database is not set up for this role: run holdfast migrate (%s)",
		        pg->message);
	int32_t version = pg_get_i32(r, 0, 0);
	if (version > SCHEMA_VERSION)
		return FAIL(error, ERR_CONFLICT,
		        "the database is at version %d, this program knows %d: use a newer program",
		        version, SCHEMA_VERSION);
	if (version < SCHEMA_VERSION)
		return FAIL(error, ERR_CONFLICT,
		        "the database is at version %d, this program needs %d: run holdfast "
		        "migrate",
		        version, SCHEMA_VERSION);
	return 0;
}

static int read_role(struct pg *pg, char role[static 128])
{
	_cleanup_result_ PGresult *r = NULL;
	int err = pg_exec(pg, "SELECT current_user::text", NULL, clock_ms() + ROUND_TRIP_MS, &r);

	return err == 0 && !pg_get_text(r, 0, 0, role, 128) ? ERR_INTERNAL : err;
}

/* Whether the hub works with its owner's rights. */
static int compare_roles(struct storage *s, struct pg *pg, char *error)
{
	const struct pg_use use = {
	        .name = "holdfast owner", .connect_timeout_s = s->connect_timeout_s};
	_cleanup_(pg_close) struct pg owner = {0};
	char hub_role[128], owner_role[128], why[160] = "";

	if (pg_open(&owner, s->owner_url, &use, why, sizeof(why)) < 0)
		return FAIL(error, ERR_UNAVAILABLE,
		        "the database cannot be reached as its owner: %s", why);
	if (read_role(pg, hub_role) < 0 || read_role(&owner, owner_role) < 0)
		return FAIL(error, ERR_UNAVAILABLE, "the database does not tell its roles");
	s->one_role = strcmp(hub_role, owner_role) == 0;
	if (s->one_role)
		log_warn("database.url and database.owner_url are one role: the hub could change "
		         "its own schema",
		        F_STR("role", hub_role));
	return 0;
}

static int connect_and_check(
        struct storage *s, const struct storage_settings *settings, char *error)
{
	const struct pg_use use = {
	        .name = "holdfast start", .connect_timeout_s = s->connect_timeout_s};
	_cleanup_(pg_close) struct pg pg = {0};
	char why[160] = "";

	if (pg_open(&pg, s->url, &use, why, sizeof(why)) < 0)
		return FAIL(error, ERR_UNAVAILABLE, "the database cannot be reached: %s", why);
	int err = check_version(&pg, error);
	if (err == 0)
		err = seed_open(s, &pg, settings, error);
	if (err == 0)
		err = compare_roles(s, &pg, error);
	return err;
}

static int make_threads(struct storage *s)
{
	int err = 0;

	for (unsigned i = 0; err == 0 && i < s->n_lanes; i++)
		err = lane_new(s, i, &s->lanes[i]);
	for (unsigned i = 0; err == 0 && i < READERS; i++)
		err = reader_new(s, &s->readers[i]);
	if (err == 0)
		err = feed_new(s, &s->feed);
	if (err == 0)
		err = upkeep_new(s, &s->upkeep);
	if (err == 0)
		err = denials_new(&s->denials);
	if (err == 0)
		err = addresses_init(&s->addresses);
	return err;
}

static struct storage *storage_new(const struct storage_settings *settings)
{
	struct storage *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	pthread_mutex_init(&s->pool.mutex, NULL);
	s->url = strdup(settings->url);
	s->owner_url = strdup(settings->owner_url);
	s->connect_timeout_s = settings->connect_timeout_s;
	s->n_lanes = settings->lanes < 1 ? 1 : settings->lanes;
	if (s->n_lanes > MAX_LANES)
		s->n_lanes = MAX_LANES;
	s->batch_rows = settings->batch_rows;
	s->batch_bytes = settings->batch_bytes;
	s->lookup_ms = settings->lookup_ms;
	s->retention_days = settings->retention_days;
	s->audit_days = settings->audit_days;
	s->max_queued_age_s = settings->max_queued_age_s;
	make_hub_id(s, settings->master_key_file);
	if (s->url && s->owner_url)
		return s;
	storage_free(s);
	return NULL;
}

int storage_open(const struct storage_settings *settings, struct storage **ret,
        char error[static STORAGE_ERROR_LEN])
{
	struct storage *s = storage_new(settings);

	if (!s)
		return FAIL(error, ERR_NOMEM, "out of memory");
	int err = keyring_load(settings->master_key_file, &s->keyring, error, STORAGE_ERROR_LEN);
	if (err == 0)
		err = connect_and_check(s, settings, error);
	if (err == 0 && (err = make_threads(s)) < 0)
		(void)FAIL(error, err, "storage: %s", err_text(err));
	if (err < 0) {
		storage_free(s);
		return err;
	}
	*ret = s;
	return 0;
}

/* ---- starting and stopping ---- */

int storage_start(struct storage *s, const struct storage_changes *changes)
{
	int err = 0;

	s->changes = *changes;
	audit_set_sink(denials_note, s->denials);
	err = fence_raise(s);
	for (unsigned i = 0; err == 0 && i < s->n_lanes; i++)
		err = lane_start(s->lanes[i]);
	for (unsigned i = 0; err == 0 && i < READERS; i++)
		err = reader_start(s->readers[i]);
	if (err == 0)
		err = upkeep_start(s->upkeep);
	if (err == 0)
		err = feed_start(s->feed);
	if (err < 0)
		storage_stop(s, clock_ms());
	return err;
}

void storage_hurry(struct storage *s, uint64_t deadline_ms)
{
	atomic_store(&s->hurry.deadline_ms, deadline_ms);
	atomic_store(&s->hurry.stopping, true);
}

void storage_stop(struct storage *s, uint64_t deadline_ms)
{
	storage_hurry(s, deadline_ms);
	atomic_store(&s->stop.deadline_ms, deadline_ms);
	atomic_store(&s->stop.stopping, true);
	/* The lanes first: upkeep may have to make a partition for their last rows. */
	for (unsigned i = 0; i < s->n_lanes; i++)
		lane_join(s->lanes[i]);
	atomic_store(&s->quit.deadline_ms, deadline_ms);
	atomic_store(&s->quit.stopping, true);
	for (unsigned i = 0; i < READERS; i++)
		reader_join(s->readers[i]);
	upkeep_join(s->upkeep);
	feed_join(s->feed);
}

void storage_free(struct storage *s)
{
	if (!s)
		return;
	audit_set_sink(NULL, NULL);
	denials_free(s->denials);
	merge_free(&s->addresses);
	for (unsigned i = 0; i < MAX_LANES; i++)
		lane_free(s->lanes[i]);
	for (unsigned i = 0; i < READERS; i++)
		reader_free(s->readers[i]);
	feed_free(s->feed);
	upkeep_free(s->upkeep);
	for (unsigned i = 0; i < s->pool.n; i++)
		pg_close(&s->pool.idle[i]);
	pthread_mutex_destroy(&s->pool.mutex);
	keyring_free(s->keyring);
	free(s->url);
	free(s->owner_url);
	free(s);
}

/* ---- the ports ---- */

static void qos2_tag(void *ctx, const struct msg *m, uint8_t tag[8])
{
	const struct storage *s = ctx;

	keyring_qos2_tag(s->keyring, msg_topic(m), msg_payload(m), tag);
}

static size_t backlog_bytes(void *ctx)
{
	const struct storage *s = ctx;

	return atomic_load_explicit(&s->backlog_bytes, memory_order_relaxed);
}

struct telemetry_store storage_telemetry(struct storage *s)
{
	return (struct telemetry_store){
	        .ctx = s,
	        .append = lanes_append,
	        .qos2_release = lanes_release,
	        .qos2_load = readers_load,
	        .qos2_tag = qos2_tag,
	        .backlog_bytes = backlog_bytes,
	};
}

struct session_store storage_sessions(struct storage *s)
{
	struct session_store port = {.ctx = s, .restore = sessions_restore};

	lanes_port(&port);
	return port;
}

static uint64_t port_feed_fresh(void *ctx)
{
	return feed_fresh_until(((const struct storage *)ctx)->feed);
}

static uint64_t port_feed_epoch(void *ctx)
{
	return feed_epoch(((const struct storage *)ctx)->feed);
}

static void port_mac(void *ctx, const char *purpose, struct slice in, uint8_t out[static 32])
{
	keyring_mac(((const struct storage *)ctx)->keyring, purpose, in, out);
}

struct registry_store storage_registry(struct storage *s)
{
	struct registry_store port = {
	        .ctx = s,
	        .lookup = readers_lookup,
	        .feed_fresh_until_ms = port_feed_fresh,
	        .feed_epoch = port_feed_epoch,
	        .mac = port_mac,
	};

	devices_port(&port);
	access_keys_port(&port);
	tokens_port(&port);
	port.documents.ctx = s;
	documents_port(&port.documents);
	links_port(&port.documents);
	return port;
}

struct telemetry_query_store storage_query(struct storage *s)
{
	return (struct telemetry_query_store){.ctx = s, .query = telemetry_query_run};
}

void storage_set_retention(struct storage *s, unsigned days)
{
	atomic_store(&s->retention_days, days);
}

void storage_set_audit_retention(struct storage *s, unsigned days)
{
	atomic_store(&s->audit_days, days);
}

void storage_set_queued_age(struct storage *s, uint64_t seconds)
{
	atomic_store(&s->max_queued_age_s, seconds);
}

void storage_note_presence(struct storage *s, uint64_t device_key, bool connected, int64_t when_us)
{
	upkeep_presence(s->upkeep, device_key, connected, when_us);
}

void storage_health(struct storage *s, struct storage_health *ret)
{
	struct storage_health h = {
	        .lanes_up = true,
	        .feed_fresh = feed_fresh_until(s->feed) > clock_ms(),
	        .one_role = s->one_role,
	        .maintenance_ok = upkeep_healthy(s->upkeep),
	};

	for (unsigned i = 0; i < s->n_lanes; i++)
		h.lanes_up = h.lanes_up && lane_healthy(s->lanes[i]);
	*ret = h;
}
