/*
 * The way of a query through time: window by window, so that the database looks at few partitions
 * and sorts few rows at once, each window page by page. No SQL in here. Owned by one thread.
 */
#ifndef HF_STORAGE_QUERY_WALK_H
#define HF_STORAGE_QUERY_WALK_H

#include "server/api/telemetry_query_store.h"

struct query_walk {
	const struct telemetry_query *q;
	int64_t now_us;
	/* What there are partitions for: [oldest, end). Not known at first. */
	bool has_extent;
	int64_t oldest_us, end_us;
	int64_t width_us, width_max_us;
	int64_t after_us, after_seq; /* the position: what is behind it comes next */
	/* The window [lo, hi), by query_walk_next. */
	int64_t lo_us, hi_us;
	bool last;
};

void query_walk_init(struct query_walk *w, const struct telemetry_query *q, int64_t now_us);
/* Whether query_walk_extent has to be called before the next window. */
bool query_walk_wants_extent(const struct query_walk *w);
void query_walk_extent(struct query_walk *w, int64_t oldest_us, int64_t end_us);
/* Sets the next window; false: there is none, all was read. */
bool query_walk_next(struct query_walk *w);
/* A row of the window was taken. */
void query_walk_row(struct query_walk *w, int64_t us, int64_t seq);
/* The page is over. Full: as many rows as were asked for, over this time: the window has more. */
void query_walk_page(struct query_walk *w, bool full, int64_t span_us);

#endif
