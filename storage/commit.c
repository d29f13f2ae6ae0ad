/*
 * A batch's transactions. What fails for a reason of the database is tried again for as long as it
 * takes; what fails for a reason of a row is halved until that row stands alone.
 */
#include <stdlib.h>

#include "server/base/clock.h"
#include "server/base/err.h"
#include "server/base/log.h"
#include "server/base/metrics.h"
#include "storage/lane.h"

#define BACKOFF_MIN_MS 50
#define BACKOFF_MAX_MS 1000
#define BLAME_ROW_AFTER \
	6 /* tries with an error that is neither surely the row's nor the database's */
#define ROUND_MAX 24

/* unnest in the select list, not in FROM: there each array is first spooled into a table of its
 * own, which costs a third of the statement. */
#define INSERT_ROWS                                                                      \
	"INSERT INTO holdfast.telemetry (device_key, received_at, seq, key_id, sealed)"  \
	" SELECT unnest($1::bigint[]), unnest($2::timestamptz[]), unnest($3::bigint[])," \
	" unnest($4::bigint[]), unnest($5::bytea[])"

static const struct statement {
	const char *name, *sql;
	int n;
	Oid types[6];
} statements[] = {
        {"begin", "BEGIN", 0, {0}},
        {"commit", "COMMIT", 0, {0}},
        {"rollback", "ROLLBACK", 0, {0}},
        {"seq", "SELECT nextval('holdfast.telemetry_seq')", 0, {0}},
        {"writer", "SELECT nextval('holdfast.writer_seq')", 0, {0}},
        /* The mark by which the next process of this hub finds what this one leaves behind
         * (fence.c). And plans that stay: whatever the statistics say of a queue that is empty one
         * moment and long the next, rows are found by their keys. */
        {"set_up",
                "SELECT pg_advisory_lock_shared($1),"
                " set_config('plan_cache_mode', 'force_generic_plan', false),"
                " set_config('enable_seqscan', 'off', false),"
                " set_config('enable_hashjoin', 'off', false),"
                " set_config('enable_mergejoin', 'off', false)",
                1, {PG_INT8}},
        {"keys",
                "SELECT device_key, key_id, wrapped FROM holdfast.data_keys"
                " WHERE device_key = ANY($1)",
                1, {PG_INT8_ARRAY}},
        {"insert", INSERT_ROWS, 5,
                {PG_INT8_ARRAY, PG_TIMESTAMPTZ_ARRAY, PG_INT8_ARRAY, PG_INT8_ARRAY,
                        PG_BYTEA_ARRAY}},
        /* Only a batch that may be there already pays for the check. */
        {"replay", INSERT_ROWS " ON CONFLICT (device_key, received_at, seq) DO NOTHING", 5,
                {PG_INT8_ARRAY, PG_TIMESTAMPTZ_ARRAY, PG_INT8_ARRAY, PG_INT8_ARRAY,
                        PG_BYTEA_ARRAY}},
        {"dead_letter",
                "INSERT INTO holdfast.dead_letters"
                " (device_key, received_at, seq, key_id, sealed, sqlstate)"
                " SELECT u.*, $6::text FROM unnest($1::bigint[], $2::timestamptz[], $3::bigint[],"
                " $4::bigint[], $5::bytea[]) u ON CONFLICT DO NOTHING",
                6,
                {PG_INT8_ARRAY, PG_TIMESTAMPTZ_ARRAY, PG_INT8_ARRAY, PG_INT8_ARRAY, PG_BYTEA_ARRAY,
                        PG_TEXT}},
};

/* ---- one round trip: statements in a pipeline, one synchronisation ---- */

struct round {
	PGresult *results[ROUND_MAX];
	int queued, got;
};

static void round_done(struct round *r)
{
	for (int i = 0; i < ROUND_MAX; i++)
		PQclear(r->results[i]);
}

static int round_add(struct lane *l, struct round *r, const char *name, const struct pg_params *p)
{
	static const struct pg_params none;

	p = p ? p : &none;
	if (!PQsendQueryPrepared(l->pg.conn, name, p->n, p->values, p->lengths, pg_binary, 1))
		return ERR_UNAVAILABLE;
	r->queued++;
	return 0;
}

/* Takes results until the synchronisation: the first failure counts, what follows it was not done.
 */
