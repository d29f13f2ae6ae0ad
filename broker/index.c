#include "broker/index.h"

#include <assert.h>
#include <stdlib.h>

#include "broker/levels.h"
#include "server/base/cleanup.h"
#include "server/base/err.h"

/*
 * The entries of one filter: none, one, which is the value itself, or a table: a hash table over
 * the values' keys with linear probing, at most three quarters full from 16 slots on. Keys are
 * pointers or numbers that the hub chose, so a plain multiplicative hash will do.
 */
struct table {
	uint32_t used, counted, size; /* size: a power of two */
	void *slots[];                /* NULL: free */
};
struct entries {
	void *p; /* the value, or the table with TABLE_TAG; values are aligned */
};
#define TABLE_TAG 1

/* '#' needs no node of its own: "a/#" is in `below` of the node "a", "#" in that of the root. */
struct node {
	struct level level;
	struct entries here, below;
};
/* A place is the node with this where `below` is meant. */
#define BELOW_TAG 1

struct index {
	struct node *root;
	const struct index_values *values;
	size_t count;
	uint64_t version;
};

/* ---- the entries of a filter ---- */

static struct table *table_of(const struct entries *es)
{
	bool tagged = (uintptr_t)es->p & TABLE_TAG;
	return tagged ? (struct table *)(void *)((char *)es->p - TABLE_TAG) : NULL;
}

static bool entries_empty(const struct entries *es)
{
	return !es->p; /* a table has one entry at least */
}

static uint32_t entries_counted(const struct index *ix, const struct entries *es)
{
	const struct table *t = table_of(es);
	return t ? t->counted : es->p && ix->values->counts(es->p);
}

static uint32_t key_home(const void *key, uint32_t size)
{
	uint64_t h = (uint64_t)(uintptr_t)key * UINT64_C(0x9E3779B97F4A7C15);
	return (uint32_t)(h >> 32) & (size - 1);
}

/* Where the entry of key is, or NULL. */
static void **entries_find(const struct index *ix, struct entries *es, const void *key)
{
	struct table *t = table_of(es);
	if (!t)
		return es->p && ix->values->key(es->p) == key ? &es->p : NULL;
	uint32_t i = key_home(key, t->size);
	for (uint32_t n = 0; n < t->size && t->slots[i]; n++) {
		if (ix->values->key(t->slots[i]) == key)
			return &t->slots[i];
		i = (i + 1) & (t->size - 1);
	}
	return NULL;
}

static void table_insert(const struct index *ix, struct table *t, void *value)
{
	uint32_t i = key_home(ix->values->key(value), t->size);
	while (t->slots[i])
		i = (i + 1) & (t->size - 1);
	t->slots[i] = value;
	t->used++;
	t->counted += ix->values->counts(value);
}

/* Moves the entries into a table of size slots, all of which they must fit. */
static bool entries_resize(const struct index *ix, struct entries *es, uint32_t size)
{
	struct table *old = table_of(es), *t = calloc(1, sizeof(*t) + size * sizeof(t->slots[0]));
	if (!t)
		return false;
	t->size = size;
	if (!old)
		table_insert(ix, t, es->p);
	for (uint32_t i = 0; old && i < old->size; i++) {
		if (old->slots[i])
			table_insert(ix, t, old->slots[i]);
	}
	free(old);
	es->p = (char *)t + TABLE_TAG;
	return true;
}

/* The last entry, or none, needs no table. */
static void entries_to_one(struct entries *es)
{
	struct table *t = table_of(es);
	es->p = NULL;
	for (uint32_t i = 0; i < t->size && !es->p; i++)
		es->p = t->slots[i];
	free(t);
}

static bool table_full(const struct table *t)
{
	return t->used >= (t->size < 16 ? t->size : t->size / 4 * 3);
}

static bool entries_add(const struct index *ix, struct entries *es, void *value)
{
	if (!es->p) {
		es->p = value;
		return true;
	}
	const struct table *t = table_of(es);
	if (!t || table_full(t)) {
		uint32_t size = t ? t->size * 2 : 2;
		if (size == 0 || !entries_resize(ix, es, size))
			return false;
	}
	table_insert(ix, table_of(es), value);
	return true;
}

/* Frees a slot and moves back what had probed past it, so that no tombstones are needed. */
static void table_close_gap(const struct index *ix, struct table *t, uint32_t gap)
{
	uint32_t mask = t->size - 1;
	t->slots[gap] = NULL;
	for (uint32_t i = (gap + 1) & mask; t->slots[i]; i = (i + 1) & mask) {
		uint32_t home = key_home(ix->values->key(t->slots[i]), t->size);
		if (((i - home) & mask) < ((i - gap) & mask))
			continue;
		t->slots[gap] = t->slots[i];
		t->slots[i] = NULL;
		gap = i;
	}
}

