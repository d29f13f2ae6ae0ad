/*
 * Memory that is given out bit by bit and freed at once: for what is compiled and then never
 * changes. Owned by one thread while it grows. Private to the room.
 */
#ifndef HF_POLICY_ARENA_H
#define HF_POLICY_ARENA_H

#include <stdalign.h>

#include "server/base/slice.h"

struct arena_block;
struct arena {
	struct arena_block *blocks; /* the newest first */
};

/* n zeroed bytes, aligned for anything; NULL when out of memory. */
void *arena_alloc(struct arena *a, size_t n);
/* A copy of s with a NUL behind it; p is NULL when out of memory. */
struct slice arena_copy(struct arena *a, struct slice s);
void arena_free(struct arena *a);

#endif
