/*
 * The store stage alone: rows through the lanes' port (sealed, committed, answered), and messages
 * that are queued and then removed again (two commits), beside a bare INSERT … unnest and a binary
 * COPY of rows of the same size in the same batches, over as many connections as there are lanes,
 * in interleaved rounds. Prints rows a second, their ratio, and the processor time of this process
 * for a row. store_bench OWNER_URL HUB_URL FOLDER [rows] [rounds] OWNER_URL, HUB_URL: an empty
 * database, an owner's and the hub's role of it. FOLDER: with the files master.key, owner.token and
 * owner.connection.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "server/base/cleanup.h"
#include "server/base/clock.h"
#include "server/base/crypto.h"
#include "server/base/metrics.h"
#include "storage/pg.h"
#include "storage/storage.h"

#define LANES 2
#define DEVICES 100
#define PAYLOAD 200
#define BATCH 1024
#define WAVE (BATCH * LANES)
#define SEALED (PAYLOAD + 68) /* bytes of a sealed row of this size */

struct bench {
	const char *owner_url, *hub_url;
	unsigned rows;
	struct storage *storage;
	struct telemetry_store store;
	struct session_store sessions;
	uint64_t devices[DEVICES];
	struct mailbox box;
};

struct result {
	double seconds, cpu;
};

static void die(const char *what)
{
	fprintf(stderr, "store_bench: %s\n", what);
	exit(1);
}

