#include "storage/query_walk.h"

#define SECOND_US 1000000LL
#define DAY_US (86400 * SECOND_US)
/* Up to so many devices the index is asked for each of them. */
#define GROUP_SMALL 256

/* One device's rows come in order from its index, so wide windows cost nothing but the partitions
 * that they touch. Rows of many devices are sorted, so their windows begin small. */
static void set_widths(struct query_walk *w)
{
	w->width_us = SECOND_US;
	w->width_max_us = 900 * SECOND_US;
	if (w->q->scope == TELEMETRY_DEVICE) {
		w->width_us = DAY_US;
		w->width_max_us = 64 * DAY_US;
	} else if (w->q->scope == TELEMETRY_GROUP && w->q->n_devices <= GROUP_SMALL) {
		w->width_max_us = DAY_US;
	}
}

void query_walk_init(struct query_walk *w, const struct telemetry_query *q, int64_t now_us)
{
	*w = (struct query_walk){.q = q, .now_us = now_us};
	w->after_us = q->ascending ? INT64_MIN : INT64_MAX;
	w->after_seq = w->after_us;
	if (q->has_after) {
		w->after_us = q->after_us;
		w->after_seq = q->after_seq;
	}
	set_widths(w);
}

/* Backwards it begins with what is new, where nobody has to know where the old ends. */
bool query_walk_wants_extent(const struct query_walk *w)
{
	return !w->has_extent && (w->q->ascending || w->lo_us != w->hi_us);
}

void query_walk_extent(struct query_walk *w, int64_t oldest_us, int64_t end_us)
{
	w->has_extent = true;
	w->oldest_us = oldest_us;
	w->end_us = end_us;
}

static int64_t smaller(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static int64_t larger(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

static void next_forwards(struct query_walk *w)
{
	int64_t end = smaller(w->q->to_us, w->end_us);
	w->lo_us = larger(larger(w->q->from_us, w->oldest_us), w->after_us);
	w->hi_us = w->lo_us < end - w->width_us ? w->lo_us + w->width_us : end;
	w->last = w->hi_us == end;
}

static void next_backwards(struct query_walk *w)
{
	int64_t oldest = w->has_extent ? larger(w->q->from_us, w->oldest_us) : w->q->from_us;
	w->hi_us = w->q->to_us;
	if (w->after_us < INT64_MAX)
		w->hi_us = smaller(w->hi_us, w->after_us + 1);
	w->lo_us = larger(oldest, smaller(w->hi_us, w->now_us) - w->width_us);
	w->last = w->lo_us == oldest;
}

bool query_walk_next(struct query_walk *w)
{
	if (w->q->ascending)
		next_forwards(w);
	else
		next_backwards(w);
	return w->lo_us < w->hi_us;
}

void query_walk_row(struct query_walk *w, int64_t us, int64_t seq)
{
	w->after_us = us;
	w->after_seq = seq;
}

void query_walk_page(struct query_walk *w, bool full, int64_t span_us)
{
	if (full) {
		if (w->q->scope != TELEMETRY_DEVICE)
			w->width_us = smaller(2 * span_us + 1000, w->width_max_us);
		return;
	}
	/* Behind the window, at a place where no message is. */
	w->after_us = w->q->ascending ? w->hi_us - 1 : w->lo_us;
	w->after_seq = w->q->ascending ? INT64_MAX : INT64_MIN;
	w->width_us = smaller(4 * w->width_us, w->width_max_us);
}
