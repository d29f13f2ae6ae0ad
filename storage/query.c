/*
 * The API's port: stored telemetry. Rows come one by one from the database; some are held at a
 * time, so that the keys they lack are asked for together.
 */
#include "storage/query.h"

#include <stdlib.h>

#include "server/base/clock.h"
#include "server/base/err.h"
#include "server/base/log.h"
#include "server/base/metrics.h"

#define WAIT_MS (POOL_STATEMENT_MS + 5000)
#define PLAIN_CAP (64u * 1024 * 1024)
#define PAGE_ROWS 16384 /* of one statement, at most */
#define PAGE_BEGIN 1024
/* Of an unwanted rest so many rows are taken; before more of them the connection goes. */
#define REST_ROWS 1024

enum column { RECEIVED_AT, SEQ, KEY_ID, SEALED, DEVICE_KEY };

/* The window is a bound of partitions. */
#define SELECT(whose)                                                                        \
	"SELECT received_at, seq, key_id, sealed, device_key FROM holdfast.telemetry WHERE " \
	"received_at >= $1 AND received_at < $2" whose
#define FORWARDS " AND (received_at, seq) > ($3, $4) ORDER BY received_at, seq LIMIT $5"
#define BACKWARDS " AND (received_at, seq) < ($3, $4) ORDER BY received_at DESC, seq DESC LIMIT $5"
#define OF_DEVICE " AND device_key = $6"
#define OF_GROUP " AND device_key = ANY ($6)"

static const char *const statements[][2] = {
        [TELEMETRY_DEVICE] = {SELECT(OF_DEVICE) BACKWARDS, SELECT(OF_DEVICE) FORWARDS},
        [TELEMETRY_GROUP] = {SELECT(OF_GROUP) BACKWARDS, SELECT(OF_GROUP) FORWARDS},
        [TELEMETRY_HUB] = {SELECT("") BACKWARDS, SELECT("") FORWARDS},
};

/* ---- a statement ---- */

static int start_page(struct reading *rd)
{
	struct pg_params p = {0};
	const struct query_walk *w = &rd->walk;

	pg_put_time(&p, w->lo_us);
	pg_put_time(&p, w->hi_us);
	pg_put_time(&p, w->after_us);
	pg_put_i64(&p, w->after_seq);
	pg_put_i64(&p, rd->asked);
	if (rd->q->scope == TELEMETRY_DEVICE)
		pg_put_i64(&p, (int64_t)rd->q->device_key);
	else if (rd->q->scope == TELEMETRY_GROUP)
		pg_put_array(&p, PG_INT8_ARRAY, &rd->devices);
	if (!PQsendQueryParams(rd->pg.conn, statements[rd->q->scope][rd->q->ascending], p.n,
	            p.types, p.values, p.lengths, pg_binary, 1) ||
	        !PQsetSingleRowMode(rd->pg.conn))
		return ERR_UNAVAILABLE;
	return pg_flush(&rd->pg, clock_ms() + WAIT_MS);
}

static int open_row(struct reading *rd, const struct record_place *place,
        const struct read_key *key, struct slice sealed, struct telemetry_item *it)
{
	struct record record;

	buf_truncate(&rd->plain, 0);
	uint8_t *plain = buf_reserve(&rd->plain, sealed.n + 1);
	if (!plain)
		return ERR_NOMEM;
	if (place->device_key != key->device_key ||
	        record_open(sealed, place, key->key, plain, &record) < 0) {
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
	        .device_key = (uint64_t)pg_get_i64(r, 0, DEVICE_KEY),
	        .received_us = pg_get_time(r, 0, RECEIVED_AT),
	        .seq = pg_get_i64(r, 0, SEQ),
	};
	const struct record_place place = {
	        .device_key = it.device_key,
	        .key_id = pg_get_i64(r, 0, KEY_ID),
	        .seq = it.seq,
	        .received_us = it.received_us,
	};
	const struct read_key *key = read_keys_get(&rd->keys, place.key_id);
	int err = 0;

	rd->rows++;
	/* Without its key it was erased. */
	if (key && key->there) {
		it.device = slice_str(key->device);
		err = open_row(rd, &place, key, pg_get_bytes(r, 0, SEALED), &it);
		if (err == 0)
			err = rd->item(&it, rd->arg);
	}
	if (err >= 0)
		query_walk_row(&rd->walk, it.received_us, it.seq);
	return err;
}

/* ---- rows that are held until their keys are there ---- */

