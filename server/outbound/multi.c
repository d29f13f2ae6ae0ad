#include <event2/event.h>

#include "server/base/cleanup.h"
#include "server/base/err.h"
#include "server/base/log.h"
#include "server/outbound/private.h"

/*
 * curl says which sockets it waits for and for how long; the loop tells it of both
 * (https://curl.se/libcurl/c/curl_multi_socket_action.html). Only two callbacks run curl, on_socket
 * and on_timer, and what is over is answered behind it: an answer may begin the next request.
 */

static void take_results(struct outbound *o)
{
	int left;

	for (CURLMsg *m; (m = curl_multi_info_read(o->multi, &left)) != NULL;) {
		struct request *q = NULL;

		if (m->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&q);
		request_over(q, m->data.result);
	}
}

static void run(struct outbound *o, curl_socket_t fd, int what)
{
	int running;

	curl_multi_socket_action(o->multi, fd, what, &running);
	take_results(o);
}

static void on_socket(evutil_socket_t fd, short what, void *arg)
{
	run(arg, fd,
	        (what & EV_READ ? CURL_CSELECT_IN : 0) | (what & EV_WRITE ? CURL_CSELECT_OUT : 0));
}

static void on_timer(HF_UNUSED evutil_socket_t fd, HF_UNUSED short what, void *arg)
{
	run(arg, CURL_SOCKET_TIMEOUT, 0);
}

/* curl's word on a socket; known: the event that stands for it so far. */
static int watch_socket(CURL *easy HF_UNUSED, curl_socket_t fd, int what, void *ctx, void *known)
{
	struct outbound *o = ctx;
	struct event *ev = known;
	short want = EV_PERSIST;

	if (ev)
		event_free(ev);
	if (what == CURL_POLL_REMOVE) {
		curl_multi_assign(o->multi, fd, NULL);
		return 0;
	}
	if (what & CURL_POLL_IN)
		want |= EV_READ;
	if (what & CURL_POLL_OUT)
		want |= EV_WRITE;
	ev = event_new(loop_event_base(o->loop), fd, want, on_socket, o);
	if (ev && event_add(ev, NULL) < 0) {
		event_free(ev);
		ev = NULL;
	}
	/* Without it the request ends by its time-out. */
	if (!ev)
		log_warn("a socket cannot be watched");
	curl_multi_assign(o->multi, fd, ev);
	return 0;
}

static int set_timer(CURLM *multi HF_UNUSED, long ms, void *ctx)
{
	struct outbound *o = ctx;
	struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};

	if (ms < 0)
		event_del(o->timer);
	else
		event_add(o->timer, &tv);
	return 0;
}

int multi_init(struct outbound *o)
{
	o->multi = curl_multi_init();
	o->timer = event_new(loop_event_base(o->loop), -1, 0, on_timer, o);
	if (!o->multi || !o->timer)
		return ERR_NOMEM;
	curl_multi_setopt(o->multi, CURLMOPT_SOCKETFUNCTION, watch_socket);
	curl_multi_setopt(o->multi, CURLMOPT_SOCKETDATA, o);
	curl_multi_setopt(o->multi, CURLMOPT_TIMERFUNCTION, set_timer);
	curl_multi_setopt(o->multi, CURLMOPT_TIMERDATA, o);
	curl_multi_setopt(o->multi, CURLMOPT_PIPELINING, CURLPIPE_NOTHING);
	/* Idle connections that are kept for the next request. */
	curl_multi_setopt(o->multi, CURLMOPT_MAXCONNECTS, (long)o->limits.max_requests);
	return 0;
}

void multi_done(struct outbound *o)
{
	if (o->multi)
		curl_multi_cleanup(o->multi);
	if (o->timer)
		event_free(o->timer);
	o->multi = NULL;
	o->timer = NULL;
}
