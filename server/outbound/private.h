/* What the files of this folder share: one request, from its arrival to its answer. */
#ifndef HF_OUTBOUND_PRIVATE_H
#define HF_OUTBOUND_PRIVATE_H

#include <curl/curl.h>

#include "server/base/loop.h"
#include "server/outbound/outbound.h"

struct event;

struct request {
	struct mail mail; /* on its way to the thread */
	struct outbound *outbound;
	struct fetch *fetch;
	struct request *next, **prev; /* in the list that it is in: waiting, or under way */
	uint64_t came_ms;
	struct loop_timer too_late; /* while it waits */
	CURL *easy;                 /* while it is under way */
	struct curl_slist *headers;
	char error[CURL_ERROR_SIZE]; /* curl's own words */
	bool too_big, not_allowed;   /* why a callback stopped it */
};

struct request_list {
	struct request *first, **last;
	unsigned n;
};

struct outbound {
	struct loop *loop;
	pthread_t thread;
	bool started;
	struct outbound_limits limits;
	/* All that follows is the thread's. */
	bool closed;
	struct mail close_mail;
	CURLM *multi;
	struct event *timer; /* curl's */
	struct request_list waiting, under_way;
};

/* ---- transfer.c: what a request says and what its answer was ---- */

/* Makes easy from the fetch. 0; ERR_INVALID with fetch->why; ERR_NOMEM. */
int transfer_begin(struct request *q, unsigned timeout_ms);
/* Notes in the fetch how it went. */
void transfer_result(struct request *q, CURLcode result);
/* Frees easy, which must be out of the multi. */
void transfer_free(struct request *q);

/* ---- multi.c: curl on the event loop ---- */

int multi_init(struct outbound *o);
void multi_done(struct outbound *o); /* nothing may be under way */

/* ---- outbound.c ---- */

/* A transfer is over: called from the loop, outside of curl. */
void request_over(struct request *q, CURLcode result);

/* ---- address.c ---- */

/* Whether an address may be connected to. Link-local ones (where clouds keep what a machine may
 * know of itself), multicast and unspecified ones never; those of this host and of private networks
 * where private_too. */
bool address_allowed(const struct sockaddr *sa, bool private_too);

#endif
