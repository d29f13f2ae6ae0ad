/*
 * What the hub's own role may do: read and write rows, never change the schema, never alter stored
 * telemetry. Applied anew after every migration, and whatever else the role had is taken away, so
 * that this file is the whole truth.
 */
#include <stdlib.h>

#include "server/base/clock.h"
#include "server/base/err.h"
#include "storage/private.h"

static const struct grant {
	const char *what, *on;
} grants[] = {
        {"USAGE", "SCHEMA holdfast"},
        {"SELECT", "holdfast.migrations"},
        {"SELECT, INSERT", "holdfast.hub"},
        {"SELECT, INSERT, UPDATE, DELETE", "holdfast.devices"},
        {"SELECT, INSERT, DELETE", "holdfast.data_keys"},
        {"SELECT, INSERT, DELETE", "holdfast.device_tombstones"},
        {"SELECT, INSERT, UPDATE, DELETE", "holdfast.access_keys"},
        {"SELECT, INSERT, UPDATE, DELETE", "holdfast.tokens"},
        {"SELECT, INSERT, UPDATE, DELETE", "holdfast.documents"},
        {"SELECT, INSERT, DELETE", "holdfast.links"},
        {"SELECT, INSERT, UPDATE, DELETE", "holdfast.addresses"},
        {"SELECT, INSERT", "holdfast.audit"},
        {"SELECT, INSERT, UPDATE, DELETE", "holdfast.presence"},
        {"SELECT, INSERT, UPDATE, DELETE", "holdfast.hubs"},
        {"SELECT, INSERT, UPDATE, DELETE", "holdfast.qos2_ids"},
        {"SELECT, INSERT, UPDATE, DELETE", "holdfast.idempotency"},
        {"SELECT, INSERT, UPDATE, DELETE", "holdfast.sessions"},
        {"SELECT, INSERT, UPDATE, DELETE", "holdfast.subscriptions"},
        {"SELECT, INSERT, UPDATE, DELETE", "holdfast.queue"},
        {"SELECT, INSERT, UPDATE, DELETE", "holdfast.retained"},
        {"SELECT, INSERT", "holdfast.telemetry"},
        {"SELECT, INSERT", "holdfast.dead_letters"},
        {"USAGE", "ALL SEQUENCES IN SCHEMA holdfast"},
};

/* What a role may have been given by an older version or by hand. */
static const char *const revoked[] = {
        "ALL TABLES IN SCHEMA holdfast",
        "ALL SEQUENCES IN SCHEMA holdfast",
        "ALL FUNCTIONS IN SCHEMA holdfast",
        "SCHEMA holdfast",
};

struct granting {
	struct pg *owner;
	uint64_t deadline;
	const char *role, *database; /* quoted; database NULL: it is not the owner's */
};

static int run(const struct granting *g, const char *verb, const struct grant *what)
{
	bool give = verb[0] == 'G';
	char sql[600];

	snprintf(sql, sizeof(sql), "%s %s ON %s %s %s", verb, what->what, what->on,
	        give ? "TO" : "FROM", g->role);
	return pg_script(g->owner, sql, g->deadline);
}

/* Temporary tables are writing that no limit of ours sees. Everybody has them by default. */
static int revoke_temporary(const struct granting *g)
{
	char sql[600];

	if (!g->database)
		return 0;
	snprintf(sql, sizeof(sql), "REVOKE TEMPORARY ON DATABASE %s FROM PUBLIC, %s", g->database,
	        g->role);
	return pg_script(g->owner, sql, g->deadline);
}

/* As one transaction: a hub that runs meanwhile never lacks what it needs. */
static int replace(const struct granting *g)
{
	int err = pg_script(g->owner, "BEGIN", g->deadline);

	for (size_t i = 0; err == 0 && i < ARRAY_LEN(revoked); i++)
		err = run(g, "REVOKE", &(struct grant){"ALL", revoked[i]});
	for (size_t i = 0; err == 0 && i < ARRAY_LEN(grants); i++)
		err = run(g, "GRANT", &grants[i]);
	if (err == 0)
		err = revoke_temporary(g);
	return err < 0 ? err : pg_script(g->owner, "COMMIT", g->deadline);
}

/* A role's name cannot be a parameter: it is quoted by libpq. The owner needs no grants. */
int grants_apply(struct pg *owner, const char *role)
{
	struct granting g = {.owner = owner, .deadline = clock_ms() + 60000};
	struct pg_params params = {0};
	_cleanup_result_ PGresult *r = NULL;
	char database[256];

	pg_put_text(&params, role);
	int err = pg_exec(owner,
	        "SELECT pg_catalog.pg_has_role($1, c.relowner, 'USAGE'),"
	        " pg_catalog.pg_has_role(d.datdba, 'USAGE') AND"
	        " NOT pg_catalog.pg_has_role($1, d.datdba, 'USAGE'),"
	        " pg_catalog.quote_ident(d.datname)"
	        " FROM pg_catalog.pg_class c, pg_catalog.pg_database d"
	        " WHERE c.oid = 'holdfast.telemetry'::pg_catalog.regclass"
	        " AND d.datname = pg_catalog.current_database()",
	        &params, g.deadline, &r);
	if (err < 0 || pg_get_bool(r, 0, 0))
		return err;
	if (pg_get_bool(r, 0, 1) && pg_get_text(r, 0, 2, database, sizeof(database)))
		g.database = database;
	char *quoted = PQescapeIdentifier(owner->conn, role, strlen(role));
	if (!quoted)
		return ERR_NOMEM;
	g.role = quoted;
	err = replace(&g);
	PQfreemem(quoted);
	return err;
}
