/*
 * Private to the room. Small allocations of a fixed size: when there is no memory for them nothing
 * sensible can go on, and the process ends (the store keeps what was acknowledged). What a client
 * chooses the size of is bounded first and allocated with malloc, whose failure is an error.
 */
#ifndef HF_BROKER_MEM_H
#define HF_BROKER_MEM_H

#include <stdlib.h>

static inline void *mem_new(size_t n)
{
	void *p = calloc(1, n);

	if (!p)
		abort();
	return p;
}

#endif
