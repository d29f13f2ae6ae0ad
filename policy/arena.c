#include "policy/arena.h"

#include <stdlib.h>

#define BLOCK_SIZE ((size_t)2048)

struct arena_block {
	struct arena_block *older;
	size_t used, size;
	alignas(max_align_t) uint8_t bytes[];
};

static struct arena_block *block_new(size_t size)
{
	struct arena_block *b = calloc(1, sizeof(*b) + size);
	if (b)
		b->size = size;
	return b;
}

void *arena_alloc(struct arena *a, size_t n)
{
	const size_t align = alignof(max_align_t);
	n = (n + align - 1) / align * align;
	struct arena_block *b = a->blocks;
	if (!b || b->size - b->used < n) {
		b = block_new(n > BLOCK_SIZE ? n : BLOCK_SIZE);
		if (!b)
			return NULL;
		b->older = a->blocks;
		a->blocks = b;
	}
	void *p = b->bytes + b->used;
	b->used += n;
	return p;
}

struct slice arena_copy(struct arena *a, struct slice s)
{
	uint8_t *p = arena_alloc(a, s.n + 1);
	if (!p)
		return (struct slice){0};
	if (s.n > 0)
		memcpy(p, s.p, s.n);
	return slice_make(p, s.n);
}

void arena_free(struct arena *a)
{
	while (a->blocks) {
		struct arena_block *older = a->blocks->older;
		free(a->blocks);
		a->blocks = older;
	}
}
