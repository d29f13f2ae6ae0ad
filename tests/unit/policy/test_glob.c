/* Patterns and filters against oracles that know nothing of how they are matched: every text over a
 * small alphabet is tried. And that hostile patterns cost no more than their text is long. */
#include <stdlib.h>

#include "policy/filter.h"
#include "policy/glob.h"
#include "server/base/cleanup.h"
#include "server/base/clock.h"
#include "tests/unit/base/unit.h"

static unsigned compile(const char *text, struct glob_atom atoms[static GLOB_ATOMS_MAX])
{
	unsigned n = 0;
	for (const char *c = text; *c; c++) {
		enum glob_kind kind = *c == '*' ? GLOB_RUN
		        : *c == '?'             ? GLOB_ONE
		        : *c == '$'             ? GLOB_VAR
		                                : GLOB_TEXT;
		ck_assert_uint_lt(n, GLOB_ATOMS_MAX);
		atoms[n++] = (struct glob_atom){.kind = kind, .text = slice_make(c, 1)};
	}
	return n;
}

/* The definition, read aloud: exponential, for short texts alone. '$' is a variable. */
static bool oracle(const char *p, const char *t, const char *value)
{
	if (!*p)
		return !*t;
	if (*p == '*' || (*p == '$' && !value))
		return oracle(p + 1, t, value) || (*t && oracle(p, t + 1, value));
	if (*p == '$')
		return strncmp(t, value, strlen(value)) == 0 &&
		        oracle(p + 1, t + strlen(value), value);
	return *t && (*p == '?' || *p == *t) && oracle(p + 1, t + 1, value);
}

static bool value_get(void *ctx, unsigned var HF_UNUSED, struct slice *ret)
{
	if (!ctx)
		return false;
	*ret = slice_str(ctx);
	return true;
}

/* The i-th word over an alphabet, with words of length 0 first. */
static void word(unsigned i, const char *alphabet, char *out)
{
	unsigned base = (unsigned)strlen(alphabet), n = 0;
	for (; i > 0; i = (i - 1) / base)
		out[n++] = alphabet[(i - 1) % base];
	out[n] = '\0';
}

START_TEST(every_short_pattern_on_every_short_text)
{
	static char both[] = "ab";
	char pattern[16], text[16];
	struct glob_atom atoms[GLOB_ATOMS_MAX];
	for (unsigned i = 0; i < 3906; i++) { /* 5 letters, up to 5 long */
		word(i, "ab*?$", pattern);
		struct glob g = {.n = compile(pattern, atoms), .atoms = atoms};
		for (unsigned k = 0; k < 127; k++) {
			word(k, "ab", text);
			const struct glob_values known = {.get = value_get, .ctx = both};
			const struct glob_values broad = {.get = value_get, .broad = true};
			ck_assert_msg(glob_match(&g, slice_str(text), &known) ==
			                oracle(pattern, text, both),
			        "'%s' on '%s'", pattern, text);
			ck_assert_msg(glob_match(&g, slice_str(text), &broad) ==
			                oracle(pattern, text, NULL),
			        "'%s' on '%s', broad", pattern, text);
			const struct glob_values unknown = {.get = value_get};
			if (strchr(pattern, '$'))
				ck_assert(!glob_match(&g, slice_str(text), &unknown));
		}
	}
}
END_TEST

START_TEST(one_character_is_one_however_long)
{
	struct glob_atom atoms[GLOB_ATOMS_MAX];
	const struct glob_values none = {0};
	struct glob g = {.n = compile("a?b", atoms), .atoms = atoms};
	ck_assert(glob_match(&g,
	        SLICE_LIT("a\xc3\xa4"
	                  "b"),
	        &none));
	ck_assert(!glob_match(&g,
	        SLICE_LIT("a\xc3\xa4\xc3\xa4"
	                  "b"),
	        &none));
	g.n = compile("*?b", atoms);
	ck_assert(glob_match(&g,
	        SLICE_LIT("\xf0\x9f\x98\x80"
	                  "b"),
	        &none));
	ck_assert(!glob_match(&g, SLICE_LIT("b"), &none));
}
END_TEST

