/* The port of what proves the history: signed statements, page by page. */
#include "server/base/err.h"
#include "storage/head.h"
#include "storage/private.h"

#define AT_ONCE 16 /* statements may be long */

#define OF_DEVICE " AND ($5::text IS NULL OR device = $5)"
#define STATEMENTS(table, key, compare, order) STATEMENTS_OF(table, "", key, compare, order)
#define STATEMENTS_OF(table, whose, key, compare, order)                                       \
	"SELECT " key ", at, body, signature FROM holdfast." table                             \
	" WHERE at >= $1 AND at < $2 AND ($4::bigint IS NULL OR " key " " compare " $4)" whose \
	" ORDER BY " key " " order " LIMIT $3"

static const char *const statements_sql[][2] = {
        [PROOF_HEAD] = {STATEMENTS("heads", "head_id", "<", "DESC"),
                STATEMENTS("heads", "head_id", ">", "ASC")},
        [PROOF_RETENTION] = {STATEMENTS("retention_records", "record_id", "<", "DESC"),
                STATEMENTS("retention_records", "record_id", ">", "ASC")},
        [PROOF_ERASURE] = {STATEMENTS_OF("erasures", OF_DEVICE, "erasure_id", "<", "DESC"),
                STATEMENTS_OF("erasures", OF_DEVICE, "erasure_id", ">", "ASC")},
};

static int query_some(struct storage *s, const struct proof_query *q, PGresult **ret)
{
	struct pg_params p = {0};

	pg_put_time(&p, q->from_us);
	pg_put_time(&p, q->to_us);
	pg_put_i64(&p, q->limit < AT_ONCE ? q->limit : AT_ONCE);
	if (q->has_after)
		pg_put_i64(&p, q->after);
	else
		pg_put_null(&p, PG_INT8);
	if (q->kind == PROOF_ERASURE && q->device)
		pg_put_text(&p, q->device);
	else if (q->kind == PROOF_ERASURE)
		pg_put_null(&p, PG_TEXT);
	return pool_call(s, statements_sql[q->kind][q->ascending], &p, ret);
}

static int proof_query(void *ctx, const struct proof_query *query,
        int (*row)(const struct proof_statement *s, void *arg), void *arg)
{
	struct proof_query q = *query;
	int err = 0, n = AT_ONCE;

	while (err == 0 && q.limit > 0 && n == AT_ONCE) {
		_cleanup_result_ PGresult *r = NULL;

		err = query_some(ctx, &q, &r);
		n = err == 0 ? PQntuples(r) : 0;
		for (int i = 0; err == 0 && i < n; i++) {
			q.has_after = true;
			q.after = pg_get_i64(r, i, 0);
			err = row(&(struct proof_statement){q.after, pg_get_time(r, i, 1),
			                  pg_get_bytes(r, i, 2), pg_get_bytes(r, i, 3)},
			        arg);
		}
		q.limit -= (unsigned)n;
	}
	return err;
}

struct proof_store storage_proof(struct storage *s)
{
	return (struct proof_store){.ctx = s,
	        .public_key = keyring_public(s->keyring),
	        .query = proof_query,
	        .erase = erasure_run};
}
