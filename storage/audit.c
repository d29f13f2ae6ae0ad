/* The port of the audit log, and the rows of attempts that were denied. */
#include <stdlib.h>

#include "server/base/audit.h"
#include "server/base/clock.h"
#include "server/base/err.h"
#include "server/base/utf8.h"
#include "storage/audit.h"

#define AT_ONCE 32

/* ---- reading ---- */

/* The database plans each of these anew with its values: what asks for nothing is not in the plan.
 */
#define AUDIT_SELECT                                                                       \
	"SELECT audit_id, at, actor, actor_kind, role, source, trace_id, operation,"       \
	" outcome, reason, kind, name, count, before::text, after::text FROM"              \
	" holdfast.audit WHERE at >= $1 AND at < $2 AND ($3::text IS NULL OR actor = $3)"  \
	" AND ($4::text IS NULL OR operation = $4) AND ($5::text IS NULL OR outcome = $5)" \
	" AND ($6::text IS NULL OR reason = $6) AND ($7::text IS NULL OR kind = $7)"       \
	" AND ($8::text IS NULL OR name = $8)"

static const char first_asc_sql[] = AUDIT_SELECT " ORDER BY at, audit_id LIMIT $9";
static const char first_desc_sql[] = AUDIT_SELECT " ORDER BY at DESC, audit_id DESC LIMIT $9";
static const char next_asc_sql[] = AUDIT_SELECT
        " AND (at, audit_id) > ($10, $11) ORDER BY at, audit_id LIMIT $9";
static const char next_desc_sql[] = AUDIT_SELECT
        " AND (at, audit_id) < ($10, $11) ORDER BY at DESC, audit_id DESC LIMIT $9";

static void row_at(const PGresult *r, int row, struct audit_row *ret)
{
	struct slice *const texts[] = {&ret->actor, &ret->actor_kind, &ret->role, &ret->source,
	        &ret->trace_id, &ret->operation, &ret->outcome, &ret->reason, &ret->kind,
	        &ret->name};

	ret->id = pg_get_i64(r, row, 0);
	ret->at_us = pg_get_time(r, row, 1);
	for (int i = 0; i < (int)ARRAY_LEN(texts); i++)
		*texts[i] = pg_get_bytes(r, row, 2 + i);
	ret->count = (uint32_t)pg_get_i32(r, row, 12);
	ret->before = pg_get_bytes(r, row, 13);
	ret->after = pg_get_bytes(r, row, 14);
}

/* A few at a time: rows hold documents, before and after, of up to a megabyte each. */
static int query_some(struct storage *s, const struct audit_query *q, PGresult **ret)
{
	const char *const filters[] = {
	        q->actor, q->operation, q->outcome, q->reason, q->kind, q->name};
	const char *sql = q->ascending ? first_asc_sql : first_desc_sql;
	struct pg_params p = {0};

	pg_put_time(&p, q->from_us);
	pg_put_time(&p, q->to_us);
	for (size_t i = 0; i < ARRAY_LEN(filters); i++)
		pg_put_text(&p, filters[i]);
	pg_put_i64(&p, q->limit < AT_ONCE ? q->limit : AT_ONCE);
	if (q->has_after) {
		sql = q->ascending ? next_asc_sql : next_desc_sql;
		pg_put_time(&p, q->after_us);
		pg_put_i64(&p, q->after_id);
	}
	return pool_call(s, sql, &p, ret);
}

static int audit_query(void *ctx, const struct audit_query *query,
        int (*row)(const struct audit_row *r, void *arg), void *arg)
{
	struct audit_query q = *query;
	int err = 0, n = AT_ONCE;

	while (err == 0 && q.limit > 0 && n == AT_ONCE) {
		_cleanup_result_ PGresult *res = NULL;
		struct audit_row r;

		err = query_some(ctx, &q, &res);
		n = err == 0 ? PQntuples(res) : 0;
		for (int i = 0; err == 0 && i < n; i++) {
			row_at(res, i, &r);
			err = row(&r, arg);
			q.has_after = true;
			q.after_us = r.at_us;
			q.after_id = r.id;
		}
		q.limit -= (unsigned)n;
	}
	return err;
}

/* ---- what is a row of no table ---- */

