/*
 * Writes of calls that block: statements in one pipeline with one synchronisation, which is one
 * transaction and one round trip, and which begins with on whose behalf they are made.
 */
#include <assert.h>
#include <stdlib.h>

#include "server/base/audit.h"
#include "server/base/clock.h"
#include "server/base/err.h"
#include "server/base/json.h"
#include "server/base/log.h"
#include "storage/private.h"

#define ACTOR_MAX 4096u /* as JSON */
#define DEADLOCK_TRIES 5

/* ---- who ---- */

static int put_member(struct buf *out, const char *name, const char *value)
{
	bool first = buf_slice(out).n == 1;
	int err = buf_append_str(out, first ? "\"" : ",\"");

	if (err == 0)
		err = buf_append_str(out, name);
	if (err == 0)
		err = buf_append_str(out, "\":");
	return err < 0 ? err : json_append_string(out, slice_str(value ? value : ""));
}

/* The triggers of the audit log read it; "": the hub itself. */
static int put_actor(struct buf *out, const struct audit_actor *a)
{
	static const struct audit_actor hub = {"hub", "hub", "", "", "", ""};
	const struct audit_actor *who = a ? a : &hub;
	const struct {
		const char *name, *value;
	} members[] = {{"name", who->name}, {"kind", who->kind}, {"role", who->role},
	        {"peer", who->peer}, {"trace", who->trace_id}, {"operation", who->operation}};
	int err = buf_append_str(out, "{");

	for (size_t i = 0; err == 0 && i < ARRAY_LEN(members); i++)
		if (members[i].value && members[i].value[0])
			err = put_member(out, members[i].name, members[i].value);
	return err < 0 ? err : buf_append(out, "}", 2); /* with its NUL */
}

/* ---- one transaction ---- */

static int send(struct pg *pg, const struct pg_step *step)
{
	static const struct pg_params none;
	const struct pg_params *p = step->params ? step->params : &none;

	return PQsendQueryParams(
	               pg->conn, step->sql, p->n, p->types, p->values, p->lengths, pg_binary, 1)
	        ? 0
	        : ERR_UNAVAILABLE;
}

/* Results until the synchronisation: the first failure counts, the last result is kept. */
static int collect(struct pg *pg, uint64_t deadline_ms, PGresult **ret)
{
	_cleanup_result_ PGresult *kept = NULL;
	int failed = 0;

	for (unsigned nothing = 0; nothing < 3;) {
		int err = pg_await(pg, deadline_ms);
		if (err < 0)
			return ERR_UNAVAILABLE;
		PGresult *res = PQgetResult(pg->conn);
		if (!res) { /* between two statements; again and again when the connection is gone
			     */
			nothing++;
			continue;
		}
		nothing = 0;
		ExecStatusType status = PQresultStatus(res);
		if (status == PGRES_PIPELINE_SYNC) {
			PQclear(res);
			if (failed == 0 && ret)
				*ret = TAKE_PTR(kept);
			return failed;
		}
		if (status == PGRES_FATAL_ERROR && failed == 0)
			failed = pg_error(pg, res);
		PQclear(kept);
		kept = res;
		if (PQstatus(pg->conn) != CONNECTION_OK)
			break;
	}
	return ERR_UNAVAILABLE;
}

static int run(struct pg *pg, const struct pg_step *steps, unsigned n, PGresult **ret)
{
	uint64_t deadline = clock_ms() + POOL_STATEMENT_MS + 5000; /* the server gives up first */
	bool in = pg->conn && PQenterPipelineMode(pg->conn);
	int err = in ? 0 : ERR_UNAVAILABLE;

	for (unsigned i = 0; err == 0 && i < n; i++)
		err = send(pg, &steps[i]);
	if (err == 0)
		err = PQpipelineSync(pg->conn) ? pg_flush(pg, deadline) : ERR_UNAVAILABLE;
	if (err == 0)
		err = collect(pg, deadline, ret);
	/* Without an answer nothing is known of the transaction: the next one needs another
	 * connection. */
	if (!in || PQstatus(pg->conn) != CONNECTION_OK || !PQexitPipelineMode(pg->conn)) {
		pg_close(pg);
		return err < 0 ? ERR_UNAVAILABLE : err;
	}
	return err;
}

/* A lane may hold what the transaction waits for, and the other way round: the database ends one of
 * them, which then is tried again. */
static int run_again(struct pg *pg, const struct pg_step *steps, unsigned n, PGresult **ret)
{
	int err = 0;

	for (unsigned tries = 0; tries < DEADLOCK_TRIES; tries++) {
		err = run(pg, steps, n, ret);
		if (err != ERR_INTERNAL || strcmp(pg->sqlstate, "40P01") != 0)
			break;
	}
	return err;
}

int pool_write_all(struct storage *s, const struct pg_step *steps, unsigned n, PGresult **ret)
{
	static const char actor_sql[] = "SELECT set_config('holdfast.actor', $1, true)";
	struct pg_step all[WRITE_STEPS + 1];
	struct pg_params actor = {0};
	struct pg pg = {0};
	struct buf who;

	assert(n <= WRITE_STEPS);
	buf_init(&who, ACTOR_MAX);
	int err = put_actor(&who, audit_actor());
	if (err == 0)
		err = pool_take(s, &pg);
	if (err == 0) {
		pg_put_text(&actor, (const char *)buf_slice(&who).p);
		all[0] = (struct pg_step){actor_sql, &actor};
		memcpy(all + 1, steps, n * sizeof(*steps));
		err = run_again(&pg, all, n + 1, ret);
		if (err == ERR_INTERNAL)
			log_error("the database refuses a change", F_STR("sqlstate", pg.sqlstate));
		pool_give(s, &pg);
	}
	buf_free(&who);
	return err;
}

int pool_write(struct storage *s, const char *sql, const struct pg_params *p, PGresult **ret)
{
	return pool_write_all(s, &(struct pg_step){sql, p}, 1, ret);
}
