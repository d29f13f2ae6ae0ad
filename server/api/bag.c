#include "server/api/bag.h"

#include "server/base/cleanup.h"
#include "server/base/err.h"
#include "server/base/map.h"
#include "server/base/props.h"
#include "server/base/utf8.h"
#include "server/net/http.h"

static struct slice take_level(struct slice *in)
{
	const uint8_t *at = in->n ? memchr(in->p, '/', in->n) : NULL;
	struct slice level = slice_make(in->p, at ? (size_t)(at - in->p) : in->n);
	*in = slice_from(*in, level.n + (at ? 1 : 0));
	return level;
}

bool api_bag_of_topic(struct slice topic, struct slice *ret)
{
	if (!slice_eq_str(take_level(&topic), "devices") || take_level(&topic).n == 0)
		return false;
	struct slice level = take_level(&topic);
	if (slice_eq_str(level, "modules")) {
		if (take_level(&topic).n == 0)
			return false;
		level = take_level(&topic);
	}
	if (!slice_eq_str(level, "messages") || !slice_eq_str(take_level(&topic), "events"))
		return false;
	/* A slash behind the bag closes its level and is no part of it. */
	if (topic.n > 0 && topic.p[topic.n - 1] == '/')
		topic.n--;
	*ret = topic;
	return true;
}

static int add(struct api_bag *bag, struct slice name, struct slice value, bool null)
{
	if (bag->n == bag->size) {
		size_t size = bag->size ? 2 * bag->size : 16;
		struct api_bag_entry *more = reallocarray(bag->entries, size, sizeof(*more));
		if (!more)
			return ERR_NOMEM;
		bag->entries = more;
		bag->size = size;
	}
	bag->entries[bag->n++] = (struct api_bag_entry){.name = name, .value = value, .null = null};
	return 0;
}

/* Decoded once; what is not percent-encoded UTF-8 is shown as sent. *used: of bag->text. */
static struct slice decode(struct api_bag *bag, size_t *used, struct slice raw)
{
	char *to = bag->text + *used;
	size_t n;
	if (!raw.n || !memchr(raw.p, '%', raw.n) || http_percent_decode(raw, to, &n) < 0 ||
	        !utf8_valid(slice_make(to, n)))
		return raw;
	*used += n;
	return slice_make(to, n);
}

static int read_topic(struct api_bag *bag, struct slice topic)
{
	struct slice rest;
	if (!api_bag_of_topic(topic, &rest) || rest.n == 0)
		return 0;
	bag->text = malloc(rest.n);
	if (!bag->text)
		return ERR_NOMEM;
	size_t used = 0;
	while (rest.n > 0) {
		const uint8_t *end = memchr(rest.p, '&', rest.n);
		struct slice pair = slice_make(rest.p, end ? (size_t)(end - rest.p) : rest.n);
		rest = slice_from(rest, pair.n + (end ? 1 : 0));
		if (pair.n == 0)
			continue;
		const uint8_t *eq = memchr(pair.p, '=', pair.n);
		struct slice name = slice_make(pair.p, eq ? (size_t)(eq - pair.p) : pair.n);
		struct slice value = eq ? slice_from(pair, name.n + 1) : (struct slice){0};
		name = decode(bag, &used, name);
		if (add(bag, name, decode(bag, &used, value), !eq) < 0)
			return ERR_NOMEM;
	}
	return 0;
}

/* Hides all but the first of each name, which gets the last one's value. */
static int merge_repeated(struct api_bag *bag)
{
	struct map _cleanup_(map_free) seen;
	map_init(&seen);
	for (size_t i = 0; i < bag->n; i++) {
		struct api_bag_entry *e = &bag->entries[i], *first = map_get(&seen, e->name);
		if (first) {
			first->value = e->value;
			first->null = e->null;
			e->hidden = true;
		} else if (map_put(&seen, e->name, e, NULL) < 0) {
			return ERR_NOMEM;
		}
	}
	return 0;
}

static void take_content(struct api_bag *bag, const char *name, struct slice *to)
{
	for (size_t i = 0; i < bag->n; i++) {
		struct api_bag_entry *e = &bag->entries[i];
		if (e->hidden || !slice_eq_str(e->name, name))
			continue;
		e->hidden = true;
		if (!to->p && !e->null)
			*to = e->value;
	}
}

int api_bag_read(struct api_bag *bag, struct slice topic, struct slice props)
{
	*bag = (struct api_bag){0};
	int r = read_topic(bag, topic);
	struct prop p;
	while (r == 0 && prop_next(&props, &p) == 1) {
		if (p.id == PROP_CONTENT_TYPE)
			bag->content_type = p.value;
		else if (p.id == PROP_USER_PROPERTY)
			r = add(bag, p.name, p.value, false);
	}
	if (r == 0)
		r = merge_repeated(bag);
	take_content(bag, "$.ct", &bag->content_type);
	take_content(bag, "$.ce", &bag->content_encoding);
	return r;
}

void api_bag_done(struct api_bag *bag)
{
	free(bag->entries);
	free(bag->text);
	*bag = (struct api_bag){0};
}
