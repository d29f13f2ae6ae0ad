/*
 * The change feed: hears what any hub changes (LISTEN), and knows by a heartbeat through the same
 * connection until when it surely hears everything. After a gap it says that everything has to be
 * asked for again.
 */
#include <stdlib.h>

#include "server/base/clock.h"
#include "server/base/err.h"
#include "server/base/log.h"
#include "server/base/metrics.h"
#include "storage/private.h"

#define HEARTBEAT_MS 250
#define FRESH_MS 1000  /* the promise: a change is known within a second */
#define ANSWER_MS 2000 /* a connection that is silent for longer is given up */
#define CATCH_UP_MS 10000
#define RETRY_MS 200
#define GONE_BATCH 256 /* devices asked for in one query */

/* A generation that is said to be gone. */
struct gone {
	uint64_t device_key;
	char id[MODULE_ID_MAX + 1];
};

struct feed {
	struct storage *s;
	pthread_t thread;
	bool running;
	struct pg pg;
	_Atomic uint64_t fresh_until_ms, epoch;
	int64_t last_good_us; /* the database's clock at the last answered heartbeat; 0: none yet */
	struct gone *gone;    /* to be confirmed */
	size_t n_gone;
};

int feed_new(struct storage *s, struct feed **ret)
{
	struct feed *f = calloc(1, sizeof(*f));

	if (!f)
		return ERR_NOMEM;
	f->s = s;
	f->pg.stop = &s->quit;
	*ret = f;
	return 0;
}

void feed_free(struct feed *f)
{
	if (!f)
		return;
	pg_close(&f->pg);
	free(f->gone);
	free(f);
}

uint64_t feed_fresh_until(const struct feed *f)
{
	return atomic_load(&f->fresh_until_ms);
}

uint64_t feed_epoch(const struct feed *f)
{
	return atomic_load(&f->epoch);
}

static void set_fresh(struct feed *f, uint64_t until_ms)
{
	atomic_store(&f->fresh_until_ms, until_ms);
	metric_set(METRIC_FEED_UP, until_ms > 0);
}

/* ---- what changed ---- */

static void changed(
        struct feed *f, enum entity kind, struct slice id, uint64_t device_key, bool gone)
{
	const struct storage_changes *c = &f->s->changes;

	if (kind == ENTITY_DEVICE && device_key)
		lanes_forget(f->s, device_key);
	if (c->changed)
		c->changed(c->ctx, kind, id, device_key, gone);
}

/* "gd 123 id": gone or changed, what kind (enum entity), number, id; see migrations. Whoever may
 * connect to the database may notify: what does not read is left alone, and that a device is gone,
 * which would end its sessions, has to be confirmed. That it changed makes everybody ask, and harms
 * nobody. */
static void hear(struct feed *f, const char *payload)
{
	char *end;

	if ((payload[0] != 'g' && payload[0] != 'c') || !entity_valid(payload[1]) ||
	        payload[2] != ' ' || payload[3] < '0' || payload[3] > '9')
		return;
	uint64_t device_key = strtoull(payload + 3, &end, 10);
	if (*end != ' ' || strlen(end + 1) > MODULE_ID_MAX)
		return;
	enum entity kind = (enum entity)payload[1];
	bool is_gone = payload[0] == 'g', is_device = kind == ENTITY_DEVICE;

	changed(f, kind, slice_str(end + 1), device_key, !is_device && is_gone);
	if (!is_device || !is_gone)
		return;
	struct gone *grown = realloc(f->gone, (f->n_gone + 1) * sizeof(*grown));
	if (!grown) /* whoever is asked because of the change finds it out */
		return;
	f->gone = grown;
	grown[f->n_gone].device_key = device_key;
	snprintf(grown[f->n_gone++].id, sizeof(grown->id), "%s", end + 1);
}

static bool hear_all(struct feed *f)
{
	PGnotify *n;
	bool any = false;

	while ((n = PQnotifies(f->pg.conn))) {
		any = true;
		hear(f, n->extra);
		PQfreemem(n);
	}
	return any;
}

/* ---- is it gone? ---- */

/* Which of them are there all the same? Not the tombstones are asked: what an operator deletes by
 * hand is gone as well. */
static int ask_for_gone(struct feed *f, const struct gone *gone, unsigned n, PGresult **ret)
{
	struct buf keys;
	struct pg_params p = {0};

	buf_init(&keys, PG_ARRAY_HEAD + GONE_BATCH * 16);
	int err = pg_array_start(&keys);
	for (unsigned i = 0; err == 0 && i < n; i++)
		err = pg_array_i64(&keys, (int64_t)gone[i].device_key);
	if (err == 0) {
		pg_array_finish(&keys, PG_INT8, n);
		pg_put_array(&p, PG_INT8_ARRAY, &keys);
		err = pg_exec(&f->pg,
		        "SELECT device_key FROM holdfast.devices WHERE device_key = ANY ($1)", &p,
		        clock_ms() + ANSWER_MS, ret);
	}
	buf_free(&keys);
	return err;
}

static bool is_there(const PGresult *r, uint64_t device_key)
{
	for (int i = 0; i < PQntuples(r); i++)
		if ((uint64_t)pg_get_i64(r, i, 0) == device_key)
			return true;
	return false;
}

