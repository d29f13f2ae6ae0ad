/* The port of administrators' documents. On threads that may block. */
#include <stdlib.h>

#include "server/base/err.h"
#include "storage/private.h"

#define LIST_MAX 1001 /* the largest page, and one to see whether more follow */

/* As a parameter; lives as long as the block that it stands in. */
#define KIND_TEXT(kind) ((const char[2]){(char)(kind), '\0'})

static const char *demanded_etag(struct store_match match)
{
	return match.etag && strcmp(match.etag, "*") == 0 ? NULL : match.etag;
}

/* ---- rows ---- */

int document_read(const PGresult *r, int row, struct document *ret)
{
	struct document d = {.kind = (enum entity)pg_get_bytes(r, row, 0).p[0]};

	if (!pg_get_text(r, row, 1, d.name, sizeof(d.name)) ||
	        !pg_get_text(r, row, 2, d.etag, sizeof(d.etag)))
		return ERR_CORRUPT;
	d.created_us = pg_get_time(r, row, 4);
	d.updated_us = pg_get_time(r, row, 5);
	int err = row_copy_text(r, row, 3, &d.text);
	if (err == 0)
		err = row_copy_text(r, row, 6, &d.links);
	if (err == 0)
		*ret = d;
	else
		document_done(&d);
	return err;
}

static int read_given(const PGresult *res, struct document *d)
{
	if (!pg_get_text(res, 0, 0, d->etag, sizeof(d->etag)))
		return ERR_INTERNAL;
	d->created_us = pg_get_time(res, 0, 1);
	d->updated_us = pg_get_time(res, 0, 2);
	return 0;
}

/* ---- writing ---- */

static int document_insert(void *ctx, struct document *d)
{
	_cleanup_result_ PGresult *res = NULL;
	struct pg_params p = {0};

	pg_put_text(&p, KIND_TEXT(d->kind));
	pg_put_text(&p, d->name);
	pg_put_text(&p, d->text);
	int err = pool_write(ctx,
	        "INSERT INTO holdfast.documents (kind, name, etag, doc)"
	        " VALUES ($1::\"char\", $2, to_hex(nextval('holdfast.etag_seq')), $3::json)"
	        " RETURNING etag, created_at, updated_at",
	        &p, &res);
	return err < 0 ? err : read_given(res, d);
}

static int why_not(struct storage *s, enum entity kind, const char *name, int if_there)
{
	_cleanup_result_ PGresult *res = NULL;
	struct pg_params p = {0};

	pg_put_text(&p, KIND_TEXT(kind));
	pg_put_text(&p, name);
	int err = pool_call(s,
	        "SELECT etag FROM holdfast.documents WHERE kind = $1::\"char\" AND name = $2", &p,
	        &res);
	if (err < 0)
		return err;
	return PQntuples(res) > 0 ? if_there : ERR_NOT_FOUND;
}

static int document_update(void *ctx, struct document *d, struct store_match match)
{
	_cleanup_result_ PGresult *res = NULL;
	struct pg_params p = {0};

	pg_put_text(&p, KIND_TEXT(d->kind));
	pg_put_text(&p, d->name);
	pg_put_text(&p, d->text);
	pg_put_text(&p, demanded_etag(match));
	int err = pool_write(ctx,
	        "UPDATE holdfast.documents SET doc = $3::json,"
	        " etag = to_hex(nextval('holdfast.etag_seq')), updated_at = now()"
	        " WHERE kind = $1::\"char\" AND name = $2 AND ($4::text IS NULL OR etag = $4)"
	        " RETURNING etag, created_at, updated_at",
	        &p, &res);
	if (err == 0 && PQntuples(res) == 0)
		err = why_not(ctx, d->kind, d->name, ERR_STALE);
	return err < 0 ? err : read_given(res, d);
}

/* The row is locked by a statement of its own: the next one sees what was attached to it until
 * then, and nothing is attached after. */
static const char lock_sql[] = "SELECT 1 FROM holdfast.documents"
                               " WHERE kind = $1::\"char\" AND name = $2 FOR UPDATE";
