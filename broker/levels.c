#include "broker/levels.h"

#include <assert.h>
#include <stdlib.h>

#include "server/base/map.h"

/* From one child more than FEW_MAX on there is a table; it stays until FEW_MIN are left, so that a
 * child that comes and goes does not rebuild it each time. */
#define FEW_MAX 8
#define FEW_MIN 4

/*
 * The children of a wide level: open addressing by the seeded hash of their texts, at most four
 * fifths full. "+" stands beside the slots, so that looking for it costs no hash.
 */
struct wide {
	uint32_t size; /* of the slots, a power of two */
	struct level *plus;
	struct level *kids[]; /* the slots; behind them as many hashes, 0: the slot is free */
};

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

static bool text_is(const struct level *l, struct slice text)
{
	return slice_eq(level_text(l), text);
}

/* ---- wide levels ---- */

static const uint32_t *wide_hashes(const struct wide *w)
{
	return (const uint32_t *)(w->kids + w->size);
}

static uint32_t text_hash(struct slice text)
{
	uint32_t hash = (uint32_t)hash_bytes(text.p, text.n);
	return hash ? hash : 1;
}

static struct wide *wide_new(uint32_t size)
{
	size_t slot = sizeof(struct level *) + sizeof(uint32_t);
	struct wide *w = calloc(1, sizeof(*w) + size * slot);
	if (w)
		w->size = size;
	return w;
}

static struct level *wide_find(const struct wide *w, struct slice text)
{
	if (level_is(text, '+'))
		return w->plus;
	const uint32_t *hashes = wide_hashes(w);
	uint32_t hash = text_hash(text), mask = w->size - 1;
	for (uint32_t i = hash & mask; hashes[i]; i = (i + 1) & mask) {
		if (hashes[i] == hash && text_is(w->kids[i], text))
			return w->kids[i];
	}
	return NULL;
}

static void wide_set(struct wide *w, uint32_t i, struct level *kid, uint32_t hash)
{
	w->kids[i] = kid;
	((uint32_t *)(w->kids + w->size))[i] = hash;
}

static void wide_insert(struct wide *w, struct level *kid, uint32_t hash)
{
	uint32_t mask = w->size - 1, i = hash & mask;
	while (w->kids[i])
		i = (i + 1) & mask;
	wide_set(w, i, kid, hash);
}

static void wide_put(struct wide *w, struct level *kid)
{
	if (level_is(level_text(kid), '+'))
		w->plus = kid;
	else
		wide_insert(w, kid, text_hash(level_text(kid)));
}

/* Moves the children into a table of size slots, all of which they must fit. */
static bool wide_resize(struct level *l, uint32_t size)
{
	struct wide *old = l->kids.many, *w = wide_new(size);
	if (!w)
		return false;
	const uint32_t *hashes = wide_hashes(old);
	w->plus = old->plus;
	for (uint32_t i = 0; i < old->size; i++) {
		if (old->kids[i])
			wide_insert(w, old->kids[i], hashes[i]);
	}
	free(old);
	l->kids.many = w;
	return true;
}

/* Frees the child's slot and moves back what had probed past it. */
static void wide_take(struct wide *w, const struct level *kid)
{
	if (w->plus == kid) {
		w->plus = NULL;
		return;
	}
	const uint32_t *hashes = wide_hashes(w);
	uint32_t mask = w->size - 1, gap = text_hash(level_text(kid)) & mask;
	while (w->kids[gap] != kid)
		gap = (gap + 1) & mask;
	for (uint32_t i = (gap + 1) & mask; hashes[i]; i = (i + 1) & mask) {
		if (((i - hashes[i]) & mask) < ((i - gap) & mask))
			continue;
		wide_set(w, gap, w->kids[i], hashes[i]);
		gap = i;
	}
	wide_set(w, gap, NULL, 0);
}

/* *pos: 0 for "+", from 1 on the slots. */
static struct level *wide_next(const struct wide *w, size_t *pos)
{
	if (*pos == 0) {
		*pos = 1;
		if (w->plus)
			return w->plus;
	}
	while (*pos <= w->size) {
		struct level *kid = w->kids[(*pos)++ - 1];
		if (kid)
			return kid;
	}
	return NULL;
}

/* ---- children, however many ---- */

struct level *level_next_kid(const struct level *l, size_t *pos)
{
	if (l->is_many)
		return wide_next(l->kids.many, pos);
	if (*pos >= l->n_kids)
		return NULL;
	size_t i = (*pos)++;
	return l->is_few ? l->kids.few[i] : l->kids.one;
}

struct level *level_find(const struct level *l, struct slice text)
{
	if (l->is_many)
		return wide_find(l->kids.many, text);
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
	if (l->is_many)
		free(l->kids.many);
	l->kids.few = few;
	l->is_few = true;
	l->is_many = false;
	return true;
}

static bool kids_to_many(struct level *l)
{
	struct wide *many = wide_new(2 * FEW_MAX);
	if (!many)
		return false;
	for (uint32_t i = 0; i < l->n_kids; i++)
		wide_put(many, l->kids.few[i]);
	free(l->kids.few);
	l->kids.many = many;
	l->is_few = false;
	l->is_many = true;
	return true;
}

static bool many_put(struct level *l, struct level *kid)
{
	uint32_t size = l->kids.many->size;
	if (l->n_kids >= size / 5 * 4 && (size > UINT32_MAX / 8 || !wide_resize(l, size * 2)))
		return false;
	wide_put(l->kids.many, kid);
	return true;
}

static bool kids_put(struct level *l, struct level *kid)
{
	if (l->n_kids == 1 && !l->is_few && !l->is_many && !kids_to_few(l))
		return false;
	if (l->is_few && l->n_kids == FEW_MAX && !kids_to_many(l))
		return false;
	if (l->is_many) {
		if (!many_put(l, kid))
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

/* Out of memory is no harm: a table that cannot get smaller serves until no child is left. */
static void many_take(struct level *l, const struct level *kid)
{
	struct wide *w = l->kids.many;
	wide_take(w, kid);
	l->n_kids--;
	if (l->n_kids == 0) {
		free(w);
		l->kids.one = NULL;
		l->is_many = false;
	} else if (l->n_kids == FEW_MIN) {
		kids_to_few(l);
	} else if (w->size > 2 * FEW_MAX && l->n_kids < w->size / 8) {
		wide_resize(l, w->size / 4);
	}
}

static void kids_take(struct level *l, const struct level *kid)
{
	if (l->is_few) {
		few_take(l, kid);
	} else if (l->is_many) {
		many_take(l, kid);
	} else {
		l->kids.one = NULL;
		l->n_kids = 0;
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
	l->has_plus |= level_is(text, '+');
	return kid;
}

struct level *level_drop(struct level *l)
{
	struct level *parent = l->parent;
	assert(parent && l->n_kids == 0);
	kids_take(parent, l);
	if (level_is(level_text(l), '+'))
		parent->has_plus = false;
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
		if (l->is_many)
			free(l->kids.many);
		if (done)
			done(l, arg);
		free(l);
	}
}
