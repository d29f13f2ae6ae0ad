#include "policy/table.h"

#include "policy/filter.h"
#include "server/base/cleanup.h"

/* The two words of the table that are no patterns of levels. Neither can be mistaken for one: no
 * topic is empty, and no level of the table is a '$' alone. */
#define ANY ""
#define DOLLAR "$"

/* A module's principal is a device's; its rows are its own. */
#define PRINCIPAL_MODULE (PRINCIPAL_CUSTOM + 1)

struct rule {
	enum table_action action;
	unsigned kind;
	struct slice pattern;
	bool allowed;
};

static const struct rule rules[] = {
#define MQTT(action, principal, pattern, allowed)                                                  \
	{TABLE_##action, PRINCIPAL_##principal, {(const uint8_t *)(pattern), sizeof(pattern) - 1}, \
	        allowed},
#include "policy/access.def"
#undef MQTT
};

struct names {
	struct slice id, module;
};

/* Wildcards are those of the topic or filter that is judged: they could match more than one level's
 * text, so only a pattern that allows any text covers '+', and none but '#' covers '#'. Everything
 * else is compared byte by byte, ids too, so that no character of an id means anything here. */
static bool level_fits(struct slice pattern, struct slice level, const struct names *names)
{
	if (slice_eq_str(level, "#"))
		return false;
	if (slice_eq_str(pattern, "*"))
		return true;
	if (slice_eq_str(level, "+"))
		return false;
	if (slice_eq_str(pattern, "{id}"))
		return slice_eq(level, names->id);
	return slice_eq(level, slice_eq_str(pattern, "{module}") ? names->module : pattern);
}

static bool pattern_fits(struct slice pattern, struct slice topic, const struct names *names)
{
	if (pattern.n == 0)
		return true;
	if (slice_eq_str(pattern, DOLLAR))
		return topic.p[0] == '$';
	bool more_pattern = true, more_topic = true;
	while (more_pattern) {
		struct slice want = filter_level_cut(&pattern, &more_pattern);
		if (slice_eq_str(want, "#"))
			return true;
		if (!more_topic || !level_fits(want, filter_level_cut(&topic, &more_topic), names))
			return false;
	}
	return !more_topic;
}

bool table_allows(const struct principal *p, enum table_action action, struct slice topic,
        struct slice *ret_pattern)
{
	unsigned kind = p->kind;
	struct names names = {.id = principal_id(p)};
	const uint8_t *slash = names.id.n > 0 ? memchr(names.id.p, '/', names.id.n) : NULL;
	if (slash) {
		names.module = slice_from(names.id, (size_t)(slash - names.id.p) + 1);
		names.id.n = (size_t)(slash - names.id.p);
		if (kind == PRINCIPAL_DEVICE)
			kind = PRINCIPAL_MODULE;
	}
	for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
		const struct rule *r = &rules[i];
		if (r->action != action || r->kind != kind ||
		        !pattern_fits(r->pattern, topic, &names))
			continue;
		if (ret_pattern)
			*ret_pattern = r->pattern;
		return r->allowed;
	}
	return false;
}