static const char remove_sql[] =
        "WITH c AS (SELECT kind, name, document_key, etag,"
        " kind = 'p' AND EXISTS (SELECT FROM holdfast.links"
        " WHERE letter = 'p' AND value = $2) AS attached"
        " FROM holdfast.documents WHERE kind = $1::\"char\" AND name = $2),"
        " d AS (DELETE FROM holdfast.documents USING c"
        " WHERE documents.document_key = c.document_key AND NOT c.attached"
        " AND ($3::text IS NULL OR c.etag = $3)"
        " RETURNING c.kind, c.name, c.document_key),"
        " l AS (DELETE FROM holdfast.links USING d"
        " WHERE links.subject_kind = d.kind AND links.subject = d.document_key),"
        " m AS (DELETE FROM holdfast.links USING d"
        " WHERE d.kind = 'g' AND links.letter = 'g' AND links.value = d.name)"
        " SELECT (SELECT count(*) FROM d), c.attached, $3::text IS NULL OR c.etag = $3 FROM c";

static int document_remove(void *ctx, enum entity kind, const char *name, struct store_match match)
{
	_cleanup_result_ PGresult *res = NULL;
	struct pg_params which = {0}, p = {0};

	pg_put_text(&which, KIND_TEXT(kind));
	pg_put_text(&which, name);
	pg_put_text(&p, KIND_TEXT(kind));
	pg_put_text(&p, name);
	pg_put_text(&p, demanded_etag(match));
	const struct pg_step steps[] = {{lock_sql, &which}, {remove_sql, &p}};
	int err = pool_write_all(ctx, steps, ARRAY_LEN(steps), &res);
	if (err < 0)
		return err;
	if (PQntuples(res) == 0)
		return ERR_NOT_FOUND;
	if (!pg_get_bool(res, 0, 2))
		return ERR_STALE;
	return pg_get_bool(res, 0, 1) ? ERR_CONFLICT : 0;
}

/* ---- reading ---- */

static int document_get(void *ctx, enum entity kind, const char *name, struct document *ret)
{
	_cleanup_result_ PGresult *res = NULL;
	struct pg_params p = {0};

	pg_put_text(&p, KIND_TEXT(kind));
	pg_put_text(&p, name);
	int err = pool_call(ctx,
	        "SELECT " DOCUMENT_COLUMNS
	        " FROM holdfast.documents o WHERE o.kind = $1::\"char\" AND o.name = $2",
	        &p, &res);
	if (err == 0 && PQntuples(res) == 0)
		return ERR_NOT_FOUND;
	return err < 0 ? err : document_read(res, 0, ret);
}

static void free_list(struct document *list, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		document_done(&list[i]);
	free(list);
}

static int document_list(void *ctx, enum entity kind, const char *after, unsigned limit,
        struct document **ret, unsigned *ret_n)
{
	_cleanup_result_ PGresult *res = NULL;
	struct pg_params p = {0};

	pg_put_text(&p, KIND_TEXT(kind));
	pg_put_text(&p, after ? after : "");
	pg_put_i64(&p, limit < LIST_MAX ? limit : LIST_MAX);
	int err = pool_call(ctx,
	        "SELECT " DOCUMENT_COLUMNS
	        " FROM holdfast.documents o WHERE o.kind = $1::\"char\" AND o.name > $2"
	        " ORDER BY o.name LIMIT $3",
	        &p, &res);
	if (err < 0)
		return err;
	unsigned n = 0, all = (unsigned)PQntuples(res);
	struct document *list = calloc(all ? all : 1, sizeof(*list));
	err = list ? 0 : ERR_NOMEM;
	while (err == 0 && n < all) {
		err = document_read(res, (int)n, &list[n]);
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

static int document_each(
        void *ctx, enum entity kind, int (*row)(void *arg, const struct document *d), void *arg)
{
	_cleanup_result_ PGresult *res = NULL;
	struct pg_params p = {0};

	pg_put_text(&p, KIND_TEXT(kind));
	int err = pool_call(ctx,
	        "SELECT " DOCUMENT_COLUMNS
	        " FROM holdfast.documents o WHERE o.kind = $1::\"char\" ORDER BY o.name",
	        &p, &res);
	for (int i = 0; err == 0 && i < PQntuples(res); i++) {
		struct document d;

		err = document_read(res, i, &d);
		if (err < 0)
			break;
		err = row(arg, &d);
		document_done(&d);
	}
	return err;
}

void documents_port(struct document_store *port)
{
	port->insert = document_insert;
	port->get = document_get;
	port->list = document_list;
	port->update = document_update;
	port->remove = document_remove;
	port->each = document_each;
}