static void *entries_remove(const struct index *ix, struct entries *es, const void *key)
{
	void **slot = entries_find(ix, es, key);
	if (!slot)
		return NULL;
	void *value = *slot;
	struct table *t = table_of(es);
	if (!t) {
		es->p = NULL;
		return value;
	}
	t->used--;
	t->counted -= ix->values->counts(value);
	table_close_gap(ix, t, (uint32_t)(slot - t->slots));
	/* Two that come and go in turns keep their table. */
	if (t->used == 0 || (t->used == 1 && t->size > 2))
		entries_to_one(es);
	else if (t->used <= t->size / 4) /* out of memory: it stays as large as it is */
		entries_resize(ix, es, t->size / 2);
	return value;
}

/* ---- the tree ---- */

static struct node *node_of(struct level *l)
{
	return container_of(l, struct node, level);
}

struct index *index_new(const struct index_values *values)
{
	struct index *ix = calloc(1, sizeof(*ix));
	struct level *root = levels_new(sizeof(struct node));
	if (!ix || !root) {
		free(ix);
		free(root);
		return NULL;
	}
	ix->root = node_of(root);
	ix->values = values;
	return ix;
}

static void node_done(struct level *l, void *arg HF_UNUSED)
{
	struct node *n = node_of(l);
	free(table_of(&n->here));
	free(table_of(&n->below));
}

void index_free(struct index *ix)
{
	if (!ix)
		return;
	levels_free(&ix->root->level, node_done, NULL);
	free(ix);
}

/* Removes n and those above it that hold nothing any more. */
static void prune(struct index *ix, struct node *n)
{
	while (n != ix->root && n->level.n_kids == 0 && entries_empty(&n->here) &&
	        entries_empty(&n->below))
		n = node_of(level_drop(&n->level));
}

/* The node that a filter's entries belong to, and whether to `below` of it; NULL if there is none.
 */
static struct node *find_node(const struct index *ix, struct slice filter, bool *ret_below)
{
	struct node *n = ix->root;
	bool more = true;
	*ret_below = false;
	while (more) {
		struct slice level = level_cut(&filter, &more);
		if (!more && level_is(level, '#')) {
			*ret_below = true;
			return n;
		}
		struct level *kid = level_find(&n->level, level);
		if (!kid)
			return NULL;
		n = node_of(kid);
	}
	return n;
}

/* The same, made where it is missing; NULL when out of memory, with nothing left behind. */
static struct node *make_node(struct index *ix, struct slice filter, bool *ret_below)
{
	struct node *n = ix->root;
	bool more = true;
	*ret_below = false;
	while (more) {
		struct slice level = level_cut(&filter, &more);
		if (!more && level_is(level, '#')) {
			*ret_below = true;
			return n;
		}
		struct level *kid = level_find(&n->level, level);
		if (!kid)
			kid = level_add(&n->level, level, sizeof(struct node));
		if (!kid) {
			prune(ix, n);
			return NULL;
		}
		n = node_of(kid);
	}
	return n;
}

static size_t count_levels(struct slice filter)
{
	size_t count = 0;
	for (bool more = true; more && count <= LEVELS_MAX; count++)
		level_cut(&filter, &more);
	return count;
}

static struct index_place place_make(const struct node *n, bool below)
{
	return (struct index_place){(uintptr_t)n | (below ? BELOW_TAG : 0)};
}

static struct node *place_node(struct index_place place, bool *ret_below)
{
	*ret_below = place.bits & BELOW_TAG;
	return (struct node *)(place.bits & ~(uintptr_t)BELOW_TAG);
}

int index_put(struct index *ix, struct slice filter, void *value, struct index_place *ret_place,
        bool *ret_first)
{
	assert(value && !((uintptr_t)value & TABLE_TAG));
	if (filter.n > UINT16_MAX || count_levels(filter) > LEVELS_MAX)
		return ERR_TOO_BIG;
	bool below;
	struct node *n = make_node(ix, filter, &below);
	if (!n)
		return ERR_NOMEM;
	struct entries *es = below ? &n->below : &n->here;
	bool first = entries_counted(ix, es) == 0;
	if (entries_find(ix, es, ix->values->key(value)))
		return ERR_EXISTS;
	if (!entries_add(ix, es, value)) {
		prune(ix, n);
		return ERR_NOMEM;
	}
	ix->count++;
	ix->version++;
	if (ret_place)
		*ret_place = place_make(n, below);
	if (ret_first)
		*ret_first = first;
	return 0;
}