/* Patterns that make matchers that try again take for ever. */
START_TEST(hostile_patterns_are_linear)
{
	static const char *const patterns[] = {"*a*a*a*a*a*a*a*a*a*a*a*b", "*a?a?a?a?a?a?a?a?a?b*c",
	        "a*a*a*a*a*a*a*a*a*a*a*a*c", "*?*?*?*?*?*?*?*?*?*?*c", "*aaaaaaaaaaaaaaaaaab*c"};
	const size_t n = 65535;
	char *text = malloc(n);
	struct glob_atom atoms[GLOB_ATOMS_MAX];
	const struct glob_values none = {0}, broad = {.broad = true};
	ck_assert_ptr_nonnull(text);
	memset(text, 'a', n);
	uint64_t begun = clock_us();
	for (size_t i = 0; i < ARRAY_LEN(patterns); i++) {
		struct glob g = {.n = compile(patterns[i], atoms), .atoms = atoms};
		ck_assert(!glob_match(&g, slice_make(text, n), &none));
		/* What takes too long is refused by a refusal. */
		glob_match(&g, slice_make(text, n), &broad);
	}
	ck_assert_uint_lt(clock_us() - begun, 2000000);
	free(text);
}
END_TEST

/* ---- filters ---- */

static bool matches(const char *filter, const char *topic)
{
	if (topic[0] == '$' && (filter[0] == '+' || filter[0] == '#'))
		return false;
	for (;;) {
		size_t f = strcspn(filter, "/"), t = strcspn(topic, "/");
		if (f == 1 && *filter == '#')
			return true;
		if (!(f == 1 && *filter == '+') && (f != t || strncmp(filter, topic, f) != 0))
			return false;
		filter += f;
		topic += t;
		if (!*topic)
			return !*filter || strcmp(filter, "/#") == 0;
		if (!*filter)
			return false;
		filter++;
		topic++;
	}
}

static bool filter_text(unsigned i, char *out)
{
	static const char *const levels[] = {"a", "b", "$x", "", "+", "#"};
	unsigned depth = 1 + i % 3;
	size_t n = 0;
	i /= 3;
	out[0] = '\0';
	for (unsigned d = 0; d < depth; d++, i /= ARRAY_LEN(levels)) {
		const char *level = levels[i % ARRAY_LEN(levels)];
		n += (size_t)snprintf(out + n, 32 - n, "%s%s", d ? "/" : "", level);
		if (*level == '#' && d + 1 < depth)
			return false;
	}
	return out[0] != '\0';
}

/* Covering is that every topic that the inner one matches, the outer one matches: asked of all
 * topics (the empty one, which there is not, counts as the parent of "/#" all the same) of up to
 * four levels over the same words and one that neither names. */
START_TEST(covering_is_what_it_says)
{
	static const char *const words[] = {"a", "b", "$x", "", "other"};
	static char topics[1000][32];
	char outer[32], inner[32];
	unsigned n_topics = 0, covered = 0;
	for (unsigned i = 0; i < 5 + 25 + 125 + 625; i++) {
		unsigned rest = i, depth = 1;
		for (unsigned size = 5; rest >= size; size *= 5, depth++)
			rest -= size;
		size_t n = 0;
		for (unsigned d = 0; d < depth; d++, rest /= 5)
			n += (size_t)snprintf(topics[n_topics] + n, 32 - n, "%s%s", d ? "/" : "",
			        words[rest % 5]);
		n_topics++;
	}
	for (unsigned i = 0; i < 648; i++)
		for (unsigned k = 0; k < 648; k++) {
			if (!filter_text(i, outer) || !filter_text(k, inner))
				continue;
			bool want = true;
			for (unsigned t = 0; t < n_topics && want; t++)
				want = !matches(inner, topics[t]) || matches(outer, topics[t]);
			covered += want;
			ck_assert_msg(filter_covers(slice_str(outer), slice_str(inner)) == want,
			        "'%s' covers '%s': %d", outer, inner, want);
		}
	ck_assert_uint_gt(covered, 1000);
}
END_TEST

