/*
 * Requests to somebody else over HTTPS (server/base/fetch.h): one thread with an event loop of its
 * own makes them all. Nothing in here blocks anybody, and no answer is lost: each request is
 * answered once, at the latest when its time is up or the hub stops.
 */
#ifndef HF_OUTBOUND_OUTBOUND_H
#define HF_OUTBOUND_OUTBOUND_H

#include "server/base/fetch.h"

struct outbound;

struct outbound_limits {
	unsigned max_requests; /* under way at once; at least 1 */
	unsigned max_waiting;  /* behind them; more are answered ERR_UNAVAILABLE at once */
	bool allow_private;    /* whether addresses of this host and of private networks may be
	                        * connected to */
};

/* NULL when out of memory. Main thread, once at a time, before other threads start. */
struct outbound *outbound_new(const struct outbound_limits *limits);
/* Starts the thread. 0, ERR_NOMEM. Main thread. */
int outbound_start(struct outbound *o);
/* Answers everything ERR_UNAVAILABLE, what is under way and what is still to come; does not wait
 * for it. Main thread. */
void outbound_close(struct outbound *o);
/* Ends the thread and frees it; nobody may ask any more. Who was answered and has not taken it has
 * to free what is his. Main thread; NULL is fine. */
void outbound_free(struct outbound *o);

/* Any thread; answers by mail to f->reply_to, also where it is refused at once. */
void outbound_ask(struct outbound *o, struct fetch *f);

#endif
