/* Topic names and filters: MQTT 5.0 section 4.7 and 4.8.2. */
#include "broker/topic.h"

#include "tests/unit/broker/packets.h"

#define LEVELS 8

static const struct {
	const char *name, *topic;
	bool as_name, as_filter;
} forms[] = {
        {"plain", "a/b/c", true, true},
        {"[MQTT-4.7.3-1] empty", "", false, false},
        {"[MQTT-4.7.3-4] a slash", "/", true, true},
        {"empty levels", "//a//", true, true},
        {"spaces", "a b/ ", true, true},
        {"dollar", "$SYS/a", true, true},
        {"[MQTT-4.7.1-1] #", "#", false, true},
        {"[MQTT-4.7.1-1] a/#", "a/#", false, true},
        {"[MQTT-4.7.1-1] /#", "/#", false, true},
        {"[MQTT-4.7.1-1] a#", "a#", false, false},
        {"[MQTT-4.7.1-1] #a", "#a", false, false},
        {"[MQTT-4.7.1-1] a/#/b", "a/#/b", false, false},
        {"[MQTT-4.7.1-1] #/", "#/", false, false},
        {"[MQTT-4.7.1-1] ##", "##", false, false},
        {"[MQTT-4.7.1-1] a/##", "a/##", false, false},
        {"[MQTT-4.7.1-2] +", "+", false, true},
        {"[MQTT-4.7.1-2] +/+/#", "+/+/#", false, true},
        {"[MQTT-4.7.1-2] /+", "/+", false, true},
        {"[MQTT-4.7.1-2] +/", "+/", false, true},
        {"[MQTT-4.7.1-2] a+", "a+", false, false},
        {"[MQTT-4.7.1-2] +a/b", "+a/b", false, false},
        {"[MQTT-4.7.1-2] a/b+/c", "a/b+/c", false, false},
        {"[MQTT-4.7.1-2] ++", "++", false, false},
        {"[MQTT-4.7.1-2] +#", "+#", false, false},
        {"as many levels as allowed", "1/2/3/4/5/6/7/8", true, true},
        {"one more", "1/2/3/4/5/6/7/8/9", false, false},
        {"one more, empty", "1/2/3/4/5/6/7/8/", false, false},
        {"one more, wildcard", "1/2/3/4/5/6/7/8/#", false, false},
        {"as many slashes as allowed", "///////", true, true},
        {"one more slash", "////////", false, false},
};

START_TEST(form)
{
	struct slice s = slice_str(forms[_i].topic);
	ck_assert_msg(topic_name_valid(s, LEVELS) == forms[_i].as_name, "%s", forms[_i].name);
	ck_assert_msg(topic_filter_valid(s, LEVELS) == forms[_i].as_filter, "%s", forms[_i].name);
	bool wild = strpbrk(forms[_i].topic, "+#");
	ck_assert_msg(topic_has_wildcard(s) == wild, "%s", forms[_i].name);
}
END_TEST

START_TEST(sizes)
{
	uint8_t *big = malloc(65536);
	memset(big, 'a', 65536);
	ck_assert(topic_name_valid(slice_make(big, 65535), LEVELS)); /* [MQTT-4.7.3-3] */
	ck_assert(!topic_name_valid(slice_make(big, 65536), LEVELS));
	ck_assert(!topic_filter_valid(slice_make(big, 65536), LEVELS));
	memset(big, '/', 65536);
	ck_assert(topic_name_valid(slice_make(big, 65535), 65536));
	ck_assert(!topic_name_valid(slice_make(big, 65535), 65535));
	free(big);
}
END_TEST

