#include "broker/mem.h"
#include "broker/out.h"

#define RING_MIN 4
#define RING_KEEP 8 /* an empty ring of up to this size keeps its memory for the next message */

struct out *out_ring_push(struct out_ring *r)
{
	if (r->count == r->size) {
		uint32_t size = r->size ? r->size * 2 : RING_MIN;
		struct out *v = calloc(size, sizeof(*v));
		if (!v)
			return NULL;
		for (uint32_t i = 0; i < r->count; i++)
			v[i] = *out_ring_at(r, i);
		free(r->v);
		r->v = v;
		r->size = size;
		r->head = 0;
	}
	struct out *o = out_ring_at(r, r->count++);
	*o = (struct out){0};
	return o;
}

void out_ring_pop(struct out_ring *r)
{
	r->head = (r->head + 1) & (r->size - 1);
	r->count--;
	if (r->count == 0 && r->size > RING_KEEP)
		out_ring_free(r);
}

void out_ring_free(struct out_ring *r)
{
	free(r->v);
	*r = (struct out_ring){0};
}