static void held_clear(struct held *h)
{
	for (unsigned i = 0; i < h->n; i++)
		PQclear(h->rows[i]);
	h->n = 0;
	h->bytes = 0;
}

static int give_held(struct reading *rd)
{
	int64_t ids[HELD_ROWS];
	struct held *h = &rd->held;
	unsigned n = 0;

	for (unsigned i = 0; i < h->n; i++) {
		int64_t id = pg_get_i64(h->rows[i], 0, KEY_ID);
		if (n == 0 || ids[n - 1] != id)
			ids[n++] = id;
	}
	int err = n > 0 ? read_keys_want(&rd->keys, ids, n) : 0;
	for (unsigned i = 0; err == 0 && i < h->n; i++)
		err = give_row(rd, h->rows[i]);
	held_clear(h);
	return err;
}

static bool over_budget(const struct reading *rd)
{
	return rd->q->budget_ms > 0 && clock_ms() - rd->begun_ms >= rd->q->budget_ms;
}

static int hold_row(struct reading *rd, PGresult *r)
{
	struct held *h = &rd->held;

	h->bytes += (size_t)PQgetlength(r, 0, SEALED);
	h->rows[h->n++] = r;
	if (h->n < HELD_ROWS && h->bytes < HELD_BYTES)
		return 0;
	int err = give_held(rd);
	return err == 0 && over_budget(rd) ? TELEMETRY_ENOUGH : err;
}

/* ---- a page ---- */

/* What is behind the last row that was wanted: taken, if it is little, so that the connection can
 * be used again. */
static void take_rest(struct reading *rd, unsigned taken)
{
	PGresult *r;

	if (rd->asked - taken > REST_ROWS)
		return;
	while (pg_await(&rd->pg, clock_ms() + WAIT_MS) == 0 && (r = PQgetResult(rd->pg.conn)))
		PQclear(r);
}

/* Whoever takes the rows took his time: the statement's was over. */
static bool timed_out_late(const struct reading *rd, unsigned taken)
{
	return taken > 0 && strcmp(rd->pg.sqlstate, "57014") == 0;
}

/* Until the end of the result. *ret_n: rows that came. */
static int read_page(struct reading *rd, unsigned *ret_n, bool *ret_cut)
{
	unsigned n = 0;
	int err = start_page(rd);

	while (err == 0) {
		if (pg_await(&rd->pg, clock_ms() + WAIT_MS) < 0)
			return ERR_UNAVAILABLE;
		PGresult *r = PQgetResult(rd->pg.conn);
		if (!r)
			break;
		ExecStatusType status = PQresultStatus(r);
		if (status == PGRES_SINGLE_TUPLE) {
			n++;
			err = hold_row(rd, r);
			continue;
		}
		if (status != PGRES_TUPLES_OK)
			err = pg_error(&rd->pg, r);
		PQclear(r);
		if (err < 0 && timed_out_late(rd, n)) {
			*ret_cut = true;
			err = 0;
		}
	}
	if (err == 0 && PQstatus(rd->pg.conn) != CONNECTION_OK)
		err = ERR_UNAVAILABLE;
	if (err == 0)
		err = give_held(rd);
	else
		take_rest(rd, n);
	*ret_n = n;
	return err;
}

static int read_extent(struct reading *rd)
{
	static const char sql[] =
	        "SELECT to_date(min(substr(c.relname::text, 11)), 'YYYYMMDD') - date '1970-01-01',"
	        " to_date(max(substr(c.relname::text, 11)), 'YYYYMMDD') - date '1970-01-01'"
	        " FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid"
	        " WHERE i.inhparent = 'holdfast.telemetry'::pg_catalog.regclass"
	        " AND c.relname ~ '^telemetry_[0-9]{8}$'";
	_cleanup_result_ PGresult *r = NULL;
	int64_t oldest = 0, end = 0;
	int err = pg_exec(&rd->pg, sql, NULL, clock_ms() + WAIT_MS, &r);

	if (err < 0)
		return err;
	if (!PQgetisnull(r, 0, 0)) {
		oldest = pg_get_i32(r, 0, 0) * DAY_US;
		end = (pg_get_i32(r, 0, 1) + 1) * DAY_US;
	}
	query_walk_extent(&rd->walk, oldest, end);
	return 0;
}

static unsigned page_rows(const struct reading *rd)
{
	uint64_t rows = rd->asked == 0 ? (rd->q->first ? rd->q->first : PAGE_BEGIN)
	                               : 4 * (uint64_t)rd->asked;

	if (rd->q->limit > 0 && rows > rd->q->limit - rd->rows)
		rows = rd->q->limit - rd->rows;
	return (unsigned)(rows < PAGE_ROWS ? rows : PAGE_ROWS);
}

