/*
 * What the hub's own role may do: read and write rows, never change the schema, never alter stored
 * telemetry. And what a role may that only reads. Applied anew after every migration, and whatever
 * else the role had is taken away, so that this file is the whole truth.
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
        {"SELECT, INSERT", "holdfast.signing"},
        {"SELECT", "holdfast.rotation"},
        {"SELECT, INSERT, UPDATE, DELETE", "holdfast.devices"},
        {"SELECT, INSERT, DELETE", "holdfast.data_keys"},
        {"SELECT, INSERT, DELETE", "holdfast.device_tombstones"},
        {"SELECT, INSERT, UPDATE, DELETE", "holdfast.access_keys"},
        {"SELECT, INSERT, UPDATE, DELETE", "holdfast.tokens"},
        {"SELECT, INSERT, UPDATE, DELETE", "holdfast.documents"},
        {"SELECT, INSERT, DELETE", "holdfast.links"},
        {"SELECT, INSERT, UPDATE, DELETE", "holdfast.addresses"},
        {"SELECT, INSERT", "holdfast.audit"},
        {"SELECT", "holdfast.audit_head"},
        {"EXECUTE", "FUNCTION holdfast.audit_begin()"},
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
        {"SELECT, INSERT", "holdfast.heads"},
        {"SELECT, INSERT", "holdfast.erasures"},
        {"SELECT, UPDATE", "holdfast.key_epoch"},
        {"EXECUTE", "FUNCTION holdfast.keys_hold(bigint)"},
        {"EXECUTE", "FUNCTION holdfast.erase(holdfast.erasures, bigint[], bigint, bytea)"},
        {"SELECT", "holdfast.retention_records"},
        {"SELECT, INSERT", "holdfast.chains"},
        {"SELECT, INSERT", "holdfast.chain"},
        {"USAGE", "ALL SEQUENCES IN SCHEMA holdfast"},
};

/* What a role for reports may: nothing that is wrapped, sealed or hashed but telemetry, whose
 * sealed rows are what `verify` and copies go over. Whatever stands not here it cannot read. */
static const struct grant reader_grants[] = {
        {"USAGE", "SCHEMA holdfast"},
        {"SELECT", "holdfast.migrations"},
        {"SELECT (public_key)", "holdfast.signing"},
        {"SELECT (device_key, id, generation_id, etag, enabled, status_reason, auth, tags,"
         " created_at, updated_at, parent_key, auth_public)",
                "holdfast.devices"},
        {"SELECT (key_id, device_key, created_at)", "holdfast.data_keys"},
        {"SELECT", "holdfast.device_tombstones"},
        {"SELECT (name, perms, etag, created_at, updated_at, scope)", "holdfast.access_keys"},
        {"SELECT (name, role, expires_at, created_at, cidrs, created_by)", "holdfast.tokens"},
        {"SELECT", "holdfast.documents"},
        {"SELECT", "holdfast.links"},
        {"SELECT", "holdfast.addresses"},
        {"SELECT", "holdfast.audit"},
        {"SELECT", "holdfast.presence"},
        {"SELECT", "holdfast.hubs"},
        {"SELECT", "holdfast.rotation"},
        {"SELECT", "holdfast.telemetry"},
        {"SELECT", "holdfast.audit_head"},
        {"SELECT", "holdfast.chains"},
        {"SELECT", "holdfast.chain"},
        {"SELECT", "holdfast.heads"},
        {"SELECT", "holdfast.retention_records"},
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
	const struct grant *grants;
	size_t n_grants;
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
	for (size_t i = 0; err == 0 && i < g->n_grants; i++)
		err = run(g, "GRANT", &g->grants[i]);
	if (err == 0)
		err = revoke_temporary(g);
	return err < 0 ? err : pg_script(g->owner, "COMMIT", g->deadline);
}

/* A role's name cannot be a parameter: it is quoted by libpq. */
static int replace_for(struct granting *g, const char *role)
{
	char *quoted = PQescapeIdentifier(g->owner->conn, role, strlen(role));

	if (!quoted)
		return ERR_NOMEM;
	g->role = quoted;
	int err = replace(g);
	PQfreemem(quoted);
	return err;
}

/* The owner needs no grants. */
int grants_apply(struct pg *owner, const char *role)
{
	struct granting g = {.owner = owner,
	        .deadline = clock_ms() + 60000,
	        .grants = grants,
	        .n_grants = ARRAY_LEN(grants)};
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
	return replace_for(&g, role);
}

/* A superuser needs no grants, and the owner would lose its own. */
int grants_apply_reader(struct pg *owner, const char *role, bool *ret_there)
{
	static const char sql[] =
	        "SELECT pg_catalog.pg_has_role(r.rolname, c.relowner, 'USAGE')"
	        " FROM pg_catalog.pg_roles r, pg_catalog.pg_class c WHERE r.rolname = $1"
	        " AND c.oid = 'holdfast.telemetry'::pg_catalog.regclass";
	struct granting g = {.owner = owner,
	        .deadline = clock_ms() + 60000,
	        .grants = reader_grants,
	        .n_grants = ARRAY_LEN(reader_grants)};
	struct pg_params params = {0};
	_cleanup_result_ PGresult *r = NULL;

	pg_put_text(&params, role);
	int err = pg_exec(owner, sql, &params, g.deadline, &r);
	if (err < 0)
		return err;
	bool there = PQntuples(r) == 1 && !pg_get_bool(r, 0, 0);
	if (there)
		err = replace_for(&g, role);
	if (err == 0)
		*ret_there = there;
	return err;
}
