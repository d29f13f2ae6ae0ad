/*
 * Telemetry by day: partitions telemetry_YYYYMMDD (UTC). Made by ATTACH and dropped by DETACH
 * CONCURRENTLY, which lets lanes and queries go on. The dates are ours, so the SQL text may hold
 * them.
 */
#include <stdio.h>
#include <time.h>

#include "server/base/clock.h"
#include "server/base/err.h"
#include "server/base/log.h"
#include "storage/private.h"

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
	        " WHERE i.inhparent = 'holdfast.telemetry'::pg_catalog.regclass"
	        " AND c.relname = $1)",
	        &params, deadline, &r);
	if (err == 0)
		*ret = pg_get_bool(r, 0, 0);
	return err;
}

int partitions_make(struct pg *owner, int64_t day)
{
	uint64_t deadline = clock_ms() + DDL_MS;
	char name[32], number[16], from[16], to[16], sql[800];
	bool there = false;

	if (day < 0 || day > MAX_DAY)
		return ERR_INVALID;
	day_text(day, "%Y%m%d", number);
	day_text(day, "%Y-%m-%d", from);
	day_text(day + 1, "%Y-%m-%d", to);
	snprintf(name, sizeof(name), "telemetry_%s", number);
	int err = exists(owner, name, deadline, &there);
	if (err < 0 || there)
		return err;
	/* A second hub that does the same waits for the lock and then finds the table. */
	snprintf(sql, sizeof(sql),
	        "BEGIN; SET LOCAL lock_timeout = '5s';"
	        "SELECT pg_advisory_xact_lock(%lld);"
	        "CREATE TABLE holdfast.%s (LIKE holdfast.telemetry INCLUDING ALL);"
	        "ALTER TABLE holdfast.telemetry ATTACH PARTITION holdfast.%s"
	        " FOR VALUES FROM ('%s 00:00:00+00') TO ('%s 00:00:00+00');"
	        "COMMIT",
	        LOCK_PARTITIONS, name, name, from, to);
	err = script_or_rollback(owner, sql, deadline);
	if (err == ERR_INTERNAL && strcmp(owner->sqlstate, "42P07") == 0)
		err = 0; /* made by another hub meanwhile */
	if (err == 0)
		log_debug("partition made", F_STR("partition", name));
	return err;
}

int partitions_make_ahead(struct pg *owner)
{
	int64_t today = floor_day(clock_wall_us());
	int err = 0;

	for (int64_t day = today - 1; err == 0 && day <= today + DAYS_AHEAD; day++)
		err = partitions_make(owner, day);
	return err;
}

/* The partitions that end before today less the days, by the earlier one of the two clocks: a clock
 * that jumps ahead must not drop what is young. */
static const char old_sql[] =
        "SELECT c.relname::text, i.inhdetachpending FROM pg_catalog.pg_inherits i"
        " JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid"
        " WHERE i.inhparent = 'holdfast.telemetry'::pg_catalog.regclass"
        " AND c.relname ~ '^telemetry_[0-9]{8}$'"
        " AND pg_catalog.to_date(substr(c.relname::text, 11), 'YYYYMMDD') + $2"
        " < (least(now(), $1) AT TIME ZONE 'UTC')::date ORDER BY 1";

static int drop(struct pg *owner, const char *name, bool pending)
{
	uint64_t deadline = clock_ms() + DDL_MS;
	char sql[200];

	snprintf(sql, sizeof(sql), "ALTER TABLE holdfast.telemetry DETACH PARTITION holdfast.%s %s",
	        name, pending ? "FINALIZE" : "CONCURRENTLY");
	int err = pg_script(owner, sql, deadline);
	if (err == 0) {
		snprintf(sql, sizeof(sql), "DROP TABLE holdfast.%s", name);
		err = pg_script(owner, sql, deadline);
	}
	if (err == 0)
		log_info("partition dropped", F_STR("partition", name));
	return err;
}

/* Detached and not dropped, because the hub was stopped in between: nobody sees them any more. */
static int drop_detached(struct pg *owner)
{
	_cleanup_result_ PGresult *r = NULL;
	int err = pg_exec(owner,
	        "SELECT c.relname::text FROM pg_catalog.pg_class c"
	        " WHERE c.relnamespace = 'holdfast'::pg_catalog.regnamespace AND c.relkind = 'r'"
	        " AND c.relname ~ '^telemetry_[0-9]{8}$' AND NOT c.relispartition",
	        NULL, clock_ms() + DDL_MS, &r);

	for (int i = 0; err == 0 && i < PQntuples(r); i++) {
		char name[32], sql[100];

		if (!pg_get_text(r, i, 0, name, sizeof(name)))
			continue;
		snprintf(sql, sizeof(sql), "DROP TABLE IF EXISTS holdfast.%s", name);
		err = pg_script(owner, sql, clock_ms() + DDL_MS);
	}
	return err;
}

int partitions_drop_old(struct pg *owner, unsigned retention_days)
{
	_cleanup_result_ PGresult *r = NULL;
	struct pg_params params = {0};

	pg_put_time(&params, clock_wall_us());
	pg_put_i32(&params, (int32_t)retention_days);
	int err = pg_exec(owner, old_sql, &params, clock_ms() + DDL_MS, &r);
	for (int i = 0; err == 0 && i < PQntuples(r); i++) {
		char name[32];

		if (pg_get_text(r, i, 0, name, sizeof(name)))
			err = drop(owner, name, pg_get_bool(r, i, 1));
	}
	return err == 0 ? drop_detached(owner) : err;
}
