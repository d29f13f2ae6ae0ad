#include "server/base/replica.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "server/base/cleanup.h"
#include "server/base/clock.h"
#include "server/base/crypto.h"
#include "server/base/err.h"
#include "server/base/log.h"

#define LOOPS_MAX 64
#define RETRY_MS 200
#define FRESH_MS 1000

/* What one loop has. */
struct slot {
	struct replica *replica;
	struct loop *loop;
	void *value; /* the loop's */
	struct mail mail;
	void *next; /* on its way to the loop, with the bits of what has changed */
	uint64_t what;
} __attribute__((aligned(64)));

struct replica {
	const struct replica_ops *ops;
	void *ctx;
	pthread_t thread;
	bool started, stopping;
	pthread_mutex_t mutex; /* for all that follows but the slots */
	pthread_cond_t cond;   /* something was told, or every loop has a value */
	void *newest;
	uint64_t pending;    /* bits that no load has seen yet */
	uint64_t told, done; /* changes told; those of them that every loop has */
	unsigned away;       /* loops that have not got the value that is being handed out */
	_Atomic uint64_t stale_since_ms; /* 0: nothing is known to have changed */
	unsigned n;
	struct slot slots[];
};

struct replica *replica_new(
        struct loop *const *loops, unsigned n, const struct replica_ops *ops, void *ctx)
{
	pthread_condattr_t attr;
	assert(n <= LOOPS_MAX);
	size_t size = sizeof(struct replica) + n * sizeof(struct slot);
	struct replica *r = aligned_alloc(64, (size + 63) / 64 * 64);
	if (!r)
		return NULL;
	memset(r, 0, size);
	r->ops = ops;
	r->ctx = ctx;
	r->n = n;
	pthread_mutex_init(&r->mutex, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&r->cond, &attr);
	pthread_condattr_destroy(&attr);
	for (unsigned i = 0; i < n; i++) {
		r->slots[i].replica = r;
		r->slots[i].loop = loops[i];
	}
	return r;
}

void replica_free(struct replica *r)
{
	if (!r)
		return;
	assert(!r->started);
	for (unsigned i = 0; i < r->n; i++) {
		r->ops->unref(r->slots[i].value);
		r->ops->unref(r->slots[i].next);
	}
	r->ops->unref(r->newest);
	pthread_cond_destroy(&r->cond);
	pthread_mutex_destroy(&r->mutex);
	free(r);
}

/* ---- handing a value out ---- */

static void slot_switch(struct mail *m)
{
	struct slot *s = container_of(m, struct slot, mail);
	struct replica *r = s->replica;
	void *old = s->value, *value = TAKE_PTR(s->next);
	uint64_t what = s->what;
	s->value = value;
	if (r->ops->switched)
		r->ops->switched(r->ctx, s->loop, value, what);
	r->ops->unref(old);
	pthread_mutex_lock(&r->mutex);
	if (--r->away == 0)
		pthread_cond_broadcast(&r->cond);
	pthread_mutex_unlock(&r->mutex);
}

/* Each slot is free again: the round before was waited for. */
static void hand_out(struct replica *r, void *value, uint64_t what)
{
	pthread_mutex_lock(&r->mutex);
	void *old = r->newest;
	r->newest = r->ops->ref(value);
	r->away = r->n;
	pthread_mutex_unlock(&r->mutex);
	r->ops->unref(old);
	for (unsigned i = 0; i < r->n; i++) {
		struct slot *s = &r->slots[i];
		s->next = r->ops->ref(value);
		s->what = what;
		s->mail.deliver = slot_switch;
		mail_send(loop_mailbox(s->loop), &s->mail);
	}
}

/* ---- the thread; the mutex is held where nothing else is said ---- */

static void wait_ms(struct replica *r, unsigned ms)
{
	struct timespec at;
	clock_gettime(CLOCK_MONOTONIC, &at);
	at.tv_sec += ms / 1000;
	at.tv_nsec += (long)(ms % 1000) * 1000000;
	if (at.tv_nsec >= 1000000000) {
		at.tv_sec++;
		at.tv_nsec -= 1000000000;
	}
	pthread_cond_timedwait(&r->cond, &r->mutex, &at);
}