static int round_collect(struct lane *l, struct round *r)
{
	int failed = 0;

	for (int nothing = 0; nothing < 3;) {
		int err = pg_await(&l->pg, PG_FOR_EVER);
		if (err < 0)
			return err;
		PGresult *res = PQgetResult(l->pg.conn);
		if (!res) { /* between two statements; again and again when the connection is gone
			     */
			nothing++;
			continue;
		}
		nothing = 0;
		ExecStatusType status = PQresultStatus(res);
		if (status == PGRES_PIPELINE_SYNC) {
			PQclear(res);
			return failed;
		}
		if (status == PGRES_FATAL_ERROR && failed == 0) {
			failed = pg_error(&l->pg, res);
			if (failed == ERR_UNAVAILABLE || failed == ERR_EXISTS)
				failed = ERR_INTERNAL; /* the SQLSTATE tells */
		}
		if (r->got < ROUND_MAX)
			r->results[r->got++] = res;
		else
			PQclear(res);
		if (PQstatus(l->pg.conn) != CONNECTION_OK)
			break;
	}
	return ERR_UNAVAILABLE;
}

/* 0; ERR_INTERNAL: refused, the SQLSTATE tells; ERR_UNAVAILABLE: the connection is gone, as it is
 * with ERR_TIMEOUT: the stop is due. */
static int round_run(struct lane *l, struct round *r)
{
	int err = PQpipelineSync(l->pg.conn) ? pg_flush(&l->pg, PG_FOR_EVER) : ERR_UNAVAILABLE;

	if (err == 0)
		err = round_collect(l, r);
	if (err == ERR_UNAVAILABLE || err == ERR_TIMEOUT)
		lane_disconnect(l);
	return err;
}

static int round_one(struct lane *l, const char *name)
{
	_cleanup_(round_done) struct round r = {0};
	int err = round_add(l, &r, name, NULL);

	return err < 0 ? err : round_run(l, &r);
}

/* ---- connecting ---- */

static int prepare(struct lane *l, const char *name, const char *sql, int n, const Oid *types)
{
	_cleanup_(round_done) struct round r = {0};

	if (!PQsendPrepare(l->pg.conn, name, sql, n, types))
		return ERR_UNAVAILABLE;
	return round_run(l, &r);
}

static int prepare_stage(struct lane *l, const struct stage *st)
{
	Oid types[STAGE_COLUMNS];
	int n = (int)st->n_columns;

	for (int i = 0; i < n; i++)
		types[i] = array_of(st->columns[i]);
	int err = prepare(l, st->name, st->sql, n, types);
	if (err == 0 && st->replay)
		err = prepare(l, st->replay, st->replay_sql, n, types);
	return err;
}

static int prepare_all(struct lane *l)
{
	int err = 0;

	for (size_t i = 0; err == 0 && i < ARRAY_LEN(statements); i++)
		err = prepare(l, statements[i].name, statements[i].sql, statements[i].n,
		        statements[i].types);
	for (unsigned i = 0; err == 0 && i < n_stages; i++)
		err = prepare_stage(l, &stages[i]);
	return err;
}

/* A writer number of its own, never given twice, random bytes should the sequence be set back by a
 * restored backup, and a counter that starts anew. */
static int new_nonces(struct lane *l)
{
	_cleanup_(round_done) struct round r = {0};
	int err = round_add(l, &r, "writer", NULL);

	if (err == 0)
		err = round_run(l, &r);
	if (err < 0)
		return err;
	pg_store_u32(l->nonce, (uint32_t)pg_get_i64(r.results[0], 0, 0));
	crypto_random(l->nonce + 4, 4);
	l->nonce_counter = 0;
	return 0;
}

static int set_up(struct lane *l)
{
	_cleanup_(round_done) struct round r = {0};
	struct pg_params p = {0};

	pg_put_i64(&p, fence_key(l->s));
	int err = round_add(l, &r, "set_up", &p);
	return err < 0 ? err : round_run(l, &r);
}

