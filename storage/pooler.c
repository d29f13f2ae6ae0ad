/*
 * A pooler in front of the database: the hub's connections have locks, notifications and settings
 * of their own, so each needs a connection of the server's for as long as it stands. A pooler that
 * lends one for a transaction only (pgbouncer's pool_mode = transaction) would lose all of that
 * without a word; it is found out before anything relies on it.
 */
#include <stdio.h>

#include "server/base/clock.h"
#include "server/base/crypto.h"
#include "server/base/err.h"
#include "storage/private.h"

#define MARK_LEN 16

/* Whether somebody stands between: the server's process is another one than the connection says. */
static int is_pooled(struct pg *pg, bool *ret)
{
	_cleanup_result_ PGresult *r = NULL;
	int err = pg_exec(pg, "SELECT pg_backend_pid()", NULL, clock_ms() + ROUND_TRIP_MS, &r);

	if (err == 0)
		*ret = pg_get_i32(r, 0, 0) != PQbackendPID(pg->conn);
	return err;
}

static int set_mark(struct pg *pg, const char *mark)
{
	struct pg_params p = {0};

	pg_put_text(&p, mark);
	return pg_exec(pg, "SELECT set_config('holdfast.mark', $1, false)", &p,
	        clock_ms() + ROUND_TRIP_MS, NULL);
}

static int has_mark(struct pg *pg, const char *mark, bool *ret)
{
	_cleanup_result_ PGresult *r = NULL;
	struct pg_params p = {0};

	pg_put_text(&p, mark);
	int err = pg_exec(pg, "SELECT coalesce(current_setting('holdfast.mark', true) = $1, false)",
	        &p, clock_ms() + ROUND_TRIP_MS, &r);
	if (err == 0)
		*ret = pg_get_bool(r, 0, 0);
	return err;
}

/* What is set on one connection has to be there still while another one is in a transaction, which
 * would have been lent the same one of the server's; and the other one must not see it. */
static int keeps_apart(struct pg *one, struct pg *two, bool *ret)
{
	char mark[2 * MARK_LEN + 1];
	uint8_t random[MARK_LEN];
	bool kept = false, seen = true;

	crypto_random(random, sizeof(random));
	crypto_hex_encode(slice_make(random, sizeof(random)), mark);
	int err = set_mark(one, mark);
	if (err == 0)
		err = pg_script(two, "BEGIN", clock_ms() + ROUND_TRIP_MS);
	if (err == 0)
		err = has_mark(two, mark, &seen);
	if (err == 0)
		err = has_mark(one, mark, &kept);
	if (err == 0)
		err = pg_script(two, "COMMIT", clock_ms() + ROUND_TRIP_MS);
	if (err == 0)
		*ret = kept && !seen;
	return err;
}

int pooler_check(struct storage *s, struct pg *pg, char error[static STORAGE_ERROR_LEN])
{
	const struct pg_use use = {
	        .name = "holdfast start", .connect_timeout_s = s->connect_timeout_s};
	_cleanup_(pg_close) struct pg two = {0};
	bool pooled = false, apart = false;
	char why[160] = "";
	int err = is_pooled(pg, &pooled);

	if (err == 0 && !pooled)
		return 0;
	if (err == 0 && pg_open(&two, s->url, &use, why, sizeof(why)) < 0)
		err = ERR_UNAVAILABLE;
	if (err == 0)
		err = keeps_apart(pg, &two, &apart);
	if (err < 0)
		snprintf(error, STORAGE_ERROR_LEN, "the database's pooler does not answer: %s",
		        why[0] ? why : pg->message);
	else if (!apart)
		snprintf(error, STORAGE_ERROR_LEN,
		        "database.url leads through a pooler that lends connections by "
		        "transaction: "
		        "it must keep one for as long as the hub does (pgbouncer: "
		        "pool_mode = session)");
	return err < 0 ? err : apart ? 0 : ERR_CONFLICT;
}
