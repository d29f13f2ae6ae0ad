/* A lane's thread: takes what waits, has it stored, answers. */
#include "storage/lane.h"

#include <poll.h>
#include <stdlib.h>
#include <time.h>

#include "server/base/clock.h"
#include "server/base/err.h"
#include "server/base/log.h"
#include "server/base/metrics.h"

#define IDLE_MS 1000
#define STUCK_MS 2000
/* Batches of one lane begin at least this far apart while that makes them larger: a commit costs
 * the same for one row as for ten. */
#define PACE_US 3000
#define PACE_GAIN 2  /* requests that have to come in a wait to make it worth while */
#define PACE_REST 64 /* batches that are not held back after a wait that was not */

/* ---- making and freeing ---- */

static void expire_loads(void *arg);

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
	l->pg.tick = expire_loads;
	l->pg.tick_arg = l;
	l->stop_mail.deliver = nothing;
	pthread_mutex_init(&l->forget.mutex, NULL);
	for (unsigned i = 0; i < COLUMNS; i++)
		buf_init(&l->part[i], UINT32_MAX);
	for (unsigned i = 0; i < STAGE_COLUMNS; i++)
		buf_init(&l->stage[i], UINT32_MAX);
	buf_init(&l->extra, UINT32_MAX);
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
	for (unsigned i = 0; i < STAGE_COLUMNS; i++)
		buf_wipe(&l->stage[i]);
	buf_wipe(&l->extra);
	dek_cache_done(&l->deks);
	pthread_mutex_destroy(&l->forget.mutex);
	free(l);
}

/* ---- any thread ---- */

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

/* A device's messages wait in the queues of others: any lane may have its key. */
void lanes_forget(struct storage *s, uint64_t device_key)
{
	for (unsigned i = 0; i < s->n_lanes; i++)
		forget(s->lanes[i], device_key);
}

