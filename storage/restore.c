/* What a hub that starts is told: sessions, subscriptions, counts of commands, retained messages,
 * row by row as they come from the database. */
#include <stdlib.h>

#include "server/base/clock.h"
#include "server/base/err.h"
#include "server/base/log.h"
#include "server/base/metrics.h"
#include "storage/private.h"
#include "storage/session_record.h"

#define WAIT_MS 300000 /* for the next row: a long sort is no hang */
#define PLAIN_CAP (64u * 1024 * 1024)
#define FILTER_MAX 65535

struct restoring {
	struct storage *s;
	const struct session_restore *to;
	struct pg pg;
	struct buf plain;
	/* Sessions that cannot be read, in rising order; how far their subscriptions were passed.
	 */
	uint64_t *lost;
	size_t n_lost, lost_size, passed;
	/* What was left out. */
	unsigned sessions, wills, retained;
};

/* ---- rows as they come ---- */

typedef int row_fn(struct restoring *rs, const PGresult *r);

static int take_rows(struct restoring *rs, row_fn *row)
{
	int err = 0;

	while (err == 0) {
		if (pg_await(&rs->pg, clock_ms() + WAIT_MS) < 0)
			return ERR_UNAVAILABLE;
		_cleanup_result_ PGresult *r = PQgetResult(rs->pg.conn);
		if (!r)
			return PQstatus(rs->pg.conn) == CONNECTION_OK ? 0 : ERR_UNAVAILABLE;
		ExecStatusType status = PQresultStatus(r);
		if (status == PGRES_SINGLE_TUPLE) {
			err = row(rs, r);
		} else if (status != PGRES_TUPLES_OK) {
			(void)pg_error(&rs->pg, r);
			log_error("the database refuses a statement",
			        F_STR("sqlstate", rs->pg.sqlstate));
			err = ERR_UNAVAILABLE;
		}
	}
	return err;
}

static int stream(struct restoring *rs, const char *sql, row_fn *row)
{
	if (!PQsendQueryParams(rs->pg.conn, sql, 0, NULL, NULL, NULL, NULL, 1) ||
	        !PQsetSingleRowMode(rs->pg.conn) || pg_flush(&rs->pg, clock_ms() + WAIT_MS) < 0)
		return ERR_UNAVAILABLE;
	return take_rows(rs, row);
}

/* ---- opening ---- */

/* Opens a record; *ret points into the buffer until the next one. ERR_NOT_FOUND: its device is
 * gone; ERR_CORRUPT, ERR_NOMEM. */
static int open_record(struct restoring *rs, const struct record_place *place, struct slice wrapped,
        struct slice sealed, struct record *ret)
{
	uint8_t unwrapped[CRYPTO_KEY_LEN];
	const uint8_t *key = unwrapped;

	if (place->device_key == 0)
		key = keyring_record_key(rs->s->keyring);
	else if (!wrapped.p)
		return ERR_NOT_FOUND;
	else if (data_key_unwrap(rs->s, place->device_key, place->key_id, wrapped, unwrapped) < 0)
		return ERR_CORRUPT;
	buf_truncate(&rs->plain, 0);
	uint8_t *plain = buf_reserve(&rs->plain, sealed.n + 1);
	int err = plain ? record_open(sealed, place, key, plain, ret) : ERR_NOMEM;
	crypto_wipe(unwrapped, sizeof(unwrapped));
	if (err == ERR_CORRUPT)
		metric_inc(METRIC_TELEMETRY_CORRUPT);
	return err;
}

/* ---- sessions ---- */

enum {
	S_ID,
	S_KEY,
	S_EXPIRY,
	S_OFFLINE,
	S_SEALED,
	S_WILL_DEVICE,
	S_WILL_KEY,
	S_WILL,
	S_WRAPPED,
	S_COUNT,
	S_BYTES,
	S_LAST
};

#define DONE QUEUE_DONE("queue")
#define QUEUE_STATS                                                                       \
	"count(*) FILTER (WHERE NOT " DONE                                                \
	") AS count, coalesce(sum(octet_length(sealed)), 0)::bigint AS bytes, max(n) AS " \
	"last"
static const char sessions_sql[] =
        "SELECT s.session_id, s.key, s.expiry, s.offline_at, s.sealed, s.will_device_key,"
        " s.will_key_id, s.will, k.wrapped, coalesce(q.count, 0), coalesce(q.bytes, 0),"
        " coalesce(q.last, 0) FROM holdfast.sessions s"
        " LEFT JOIN (SELECT queue, " QUEUE_STATS " FROM holdfast.queue GROUP BY queue) q"
        " ON q.queue = s.session_id"
        " LEFT JOIN holdfast.data_keys k ON k.device_key = s.will_device_key"
        " ORDER BY s.session_id";

