/* Readers: the next messages of queues, opened. */
#include <stdlib.h>

#include "server/base/clock.h"
#include "server/base/err.h"
#include "server/base/log.h"
#include "server/base/metrics.h"
#include "storage/private.h"
#include "storage/session_record.h"

#define ARRAY_CAP (64u * 1024)
#define PLAIN_CAP (1024u * 1024 * 1024)

enum { ORDINAL, TOTAL, N, DEVICE, KEY_ID, RECEIVED, EXPIRES, PACKET_ID, SEALED, WRAPPED };

#define DONE QUEUE_DONE("m")

/* Of each queue the rows asked for and one more, which tells that there are further ones; of those
 * the ones whose predecessors do not fill max_bytes. */
static const char sql[] =
        "SELECT u.o, q.total, q.n, q.device_key, q.key_id, q.received_at, q.expires_at,"
        " q.packet_id, q.sealed, k.wrapped"
        " FROM (SELECT unnest($1::bigint[]) AS queue, unnest($2::bigint[]) AS after,"
        " unnest($3::bigint[]) AS rows, unnest($4::bigint[]) AS bytes,"
        " unnest($5::bigint[]) AS o) u"
        " CROSS JOIN LATERAL (SELECT p.*, count(*) OVER () AS total, row_number() OVER w AS at,"
        " coalesce(sum(octet_length(p.sealed)) OVER w, 0) - coalesce(octet_length(p.sealed), 0)"
        " AS before FROM (SELECT * FROM holdfast.queue m WHERE m.queue = u.queue"
        " AND m.n > u.after AND NOT " DONE " ORDER BY m.n LIMIT u.rows + 1) p"
        " WINDOW w AS (ORDER BY p.n ROWS UNBOUNDED PRECEDING)) q"
        " LEFT JOIN holdfast.data_keys k ON k.device_key = q.device_key"
        " WHERE q.at <= u.rows AND (q.at = 1 OR q.before < u.bytes) ORDER BY u.o, q.n";

/* As the sweep does not leave them, but it may not have come by yet. */
static const char count_sql[] =
        "SELECT u.o, q.count, q.bytes"
        " FROM (SELECT unnest($1::bigint[]) AS queue, unnest($2::bigint[]) AS after,"
        " unnest($3::bigint[]) AS rows, unnest($4::bigint[]) AS bytes,"
        " unnest($5::bigint[]) AS o) u"
        " CROSS JOIN LATERAL (SELECT count(*), coalesce(sum(octet_length(p.sealed)), 0)::bigint"
        " AS bytes FROM (SELECT m.sealed FROM holdfast.queue m WHERE m.queue = u.queue"
        " AND m.n > u.after AND NOT " DONE " AND m.received_at >= $6 AND (m.expires_at IS NULL"
        " OR m.expires_at >= $7 OR m.sealed IS NULL OR m.packet_id IS NOT NULL)"
        " LIMIT u.rows) p) q";

struct opening {
	struct storage *s;
	const PGresult *res;
	uint64_t device_key; /* of the key at hand; 0: none */
	uint8_t key[CRYPTO_KEY_LEN];
	struct buf plain;
};

struct arrays {
	struct buf column[5];
};

static void arrays_done(struct arrays *a)
{
	for (unsigned i = 0; i < ARRAY_LEN(a->column); i++)
		buf_free(&a->column[i]);
}

static int fill(struct arrays *a, struct queue_load *const loads[], unsigned n)
{
	int err = 0;

	for (unsigned c = 0; c < ARRAY_LEN(a->column); c++) {
		buf_init(&a->column[c], ARRAY_CAP);
		if (err == 0)
			err = pg_array_start(&a->column[c]);
	}
	for (unsigned i = 0; i < n; i++) {
		const struct queue_load *q = loads[i];
		const int64_t values[] = {(int64_t)q->queue, (int64_t)q->after, q->max_rows,
		        q->max_bytes > INT32_MAX ? INT32_MAX : (int64_t)q->max_bytes, i};

		for (unsigned c = 0; err == 0 && c < ARRAY_LEN(values); c++)
			err = pg_array_i64(&a->column[c], values[c]);
	}
	for (unsigned c = 0; err == 0 && c < ARRAY_LEN(a->column); c++)
		pg_array_finish(&a->column[c], PG_INT8, n);
	return err;
}

static int run(struct storage *s, struct pg *pg, struct queue_load *const loads[], unsigned n,
        PGresult **ret)
{
	const char *text = loads[0]->count_only ? count_sql : sql;
	_cleanup_(arrays_done) struct arrays a = {0};
	struct pg_params p = {0};
	int err = fill(&a, loads, n);

	if (err < 0)
		return err;
	for (unsigned c = 0; c < ARRAY_LEN(a.column); c++)
		pg_put_array(&p, PG_INT8_ARRAY, &a.column[c]);
	if (loads[0]->count_only) {
		pg_put_time(&p, queue_oldest_us(s));
		pg_put_time(&p, clock_steady_us());
	}
	return pg_exec(pg, text, &p, clock_ms() + s->lookup_ms, ret);
}

/* The key of the row's publisher, or NULL: it is gone, or its key was altered. */
static const uint8_t *key_of(struct opening *o, int row, const struct record_place *place)
{
	if (place->device_key == 0)
		return keyring_record_key(o->s->keyring);
	if (PQgetisnull(o->res, row, WRAPPED))
		return NULL;
	if (place->device_key == o->device_key)
		return o->key;
	o->device_key = 0;
	if (data_key_unwrap(o->s, place->device_key, place->key_id,
	            pg_get_bytes(o->res, row, WRAPPED), o->key) < 0)
		return NULL;
	o->device_key = place->device_key;
	return o->key;
}