static int audit_append(void *ctx, const char *kind, const char *name, const char *detail)
{
	static const char sql[] =
	        "INSERT INTO holdfast.audit (actor, actor_kind, role, source, trace_id, operation,"
	        " outcome, kind, name, after) SELECT coalesce(w ->> 'name', ''),"
	        " coalesce(w ->> 'kind', ''), coalesce(w ->> 'role', ''),"
	        " coalesce(w ->> 'peer', ''), coalesce(w ->> 'trace', ''),"
	        " coalesce(w ->> 'operation', ''), 'done', $1, $2, $3::jsonb"
	        " FROM (SELECT current_setting('holdfast.actor')::jsonb) a(w)";
	struct pg_params p = {0};

	pg_put_text(&p, kind);
	pg_put_text(&p, name);
	pg_put_text(&p, detail);
	return pool_write(ctx, sql, &p, NULL);
}

struct audit_store storage_audit(struct storage *s)
{
	return (struct audit_store){.ctx = s, .query = audit_query, .append = audit_append};
}

/* ---- denials: noted by any thread ---- */

#define SLOTS 1024
#define OPERATION_MAX 31
#define REASON_MAX 31
#define WHO_MAX 128
#define TARGET_MAX 256
#define SOURCE_MAX IP_TEXT_LEN
#define DENIAL_MAX (OPERATION_MAX + REASON_MAX + WHO_MAX + TARGET_MAX + SOURCE_MAX + TEXTS)
enum { D_OPERATION, D_REASON, D_WHO, D_TARGET, D_SOURCE, TEXTS };

/* A flood is kept to this many rows a second; the table above is for what comes at once. */
#define ROWS_A_TURN 100

struct denials {
	struct merge noted;
	/* The upkeep thread's: taken, not written yet. */
	struct denial {
		char text[DENIAL_MAX];
		size_t n;
		uint32_t count;
		int64_t at_us;
	} batch[ROWS_A_TURN + 1];
	unsigned n;
};

int denials_new(struct denials **ret)
{
	struct denials *d = calloc(1, sizeof(*d));
	int err = d ? merge_init(&d->noted, SLOTS, DENIAL_MAX) : ERR_NOMEM;

	if (err == 0)
		*ret = d;
	else
		free(d);
	return err;
}

void denials_free(struct denials *d)
{
	if (!d)
		return;
	merge_free(&d->noted);
	free(d);
}

/* Cut where it is too long or holds a NUL. */
static size_t put_text(char *at, struct slice s, size_t most)
{
	size_t n = s.n < most ? s.n : most;
	const uint8_t *nul = n > 0 ? memchr(s.p, 0, n) : NULL;

	n = nul ? (size_t)(nul - s.p) : n;
	if (n > 0)
		memcpy(at, s.p, n);
	at[n] = '\0';
	return n + 1;
}

/* "192.0.2.1:4711", "[2001:db8::1]:4711" without the port, which differs each time. */
static struct slice source_of(const char *peer)
{
	struct slice s = slice_str(peer);
	size_t n = s.n;

	while (n > 0 && s.p[n - 1] >= '0' && s.p[n - 1] <= '9')
		n--;
	if (n < 2 || s.p[n - 1] != ':')
		return s;
	if (s.p[0] == '[' && s.p[n - 2] == ']')
		return slice_make(s.p + 1, n - 3);
	return memchr(s.p, ':', n - 1) ? s : slice_make(s.p, n - 1);
}

void denials_note(void *ctx, const struct audit_denial *d)
{
	struct denials *all = ctx;
	char text[DENIAL_MAX];
	size_t n = put_text(text, slice_str(d->operation), OPERATION_MAX);

	n += put_text(text + n, slice_str(d->reason), REASON_MAX);
	n += put_text(text + n, d->who, WHO_MAX);
	n += put_text(text + n, d->target, TARGET_MAX);
	n += put_text(text + n, source_of(d->peer), SOURCE_MAX);
	merge_note(&all->noted, text, n);
}

/* ---- denials: written by upkeep ---- */

static void take(void *arg, const struct merged *it)
{
	struct denials *d = arg;
	struct denial *to = &d->batch[d->n++];

	memcpy(to->text, it->thing, it->n);
	to->n = it->n;
	to->count = it->count;
	to->at_us = it->first_us;
}

