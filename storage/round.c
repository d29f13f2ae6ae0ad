#include "storage/round.h"

#include "server/base/err.h"

void round_done(struct round *r)
{
	for (int i = 0; i < ROUND_MAX; i++)
		PQclear(r->results[i]);
}

int round_add(struct lane *l, struct round *r, const char *name, const struct pg_params *p)
{
	static const struct pg_params none;

	p = p ? p : &none;
	if (!PQsendQueryPrepared(l->pg.conn, name, p->n, p->values, p->lengths, pg_binary, 1))
		return ERR_UNAVAILABLE;
	r->queued++;
	return 0;
}

/* Takes results until the synchronisation: the first failure counts, what follows it was not done.
 */
static int round_collect(struct lane *l, struct round *r)
{
	int failed = 0;

	for (int nothing = 0; nothing < 3;) {
		int err = pg_await(&l->pg, PG_FOR_EVER);
		if (err < 0)
			return err;
		PGresult *res = PQgetResult(l->pg.conn);
		if (!res) { /* between two statements; again and again when the connection is gone
			     */
			nothing++;
			continue;
		}
		nothing = 0;
		ExecStatusType status = PQresultStatus(res);
		if (status == PGRES_PIPELINE_SYNC) {
			PQclear(res);
			return failed;
		}
		if (status == PGRES_FATAL_ERROR && failed == 0) {
			failed = pg_error(&l->pg, res);
			if (failed == ERR_UNAVAILABLE || failed == ERR_EXISTS)
				failed = ERR_INTERNAL; /* the SQLSTATE tells */
		}
		if (r->got < ROUND_MAX)
			r->results[r->got++] = res;
		else
			PQclear(res);
		if (PQstatus(l->pg.conn) != CONNECTION_OK)
			break;
	}
	return ERR_UNAVAILABLE;
}

/* 0; ERR_INTERNAL: refused, the SQLSTATE tells; ERR_UNAVAILABLE: the connection is gone, as it is
 * with ERR_TIMEOUT: the stop is due. */
int round_run(struct lane *l, struct round *r)
{
	int err = PQpipelineSync(l->pg.conn) ? pg_flush(&l->pg, PG_FOR_EVER) : ERR_UNAVAILABLE;

	if (err == 0)
		err = round_collect(l, r);
	if (err == ERR_UNAVAILABLE || err == ERR_TIMEOUT)
		lane_disconnect(l);
	return err;
}

int round_one(struct lane *l, const char *name)
{
	_cleanup_(round_done) struct round r = {0};
	int err = round_add(l, &r, name, NULL);

	return err < 0 ? err : round_run(l, &r);
}
