#include "broker/index.h"

#include <assert.h>
#include <stdlib.h>

#include "broker/levels.h"
#include "server/base/cleanup.h"
#include "server/base/err.h"

struct entry {
	const void *key;
	void *value; /* NULL: the slot is free */
};

/*
 * The entries of one filter: a hash table over keys with linear probing, at most three quarters
 * full from 16 slots on; the usual single entry needs no table. Keys are pointers or numbers that
 * the hub chose, so a plain multiplicative hash will do.
 */
struct entries {
	union {
		struct entry one;
		struct entry *slots;
	};
	uint32_t used, size; /* size: a power of two, 0 and 1: one is meant */
};

/* '#' needs no node of its own: "a/#" is in `below` of the node "a", "#" in that of the root. */
struct node {
	struct level level;
	struct node *plus; /* the child "+", also one of level's children */
	struct entries here, below;
};

struct index {
	struct node *root;
	size_t count;
	uint64_t version;
};

/* ---- the entries of a filter ---- */

static const struct entry *entries_slots(const struct entries *es)
{
	return es->size > 1 ? es->slots : &es->one;
}

static uint32_t entries_home(const void *key, uint32_t size)
{
	uint64_t h = (uint64_t)(uintptr_t)key * UINT64_C(0x9E3779B97F4A7C15);
	return (uint32_t)(h >> 32) & (size - 1);
}

/* The entry of key, or NULL. */
static struct entry *entries_find(struct entries *es, const void *key)
{
	if (es->size <= 1)
		return es->one.value && es->one.key == key ? &es->one : NULL;
	uint32_t i = entries_home(key, es->size);
	for (uint32_t n = 0; n < es->size && es->slots[i].value; n++) {
		if (es->slots[i].key == key)
			return &es->slots[i];
		i = (i + 1) & (es->size - 1);
	}
	return NULL;
}

static void slots_insert(struct entry *slots, uint32_t size, struct entry e)
{
	uint32_t i = entries_home(e.key, size);
	while (slots[i].value)
		i = (i + 1) & (size - 1);
	slots[i] = e;
}

/* Moves the entries into a table of size slots, all of which they must fit. */
static bool entries_resize(struct entries *es, uint32_t size)
{
	struct entry *slots = NULL, one = {NULL, NULL};
	if (size > 1) {
		slots = calloc(size, sizeof(*slots));
		if (!slots)
			return false;
	}
	const struct entry *old = entries_slots(es);
	uint32_t old_size = es->size > 1 ? es->size : 1;
	for (uint32_t i = 0; i < old_size; i++) {
		if (old[i].value && slots)
			slots_insert(slots, size, old[i]);
		else if (old[i].value)
			one = old[i];
	}
	if (es->size > 1)
		free(es->slots);
	if (slots)
		es->slots = slots;
	else
		es->one = one;
	es->size = size;
	return true;
}

static bool entries_full(const struct entries *es)
{
	if (es->size < 16)
		return es->used >= (es->size > 1 ? es->size : 1);
	return es->used >= es->size / 4 * 3;
}

static bool entries_add(struct entries *es, const void *key, void *value)
{
	if (entries_full(es)) {
		uint32_t size = es->size > 1 ? es->size * 2 : 2;
		if (size == 0 || !entries_resize(es, size))
			return false;
	}
	if (es->size <= 1)
		es->one = (struct entry){key, value};
	else
		slots_insert(es->slots, es->size, (struct entry){key, value});
	es->used++;
	return true;
}

/* Frees a slot and moves back what had probed past it, so that no tombstones are needed. */
static void entries_close_gap(struct entries *es, uint32_t gap)
{
	uint32_t mask = es->size - 1;
	es->slots[gap] = (struct entry){NULL, NULL};
	for (uint32_t i = (gap + 1) & mask; es->slots[i].value; i = (i + 1) & mask) {
		uint32_t home = entries_home(es->slots[i].key, es->size);
		if (((i - home) & mask) < ((i - gap) & mask))
			continue;
		es->slots[gap] = es->slots[i];
		es->slots[i] = (struct entry){NULL, NULL};
		gap = i;
	}
}

