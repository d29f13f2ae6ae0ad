#include "server/base/metrics.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "server/base/process.h"

#define HISTOGRAM_BOUNDS 15 /* buckets with an upper bound; then come +Inf, sum, count */
#define HISTOGRAM_SUM (HISTOGRAM_BOUNDS + 1)
#define HISTOGRAM_COUNT (HISTOGRAM_BOUNDS + 2)

/* One thread's figures. Written by that thread alone, read by all; the figures of a thread that has
 * ended stay, and the next thread that starts goes on adding to them. */
struct set {
	_Alignas(64) _Atomic int64_t values[METRIC_COUNT];
	struct set *next;
	bool free;
};

static pthread_mutex_t sets_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct set *sets; /* never freed */
static pthread_once_t key_once = PTHREAD_ONCE_INIT;
static pthread_key_t key;
static _Thread_local struct set *mine;

static void set_release(void *p)
{
	struct set *s = p;
	pthread_mutex_lock(&sets_mutex);
	s->free = true;
	pthread_mutex_unlock(&sets_mutex);
	mine = NULL;
}

static void key_make(void)
{
	if (pthread_key_create(&key, set_release) != 0)
		abort();
}

static struct set *set_acquire(void)
{
	pthread_once(&key_once, key_make);
	pthread_mutex_lock(&sets_mutex);
	struct set *s = sets;
	while (s && !s->free)
		s = s->next;
	if (!s) {
		s = aligned_alloc(_Alignof(struct set), sizeof(*s));
		if (!s)
			abort();
		memset(s, 0, sizeof(*s));
		s->next = sets;
		sets = s;
	}
	s->free = false;
	pthread_mutex_unlock(&sets_mutex);
	pthread_setspecific(key, s);
	mine = s;
	return s;
}

/* One writer: a load and a store need no locked instruction. */
static void add(unsigned index, int64_t n)
{
	struct set *s = mine ? mine : set_acquire();
	int64_t v = atomic_load_explicit(&s->values[index], memory_order_relaxed);
	atomic_store_explicit(&s->values[index], v + n, memory_order_relaxed);
}

void metric_add(enum metric m, int64_t n)
{
	add(m, n);
}

void metric_inc_by(enum metric first, unsigned label)
{
	unsigned index = first + label;
	if (index < METRIC_COUNT)
		add(index, 1);
}

void metric_set(enum metric m, int64_t v)
{
	struct set *s = mine ? mine : set_acquire();
	atomic_store_explicit(&s->values[m], v, memory_order_relaxed);
}

void metric_observe_us(enum metric m, uint64_t us)
{
	unsigned bucket = 0;
	while (bucket < HISTOGRAM_BOUNDS && us > (UINT64_C(100) << bucket))
		bucket++;
	add(m + bucket, 1);
	add(m + HISTOGRAM_SUM, (int64_t)us);
	add(m + HISTOGRAM_COUNT, 1);
}

static int64_t read_at(unsigned index)
{
	int64_t sum = 0;
	pthread_mutex_lock(&sets_mutex);
	for (struct set *s = sets; s; s = s->next)
		sum += atomic_load_explicit(&s->values[index], memory_order_relaxed);
	pthread_mutex_unlock(&sets_mutex);
	return sum;
}

int64_t metric_read(enum metric m)
{
	return read_at(m);
}

/* ---- the text format ---- */

static int render_head(struct buf *out, const char *name, const char *type, const char *help)
{
	return buf_printf(
	        out, "# HELP holdfast_%s %s\n# TYPE holdfast_%s %s\n", name, help, name, type);
}

static int render_one(
        struct buf *out, enum metric m, const char *name, const char *type, const char *help)
{
	int r = render_head(out, name, type, help);
	return r < 0 ? r : buf_printf(out, "holdfast_%s %lld\n", name, (long long)read_at(m));
}

static int render_label(
        struct buf *out, unsigned index, const char *name, const char *label, const char *value)
{
	return buf_printf(out, "holdfast_%s{%s=\"%s\"} %lld\n", name, label, value,
	        (long long)read_at(index));
}

static int render_histogram(struct buf *out, enum metric m, const char *name, const char *help)
{
	int r = render_head(out, name, "histogram", help);
	int64_t below = 0;
	for (unsigned i = 0; r == 0 && i < HISTOGRAM_BOUNDS; i++) {
		below += read_at(m + i);
		r = buf_printf(out, "holdfast_%s_bucket{le=\"%g\"} %lld\n", name,
		        (double)(UINT64_C(100) << i) / 1e6, (long long)below);
	}
	/* The count is taken from the buckets, so that the lines agree while threads write. */
	below += read_at(m + HISTOGRAM_BOUNDS);
	if (r == 0)
		r = buf_printf(out,
		        "holdfast_%s_bucket{le=\"+Inf\"} %lld\n"
		        "holdfast_%s_sum %.6f\nholdfast_%s_count %lld\n",
		        name, (long long)below, name, (double)read_at(m + HISTOGRAM_SUM) / 1e6,
		        name, (long long)below);
	return r;
}

int metrics_render(struct buf *out)
{
	int r = 0;
#define COUNTER(id, name, help) \
	if (r == 0)             \
		r = render_one(out, METRIC_##id, name, "counter", help);
#define GAUGE(id, name, help) \
	if (r == 0)           \
		r = render_one(out, METRIC_##id, name, "gauge", help);
#define COUNTER_BY(id, name, label, count, label_of, help)   \
	if (r == 0)                                          \
		r = render_head(out, name, "counter", help); \
	for (unsigned i = 0; r == 0 && i < (count); i++)     \
		r = render_label(out, METRIC_##id + i, name, label, label_of(i));
#define HISTOGRAM(id, name, help) \
	if (r == 0)               \
		r = render_histogram(out, METRIC_##id, name, help);
#include "server/base/metrics.def"
	return r == 0 ? process_render(out) : r;
}
