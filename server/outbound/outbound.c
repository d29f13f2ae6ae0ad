#include "server/outbound/outbound.h"

#include <stdlib.h>
#include <string.h>

#include "server/base/cleanup.h"
#include "server/base/crypto.h"
#include "server/base/err.h"
#include "server/base/log.h"
#include "server/base/metrics.h"
#include "server/outbound/private.h"

#define LOOP_INDEX 1000 /* of no loop that has connections */

/* ---- lists ---- */

static void list_init(struct request_list *l)
{
	*l = (struct request_list){.last = &l->first};
}

static void list_add(struct request_list *l, struct request *q)
{
	q->next = NULL;
	q->prev = l->last;
	*l->last = q;
	l->last = &q->next;
	l->n++;
}

static void list_remove(struct request_list *l, struct request *q)
{
	*q->prev = q->next;
	if (q->next)
		q->next->prev = q->prev;
	else
		l->last = q->prev;
	l->n--;
}

/* ---- the end of a request ---- */

static void answer_fetch(struct fetch *f)
{
	f->state = NULL;
	if (f->err < 0) {
		buf_wipe(&f->body);
		metric_inc(METRIC_OUTBOUND_FAILED);
	}
	mail_post(f->reply_to, &f->mail);
}

/* Of the URL no more than that is logged: paths and queries may hold secrets. */
static struct slice host_of(const char *url)
{
	const char *host = strstr(url, "://");
	host = host ? host + 3 : url;
	size_t n = strcspn(host, "/?#\\");
	const char *at = memrchr(host, '@', n);

	return at ? slice_make(at + 1, n - (size_t)(at + 1 - host)) : slice_make(host, n);
}

/* q is in no list any more, fetch->err is known. */
static void answer(struct request *q)
{
	struct fetch *f = q->fetch;

	log_debug("asked somebody else", F_SLICE("host", host_of(f->url)),
	        F_STR("error", f->err < 0 ? err_text(f->err) : ""), F_I64("status", f->status),
	        F_MS("took", loop_now_ms(q->outbound->loop) - q->came_ms));
	transfer_free(q);
	answer_fetch(f);
	free(q);
}

static void answer_err(struct request *q, int err, const char *why)
{
	q->fetch->err = err;
	if (why)
		snprintf(q->fetch->why, sizeof(q->fetch->why), "%s", why);
	answer(q);
}

static void out_of_memory(struct request *q)
{
	answer_err(q, ERR_UNAVAILABLE, "out of memory");
}

/* ---- under way ---- */

static void begin(struct outbound *o, struct request *q)
{
	uint64_t waited = loop_now_ms(o->loop) - q->came_ms;
	unsigned whole = q->fetch->timeout_ms;
	int r = transfer_begin(q, waited < whole ? whole - (unsigned)waited : 1);

	if (r == ERR_INVALID) {
		answer_err(q, r, NULL);
		return;
	}
	if (r < 0) {
		out_of_memory(q);
		return;
	}
	list_add(&o->under_way, q);
	metric_set(METRIC_OUTBOUND_UNDER_WAY, o->under_way.n);
	if (curl_multi_add_handle(o->multi, q->easy) != CURLM_OK) {
		list_remove(&o->under_way, q);
		out_of_memory(q);
	}
}

static void begin_next(struct outbound *o)
{
	while (o->waiting.first && o->under_way.n < o->limits.max_requests) {
		struct request *q = o->waiting.first;

		list_remove(&o->waiting, q);
		loop_timer_cancel(&q->too_late);
		begin(o, q);
	}
}

/* Takes it out of curl's hands. */
static void take_back(struct outbound *o, struct request *q)
{
	curl_multi_remove_handle(o->multi, q->easy);
	list_remove(&o->under_way, q);
	metric_set(METRIC_OUTBOUND_UNDER_WAY, o->under_way.n);
}

void request_over(struct request *q, CURLcode result)
{
	struct outbound *o = q->outbound;

	transfer_result(q, result);
	take_back(o, q);
	answer(q);
	begin_next(o);
}

/* ---- arrival ---- */