int lane_connect(struct lane *l)
{
	const struct pg_use use = {
	        .name = "holdfast lane", .connect_timeout_s = l->s->connect_timeout_s};
	char why[160] = "";
	int err = pg_open(&l->pg, l->s->url, &use, why, sizeof(why));

	if (err < 0) {
		log_warn("a storage lane cannot connect", F_U64("lane", l->index),
		        F_STR("error", why));
		return err;
	}
	err = PQenterPipelineMode(l->pg.conn) ? prepare_all(l) : ERR_UNAVAILABLE;
	if (err == 0)
		err = set_up(l);
	if (err == 0)
		err = new_nonces(l);
	if (err < 0) {
		log_warn("a storage lane cannot prepare", F_U64("lane", l->index),
		        F_STR("error", l->pg.message), F_STR("sqlstate", l->pg.sqlstate));
		lane_disconnect(l);
		return ERR_UNAVAILABLE;
	}
	atomic_store(&l->up, true);
	metric_add(METRIC_DB_UP, 1);
	return 0;
}

void lane_disconnect(struct lane *l)
{
	pg_close(&l->pg);
	if (atomic_exchange(&l->up, false))
		metric_add(METRIC_DB_UP, -1);
}

/* ---- before a batch: numbers and keys ---- */

static void keep_keys(struct lane *l, const PGresult *r)
{
	for (int i = 0; i < PQntuples(r); i++) {
		uint64_t device_key = (uint64_t)pg_get_i64(r, i, 0);
		int64_t key_id = pg_get_i64(r, i, 1);
		uint8_t key[CRYPTO_KEY_LEN];

		if (data_key_unwrap(l->s, device_key, key_id, pg_get_bytes(r, i, 2), key) == 0)
			(void)dek_cache_put(&l->deks, device_key, key_id, key);
		else
			log_error("a data key in the database was altered",
			        F_U64("deviceKey", device_key));
		crypto_wipe(key, sizeof(key));
	}
}

/* The devices whose keys are not at hand. */
static int missing_devices(struct lane *l, struct buf *array, uint32_t *ret_n)
{
	uint32_t n = 0;
	int err = pg_array_start(array);

	for (unsigned i = 0; err == 0 && i < l->batch.n; i++) {
		const struct item *item = &l->batch.items[i];

		if (item->key || item->device_key == NO_KEY)
			continue;
		err = pg_array_i64(array, (int64_t)item->device_key);
		n++;
	}
	if (err == 0)
		pg_array_finish(array, PG_INT8, n);
	*ret_n = n;
	return err;
}

static int prepare_round(struct lane *l, struct buf *missing, int64_t *ret_seq)
{
	_cleanup_(round_done) struct round r = {0};
	struct pg_params p = {0};
	bool rows = l->batch.n_rows > 0;
	uint32_t n = 0;
	int err = missing_devices(l, missing, &n);

	if (err < 0 || (!rows && n == 0))
		return err;
	if (rows)
		err = round_add(l, &r, "seq", NULL);
	if (err == 0 && n > 0) {
		pg_put_array(&p, PG_INT8_ARRAY, missing);
		err = round_add(l, &r, "keys", &p);
	}
	if (err == 0)
		err = round_run(l, &r);
	if (err < 0)
		return err;
	if (rows)
		*ret_seq = pg_get_i64(r.results[0], 0, 0);
	if (n > 0)
		keep_keys(l, r.results[rows]);
	return 0;
}

int lane_prepare(struct lane *l, int64_t *ret_seq)
{
	struct buf missing;
	int err = 0;

	/* An item takes two at most. */
	if (l->nonce_counter > UINT32_MAX - 2 * SEQ_BLOCK)
		err = new_nonces(l);
	buf_init(&missing, 1 << 20);
	if (err == 0)
		err = prepare_round(l, &missing, ret_seq);
	buf_free(&missing);
	if (err < 0 && err != ERR_TIMEOUT) {
		log_warn("a storage lane has to wait for the database", F_U64("lane", l->index),
		        F_STR("error", l->pg.message), F_STR("sqlstate", l->pg.sqlstate));
		lane_disconnect(l);
	}
	return err;
}

/* ---- transactions ---- */

static void put_columns(struct pg_params *p, const struct buf *columns[COLUMNS])
{
	for (unsigned i = 0; i < COLUMNS; i++)
		pg_put_array(p, 0, columns[i]);
}

static uint32_t rows_before(const struct batch *b, unsigned item)
{
	return item < b->n ? b->items[item].first_row : b->sealed_rows;
}