static void note_corrupt(const struct record_place *place)
{
	metric_inc(METRIC_TELEMETRY_CORRUPT);
	log_error("a queued message was altered, moved or swapped: dropped",
	        F_U64("deviceKey", place->device_key), F_I64("n", place->seq));
}

/* Opens the row's message into the entry. 0, also where it cannot be read, or ERR_NOMEM. */
static int open_message(
        struct opening *o, int row, const struct record_place *place, struct queue_entry *e)
{
	struct slice sealed = pg_get_bytes(o->res, row, SEALED);
	const uint8_t *key = key_of(o, row, place);
	struct record r;

	if (!key) {
		if (!PQgetisnull(o->res, row, WRAPPED))
			note_corrupt(place);
		return 0;
	}
	buf_truncate(&o->plain, 0);
	uint8_t *plain = buf_reserve(&o->plain, sealed.n + 1);
	if (!plain)
		return ERR_NOMEM;
	int err = record_open(sealed, place, key, plain, &r);
	if (err == 0)
		err = delivery_decode(r.extra, e);
	if (err == ERR_CORRUPT)
		note_corrupt(place);
	if (err < 0)
		return err == ERR_NOMEM ? err : 0;
	e->msg = message_from(&r, place->device_key);
	if (!e->msg)
		return ERR_NOMEM;
	e->msg->received_us = place->received_us;
	if (!PQgetisnull(o->res, row, EXPIRES))
		message_set_expiry(e->msg, pg_get_time(o->res, row, EXPIRES));
	return 0;
}

static int read_entry(struct opening *o, int row, uint64_t queue, struct queue_entry *e)
{
	const struct record_place place = {
	        .device_key = (uint64_t)pg_get_i64(o->res, row, DEVICE),
	        .key_id = pg_get_i64(o->res, row, KEY_ID),
	        .seq = pg_get_i64(o->res, row, N),
	        .received_us = pg_get_time(o->res, row, RECEIVED),
	        .kind = RECORD_QUEUED,
	        .owner = queue,
	};

	e->n = (uint64_t)place.seq;
	e->qos = 1;
	if (!PQgetisnull(o->res, row, PACKET_ID)) {
		e->packet_id = (uint16_t)pg_get_i32(o->res, row, PACKET_ID);
		e->qos = 2;
	}
	e->released = PQgetisnull(o->res, row, SEALED);
	return e->released ? 0 : open_message(o, row, &place, e);
}

/* The rows of one load, *row on. */
static int read_load(struct opening *o, int *row, int64_t ordinal, struct queue_load *q)
{
	int first = *row, end = first, err = 0;

	while (end < PQntuples(o->res) && pg_get_i64(o->res, end, ORDINAL) == ordinal)
		end++;
	*row = end;
	if (end == first)
		return 0;
	q->entries = calloc((size_t)(end - first), sizeof(*q->entries));
	if (!q->entries)
		return ERR_NOMEM;
	for (int i = first; err == 0 && i < end; i++)
		err = read_entry(o, i, q->queue, &q->entries[q->n++]);
	if (err < 0) {
		queue_entries_free(q->entries, q->n);
		q->entries = NULL;
		q->n = 0;
		return err;
	}
	q->more = pg_get_i64(o->res, first, TOTAL) > end - first;
	return 0;
}

static int count(struct storage *s, struct pg *pg, struct queue_load *const loads[], unsigned n)
{
	_cleanup_result_ PGresult *res = NULL;
	int err = run(s, pg, loads, n, &res);

	for (int row = 0; err == 0 && row < PQntuples(res); row++) {
		struct queue_load *q = loads[pg_get_i64(res, row, ORDINAL)];

		q->count = (unsigned)pg_get_i64(res, row, 1);
		q->bytes = (size_t)pg_get_i64(res, row, 2);
		q->req.err = 0;
	}
	return err;
}

static int load(struct storage *s, struct pg *pg, struct queue_load *const loads[], unsigned n)
{
	_cleanup_result_ PGresult *res = NULL;
	int row = 0, err = run(s, pg, loads, n, &res);

	if (err < 0)
		return err;
	struct opening o = {.s = s, .res = res};
	buf_init(&o.plain, PLAIN_CAP);
	for (unsigned i = 0; i < n; i++)
		loads[i]->req.err = read_load(&o, &row, i, loads[i]);
	buf_wipe(&o.plain);
	crypto_wipe(o.key, sizeof(o.key));
	return 0;
}

int queue_loads_serve(
        struct storage *s, struct pg *pg, struct queue_load *const loads[], unsigned n)
{
	struct queue_load *reads[QUEUE_LOADS], *counts[QUEUE_LOADS];
	unsigned n_reads = 0, n_counts = 0;
	int err = 0;

	for (unsigned i = 0; i < n; i++) {
		if (loads[i]->count_only)
			counts[n_counts++] = loads[i];
		else
			reads[n_reads++] = loads[i];
	}
	if (n_reads > 0)
		err = load(s, pg, reads, n_reads);
	if (err == 0 && n_counts > 0)
		err = count(s, pg, counts, n_counts);
	return err;
}
