#include "server/api/ask.h"

#include <inttypes.h>
#include <strings.h>

#include "policy/policy_admin.h"
#include "server/api/bag.h"
#include "server/api/internal.h"
#include "server/api/policy_write.h"
#include "server/api/window.h"
#include "server/base/crypto.h"
#include "server/base/err.h"

/* ---- whose ---- */

#define WALK_PAGE 1000

struct gathered {
	uint64_t *keys;
	unsigned n;
};

static int gather(struct gathered *g, uint64_t device_key)
{
	if (g->n == TELEMETRY_GROUP_MAX)
		return ERR_TOO_BIG;
	if ((g->n & (g->n - 1)) == 0) { /* full: a power of two */
		void *more = realloc(g->keys, 2 * (size_t)(g->n + 1) * sizeof(*g->keys));
		if (!more)
			return ERR_NOMEM;
		g->keys = more;
	}
	g->keys[g->n++] = device_key;
	return 0;
}

static bool is_in(struct api_call *c, const struct device_record *d, struct slice group)
{
	const struct access_source source = api_subject_source(d);
	struct access *a = policy_access_make(c->api->deps.policy, &source);
	struct slice name;
	bool found = false;
	for (unsigned pos = 0; !found && policy_access_groups(a, &pos, &name);)
		found = slice_eq(name, group);
	access_unref(a);
	return found;
}

/* Of a group with a condition: every device is looked at. */
static int gather_by_condition(struct api_call *c, struct gathered *g)
{
	const struct registry_store *store = c->api->store;
	char after[MODULE_ID_MAX + 1] = "";
	unsigned n = WALK_PAGE;
	int r = 0;
	for (unsigned seen = 0; r == 0 && n == WALK_PAGE; seen += n) {
		struct device_record *list = NULL;
		if (seen >= TELEMETRY_GROUP_MAX)
			return ERR_TOO_BIG;
		r = store->device_list(store->ctx, *after ? after : NULL, WALK_PAGE, &list, &n);
		if (r < 0)
			return r;
		for (unsigned i = 0; i < n; i++) {
			if (r == 0 && !list[i].altered && is_in(c, &list[i], c->params[0]))
				r = gather(g, list[i].device_key);
			snprintf(after, sizeof(after), "%s", list[i].id);
			device_record_done(&list[i]);
		}
		free(list);
	}
	return r;
}

static int read_group(struct api_call *c, struct gathered *g)
{
	const struct telemetry_query_store *store = &c->api->deps.telemetry;
	_cleanup_json_ json_t *doc = NULL;
	int r = policy_group_get(c->api->deps.policy, c->params[0], &doc);
	if (r < 0)
		return r;
	if (json_is_true(json_object_get(doc, "dynamic")))
		return gather_by_condition(c, g);
	return store->members(store->ctx, c->param_text[0], &g->keys, &g->n);
}

static bool read_whose(struct api_call *c, struct api_ask *a)
{
	const char *path = policy_routes()[c->match.op].path;
	struct gathered g = {0};
	int r = 0;
	a->q.scope = TELEMETRY_HUB;
	if (strstr(path, "/devices/{id}")) {
		a->q.scope = TELEMETRY_DEVICE;
		r = registry_device_key(c->api->deps.registry, c->params[0], &a->q.device_key);
	} else if (strstr(path, "/groups/{name}")) {
		a->q.scope = TELEMETRY_GROUP;
		r = read_group(c, &g);
		a->q.devices = a->devices = g.keys;
		a->q.n_devices = g.n;
	}
	if (r == ERR_TOO_BIG) {
		api_call_problem(c, API_PROBLEM_TOO_MUCH,
		        "the group, or what its condition has to look at, is more than 100,000 "
		        "devices");
		return false;
	}
	return api_call_ok(c, r, NULL);
}

/* ---- topic filters ---- */

static struct slice take_level(struct slice *rest)
{
	const uint8_t *at = rest->n ? memchr(rest->p, '/', rest->n) : NULL;
	struct slice level = slice_make(rest->p, at ? (size_t)(at - rest->p) : rest->n);
	*rest = at ? slice_from(*rest, level.n + 1) : (struct slice){0};
	return level;
}