static int add_rows(struct lane *l, struct round *r, unsigned from, unsigned to)
{
	const struct buf *columns[COLUMNS];
	struct batch *b = &l->batch;
	uint32_t first = rows_before(b, from), end = rows_before(b, to);
	struct pg_params p = {0};

	if (first == end)
		return 0;
	int err = batch_part(b, l->part, first, end, columns);
	if (err < 0)
		return err;
	put_columns(&p, columns);
	return round_add(l, r, b->replay ? "replay" : "insert", &p);
}

static int add_stages(struct lane *l, struct round *r, unsigned from, unsigned to)
{
	const struct batch *b = &l->batch;
	int n = 0;

	for (unsigned i = 0; n >= 0 && i < n_stages; i++) {
		const struct stage *st = &stages[i];
		struct pg_params p = {0};

		if (!(st->kinds & b->kinds))
			continue;
		n = stage_collect(l, st, from, to, &p);
		if (n > 0)
			n = round_add(l, r, b->replay && st->replay ? st->replay : st->name, &p);
	}
	return n < 0 ? n : 0;
}

static int transaction(struct lane *l, unsigned from, unsigned to)
{
	_cleanup_(round_done) struct round r = {0};
	uint64_t start = clock_us();
	int err = round_add(l, &r, "begin", NULL);

	if (err == 0)
		err = add_rows(l, &r, from, to);
	if (err == 0)
		err = add_stages(l, &r, from, to);
	if (err == 0)
		err = round_add(l, &r, "commit", NULL);
	if (err < 0) {
		/* Half of it may have been sent: only a new connection forgets that. */
		lane_disconnect(l);
		return ERR_UNAVAILABLE;
	}
	err = round_run(l, &r);
	if (err == 0) {
		metric_observe_us(METRIC_COMMIT_TIME, clock_us() - start);
		metric_inc(METRIC_BATCHES);
	}
	return err;
}

static int dead_letter(struct lane *l, unsigned at)
{
	_cleanup_(round_done) struct round r = {0};
	const struct buf *columns[COLUMNS];
	struct pg_params p = {0};
	char state[PG_SQLSTATE_LEN + 1];
	int err = batch_part(&l->batch, l->part, rows_before(&l->batch, at),
	        rows_before(&l->batch, at + 1), columns);

	memcpy(state, l->pg.sqlstate, sizeof(state));
	if (err < 0)
		return err;
	put_columns(&p, columns);
	pg_put_text(&p, state);
	err = round_add(l, &r, "dead_letter", &p);
	return err < 0 ? err : round_run(l, &r);
}

/* ---- what a refusal means ---- */

enum blame { BLAME_DATABASE, BLAME_ROW, BLAME_UNSURE };

static enum blame whose_fault(const struct pg *pg)
{
	/* Classes of SQLSTATE (PostgreSQL manual, appendix A). */
	static const char row[][3] = {"21", "22", "23", "2F", "38", "39", "44", "54", "P0"};
	static const char database[][3] = {
	        "08", "25", "26", "28", "3D", "3F", "40", "42", "53", "55", "57", "58"};

	if (pg->missing_partition)
		return BLAME_DATABASE;
	for (size_t i = 0; i < ARRAY_LEN(row); i++)
		if (strncmp(pg->sqlstate, row[i], 2) == 0)
			return BLAME_ROW;
	for (size_t i = 0; i < ARRAY_LEN(database); i++)
		if (strncmp(pg->sqlstate, database[i], 2) == 0)
			return BLAME_DATABASE;
	return BLAME_UNSURE;
}

static void ask_for_partitions(struct lane *l, unsigned from, unsigned to)
{
	const struct buf *times = &l->batch.columns[COL_TIME];
	int64_t last = -1;

	for (uint32_t i = rows_before(&l->batch, from); i < rows_before(&l->batch, to); i++) {
		const uint8_t *at = times->data + times->start + PG_ARRAY_HEAD + 12 * (size_t)i + 4;
		int64_t day = ((int64_t)pg_load_u64(at) + PG_EPOCH_US) / DAY_US;

		if (day != last)
			upkeep_need_day(l->s->upkeep, day);
		last = day;
	}
}

/* After a refusal by the server: the transaction ends, then what is to be done. */
static enum blame after_refusal(
        struct lane *l, unsigned from, unsigned to, unsigned tries, unsigned *backoff)
{
	char state[PG_SQLSTATE_LEN + 1];
	enum blame blame = whose_fault(&l->pg);