static struct queue_stats stats_at(const PGresult *r, int first)
{
	return (struct queue_stats){
	        .count = (unsigned)pg_get_i64(r, 0, first),
	        .bytes = (size_t)pg_get_i64(r, 0, first + 1),
	        .last = (uint64_t)pg_get_i64(r, 0, first + 2),
	};
}

/* Sets the will, if there is one and it can be read. 0 or ERR_NOMEM. */
static int read_will(struct restoring *rs, const PGresult *r, struct session_row *row)
{
	struct record record;

	if (PQgetisnull(r, 0, S_WILL) || PQgetisnull(r, 0, S_WILL_DEVICE) ||
	        PQgetisnull(r, 0, S_WILL_KEY))
		return 0;
	const struct record_place place = {
	        .device_key = (uint64_t)pg_get_i64(r, 0, S_WILL_DEVICE),
	        .key_id = pg_get_i64(r, 0, S_WILL_KEY),
	        .kind = RECORD_WILL,
	        .owner = row->id,
	};
	int err = open_record(
	        rs, &place, pg_get_bytes(r, 0, S_WRAPPED), pg_get_bytes(r, 0, S_WILL), &record);
	if (err == 0)
		err = will_decode(record.extra, &row->will);
	if (err < 0 && err != ERR_NOMEM) {
		rs->wills++;
		return 0;
	}
	if (err < 0)
		return err;
	row->will.msg = message_from(&record, place.device_key);
	return row->will.msg ? 0 : ERR_NOMEM;
}

static int lose_session(struct restoring *rs, uint64_t id)
{
	rs->sessions++;
	metric_inc(METRIC_TELEMETRY_CORRUPT);
	if (rs->n_lost == rs->lost_size) {
		size_t size = rs->lost_size ? 2 * rs->lost_size : 64;
		uint64_t *lost = realloc(rs->lost, size * sizeof(*lost));

		if (!lost)
			return ERR_NOMEM;
		rs->lost = lost;
		rs->lost_size = size;
	}
	rs->lost[rs->n_lost++] = id;
	return 0;
}

static int session_row(struct restoring *rs, const PGresult *r)
{
	struct session_row row = {
	        .id = (uint64_t)pg_get_i64(r, 0, S_ID),
	        .key = pg_get_bytes(r, 0, S_KEY),
	        .expiry = (uint32_t)pg_get_i64(r, 0, S_EXPIRY),
	};
	const struct queue_stats stats = stats_at(r, S_COUNT);
	int err = principal_open(
	        &row, keyring_record_key(rs->s->keyring), pg_get_bytes(r, 0, S_SEALED));

	if (err == ERR_CORRUPT)
		return lose_session(rs, row.id);
	if (!PQgetisnull(r, 0, S_OFFLINE))
		row.offline_us = pg_get_time(r, 0, S_OFFLINE);
	if (err == 0)
		err = read_will(rs, r, &row);
	if (err == 0)
		err = rs->to->session(rs->to->ctx, &row, &stats);
	msg_unref(row.will.msg);
	principal_unref(row.principal);
	return err;
}

/* ---- subscriptions ---- */

static const char subs_sql[] =
        "SELECT b.session_id, b.filter, b.options, b.subscription_id"
        " FROM holdfast.subscriptions b JOIN holdfast.sessions s ON s.session_id = b.session_id"
        " ORDER BY b.session_id, b.filter";

static bool is_lost(struct restoring *rs, uint64_t id)
{
	while (rs->passed < rs->n_lost && rs->lost[rs->passed] < id)
		rs->passed++;
	return rs->passed < rs->n_lost && rs->lost[rs->passed] == id;
}

static int sub_row(struct restoring *rs, const PGresult *r)
{
	int32_t options = pg_get_i32(r, 0, 2);
	const struct sub_write sub = {
	        .session_id = (uint64_t)pg_get_i64(r, 0, 0),
	        .filter = pg_get_bytes(r, 0, 1),
	        .qos = options & SUB_QOS,
	        .no_local = options & SUB_NO_LOCAL,
	        .retain_as_published = options & SUB_RETAIN_AS_PUBLISHED,
	        .id = (uint32_t)pg_get_i64(r, 0, 3),
	};

	if (sub.filter.n == 0 || sub.filter.n > FILTER_MAX || sub.qos > 2 ||
	        is_lost(rs, sub.session_id))
		return 0;
	return rs->to->sub(rs->to->ctx, &sub);
}

