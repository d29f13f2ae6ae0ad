/*
 * Upkeep: partitions ahead of time and old ones dropped (as the owner, connected only while it is
 * needed), presence written once a second, leftovers cleared.
 */
#include <stdlib.h>

#include "server/base/clock.h"
#include "server/base/err.h"
#include "server/base/log.h"
#include "server/base/map.h"
#include "storage/addresses.h"
#include "storage/audit.h"
#include "storage/private.h"

#define TURN_MS 1000
#define HUB_SEEN_MS 10000
#define DAILY_MS (60 * 60 * 1000) /* partitions and leftovers: every hour is often enough */
#define DAILY_RETRY_MS 10000
#define CLEAR_MS 120000
#define MAX_NEEDED 32
#define MAX_PRESENCE 200000
#define ARRAY_CAP (64u * 1024 * 1024)

struct presence {
	uint64_t device_key;
	bool connected;
	int64_t when_us;
};

struct upkeep {
	struct storage *s;
	pthread_t thread;
	bool running;
	_Atomic bool ok;
	uint64_t daily_due_ms, seen_due_ms;
	struct sweep sweep;
	bool own_rows_cleared; /* what a former process of this hub noted as connected */

	pthread_mutex_t mutex; /* of what follows */
	pthread_cond_t wake;
	int64_t needed[MAX_NEEDED];
	unsigned n_needed;
	struct map presence; /* struct presence by device_key */
};

/* ---- making, any thread ---- */

int upkeep_new(struct storage *s, struct upkeep **ret)
{
	struct upkeep *u = calloc(1, sizeof(*u));
	pthread_condattr_t attr;

	if (!u)
		return ERR_NOMEM;
	u->s = s;
	atomic_init(&u->ok, true);
	pthread_mutex_init(&u->mutex, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&u->wake, &attr);
	pthread_condattr_destroy(&attr);
	map_init(&u->presence);
	*ret = u;
	return 0;
}

static void free_presence(struct map *m)
{
	struct presence *p;

	map_for_each (m, pos, p)
		free(p);
	map_free(m);
}

void upkeep_free(struct upkeep *u)
{
	if (!u)
		return;
	free_presence(&u->presence);
	pthread_cond_destroy(&u->wake);
	pthread_mutex_destroy(&u->mutex);
	free(u);
}

bool upkeep_healthy(const struct upkeep *u)
{
	return atomic_load(&u->ok);
}

void upkeep_need_day(struct upkeep *u, int64_t day)
{
	unsigned i = 0;

	pthread_mutex_lock(&u->mutex);
	while (i < u->n_needed && u->needed[i] != day)
		i++;
	if (i == u->n_needed && i < MAX_NEEDED)
		u->needed[u->n_needed++] = day;
	pthread_cond_signal(&u->wake);
	pthread_mutex_unlock(&u->mutex);
}

static struct slice presence_key(const struct presence *p)
{
	return slice_make(&p->device_key, sizeof(p->device_key));
}

/* Best effort: past the limit, or without memory, the note is dropped. */
void upkeep_presence(struct upkeep *u, uint64_t device_key, bool connected, int64_t when_us)
{
	const struct presence fresh = {device_key, connected, when_us};

	pthread_mutex_lock(&u->mutex);
	struct presence *p = map_get(&u->presence, presence_key(&fresh));
	if (!p && map_count(&u->presence) < MAX_PRESENCE && (p = malloc(sizeof(*p)))) {
		*p = fresh;
		if (map_put(&u->presence, presence_key(p), p, NULL) < 0)
			free(p);
	} else if (p) {
		*p = fresh;
	}
	pthread_mutex_unlock(&u->mutex);
}

/* ---- presence ---- */

struct presence_arrays {
	struct buf device, connected, when;
	uint32_t n;
};

static void presence_arrays_done(struct presence_arrays *a)
{
	buf_free(&a->device);
	buf_free(&a->connected);
	buf_free(&a->when);
}

