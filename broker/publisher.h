/*
 * Private to the room: whose the retained messages of a loop are. A message that is retained goes
 * when whoever published it may not retain it there any more: rules and identities change, and each
 * publisher is asked about anew then, whether he is connected or not. A publisher is known for as
 * long as anything is retained of him.
 */
#ifndef HF_BROKER_PUBLISHER_H
#define HF_BROKER_PUBLISHER_H

#include "broker/retain.h"
#include "server/base/map.h"
#include "server/base/principal.h"

struct publisher {
	struct publishers *in;
	struct principal *who; /* as it was here last, with what it may as far as it is known */
	TAILQ_HEAD(of_publisher, retained) list;
	size_t n;
	size_t left;                /* that are to be looked at, from the front of list */
	TAILQ_ENTRY(publisher) due; /* while is_due: it is to be asked about, or left is not 0 */
	unsigned asked;             /* questions under way: it stays */
	bool is_due;
	bool again;  /* something changed after the question was put */
	bool gone;   /* it may nothing any more */
	bool unsure; /* new, or it came with other parts than it was known with */
	uint16_t len;
	char key[]; /* kind, id */
};

struct publishers {
	struct map by_key;
	TAILQ_HEAD(publisher_list, publisher) due;
	unsigned n_modules;
};

void publishers_init(struct publishers *all);
void publishers_free(struct publishers *all); /* after what is retained */
/* The publisher that p is on this loop, made if there is none. NULL: nobody that could be asked for
 * (clients without an identity here), or no memory. publisher_tidy drops it if nothing is added. */
struct publisher *publisher_of(struct publishers *all, struct principal *p);
/* The one of that kind and id, or NULL. */
struct publisher *publisher_find(
        const struct publishers *all, enum principal_kind kind, struct slice id);
bool publisher_is_module(const struct publisher *by);
void publisher_add(struct publisher *by, struct retained *r);
/* The message is not retained any more; the publisher may go with it. */
void publisher_drop(struct retained *r);
/* What it may is known anew: takes over the reference. */
void publisher_set(struct publisher *by, struct principal *who);
/* Frees it, if nothing is retained of it and no question is under way. */
void publisher_tidy(struct publisher *by);

/* What is known of the publisher of a retained message: the first part, or NULL. */
static inline struct access *retained_publisher(const struct retained *r)
{
	return r->by && r->by->who->access[0] ? r->by->who->access[0] : r->msg->from;
}

#endif
