/* The API's port: stored telemetry, row by row as it comes from the database. */
#include <stdlib.h>

#include "server/base/clock.h"
#include "server/base/err.h"
#include "server/base/log.h"
#include "server/base/metrics.h"
#include "storage/private.h"
#include "storage/record.h"

#define QUERY_MS (POOL_STATEMENT_MS + 5000)
#define PLAIN_CAP (64u * 1024 * 1024)

struct reading {
	struct storage *s;
	const struct telemetry_query *q;
	int (*item)(const struct telemetry_item *it, void *arg);
	void *arg;
	struct pg pg;
	uint64_t deadline;
	int64_t key_id;
	uint8_t key[CRYPTO_KEY_LEN];
	struct buf plain;
	unsigned rows;
};

/* The position is a bound of time as well: partitions that lie behind it are not looked at. */
#define SELECT_FROM                                                                             \
	"SELECT received_at, seq, key_id, sealed FROM holdfast.telemetry WHERE device_key = $1" \
	" AND received_at >= $2 AND received_at < $3"
static const char ascending_sql[] = SELECT_FROM
        " AND (received_at, seq) > ($4, $5) ORDER BY received_at, seq LIMIT $6";
static const char descending_sql[] = SELECT_FROM
        " AND (received_at, seq) < ($4, $5) ORDER BY received_at DESC, seq DESC LIMIT $6";

/* The device's data key. ERR_NOT_FOUND: it has none, nothing of it can be read. */
static int load_key(struct reading *rd)
{
	_cleanup_result_ PGresult *r = NULL;
	struct pg_params p = {0};

	pg_put_i64(&p, (int64_t)rd->q->device_key);
	int err = pg_exec(&rd->pg,
	        "SELECT key_id, wrapped FROM holdfast.data_keys WHERE device_key = $1", &p,
	        rd->deadline, &r);
	if (err < 0)
		return err;
	if (PQntuples(r) == 0)
		return ERR_NOT_FOUND;
	rd->key_id = pg_get_i64(r, 0, 0);
	if (data_key_unwrap(rd->s, rd->q->device_key, rd->key_id, pg_get_bytes(r, 0, 1), rd->key) ==
	        0)
		return 0;
	/* Then no row opens, and each says so. */
	log_error("a data key in the database was altered", F_U64("deviceKey", rd->q->device_key));
	crypto_random(rd->key, sizeof(rd->key));
	return 0;
}

static void put_bounds(struct pg_params *p, const struct telemetry_query *q)
{
	int64_t from = q->from_us, to = q->to_us;
	int64_t after_us = q->ascending ? INT64_MIN : INT64_MAX;
	int64_t after_seq = q->ascending ? INT64_MIN : INT64_MAX;

	if (q->has_after) {
		after_us = q->after_us;
		after_seq = q->after_seq;
		if (q->ascending && after_us > from)
			from = after_us;
		if (!q->ascending && after_us < to && after_us < INT64_MAX)
			to = after_us + 1;
	}
	pg_put_i64(p, (int64_t)q->device_key);
	pg_put_time(p, from);
	pg_put_time(p, to);
	pg_put_time(p, after_us);
	pg_put_i64(p, after_seq);
	pg_put_i64(p, q->limit);
}

static int start(struct reading *rd)
{
	struct pg_params p = {0};

	put_bounds(&p, rd->q);
	if (!PQsendQueryParams(rd->pg.conn, rd->q->ascending ? ascending_sql : descending_sql, p.n,
	            p.types, p.values, p.lengths, pg_binary, 1) ||
	        !PQsetSingleRowMode(rd->pg.conn))
		return ERR_UNAVAILABLE;
	return pg_flush(&rd->pg, rd->deadline);
}

static int open_row(struct reading *rd, const struct record_place *place, struct slice sealed,
        struct telemetry_item *it)
{
	struct record record;

	buf_truncate(&rd->plain, 0);
	uint8_t *plain = buf_reserve(&rd->plain, sealed.n + 1);
	if (!plain)
		return ERR_NOMEM;
	if (place->key_id != rd->key_id ||
	        record_open(sealed, place, rd->key, plain, &record) < 0) {
		it->corrupt = true;
		metric_inc(METRIC_TELEMETRY_CORRUPT);
		log_error("a stored message was altered, moved or swapped: refused",
		        F_U64("deviceKey", place->device_key), F_I64("seq", place->seq));
		return 0;
	}
	it->qos = record.qos;
	it->topic = record.topic;
	it->module = record.module;
	it->props = record.props;
	it->payload = record.payload;
	return 0;
}

static int give_row(struct reading *rd, const PGresult *r)
{
	struct telemetry_item it = {
	        .received_us = pg_get_time(r, 0, 0),
	        .seq = pg_get_i64(r, 0, 1),
	};
	const struct record_place place = {
	        .device_key = rd->q->device_key,
	        .key_id = pg_get_i64(r, 0, 2),
	        .seq = it.seq,
	        .received_us = it.received_us,
	};
	int err = open_row(rd, &place, pg_get_bytes(r, 0, 3), &it);

	rd->rows++;
	return err < 0 ? err : rd->item(&it, rd->arg);
}

/* What is behind the last row that was asked for: taken too, the connection can be used again. */
static void take_end(struct reading *rd)
{
	PGresult *r;

	while (pg_await(&rd->pg, rd->deadline) == 0 && (r = PQgetResult(rd->pg.conn)))
		PQclear(r);
}

/* Until the end of the result. An error of item's leaves the rest unread. */
static int give_rows(struct reading *rd)
{
	int err = 0;

	while (err == 0) {
		err = pg_await(&rd->pg, rd->deadline);
		if (err < 0)
			return ERR_UNAVAILABLE;
		_cleanup_result_ PGresult *r = PQgetResult(rd->pg.conn);
		if (!r)
			return PQstatus(rd->pg.conn) == CONNECTION_OK ? 0 : ERR_UNAVAILABLE;
		ExecStatusType status = PQresultStatus(r);
		if (status == PGRES_SINGLE_TUPLE)
			err = give_row(rd, r);
		else if (status != PGRES_TUPLES_OK)
			err = pg_error(&rd->pg, r);
	}
	if (rd->rows == rd->q->limit)
		take_end(rd);
	return err;
}

static int read_rows(struct reading *rd)
{
	int err = load_key(rd);

	/* A generation without a data key was deleted or erased: there is nothing to read. */
	if (err == ERR_NOT_FOUND)
		return 0;
	if (err == 0)
		err = start(rd);
	if (err == ERR_TIMEOUT)
		err = ERR_UNAVAILABLE;
	if (err == 0)
		err = give_rows(rd);
	return err;
}

int telemetry_query_run(void *ctx, const struct telemetry_query *q,
        int (*item)(const struct telemetry_item *it, void *arg), void *arg)
{
	struct reading rd = {
	        .s = ctx, .q = q, .item = item, .arg = arg, .deadline = clock_ms() + QUERY_MS};
	int err = pool_take(rd.s, &rd.pg);

	if (err < 0)
		return err;
	buf_init(&rd.plain, PLAIN_CAP);
	err = read_rows(&rd);
	crypto_wipe(rd.key, sizeof(rd.key));
	buf_wipe(&rd.plain);
	pool_give(rd.s, &rd.pg); /* one with rows left in it is closed there */
	return err;
}
