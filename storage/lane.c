/* A lane's thread: takes what waits, has it stored, answers. */
#include "storage/lane.h"

#include <poll.h>
#include <stdlib.h>
#include <time.h>

#include "server/base/clock.h"
#include "server/base/err.h"
#include "server/base/log.h"
#include "server/base/map.h"
#include "server/base/metrics.h"

#define IDLE_MS 1000
#define STUCK_MS 2000
#define RELEASE_BYTES 64 /* what a release counts for in a batch */
/* Batches of one lane begin at least this far apart while that makes them larger: a commit costs
 * the same for one row as for ten. */
#define PACE_US 3000
#define PACE_GAIN 2  /* requests that have to come in a wait to make it worth while */
#define PACE_REST 64 /* batches that are not held back after a wait that was not */

/* ---- making and freeing ---- */

static void nothing(struct mail *m HF_UNUSED)
{
}

int lane_new(struct storage *s, unsigned index, struct lane **ret)
{
	struct lane *l = calloc(1, sizeof(*l));

	if (!l)
		return ERR_NOMEM;
	l->s = s;
	l->index = index;
	l->end = &l->first;
	l->pg.stop = &s->stop;
	l->stop_mail.deliver = nothing;
	pthread_mutex_init(&l->forget.mutex, NULL);
	for (unsigned i = 0; i < COLUMNS; i++)
		buf_init(&l->part[i], UINT32_MAX);
	int err = mailbox_init(&l->box);
	if (err == 0)
		err = batch_init(&l->batch, s->batch_rows);
	if (err == 0)
		err = dek_cache_init(&l->deks);
	if (err < 0) {
		lane_free(l);
		return err;
	}
	*ret = l;
	return 0;
}

void lane_free(struct lane *l)
{
	if (!l)
		return;
	/* What came after the thread ended has nobody left to answer to. */
	(void)mailbox_take(&l->box);
	mailbox_done(&l->box);
	lane_disconnect(l);
	batch_done(&l->batch);
	for (unsigned i = 0; i < COLUMNS; i++)
		buf_wipe(&l->part[i]);
	dek_cache_done(&l->deks);
	pthread_mutex_destroy(&l->forget.mutex);
	free(l);
}

/* ---- any thread ---- */

static struct lane *lane_of(struct storage *s, uint64_t device_key)
{
	return s->lanes[hash_stable(&device_key, sizeof(device_key)) % s->n_lanes];
}

static void forget(struct lane *l, uint64_t device_key)
{
	pthread_mutex_lock(&l->forget.mutex);
	if (device_key == 0 || l->forget.n == FORGET_MAX)
		l->forget.all = true;
	else
		l->forget.keys[l->forget.n++] = device_key;
	atomic_store(&l->forget.any, true);
	pthread_mutex_unlock(&l->forget.mutex);
}

void lanes_forget(struct storage *s, uint64_t device_key)
{
	if (device_key != 0)
		forget(lane_of(s, device_key), device_key);
	else
		for (unsigned i = 0; i < s->n_lanes; i++)
			forget(s->lanes[i], 0);
}

bool lane_healthy(const struct lane *l)
{
	uint64_t busy = atomic_load(&l->busy_since_ms);

	return atomic_load(&l->up) && (busy == 0 || clock_ms() < busy + STUCK_MS);
}

static void take(struct lane *l, struct mail *m)
{
	m->next = NULL;
	*l->end = m;
	l->end = &m->next;
	l->taken++;
}

/* What the lane's mailbox delivers; which of the two also tells what a waiting mail is. */
static void take_row(struct mail *m)
{
	take(container_of(m, struct telemetry_row, mail)->store.owner, m);
}

static void take_release(struct mail *m)
{
	take(container_of(m, struct qos2_release, mail)->store.owner, m);
}

static size_t row_bytes(const struct telemetry_row *row)
{
	return sizeof(*row) + msg_size(row->msg);
}

static void count_backlog(struct storage *s, int64_t requests, int64_t bytes)
{
	atomic_fetch_add_explicit(&s->backlog_bytes, (size_t)bytes, memory_order_relaxed);
	metric_add(METRIC_STORE_BACKLOG, requests);
	metric_add(METRIC_STORE_BACKLOG_BYTES, bytes);
}

