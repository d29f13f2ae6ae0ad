/*
 * A sum for each of any number of keys, in a fixed piece of memory and without a lock: two rows of
 * counters, a key has one in each, and the smaller of the two is its sum (a count-min sketch). It
 * is never too small; where both places of a key are shared with heavy ones it is too large. For
 * limits of one party that is counted on several threads. Keys are placed by a hash that is seeded
 * at process start, so that nobody can choose whose places they share. Any thread.
 */
#ifndef HF_BASE_TALLY_H
#define HF_BASE_TALLY_H

#include "server/base/slice.h"

struct tally;

/* slots: of a row; a power of two. NULL when out of memory. */
struct tally *tally_new(uint32_t slots);
struct tally *tally_free(struct tally *t); /* returns NULL */
/* Adds n, which may be negative: what was added must be taken off under the same key. Returns the
 * key's sum afterwards. */
int64_t tally_add(struct tally *t, struct slice key, int64_t n);
int64_t tally_sum(const struct tally *t, struct slice key);

#endif
