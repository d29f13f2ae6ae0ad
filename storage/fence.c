/*
 * Between one process of this hub and the next. PostgreSQL does not notice that a client was killed
 * before the transaction that it sent is over; until then its rows and packet ids cannot be seen. A
 * client that resends a QoS 2 message meanwhile would have it stored twice.
 *
 * The connections of the lanes share a lock. A process that starts ends those that hold it, and
 * waits until it can have the lock alone.
 */
#include "server/base/clock.h"
#include "server/base/err.h"
#include "server/base/log.h"
#include "server/base/map.h"
#include "storage/private.h"

static const char terminate_sql[] =
        "SELECT pg_terminate_backend(pid) FROM pg_locks"
        " WHERE locktype = 'advisory' AND objsubid = 1 AND pid <> pg_backend_pid()"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        " AND classid::bigint = ($1::bigint >> 32) & 4294967295"
        " AND objid::bigint = $1::bigint & 4294967295";

int64_t fence_key(const struct storage *s)
{
	return (int64_t)hash_stable(s->hub_id, strlen(s->hub_id));
}

static int run(struct pg *pg, const char *sql, int64_t key, int *ret_rows)
{
	_cleanup_result_ PGresult *r = NULL;
	struct pg_params p = {0};

	pg_put_i64(&p, key);
	int err = pg_exec(pg, sql, &p, clock_ms() + ROUND_TRIP_MS, &r);
	if (err == 0 && ret_rows)
		*ret_rows = PQntuples(r);
	return err;
}

int fence_raise(struct storage *s)
{
	struct pg pg = {0};
	int64_t key = fence_key(s);
	int ended = 0, err = pool_take(s, &pg);

	if (err < 0)
		return err;
	/* Where the role may not end them (it was another one), there is only the waiting. */
	err = run(&pg, terminate_sql, key, &ended);
	if (err == 0 || err == ERR_INTERNAL)
		err = run(&pg, "SELECT pg_advisory_lock($1)", key, NULL);
	if (err == 0)
		err = run(&pg, "SELECT pg_advisory_unlock($1)", key, NULL);
	pool_give(s, &pg);
	if (err < 0)
		log_error("what the hub's last run left in the database does not end");
	else if (ended > 0)
		log_info("ended what the hub's last run left in the database",
		        F_U64("connections", (uint64_t)ended));
	return err < 0 ? ERR_UNAVAILABLE : 0;
}