static void too_late(struct loop_timer *t, struct loop *loop HF_UNUSED)
{
	struct request *q = container_of(t, struct request, too_late);

	list_remove(&q->outbound->waiting, q);
	answer_err(q, ERR_TIMEOUT, "too many others were asked before it");
}

static void arrive(struct mail *m)
{
	struct request *q = container_of(m, struct request, mail);
	struct outbound *o = q->outbound;

	q->came_ms = loop_now_ms(o->loop);
	if (o->closed) {
		answer_err(q, ERR_UNAVAILABLE, "the hub stops");
	} else if (o->under_way.n < o->limits.max_requests) {
		begin(o, q);
	} else if (o->waiting.n < o->limits.max_waiting) {
		list_add(&o->waiting, q);
		q->too_late.fire = too_late;
		loop_timer_set(o->loop, &q->too_late, q->fetch->timeout_ms);
	} else {
		answer_err(q, ERR_UNAVAILABLE, "too many others are asked");
	}
}

void outbound_ask(struct outbound *o, struct fetch *f)
{
	struct request *q = calloc(1, sizeof(*q));

	metric_inc(METRIC_OUTBOUND_REQUESTS);
	f->err = f->status = 0;
	f->max_age_s = -1;
	f->why[0] = '\0';
	f->state = q;
	buf_init(&f->body, f->max_bytes);
	if (!q) {
		f->err = ERR_UNAVAILABLE;
		snprintf(f->why, sizeof(f->why), "out of memory");
		answer_fetch(f);
		mail_flush();
		return;
	}
	q->outbound = o;
	q->fetch = f;
	q->mail.deliver = arrive;
	mail_send(loop_mailbox(o->loop), &q->mail);
}

/* ---- life ---- */

static void close_now(struct mail *m)
{
	struct outbound *o = container_of(m, struct outbound, close_mail);

	o->closed = true;
	for (struct request *q; (q = o->waiting.first) != NULL;) {
		list_remove(&o->waiting, q);
		loop_timer_cancel(&q->too_late);
		answer_err(q, ERR_UNAVAILABLE, "the hub stops");
	}
	for (struct request *q; (q = o->under_way.first) != NULL;) {
		take_back(o, q);
		answer_err(q, ERR_UNAVAILABLE, "the hub stops");
	}
}

static void *outbound_main(void *arg)
{
	struct outbound *o = arg;

	loop_run(o->loop);
	crypto_thread_done();
	return NULL;
}

struct outbound *outbound_new(const struct outbound_limits *limits)
{
	struct outbound *o = calloc(1, sizeof(*o));

	if (!o)
		return NULL;
	o->limits = *limits;
	o->close_mail.deliver = close_now;
	list_init(&o->waiting);
	list_init(&o->under_way);
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
		free(o);
		return NULL;
	}
	o->loop = loop_new(LOOP_INDEX);
	if (!o->loop || multi_init(o) < 0) {
		outbound_free(o);
		return NULL;
	}
	return o;
}

int outbound_start(struct outbound *o)
{
	if (pthread_create(&o->thread, NULL, outbound_main, o) != 0)
		return ERR_NOMEM;
	o->started = true;
	return 0;
}

void outbound_close(struct outbound *o)
{
	mail_send(loop_mailbox(o->loop), &o->close_mail);
}

/* What was asked and has not been heard: its asker is gone, or about to go. */
static void forget(struct request_list *l, CURLM *multi)
{
	for (struct request *q; (q = l->first) != NULL;) {
		list_remove(l, q);
		loop_timer_cancel(&q->too_late);
		if (q->easy)
			curl_multi_remove_handle(multi, q->easy);
		transfer_free(q);
		free(q);
	}
}

void outbound_free(struct outbound *o)
{
	if (!o)
		return;
	if (o->started) {
		loop_stop(o->loop);
		pthread_join(o->thread, NULL);
	}
	forget(&o->waiting, o->multi);
	forget(&o->under_way, o->multi);
	multi_done(o);
	loop_free(o->loop);
	curl_global_cleanup();
	free(o);
}
