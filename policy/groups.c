/* The groups: who is in them by a condition, what they carry. A part of the rules. */
#include <stdlib.h>

#include "policy/rights.h"
#include "server/base/cleanup.h"
#include "server/base/err.h"
#include "server/base/log.h"
#include "server/base/map.h"
#include "server/base/where.h"

struct groups {
	struct part part; /* first */
	struct arena arena;
	struct map by_name;
	unsigned n_dynamic;
	const struct group **dynamic;
};

static void groups_free(struct part *part)
{
	struct groups *g = (struct groups *)part;
	for (unsigned i = 0; i < g->n_dynamic; i++)
		where_free((struct where *)g->dynamic[i]->where);
	free(g->dynamic);
	map_free(&g->by_name);
	arena_free(&g->arena);
	free(g);
}

const struct group *groups_find(const struct part *groups, struct slice name)
{
	const struct groups *g = (const struct groups *)groups;
	return g ? map_get(&g->by_name, name) : NULL;
}

const struct group *const *groups_dynamic(const struct part *groups, unsigned *ret_n)
{
	const struct groups *g = (const struct groups *)groups;
	*ret_n = g ? g->n_dynamic : 0;
	return g ? g->dynamic : NULL;
}

bool link_next(struct slice *links, struct link *ret)
{
	if (links->n == 0)
		return false;
	const uint8_t *end = memchr(links->p, '\n', links->n);
	struct slice line = *links;
	if (end)
		line.n = (size_t)(end - links->p);
	*links = slice_from(*links, line.n + 1);
	*ret = (struct link){0};
	if (line.n > 2 && line.p[1] == ' ')
		*ret = (struct link){(char)line.p[0], slice_from(line, 2)};
	return true;
}

static void count_links(struct slice links, struct group *ret)
{
	for (struct link l; link_next(&links, &l);) {
		ret->n_policies += l.letter == 'p';
		ret->n_grants += l.letter == 'r' || l.letter == 'w' || l.letter == 'b';
	}
}

static int read_links(struct groups *g, struct group *group, struct slice links)
{
	struct link l;
	unsigned p = 0, n = 0;
	count_links(links, group);
	struct slice *policies = arena_alloc(
	        &g->arena, (group->n_policies + 1u) * sizeof(*policies));
	struct grant *grants = arena_alloc(&g->arena, (group->n_grants + 1u) * sizeof(*grants));
	struct slice copy = arena_copy(&g->arena, links);
	if (!policies || !grants || !copy.p)
		return ERR_NOMEM;
	while (link_next(&copy, &l)) {
		if (l.letter == 'p')
			policies[p++] = l.value;
		else if (l.letter == 'r' || l.letter == 'w' || l.letter == 'b')
			grants[n++] = (struct grant){l.letter, l.value};
	}
	group->policies = policies;
	group->grants = grants;
	return 0;
}

/* 0 with the condition or, of a static group, none. */
static int read_condition(const struct document *d, struct where **ret)
{
	_cleanup_json_ json_t *json = NULL;
	char error[JSON_ERROR_LEN];
	struct where_error why;
	int err = json_read(slice_str(d->text), &json_limits_body, &json, error);
	const json_t *condition = json_object_get(json, "condition");
	if (err == 0 && condition)
		err = where_parse(
		        slice_make(json_string_value(condition), json_string_length(condition)),
		        ret, &why);
	return err;
}

static int add_dynamic(struct groups *g, const struct group *group)
{
	const struct group **grown = realloc(g->dynamic, (g->n_dynamic + 1) * sizeof(*g->dynamic));
	if (!grown)
		return ERR_NOMEM;
	g->dynamic = grown;
	g->dynamic[g->n_dynamic++] = group;
	return 0;
}

static int add(void *arg, const struct document *d)
{
	struct groups *g = arg;
	struct where *where = NULL;
	struct group *group = arena_alloc(&g->arena, sizeof(*group));
	if (!group)
		return ERR_NOMEM;
	group->name = arena_copy(&g->arena, slice_str(d->name));
	int err = read_condition(d, &where);
	if (err == ERR_NOMEM)
		return err;
	group->broken = err < 0;
	group->where = where;
	if ((where || group->broken) && add_dynamic(g, group) < 0) {
		where_free(where);
		return ERR_NOMEM;
	}
	if (group->broken)
		log_error("a stored group cannot be read: it lets nobody in",
		        F_STR("group", d->name));
	if (!group->name.p || read_links(g, group, slice_str(d->links)) < 0)
		return ERR_NOMEM;
	return map_put(&g->by_name, group->name, group, NULL);
}

int groups_load(const struct document_store *documents, struct part **ret)
{
	struct groups *g = calloc(1, sizeof(*g));
	if (!g)
		return ERR_NOMEM;
	atomic_init(&g->part.refs, 1);
	g->part.free = groups_free;
	map_init(&g->by_name);
	int err = documents->each(documents->ctx, ENTITY_GROUP, add, g);
	if (err < 0) {
		groups_free(&g->part);
		return err;
	}
	*ret = &g->part;
	return 0;
}
