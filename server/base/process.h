/* The process_* figures of the metrics, read from the kernel when asked for. Private to metrics.c.
 */
#ifndef HF_BASE_PROCESS_H
#define HF_BASE_PROCESS_H

#include "server/base/buf.h"

/* Appends CPU time, memory, descriptors and start time. What /proc does not tell is left out. 0 or
 * buf's error. */
int process_render(struct buf *out);

#endif
