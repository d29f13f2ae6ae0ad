/*
 * A tree over topic levels, for the subscription index and the retained messages: nodes that know
 * their parent, their level's text and their children. Single-threaded. Private to the broker.
 *
 * A tree's own node type begins with a struct level. Children are kept by number: one is a pointer,
 * a few an array, many a table with a seeded hash, so that a deep tree of single branches costs no
 * tables and a wide one no long searches, whatever names clients choose.
 */
#ifndef HF_BROKER_LEVELS_H
#define HF_BROKER_LEVELS_H

#include "server/base/slice.h"

/* Neither tree takes more levels than this; mqtt.max_topic_levels cannot pass it. It bounds the
 * depth of every walk. */
#define LEVELS_MAX 1024

struct wide;

struct level {
	struct level *parent;
	union {
		struct level *one;
		struct level **few;
		struct wide *many;
	} kids;
	uint32_t n_kids : 29, is_few : 1, is_many : 1;
	uint32_t has_plus : 1;       /* one of the children is "+" */
	uint16_t text_off, text_len; /* the text lies behind the node, in the same allocation */
};

/* Cuts the first level off *rest. *more: a '/' followed, so that *rest (maybe empty) holds one
 * level or more. */
static inline struct slice level_cut(struct slice *rest, bool *more)
{
	const uint8_t *slash = rest->n > 0 ? memchr(rest->p, '/', rest->n) : NULL;
	struct slice level = *rest;
	*more = slash != NULL;
	if (slash)
		level.n = (size_t)(slash - rest->p);
	*rest = slice_from(*rest, level.n + (slash ? 1 : 0));
	return level;
}

static inline bool level_is(struct slice level, char c)
{
	return level.n == 1 && level.p[0] == (uint8_t)c;
}

static inline struct slice level_text(const struct level *l)
{
	return slice_make((const uint8_t *)l + l->text_off, l->text_len);
}

/* What a child costs its parent's table, mostly. */
#define LEVEL_SLOT_BYTES (2 * (sizeof(struct level *) + sizeof(uint32_t)))

/* A zeroed root of node_size bytes, NULL when out of memory. */
struct level *levels_new(size_t node_size);
/* Calls done (may be NULL) for every node, then frees it. No recursion. */
void levels_free(struct level *root, void (*done)(struct level *l, void *arg), void *arg);

/* The child with this text, NULL if there is none. */
struct level *level_find(const struct level *l, struct slice text);
/* Adds one that is not there: zeroed, node_size bytes. NULL when out of memory. */
struct level *level_add(struct level *l, struct slice text, size_t node_size);
/* The child "+", NULL if there is none. */
static inline struct level *level_plus(const struct level *l)
{
	if (!l->has_plus)
		return NULL;
	return l->is_few || l->is_many ? level_find(l, SLICE_LIT("+")) : l->kids.one;
}
/* Takes a node without children from its parent and frees it. Returns the parent. */
struct level *level_drop(struct level *l);
/* Walks the children: start with *pos = 0, NULL at the end. */
struct level *level_next_kid(const struct level *l, size_t *pos);

#endif
