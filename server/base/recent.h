/*
 * How often something happened lately, for each of any number of keys, in a fixed piece of memory
 * and without a lock: two rows of counters as in tally.h, each of which forgets. A count is that of
 * the window that runs and a part of the one before, as much of it as still lies within the last
 * window. Never too small by more than what saturates (65,535 in a window); too large where both
 * places of a key are shared with heavy ones. Any thread.
 */
#ifndef HF_BASE_RECENT_H
#define HF_BASE_RECENT_H

#include "server/base/slice.h"

struct recent;

/* slots: of a row; a power of two. NULL when out of memory. */
struct recent *recent_new(uint32_t slots);
struct recent *recent_free(struct recent *r); /* returns NULL */
/* One more at now_ms; window_ms: over 0, the same for all calls on r (when it changes, what was
 * counted is forgotten). Returns how many there were in the last window, this one included. */
unsigned recent_add(struct recent *r, struct slice key, uint64_t now_ms, unsigned window_ms);
unsigned recent_count(
        const struct recent *r, struct slice key, uint64_t now_ms, unsigned window_ms);

#endif
