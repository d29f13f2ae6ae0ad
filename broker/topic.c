#include "broker/topic.h"

#include "broker/codec/scan.h"
#include "broker/levels.h"
#include "server/base/err.h"

static bool size_valid(struct slice s, unsigned max_levels)
{
	return s.n >= 1 && s.n <= TOPIC_MAX && scan_count(s, '/') < max_levels;
}

bool topic_name_valid(struct slice topic, unsigned max_levels)
{
	return size_valid(topic, max_levels) && (scan_plain(topic) || !scan_has_wildcard(topic));
}

bool topic_filter_valid(struct slice filter, unsigned max_levels)
{
	if (!size_valid(filter, max_levels))
		return false;
	if (!scan_has_wildcard(filter))
		return true;
	bool more = true;
	while (more) {
		struct slice level = level_cut(&filter, &more);
		if (level.n > 1 && scan_has_wildcard(level))
			return false; /* [MQTT-4.7.1-1], [MQTT-4.7.1-2] */
		if (more && level_is(level, '#'))
			return false; /* [MQTT-4.7.1-1] */
	}
	return true;
}

int topic_share_split(struct slice filter, struct slice *group, struct slice *rest)
{
	bool more = true;
	if (!slice_eq(level_cut(&filter, &more), SLICE_LIT("$share")))
		return 0;
	if (!more)
		return ERR_INVALID;
	struct slice name = level_cut(&filter, &more);
	/* [MQTT-4.8.2-1], [MQTT-4.8.2-2] */
	if (!more || name.n == 0 || scan_has_wildcard(name))
		return ERR_INVALID;
	if (!topic_filter_valid(filter, TOPIC_MAX + 1))
		return ERR_INVALID;
	*group = name;
	*rest = filter;
	return 1;
}

/* [MQTT-4.7.2-1] */
static bool hidden_from(struct slice filter, struct slice topic)
{
	return topic.n > 0 && topic.p[0] == '$' && filter.n > 0 &&
	        (filter.p[0] == '+' || filter.p[0] == '#');
}

bool topic_matches(struct slice filter, struct slice topic)
{
	if (hidden_from(filter, topic))
		return false;
	bool more_filter = true, more_topic = true;
	while (more_filter) {
		struct slice want = level_cut(&filter, &more_filter);
		if (level_is(want, '#') && !more_filter)
			return true; /* the parent level too: section 4.7.1.2 */
		if (!more_topic)
			return false;
		struct slice level = level_cut(&topic, &more_topic);
		if (!level_is(want, '+') && !slice_eq(want, level))
			return false;
	}
	return !more_topic;
}

bool topic_filter_covers(struct slice outer, struct slice inner)
{
	if (hidden_from(outer, inner))
		return false;
	/* Every topic has a first level, so "+" followed by "#" says no more than "#" alone. */
	if (slice_eq(inner, SLICE_LIT("#")))
		return slice_eq(outer, inner) || slice_eq(outer, SLICE_LIT("+/#"));
	bool more_outer = true, more_inner = true;
	while (more_outer) {
		struct slice mine = level_cut(&outer, &more_outer);
		if (level_is(mine, '#') && !more_outer)
			return true;
		if (!more_inner)
			return false;
		struct slice theirs = level_cut(&inner, &more_inner);
		if (level_is(theirs, '#') && !more_inner)
			return false; /* its parent level, at least, is not covered */
		if (!level_is(mine, '+') && !slice_eq(mine, theirs))
			return false;
	}
	return !more_inner;
}

bool topic_has_wildcard(struct slice filter)
{
	return scan_has_wildcard(filter);
}
