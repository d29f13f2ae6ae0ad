/* The port of documents: what hangs on devices, certificates and groups. On threads that may block.
 */
#include <stdlib.h>

#include "server/base/err.h"
#include "storage/private.h"

#define LIST_MAX 1001

/* The number of the subject $1, $2. */
#define SUBJECT                                                                             \
	"(SELECT device_key FROM holdfast.devices WHERE $1 = 'd' AND id = $2 UNION ALL"     \
	" SELECT document_key FROM holdfast.documents WHERE kind = $1::\"char\" AND name =" \
	" $2)"

struct link_params {
	struct pg_params p;
	char kind[2], letter[2];
};

static void put_link(struct link_params *l, enum entity subject_kind, const char *subject,
        char letter, const char *value)
{
	*l = (struct link_params){.kind = {(char)subject_kind}, .letter = {letter}};
	pg_put_text(&l->p, l->kind);
	pg_put_text(&l->p, subject);
	pg_put_text(&l->p, l->letter);
	pg_put_text(&l->p, value);
}

/* What it hangs on, and the policy or group, are locked by statements of their own, as their
 * removal does: the next one sees whether they are there, and they do not go while it is done. */
static const char lock_device_sql[] = "SELECT 1 FROM holdfast.devices"
                                      " WHERE $1 = 'd' AND id = $2 FOR KEY SHARE";
static const char lock_documents_sql[] =
        "SELECT 1 FROM holdfast.documents WHERE kind = $1::\"char\" AND name = $2"
        " OR $3 IN ('p', 'g') AND kind = $3::\"char\" AND name = $4 FOR KEY SHARE";
static const char add_sql[] =
        "INSERT INTO holdfast.links (subject_kind, subject, letter, value)"
        " SELECT $1::\"char\", s.key, $3::\"char\", $4 FROM " SUBJECT " s(key)"
        " WHERE $3 NOT IN ('p', 'g') OR EXISTS (SELECT FROM holdfast.documents t"
        " WHERE t.kind = $3::\"char\" AND t.name = $4)"
        " RETURNING link_id";

static int link_add(void *ctx, enum entity subject_kind, const char *subject, char letter,
        const char *value, uint64_t *ret_id)
{
	_cleanup_result_ PGresult *res = NULL;
	struct link_params l;
	struct pg_params device;

	if (strchr(value, '\n'))
		return ERR_INVALID;
	put_link(&l, subject_kind, subject, letter, value);
	device = l.p;
	device.n = 2;
	const struct pg_step steps[] = {
	        {lock_device_sql, &device}, {lock_documents_sql, &l.p}, {add_sql, &l.p}};
	int err = pool_write_all(ctx, steps, ARRAY_LEN(steps), &res);
	if (err == 0 && PQntuples(res) == 0)
		return ERR_NOT_FOUND;
	if (err == 0 && ret_id)
		*ret_id = (uint64_t)pg_get_i64(res, 0, 0);
	return err;
}

static int link_remove(
        void *ctx, enum entity subject_kind, const char *subject, char letter, const char *value)
{
	_cleanup_result_ PGresult *res = NULL;
	struct link_params l;

	put_link(&l, subject_kind, subject, letter, value);
	int err = pool_write(ctx,
	        "DELETE FROM holdfast.links WHERE subject_kind = $1::\"char\""
	        " AND subject = " SUBJECT " AND letter = $3::\"char\" AND value = $4"
	        " RETURNING link_id",
	        &l.p, &res);
	return err == 0 && PQntuples(res) == 0 ? ERR_NOT_FOUND : err;
}

/* ---- reading ---- */

/* With the subject's name; what hangs on nothing is not there. */
#define LINK_ROWS                                                                            \
	"SELECT l.link_id, l.subject_kind::text, coalesce(d.id, o.name), l.letter::text,"    \
	" l.value, l.created_at FROM holdfast.links l"                                       \
	" LEFT JOIN holdfast.devices d ON l.subject_kind = 'd' AND d.device_key = l.subject" \
	" LEFT JOIN holdfast.documents o ON l.subject_kind <> 'd'"                           \
	" AND o.document_key = l.subject"                                                    \
	" WHERE coalesce(d.id, o.name) IS NOT NULL"

static int link_read(const PGresult *r, int row, struct link_row *ret)
{
	struct link_row l = {
	        .id = (uint64_t)pg_get_i64(r, row, 0), .created_us = pg_get_time(r, row, 5)};
	char kind[5], letter[5];

	if (!pg_get_text(r, row, 1, kind, sizeof(kind)) ||
	        !pg_get_text(r, row, 2, l.subject, sizeof(l.subject)) ||
	        !pg_get_text(r, row, 3, letter, sizeof(letter)) ||
	        !pg_get_text(r, row, 4, l.value, sizeof(l.value)))
		return ERR_CORRUPT;
	l.subject_kind = (enum entity)kind[0];
	l.letter = letter[0];
	*ret = l;
	return 0;
}

static int link_get(void *ctx, uint64_t id, struct link_row *ret)
{
	_cleanup_result_ PGresult *res = NULL;
	struct pg_params p = {0};

	if (id > INT64_MAX)
		return ERR_NOT_FOUND;
	pg_put_i64(&p, (int64_t)id);
	int err = pool_call(ctx, LINK_ROWS " AND l.link_id = $1", &p, &res);
	if (err == 0 && PQntuples(res) == 0)
		return ERR_NOT_FOUND;
	return err < 0 ? err : link_read(res, 0, ret);
}

/* The database plans each of these anew with its values: what asks for nothing is not in the plan.
 */
static const char list_sql[] = LINK_ROWS
        " AND ($1::text IS NULL OR l.subject_kind = $1::\"char\")"
        " AND ($2::text IS NULL OR l.subject = " SUBJECT ")"
        " AND ($3::text IS NULL OR length($3) > 1 OR l.letter = $3::\"char\")"
        " AND ($3::text IS NULL OR length($3) = 1 OR"
        " l.letter = ANY (string_to_array($3, NULL)::\"char\"[]))"
        " AND ($4::text IS NULL OR l.value = $4) AND l.link_id > $5"
        " ORDER BY l.link_id LIMIT $6";

static const char *or_null(const char *s)
{
	return s && s[0] ? s : NULL;
}

static int link_list(void *ctx, const struct link_query *q, struct link_row **ret, unsigned *ret_n)
{
	_cleanup_result_ PGresult *res = NULL;
	struct pg_params p = {0};
	const char kind[2] = {(char)q->subject_kind, '\0'};

	pg_put_text(&p, or_null(kind));
	pg_put_text(&p, or_null(q->subject));
	pg_put_text(&p, or_null(q->letters));
	pg_put_text(&p, or_null(q->value));
	pg_put_i64(&p, q->after > INT64_MAX ? INT64_MAX : (int64_t)q->after);
	pg_put_i64(&p, q->limit < LIST_MAX ? q->limit : LIST_MAX);
	int err = pool_call(ctx, list_sql, &p, &res);
	if (err < 0)
		return err;
	unsigned n = (unsigned)PQntuples(res);
	_cleanup_free_ struct link_row *list = calloc(n ? n : 1, sizeof(*list));
	err = list ? 0 : ERR_NOMEM;
	for (unsigned i = 0; err == 0 && i < n; i++)
		err = link_read(res, (int)i, &list[i]);
	if (err == 0) {
		*ret = TAKE_PTR(list);
		*ret_n = n;
	}
	return err;
}

void links_port(struct document_store *port)
{
	port->link_add = link_add;
	port->link_remove = link_remove;
	port->link_get = link_get;
	port->link_list = link_list;
}