static void take_dropped(struct denials *d)
{
	uint64_t dropped = merge_dropped(&d->noted);
	struct denial *to = &d->batch[d->n];
	static const char text[] = "\0dropped\0\0\0"; /* and the literal's own NUL */

	if (dropped == 0)
		return;
	memcpy(to->text, text, sizeof(text));
	to->n = sizeof(text);
	to->count = dropped < INT32_MAX ? (uint32_t)dropped : INT32_MAX;
	to->at_us = clock_wall_us();
	d->n++;
}

/* What the network sent may be anything; a column of text takes UTF-8. */
static int put_clean(struct buf *array, const char *text)
{
	char clean[TARGET_MAX + 1];
	size_t n = strlen(text), out = 0;

	for (size_t i = 0; i < n;) {
		uint32_t code;
		size_t len = utf8_next((const uint8_t *)text + i, n - i, &code);

		for (size_t k = 0; k < len; k++)
			clean[out++] = text[i + k];
		if (len == 0)
			clean[out++] = '?';
		i += len ? len : 1;
	}
	return pg_array_bytes(array, slice_make(clean, out));
}

struct arrays {
	struct buf at, count, texts[TEXTS];
};

static void arrays_done(struct arrays *a)
{
	buf_free(&a->at);
	buf_free(&a->count);
	for (unsigned t = 0; t < TEXTS; t++)
		buf_free(&a->texts[t]);
}

static int arrays_start(struct arrays *a)
{
	const size_t cap = (ROWS_A_TURN + 2) * (TARGET_MAX + 8);
	int err = 0;

	buf_init(&a->at, cap);
	buf_init(&a->count, cap);
	for (unsigned t = 0; t < TEXTS; t++)
		buf_init(&a->texts[t], cap);
	err = pg_array_start(&a->at);
	if (err == 0)
		err = pg_array_start(&a->count);
	for (unsigned t = 0; err == 0 && t < TEXTS; t++)
		err = pg_array_start(&a->texts[t]);
	return err;
}

static int arrays_add(struct arrays *a, const struct denial *d)
{
	const char *text = d->text;
	int err = pg_array_i64(&a->at, d->at_us - PG_EPOCH_US);

	if (err == 0)
		err = pg_array_i32(&a->count, (int32_t)d->count);
	for (unsigned t = 0; err == 0 && t < TEXTS; t++, text += strlen(text) + 1)
		err = put_clean(&a->texts[t], text);
	return err;
}

static int write_batch(struct denials *d, struct pg *pg)
{
	static const char sql[] =
	        "INSERT INTO holdfast.audit (at, count, operation, reason, actor, name, source,"
	        " outcome) SELECT u.*, 'denied' FROM unnest($1::timestamptz[], $2::integer[],"
	        " $3::text[], $4::text[], $5::text[], $6::text[], $7::text[]) u";
	_cleanup_(arrays_done) struct arrays a = {0};
	struct pg_params p = {0};
	int err = arrays_start(&a);

	for (unsigned i = 0; err == 0 && i < d->n; i++)
		err = arrays_add(&a, &d->batch[i]);
	if (err < 0)
		return err;
	pg_array_finish(&a.at, PG_TIMESTAMPTZ, d->n);
	pg_array_finish(&a.count, PG_INT4, d->n);
	pg_put_array(&p, PG_TIMESTAMPTZ_ARRAY, &a.at);
	pg_put_array(&p, PG_INT4_ARRAY, &a.count);
	for (unsigned t = 0; t < TEXTS; t++) {
		pg_array_finish(&a.texts[t], PG_TEXT, d->n);
		pg_put_array(&p, PG_TEXT_ARRAY, &a.texts[t]);
	}
	return pg_exec(pg, sql, &p, clock_ms() + ROUND_TRIP_MS, NULL);
}

int denials_write(struct denials *d, struct pg *pg)
{
	if (d->n == 0) {
		(void)merge_take(&d->noted, ROWS_A_TURN, take, d);
		take_dropped(d);
	}
	int err = d->n > 0 ? write_batch(d, pg) : 0;
	/* What the database refuses for good is let go. */
	if (err == 0 || err == ERR_INTERNAL)
		d->n = 0;
	return err;
}
