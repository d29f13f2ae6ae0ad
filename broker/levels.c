#include "broker/levels.h"

#include <assert.h>
#include <stdlib.h>

#include "server/base/map.h"

/* From one child more than FEW_MAX on there is a map; it stays until FEW_MIN are left, so that a
 * child that comes and goes does not rebuild it each time. */
#define FEW_MAX 8
#define FEW_MIN 4

static struct level *level_new(struct slice text, size_t node_size)
{
	assert(text.n <= UINT16_MAX && node_size >= sizeof(struct level) && node_size < 4096);
	struct level *l = calloc(1, node_size + text.n);
	if (!l)
		return NULL;
	l->text_off = (uint16_t)node_size;
	l->text_len = (uint16_t)text.n;
	if (text.n > 0)
		memcpy((uint8_t *)l + node_size, text.p, text.n);
	return l;
}

struct level *levels_new(size_t node_size)
{
	return level_new(slice_make(NULL, 0), node_size);
}

struct level *level_next_kid(const struct level *l, size_t *pos)
{
	if (l->is_many)
		return map_next(l->kids.many, pos);
	if (*pos >= l->n_kids)
		return NULL;
	size_t i = (*pos)++;
	return l->is_few ? l->kids.few[i] : l->kids.one;
}

static bool text_is(const struct level *l, struct slice text)
{
	return slice_eq(level_text(l), text);
}

struct level *level_find(const struct level *l, struct slice text)
{
	if (l->is_many)
		return map_get(l->kids.many, text);
	if (!l->is_few)
		return l->n_kids > 0 && text_is(l->kids.one, text) ? l->kids.one : NULL;
	for (uint32_t i = 0; i < l->n_kids; i++) {
		if (text_is(l->kids.few[i], text))
			return l->kids.few[i];
	}
	return NULL;
}

static bool kids_to_few(struct level *l)
{
	struct level **few = calloc(FEW_MAX, sizeof(struct level *));
	if (!few)
		return false;
	size_t pos = 0;
	for (uint32_t i = 0; i < l->n_kids; i++)
		few[i] = level_next_kid(l, &pos);
	if (l->is_many) {
		map_free(l->kids.many);
		free(l->kids.many);
	}
	l->kids.few = few;
	l->is_few = true;
	l->is_many = false;
	return true;
}

static bool kids_to_many(struct level *l)
{
	struct map *many = malloc(sizeof(*many));
	if (!many)
		return false;
	map_init(many);
	for (uint32_t i = 0; i < l->n_kids; i++) {
		struct level *kid = l->kids.few[i];
		if (map_put(many, level_text(kid), kid, NULL) < 0) {
			map_free(many);
			free(many);
			return false;
		}
	}
	free(l->kids.few);
	l->kids.many = many;
	l->is_few = false;
	l->is_many = true;
	return true;
}

static bool kids_put(struct level *l, struct level *kid)
{
	if (l->n_kids == 1 && !l->is_few && !l->is_many && !kids_to_few(l))
		return false;
	if (l->is_few && l->n_kids == FEW_MAX && !kids_to_many(l))
		return false;
	if (l->is_many) {
		if (map_put(l->kids.many, level_text(kid), kid, NULL) < 0)
			return false;
	} else if (l->is_few) {
		l->kids.few[l->n_kids] = kid;
	} else {
		l->kids.one = kid;
	}
	l->n_kids++;
	return true;
}

static void few_take(struct level *l, const struct level *kid)
{
	uint32_t i = 0;
	while (l->kids.few[i] != kid)
		i++;
	l->kids.few[i] = l->kids.few[--l->n_kids];
	if (l->n_kids > 1)
		return;
	struct level *last = l->kids.few[0];
	free(l->kids.few);
	l->kids.one = last;
	l->is_few = false;
}

static void kids_take(struct level *l, const struct level *kid)
{
	if (l->is_few) {
		few_take(l, kid);
	} else if (l->is_many) {
		map_remove(l->kids.many, level_text(kid));
		l->n_kids--;
		if (l->n_kids == FEW_MIN)
			kids_to_few(l); /* out of memory: the map serves until one is left */
	} else {
		l->kids.one = NULL;
		l->n_kids = 0;
	}
	if (l->n_kids == 0 && l->is_many) {
		map_free(l->kids.many);
		free(l->kids.many);
		l->kids.one = NULL;
		l->is_many = false;
	}
}

struct level *level_add(struct level *l, struct slice text, size_t node_size)
{
	struct level *kid = level_new(text, node_size);
	if (!kid)
		return NULL;
	kid->parent = l;
	if (!kids_put(l, kid)) {
		free(kid);
		return NULL;
	}
	return kid;
}

struct level *level_drop(struct level *l)
{
	struct level *parent = l->parent;
	assert(parent && l->n_kids == 0);
	kids_take(parent, l);
	free(l);
	return parent;
}

void levels_free(struct level *root, void (*done)(struct level *l, void *arg), void *arg)
{
	/* A node's parent is not needed any more once it waits here: the pointer links the list. */
	struct level *waiting = root, *kid;
	while (waiting) {
		struct level *l = waiting;
		waiting = l->parent;
		for (size_t pos = 0; (kid = level_next_kid(l, &pos)) != NULL;) {
			kid->parent = waiting;
			waiting = kid;
		}
		if (l->is_few)
			free(l->kids.few);
		if (l->is_many) {
			map_free(l->kids.many);
			free(l->kids.many);
		}
		if (done)
			done(l, arg);
		free(l);
	}
}
