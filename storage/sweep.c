/*
 * Clears queues of what nobody will get: expired, too old, of a session or device that is gone,
 * sealed under a key that is gone, delivered and its sender done with it. Goes through the table
 * page by page, a page a turn, so that no statement takes long; what a lane is just changing is
 * left for the next time.
 */
#include "server/base/clock.h"
#include "server/base/metrics.h"
#include "storage/private.h"

#define PAGE_ROWS 20000
#define REST_MS 60000 /* between two walks through the table */

#define DONE QUEUE_DONE("queue")
#define MAY_COME_AGAIN QUEUE_ORIGIN_NOTED("p", "i")

static const char sql[] =
        "WITH page AS MATERIALIZED (SELECT queue, n, device_key, received_at, expires_at,"
        " (queue < 4611686018427387904 AND (sealed IS NULL OR packet_id IS NOT NULL)) AS begun,"
        " origin, " DONE " AS done FROM holdfast.queue WHERE (queue, n) > ($1, $2)"
        " ORDER BY queue, n LIMIT $3),"
        " dead AS MATERIALIZED (SELECT p.queue, p.n FROM page p"
        " LEFT JOIN holdfast.sessions s ON s.session_id = p.queue"
        " LEFT JOIN holdfast.devices d ON d.device_key = p.queue - 4611686018427387904"
        " LEFT JOIN holdfast.data_keys k ON k.device_key = p.device_key"
        " WHERE p.received_at < $4 OR p.expires_at < $5 AND NOT p.begun"
        " OR p.device_key <> 0 AND k.device_key IS NULL"
        " OR p.done AND NOT EXISTS (SELECT FROM holdfast.qos2_ids i WHERE " MAY_COME_AGAIN ")"
        " OR s.session_id IS NULL AND d.device_key IS NULL),"
        " held AS (SELECT q.queue, q.n FROM holdfast.queue q JOIN dead ON q.queue = dead.queue"
        " AND q.n = dead.n FOR UPDATE OF q SKIP LOCKED),"
        " gone AS (DELETE FROM holdfast.queue q USING held"
        " WHERE q.queue = held.queue AND q.n = held.n RETURNING 1)"
        " SELECT l.queue, l.n, (SELECT count(*) FROM page), (SELECT count(*) FROM gone)"
        " FROM page l ORDER BY l.queue DESC, l.n DESC LIMIT 1";

int64_t queue_oldest_us(const struct storage *s)
{
	uint64_t age = atomic_load(&s->max_queued_age_s);

	return age == 0 ? INT64_MIN : clock_wall_us() - (int64_t)age * 1000000;
}

int sweep_queues(struct storage *s, struct pg *pg, struct sweep *sw)
{
	_cleanup_result_ PGresult *r = NULL;
	struct pg_params p = {0};
	uint64_t now = clock_ms();

	if (now < sw->due_ms)
		return 0;
	pg_put_i64(&p, sw->queue);
	pg_put_i64(&p, sw->n);
	pg_put_i64(&p, PAGE_ROWS);
	pg_put_time(&p, queue_oldest_us(s));
	pg_put_time(&p, clock_steady_us());
	int err = pg_exec(pg, sql, &p, now + POOL_STATEMENT_MS, &r);
	if (err < 0)
		return err;
	bool last = PQntuples(r) == 0 || pg_get_i64(r, 0, 2) < PAGE_ROWS;
	if (PQntuples(r) > 0)
		metric_add(METRIC_QUEUE_SWEPT, pg_get_i64(r, 0, 3));
	sw->queue = last ? 0 : pg_get_i64(r, 0, 0);
	sw->n = last ? 0 : pg_get_i64(r, 0, 1);
	sw->due_ms = last ? now + REST_MS : 0;
	return 0;
}