bool api_topic_filter_valid(struct slice filter)
{
	struct slice rest = filter;
	if (filter.n == 0 || filter.n > UINT16_MAX || memchr(filter.p, '\0', filter.n))
		return false;
	while (rest.p) {
		struct slice level = take_level(&rest);
		bool wild = level.n > 0 &&
		        (memchr(level.p, '#', level.n) || memchr(level.p, '+', level.n));
		if (wild && (level.n != 1 || (level.p[0] == '#' && rest.p)))
			return false;
	}
	return true;
}

bool api_topic_filter_matches(struct slice filter, struct slice topic)
{
	if (topic.n == 0)
		return false;
	if (topic.p[0] == '$' && (filter.p[0] == '#' || filter.p[0] == '+'))
		return false;
	while (filter.p && topic.p) {
		struct slice want = take_level(&filter), level = take_level(&topic);
		if (slice_eq_str(want, "#"))
			return true;
		if (!slice_eq_str(want, "+") && !slice_eq(want, level))
			return false;
	}
	return !topic.p && (!filter.p || slice_eq_str(filter, "#"));
}

/* ---- what kind ---- */

bool api_ask_expression(
        struct api_call *c, const char *param, struct slice text, struct where **ret)
{
	struct where_error e;
	struct where *w = NULL;
	struct where_path path;
	char why[WHERE_ERROR_LEN + 64];
	unsigned n = 0;
	int r = where_parse(text, &w, &e);
	if (r == ERR_NOMEM) {
		api_call_err(c, r);
		return false;
	}
	if (r < 0) {
		snprintf(why, sizeof(why), "at byte %zu: %s", e.position, e.text);
		api_call_bad_param(c, param, why);
		return false;
	}
	for (unsigned pos = 0; where_next_path(w, &pos, &path); n++) {
		if (slice_eq_str(path.names[0], "$") && n < API_ASK_PATHS)
			continue;
		snprintf(why, sizeof(why),
		        "at byte %zu: a path begins with $ (as $.temperature), and there are at "
		        "most 16",
		        path.position);
		api_call_bad_param(c, param, why);
		where_free(w);
		return false;
	}
	*ret = w;
	return true;
}

static bool read_properties(struct api_call *c, struct api_ask *a)
{
	struct slice text;
	for (unsigned i = 0; api_query_nth(&c->query, "property", i, &text); i++) {
		const uint8_t *colon = text.n ? memchr(text.p, ':', text.n) : NULL;
		size_t n = colon ? (size_t)(colon - text.p) : text.n;
		if (n == 0 || i == API_ASK_PROPERTIES) {
			api_call_bad_param(c, "property",
			        "must be name:value, or a name alone, eight of them at most");
			return false;
		}
		a->properties[i].name = slice_make(text.p, n);
		if (colon)
			a->properties[i].value = slice_from(text, n + 1);
		a->n_properties++;
	}
	return true;
}

static bool read_filters(struct api_call *c, struct api_ask *a)
{
	struct slice where;
	if (api_query_get(&c->query, "topicFilter", &a->topic_filter) &&
	        !api_topic_filter_valid(a->topic_filter)) {
		api_call_bad_param(c, "topicFilter", "must be a topic filter of MQTT, as a/+/b/#");
		return false;
	}
	(void)api_query_get(&c->query, "contentType", &a->content_type);
	if (!read_properties(c, a))
		return false;
	if (api_query_get(&c->query, "where", &where) &&
	        !api_ask_expression(c, "where", where, &a->where))
		return false;
	a->filters = a->topic_filter.p || a->content_type.p || a->n_properties > 0 || a->where;
	return true;
}

bool api_ask_read(struct api_call *c, struct api_ask *ret)
{
	*ret = (struct api_ask){.q = {.from_us = INT64_MIN, .to_us = INT64_MAX}};
	return api_window_read(c, &ret->q.from_us, &ret->q.to_us, &ret->q.ascending) &&
	        read_filters(c, ret) && read_whose(c, ret);
}