static int confirm_batch(struct feed *f, const struct gone *gone, unsigned n)
{
	_cleanup_result_ PGresult *r = NULL;
	uint64_t forged = 0;
	int err = ask_for_gone(f, gone, n, &r);

	for (unsigned i = 0; err == 0 && i < n; i++) {
		bool there = is_there(r, gone[i].device_key);

		if (!there)
			changed(f, ENTITY_DEVICE, slice_str(gone[i].id), gone[i].device_key, true);
		forged += there;
	}
	if (forged)
		log_warn("somebody forged messages that devices are gone: left alone",
		        F_U64("count", forged));
	return err;
}

/* What is not confirmed because the connection is lost is found out by the catching up. */
static int confirm_gone(struct feed *f)
{
	int err = 0;

	for (size_t at = 0; err == 0 && at < f->n_gone; at += GONE_BATCH) {
		size_t left = f->n_gone - at;

		err = confirm_batch(
		        f, f->gone + at, (unsigned)(left < GONE_BATCH ? left : GONE_BATCH));
	}
	free(f->gone);
	f->gone = NULL;
	f->n_gone = 0;
	return err;
}

/* ---- after a gap ---- */

static int read_tombstones(struct feed *f)
{
	_cleanup_result_ PGresult *r = NULL;
	struct pg_params p = {0};

	/* A minute more: of a deletion the beginning of its transaction is what is noted. */
	pg_put_time(&p, f->last_good_us - 60 * 1000000LL);
	int err = pg_exec(&f->pg,
	        "SELECT device_key, id FROM holdfast.device_tombstones WHERE deleted_at > $1", &p,
	        clock_ms() + CATCH_UP_MS, &r);
	for (int i = 0; err == 0 && i < PQntuples(r); i++)
		changed(f, ENTITY_DEVICE, pg_get_bytes(r, i, 1), (uint64_t)pg_get_i64(r, i, 0),
		        true);
	return err;
}

/* Before the first time nobody was let in; but what is read whole at the start may have been read
 * before anything was heard. */
static int catch_up(struct feed *f)
{
	int err = f->last_good_us ? read_tombstones(f) : 0;

	if (err < 0)
		return err;
	atomic_fetch_add(&f->epoch, 1);
	if (f->s->changes.resync)
		f->s->changes.resync(f->s->changes.ctx);
	if (f->last_good_us) {
		lanes_forget(f->s, 0);
		log_info("the change feed is back: every identity is asked for again");
	}
	return 0;
}

/* ---- the thread ---- */

static int beat(struct feed *f)
{
	_cleanup_result_ PGresult *r = NULL;
	uint64_t sent = clock_ms(), fresh_until = atomic_load(&f->fresh_until_ms);
	int err = pg_exec(&f->pg, "SELECT clock_timestamp()", NULL, sent + ANSWER_MS, &r);

	if (err < 0)
		return err;
	hear_all(f);
	/* Late: for a while others may have let in whom they should not. */
	if (clock_ms() >= fresh_until) {
		set_fresh(f, 0);
		err = catch_up(f);
		if (err < 0)
			return err;
		hear_all(f);
	}
	f->last_good_us = pg_get_time(r, 0, 0);
	set_fresh(f, sent + FRESH_MS);
	return 0;
}

/* Until the next heartbeat is due, or the connection is lost. */
static int listen_until(struct feed *f, uint64_t due_ms)
{
	int err = 0;

	while (err == 0) {
		/* The answer to a question may have brought more. */
		bool any = hear_all(f);

		err = confirm_gone(f);
		if (err == 0 && any && clock_ms() < due_ms)
			continue;
		if (err == 0)
			err = pg_wait(&f->pg, false, due_ms);
		if (PQstatus(f->pg.conn) != CONNECTION_OK)
			return ERR_UNAVAILABLE;
	}
	return err == ERR_TIMEOUT ? 0 : err;
}

static int feed_connect(struct feed *f)
{
	const struct pg_use use = {
	        .name = "holdfast feed", .connect_timeout_s = f->s->connect_timeout_s};
	int err = pg_open(&f->pg, f->s->url, &use, NULL, 0);

	return err < 0 ? err : pg_script(&f->pg, "LISTEN holdfast_changes", clock_ms() + ANSWER_MS);
}

static void follow(struct feed *f)
{
	int err = feed_connect(f);

	while (err == 0 && !atomic_load(&f->s->quit.stopping)) {
		uint64_t due = clock_ms() + HEARTBEAT_MS;

		err = beat(f);
		if (err == 0)
			err = listen_until(f, due);
	}
	if (err < 0 && atomic_load(&f->fresh_until_ms) > 0)
		log_warn("the change feed is down: nobody is let in until it is back");
	set_fresh(f, 0);
	pg_close(&f->pg);
}

static void *feed_main(void *arg)
{
	struct feed *f = arg;

	while (!atomic_load(&f->s->quit.stopping)) {
		follow(f);
		for (unsigned ms = 0; ms < RETRY_MS && !atomic_load(&f->s->quit.stopping); ms += 20)
			usleep(20000);
	}
	crypto_thread_done();
	return NULL;
}

int feed_start(struct feed *f)
{
	f->running = pthread_create(&f->thread, NULL, feed_main, f) == 0;
	return f->running ? 0 : ERR_NOMEM;
}

void feed_join(struct feed *f)
{
	if (!f || !f->running)
		return;
	pthread_join(f->thread, NULL);
	f->running = false;
}