	memcpy(state, l->pg.sqlstate, sizeof(state));
	if (blame == BLAME_UNSURE && tries < BLAME_ROW_AFTER)
		blame = BLAME_DATABASE;
	if (blame == BLAME_UNSURE)
		blame = BLAME_ROW;
	if (l->pg.missing_partition) {
		ask_for_partitions(l, from, to);
		*backoff = BACKOFF_MIN_MS / 2;
	} else if (blame == BLAME_DATABASE) {
		log_warn("the database refuses a batch", F_U64("lane", l->index),
		        F_STR("sqlstate", state), F_STR("error", l->pg.message));
	}
	if (round_one(l, "rollback") < 0)
		lane_disconnect(l);
	memcpy(l->pg.sqlstate, state, sizeof(state));
	return blame;
}

/* Tries [from, to) as one transaction until it is stored (0), refused for a row's sake (ERR_POISON)
 * or the stop is due (ERR_TIMEOUT). */
static int store_together(struct lane *l, unsigned from, unsigned to)
{
	unsigned backoff = BACKOFF_MIN_MS;

	for (unsigned tries = 1;; tries++) {
		if (pg_stop_due(&l->s->stop))
			return ERR_TIMEOUT;
		int err = l->pg.conn || lane_connect(l) == 0 ? transaction(l, from, to)
		                                             : ERR_CLOSED;
		if (err == 0)
			return 0;
		if (err == ERR_INTERNAL && after_refusal(l, from, to, tries, &backoff) == BLAME_ROW)
			return ERR_POISON;
		if (err == ERR_UNAVAILABLE) {
			log_warn("the connection to the database was lost in a batch",
			        F_U64("lane", l->index));
			metric_inc(METRIC_TELEMETRY_REPLAYS);
		}
		/* Nobody knows whether a lost COMMIT was done. */
		if (err != ERR_CLOSED)
			l->batch.replay = true;
		lane_pause(l, backoff);
		backoff = backoff * 2 > BACKOFF_MAX_MS ? BACKOFF_MAX_MS : backoff * 2;
	}
}

static int set_aside(struct lane *l, unsigned at, const char *state)
{
	while (!l->pg.conn && !pg_stop_due(&l->s->stop)) {
		if (lane_connect(l) < 0)
			lane_pause(l, BACKOFF_MAX_MS);
	}
	memcpy(l->pg.sqlstate, state, sizeof(l->pg.sqlstate));
	int err = l->pg.conn ? dead_letter(l, at) : ERR_TIMEOUT;
	if (err < 0)
		log_error("a refused message cannot be set aside either",
		        F_U64("deviceKey", l->batch.items[at].device_key),
		        F_STR("sqlstate", l->pg.sqlstate));
	return err == ERR_TIMEOUT ? err : 0;
}

/* One request that the database does not take: a row of telemetry is set aside, so that it is not
 * lost without a trace; of the others the asker knows more than a copy would tell. */
static int bury(struct lane *l, unsigned at)
{
	struct item *item = &l->batch.items[at];
	char state[PG_SQLSTATE_LEN + 1];

	memcpy(state, l->pg.sqlstate, sizeof(state));
	item->err = ERR_POISON;
	if (item->kind != KIND_ROW) {
		log_error("the database refuses a write", F_STR("what", kinds[item->kind].name),
		        F_U64("deviceKey", item->device_key == NO_KEY ? 0 : item->device_key),
		        F_STR("sqlstate", state));
		metric_inc(METRIC_STORE_REFUSED);
		return 0;
	}
	log_error("the database refuses a message: set aside", F_U64("deviceKey", item->device_key),
	        F_STR("sqlstate", state));
	metric_inc(METRIC_TELEMETRY_POISON);
	return item->sealed ? set_aside(l, at, state) : 0;
}

int lane_store(struct lane *l, unsigned from, unsigned to)
{
	int err = store_together(l, from, to);

	if (err != ERR_POISON)
		return err;
	if (to - from == 1)
		return bury(l, from);
	unsigned middle = from + (to - from) / 2;
	err = lane_store(l, from, middle);
	return err < 0 ? err : lane_store(l, middle, to);
}
