/*
 * Telemetry and its chains by day: partitions telemetry_YYYYMMDD and chain_YYYYMMDD (UTC). Made by
 * ATTACH and dropped by DETACH CONCURRENTLY, which lets lanes and queries go on. The dates are
 * ours, so the SQL text may hold them.
 */
#include <stdio.h>
#include <time.h>

#include "server/base/clock.h"
#include "server/base/err.h"
#include "server/base/log.h"
#include "storage/retention.h"

#define DDL_MS 60000
#define DAYS_AHEAD 7
#define MAX_DAY 2932896 /* 9999-12-31 */

static int64_t floor_day(int64_t us)
{
	return us / DAY_US - (us % DAY_US < 0);
}

static void day_text(int64_t day, const char *format, char out[static 16])
{
	time_t t = (time_t)(day * 86400);
	struct tm tm;

	gmtime_r(&t, &tm);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	strftime(out, 16, format, &tm);
#pragma GCC diagnostic pop
}

static int script_or_rollback(struct pg *owner, const char *sql, uint64_t deadline)
{
	char state[sizeof(owner->sqlstate)], message[sizeof(owner->message)];
	int err = pg_script(owner, sql, deadline);

	if (err < 0 && owner->conn) {
		/* What is told is why it failed, not how the rollback went. */
		memcpy(state, owner->sqlstate, sizeof(state));
		memcpy(message, owner->message, sizeof(message));
		(void)pg_script(owner, "ROLLBACK", deadline);
		memcpy(owner->sqlstate, state, sizeof(state));
		memcpy(owner->message, message, sizeof(message));
	}
	return err;
}

static int exists(struct pg *owner, const char *name, uint64_t deadline, bool *ret)
{
	_cleanup_result_ PGresult *r = NULL;
	struct pg_params params = {0};

	pg_put_text(&params, name);
	int err = pg_exec(owner,
	        "SELECT EXISTS (SELECT FROM pg_catalog.pg_inherits i"
	        " JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid"
	        " WHERE i.inhparent IN ('holdfast.telemetry'::pg_catalog.regclass,"
	        " 'holdfast.chain'::pg_catalog.regclass) AND c.relname = $1)",
	        &params, deadline, &r);
	if (err == 0)
		*ret = pg_get_bool(r, 0, 0);
	return err;
}

/* bound: what follows a date in the partition's bounds. */
static int make(struct pg *owner, const char *table, const char *bound, int64_t day)
{
	uint64_t deadline = clock_ms() + DDL_MS;
	char name[32], number[16], from[16], to[16], sql[800];
	bool there = false;

	day_text(day, "%Y%m%d", number);
	day_text(day, "%Y-%m-%d", from);
	day_text(day + 1, "%Y-%m-%d", to);
	snprintf(name, sizeof(name), "%s_%s", table, number);
	int err = exists(owner, name, deadline, &there);
	if (err < 0 || there)
		return err;
	/* A second hub that does the same waits for the lock and then finds the table. */
	snprintf(sql, sizeof(sql),
	        "BEGIN; SET LOCAL lock_timeout = '5s';"
	        "SELECT pg_advisory_xact_lock(%lld);"
	        "CREATE TABLE holdfast.%s (LIKE holdfast.%s INCLUDING ALL);"
	        "ALTER TABLE holdfast.%s ATTACH PARTITION holdfast.%s"
	        " FOR VALUES FROM ('%s%s') TO ('%s%s');"
	        "COMMIT",
	        LOCK_PARTITIONS, name, table, table, name, from, bound, to, bound);
	err = script_or_rollback(owner, sql, deadline);
	if (err == ERR_INTERNAL && strcmp(owner->sqlstate, "42P07") == 0)
		err = 0; /* made by another hub meanwhile */
	if (err == 0)
		log_debug("partition made", F_STR("partition", name));
	return err;
}

int partitions_make(struct pg *owner, int64_t day)
{
	if (day < 0 || day > MAX_DAY)
		return ERR_INVALID;
	int err = make(owner, "chain", "", day);
	return err < 0 ? err : make(owner, "telemetry", " 00:00:00+00", day);
}

