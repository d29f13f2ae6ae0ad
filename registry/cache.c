#include "registry/cache.h"

/* How many held identities a put steps over in search of one to drop. */
#define EVICT_STEPS 16

void cache_init(struct cache *c, size_t max)
{
	*c = (struct cache){.max = max};
	map_init(&c->map);
}

void cache_done(struct cache *c)
{
	cache_forget_all(c);
	map_free(&c->map);
}

static void list_add(struct cache *c, struct identity *i)
{
	i->newer = NULL;
	i->older = c->newest;
	if (c->newest)
		c->newest->newer = i;
	else
		c->oldest = i;
	c->newest = i;
}

static void list_remove(struct cache *c, struct identity *i)
{
	*(i->newer ? &i->newer->older : &c->newest) = i->older;
	*(i->older ? &i->older->newer : &c->oldest) = i->newer;
	i->newer = i->older = NULL;
}

static void touch(struct cache *c, struct identity *i)
{
	if (c->newest == i)
		return;
	list_remove(c, i);
	list_add(c, i);
}

static void drop(struct cache *c, struct identity *i)
{
	map_remove(&c->map, identity_name(i));
	list_remove(c, i);
	identity_unref(i);
}

struct identity *cache_get(struct cache *c, struct slice name, uint64_t epoch)
{
	struct identity *i = map_get(&c->map, name);
	if (!i)
		return NULL;
	if (i->epoch != epoch) {
		i->forgotten = true;
		drop(c, i);
		return NULL;
	}
	touch(c, i);
	return i;
}

static void make_room(struct cache *c)
{
	for (unsigned steps = 0;
	        map_count(&c->map) >= c->max && c->oldest && steps < EVICT_STEPS;) {
		if (c->oldest->refs == 1) {
			drop(c, c->oldest);
		} else {
			touch(c, c->oldest);
			steps++;
		}
	}
}

void cache_put(struct cache *c, struct identity *i)
{
	cache_forget(c, identity_name(i));
	make_room(c);
	if (map_put(&c->map, identity_name(i), i, NULL) < 0)
		return;
	list_add(c, identity_ref(i));
}

void cache_forget(struct cache *c, struct slice name)
{
	struct identity *i = map_get(&c->map, name);
	if (!i)
		return;
	i->forgotten = true;
	drop(c, i);
}

void cache_forget_all(struct cache *c)
{
	while (c->oldest) {
		c->oldest->forgotten = true;
		drop(c, c->oldest);
	}
}

void cache_set_max(struct cache *c, size_t max)
{
	c->max = max;
}
