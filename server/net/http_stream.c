#include "server/net/http_stream.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "server/base/err.h"
#include "server/net/http_stream_loop.h"

/* So much is sent without being asked to: as few wake-ups of the loop as records of TLS. */
#define FLUSH_BYTES ((size_t)48 << 10)
/* One piece may be large (a message and its properties, escaped) and is never cut. */
#define PIECES_MAX ((size_t)64 << 20)

struct http_stream {
	struct mail mail;
	struct http_request *r;
	struct http_response head;
	char *extra;
	pthread_mutex_t mutex; /* held for a swap or a copy alone */
	pthread_cond_t changed;
	struct buf waiting; /* the maker's pieces */
	bool posted, ended, whole, gone;
	struct buf taken; /* the loop's: what is being sent */
};

static void deliver(struct mail *m)
{
	struct http_stream *s = container_of(m, struct http_stream, mail);
	pthread_mutex_lock(&s->mutex);
	s->posted = false;
	pthread_mutex_unlock(&s->mutex);
	http_stream_pump(s->r, s);
}

/* With the mutex; true: the caller sends the mail once it is released. */
static bool wants_post(struct http_stream *s)
{
	bool post = !s->posted;
	s->posted = true;
	return post;
}

static void post(struct http_stream *s, struct loop *loop)
{
	mail_send(loop_mailbox(loop), &s->mail);
}

struct http_stream *http_stream_begin(struct http_request *r, const struct http_response *resp)
{
	struct http_stream *s = calloc(1, sizeof(*s));
	char *extra = resp->extra ? strdup(resp->extra) : NULL;
	if (!s || (resp->extra && !extra)) {
		free(s);
		free(extra);
		return NULL;
	}
	s->r = r;
	s->head = *resp;
	s->head.body = (struct slice){NULL, 0};
	s->head.extra = s->extra = extra;
	s->mail.deliver = deliver;
	s->posted = true;
	s->gone = r->method == HTTP_METHOD_HEAD;
	pthread_mutex_init(&s->mutex, NULL);
	pthread_condattr_t monotonic;
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&s->changed, &monotonic);
	pthread_condattr_destroy(&monotonic);
	buf_init(&s->waiting, PIECES_MAX);
	buf_init(&s->taken, PIECES_MAX);
	post(s, r->loop);
	return s;
}

int http_stream_write(struct http_stream *s, struct slice piece)
{
	pthread_mutex_lock(&s->mutex);
	int r = s->gone ? ERR_CLOSED : buf_append(&s->waiting, piece.p, piece.n);
	bool due = r == 0 && buf_len(&s->waiting) >= FLUSH_BYTES && wants_post(s);
	pthread_mutex_unlock(&s->mutex);
	if (due)
		post(s, s->r->loop);
	return r < 0 && r != ERR_CLOSED ? ERR_NOMEM : r;
}

void http_stream_flush(struct http_stream *s)
{
	pthread_mutex_lock(&s->mutex);
	bool due = !s->gone && buf_len(&s->waiting) > 0 && wants_post(s);
	pthread_mutex_unlock(&s->mutex);
	if (due)
		post(s, s->r->loop);
}

static bool full(const struct http_stream *s)
{
	return buf_len(&s->waiting) >= HTTP_STREAM_BYTES;
}

bool http_stream_full(struct http_stream *s)
{
	pthread_mutex_lock(&s->mutex);
	bool is = full(s) && !s->gone;
	pthread_mutex_unlock(&s->mutex);
	return is;
}

/* Waits while neither the client is gone nor, if only room is waited for, there is some. */
static void wait_for_change(struct http_stream *s, unsigned ms, bool for_room)
{
	struct timespec until;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += ms / 1000;
	until.tv_nsec += (long)(ms % 1000) * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	while (!s->gone && (!for_room || full(s)))
		if (pthread_cond_timedwait(&s->changed, &s->mutex, &until) == ETIMEDOUT)
			return;
}

int http_stream_wait(struct http_stream *s, unsigned ms)
{
	pthread_mutex_lock(&s->mutex);
	wait_for_change(s, ms, true);
	int r = s->gone ? ERR_CLOSED : full(s) ? ERR_TIMEOUT : 0;
	pthread_mutex_unlock(&s->mutex);
	return r;
}

bool http_stream_closed(struct http_stream *s, unsigned ms)
{
	pthread_mutex_lock(&s->mutex);
	if (ms > 0)
		wait_for_change(s, ms, false);
	bool gone = s->gone;
	pthread_mutex_unlock(&s->mutex);
	return gone;
}

void http_stream_end(struct http_stream *s, bool whole)
{
	/* Once ended is seen the loop may free it. */
	struct loop *loop = s->r->loop;
	pthread_mutex_lock(&s->mutex);
	s->ended = true;
	s->whole = whole || s->r->method == HTTP_METHOD_HEAD;
	bool due = wants_post(s);
	pthread_mutex_unlock(&s->mutex);
	if (due)
		post(s, loop);
}

/* ---- the loop's half ---- */

const struct http_response *http_stream_head(const struct http_stream *s)
{
	return &s->head;
}

struct slice http_stream_take(struct http_stream *s, bool *ret_ended, bool *ret_whole)
{
	buf_truncate(&s->taken, 0);
	pthread_mutex_lock(&s->mutex);
	struct buf waiting = s->waiting;
	s->waiting = s->taken;
	s->taken = waiting;
	/* With a mail on its way the maker may still touch it: that mail brings the end. */
	*ret_ended = s->ended && !s->posted;
	*ret_whole = s->whole;
	pthread_cond_signal(&s->changed);
	pthread_mutex_unlock(&s->mutex);
	return buf_slice(&s->taken);
}

bool http_stream_gone(struct http_stream *s)
{
	pthread_mutex_lock(&s->mutex);
	s->gone = true;
	bool idle = s->ended && !s->posted;
	buf_wipe(&s->waiting);
	pthread_cond_signal(&s->changed);
	pthread_mutex_unlock(&s->mutex);
	return idle;
}

void http_stream_free(struct http_stream *s)
{
	buf_wipe(&s->waiting);
	buf_wipe(&s->taken);
	pthread_cond_destroy(&s->changed);
	pthread_mutex_destroy(&s->mutex);
	free(s->extra);
	free(s);
}