/* A refusal's pattern and a filter have a topic in common exactly where some topic says so. */
START_TEST(meeting_is_having_a_topic_in_common)
{
	static const char *const words[] = {"a", "b", "ab", "", "other"};
	const struct glob_values none = {.broad = true};
	struct glob_atom atoms[GLOB_ATOMS_MAX];
	char filter[32], pattern[16], topic[64];
	unsigned met = 0;
	for (unsigned f = 0; f < 648; f++) {
		if (!filter_text(f, filter) || strchr(filter, '$'))
			continue;
		for (unsigned k = 1; k < 3906; k += 37) {
			word(k, "ab/*?", pattern);
			struct glob g = {.n = compile(pattern, atoms), .atoms = atoms};
			bool want = oracle(pattern, filter, NULL);
			for (unsigned i = 0; i < 125 && !want; i++) {
				unsigned rest = i;
				size_t n = 0;
				for (unsigned d = 0; d < 3 && !want; d++, rest /= 5) {
					n += (size_t)snprintf(topic + n, sizeof(topic) - n, "%s%s",
					        d ? "/" : "", words[rest % 5]);
					want = topic[0] && matches(filter, topic) &&
					        oracle(pattern, topic, NULL);
				}
			}
			bool got = glob_meets(&g, slice_str(filter), &none);
			met += got;
			/* The oracle does not know every topic: what it finds has to be met. */
			if (want)
				ck_assert_msg(got, "'%s' meets '%s'", pattern, filter);
			/* And what begins otherwise is not. */
			if (pattern[0] == 'a' && pattern[1] == '/' && filter[0] == 'b')
				ck_assert_msg(!got, "'%s' does not meet '%s'", pattern, filter);
		}
	}
	ck_assert_uint_gt(met, 1000);
}
END_TEST

/* A decision has many patterns, and a client's filter may be long. */
START_TEST(meeting_has_an_end)
{
	const struct glob_atom atoms[] = {{.kind = GLOB_TEXT, .text = SLICE_LIT("a/")},
	        {.kind = GLOB_RUN}, {.kind = GLOB_TEXT, .text = SLICE_LIT("/b")}};
	const struct glob g = {ARRAY_LEN(atoms), atoms};
	size_t work = 1000;
	const struct glob_values values = {.broad = true, .work = &work};
	const struct slice filter = SLICE_LIT("c/+/c");
	ck_assert(!glob_meets(&g, filter, &values));
	size_t each = 1000 - work;
	ck_assert_uint_gt(each, 0);
	for (size_t i = 1; i < 1000 / each; i++)
		ck_assert(!glob_meets(&g, filter, &values));
	ck_assert_uint_lt(work, each);
	ck_assert(glob_meets(&g, filter, &values));          /* used up: it is refused */
	ck_assert(!glob_meets(&g, SLICE_LIT("c"), &values)); /* what has no wildcard costs none */
}
END_TEST

START_TEST(what_can_be_granted)
{
	static const struct {
		const char *filter;
		bool ok;
	} filters[] = {
	        {"a", true},
	        {"#", true},
	        {"+/a/#", true},
	        {"a//b", true},
	        {"", false},
	        {"$SYS/#", false},
	        {"$iothub/#", false},
	        {"$aws/things/#", false},
	        {"$share/g/a", false},
	        {"a/#/b", false},
	        {"a#", false},
	        {"a+/b", false},
	        {"a\nb", false},
	        {"\xff", false},
	};
	for (size_t i = 0; i < ARRAY_LEN(filters); i++)
		ck_assert_msg(filter_grantable(slice_str(filters[i].filter)) == filters[i].ok,
		        "'%s'", filters[i].filter);
}
END_TEST

UNIT_MAIN("glob", every_short_pattern_on_every_short_text, one_character_is_one_however_long,
        hostile_patterns_are_linear, covering_is_what_it_says, meeting_is_having_a_topic_in_common,
        meeting_has_an_end, what_can_be_granted)