/* Every loop has the value that was handed out, or the replica stops. */
static void settle(struct replica *r, void *value, uint64_t told, uint64_t what, uint64_t begun_ms)
{
	while (r->away > 0 && !r->stopping)
		pthread_cond_wait(&r->cond, &r->mutex);
	if (r->stopping)
		return;
	r->done = told;
	/* What was told before the load began is in it. */
	atomic_store(&r->stale_since_ms, r->told == told ? 0 : begun_ms);
	pthread_cond_broadcast(&r->cond);
	pthread_mutex_unlock(&r->mutex);
	if (r->ops->applied)
		r->ops->applied(r->ctx, value, what);
	mail_flush();
	pthread_mutex_lock(&r->mutex);
}

static void round_once(struct replica *r)
{
	uint64_t what = r->pending, told = r->told, begun_ms = clock_ms();
	void *value = NULL;
	r->pending = 0;
	pthread_mutex_unlock(&r->mutex);
	/* Nobody but this thread changes newest. */
	int err = r->ops->load(r->ctx, r->newest, what, &value);
	if (err == 0)
		hand_out(r, value, what);
	else
		log_warn("cannot be loaded, will be tried again", F_STR("what", r->ops->name),
		        F_STR("error", err_text(err)));
	pthread_mutex_lock(&r->mutex);
	if (err == 0) {
		settle(r, value, told, what, begun_ms);
		pthread_mutex_unlock(&r->mutex);
		r->ops->unref(value);
		pthread_mutex_lock(&r->mutex);
	} else {
		r->pending |= what;
		if (!r->stopping)
			wait_ms(r, RETRY_MS);
	}
}

static void *replica_main(void *arg)
{
	struct replica *r = arg;
	pthread_mutex_lock(&r->mutex);
	while (!r->stopping) {
		if (r->pending)
			round_once(r);
		else
			pthread_cond_wait(&r->cond, &r->mutex);
	}
	pthread_mutex_unlock(&r->mutex);
	crypto_thread_done();
	return NULL;
}

/* ---- life ---- */

int replica_start(struct replica *r)
{
	void *value = NULL;
	int err = r->ops->load(r->ctx, NULL, UINT64_MAX, &value);
	if (err < 0)
		return err;
	for (unsigned i = 0; i < r->n; i++)
		r->slots[i].value = r->ops->ref(value);
	r->newest = value;
	if (pthread_create(&r->thread, NULL, replica_main, r) != 0)
		return ERR_NOMEM;
	r->started = true;
	return 0;
}

void replica_stop(struct replica *r)
{
	if (!r || !r->started)
		return;
	pthread_mutex_lock(&r->mutex);
	r->stopping = true;
	pthread_cond_broadcast(&r->cond);
	pthread_mutex_unlock(&r->mutex);
	pthread_join(r->thread, NULL);
	r->started = false;
}

/* ---- asking and telling ---- */

void replica_changed(struct replica *r, uint64_t what)
{
	pthread_mutex_lock(&r->mutex);
	r->pending |= what;
	r->told++;
	if (!atomic_load(&r->stale_since_ms))
		atomic_store(&r->stale_since_ms, clock_ms());
	pthread_cond_broadcast(&r->cond);
	pthread_mutex_unlock(&r->mutex);
}

bool replica_fresh(const struct replica *r)
{
	uint64_t since = atomic_load_explicit(&r->stale_since_ms, memory_order_relaxed);
	return since == 0 || clock_ms() < since + FRESH_MS;
}

void *replica_here(const struct replica *r)
{
	struct loop *here = loop_here();
	assert(here);
	return r->slots[loop_index(here)].value;
}

void *replica_take(struct replica *r)
{
	pthread_mutex_lock(&r->mutex);
	void *value = r->ops->ref(r->newest);
	pthread_mutex_unlock(&r->mutex);
	return value;
}

bool replica_wait(struct replica *r, unsigned timeout_ms)
{
	uint64_t until = clock_ms() + timeout_ms, now;
	assert(!loop_here());
	pthread_mutex_lock(&r->mutex);
	uint64_t told = r->told;
	while (r->done < told && !r->stopping && (now = clock_ms()) < until)
		wait_ms(r, (unsigned)(until - now));
	bool done = r->done >= told;
	pthread_mutex_unlock(&r->mutex);
	return done;
}
