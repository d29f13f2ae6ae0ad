/* The API's port: what is known about stored messages without opening one. */
#include <stdlib.h>

#include "server/base/cleanup.h"
#include "server/base/err.h"
#include "storage/private.h"

int telemetry_days_run(void *ctx, uint64_t device_key, int64_t from_us, int64_t to_us,
        int (*day)(const struct telemetry_day *d, void *arg), void *arg)
{
	static const char sql[] =
	        "SELECT (received_at AT TIME ZONE 'UTC')::date - date '1970-01-01', count(*),"
	        " sum(octet_length(sealed))::bigint, min(received_at), max(received_at)"
	        " FROM holdfast.telemetry WHERE device_key = $1 AND received_at >= $2"
	        " AND received_at < $3 GROUP BY 1 ORDER BY 1 DESC";
	_cleanup_result_ PGresult *r = NULL;
	struct pg_params p = {0};

	pg_put_i64(&p, (int64_t)device_key);
	pg_put_time(&p, from_us);
	pg_put_time(&p, to_us);
	int err = pool_call(ctx, sql, &p, &r);
	for (int i = 0; err == 0 && i < PQntuples(r); i++) {
		const struct telemetry_day d = {
		        .day = pg_get_i32(r, i, 0),
		        .count = (uint64_t)pg_get_i64(r, i, 1),
		        .bytes = (uint64_t)pg_get_i64(r, i, 2),
		        .first_us = pg_get_time(r, i, 3),
		        .last_us = pg_get_time(r, i, 4),
		};
		err = day(&d, arg);
	}
	return err;
}

int telemetry_members_run(void *ctx, const char *group, uint64_t **ret, unsigned *ret_n)
{
	static const char sql[] =
	        "SELECT subject FROM holdfast.links WHERE subject_kind = 'd' AND letter = 'g'"
	        " AND value = $1 LIMIT $2";
	_cleanup_result_ PGresult *r = NULL;
	struct pg_params p = {0};

	pg_put_text(&p, group);
	pg_put_i64(&p, TELEMETRY_GROUP_MAX + 1);
	int err = pool_call(ctx, sql, &p, &r);
	if (err < 0)
		return err;
	unsigned n = (unsigned)PQntuples(r);
	if (n > TELEMETRY_GROUP_MAX)
		return ERR_TOO_BIG;
	uint64_t *keys = calloc(n ? n : 1, sizeof(*keys));
	if (!keys)
		return ERR_NOMEM;
	for (unsigned i = 0; i < n; i++)
		keys[i] = (uint64_t)pg_get_i64(r, (int)i, 0);
	*ret = keys;
	*ret_n = n;
	return 0;
}