/* ---- commands ---- */

static const char commands_sql[] =
        "SELECT d.device_key, d.id, q.count, q.bytes, q.last FROM (SELECT queue, " QUEUE_STATS
        " FROM holdfast.queue WHERE queue >= 4611686018427387904 GROUP BY queue) q"
        " JOIN holdfast.devices d ON d.device_key = q.queue - 4611686018427387904";

static int commands_row(struct restoring *rs, const PGresult *r)
{
	const struct queue_stats stats = stats_at(r, 2);

	return rs->to->commands(
	        rs->to->ctx, (uint64_t)pg_get_i64(r, 0, 0), pg_get_bytes(r, 0, 1), &stats);
}

/* ---- retained messages ---- */

enum { R_MAC, R_DEVICE, R_KEY, R_RECEIVED, R_EXPIRES, R_SEALED, R_WRAPPED, R_ID };

static const char retained_sql[] =
        "SELECT r.topic_mac, r.device_key, r.key_id, r.received_at, r.expires_at, r.sealed,"
        " k.wrapped, d.id FROM holdfast.retained r"
        " LEFT JOIN holdfast.data_keys k ON k.device_key = r.device_key"
        " LEFT JOIN holdfast.devices d ON d.device_key = r.device_key"
        " WHERE r.expires_at IS NULL OR r.expires_at > now()";

static int open_retained(struct restoring *rs, const PGresult *r, struct msg **ret)
{
	struct slice mac = pg_get_bytes(r, 0, R_MAC);
	struct record record;

	if (mac.n != TOPIC_MAC_LEN)
		return ERR_CORRUPT;
	const struct record_place place = {
	        .device_key = (uint64_t)pg_get_i64(r, 0, R_DEVICE),
	        .key_id = pg_get_i64(r, 0, R_KEY),
	        .seq = (int64_t)pg_load_u64(mac.p + 8),
	        .received_us = pg_get_time(r, 0, R_RECEIVED),
	        .kind = RECORD_RETAINED,
	        .owner = pg_load_u64(mac.p),
	};
	int err = open_record(
	        rs, &place, pg_get_bytes(r, 0, R_WRAPPED), pg_get_bytes(r, 0, R_SEALED), &record);
	if (err < 0)
		return err;
	struct msg *m = message_from(&record, place.device_key);
	if (!m)
		return ERR_NOMEM;
	m->received_us = place.received_us;
	if (!PQgetisnull(r, 0, R_EXPIRES))
		message_set_expiry(m, pg_get_time(r, 0, R_EXPIRES));
	*ret = m;
	return 0;
}

static int retained_row(struct restoring *rs, const PGresult *r)
{
	struct msg *m = NULL;
	int err = open_retained(rs, r, &m);

	if (err == ERR_NOMEM)
		return err;
	if (err < 0) {
		rs->retained++;
		return 0;
	}
	err = rs->to->retained(rs->to->ctx, m, pg_get_bytes(r, 0, R_ID));
	msg_unref(m);
	return err;
}

/* ---- all of it, as it was at one moment ---- */

static int restore_all(struct restoring *rs)
{
	int err = pg_script(&rs->pg, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
	        clock_ms() + ROUND_TRIP_MS);

	if (err < 0)
		return ERR_UNAVAILABLE;
	err = stream(rs, sessions_sql, session_row);
	if (err == 0)
		err = stream(rs, subs_sql, sub_row);
	if (err == 0)
		err = stream(rs, commands_sql, commands_row);
	if (err == 0)
		err = stream(rs, retained_sql, retained_row);
	return err;
}

int sessions_restore(void *ctx, const struct session_restore *to)
{
	struct restoring rs = {.s = ctx, .to = to, .pg.stop = &((struct storage *)ctx)->hurry};
	const struct pg_use use = {
	        .name = "holdfast restore", .connect_timeout_s = rs.s->connect_timeout_s};

	if (pg_open(&rs.pg, rs.s->url, &use, NULL, 0) < 0)
		return ERR_UNAVAILABLE;
	buf_init(&rs.plain, PLAIN_CAP);
	int err = restore_all(&rs);
	if (rs.sessions + rs.wills + rs.retained > 0)
		log_warn("some of what sessions left cannot be read: left out",
		        F_U64("sessions", rs.sessions), F_U64("wills", rs.wills),
		        F_U64("retained", rs.retained));
	buf_wipe(&rs.plain);
	free(rs.lost);
	pg_close(&rs.pg);
	return err;
}
