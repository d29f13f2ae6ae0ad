/* The registry's port: devices. On threads that may block. */
#include <stdlib.h>

#include "server/base/err.h"
#include "server/base/log.h"
#include "storage/private.h"

#define LIST_MAX 1001 /* the largest page, and one to see whether more follow */

/* ---- writing ---- */

struct wrapped_keys {
	struct wrapped_key primary, secondary;
};

static int wrap_keys(
        const struct storage *s, const struct device_record *r, struct wrapped_keys *ret)
{
	int err = device_key_wrap(s, r, &r->primary, WHICH_PRIMARY, &ret->primary);

	return err < 0 ? err
	               : device_key_wrap(s, r, &r->secondary, WHICH_SECONDARY, &ret->secondary);
}

/* The columns that a caller sets, as parameters $1 to $9. */
static void put_record(
        struct pg_params *p, const struct device_record *r, const struct wrapped_keys *keys)
{
	pg_put_text(p, r->id);
	pg_put_bool(p, r->enabled);
	pg_put_text(p, r->status_reason);
	pg_put_i32(p, r->auth);
	pg_put_bytes(p, keys->primary.slice);
	pg_put_bytes(p, keys->secondary.slice);
	if (r->auth == DEVICE_AUTH_SECRET)
		pg_put_bytes(p, slice_make(r->secret_mac, sizeof(r->secret_mac)));
	else
		pg_put_null(p, PG_BYTEA);
	pg_put_text(p, r->tags ? r->tags : "{}");
	pg_put_text(p, r->auth_public);
}

/* Numbers for a new generation and its data key, which the keys are wrapped for. */
static int draw_numbers(struct storage *s, uint64_t *ret_device_key, int64_t *ret_key_id)
{
	_cleanup_result_ PGresult *r = NULL;
	int err = pool_call(
	        s, "SELECT nextval('holdfast.device_seq'), nextval('holdfast.key_seq')", NULL, &r);

	if (err < 0)
		return err;
	*ret_device_key = (uint64_t)pg_get_i64(r, 0, 0);
	*ret_key_id = pg_get_i64(r, 0, 1);
	return 0;
}

static int make_data_key(struct storage *s, uint64_t device_key, int64_t key_id,
        uint8_t wrapped[static CRYPTO_KEY_LEN + WRAP_OVERHEAD])
{
	uint8_t key[CRYPTO_KEY_LEN];

	crypto_random(key, sizeof(key));
	int err = data_key_wrap(s, device_key, key_id, key, wrapped);
	crypto_wipe(key, sizeof(key));
	return err;
}

static int read_given(const PGresult *res, struct device_record *r)
{
	if (!pg_get_text(res, 0, 0, r->etag, sizeof(r->etag)))
		return ERR_INTERNAL;
	r->created_us = pg_get_time(res, 0, 1);
	r->updated_us = pg_get_time(res, 0, 2);
	return 0;
}

/* One statement is one transaction: a device never is without its data key. */
static const char insert_device_sql[] =
        "WITH d AS (INSERT INTO holdfast.devices (id, enabled, status_reason, auth,"
        " primary_key, secondary_key, secret_mac, tags, auth_public, device_key, generation_id,"
        " etag) VALUES ($1, $2, $3, $4, $5, $6, $7, $8::json, $9::json, $10, $11,"
        " to_hex(nextval('holdfast.etag_seq')))"
        " RETURNING device_key, etag, created_at, updated_at),"
        " k AS (INSERT INTO holdfast.data_keys (key_id, device_key, wrapped)"
        " SELECT $12, device_key, $13 FROM d)"
        " SELECT etag, created_at, updated_at, NULL::bigint FROM d";
/* What a module sends is its device's, and sealed under the device's key. */
static const char insert_module_sql[] =
        "INSERT INTO holdfast.devices (id, enabled, status_reason, auth, primary_key,"
        " secondary_key, secret_mac, tags, auth_public, device_key, generation_id, etag,"
        " parent_key) SELECT $1, $2, $3, $4, $5, $6, $7, $8::json, $9::json, $10, $11,"
        " to_hex(nextval('holdfast.etag_seq')), device_key FROM holdfast.devices"
        " WHERE id = split_part($1, '/', 1) AND parent_key IS NULL"
        " RETURNING etag, created_at, updated_at, parent_key";

