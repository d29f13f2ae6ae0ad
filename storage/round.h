/*
 * One round trip of a lane: prepared statements in a pipeline, one synchronisation. Private to the
 * lane's files.
 */
#ifndef HF_STORAGE_ROUND_H
#define HF_STORAGE_ROUND_H

#include "storage/lane.h"

#define ROUND_MAX 32

struct round {
	PGresult *results[ROUND_MAX];
	int queued, got;
};

void round_done(struct round *r);
/* A statement by its name; p NULL: it has no parameters. 0 or ERR_UNAVAILABLE. */
int round_add(struct lane *l, struct round *r, const char *name, const struct pg_params *p);
/* 0; ERR_INTERNAL: refused, the SQLSTATE tells; ERR_UNAVAILABLE: the connection is gone, as it is
 * with ERR_TIMEOUT: the stop is due. */
int round_run(struct lane *l, struct round *r);
int round_one(struct lane *l, const char *name);

#endif
