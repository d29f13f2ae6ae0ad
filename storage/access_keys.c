/* The registry's port: access keys. On threads that may block. */
#include <stdlib.h>

#include "server/base/err.h"
#include "server/base/log.h"
#include "storage/private.h"

#define LIST_MAX 1001 /* the largest page, and one to see whether more follow */

/* Parameters $1 to $5. */
static int put_record(const struct storage *s, struct pg_params *p,
        const struct access_key_record *r, struct wrapped_key keys[2])
{
	int err = access_key_wrap(s, r, &r->primary, WHICH_PRIMARY, &keys[0]);

	if (err == 0)
		err = access_key_wrap(s, r, &r->secondary, WHICH_SECONDARY, &keys[1]);
	if (err < 0)
		return err;
	pg_put_text(p, r->name);
	pg_put_i32(p, (int32_t)r->perms);
	pg_put_bytes(p, keys[0].slice);
	pg_put_bytes(p, keys[1].slice);
	pg_put_text(p, r->scope);
	return 0;
}

static int read_given(const PGresult *res, struct access_key_record *r)
{
	if (!pg_get_text(res, 0, 0, r->etag, sizeof(r->etag)))
		return ERR_INTERNAL;
	r->created_us = pg_get_time(res, 0, 1);
	r->updated_us = pg_get_time(res, 0, 2);
	return 0;
}

static int access_key_insert(void *ctx, struct access_key_record *r)
{
	struct storage *s = ctx;
	_cleanup_result_ PGresult *res = NULL;
	struct wrapped_key keys[2];
	struct pg_params p = {0};
	int err = put_record(s, &p, r, keys);

	if (err == 0)
		err = pool_write(s,
		        "INSERT INTO holdfast.access_keys"
		        " (name, perms, primary_key, secondary_key, scope, etag)"
		        " VALUES ($1, $2, $3, $4, $5::json, to_hex(nextval('holdfast.etag_seq')))"
		        " RETURNING etag, created_at, updated_at",
		        &p, &res);
	return err < 0 ? err : read_given(res, r);
}

static int access_key_get(void *ctx, const char *name, struct access_key_record *ret)
{
	struct storage *s = ctx;
	_cleanup_result_ PGresult *res = NULL;
	struct pg_params p = {0};

	pg_put_text(&p, name);
	int err = pool_call(s,
	        "SELECT " ACCESS_KEY_COLUMNS " FROM holdfast.access_keys WHERE name = $1", &p,
	        &res);
	if (err == 0 && PQntuples(res) == 0)
		return ERR_NOT_FOUND;
	return err < 0 ? err : access_key_read(s, res, 0, ret);
}

static void free_list(struct access_key_record *list, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		access_key_record_done(&list[i]);
	free(list);
}

/* One that somebody altered takes its place in the list and hides no other. */
static int read_listed(
        struct storage *s, const PGresult *res, int row, struct access_key_record *ret)
{
	int err = access_key_read(s, res, row, ret);

	if (err != ERR_CORRUPT || !pg_get_text(res, row, 0, ret->name, sizeof(ret->name)))
		return err;
	log_error("an access key in the database was altered", F_STR("name", ret->name));
	ret->altered = true;
	return 0;
}

static int access_key_list(void *ctx, const char *after, unsigned limit,
        struct access_key_record **ret, unsigned *ret_n)
{
	struct storage *s = ctx;
	_cleanup_result_ PGresult *res = NULL;
	struct pg_params p = {0};

	if (limit > LIST_MAX)
		limit = LIST_MAX;
	pg_put_text(&p, after ? after : "");
	pg_put_i64(&p, limit);
	int err = pool_call(s,
	        "SELECT " ACCESS_KEY_COLUMNS
	        " FROM holdfast.access_keys WHERE name > $1 ORDER BY name LIMIT $2",
	        &p, &res);
	if (err < 0)
		return err;
	unsigned n = 0, all = (unsigned)PQntuples(res);
	struct access_key_record *list = calloc(all ? all : 1, sizeof(*list));
	err = list ? 0 : ERR_NOMEM;
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

static int why_not(struct storage *s, const char *name)
{
	_cleanup_result_ PGresult *res = NULL;
	struct pg_params p = {0};

	pg_put_text(&p, name);
	int err = pool_call(s, "SELECT 1 FROM holdfast.access_keys WHERE name = $1", &p, &res);
	if (err < 0)
		return err;
	return PQntuples(res) > 0 ? ERR_STALE : ERR_NOT_FOUND;
}

static const char *demanded_etag(struct store_match match)
{
	return match.etag && strcmp(match.etag, "*") == 0 ? NULL : match.etag;
}

static int access_key_update(void *ctx, struct access_key_record *r, struct store_match match)
{
	struct storage *s = ctx;
	_cleanup_result_ PGresult *res = NULL;
	struct wrapped_key keys[2];
	struct pg_params p = {0};
	int err = put_record(s, &p, r, keys);

	if (err < 0)
		return err;
	pg_put_text(&p, demanded_etag(match));
	err = pool_write(s,
	        "UPDATE holdfast.access_keys SET perms = $2, primary_key = $3, secondary_key = $4,"
	        " scope = $5::json, etag = to_hex(nextval('holdfast.etag_seq')),"
	        " updated_at = now() WHERE name = $1 AND ($6::text IS NULL OR etag = $6)"
	        " RETURNING etag, created_at, updated_at",
	        &p, &res);
	if (err == 0 && PQntuples(res) == 0)
		return why_not(s, r->name);
	return err < 0 ? err : read_given(res, r);
}

static int access_key_delete(void *ctx, const char *name, struct store_match match)
{
	struct storage *s = ctx;
	_cleanup_result_ PGresult *res = NULL;
	struct pg_params p = {0};

	pg_put_text(&p, name);
	pg_put_text(&p, demanded_etag(match));
	int err = pool_write(s,
	        "DELETE FROM holdfast.access_keys"
	        " WHERE name = $1 AND ($2::text IS NULL OR etag = $2) RETURNING name",
	        &p, &res);
	if (err == 0 && PQntuples(res) == 0)
		return why_not(s, name);
	return err;
}

void access_keys_port(struct registry_store *port)
{
	port->access_key_insert = access_key_insert;
	port->access_key_get = access_key_get;
	port->access_key_list = access_key_list;
	port->access_key_update = access_key_update;
	port->access_key_delete = access_key_delete;
}