static double cpu_seconds(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
	        (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

/* ---- through the lanes ---- */

struct flight {
	struct telemetry_row row;
	struct queue_append append;
	struct queue_write removal;
	struct bench *bench;
	unsigned *answered;
};

static void answered(struct mail *m)
{
	struct flight *f = container_of(m, struct flight, row.mail);

	if (f->row.err != 0)
		die("a row was not stored");
	++*f->answered;
}

static void send_row(struct bench *b, struct flight *f, unsigned i)
{
	f->row.mail.deliver = answered;
	f->row.reply_to = &b->box;
	f->row.device_key = b->devices[i % DEVICES];
	f->row.msg->received_us = clock_wall_us();
	b->store.append(b->store.ctx, &f->row);
}

static void removed(struct mail *m)
{
	struct flight *f = container_of(m, struct flight, removal.req.mail);

	if (f->removal.req.err != 0)
		die("a message was not removed");
	++*f->answered;
}

static void queued(struct mail *m)
{
	struct flight *f = container_of(m, struct flight, append.req.mail);

	if (f->append.req.err != 0)
		die("a message was not queued");
	f->removal = (struct queue_write){
	        .req = {.mail = {.deliver = removed}, .reply_to = &f->bench->box},
	        .op = QUEUE_REMOVE,
	        .queue = f->append.queue,
	        .n = f->append.n,
	};
	f->bench->sessions.queue_write(f->bench->sessions.ctx, &f->removal);
}

/* Of the device, to a queue of its own. */
static void send_queued(struct bench *b, struct flight *f, unsigned i)
{
	static uint64_t n;

	f->row.msg->device_key = b->devices[i % DEVICES];
	f->row.msg->received_us = clock_wall_us();
	f->append = (struct queue_append){
	        .req = {.mail = {.deliver = queued}, .reply_to = &b->box},
	        .queue = COMMAND_QUEUE(b->devices[i % DEVICES]),
	        .n = ++n,
	        .msg = f->row.msg,
	        .qos = 1,
	};
	b->sessions.queue_append(b->sessions.ctx, &f->append);
}

/* In waves of half: while one is answered, the other is under way. A row is used again when its
 * whole half was answered. */
static void wait_for(struct bench *b, const unsigned *done, unsigned n)
{
	while (*done < n)
		if (mailbox_wait(&b->box, 1000)) {
			mailbox_run(&b->box);
			mail_flush();
		}
}

static void run_lanes(struct bench *b, void (*send)(struct bench *b, struct flight *f, unsigned i))
{
	static struct flight flights[2][WAVE];
	unsigned done[2] = {0}, sent[2] = {0};
	char payload[PAYLOAD];

	memset(payload, '7', sizeof(payload));
	for (unsigned i = 0; i < 2 * WAVE; i++) {
		struct flight *f = &flights[i / WAVE][i % WAVE];

		f->answered = &done[i / WAVE];
		f->bench = b;
		f->row.msg = msg_new(SLICE_LIT("devices/d001/messages/events/"), SLICE_LIT(""),
		        slice_make(payload, sizeof(payload)));
		f->row.topic = msg_topic(f->row.msg);
		f->row.msg->qos = 1;
	}
	for (unsigned wave = 0; sent[0] + sent[1] < b->rows; wave++) {
		unsigned half = wave % 2;

		wait_for(b, &done[half], sent[half]);
		for (unsigned i = 0; i < WAVE; i++)
			send(b, &flights[half][i], i);
		sent[half] += WAVE;
		mail_flush();
	}
	for (unsigned half = 0; half < 2; half++)
		wait_for(b, &done[half], sent[half]);
	for (unsigned i = 0; i < 2 * WAVE; i++)
		msg_unref(flights[i / WAVE][i % WAVE].row.msg);
}

/* ---- bare ---- */

enum bare { BARE_INSERT, BARE_COPY };

struct worker {
	pthread_t thread;
	struct bench *b;
	enum bare kind;
	unsigned index, rows;
};

static PGresult *checked(PGconn *conn, PGresult *r)
{
	ExecStatusType status = PQresultStatus(r);

	if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK && status != PGRES_COPY_IN)
		die(PQerrorMessage(conn));
	return r;
}

static void insert_batch(PGconn *conn, struct buf columns[5], unsigned n)
{
	static const enum pg_type types[5] = {PG_INT8, PG_TIMESTAMPTZ, PG_INT8, PG_INT8, PG_BYTEA};
	const char *values[5];
	int lengths[5];

	for (unsigned c = 0; c < 5; c++) {
		pg_array_finish(&columns[c], types[c], n);
		values[c] = (const char *)columns[c].data + columns[c].start;
		lengths[c] = (int)buf_len(&columns[c]);
	}
	PQclear(checked(conn, PQexecPrepared(conn, "i", 5, values, lengths, pg_binary, 1)));
}

static void copy_batch(PGconn *conn, const struct buf *out)
{
	PQclear(checked(conn, PQexec(conn, "COPY holdfast.telemetry FROM STDIN (FORMAT binary)")));
	if (PQputCopyData(conn, (const char *)out->data + out->start, (int)buf_len(out)) != 1 ||
	        PQputCopyEnd(conn, NULL) != 1)
		die(PQerrorMessage(conn));
	PQclear(checked(conn, PQgetResult(conn)));
	PQclear(PQgetResult(conn));
}

static void fill_insert(struct buf c[5], const int64_t v[4], struct slice sealed)
{
	for (unsigned i = 0; i < 4; i++)
		pg_array_i64(&c[i], v[i]);
	pg_array_bytes(&c[4], sealed);
}

static void fill_copy(struct buf *out, const int64_t v[4], struct slice sealed)
{
	static const uint8_t fields[2] = {0, 5};

	buf_append(out, fields, 2);
	for (unsigned i = 0; i < 4; i++)
		pg_array_i64(out, v[i]);
	pg_array_bytes(out, sealed);
}

static void *bare_main(void *arg)
{
	static const uint8_t copy_head[19] = "PGCOPY\n\377\r\n";
	static _Atomic int64_t seq = 1LL << 40; /* clear of the lanes' numbers */
	struct worker *w = arg;
	PGconn *conn = PQconnectdb(w->b->hub_url);
	struct buf c[5], copy;
	uint8_t sealed[SEALED];

	for (unsigned i = 0; i < 5; i++)
		buf_init(&c[i], 1 << 26);
	buf_init(&copy, 1 << 26);
	PQclear(checked(conn,
	        PQprepare(conn, "i",
	                "INSERT INTO holdfast.telemetry (device_key, received_at, seq, key_id,"
	                " sealed) SELECT unnest($1::bigint[]), unnest($2::timestamptz[]),"
	                " unnest($3::bigint[]), unnest($4::bigint[]), unnest($5::bytea[])",
	                0, NULL)));
	crypto_random(sealed, sizeof(sealed));
	for (unsigned at = 0; at < w->rows; at += BATCH) {
		for (unsigned i = 0; i < 5; i++)
			pg_array_start(&c[i]);
		buf_truncate(&copy, 0);
		buf_append(&copy, copy_head, sizeof(copy_head));
		for (unsigned i = 0; i < BATCH; i++) {
			const int64_t v[4] = {
			        (int64_t)w->b->devices[(i * LANES + w->index) % DEVICES],
			        clock_wall_us() - PG_EPOCH_US, seq++, 1};

			if (w->kind == BARE_INSERT)
				fill_insert(c, v, slice_make(sealed, sizeof(sealed)));
			else
				fill_copy(&copy, v, slice_make(sealed, sizeof(sealed)));
		}
		if (w->kind == BARE_INSERT)
			insert_batch(conn, c, BATCH);
		else
			copy_batch(conn, &copy);
	}
	for (unsigned i = 0; i < 5; i++)
		buf_free(&c[i]);
	buf_free(&copy);
	PQfinish(conn);
	crypto_thread_done();
	return NULL;
}

static void run_bare(struct bench *b, enum bare kind)
{
	struct worker workers[LANES];

	for (unsigned i = 0; i < LANES; i++) {
		workers[i] = (struct worker){
		        .b = b, .kind = kind, .index = i, .rows = b->rows / LANES};
		if (pthread_create(&workers[i].thread, NULL, bare_main, &workers[i]) != 0)
			die("no thread");
	}
	for (unsigned i = 0; i < LANES; i++)
		pthread_join(workers[i].thread, NULL);
}

/* ---- rounds ---- */

static void set_up(struct bench *b, const char *folder)
{
	static const struct storage_changes none;
	char files[3][512], error[STORAGE_ERROR_LEN];
	const char *const names[3] = {"master.key", "owner.token", "owner.connection"};

	for (unsigned i = 0; i < 3; i++)
		snprintf(files[i], sizeof(files[i]), "%s/%s", folder, names[i]);
	const struct storage_settings settings = {.url = b->hub_url,
	        .owner_url = b->owner_url,
	        .master_key_file = files[0],
	        .owner_token_file = files[1],
	        .owner_connection_file = files[2],
	        .connect_timeout_s = 5,
	        .lanes = LANES,
	        .batch_rows = BATCH,
	        .batch_bytes = 2 << 20,
	        .queue_bytes = 64 << 20,
	        .retention_days = 90,
	        .lookup_ms = 5000};
	if (storage_migrate(b->owner_url, b->hub_url, "migrations", error) < 0 ||
	        storage_open(&settings, &b->storage, error) < 0)
		die(error);
	if (storage_start(b->storage, &none) < 0 || mailbox_init(&b->box) < 0)
		die("the store does not start");
	b->store = storage_telemetry(b->storage);
	b->sessions = storage_sessions(b->storage);
	struct registry_store registry = storage_registry(b->storage);
	for (unsigned i = 0; i < DEVICES; i++) {
		struct device_record d = {.enabled = true, .primary.len = 64, .secondary.len = 64};

		snprintf(d.id, sizeof(d.id), "bench-%u", i);
		if (registry.device_insert(registry.ctx, &d) < 0)
			die("a device cannot be made");
		b->devices[i] = d.device_key;
	}
}

enum { LANES_ROWS, LANES_QUEUED, INSERT, COPY, MEASURED };

static struct result timed(struct bench *b, int kind)
{
	double cpu = cpu_seconds();
	uint64_t start = clock_us();

	if (kind == LANES_ROWS || kind == LANES_QUEUED)
		run_lanes(b, kind == LANES_ROWS ? send_row : send_queued);
	else
		run_bare(b, kind == INSERT ? BARE_INSERT : BARE_COPY);
	return (struct result){(double)(clock_us() - start) / 1e6, cpu_seconds() - cpu};
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *v, unsigned n)
{
	qsort(v, n, sizeof(*v), by_value);
	return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

#define MAX_ROUNDS 99

int main(int argc, char **argv)
{
	static const char *const names[MEASURED] = {"lanes", "queued", "insert", "copy"};
	static double rate[MEASURED][MAX_ROUNDS], cpu[MEASURED][MAX_ROUNDS], ratio[2][MAX_ROUNDS];
	struct bench b = {.rows = 100 * BATCH};
	unsigned rounds = 5;

	if (argc < 4)
		die("usage: store_bench OWNER_URL HUB_URL FOLDER [rows] [rounds]");
	b.owner_url = argv[1];
	b.hub_url = argv[2];
	if (argc > 4)
		b.rows = (unsigned)strtoul(argv[4], NULL, 10) / (BATCH * LANES) * BATCH * LANES;
	if (argc > 5)
		rounds = (unsigned)strtoul(argv[5], NULL, 10);
	if (b.rows == 0 || rounds == 0 || rounds > MAX_ROUNDS || crypto_init() < 0)
		die("rows and rounds must be positive, rounds at most 99");
	set_up(&b, argv[3]);
	for (unsigned r = 0; r < rounds; r++) {
		for (int kind = 0; kind < MEASURED; kind++) {
			struct result t = timed(&b, kind);

			rate[kind][r] = b.rows / t.seconds;
			cpu[kind][r] = t.cpu * 1e6 / b.rows;
		}
		ratio[0][r] = rate[LANES_ROWS][r] / rate[INSERT][r];
		ratio[1][r] = rate[LANES_ROWS][r] / rate[COPY][r];
	}
	for (int kind = 0; kind < MEASURED; kind++)
		printf("%-7s %8.0f rows/s  client %.2f us/row\n", names[kind],
		        median(rate[kind], rounds), median(cpu[kind], rounds));
	printf("lanes/insert %.2f  lanes/copy %.2f\n", median(ratio[0], rounds),
	        median(ratio[1], rounds));
	storage_stop(b.storage, clock_ms() + 5000);
	storage_free(b.storage);
	mailbox_done(&b.box);
	crypto_thread_done();
	return 0;
}
