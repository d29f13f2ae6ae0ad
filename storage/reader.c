/*
 * Readers answer look-ups of identities and of QoS 2 packet ids: all that wait go into one query of
 * each kind. With the database away they say so at once; whoever asks decides how long to hope.
 */
#include <poll.h>
#include <stdlib.h>

#include "server/base/clock.h"
#include "server/base/err.h"
#include "server/base/log.h"
#include "server/base/map.h"
#include "storage/private.h"

#define BATCH 128
#define IDLE_MS 1000
#define RETRY_MS 200
#define ARRAY_CAP (8u * 1024 * 1024)

/* What waits, by kind. */
enum kind { DEVICES, KEYS, CERTIFICATES, LOADS, QUEUES, KINDS };

struct queue {
	struct mail *first, **end;
};

struct reader {
	struct storage *s;
	pthread_t thread;
	bool running;
	struct mailbox box;
	struct mail stop_mail;
	struct pg pg;
	uint64_t next_try_ms;
	struct queue queues[KINDS];
};

/* ---- making, asking ---- */

static void nothing(struct mail *m HF_UNUSED)
{
}

int reader_new(struct storage *s, struct reader **ret)
{
	struct reader *r = calloc(1, sizeof(*r));

	if (!r)
		return ERR_NOMEM;
	r->s = s;
	r->pg.stop = &s->quit;
	r->stop_mail.deliver = nothing;
	for (unsigned i = 0; i < KINDS; i++)
		r->queues[i].end = &r->queues[i].first;
	int err = mailbox_init(&r->box);
	if (err < 0) {
		reader_free(r);
		return err;
	}
	*ret = r;
	return 0;
}

void reader_free(struct reader *r)
{
	if (!r)
		return;
	(void)mailbox_take(&r->box);
	mailbox_done(&r->box);
	pg_close(&r->pg);
	free(r);
}

static void take(struct reader *r, enum kind kind, struct mail *m)
{
	m->next = NULL;
	*r->queues[kind].end = m;
	r->queues[kind].end = &m->next;
}

static void take_lookup(struct mail *m)
{
	struct identity_lookup *l = container_of(m, struct identity_lookup, mail);

	enum kind kind = l->kind == ENTITY_KEY  ? KEYS
	        : l->kind == ENTITY_CERTIFICATE ? CERTIFICATES
	                                        : DEVICES;

	take(l->store.owner, kind, m);
}

static void take_load(struct mail *m)
{
	take(container_of(m, struct qos2_load, mail)->store.owner, LOADS, m);
}

static void take_queue(struct mail *m)
{
	take(container_of(m, struct queue_load, req.mail)->req.store.owner, QUEUES, m);
}

static struct reader *reader_of(struct storage *s, const void *p, size_t n)
{
	return s->readers[hash_bytes(p, n) % READERS];
}

void readers_lookup(void *ctx, struct identity_lookup *l)
{
	struct reader *r = reader_of(ctx, l->id, strlen(l->id));

	l->store.deliver = l->mail.deliver;
	l->store.owner = r;
	l->mail.deliver = take_lookup;
	mail_post(&r->box, &l->mail);
}

void readers_load(void *ctx, struct qos2_load *l)
{
	struct reader *r = reader_of(ctx, &l->device_key, sizeof(l->device_key));

	l->ids = NULL;
	l->n = 0;
	l->store.deliver = l->mail.deliver;
	l->store.owner = r;
	l->mail.deliver = take_load;
	mail_post(&r->box, &l->mail);
}

void readers_queue_load(struct storage *s, struct queue_load *q)
{
	struct reader *r = reader_of(s, &q->queue, sizeof(q->queue));

	q->req.store.owner = r;
	q->req.mail.deliver = take_queue;
	mail_post(&r->box, &q->req.mail);
}

/* ---- one group of requests of a kind ---- */

struct group {
	union {
		struct identity_lookup *lookups[BATCH];
		struct qos2_load *loads[BATCH];
		struct queue_load *queues[BATCH];
	};
	unsigned n;
};

static void next_group(struct queue *q, enum kind kind, struct group *g)
{
	unsigned most = kind == QUEUES ? QUEUE_LOADS : BATCH;

	g->n = 0;
	while (q->first && g->n < most) {
		struct mail *m = q->first;

		q->first = m->next;
		if (!q->first)
			q->end = &q->first;
		if (kind == LOADS)
			g->loads[g->n++] = container_of(m, struct qos2_load, mail);
		else if (kind == QUEUES)
			g->queues[g->n++] = container_of(m, struct queue_load, req.mail);
		else
			g->lookups[g->n++] = container_of(m, struct identity_lookup, mail);
	}
}

static void answer_lookup(struct identity_lookup *l, int err)
{
	l->err = err;
	l->mail.deliver = l->store.deliver;
	mail_post(l->reply_to, &l->mail);
}