static const struct {
	const char *name, *filter;
	int want;
	const char *group, *rest;
} shares[] = {
        {"shared", "$share/g/a/b", 1, "g", "a/b"},
        {"shared #", "$share/g/#", 1, "g", "#"},
        {"shared /", "$share/g//", 1, "g", "/"},
        {"not shared", "a/b", 0, NULL, NULL},
        {"not shared either", "$shared/g/a", 0, NULL, NULL},
        {"nor in the middle", "a/$share/g/a", 0, NULL, NULL},
        {"nor in capitals", "$SHARE/g/a", 0, NULL, NULL},
        {"empty", "", 0, NULL, NULL},
        {"[MQTT-4.8.2-2] nothing behind", "$share", ERR_INVALID, NULL, NULL},
        {"[MQTT-4.8.2-1] no group", "$share/", ERR_INVALID, NULL, NULL},
        {"[MQTT-4.8.2-1] empty group", "$share//a", ERR_INVALID, NULL, NULL},
        {"[MQTT-4.8.2-2] no slash behind the group", "$share/g", ERR_INVALID, NULL, NULL},
        {"[MQTT-4.8.2-2] no filter", "$share/g/", ERR_INVALID, NULL, NULL},
        {"[MQTT-4.8.2-2] + in the group", "$share/+/a", ERR_INVALID, NULL, NULL},
        {"[MQTT-4.8.2-2] # in the group", "$share/g#/a", ERR_INVALID, NULL, NULL},
        {"filter not well-formed", "$share/g/a#", ERR_INVALID, NULL, NULL},
        {"filter goes on behind #", "$share/g/#/a", ERR_INVALID, NULL, NULL},
};

START_TEST(share)
{
	struct slice group = {NULL, 0}, rest = {NULL, 0};
	int got = topic_share_split(slice_str(shares[_i].filter), &group, &rest);
	ck_assert_msg(got == shares[_i].want, "%s: %d", shares[_i].name, got);
	if (got == 1) {
		check_slice(shares[_i].name, group, shares[_i].group);
		check_slice(shares[_i].name, rest, shares[_i].rest);
	}
}
END_TEST

static const struct {
	const char *filter, *topic;
	bool want;
} matches[] = {
        {"a/b", "a/b", true},
        {"a/b", "a/B", false}, /* [MQTT-4.7.3-4] case matters */
        {"a/b", "a", false},
        {"a", "a/b", false},
        {"a", "/a", false},
        {"a", "a/", false},
        {"#", "a", true},
        {"#", "a/b/c", true},
        {"#", "/", true},
        {"a/#", "a", true}, /* the parent */
        {"a/#", "a/", true},
        {"a/#", "a/b/c", true},
        {"a/#", "ab", false},
        {"a/b/#", "a", false},
        {"+", "a", true},
        {"+", "a/b", false},
        {"+", "/a", false},
        {"/+", "/a", true},
        {"+/+", "/a", true},
        {"+/+", "/", true},
        {"a/+", "a", false},
        {"a/+", "a/", true},
        {"a/+", "a/b", true},
        {"a/+", "a/b/c", false},
        {"a/+/c", "a/b/c", true},
        {"a/+/c", "a//c", true},
        {"a/+/c", "a/b/d", false},
        {"+/b/#", "a/b", true},
        {"+/b/#", "a/c", false},
        {"+/#", "a", true},
        {"+/+/#", "a", false},
        /* [MQTT-4.7.2-1] */
        {"#", "$SYS/a", false},
        {"+/a", "$SYS/a", false},
        {"+", "$SYS", false},
        {"$SYS/#", "$SYS/a", true},
        {"$SYS/#", "$SYS", true},
        {"$SYS/+", "$SYS/a", true},
        {"a/#", "a/$b", true},
        {"a/+", "a/$b", true},
};

START_TEST(match)
{
	struct slice filter = slice_str(matches[_i].filter), topic = slice_str(matches[_i].topic);
	ck_assert_msg(topic_matches(filter, topic) == matches[_i].want, "%s, %s",
	        matches[_i].filter, matches[_i].topic);
}
END_TEST