void api_ask_done(struct api_ask *a)
{
	free(a->devices);
	a->where = where_free(a->where);
}

/* ---- cursors ---- */

struct slice api_ask_scope(
        const struct api_call *c, const struct api_ask *a, char to[static API_ASK_SCOPE_LEN])
{
	static const char *const parts[] = {
	        "topicFilter", "contentType", "property", "where", "path", "window", "functions"};
	uint8_t hash[CRYPTO_HASH_LEN] = {0}, in[2 * CRYPTO_HASH_LEN];
	struct slice text;
	/* Each part's hash over the one before, so that no two questions run into each other. */
	for (size_t p = 0; p < ARRAY_LEN(parts); p++)
		for (unsigned i = 0; api_query_nth(&c->query, parts[p], i, &text); i++) {
			memcpy(in, hash, sizeof(hash));
			crypto_sha256(text, in + sizeof(hash));
			in[0] ^= (uint8_t)p;
			crypto_sha256(slice_make(in, sizeof(in)), hash);
		}
	int n = snprintf(to, API_ASK_SCOPE_LEN, "telemetry %s %d %" PRIu64 " %016" PRIx64 " %.*s",
	        a->q.ascending ? "asc" : "desc", (int)a->q.scope, a->q.device_key,
	        *(const uint64_t *)(const void *)hash, SLICE_ARG(c->params[0]));
	return slice_make(to, n < API_ASK_SCOPE_LEN ? (size_t)n : API_ASK_SCOPE_LEN - 1);
}

bool api_ask_cursor(struct api_call *c, struct api_ask *a)
{
	uint8_t position[API_CURSOR_POSITION_MAX];
	char scope[API_ASK_SCOPE_LEN];
	size_t len;
	if (!api_call_cursor(c, api_ask_scope(c, a, scope), position, &len, &a->q.has_after))
		return false;
	if (len == API_WINDOW_POSITION_LEN)
		api_window_get(position, &a->q.after_us, &a->q.after_seq);
	return true;
}

/* ---- is it wanted? ---- */

static bool same_type(struct slice asked, struct slice given)
{
	const uint8_t *parameters = given.n ? memchr(given.p, ';', given.n) : NULL;
	if (parameters && !memchr(asked.p, ';', asked.n))
		given.n = (size_t)(parameters - given.p);
	while (given.n > 0 && given.p[given.n - 1] == ' ')
		given.n--;
	return given.n > 0 && asked.n == given.n &&
	        strncasecmp((const char *)asked.p, (const char *)given.p, asked.n) == 0;
}

static bool has_property(const struct api_bag *bag, struct slice name, struct slice value)
{
	for (size_t i = 0; i < bag->n; i++) {
		const struct api_bag_entry *e = &bag->entries[i];
		if (!e->hidden && slice_eq(e->name, name))
			return !value.p || (!e->null && slice_eq(e->value, value));
	}
	return false;
}

static int fits_bag(const struct api_ask *a, const struct telemetry_item *it)
{
	struct api_bag _cleanup_(api_bag_done) bag;
	int r = api_bag_read(&bag, it->topic, it->props);
	if (r < 0)
		return r;
	if (a->content_type.p && !same_type(a->content_type, bag.content_type))
		return 0;
	for (unsigned i = 0; i < a->n_properties; i++)
		if (!has_property(&bag, a->properties[i].name, a->properties[i].value))
			return 0;
	return 1;
}

int api_ask_wants(const struct api_ask *a, const struct telemetry_item *it)
{
	if (!a->filters || it->corrupt)
		return 1;
	if (a->topic_filter.p && !api_topic_filter_matches(a->topic_filter, it->topic))
		return 0;
	int r = a->content_type.p || a->n_properties > 0 ? fits_bag(a, it) : 1;
	if (r > 0 && a->where)
		r = where_matches_text(a->where, it->payload);
	return r;
}