bool lane_healthy(const struct lane *l)
{
	uint64_t busy = atomic_load(&l->busy_since_ms);

	return atomic_load(&l->up) && (busy == 0 || clock_ms() < busy + STUCK_MS);
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

static bool find_key(struct lane *l, struct item *item)
{
	if (item->device_key == 0) {
		item->key = keyring_record_key(l->s->keyring);
		item->key_id = 0;
		return true;
	}
	const struct dek *dek = dek_cache_get(&l->deks, item->device_key);
	if (!dek)
		return false;
	item->key = dek->key;
	item->key_id = dek->key_id;
	return true;
}

/* Adds the oldest waiting request to the batch; false where the batch ends before it. */
static bool gather_one(struct lane *l)
{
	struct batch *b = &l->batch;
	struct item *item = &b->items[b->n];
	struct mail *m = l->first;
	enum kind kind = kind_of(m);
	const struct kind_info *info = &kinds[kind];
	size_t bytes = info->bytes(m);

	if (b->n > 0 && b->bytes + bytes > l->s->batch_bytes)
		return false;
	*item = (struct item){.mail = m,
	        .kind = (uint8_t)kind,
	        .device_key = info->device ? info->device(m) : NO_KEY,
	        .later = NO_ITEM};
	if (info->claim && !info->claim(b, item))
		return false;
	pop(l);
	if (item->device_key != NO_KEY)
		(void)find_key(l, item);
	b->n_rows += kind == KIND_ROW;
	b->n_loads += kind == KIND_LOAD;
	/* Rows have no part in the stages but by their packet ids: claim_row. */
	if (kind != KIND_ROW)
		b->kinds |= 1u << kind;
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

/* Those whose device has no data key any more: its generation is gone. */
static void resolve_keys(struct lane *l)
{
	for (unsigned i = 0; i < l->batch.n; i++) {
		struct item *item = &l->batch.items[i];

		if (item->key || item->device_key == NO_KEY)
			continue;
		item->err = find_key(l, item) || kinds[item->kind].lasting ? 0 : ERR_NOT_FOUND;
	}
}

/* ---- loads that wait too long ---- */

static void refuse_load(struct mail *m)
{
	struct queue_load *q = container_of(m, struct queue_load, req.mail);

	q->req.err = ERR_UNAVAILABLE;
	q->req.mail.deliver = q->req.store.deliver;
	mail_post(q->req.reply_to, m);
}

/* Notes when to look again; true: it has waited too long. */
static bool is_overdue(struct lane *l, const struct mail *m, uint64_t now)
{
	uint64_t due = container_of(m, const struct store_request, mail)->store.deadline_ms;

	if (due > now && due < l->loads_due_ms)
		l->loads_due_ms = due;
	return due <= now;
}

static void expire_waiting(struct lane *l, uint64_t now)
{
	struct mail **at = &l->first;

	while (*at) {
		struct mail *m = *at;

		if (kind_of(m) != KIND_LOAD || !is_overdue(l, m, now)) {
			at = &m->next;
			continue;
		}
		*at = m->next;
		l->loads--;
		lane_count_off(l, 1, kinds[KIND_LOAD].bytes(m));
		refuse_load(m);
	}
	l->end = at;
}

static void expire_gathered(struct lane *l, uint64_t now)
{
	for (unsigned i = 0; l->batch.n_loads > 0 && i < l->batch.n; i++) {
		struct item *item = &l->batch.items[i];

		if (item->kind != KIND_LOAD || !item->mail || !is_overdue(l, item->mail, now))
			continue;
		l->loads--;
		refuse_load(item->mail);
		item->mail = NULL;
	}
}

/* While the lane waits for the database: whoever asked for a queue is told in time. */
static void expire_loads(void *arg)
{
	struct lane *l = arg;
	uint64_t now = clock_ms();

	mailbox_run(&l->box);
	if (l->loads == 0 || now < l->loads_due_ms)
		return;
	l->loads_due_ms = UINT64_MAX;
	expire_waiting(l, now);
	expire_gathered(l, now);
	mail_flush();
}

void lane_pause(struct lane *l, unsigned ms)
{
	const unsigned step = 50;

	for (uint64_t until = clock_ms() + ms; clock_ms() < until && !pg_stop_due(&l->s->stop);) {
		uint64_t left = until - clock_ms();

		storage_pause(l->s, left < step ? (unsigned)left : step);
		expire_loads(l);
	}
}

/* ---- storing and answering ---- */

/* Numbers, keys, seals: waits for the database and for memory as long as it takes. 0 or
 * ERR_TIMEOUT: the stop is due. */
static int seal(struct lane *l)
{
	int64_t seq = 0;

	for (unsigned backoff = 50; !pg_stop_due(&l->s->stop); lane_pause(l, backoff)) {
		int err = l->pg.conn || lane_connect(l) == 0 ? 0 : ERR_UNAVAILABLE;

		if (err == 0)
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

		stored += item->kind == KIND_ROW && item->err == 0;
		orphans += item->kind == KIND_ROW && item->err == ERR_NOT_FOUND;
		if (item->mail)
			kinds[item->kind].answer(l, item);
	}
	metric_add(METRIC_TELEMETRY_STORED, stored);
	metric_add(METRIC_TELEMETRY_ORPHAN, orphans);
	if (stored > 0)
		metric_add(METRIC_TELEMETRY_BYTES, (int64_t)buf_len(&b->columns[COL_SEALED]));
	lane_count_off(l, b->n, b->bytes);
	mail_flush();
}

static int run_batch(struct lane *l)
{
	int err = 0;

	atomic_store(&l->busy_since_ms, clock_ms());
	forget_due(l);
	gather(l);
	if (l->batch.n > l->batch.n_loads)
		err = seal(l);
	/* Nothing to store where all rows are of devices that are gone. */
	if (err == 0 && l->batch.writes > 0)
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