static void *take(struct index *ix, struct node *n, bool below, const void *key, bool *ret_last)
{
	struct entries *es = below ? &n->below : &n->here;
	void *value = entries_remove(ix, es, key);
	if (!value)
		return NULL;
	if (ret_last)
		*ret_last = ix->values->counts(value) && entries_counted(ix, es) == 0;
	ix->count--;
	ix->version++;
	prune(ix, n);
	return value;
}

void *index_remove(struct index *ix, struct slice filter, const void *key, bool *ret_last)
{
	bool below;
	struct node *n = find_node(ix, filter, &below);
	if (ret_last)
		*ret_last = false;
	return n ? take(ix, n, below, key, ret_last) : NULL;
}

void *index_take(struct index *ix, struct index_place place, const void *key, bool *ret_last)
{
	bool below;
	struct node *n = place_node(place, &below);
	if (ret_last)
		*ret_last = false;
	return take(ix, n, below, key, ret_last);
}

void *index_get(const struct index *ix, struct slice filter, const void *key)
{
	bool below;
	struct node *n = find_node(ix, filter, &below);
	void **slot = n ? entries_find(ix, below ? &n->below : &n->here, key) : NULL;
	return slot ? *slot : NULL;
}

bool index_has(const struct index *ix, struct slice filter)
{
	bool below;
	const struct node *n = find_node(ix, filter, &below);
	return n && !entries_empty(below ? &n->below : &n->here);
}

struct slice index_text(struct index_place place, uint8_t text[static INDEX_TEXT_MAX])
{
	bool below;
	uint8_t *end = text + INDEX_TEXT_MAX, *at = end;
	const struct node *n = place_node(place, &below);
	bool behind = below; /* another level follows */
	if (below)
		*--at = '#';
	for (const struct level *l = &n->level; l->parent; l = l->parent) {
		struct slice level = level_text(l);
		if (behind)
			*--at = '/';
		behind = true;
		at -= level.n;
		if (level.n > 0)
			memcpy(at, level.p, level.n);
	}
	return slice_make(at, (size_t)(end - at));
}

size_t index_count(const struct index *ix)
{
	return ix->count;
}

uint64_t index_version(const struct index *ix)
{
	return ix->version;
}

/* ---- matching ---- */

static void entries_tell(const struct entries *es, void (*found)(void *value, void *arg), void *arg)
{
	const struct table *t = table_of(es);
	if (!t && es->p)
		found(es->p, arg);
	for (uint32_t i = 0; t && i < t->size; i++) {
		if (t->slots[i])
			found(t->slots[i], arg);
	}
}

/* A branch: the topic's levels up to n are matched, rest (if more) is still to be. */
struct branch {
	const struct node *n;
	struct slice rest;
	bool more;
};

/* One level down: returns false at the end of the branch. Where the topic's own level and '+' both
 * lead on, *fork is the second way. */
static bool descend(struct branch *at, bool wildcards, struct branch *fork)
{
	fork->n = NULL;
	if (!at->more)
		return false;
	struct slice level = level_cut(&at->rest, &at->more);
	struct level *plus = wildcards ? level_plus(&at->n->level) : NULL;
	struct level *kid = level_find(&at->n->level, level);
	if (kid && plus)
		*fork = (struct branch){node_of(plus), at->rest, at->more};
	else if (!kid)
		kid = plus;
	at->n = kid ? node_of(kid) : NULL;
	return kid != NULL;
}

void index_match(const struct index *ix, struct slice topic, void (*found)(void *value, void *arg),
        void *arg)
{
	/* Each level of the tree leaves at most one way open, and there are LEVELS_MAX of them. */
	struct branch open[LEVELS_MAX], fork;
	size_t n_open = 0;
	struct branch at = {ix->root, topic, true};
	bool wildcards = topic.n == 0 || topic.p[0] != '$'; /* [MQTT-4.7.2-1] */
	for (;;) {
		if (wildcards)
			entries_tell(&at.n->below, found, arg);
		if (!at.more)
			entries_tell(&at.n->here, found, arg);
		bool on = descend(&at, wildcards, &fork);
		wildcards = true;
		if (fork.n)
			open[n_open++] = fork;
		if (on)
			continue;
		if (n_open == 0)
			return;
		at = open[--n_open];
	}
}

static void note_found(HF_UNUSED void *value, void *arg)
{
	*(bool *)arg = true;
}

bool index_empty_for(const struct index *ix, struct slice topic)
{
	bool any = false;
	index_match(ix, topic, note_found, &any);
	return !any;
}