int partitions_make_ahead(struct pg *owner)
{
	int64_t today = floor_day(clock_wall_us());
	int err = 0;

	for (int64_t day = today - 1; err == 0 && day <= today + DAYS_AHEAD; day++)
		err = partitions_make(owner, day);
	return err;
}

/* ---- dropping ---- */

/* The partitions that end before today less the days, by the earlier one of the two clocks: a clock
 * that jumps ahead must not drop what is young. Chains first: what is in them stands before the
 * messages are gone. */
static const char old_sql[] =
        "SELECT c.relname::text, i.inhdetachpending FROM pg_catalog.pg_inherits i"
        " JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid"
        " WHERE i.inhparent IN ('holdfast.telemetry'::pg_catalog.regclass,"
        " 'holdfast.chain'::pg_catalog.regclass)"
        " AND c.relname ~ '^(telemetry|chain)_[0-9]{8}$'"
        " AND pg_catalog.to_date(right(c.relname::text, 8), 'YYYYMMDD') + $2"
        " < (least(now(), $1) AT TIME ZONE 'UTC')::date ORDER BY right(c.relname::text, 8), 1";

/* Before the last rows of a chain are seen no more: a lane that starts goes on behind them. */
int partitions_move_base(struct pg *owner, const char *day)
{
	char sql[400];

	snprintf(sql, sizeof(sql),
	        "UPDATE holdfast.chains h SET base_position = l.position, base_hash = l.hash"
	        " FROM (SELECT DISTINCT ON (chain) chain, position, hash FROM holdfast.chain_%s"
	        " ORDER BY chain, position DESC) l"
	        " WHERE l.chain = h.chain AND l.position > h.base_position",
	        day);
	return pg_script(owner, sql, clock_ms() + DDL_MS);
}

static int detach(struct pg *owner, const char *name, bool pending)
{
	bool chain = name[0] == 'c';
	char sql[200];
	int err = chain && !pending ? partitions_move_base(owner, strchr(name, '_') + 1) : 0;

	snprintf(sql, sizeof(sql), "ALTER TABLE holdfast.%s DETACH PARTITION holdfast.%s %s",
	        chain ? "chain" : "telemetry", name, pending ? "FINALIZE" : "CONCURRENTLY");
	return err < 0 ? err : pg_script(owner, sql, clock_ms() + DDL_MS);
}

/* The days of which nothing is a partition any more; of those that a hub left behind, too. */
static int drop_detached(struct storage *s, struct pg *owner)
{
	_cleanup_result_ PGresult *r = NULL;
	int err = pg_exec(owner,
	        "SELECT right(c.relname::text, 8) FROM pg_catalog.pg_class c"
	        " WHERE c.relnamespace = 'holdfast'::pg_catalog.regnamespace AND c.relkind = 'r'"
	        " AND c.relname ~ '^(telemetry|chain)_[0-9]{8}$'"
	        " GROUP BY 1 HAVING bool_and(NOT c.relispartition) ORDER BY 1",
	        NULL, clock_ms() + DDL_MS, &r);

	for (int i = 0; err == 0 && i < PQntuples(r); i++) {
		char day[16];

		if (pg_get_text(r, i, 0, day, sizeof(day)))
			err = retention_drop_day(s, owner, day);
	}
	return err;
}

int partitions_drop_old(struct storage *s, struct pg *owner, unsigned retention_days)
{
	_cleanup_result_ PGresult *r = NULL;
	struct pg_params params = {0};

	pg_put_time(&params, clock_wall_us());
	pg_put_i32(&params, (int32_t)retention_days);
	int err = pg_exec(owner, old_sql, &params, clock_ms() + DDL_MS, &r);
	for (int i = 0; err == 0 && i < PQntuples(r); i++) {
		char name[32];

		if (pg_get_text(r, i, 0, name, sizeof(name)))
			err = detach(owner, name, pg_get_bool(r, i, 1));
	}
	return err == 0 ? drop_detached(s, owner) : err;
}
