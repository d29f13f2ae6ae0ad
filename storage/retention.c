#include "storage/retention.h"

#include <stdio.h>
#include <stdlib.h>

#include "server/base/clock.h"
#include "server/base/err.h"
#include "server/base/log.h"
#include "storage/head.h"

#define TAKE_MS 600000 /* a day's chains may be millions of rows */

/* ---- records ---- */

static bool copy_hash(const PGresult *r, int row, int col, uint8_t to[static CRYPTO_HASH_LEN])
{
	struct slice hash = pg_get_bytes(r, row, col);

	if (hash.n != CRYPTO_HASH_LEN)
		return false;
	memcpy(to, hash.p, CRYPTO_HASH_LEN);
	return true;
}

/* Columns: chain, first, last, prev, hash. */
static bool read_span(const PGresult *r, int row, struct head_span *ret)
{
	ret->chain = pg_get_i64(r, row, 0);
	ret->first = pg_get_i64(r, row, 1);
	ret->last = pg_get_i64(r, row, 2);
	return copy_hash(r, row, 3, ret->prev) && copy_hash(r, row, 4, ret->hash);
}

/* Its number and time are the database's to say; the lock keeps the numbers in order. */
static int number_record(struct pg *owner, struct retention *record)
{
	static const char sql[] = "SELECT coalesce(max(record_id), 0) + 1, clock_timestamp() FROM"
	                          " holdfast.retention_records";
	struct pg_params p = {0};
	_cleanup_result_ PGresult *r = NULL;

	pg_put_i64(&p, LOCK_HEADS);
	int err = pg_exec(
	        owner, "SELECT pg_advisory_xact_lock($1)", &p, clock_ms() + ROUND_TRIP_MS, NULL);
	if (err == 0)
		err = pg_exec(owner, sql, NULL, clock_ms() + ROUND_TRIP_MS, &r);
	if (err == 0) {
		record->number = pg_get_i64(r, 0, 0);
		record->at_us = pg_get_time(r, 0, 1);
	}
	return err;
}

static int write_record(struct storage *s, struct pg *owner, struct retention *record)
{
	static const char sql[] =
	        "INSERT INTO holdfast.retention_records (record_id, at, body, signature)"
	        " VALUES ($1, $2, convert_from($3, 'UTF8'), $4)";
	uint8_t signature[CRYPTO_SIGNATURE_LEN];
	struct pg_params p = {0};
	struct buf _cleanup_(buf_free) text;

	buf_init(&text, HEAD_TEXT_MAX);
	int err = number_record(owner, record);
	if (err == 0)
		err = retention_encode(record, &text);
	if (err == 0)
		err = keyring_sign(s->keyring, RETENTION_PURPOSE, buf_slice(&text), signature);
	if (err < 0)
		return err;
	pg_put_i64(&p, record->number);
	pg_put_time(&p, record->at_us);
	pg_put_bytes(&p, buf_slice(&text));
	pg_put_bytes(&p, slice_make(signature, sizeof(signature)));
	return pg_exec(owner, sql, &p, clock_ms() + ROUND_TRIP_MS, NULL);
}

/* ---- a transaction: all of it, or nothing ---- */

struct taking {
	struct storage *s;
	struct pg *owner;
	const char *day;
	unsigned days;
};

static int in_transaction(const struct taking *t, int (*take)(const struct taking *t))
{
	struct pg *owner = t->owner;
	char state[sizeof(owner->sqlstate)], message[sizeof(owner->message)];
	int err = pg_script(owner, "BEGIN; SET LOCAL lock_timeout = '5s'", clock_ms() + TAKE_MS);

	if (err == 0)
		err = take(t);
	if (err == 0)
		return pg_script(owner, "COMMIT", clock_ms() + TAKE_MS);
	if (owner->conn) {
		/* What is told is why it failed, not how the rollback went. */
		memcpy(state, owner->sqlstate, sizeof(state));
		memcpy(message, owner->message, sizeof(message));
		(void)pg_script(owner, "ROLLBACK", clock_ms() + ROUND_TRIP_MS);
		memcpy(owner->sqlstate, state, sizeof(state));
		memcpy(owner->message, message, sizeof(message));
	}
	return err;
}

/* ---- a day ---- */

/* Rows that follow each other are one span; around midnight a transaction may have left rows of a
 * chain in two days, so that those of one have gaps. */