static int insert_row(
        struct storage *s, const char *sql, const struct pg_params *p, struct device_record *r)
{
	_cleanup_result_ PGresult *res = NULL;
	int err = pool_write(s, sql, p, &res);

	if (err == 0 && PQntuples(res) == 0)
		err = ERR_NOT_FOUND; /* the module's device */
	if (err == 0)
		err = read_given(res, r);
	if (err == 0)
		r->parent_key = PQgetisnull(res, 0, 3) ? 0 : (uint64_t)pg_get_i64(res, 0, 3);
	return err;
}

static int insert(struct storage *s, struct device_record *r, int64_t key_id)
{
	uint8_t data_key[CRYPTO_KEY_LEN + WRAP_OVERHEAD];
	struct wrapped_keys keys;
	struct pg_params p = {0};
	int err = wrap_keys(s, r, &keys);

	if (err < 0)
		return err;
	put_record(&p, r, &keys);
	pg_put_i64(&p, (int64_t)r->device_key);
	pg_put_text(&p, r->generation_id);
	if (strchr(r->id, '/'))
		return insert_row(s, insert_module_sql, &p, r);
	err = make_data_key(s, r->device_key, key_id, data_key);
	if (err < 0)
		return err;
	pg_put_i64(&p, key_id);
	pg_put_bytes(&p, slice_make(data_key, sizeof(data_key)));
	return insert_row(s, insert_device_sql, &p, r);
}

static int device_insert(void *ctx, struct device_record *r)
{
	struct storage *s = ctx;
	uint8_t generation[GENERATION_ID_LEN / 2];
	int64_t key_id = 0;
	int err = draw_numbers(s, &r->device_key, &key_id);

	if (err < 0)
		return err;
	crypto_random(generation, sizeof(generation));
	crypto_hex_encode(slice_make(generation, sizeof(generation)), r->generation_id);
	return insert(s, r, key_id);
}

/* Why a write that is bound to an etag or a generation found no row. */
static int why_not(struct storage *s, const char *sql, const char *id)
{
	_cleanup_result_ PGresult *res = NULL;
	struct pg_params p = {0};

	pg_put_text(&p, id);
	int err = pool_call(s, sql, &p, &res);
	if (err < 0)
		return err;
	return PQntuples(res) > 0 ? ERR_STALE : ERR_NOT_FOUND;
}

static const char *demanded_etag(struct store_match match)
{
	return match.etag && strcmp(match.etag, "*") == 0 ? NULL : match.etag;
}

static const char device_there_sql[] = "SELECT 1 FROM holdfast.devices WHERE id = $1";

static int device_update(void *ctx, struct device_record *r, struct store_match match)
{
	/* Of the generation that was read: a device that was made anew meanwhile stays as it is. */
	static const char sql[] =
	        "UPDATE holdfast.devices SET enabled = $2, status_reason = $3, auth = $4,"
	        " primary_key = $5, secondary_key = $6, secret_mac = $7, tags = $8::json,"
	        " auth_public = $9::json, etag = to_hex(nextval('holdfast.etag_seq')),"
	        " updated_at = now()"
	        " WHERE id = $1 AND generation_id = $10 AND ($11::text IS NULL OR etag = $11)"
	        " RETURNING etag, created_at, updated_at";
	struct storage *s = ctx;
	_cleanup_result_ PGresult *res = NULL;
	struct wrapped_keys keys;
	struct pg_params p = {0};
	int err = wrap_keys(s, r, &keys);

	if (err < 0)
		return err;
	put_record(&p, r, &keys);
	pg_put_text(&p, r->generation_id);
	pg_put_text(&p, demanded_etag(match));
	err = pool_write(s, sql, &p, &res);
	if (err == 0 && PQntuples(res) == 0)
		err = why_not(s, device_there_sql, r->id);
	return err < 0 ? err : read_given(res, r);
}