void lanes_append(void *ctx, struct telemetry_row *row)
{
	struct lane *l = lane_of(ctx, row->device_key);

	row->store.deliver = row->mail.deliver;
	row->store.owner = l;
	row->mail.deliver = take_row;
	count_backlog(l->s, 1, (int64_t)row_bytes(row));
	mail_post(&l->box, &row->mail);
}

void lanes_release(void *ctx, struct qos2_release *r)
{
	struct lane *l = lane_of(ctx, r->device_key);

	r->store.deliver = r->mail.deliver;
	r->store.owner = l;
	r->mail.deliver = take_release;
	count_backlog(l->s, 1, RELEASE_BYTES);
	mail_post(&l->box, &r->mail);
}

/* ---- the lane's thread: gathering ---- */

static void forget_due(struct lane *l)
{
	if (!atomic_load(&l->forget.any))
		return;
	pthread_mutex_lock(&l->forget.mutex);
	if (l->forget.all)
		dek_cache_drop_all(&l->deks);
	else
		for (unsigned i = 0; i < l->forget.n; i++)
			dek_cache_drop(&l->deks, l->forget.keys[i]);
	l->forget.n = 0;
	l->forget.all = false;
	atomic_store(&l->forget.any, false);
	pthread_mutex_unlock(&l->forget.mutex);
}

static void pop(struct lane *l)
{
	l->first = l->first->next;
	if (!l->first)
		l->end = &l->first;
}

/* Adds the oldest waiting request to the batch; false where the batch ends before it. */
static bool gather_one(struct lane *l)
{
	struct batch *b = &l->batch;
	struct item *item = &b->items[b->n];
	struct mail *m = l->first;
	size_t bytes = RELEASE_BYTES;

	*item = (struct item){0};
	if (m->deliver == take_row) {
		item->row = container_of(m, struct telemetry_row, mail);
		bytes = row_bytes(item->row);
	} else {
		item->release = container_of(m, struct qos2_release, mail);
		if (batch_conflicts(b, item->release))
			return false;
	}
	if (b->n > 0 && b->bytes + bytes > l->s->batch_bytes)
		return false;
	pop(l);
	if (item->row) {
		item->dek = dek_cache_get(&l->deks, item->row->device_key);
		b->n_rows++;
	}
	b->bytes += bytes;
	b->n++;
	return true;
}

static void gather(struct lane *l)
{
	batch_clear(&l->batch);
	while (l->first && l->batch.n < l->s->batch_rows && gather_one(l))
		;
}

/* Rows whose device has no data key any more: their generation is gone. */
static void resolve_keys(struct lane *l)
{
	for (unsigned i = 0; i < l->batch.n; i++) {
		struct item *item = &l->batch.items[i];

		if (!item->row || item->dek)
			continue;
		item->dek = dek_cache_get(&l->deks, item->row->device_key);
		item->err = item->dek ? 0 : ERR_NOT_FOUND;
	}
}

/* ---- storing and answering ---- */

/* Numbers, keys, seals: waits for the database and for memory as long as it takes. 0 or
 * ERR_TIMEOUT: the stop is due. */
static int seal(struct lane *l)
{
	int64_t seq = 0;

	for (unsigned backoff = 50; !pg_stop_due(&l->s->stop); storage_pause(l->s, backoff)) {
		int err = l->pg.conn || lane_connect(l) == 0 ? 0 : ERR_UNAVAILABLE;

		if (err == 0 && l->batch.n_rows > 0)
			err = lane_prepare(l, &seq);
		if (err == 0) {
			resolve_keys(l);
			err = batch_seal(l, seq);
		}
		if (err == 0)
			return 0;
		backoff = backoff < 1000 ? backoff * 2 : 1000;
	}
	return ERR_TIMEOUT;
}

