/*
 * Private to the room: who waits until a message is durable. Each store request made for the
 * message takes a count and gives it back with its answer; at the last one done is called. A
 * receipt belongs to one shard, everything about it happens there.
 */
#ifndef HF_BROKER_RECEIPT_H
#define HF_BROKER_RECEIPT_H

#include "server/base/err.h"

struct receipt {
	void (*done)(struct receipt *r);
	unsigned waiting; /* answers to come */
	int err;          /* the worst answer */
};

static inline void receipt_give(struct receipt *r, int err)
{
	if (err && (!r->err || err == ERR_NOT_FOUND))
		r->err = err;
	if (--r->waiting == 0)
		r->done(r);
}

#endif