static int fill_arrays(const struct map *m, struct presence_arrays *a)
{
	struct presence *p;

	buf_init(&a->device, ARRAY_CAP);
	buf_init(&a->connected, ARRAY_CAP);
	buf_init(&a->when, ARRAY_CAP);
	int err = pg_array_start(&a->device);
	if (err == 0)
		err = pg_array_start(&a->connected);
	if (err == 0)
		err = pg_array_start(&a->when);
	map_for_each (m, pos, p) {
		if (err == 0)
			err = pg_array_i64(&a->device, (int64_t)p->device_key);
		if (err == 0)
			err = pg_array_bool(&a->connected, p->connected);
		if (err == 0)
			err = pg_array_i64(&a->when, p->when_us - PG_EPOCH_US);
		a->n++;
	}
	if (err < 0)
		return err;
	pg_array_finish(&a->device, PG_INT8, a->n);
	pg_array_finish(&a->connected, PG_BOOL, a->n);
	pg_array_finish(&a->when, PG_TIMESTAMPTZ, a->n);
	return 0;
}

/* That a device went from here does not undo that it came to another hub. */
static int write_presence(struct upkeep *u, struct pg *pg, const struct map *m)
{
	_cleanup_(presence_arrays_done) struct presence_arrays a = {0};
	struct pg_params p = {0};
	int err = fill_arrays(m, &a);

	if (err < 0)
		return err;
	pg_put_array(&p, PG_INT8_ARRAY, &a.device);
	pg_put_array(&p, PG_BOOL_ARRAY, &a.connected);
	pg_put_array(&p, PG_TIMESTAMPTZ_ARRAY, &a.when);
	pg_put_text(&p, u->s->hub_id);
	return pg_exec(pg,
	        "INSERT INTO holdfast.presence AS p"
	        " (device_key, connected, connected_at, last_activity_at, hub_id)"
	        " SELECT u.d, u.c, u.w, u.w, $4 FROM"
	        " unnest($1::bigint[], $2::boolean[], $3::timestamptz[]) u(d, c, w)"
	        " JOIN holdfast.devices d ON d.device_key = u.d"
	        " ON CONFLICT (device_key) DO UPDATE SET connected = excluded.connected,"
	        " connected_at = excluded.connected_at,"
	        " last_activity_at = greatest(p.last_activity_at, excluded.last_activity_at),"
	        " hub_id = excluded.hub_id"
	        " WHERE excluded.connected OR p.hub_id = excluded.hub_id OR NOT p.connected",
	        &p, clock_ms() + ROUND_TRIP_MS, NULL);
}

/* What could not be written waits for the next turn, unless there is newer. */
static void put_back(struct upkeep *u, struct map *m)
{
	struct presence *p;

	pthread_mutex_lock(&u->mutex);
	map_for_each (m, pos, p) {
		if (map_get(&u->presence, presence_key(p)) ||
		        map_put(&u->presence, presence_key(p), p, NULL) < 0)
			free(p);
	}
	pthread_mutex_unlock(&u->mutex);
	map_free(m);
}

static int flush_presence(struct upkeep *u, struct pg *pg)
{
	pthread_mutex_lock(&u->mutex);
	struct map taken = u->presence;
	map_init(&u->presence);
	pthread_mutex_unlock(&u->mutex);

	int err = map_count(&taken) > 0 ? write_presence(u, pg, &taken) : 0;
	if (err < 0)
		put_back(u, &taken);
	else
		free_presence(&taken);
	return err;
}

/* ---- hubs that live, connections of those that do not ---- */

static int note_hub(struct upkeep *u, struct pg *pg)
{
	struct pg_params p = {0};

	pg_put_text(&p, u->s->hub_id);
	int err = 0;
	if (!u->own_rows_cleared)
		err = pg_exec(pg,
		        "UPDATE holdfast.presence SET connected = false, connected_at = now()"
		        " WHERE hub_id = $1 AND connected",
		        &p, clock_ms() + ROUND_TRIP_MS, NULL);
	u->own_rows_cleared = u->own_rows_cleared || err == 0;
	if (err == 0)
		err = pg_exec(pg,
		        "INSERT INTO holdfast.hubs (hub_id, seen_at) VALUES ($1, now())"
		        " ON CONFLICT (hub_id) DO UPDATE SET seen_at = excluded.seen_at",
		        &p, clock_ms() + ROUND_TRIP_MS, NULL);
	if (err == 0)
		err = pg_exec(pg,
		        "UPDATE holdfast.presence SET connected = false, connected_at = now()"
		        " WHERE connected AND hub_id <> $1 AND hub_id NOT IN (SELECT hub_id"
		        " FROM holdfast.hubs WHERE seen_at > now() - interval '1 minute')",
		        &p, clock_ms() + ROUND_TRIP_MS, NULL);
	return err;
}