static void answer(struct lane *l)
{
	struct batch *b = &l->batch;
	int64_t stored = 0, orphans = 0;

	for (unsigned i = 0; i < b->n; i++) {
		struct item *item = &b->items[i];

		if (item->release) {
			item->release->err = item->err;
			item->release->mail.deliver = item->release->store.deliver;
			mail_post(item->release->reply_to, &item->release->mail);
			continue;
		}
		stored += item->err == 0;
		orphans += item->err == ERR_NOT_FOUND;
		item->row->err = item->err;
		item->row->mail.deliver = item->row->store.deliver;
		mail_post(item->row->reply_to, &item->row->mail);
	}
	metric_add(METRIC_TELEMETRY_STORED, stored);
	metric_add(METRIC_TELEMETRY_ORPHAN, orphans);
	if (stored > 0)
		metric_add(METRIC_TELEMETRY_BYTES, (int64_t)buf_len(&b->columns[COL_SEALED]));
	count_backlog(l->s, -(int64_t)b->n, -(int64_t)b->bytes);
	mail_flush();
}

static int run_batch(struct lane *l)
{
	int err;

	atomic_store(&l->busy_since_ms, clock_ms());
	forget_due(l);
	gather(l);
	err = seal(l);
	/* Nothing to store where all rows are of devices that are gone. */
	if (err == 0 && (l->batch.sealed_rows > 0 || l->batch.n > l->batch.n_rows))
		err = lane_store(l, 0, l->batch.n);
	if (err == 0)
		answer(l);
	atomic_store(&l->busy_since_ms, 0);
	return err;
}

/* Waits for mail or until the connection ends. */
static void idle(struct lane *l)
{
	struct pollfd fds[2] = {
	        {.fd = l->box.efd, .events = POLLIN},
	        {.fd = l->pg.conn ? PQsocket(l->pg.conn) : -1, .events = POLLIN},
	};

	(void)poll(fds, 2, IDLE_MS);
	if (l->pg.conn && fds[1].revents &&
	        (!PQconsumeInput(l->pg.conn) || PQstatus(l->pg.conn) != CONNECTION_OK)) {
		log_warn("a storage lane lost its connection", F_U64("lane", l->index));
		lane_disconnect(l);
	}
}

/*
 * Gathers for a moment before a batch where batches would follow each other closely. The mailbox is
 * left alone meanwhile, so that senders do not wake this thread for every message. A client that
 * sends one message at a time gains nothing from it, and is soon let off.
 */
static void pace(struct lane *l)
{
	uint64_t now = clock_us(), due = l->started_us + PACE_US;

	if (l->pace_rest > 0) {
		l->pace_rest--;
	} else if (now < due && !atomic_load(&l->s->stop.stopping)) {
		uint64_t before = l->taken;
		struct timespec left = {.tv_nsec = (long)(due - now) * 1000};

		(void)nanosleep(&left, NULL);
		mailbox_run(&l->box);
		/* Little comes in a short wait even from many. */
		if (due - now >= PACE_US / 2 && l->taken - before < PACE_GAIN)
			l->pace_rest = PACE_REST;
	}
	l->started_us = clock_us();
}

static void *lane_main(void *arg)
{
	struct lane *l = arg;
	struct storage *s = l->s;
	uint64_t next_try = 0;
	int err = 0;

	while (err == 0) {
		mailbox_run(&l->box);
		if (l->first) {
			pace(l);
			err = run_batch(l);
			continue;
		}
		if (atomic_load(&s->stop.stopping))
			break;
		if (!l->pg.conn && clock_ms() >= next_try) {
			next_try = clock_ms() + IDLE_MS;
			if (lane_connect(l) == 0)
				continue;
		}
		idle(l);
	}
	if (err < 0)
		log_error("stopped before the database took all messages; none of them was "
		          "acknowledged",
		        F_U64("lane", l->index));
	lane_disconnect(l);
	crypto_thread_done();
	return NULL;
}

int lane_start(struct lane *l)
{
	l->running = pthread_create(&l->thread, NULL, lane_main, l) == 0;
	return l->running ? 0 : ERR_NOMEM;
}

void lane_join(struct lane *l)
{
	if (!l || !l->running)
		return;
	mail_send(&l->box, &l->stop_mail);
	pthread_join(l->thread, NULL);
	l->running = false;
}
