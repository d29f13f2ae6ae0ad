#include "server/base/log.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "server/base/cleanup.h"
#include "server/base/clock.h"
#include "server/base/err.h"
#include "server/base/log_line.h"
#include "server/base/metrics.h"

#define RING_SIZE (1u << 20)
#define CHUNK_MAX (64u << 10)
#define WRITE_MAX 4096    /* PIPE_BUF: what poll promises to a pipe's writer */
#define STOP_WAIT_MS 2000 /* how long log_stop waits for an output that does not move */
#define LINES_A_SECOND 20 /* from one place in the code */
#define WINDOW_BITS 20    /* of log_site's window that count lines */

static atomic_int level_max = LOG_INFO;
static atomic_bool as_json;

/* The ring: whole lines as bytes; head and tail only grow, and their difference is what waits. */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t filled = PTHREAD_COND_INITIALIZER;
static char *ring; /* NULL while no thread runs */
static uint64_t head, tail;
static uint64_t dropped; /* lines, since the last one that was let in */
static bool stopping;
static uint64_t stop_by_ms;
static pthread_t thread;

bool log_enabled(enum log_level level)
{
	return (int)level <= atomic_load_explicit(&level_max, memory_order_relaxed);
}

void log_configure(enum log_level level, bool json)
{
	atomic_store_explicit(&level_max, (int)level, memory_order_relaxed);
	atomic_store_explicit(&as_json, json, memory_order_relaxed);
}

/* Whether this site may write a line in this second; what it may not is counted. */
static bool site_allows(struct log_site *site)
{
	uint64_t second = clock_ms() / 1000, next;
	uint64_t window = atomic_load_explicit(&site->window, memory_order_relaxed);
	do {
		bool same = window >> WINDOW_BITS == second;
		uint64_t lines = same ? window & ((1u << WINDOW_BITS) - 1) : 0;
		if (lines >= LINES_A_SECOND) {
			atomic_fetch_add_explicit(&site->suppressed, 1, memory_order_relaxed);
			return false;
		}
		next = (second << WINDOW_BITS) | (lines + 1);
	} while (!atomic_compare_exchange_weak_explicit(
	        &site->window, &window, next, memory_order_relaxed, memory_order_relaxed));
	return true;
}

/* Writes all, and waits for an output that does not take it: with by_ms until log_stop's patience
 * ends, without it not at all. What an output does not take is lost. */
static void write_out(const char *p, size_t n, const uint64_t *by_ms)
{
	while (n > 0) {
		struct pollfd pfd = {.fd = STDERR_FILENO, .events = POLLOUT};
		if (by_ms && poll(&pfd, 1, 100) == 0) {
			pthread_mutex_lock(&mutex);
			bool late = stopping && clock_ms() >= *by_ms;
			pthread_mutex_unlock(&mutex);
			if (late)
				return;
			continue;
		}
		ssize_t done = write(STDERR_FILENO, p, n < WRITE_MAX ? n : WRITE_MAX);
		if (done < 0 && errno != EINTR && (errno != EAGAIN || !by_ms))
			return;
		if (done > 0) {
			p += done;
			n -= (size_t)done;
		}
	}
}

/* With the mutex: copies the line into the ring, or says no. */
static bool ring_put(const char *p, size_t n)
{
	if (n > RING_SIZE - (head - tail))
		return false;
	size_t at = head % RING_SIZE;
	size_t first = n < RING_SIZE - at ? n : RING_SIZE - at;
	memcpy(ring + at, p, first);
	memcpy(ring, p + first, n - first);
	head += n;
	return true;
}

/* With the mutex: says how many lines were lost before this one. */
static bool ring_put_loss(bool json)
{
	struct log_line l;
	log_line_begin(&l, json, clock_wall_us(), LOG_WARN, "log lines dropped");
	log_line_add(&l, &F_U64("lines", dropped));
	log_line_end(&l);
	return ring_put(l.text, l.n);
}

static void submit(const struct log_line *l)
{
	pthread_mutex_lock(&mutex);
	if (!ring) {
		write_out(l->text, l->n, NULL);
		pthread_mutex_unlock(&mutex);
		return;
	}
	bool was_empty = head == tail;
	bool in = (dropped == 0 || ring_put_loss(l->json)) && ring_put(l->text, l->n);
	dropped = in ? 0 : dropped + 1;
	if (in && was_empty)
		pthread_cond_signal(&filled);
	pthread_mutex_unlock(&mutex);
	if (!in)
		metric_inc(METRIC_LOG_DROPPED);
}

void log_write(struct log_site *site, enum log_level level, const char *event,
        const struct log_field *fields, size_t n)
{
	if (!site_allows(site))
		return;
	struct log_line l;
	log_line_begin(&l, atomic_load_explicit(&as_json, memory_order_relaxed), clock_wall_us(),
	        level, event);
	for (size_t i = 0; i < n; i++)
		log_line_add(&l, &fields[i]);
	uint32_t suppressed = atomic_exchange_explicit(&site->suppressed, 0, memory_order_relaxed);
	if (suppressed > 0)
		log_line_add(&l, &F_U64("suppressed", suppressed));
	log_line_end(&l);
	submit(&l);
}

static void *log_main(void *arg)
{
	(void)arg;
	pthread_mutex_lock(&mutex);
	for (;;) {
		while (head == tail && !stopping)
			pthread_cond_wait(&filled, &mutex);
		if (head == tail)
			break;
		size_t at = tail % RING_SIZE, n = head - tail;
		n = n < RING_SIZE - at ? n : RING_SIZE - at;
		n = n < CHUNK_MAX ? n : CHUNK_MAX;
		/* Nobody writes to what waits between tail and head. */
		pthread_mutex_unlock(&mutex);
		write_out(ring + at, n, &stop_by_ms);
		pthread_mutex_lock(&mutex);
		tail += n;
	}
	pthread_mutex_unlock(&mutex);
	return NULL;
}

int log_start(void)
{
	char *memory = malloc(RING_SIZE);
	if (!memory)
		return ERR_NOMEM;
	pthread_mutex_lock(&mutex);
	ring = memory;
	head = tail = 0;
	stopping = false;
	pthread_mutex_unlock(&mutex);
	if (pthread_create(&thread, NULL, log_main, NULL) == 0)
		return 0;
	pthread_mutex_lock(&mutex);
	ring = NULL;
	pthread_mutex_unlock(&mutex);
	free(memory);
	return ERR_NOMEM;
}

void log_stop(void)
{
	pthread_mutex_lock(&mutex);
	bool running = ring != NULL && !stopping;
	stopping = true;
	stop_by_ms = clock_ms() + STOP_WAIT_MS;
	pthread_cond_signal(&filled);
	pthread_mutex_unlock(&mutex);
	if (!running)
		return;
	pthread_join(thread, NULL);
	pthread_mutex_lock(&mutex);
	char *memory = TAKE_PTR(ring);
	uint64_t from = tail, to = head;
	pthread_mutex_unlock(&mutex);
	/* Lines that came between the thread's last look and now. */
	for (; from < to; from++)
		write_out(memory + from % RING_SIZE, 1, &stop_by_ms);
	free(memory);
}