/* ---- leftovers, partitions ---- */

static int clear_leftovers(struct pg *pg)
{
	static const char *const sql[] = {
	        "DELETE FROM holdfast.idempotency WHERE created_at < now() - interval '1 day'",
	        "DELETE FROM holdfast.device_tombstones"
	        " WHERE deleted_at < now() - interval '30 days'",
	        "DELETE FROM holdfast.qos2_ids q WHERE q.device_key <> 0 AND NOT EXISTS"
	        " (SELECT FROM holdfast.devices d WHERE d.device_key = q.device_key)",
	        "DELETE FROM holdfast.qos2_ids WHERE device_key = 0"
	        " AND received_at < now() - interval '30 days'",
	        "DELETE FROM holdfast.sessions s WHERE s.device_key <> 0 AND NOT EXISTS"
	        " (SELECT FROM holdfast.devices d WHERE d.device_key = s.device_key)",
	        "DELETE FROM holdfast.subscriptions b WHERE NOT EXISTS"
	        " (SELECT FROM holdfast.sessions s WHERE s.session_id = b.session_id)",
	        "DELETE FROM holdfast.hubs WHERE seen_at < now() - interval '30 days'",
	        "DELETE FROM holdfast.addresses"
	        " WHERE last_seen_at < now() - interval '" ADDRESSES_KEPT "'",
	        "DELETE FROM holdfast.addresses WHERE last_seen_at < (SELECT last_seen_at"
	        " FROM holdfast.addresses ORDER BY last_seen_at DESC LIMIT 1"
	        " OFFSET " ADDRESSES_MOST ")",
	};
	static const char retained[] =
	        "DELETE FROM holdfast.retained r WHERE r.expires_at < $1 OR r.device_key <> 0"
	        " AND NOT EXISTS (SELECT FROM holdfast.data_keys k"
	        " WHERE k.device_key = r.device_key)";
	struct pg_params p = {0};
	pg_put_time(&p, clock_steady_us());
	int err = pg_exec(pg, retained, &p, clock_ms() + POOL_STATEMENT_MS, NULL);

	for (size_t i = 0; err == 0 && i < ARRAY_LEN(sql); i++)
		err = pg_exec(pg, sql[i], NULL, clock_ms() + POOL_STATEMENT_MS, NULL);
	return err;
}

static int open_owner(struct upkeep *u, struct pg *owner)
{
	const struct pg_use use = {
	        .name = "holdfast upkeep", .connect_timeout_s = u->s->connect_timeout_s};
	char why[160] = "";

	owner->stop = &u->s->quit;
	int err = pg_open(owner, u->s->owner_url, &use, why, sizeof(why));
	if (err < 0)
		log_warn("upkeep cannot connect as the owner", F_STR("error", why));
	return err;
}

static void needed_days(struct upkeep *u)
{
	int64_t days[MAX_NEEDED];
	_cleanup_(pg_close) struct pg owner = {0};

	pthread_mutex_lock(&u->mutex);
	unsigned n = u->n_needed;
	memcpy(days, u->needed, n * sizeof(days[0]));
	u->n_needed = 0;
	pthread_mutex_unlock(&u->mutex);
	if (n == 0 || open_owner(u, &owner) < 0)
		return; /* the lane will ask again */
	for (unsigned i = 0; i < n; i++) {
		int err = partitions_make(&owner, days[i]);

		if (err < 0)
			log_warn("a partition cannot be made", F_I64("day", days[i]),
			        F_STR("error", owner.message), F_STR("sqlstate", owner.sqlstate));
	}
}

/* As the owner: the hub's own role may not. That rows went is a row. */
static int clear_audit(struct upkeep *u, struct pg *owner)
{
	static const char sql[] =
	        "WITH d AS (DELETE FROM holdfast.audit WHERE audit_id IN (SELECT audit_id"
	        " FROM holdfast.audit WHERE at < now() - $1 * interval '1 day' ORDER BY at"
	        " LIMIT 500000) RETURNING 1), n AS (SELECT count(*)::integer FROM d)"
	        " INSERT INTO holdfast.audit (actor, actor_kind, operation, outcome, kind, count)"
	        " SELECT 'hub', 'hub', 'audit_expire', 'done', 'audit', n.count FROM n"
	        " WHERE n.count > 0";
	unsigned days = atomic_load(&u->s->audit_days);
	struct pg_params p = {0};

	pg_put_i32(&p, (int32_t)days);
	return days ? pg_exec(owner, sql, &p, clock_ms() + CLEAR_MS, NULL) : 0;
}