static void *entries_remove(struct entries *es, const void *key)
{
	struct entry *e = entries_find(es, key);
	if (!e)
		return NULL;
	void *value = e->value;
	if (es->size <= 1)
		*e = (struct entry){NULL, NULL};
	else
		entries_close_gap(es, (uint32_t)(e - es->slots));
	es->used--;
	/* Out of memory is no harm: the table stays as large as it is. */
	if (es->size > 1 && es->used <= es->size / 4)
		entries_resize(es, es->size > 4 ? es->size / 2 : 1);
	return value;
}

/* ---- the tree ---- */

static struct node *node_of(struct level *l)
{
	return container_of(l, struct node, level);
}

struct index *index_new(void)
{
	struct index *ix = calloc(1, sizeof(*ix));
	struct level *root = levels_new(sizeof(struct node));
	if (!ix || !root) {
		free(ix);
		free(root);
		return NULL;
	}
	ix->root = node_of(root);
	return ix;
}

static void node_done(struct level *l, void *arg HF_UNUSED)
{
	struct node *n = node_of(l);
	if (n->here.size > 1)
		free(n->here.slots);
	if (n->below.size > 1)
		free(n->below.slots);
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
	while (n != ix->root && n->level.n_kids == 0 && n->here.used == 0 && n->below.used == 0) {
		struct node *parent = node_of(n->level.parent);
		if (parent->plus == n)
			parent->plus = NULL;
		level_drop(&n->level);
		n = parent;
	}
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
		if (level_is(level, '+'))
			n->plus = node_of(kid);
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

int index_put(struct index *ix, struct slice filter, const void *key, void *value, bool *ret_first,
        void **ret_old)
{
	assert(value);
	if (filter.n > UINT16_MAX || count_levels(filter) > LEVELS_MAX)
		return ERR_TOO_BIG;
	bool below;
	struct node *n = make_node(ix, filter, &below);
	if (!n)
		return ERR_NOMEM;
	struct entries *es = below ? &n->below : &n->here;
	bool first = es->used == 0;
	void *old_value = NULL;
	struct entry *old = entries_find(es, key);
	if (old) {
		old_value = old->value;
		old->value = value;
	} else if (entries_add(es, key, value)) {
		ix->count++;
	} else {
		prune(ix, n);
		return ERR_NOMEM;
	}
	ix->version++;
	if (ret_first)
		*ret_first = first;
	if (ret_old)
		*ret_old = old_value;
	return 0;
}

void *index_remove(struct index *ix, struct slice filter, const void *key, bool *ret_last)
{
	bool below;
	struct node *n = find_node(ix, filter, &below);
	struct entries *es = !n ? NULL : below ? &n->below : &n->here;
	void *value = es ? entries_remove(es, key) : NULL;
	if (ret_last)
		*ret_last = value && es->used == 0;
	if (!value)
		return NULL;
	ix->count--;
	ix->version++;
	prune(ix, n);
	return value;
}

bool index_has(const struct index *ix, struct slice filter)
{
	bool below;
	const struct node *n = find_node(ix, filter, &below);
	return n && (below ? n->below.used : n->here.used) > 0;
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
	if (es->used == 0)
		return;
	const struct entry *slots = entries_slots(es);
	uint32_t size = es->size > 1 ? es->size : 1;
	for (uint32_t i = 0; i < size; i++) {
		if (slots[i].value)
			found(slots[i].value, arg);
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
	const struct node *plus = wildcards ? at->n->plus : NULL;
	struct level *kid = level_find(&at->n->level, level);
	if (kid && plus)
		*fork = (struct branch){plus, at->rest, at->more};
	at->n = kid ? node_of(kid) : plus;
	return at->n != NULL;
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