/* *ret_ended: there is nothing more in the query's time. */
static int read_pages(struct reading *rd, bool *ret_ended)
{
	int err = 0;

	while (err == 0 && (rd->q->limit == 0 || rd->rows < rd->q->limit)) {
		bool cut = false;
		unsigned n = 0;
		if (query_walk_wants_extent(&rd->walk) && (err = read_extent(rd)) < 0)
			return err;
		*ret_ended = !query_walk_next(&rd->walk);
		if (*ret_ended)
			return 0;
		int64_t before = rd->walk.after_us;
		rd->asked = page_rows(rd);
		err = read_page(rd, &n, &cut);
		if (err != 0)
			return err;
		bool full = cut || n == rd->asked;
		if (before == INT64_MAX || before == INT64_MIN)
			before = rd->q->ascending ? rd->walk.lo_us : rd->walk.now_us;
		*ret_ended = !full && rd->walk.last;
		query_walk_page(&rd->walk, full, n > 0 ? llabs(rd->walk.after_us - before) : 0);
		if (*ret_ended || over_budget(rd))
			return 0;
	}
	return err;
}

static int put_devices(struct reading *rd)
{
	int err = pg_array_start(&rd->devices);

	for (unsigned i = 0; err == 0 && i < rd->q->n_devices; i++)
		err = pg_array_i64(&rd->devices, (int64_t)rd->q->devices[i]);
	if (err == 0)
		pg_array_finish(&rd->devices, PG_INT8, rd->q->n_devices);
	return err;
}

static int run(struct reading *rd, struct telemetry_reach *ret_reach)
{
	bool ended = false;
	int err = rd->q->scope == TELEMETRY_GROUP ? put_devices(rd) : 0;

	if (err == 0 && rd->q->scope == TELEMETRY_GROUP && rd->q->n_devices == 0)
		ended = true;
	else if (err == 0)
		err = read_pages(rd, &ended);
	if (err == ERR_TIMEOUT)
		err = ERR_UNAVAILABLE;
	if (err >= 0 && ret_reach)
		*ret_reach = (struct telemetry_reach){.ended = ended,
		        .us = rd->walk.after_us,
		        .seq = rd->walk.after_seq,
		        .rows = rd->rows};
	return err > 0 ? 0 : err;
}

static int run_on(struct reading *rd, struct telemetry_reach *ret_reach)
{
	buf_init(&rd->plain, PLAIN_CAP);
	buf_init(&rd->devices, PG_ARRAY_HEAD + 12 * (size_t)TELEMETRY_GROUP_MAX);
	read_keys_init(&rd->keys, rd->s);
	query_walk_init(&rd->walk, rd->q, clock_wall_us());
	int err = run(rd, ret_reach);
	held_clear(&rd->held);
	read_keys_done(&rd->keys);
	buf_wipe(&rd->plain);
	buf_free(&rd->devices);
	return err;
}

/* False: nothing was given, the primary is to be asked. */
static bool run_on_replica(struct reading *rd, struct telemetry_reach *ret_reach, int *ret)
{
	if (pool_take_replica(rd->s, &rd->pg) < 0)
		return false;
	*ret = run_on(rd, ret_reach);
	pool_give_replica(rd->s, &rd->pg);
	rd->pg = (struct pg){0};
	rd->asked = 0;
	return *ret != ERR_UNAVAILABLE || rd->rows > 0;
}

static int run_on_primary(struct reading *rd, struct telemetry_reach *ret_reach)
{
	int err = pool_take(rd->s, &rd->pg);

	if (err < 0)
		return err;
	err = run_on(rd, ret_reach);
	pool_give(rd->s, &rd->pg); /* one with rows left in it is closed there */
	return err;
}

int telemetry_query_run(void *ctx, const struct telemetry_query *q,
        int (*item)(const struct telemetry_item *it, void *arg), void *arg,
        struct telemetry_reach *ret_reach)
{
	struct reading *rd = calloc(1, sizeof(*rd));
	int err = 0;

	if (!rd)
		return ERR_NOMEM;
	rd->s = ctx;
	rd->q = q;
	rd->item = item;
	rd->arg = arg;
	rd->begun_ms = clock_ms();
	if (!run_on_replica(rd, ret_reach, &err))
		err = run_on_primary(rd, ret_reach);
	free(rd);
	return err;
}