static void answer_load(struct qos2_load *l, int err)
{
	l->err = err;
	l->mail.deliver = l->store.deliver;
	mail_post(l->reply_to, &l->mail);
}

static void answer_queue(struct queue_load *q, int err)
{
	q->req.err = err;
	q->req.mail.deliver = q->req.store.deliver;
	mail_post(q->req.reply_to, &q->req.mail);
}

static void refuse(const struct group *g, enum kind kind)
{
	for (unsigned i = 0; i < g->n; i++) {
		if (kind == LOADS)
			answer_load(g->loads[i], ERR_UNAVAILABLE);
		else if (kind == QUEUES)
			answer_queue(g->queues[i], ERR_UNAVAILABLE);
		else
			answer_lookup(g->lookups[i], ERR_UNAVAILABLE);
	}
}

/* ---- look-ups ---- */

/* What is asked of each kind, and which column has the id. */
static const struct {
	const char *sql;
	int id_column;
} lookups[] = {
        [DEVICES] = {"SELECT " DEVICE_COLUMNS " FROM " DEVICE_FROM " WHERE d.id = ANY($1::text[])",
                1},
        [KEYS] = {"SELECT " ACCESS_KEY_COLUMNS
                  " FROM holdfast.access_keys WHERE name = ANY($1::text[])",
                0},
        [CERTIFICATES] = {"SELECT " DOCUMENT_COLUMNS " FROM holdfast.documents o"
                          " WHERE o.kind = 'c' AND o.name = ANY($1::text[])",
                1},
};

static int lookup_query(struct reader *r, const struct group *g, enum kind kind, PGresult **ret)
{
	struct buf ids;
	struct pg_params p = {0};

	buf_init(&ids, ARRAY_CAP);
	int err = pg_array_start(&ids);
	for (unsigned i = 0; err == 0 && i < g->n; i++)
		err = pg_array_bytes(&ids, slice_str(g->lookups[i]->id));
	if (err == 0) {
		pg_array_finish(&ids, PG_TEXT, g->n);
		pg_put_array(&p, PG_TEXT_ARRAY, &ids);
		err = pg_exec(&r->pg, lookups[kind].sql, &p, clock_ms() + r->s->lookup_ms, ret);
	}
	buf_free(&ids);
	return err;
}

static int find_row(const PGresult *res, int column, const char *id)
{
	for (int i = 0; i < PQntuples(res); i++)
		if (slice_eq(pg_get_bytes(res, i, column), slice_str(id)))
			return i;
	return -1;
}

static int read_found(
        struct reader *r, enum kind kind, const PGresult *res, int row, struct identity_lookup *l)
{
	switch (kind) {
	case KEYS: return access_key_read(r->s, res, row, &l->key);
	case CERTIFICATES: return document_read(res, row, &l->certificate);
	default: return device_read(r->s, res, row, &l->device);
	}
}

static void answer_from(
        struct reader *r, const struct group *g, enum kind kind, const PGresult *res)
{
	for (unsigned i = 0; i < g->n; i++) {
		struct identity_lookup *l = g->lookups[i];
		int row = find_row(res, lookups[kind].id_column, l->id);
		int err = row >= 0 ? read_found(r, kind, res, row, l) : ERR_NOT_FOUND;

		if (err == ERR_CORRUPT)
			log_error("the keys of an identity in the database were altered",
			        F_STR("id", l->id));
		answer_lookup(l, err);
	}
}

static int serve_lookups(struct reader *r, const struct group *g, enum kind kind)
{
	_cleanup_result_ PGresult *res = NULL;
	int err = lookup_query(r, g, kind, &res);

	if (err == 0)
		answer_from(r, g, kind, res);
	return err;
}

/* ---- packet ids ---- */

static int load_query(struct reader *r, const struct group *g, PGresult **ret)
{
	static const char sql[] = "SELECT u.o, q.packet_id, q.tag, q.received_at FROM "
	                          "unnest($1::bigint[], $2::text[])"
	                          " WITH ORDINALITY u(d, s, o) JOIN holdfast.qos2_ids q"
	                          " ON q.device_key = u.d AND q.session = u.s ORDER BY u.o";
	struct buf devices, sessions;
	struct pg_params p = {0};

	buf_init(&devices, ARRAY_CAP);
	buf_init(&sessions, ARRAY_CAP);
	int err = pg_array_start(&devices);
	if (err == 0)
		err = pg_array_start(&sessions);
	for (unsigned i = 0; err == 0 && i < g->n; i++) {
		err = pg_array_i64(&devices, (int64_t)g->loads[i]->device_key);
		if (err == 0)
			err = pg_array_bytes(&sessions, g->loads[i]->session);
	}
	if (err == 0) {
		pg_array_finish(&devices, PG_INT8, g->n);
		pg_array_finish(&sessions, PG_TEXT, g->n);
		pg_put_array(&p, PG_INT8_ARRAY, &devices);
		pg_put_array(&p, PG_TEXT_ARRAY, &sessions);
		err = pg_exec(&r->pg, sql, &p, clock_ms() + r->s->lookup_ms, ret);
	}
	buf_free(&devices);
	buf_free(&sessions);
	return err;
}

