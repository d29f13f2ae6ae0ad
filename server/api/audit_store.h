/*
 * The port through which the API reads the audit log, and notes what is a row of no table; storage
 * implements it. On threads that may block (API workers).
 */
#ifndef HF_API_AUDIT_STORE_H
#define HF_API_AUDIT_STORE_H

#include "server/base/audit.h"

struct audit_row {
	int64_t id, at_us;
	struct slice actor, actor_kind, role, source, trace_id;
	struct slice operation, outcome, reason, kind, name;
	uint32_t count;             /* of equal denials of a moment */
	struct slice before, after; /* JSON objects; p NULL: none */
};

struct audit_query {
	int64_t from_us, to_us; /* [from, to); INT64_MIN / INT64_MAX: open */
	/* Equal to; NULL: anything. */
	const char *actor, *operation, *outcome, *reason, *kind, *name;
	bool ascending;
	unsigned limit;
	/* Go on behind this row, in the direction of the query. */
	bool has_after;
	int64_t after_us, after_id;
};

struct audit_store {
	void *ctx;
	/* Calls row for up to limit rows in order (time, then id); its slices are valid during the
	 * call; it returns 0, or an error that ends the query. 0; ERR_UNAVAILABLE; ERR_INTERNAL. */
	int (*query)(void *ctx, const struct audit_query *q,
	        int (*row)(const struct audit_row *r, void *arg), void *arg);
	/* The calling thread's actor does something to a thing of that kind ("connection", …) and
	 * name; detail: a JSON object as text, or NULL. 0; ERR_UNAVAILABLE; ERR_INTERNAL. */
	int (*append)(void *ctx, const char *kind, const char *name, const char *detail);
};

#endif
