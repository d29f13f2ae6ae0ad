/*
 * What the hub's own role may do: read and write rows, never change the schema, never alter stored
 * telemetry. Applied anew after every migration, so that this file is the whole truth.
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
        {"SELECT, INSERT, DELETE", "holdfast.tokens"},
        {"SELECT, INSERT, UPDATE, DELETE", "holdfast.presence"},
        {"SELECT, INSERT, UPDATE, DELETE", "holdfast.hubs"},
        {"SELECT, INSERT, UPDATE, DELETE", "holdfast.qos2_ids"},
        {"SELECT, INSERT, UPDATE, DELETE", "holdfast.idempotency"},
        {"SELECT, INSERT", "holdfast.telemetry"},
        {"SELECT, INSERT", "holdfast.dead_letters"},
        {"USAGE", "ALL SEQUENCES IN SCHEMA holdfast"},
};

/* A role's name cannot be a parameter: it is quoted by libpq. The owner needs no grants. */
int grants_apply(struct pg *owner, const char *role)
{
	uint64_t deadline = clock_ms() + 60000;
	struct pg_params params = {0};
	_cleanup_result_ PGresult *r = NULL;

	pg_put_text(&params, role);
	int err = pg_exec(owner,
	        "SELECT pg_catalog.pg_has_role($1, relowner, 'USAGE') FROM pg_catalog.pg_class"
	        " WHERE oid = 'holdfast.telemetry'::pg_catalog.regclass",
	        &params, deadline, &r);
	if (err < 0 || pg_get_bool(r, 0, 0))
		return err;
	char *quoted = PQescapeIdentifier(owner->conn, role, strlen(role));
	if (!quoted)
		return ERR_NOMEM;
	for (size_t i = 0; err == 0 && i < ARRAY_LEN(grants); i++) {
		char sql[400];

		snprintf(sql, sizeof(sql), "GRANT %s ON %s TO %s", grants[i].what, grants[i].on,
		        quoted);
		err = pg_script(owner, sql, deadline);
	}
	PQfreemem(quoted);
	return err;
}