/* The rows of one session, *row on. */
static int read_ids(const PGresult *res, int *row, int64_t ordinal, struct qos2_load *l)
{
	int end = *row;

	while (end < PQntuples(res) && pg_get_i64(res, end, 0) == ordinal)
		end++;
	if (end > *row && !(l->ids = calloc((size_t)(end - *row), sizeof(*l->ids))))
		return ERR_NOMEM;
	for (; *row < end; (*row)++) {
		struct slice tag = pg_get_bytes(res, *row, 2);
		struct qos2_id *id = &l->ids[l->n++];

		id->packet_id = (uint16_t)pg_get_i32(res, *row, 1);
		if (tag.n == sizeof(id->tag))
			memcpy(id->tag, tag.p, tag.n);
		id->received_us = PQgetisnull(res, *row, 3) ? 0 : pg_get_time(res, *row, 3);
	}
	return 0;
}

static int serve_loads(struct reader *r, const struct group *g)
{
	_cleanup_result_ PGresult *res = NULL;
	int row = 0, err = load_query(r, g, &res);

	for (unsigned i = 0; err == 0 && i < g->n; i++)
		answer_load(g->loads[i], read_ids(res, &row, (int64_t)i + 1, g->loads[i]));
	return err;
}

static int serve_queues(struct reader *r, const struct group *g)
{
	int err = queue_loads_serve(r->s, &r->pg, g->queues, g->n);

	for (unsigned i = 0; err == 0 && i < g->n; i++)
		answer_queue(g->queues[i], g->queues[i]->req.err);
	return err;
}

/* ---- the thread ---- */

static int reader_connect(struct reader *r)
{
	const struct pg_use use = {.name = "holdfast reader",
	        .connect_timeout_s = r->s->connect_timeout_s,
	        .statement_timeout_ms = r->s->lookup_ms};

	if (clock_ms() < r->next_try_ms)
		return ERR_UNAVAILABLE;
	int err = pg_open(&r->pg, r->s->url, &use, NULL, 0);
	r->next_try_ms = err < 0 ? clock_ms() + RETRY_MS : 0;
	return err;
}

static int serve_group(struct reader *r, const struct group *g, enum kind kind)
{
	switch (kind) {
	case LOADS: return serve_loads(r, g);
	case QUEUES: return serve_queues(r, g);
	default: return serve_lookups(r, g, kind);
	}
}

static void serve(struct reader *r, enum kind kind)
{
	struct group g;

	for (next_group(&r->queues[kind], kind, &g); g.n > 0;
	        next_group(&r->queues[kind], kind, &g)) {
		uint64_t start = clock_ms();
		int err = r->pg.conn || reader_connect(r) == 0 ? serve_group(r, &g, kind)
		                                               : ERR_UNAVAILABLE;

		/* A connection that was cut since the last query is worth another try, a database
		 * that does not answer is not. */
		if (err < 0 && clock_ms() - start < r->s->lookup_ms / 2) {
			pg_close(&r->pg);
			if (reader_connect(r) == 0)
				err = serve_group(r, &g, kind);
		}
		if (err < 0) {
			pg_close(&r->pg);
			refuse(&g, kind);
		}
		mail_flush();
	}
}

static void idle(struct reader *r)
{
	struct pollfd fds[2] = {
	        {.fd = r->box.efd, .events = POLLIN},
	        {.fd = r->pg.conn ? PQsocket(r->pg.conn) : -1, .events = POLLIN},
	};

	(void)poll(fds, 2, IDLE_MS);
	if (fds[1].revents && !pg_alive(&r->pg))
		pg_close(&r->pg);
}

static void *reader_main(void *arg)
{
	struct reader *r = arg;

	(void)reader_connect(r);
	while (!atomic_load(&r->s->quit.stopping)) {
		mailbox_run(&r->box);
		for (unsigned kind = 0; kind < KINDS; kind++)
			serve(r, (enum kind)kind);
		idle(r);
	}
	/* Everybody gets an answer. */
	mailbox_run(&r->box);
	for (unsigned kind = 0; kind < KINDS; kind++) {
		struct group g;

		for (next_group(&r->queues[kind], (enum kind)kind, &g); g.n > 0;
		        next_group(&r->queues[kind], (enum kind)kind, &g))
			refuse(&g, (enum kind)kind);
	}
	mail_flush();
	pg_close(&r->pg);
	crypto_thread_done();
	return NULL;
}

int reader_start(struct reader *r)
{
	r->running = pthread_create(&r->thread, NULL, reader_main, r) == 0;
	return r->running ? 0 : ERR_NOMEM;
}

void reader_join(struct reader *r)
{
	if (!r || !r->running)
		return;
	mail_send(&r->box, &r->stop_mail);
	pthread_join(r->thread, NULL);
	r->running = false;
}