/* The row is locked by a statement of its own: the next one sees every module that it was given
 * until then, and it gets none after. */
static const char lock_sql[] = "SELECT 1 FROM holdfast.devices WHERE id = $1 FOR UPDATE";
/* With what it is: its modules, what hangs on it, its sessions, their subscriptions and queues, its
 * commands, what is retained of it. What waits of it in the queues of others cannot be read from
 * then on; upkeep clears it. The sessions of a module are kept as its device's, under its own id.
 */
static const char delete_sql[] =
        "WITH d AS (DELETE FROM holdfast.devices"
        " WHERE id = $1 AND ($2::text IS NULL OR etag = $2)"
        " RETURNING device_key, id, parent_key),"
        " c AS (DELETE FROM holdfast.devices USING d"
        " WHERE devices.parent_key = d.device_key RETURNING devices.device_key, devices.id),"
        " a AS (SELECT device_key, id FROM d UNION ALL SELECT device_key, id FROM c),"
        " t AS (INSERT INTO holdfast.device_tombstones (device_key, id)"
        " SELECT device_key, id FROM a),"
        " l AS (DELETE FROM holdfast.links USING a"
        " WHERE links.subject_kind = 'd' AND links.subject = a.device_key),"
        " k AS (DELETE FROM holdfast.data_keys USING d"
        " WHERE data_keys.device_key = d.device_key),"
        " q AS (DELETE FROM holdfast.qos2_ids USING d"
        " WHERE qos2_ids.device_key = d.device_key),"
        " p AS (DELETE FROM holdfast.presence USING a"
        " WHERE presence.device_key = a.device_key),"
        " r AS (DELETE FROM holdfast.retained USING d"
        " WHERE retained.device_key = d.device_key AND retained.device_key <> 0),"
        " s AS (DELETE FROM holdfast.sessions USING d"
        " WHERE d.parent_key IS NULL AND sessions.device_key = d.device_key"
        " AND sessions.device_key <> 0 RETURNING session_id),"
        " o AS (DELETE FROM holdfast.sessions USING d"
        " WHERE d.parent_key IS NOT NULL AND sessions.key = '\\x01'::bytea || convert_to(d.id, "
        "'UTF8')"
        " RETURNING session_id),"
        " e AS (SELECT session_id FROM s UNION ALL SELECT session_id FROM o),"
        " b AS (DELETE FROM holdfast.subscriptions USING e"
        " WHERE subscriptions.session_id = e.session_id),"
        " m AS (DELETE FROM holdfast.queue USING (SELECT session_id AS queue FROM e"
        " UNION ALL SELECT 4611686018427387904 + device_key FROM d) gone"
        " WHERE queue.queue = gone.queue)"
        " SELECT device_key FROM a";

static int device_delete(void *ctx, const char *id, struct store_match match)
{
	struct storage *s = ctx;
	_cleanup_result_ PGresult *res = NULL;
	struct pg_params which = {0}, p = {0};

	pg_put_text(&which, id);
	pg_put_text(&p, id);
	pg_put_text(&p, demanded_etag(match));
	const struct pg_step steps[] = {{lock_sql, &which}, {delete_sql, &p}};
	int err = pool_write_all(s, steps, ARRAY_LEN(steps), &res);
	if (err == 0 && PQntuples(res) == 0)
		return why_not(s, device_there_sql, id);
	for (int i = 0; err == 0 && i < PQntuples(res); i++)
		lanes_forget(s, (uint64_t)pg_get_i64(res, i, 0));
	return err;
}

/* ---- reading ---- */

static int device_get(void *ctx, const char *id, struct device_record *ret)
{
	struct storage *s = ctx;
	_cleanup_result_ PGresult *res = NULL;
	struct pg_params p = {0};

	pg_put_text(&p, id);
	int err = pool_call(
	        s, "SELECT " DEVICE_COLUMNS " FROM " DEVICE_FROM " WHERE d.id = $1", &p, &res);
	if (err == 0 && PQntuples(res) == 0)
		return ERR_NOT_FOUND;
	return err < 0 ? err : device_read(s, res, 0, ret);
}

