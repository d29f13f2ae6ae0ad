/*
 * Counts equal things of a moment, without a lock and without memory of its own: a table of fixed
 * size. Any thread notes; one thread takes. What finds no room is only counted.
 */
#ifndef HF_STORAGE_MERGE_H
#define HF_STORAGE_MERGE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct merge {
	unsigned n_slots; /* a power of two */
	size_t slot_size;
	_Atomic uint64_t *words; /* state, tag and count of each slot; 0: free */
	uint8_t *slots;
	_Atomic uint64_t dropped;
	unsigned at; /* the taker's: where it goes on */
};

/* Room for n_slots things of at most most bytes. 0 or ERR_NOMEM. */
int merge_init(struct merge *m, unsigned n_slots, size_t most);
void merge_free(struct merge *m);

/* Any thread; never waits: one more of this. What is longer than most is cut. */
void merge_note(struct merge *m, const void *thing, size_t n);

struct merged {
	const uint8_t *thing;
	size_t n;
	uint32_t count;
	int64_t first_us; /* when it was noted first, by the wall clock */
};
/* The taker: up to max of them, each once; what is noted meanwhile is there the next time. Returns
 * how many. */
unsigned merge_take(
        struct merge *m, unsigned max, void (*row)(void *arg, const struct merged *it), void *arg);
/* How many found no room since it was asked last. */
uint64_t merge_dropped(struct merge *m);

#endif
