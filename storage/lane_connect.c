/* A lane's connection: its statements, what it is told once, its nonces, where its chain ends. */
#include "server/base/err.h"
#include "server/base/log.h"
#include "server/base/metrics.h"
#include "storage/round.h"

/* unnest in the select list, not in FROM: there each array is first spooled into a table of its
 * own, which costs a third of the statement. */
#define INSERT_ROWS                                                                      \
	"INSERT INTO holdfast.telemetry (device_key, received_at, seq, key_id, sealed)"  \
	" SELECT unnest($1::bigint[]), unnest($2::timestamptz[]), unnest($3::bigint[])," \
	" unnest($4::bigint[]), unnest($5::bytea[])"

#define INSERT_CHAIN                                                                         \
	"INSERT INTO holdfast.chain (chain, day, position, first_seq, n, prev, marks, hash)" \
	" SELECT $1, DATE '1970-01-01' + unnest($2::integer[]), unnest($3::bigint[]),"       \
	" unnest($4::bigint[]), unnest($5::integer[]), unnest($6::bytea[]),"                 \
	" unnest($7::bytea[]), unnest($8::bytea[])"

#define CHAIN_TYPES                                                                  \
	{                                                                            \
		PG_INT8, PG_INT4_ARRAY, PG_INT8_ARRAY, PG_INT8_ARRAY, PG_INT4_ARRAY, \
		        PG_BYTEA_ARRAY, PG_BYTEA_ARRAY, PG_BYTEA_ARRAY               \
	}

static const struct statement {
	const char *name, *sql;
	int n;
	Oid types[8];
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
                " set_config('holdfast.hub', $2, false),"
                " set_config('plan_cache_mode', 'force_generic_plan', false),"
                " set_config('enable_seqscan', 'off', false),"
                " set_config('enable_hashjoin', 'off', false),"
                " set_config('enable_mergejoin', 'off', false)",
                2, {PG_INT8, PG_TEXT}},
        /* Asked when the lock is held: who takes over raises the number first, then waits for it.
         */
        {"lease", "SELECT count(*) FROM holdfast.hubs WHERE hub_id = $1 AND incarnation = $2", 2,
                {PG_TEXT, PG_INT8}},
        {"keys",
                "SELECT DISTINCT ON (device_key) device_key, key_id, wrapped"
                " FROM holdfast.data_keys WHERE device_key = ANY($1)"
                " ORDER BY device_key, key_id DESC",
                1, {PG_INT8_ARRAY}},
        {"epoch", "SELECT epoch FROM holdfast.key_epoch WHERE one", 0, {0}},
        {"hold", "SELECT holdfast.keys_hold($1)", 1, {PG_INT8}},
        {"insert", INSERT_ROWS, 5,
                {PG_INT8_ARRAY, PG_TIMESTAMPTZ_ARRAY, PG_INT8_ARRAY, PG_INT8_ARRAY,
                        PG_BYTEA_ARRAY}},
        /* Only a batch that may be there already pays for the check. */
        {"replay", INSERT_ROWS " ON CONFLICT (device_key, received_at, seq) DO NOTHING", 5,
                {PG_INT8_ARRAY, PG_TIMESTAMPTZ_ARRAY, PG_INT8_ARRAY, PG_INT8_ARRAY,
                        PG_BYTEA_ARRAY}},
        {"chain", INSERT_CHAIN, 8, CHAIN_TYPES},
        {"chain_replay", INSERT_CHAIN " ON CONFLICT (chain, position, day) DO NOTHING", 8,
                CHAIN_TYPES},
        {"chain_make",
                "INSERT INTO holdfast.chains (hub_id, lane) SELECT $1, $2 WHERE NOT EXISTS"
                " (SELECT FROM holdfast.chains WHERE hub_id = $1 AND lane = $2)"
                " ON CONFLICT DO NOTHING",
                2, {PG_TEXT, PG_INT4}},
        {"chain_head",
                "SELECT c.chain, h.position, h.hash FROM holdfast.chains c, LATERAL"
                " ((SELECT r.position, r.hash FROM holdfast.chain r WHERE r.chain = c.chain"
                " ORDER BY r.position DESC LIMIT 1)"
                " UNION ALL SELECT c.base_position, c.base_hash ORDER BY 1 DESC LIMIT 1) h"
                " WHERE c.hub_id = $1 AND c.lane = $2",
                2, {PG_TEXT, PG_INT4}},
        {"chain_there", "SELECT FROM holdfast.chain WHERE chain = $1 AND position = $2", 2,
                {PG_INT8, PG_INT8}},
        {"dead_letter",
                "INSERT INTO holdfast.dead_letters"
                " (device_key, received_at, seq, key_id, sealed, sqlstate)"
                " SELECT u.*, $6::text FROM unnest($1::bigint[], $2::timestamptz[], $3::bigint[],"
                " $4::bigint[], $5::bytea[]) u ON CONFLICT DO NOTHING",
                6,
                {PG_INT8_ARRAY, PG_TIMESTAMPTZ_ARRAY, PG_INT8_ARRAY, PG_INT8_ARRAY, PG_BYTEA_ARRAY,
                        PG_TEXT}},
};

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
int lane_new_nonces(struct lane *l)
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

	pg_put_i64(&p, fence_key(l->s->hub_id));
	pg_put_text(&p, l->s->hub_id);
	int err = round_add(l, &r, "set_up", &p);
	return err < 0 ? err : round_run(l, &r);
}

/* Whether this process is still what it was when it started: else another hub has what it had. */
static int check_lease(struct lane *l)
{
	_cleanup_(round_done) struct round r = {0};
	struct pg_params p = {0};

	pg_put_text(&p, l->s->hub_id);
	pg_put_i64(&p, l->s->leases.incarnation);
	int err = round_add(l, &r, "lease", &p);
	if (err == 0)
		err = round_run(l, &r);
	if (err < 0 || pg_get_i64(r.results[0], 0, 0) == 1)
		return err;
	leases_lost(l->s);
	return ERR_UNAVAILABLE;
}

/* Once: from then on the lane knows better than the database where its chain ends. A commit whose
 * answer was lost may be there or not, and goes again at the same position. */
static int load_chain(struct lane *l)
{
	_cleanup_(round_done) struct round r = {0};
	struct pg_params p = {0};

	if (l->chain.number)
		return 0;
	pg_put_text(&p, l->s->hub_id);
	pg_put_i32(&p, (int32_t)l->index);
	int err = round_add(l, &r, "chain_make", &p);
	if (err == 0)
		err = round_add(l, &r, "chain_head", &p);
	if (err == 0)
		err = round_run(l, &r);
	if (err < 0)
		return err;
	struct slice hash = PQntuples(r.results[1]) == 1 ? pg_get_bytes(r.results[1], 0, 2)
	                                                 : slice_make(NULL, 0);
	if (hash.n != CRYPTO_HASH_LEN)
		return ERR_UNAVAILABLE;
	memcpy(l->chain.head.hash, hash.p, hash.n);
	l->chain.head.position = pg_get_i64(r.results[1], 0, 1);
	l->chain.number = pg_get_i64(r.results[1], 0, 0);
	return 0;
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
		err = check_lease(l);
	if (err == 0)
		err = lane_new_nonces(l);
	if (err == 0)
		err = load_chain(l);
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