static int read_spans(struct pg *owner, const char *day, struct retention *ret)
{
	_cleanup_result_ PGresult *r = NULL;
	char sql[900];

	snprintf(sql, sizeof(sql),
	        "WITH r AS (SELECT chain, position, position - row_number() OVER"
	        " (PARTITION BY chain ORDER BY position) AS run FROM holdfast.chain_%s),"
	        " s AS (SELECT chain, min(position) AS first, max(position) AS last FROM r"
	        " GROUP BY chain, run) SELECT s.chain, s.first, s.last, f.prev, l.hash FROM s"
	        " JOIN holdfast.chain_%s f ON f.chain = s.chain AND f.position = s.first"
	        " JOIN holdfast.chain_%s l ON l.chain = s.chain AND l.position = s.last"
	        " ORDER BY s.chain, s.first",
	        day, day, day);
	int err = pg_exec(owner, sql, NULL, clock_ms() + TAKE_MS, &r);
	int n = err == 0 ? PQntuples(r) : 0;
	if (err < 0 || n == 0)
		return err;
	if (n > HEAD_CHAINS_MAX)
		return ERR_TOO_BIG;
	ret->spans = calloc((size_t)n, sizeof(*ret->spans));
	if (!ret->spans)
		return ERR_NOMEM;
	for (int i = 0; i < n; i++)
		if (!read_span(r, i, &ret->spans[ret->n_spans++]))
			return ERR_CORRUPT;
	return 0;
}

static int has_chains(const struct taking *t, bool *ret)
{
	struct pg_params p = {0};
	_cleanup_result_ PGresult *r = NULL;

	pg_put_text(&p, t->day);
	int err = pg_exec(t->owner, "SELECT to_regclass('holdfast.chain_' || $1) IS NOT NULL", &p,
	        clock_ms() + ROUND_TRIP_MS, &r);
	if (err == 0)
		*ret = pg_get_bool(r, 0, 0);
	return err;
}

static int take_day(const struct taking *t)
{
	_cleanup_(retention_done) struct retention record = {
	        .partition = (int32_t)strtol(t->day, NULL, 10)};
	bool chains = false;
	char sql[200];
	int err = has_chains(t, &chains);

	if (err == 0 && chains)
		err = partitions_move_base(t->owner, t->day);
	if (err == 0 && chains)
		err = read_spans(t->owner, t->day, &record);
	if (err == 0 && record.n_spans > 0)
		err = write_record(t->s, t->owner, &record);
	if (err < 0)
		return err;
	snprintf(sql, sizeof(sql), "DROP TABLE IF EXISTS holdfast.telemetry_%s, holdfast.chain_%s",
	        t->day, t->day);
	return pg_script(t->owner, sql, clock_ms() + TAKE_MS);
}

int retention_drop_day(struct storage *s, struct pg *owner, const char *day)
{
	const struct taking t = {.s = s, .owner = owner, .day = day};
	int err = in_transaction(&t, take_day);

	if (err == 0)
		log_info("partition dropped", F_STR("day", day));
	return err;
}

/* ---- the audit log ---- */

/* From the front, as far as all are old: a row that was noted late stays until those before it may
 * go as well. As many as one transaction should take. */
static const char old_audit_sql[] =
        "SELECT 0::bigint, b.first, b.last, f.prev_hash, l.hash FROM (SELECT first,"
        " least(first + 499999, head - 1, kept - 1) AS last FROM (SELECT"
        " (SELECT position FROM holdfast.audit ORDER BY position LIMIT 1) AS first,"
        " (SELECT position FROM holdfast.audit ORDER BY position DESC LIMIT 1) AS head,"
        " (SELECT position FROM holdfast.audit"
        " WHERE at >= least(now(), $2) - $1 * interval '1 day'"
        " ORDER BY position LIMIT 1) AS kept) e) b"
        " JOIN holdfast.audit f ON f.position = b.first"
        " JOIN holdfast.audit l ON l.position = b.last WHERE b.first <= b.last";

static int take_audit(const struct taking *t)
{
	static const char gone_sql[] =
	        "INSERT INTO holdfast.audit (actor, actor_kind, operation, outcome, kind, count)"
	        " VALUES ('hub', 'hub', 'audit_expire', 'done', 'audit', $1)";
	struct retention record = {0};
	struct pg_params p = {0}, upto = {0}, count = {0};
	_cleanup_result_ PGresult *r = NULL;
	int err = pg_script(t->owner, "SELECT holdfast.audit_begin()", clock_ms() + ROUND_TRIP_MS);

	pg_put_i32(&p, (int32_t)t->days);
	pg_put_time(&p, clock_wall_us());
	if (err == 0)
		err = pg_exec(t->owner, old_audit_sql, &p, clock_ms() + TAKE_MS, &r);
	if (err < 0 || PQntuples(r) == 0)
		return err;
	if (!read_span(r, 0, &record.audit))
		return ERR_CORRUPT;
	err = write_record(t->s, t->owner, &record);
	pg_put_i64(&upto, record.audit.last);
	if (err == 0)
		err = pg_exec(t->owner, "DELETE FROM holdfast.audit WHERE position <= $1", &upto,
		        clock_ms() + TAKE_MS, NULL);
	pg_put_i32(&count, (int32_t)(record.audit.last - record.audit.first + 1));
	return err < 0 ? err
	               : pg_exec(t->owner, gone_sql, &count, clock_ms() + ROUND_TRIP_MS, NULL);
}

int retention_expire_audit(struct storage *s, struct pg *owner, unsigned days)
{
	const struct taking t = {.s = s, .owner = owner, .days = days};

	return days ? in_transaction(&t, take_audit) : 0;
}
