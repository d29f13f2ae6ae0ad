#include "policy/filter.h"

#include "server/base/utf8.h"

struct slice filter_level_cut(struct slice *rest, bool *more)
{
	const uint8_t *slash = rest->n > 0 ? memchr(rest->p, '/', rest->n) : NULL;
	struct slice level = *rest;
	*more = slash != NULL;
	if (slash)
		level.n = (size_t)(slash - rest->p);
	*rest = slice_from(*rest, level.n + (slash ? 1 : 0));
	return level;
}

static bool is(struct slice level, char c)
{
	return level.n == 1 && level.p[0] == (uint8_t)c;
}

static bool has_wildcard(struct slice s)
{
	return s.n > 0 && (memchr(s.p, '+', s.n) || memchr(s.p, '#', s.n));
}

bool filter_grantable(struct slice filter)
{
	if (filter.n < 1 || filter.n > FILTER_MAX || filter.p[0] == '$' || !utf8_valid_mqtt(filter))
		return false;
	for (size_t i = 0; i < filter.n; i++)
		if (filter.p[i] < ' ' || filter.p[i] == 0x7f)
			return false;
	for (bool more = true; more;) {
		struct slice level = filter_level_cut(&filter, &more);
		if ((level.n > 1 && has_wildcard(level)) || (more && is(level, '#')))
			return false;
	}
	return true;
}

bool filter_covers(struct slice outer, struct slice inner)
{
	if (inner.n > 0 && inner.p[0] == '$' && outer.n > 0 &&
	        (outer.p[0] == '+' || outer.p[0] == '#'))
		return false;
	/* Every topic has a first level. */
	if (is(inner, '#'))
		return is(outer, '#') || slice_eq_str(outer, "+/#");
	for (bool more_outer = true, more_inner = true; more_outer;) {
		struct slice mine = filter_level_cut(&outer, &more_outer);
		if (is(mine, '#') && !more_outer)
			return true; /* the parent level too: section 4.7.1.2 */
		if (!more_inner)
			return false;
		struct slice theirs = filter_level_cut(&inner, &more_inner);
		if (is(theirs, '#') && !more_inner)
			return false;
		if (!is(mine, '+') && !slice_eq(mine, theirs))
			return false;
		if (!more_outer)
			return !more_inner;
	}
	return false;
}

struct slice filter_unshared(struct slice filter)
{
	bool more;
	struct slice rest = filter;
	if (!slice_eq_str(filter_level_cut(&rest, &more), "$share"))
		return filter;
	if (filter_level_cut(&rest, &more).n == 0 || !more)
		return (struct slice){0};
	return rest;
}
