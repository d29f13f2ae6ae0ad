/* Topic functions against plain, slow ones that split a topic into levels first. */
#include <stdlib.h>

#include "broker/topic.h"
#include "server/base/err.h"

#define MUST(condition)           \
	do {                      \
		if (!(condition)) \
			abort();  \
	} while (0)
#define LEVELS 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct split {
	unsigned n;
	struct slice levels[LEVELS];
};

/* false: more levels than there is room for. */
static bool split(struct slice s, struct split *ret)
{
	size_t from = 0;
	ret->n = 0;
	for (size_t i = 0; i <= s.n; i++) {
		if (i < s.n && s.p[i] != '/')
			continue;
		if (ret->n == LEVELS)
			return false;
		ret->levels[ret->n++] = slice_make(s.p + from, i - from);
		from = i + 1;
	}
	return true;
}

static unsigned wildcards(struct slice s)
{
	unsigned n = 0;
	for (size_t i = 0; i < s.n; i++)
		n += s.p[i] == '+' || s.p[i] == '#';
	return n;
}

static bool slow_filter_valid(struct slice s)
{
	struct split parts;
	if (s.n == 0 || s.n > 65535 || !split(s, &parts))
		return false;
	for (unsigned i = 0; i < parts.n; i++) {
		if (wildcards(parts.levels[i]) > 0 && parts.levels[i].n != 1)
			return false;
		if (slice_eq_str(parts.levels[i], "#") && i + 1 < parts.n)
			return false;
	}
	return true;
}

static bool slow_matches(struct slice filter, struct slice topic)
{
	struct split f, t;
	MUST(split(filter, &f) && split(topic, &t));
	if (topic.p[0] == '$' && wildcards(f.levels[0]) > 0)
		return false;
	for (unsigned i = 0; i < f.n; i++) {
		if (slice_eq_str(f.levels[i], "#"))
			return t.n >= i;
		if (i >= t.n)
			return false;
		if (!slice_eq_str(f.levels[i], "+") && !slice_eq(f.levels[i], t.levels[i]))
			return false;
	}
	return f.n == t.n;
}

static void check_share(struct slice s)
{
	struct slice group = {NULL, 0}, rest = {NULL, 0};
	int got = topic_share_split(s, &group, &rest);
	MUST(got == 1 || got == 0 || got == ERR_INVALID);
	if (got != 1)
		return;
	MUST(group.n > 0 && rest.n > 0 && wildcards(group) == 0 && !memchr(group.p, '/', group.n));
	MUST(7 + group.n + 1 + rest.n == s.n && topic_filter_valid(rest, TOPIC_MAX + 1));
}

/* Input: a filter, a line feed, another one or a topic, a line feed, a topic. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice parts[3];
	size_t from = 0;
	for (unsigned i = 0; i < 3; i++) {
		const uint8_t *end = size > from ? memchr(data + from, '\n', size - from) : NULL;
		size_t to = end && i < 2 ? (size_t)(end - data) : size;
		parts[i] = slice_make(data + from, to - from);
		from = to < size ? to + 1 : size;
	}
	struct split levels;
	bool valid[3];
	for (unsigned i = 0; i < 3; i++) {
		struct slice s = parts[i];
		valid[i] = topic_filter_valid(s, LEVELS);
		MUST(valid[i] == slow_filter_valid(s));
		MUST(topic_has_wildcard(s) == (wildcards(s) > 0));
		bool name = s.n > 0 && s.n <= 65535 && wildcards(s) == 0 && split(s, &levels);
		MUST(topic_name_valid(s, LEVELS) == name);
		check_share(s);
		MUST(!valid[i] || topic_filter_covers(s, s));
	}
	struct slice outer = parts[0], inner = parts[1], topic = parts[2];
	/* Any bytes must be survived. */
	bool match = topic_matches(outer, topic), covers = topic_filter_covers(outer, inner);
	if (!valid[0] || !valid[1])
		return 0;
	if (topic_name_valid(inner, LEVELS))
		MUST(covers == topic_matches(outer, inner));
	if (!topic_name_valid(topic, LEVELS))
		return 0;
	MUST(match == slow_matches(outer, topic));
	if (covers && topic_matches(inner, topic))
		MUST(match);
	return 0;
}
