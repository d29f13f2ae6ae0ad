/*
 * Counters and gauges from metrics.def, one cache-line-aligned set per thread with relaxed adds,
 * summed when read. Labels come from the tables of end.def, deny.def and err.def by an index.
 */
#ifndef HF_BASE_METRICS_H
#define HF_BASE_METRICS_H

#include <stdint.h>

#include "server/base/buf.h"
#include "server/base/metrics_tables.h"

enum metric {
#define COUNTER(id, name, help) METRIC_##id,
#define GAUGE(id, name, help) METRIC_##id,
#define COUNTER_BY(id, name, label, count, label_of, help) \
	METRIC_##id, METRIC_##id##_last = METRIC_##id + (count)-1,
#define HISTOGRAM(id, name, help) METRIC_##id, METRIC_##id##_last = METRIC_##id + 17,
#include "server/base/metrics.def"
#undef COUNTER
#undef GAUGE
#undef COUNTER_BY
#undef HISTOGRAM
	METRIC_COUNT
};

/* Adds to a counter or gauge (gauges may go down; the sum over threads is what counts). */
void metric_add(enum metric m, int64_t n);
static inline void metric_inc(enum metric m)
{
	metric_add(m, 1);
}
/* One of a labelled family: metric_inc_by(METRIC_CONNECTIONS_ENDED, END_KEEP_ALIVE). */
void metric_inc_by(enum metric first, unsigned label);
/* Sets a gauge whose writer is one thread only. */
void metric_set(enum metric m, int64_t v);
/* Notes a duration in a histogram: buckets of 2^i * 100 us for i = 0..14, +Inf, sum, count. */
void metric_observe_us(enum metric m, uint64_t us);

int64_t metric_read(enum metric m);
/* Appends everything in the Prometheus text format 0.0.4, process_* figures too. 0 or buf's error.
 */
int metrics_render(struct buf *out);

#endif
