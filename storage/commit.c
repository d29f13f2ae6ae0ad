/*
 * A batch's transactions. What fails for a reason of the database is tried again for as long as it
 * takes; what fails for a reason of a row is halved until that row stands alone.
 */
#include <stdlib.h>

#include "server/base/clock.h"
#include "server/base/err.h"
#include "server/base/log.h"
#include "server/base/metrics.h"
#include "storage/round.h"

#define BACKOFF_MIN_MS 50
#define BACKOFF_MAX_MS 1000
#define BLAME_ROW_AFTER \
	6 /* tries with an error that is neither surely the row's nor the database's */
#define UNIQUE_VIOLATION "23505"
#define KEYS_DESTROYED "HF001" /* holdfast.keys_hold */

/* ---- before a batch: numbers and keys ---- */

/* Up to KEYS_AT_ONCE rows: one round trip to the process that unwraps them. */
#define KEYS_AT_ONCE 256

static void keep_some_keys(struct lane *l, const PGresult *r, int first, int n)
{
	uint8_t keys[KEYS_AT_ONCE][CRYPTO_KEY_LEN];
	struct wrap_item items[KEYS_AT_ONCE];

	for (int i = 0; i < n; i++) {
		struct slice wrapped = pg_get_bytes(r, first + i, 2);

		if (wrapped.n != CRYPTO_KEY_LEN + WRAP_OVERHEAD)
			wrapped.n = 0; /* refused by what follows */
		items[i] = (struct wrap_item){.in = wrapped,
		        .out = keys[i],
		        .owner = data_key_owner((uint64_t)pg_get_i64(r, first + i, 0),
		                pg_get_i64(r, first + i, 1))};
	}
	keyring_unwrap_many(l->s->keyring, items, (size_t)n);
	for (int i = 0; i < n; i++) {
		const struct wrap_owner *owner = &items[i].owner;

		if (items[i].err == 0)
			(void)dek_cache_put(
			        &l->deks, owner->number, (int64_t)owner->which, keys[i]);
		else
			log_error("a data key in the database was altered",
			        F_U64("deviceKey", owner->number));
	}
	crypto_wipe(keys, sizeof(keys));
}

static void keep_keys(struct lane *l, const PGresult *r)
{
	for (int n = PQntuples(r), i = 0; i < n; i += KEYS_AT_ONCE)
		keep_some_keys(l, r, i, n - i < KEYS_AT_ONCE ? n - i : KEYS_AT_ONCE);
}

/* Before the first key: what is destroyed after this is found out by the transaction. */
static int load_epoch(struct lane *l)
{
	_cleanup_(round_done) struct round r = {0};

	if (l->epoch >= 0)
		return 0;
	int err = round_add(l, &r, "epoch", NULL);
	if (err == 0)
		err = round_run(l, &r);
	if (err == 0)
		l->epoch = pg_get_i64(r.results[0], 0, 0);
	return err;
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
		err = lane_new_nonces(l);
	buf_init(&missing, 1 << 20);
	if (err == 0)
		err = load_epoch(l);
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

static int add_chain(struct lane *l, struct round *r)
{
	struct pg_params p = {0};

	if (l->chain.n == 0)
		return 0;
	lane_chain_params(l, &p);
	return round_add(l, r, l->batch.replay ? "chain_replay" : "chain", &p);
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
	struct pg_params epoch = {0};
	uint64_t start = clock_us();
	int err = round_add(l, &r, "begin", NULL);

	pg_put_i64(&epoch, l->epoch);
	if (err == 0)
		err = round_add(l, &r, "hold", &epoch);
	if (err == 0)
		err = add_rows(l, &r, from, to);
	if (err == 0)
		err = add_chain(l, &r);
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
	if (strcmp(pg->sqlstate, UNIQUE_VIOLATION) == 0)
		return BLAME_ROW;
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

/* ---- keys that were destroyed ---- */

/* Whether the rows of the chain that go with the transaction are in the database: so is all of it.
 */
static int look_for_it(struct lane *l, bool *ret_there)
{
	_cleanup_(round_done) struct round r = {0};
	struct pg_params p = {0};

	pg_put_i64(&p, l->chain.number);
	pg_put_i64(&p, l->chain.next.position);
	int err = round_add(l, &r, "chain_there", &p);
	if (err == 0)
		err = round_run(l, &r);
	if (err == 0)
		*ret_there = PQntuples(r.results[0]) > 0;
	return err;
}

/* Some key was destroyed since the lane loaded its own: nothing is stored under what may be gone.
 * All are loaded anew, and the rest of the batch is sealed again. A commit whose answer was lost
 * may have been before that: *ret_there. 0; ERR_TIMEOUT: the stop is due; ERR_UNAVAILABLE: not
 * known yet. */
static int seal_again(struct lane *l, bool *ret_there)
{
	int err = l->batch.replay && l->chain.n > 0 ? look_for_it(l, ret_there) : 0;

	if (err < 0)
		return err == ERR_TIMEOUT ? err : ERR_UNAVAILABLE;
	dek_cache_drop_all(&l->deks);
	l->epoch = -1;
	return *ret_there ? 0 : lane_seal(l);
}

static void note_stored(struct lane *l, unsigned from, unsigned to)
{
	lane_chain_advance(l);
	for (unsigned i = from; i < to; i++)
		l->batch.items[i].stored = true;
}

/* Tries [from, to) as one transaction until it is stored (0), refused for a row's sake (ERR_POISON)
 * or the stop is due (ERR_TIMEOUT). */
static int store_together(struct lane *l, unsigned from, unsigned to)
{
	unsigned backoff = BACKOFF_MIN_MS;
	bool linked = false;

	for (unsigned tries = 1;; tries++) {
		if (pg_stop_due(&l->s->stop))
			return ERR_TIMEOUT;
		int err = l->pg.conn || lane_connect(l) == 0 ? 0 : ERR_CLOSED;
		if (err == 0 && !linked)
			err = lane_chain_link(l, rows_before(&l->batch, from),
			              rows_before(&l->batch, to)) < 0
			        ? ERR_CLOSED
			        : 0;
		linked |= err == 0;
		if (err == 0)
			err = transaction(l, from, to);
		if (err == 0) {
			note_stored(l, from, to);
			return 0;
		}
		if (err == ERR_INTERNAL && strcmp(l->pg.sqlstate, KEYS_DESTROYED) == 0) {
			bool there = false;

			if (round_one(l, "rollback") < 0)
				lane_disconnect(l);
			err = seal_again(l, &there);
			if (there)
				note_stored(l, from, to);
			if (err == ERR_TIMEOUT || there)
				return err;
			if (err == 0)
				linked = false;
			continue;
		}
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
	/* Another hub was first with a session of that key. */
	if (item->kind == KIND_SESSION && strcmp(state, UNIQUE_VIOLATION) == 0) {
		item->err = ERR_EXISTS;
		return 0;
	}
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