static const struct {
	const char *outer, *inner;
	bool want;
} covers[] = {
        {"a/b", "a/b", true},
        {"a/b", "a/c", false},
        {"a/#", "a/b", true},
        {"a/#", "a", true},
        {"a/#", "a/#", true},
        {"a/#", "a/+", true},
        {"a/#", "a/+/c/#", true},
        {"a/#", "#", false},
        {"a/#", "+/b", false},
        {"a/#", "ab/c", false},
        {"#", "#", true},
        {"#", "+", true},
        {"#", "a/b/c", true},
        {"#", "$SYS/a", false},
        {"#", "$SYS/#", false},
        {"$SYS/#", "$SYS/a/+", true},
        {"+", "a", true},
        {"+", "+", true},
        {"+", "#", false},
        {"+", "a/b", false},
        {"+", "$a", false},
        {"a/+", "a/b", true},
        {"a/+", "a/#", false},
        {"a/+", "a", false},
        {"a/b", "a/+", false},
        {"a/b", "a/#", false},
        {"+/#", "#", true}, /* every topic has a first level */
        {"+/+/#", "#", false},
        {"a/+/#", "a/#", false}, /* not the parent */
        {"+/+", "a/+", true},
        {"a/+/c", "a/b/+", false},
        {"devices/d1/#", "devices/d1/messages/events/#", true},
        {"devices/d1/#", "devices/d10/#", false},
        {"devices/d1/#", "devices/+/messages", false},
};

START_TEST(cover)
{
	struct slice outer = slice_str(covers[_i].outer), inner = slice_str(covers[_i].inner);
	ck_assert_msg(topic_filter_covers(outer, inner) == covers[_i].want, "%s, %s",
	        covers[_i].outer, covers[_i].inner);
}
END_TEST

/* The n-th word of up to 4 levels over the given ones. false: there are no more. */
static bool nth_topic(unsigned n, const char *const levels[], unsigned n_levels, char *out)
{
	*out = 0;
	for (unsigned depth = 1, size = n_levels; depth <= 4; depth++, size *= n_levels) {
		if (n >= size) {
			n -= size;
			continue;
		}
		for (unsigned i = 0; i < depth; i++, n /= n_levels) {
			if (i > 0)
				strcat(out, "/");
			strcat(out, levels[n % n_levels]);
		}
		return true;
	}
	return false;
}

/* "Covers" means what it says: held against "matches" over all short topics and filters. "c" is a
 * level that no filter names, so a counterexample, if there is one, is among the topics. */
START_TEST(cover_is_match_for_all)
{
	static const char *const in_filter[] = {"a", "+", "#", "$b"};
	static const char *const in_topic[] = {"a", "c", "$b"};
	char outer[40], inner[40], topic[40];
	for (unsigned o = 0; nth_topic(o, in_filter, 4, outer); o++) {
		if (!topic_filter_valid(slice_str(outer), 3))
			continue;
		for (unsigned i = 0; nth_topic(i, in_filter, 4, inner); i++) {
			if (!topic_filter_valid(slice_str(inner), 3))
				continue;
			bool want = true;
			for (unsigned t = 0; want && nth_topic(t, in_topic, 3, topic); t++)
				want = !topic_matches(slice_str(inner), slice_str(topic)) ||
				        topic_matches(slice_str(outer), slice_str(topic));
			bool got = topic_filter_covers(slice_str(outer), slice_str(inner));
			ck_assert_msg(got == want, "%s, %s", outer, inner);
		}
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("topics");
	TCase *tc = tcase_create("all");
	tcase_add_loop_test(tc, form, 0, ARRAY_LEN(forms));
	tcase_add_test(tc, sizes);
	tcase_add_loop_test(tc, share, 0, ARRAY_LEN(shares));
	tcase_add_loop_test(tc, match, 0, ARRAY_LEN(matches));
	tcase_add_loop_test(tc, cover, 0, ARRAY_LEN(covers));
	tcase_add_test(tc, cover_is_match_for_all);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