static int partitions(struct upkeep *u)
{
	_cleanup_(pg_close) struct pg owner = {0};
	int err = open_owner(u, &owner);

	if (err == 0)
		err = partitions_make_ahead(&owner);
	if (err == 0)
		err = partitions_drop_old(&owner, atomic_load(&u->s->retention_days));
	if (err == 0)
		err = clear_audit(u, &owner);
	if (err < 0 && owner.conn)
		log_warn("partitions cannot be kept", F_STR("error", owner.message),
		        F_STR("sqlstate", owner.sqlstate));
	return err;
}

/* ---- the thread ---- */

/* Until the next turn, a missing partition, or the end. */
static void sleep_until(struct upkeep *u, uint64_t due_ms)
{
	const struct timespec until = {
	        .tv_sec = (time_t)(due_ms / 1000), .tv_nsec = (long)(due_ms % 1000) * 1000000};

	pthread_mutex_lock(&u->mutex);
	while (u->n_needed == 0 && !atomic_load(&u->s->quit.stopping) &&
	        pthread_cond_timedwait(&u->wake, &u->mutex, &until) == 0)
		;
	pthread_mutex_unlock(&u->mutex);
}

/* What could not be done by others, and where they came from. */
static void write_notes(struct upkeep *u, struct pg *pg)
{
	if (denials_write(u->s->denials, pg) < 0)
		log_warn("the audit log cannot be written", F_STR("error", pg->message),
		        F_STR("sqlstate", pg->sqlstate));
	if (addresses_write(u->s, pg) < 0)
		log_debug("addresses that were seen are not written");
}

static void turn(struct upkeep *u)
{
	struct pg pg = {0};
	uint64_t now = clock_ms();

	if (now >= u->daily_due_ms) {
		int err = partitions(u);

		atomic_store(&u->ok, err == 0);
		u->daily_due_ms = now + (err == 0 ? DAILY_MS : DAILY_RETRY_MS);
		if (err == 0 && pool_take(u->s, &pg) == 0) {
			(void)clear_leftovers(&pg);
			pool_give(u->s, &pg);
		}
	}
	if (pool_take(u->s, &pg) < 0)
		return;
	/* First that what a former process noted is void, then what this one knows. */
	int err = 0;
	if (now >= u->seen_due_ms) {
		err = note_hub(u, &pg);
		u->seen_due_ms = now + HUB_SEEN_MS;
	}
	if (err == 0 && u->own_rows_cleared)
		err = flush_presence(u, &pg);
	if (err < 0)
		log_debug("presence waits for the database");
	write_notes(u, &pg);
	if (sweep_queues(u->s, &pg, &u->sweep) < 0)
		log_warn("queues cannot be cleared of what is too old", F_STR("error", pg.message),
		        F_STR("sqlstate", pg.sqlstate));
	pool_give(u->s, &pg);
}

static void *upkeep_main(void *arg)
{
	struct upkeep *u = arg;

	while (!atomic_load(&u->s->quit.stopping)) {
		uint64_t due = clock_ms() + TURN_MS;

		needed_days(u);
		turn(u);
		while (clock_ms() < due && !atomic_load(&u->s->quit.stopping)) {
			sleep_until(u, due);
			needed_days(u);
		}
	}
	/* That everybody went is worth a last try. */
	struct pg pg = {0};
	if (u->own_rows_cleared && pool_take(u->s, &pg) == 0) {
		(void)flush_presence(u, &pg);
		write_notes(u, &pg);
		pool_give(u->s, &pg);
	}
	crypto_thread_done();
	return NULL;
}

int upkeep_start(struct upkeep *u)
{
	u->running = pthread_create(&u->thread, NULL, upkeep_main, u) == 0;
	return u->running ? 0 : ERR_NOMEM;
}

void upkeep_join(struct upkeep *u)
{
	if (!u || !u->running)
		return;
	pthread_mutex_lock(&u->mutex);
	pthread_cond_signal(&u->wake);
	pthread_mutex_unlock(&u->mutex);
	pthread_join(u->thread, NULL);
	u->running = false;
}