static int device_key(void *ctx, const char *id, uint64_t *ret)
{
	_cleanup_result_ PGresult *res = NULL;
	struct pg_params p = {0};

	pg_put_text(&p, id);
	int err = pool_call(ctx, "SELECT device_key FROM holdfast.devices WHERE id = $1", &p, &res);
	if (err == 0 && PQntuples(res) == 0)
		return ERR_NOT_FOUND;
	if (err == 0)
		*ret = (uint64_t)pg_get_i64(res, 0, 0);
	return err;
}

static void free_list(struct device_record *list, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		device_record_done(&list[i]);
	free(list);
}

/* One that somebody altered takes its place in the list and hides no other. */
static int read_listed(struct storage *s, const PGresult *res, int row, struct device_record *ret)
{
	int err = device_read(s, res, row, ret);

	if (err != ERR_CORRUPT || !pg_get_text(res, row, 1, ret->id, sizeof(ret->id)))
		return err;
	log_error("a device in the database was altered", F_STR("id", ret->id));
	ret->altered = true;
	return 0;
}

static int read_list(
        struct storage *s, const PGresult *res, struct device_record **ret, unsigned *ret_n)
{
	unsigned n = 0, all = (unsigned)PQntuples(res);
	struct device_record *list = calloc(all ? all : 1, sizeof(*list));
	int err = list ? 0 : ERR_NOMEM;

	while (err == 0 && n < all) {
		err = read_listed(s, res, (int)n, &list[n]);
		n += err == 0;
	}
	if (err < 0) {
		free_list(list, n);
		return err;
	}
	*ret = list;
	*ret_n = n;
	return 0;
}

static int device_list(
        void *ctx, const char *after, unsigned limit, struct device_record **ret, unsigned *ret_n)
{
	_cleanup_result_ PGresult *res = NULL;
	struct pg_params p = {0};

	pg_put_text(&p, after ? after : "");
	pg_put_i64(&p, limit < LIST_MAX ? limit : LIST_MAX);
	int err = pool_call(ctx,
	        "SELECT " DEVICE_COLUMNS " FROM " DEVICE_FROM
	        " WHERE d.id > $1 AND d.parent_key IS NULL ORDER BY d.id LIMIT $2",
	        &p, &res);
	return err < 0 ? err : read_list(ctx, res, ret, ret_n);
}

static int module_list(void *ctx, const char *device, const char *after, unsigned limit,
        struct device_record **ret, unsigned *ret_n)
{
	_cleanup_result_ PGresult *res = NULL;
	struct pg_params p = {0};

	pg_put_text(&p, device);
	pg_put_text(&p, after ? after : "");
	pg_put_i64(&p, limit < LIST_MAX ? limit : LIST_MAX);
	int err = pool_call(ctx,
	        "SELECT " DEVICE_COLUMNS " FROM " DEVICE_FROM
	        " WHERE d.parent_key = (SELECT device_key FROM holdfast.devices WHERE id = $1)"
	        " AND d.id > $2 ORDER BY d.id LIMIT $3",
	        &p, &res);
	return err < 0 ? err : read_list(ctx, res, ret, ret_n);
}

static int device_count(void *ctx, uint64_t *ret_all, uint64_t *ret_disabled)
{
	_cleanup_result_ PGresult *res = NULL;
	int err = pool_call(ctx,
	        "SELECT count(*), count(*) FILTER (WHERE NOT enabled) FROM holdfast.devices"
	        " WHERE parent_key IS NULL",
	        NULL, &res);

	if (err < 0)
		return err;
	*ret_all = (uint64_t)pg_get_i64(res, 0, 0);
	*ret_disabled = (uint64_t)pg_get_i64(res, 0, 1);
	return 0;
}

void devices_port(struct registry_store *port)
{
	port->device_insert = device_insert;
	port->device_get = device_get;
	port->device_key = device_key;
	port->device_list = device_list;
	port->module_list = module_list;
	port->device_update = device_update;
	port->device_delete = device_delete;
	port->device_count = device_count;
}
