#include "policy/ip_scopes.h"

#include <stdlib.h>
#include <string.h>

#include "server/base/cleanup.h"
#include "server/base/map.h"

#define NAME_MAX_BYTES 256

/* One scope and name. */
struct scoped {
	struct ip_table *table;
	bool closed;
	size_t key_len;
	char key[]; /* the letter and the name */
};

struct ip_scopes {
	struct scoped *hub; /* in the map too */
	struct map by_key;
};

static int entry_compare(const void *a, const void *b)
{
	const struct ip_entry *const *x = a, *const *y = b;
	int diff = (int)(*x)->scope - (int)(*y)->scope;
	if (diff == 0 && (*x)->scope != SCOPE_HUB)
		diff = strcmp((*x)->name, (*y)->name);
	if (diff != 0)
		return diff;
	return *x < *y ? -1 : *x > *y; /* as they were given */
}

static bool same_scope(const struct ip_entry *a, const struct ip_entry *b)
{
	return a->scope == b->scope && (a->scope == SCOPE_HUB || strcmp(a->name, b->name) == 0);
}

static struct ip_table *table_make(const struct ip_entry *const *run, size_t n)
{
	_cleanup_free_ struct ip_net *nets = calloc(2 * n, sizeof(*nets));
	size_t count = 0;
	if (!nets)
		return NULL;
	for (size_t i = 0; i < n; i++) {
		struct ip_net net = {.net = run[i]->net, .value = run[i]->value};
		if (run[i]->everywhere) {
			net.net = (struct cidr){.v6 = true};
			nets[count++] = net;
			net.net.v6 = false;
		}
		nets[count++] = net;
	}
	return ip_table_new(nets, count);
}

static struct scoped *scoped_free(struct scoped *s)
{
	if (s)
		ip_table_free(s->table);
	free(s);
	return NULL;
}

static struct scoped *scoped_new(const struct ip_entry *const *run, size_t n)
{
	const char *name = run[0]->scope == SCOPE_HUB ? "" : run[0]->name;
	size_t len = strlen(name);
	struct scoped *s = calloc(1, sizeof(*s) + 1 + len);
	if (!s)
		return NULL;
	s->key[0] = (char)run[0]->scope;
	memcpy(s->key + 1, name, len);
	s->key_len = 1 + len;
	for (size_t i = 0; i < n; i++)
		s->closed = s->closed || run[i]->closes;
	s->table = table_make(run, n);
	return s->table ? s : scoped_free(s);
}

static int add_run(struct ip_scopes *s, const struct ip_entry *const *run, size_t n)
{
	struct scoped *one = scoped_new(run, n);
	if (!one)
		return -1;
	if (map_put(&s->by_key, slice_make(one->key, one->key_len), one, NULL) < 0) {
		scoped_free(one);
		return -1;
	}
	if (run[0]->scope == SCOPE_HUB)
		s->hub = one;
	return 0;
}

struct ip_scopes *ip_scopes_new(const struct ip_entry *entries, size_t n)
{
	_cleanup_free_ const struct ip_entry **sorted = calloc(n + 1, sizeof(const void *));
	struct ip_scopes *s = calloc(1, sizeof(*s));
	if (!s || !sorted) {
		free(s);
		return NULL;
	}
	map_init(&s->by_key);
	for (size_t i = 0; i < n; i++)
		sorted[i] = &entries[i];
	qsort(sorted, n, sizeof(const void *), entry_compare);
	for (size_t from = 0, to; from < n; from = to) {
		for (to = from + 1; to < n && same_scope(sorted[from], sorted[to]);)
			to++;
		if (add_run(s, sorted + from, to - from) < 0)
			return ip_scopes_free(s);
	}
	return s;
}

struct ip_scopes *ip_scopes_free(struct ip_scopes *s)
{
	struct scoped *one;
	if (!s)
		return NULL;
	map_for_each (&s->by_key, pos, one)
		scoped_free(one);
	map_free(&s->by_key);
	free(s);
	return NULL;
}

const struct ip_table *ip_scopes_get(
        const struct ip_scopes *s, enum ip_scope scope, struct slice name, bool *ret_closed)
{
	char key[1 + NAME_MAX_BYTES];
	const struct scoped *one = s->hub;
	if (scope != SCOPE_HUB) {
		if (!ip_scopes_named(s) || name.n > NAME_MAX_BYTES)
			return NULL;
		key[0] = (char)scope;
		if (name.n > 0)
			memcpy(key + 1, name.p, name.n);
		one = map_get(&s->by_key, slice_make(key, 1 + name.n));
	}
	if (one && ret_closed)
		*ret_closed = one->closed;
	return one ? one->table : NULL;
}

bool ip_scopes_named(const struct ip_scopes *s)
{
	return map_count(&s->by_key) > (s->hub ? 1 : 0);
}
