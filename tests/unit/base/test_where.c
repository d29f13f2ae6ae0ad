/* Conditions over documents: what they are true of, and what is refused where. */
#include "server/base/where.h"

#include "server/base/cleanup.h"
#include "server/base/err.h"
#include "tests/unit/base/unit.h"

static const char document[] = "{\"deviceId\": \"d1\", \"status\": \"enabled\", \"tags\": "
                               "{\"site\": \"berlin\", \"floor\": 3,"
                               " \"live\": true, \"none\": null, \"list\": [1, 2, \"x\"], "
                               "\"deep\": {\"a b\": {\"c\": 1.5}},"
                               " \"it's\": \"a'b\"}}";

static const struct {
	const char *text;
	bool truth;
} conditions[] = {
        {"tags.site = 'berlin'", true},
        {"tags.site = \"berlin\"", true},
        {"tags.site = 'Berlin'", false},
        {"tags.site != 'rome'", true},
        {"tags.site <> 'rome'", true},
        {"TAGS.site = 'berlin'", false},
        {"tags.floor = 3", true},
        {"tags.floor = 3.0", true},
        {"tags.floor = '3'", false},
        {"tags.floor != '3'", true},
        {"tags.floor > 2 AND tags.floor <= 3", true},
        {"tags.floor < 3 or tags.floor >= 4", false},
        {"tags.floor > '2'", false},
        {"tags.site > 'a' and tags.site < 'c'", true},
        {"0x10 = 16", true},
        {"-tags.floor = 0 - 3", true},
        {"tags.floor + 1 = 4", true},
        {"2 + 2 * 3 = 8", true},
        {"(2 + 2) * 3 = 12", true},
        {"7 % 4 = 3", true},
        {"1 / 0 = 1 / 0", false},
        {"tags.site + 1 = 1", false},
        {"tags.live", true},
        {"tags.live = true", true},
        {"NOT tags.live", false},
        {"not tags.live = false", true},
        {"tags.floor", false},
        {"tags.none = null", true},
        {"tags.missing = null", false},
        {"tags.missing = undefined", false},
        /* what is not there is neither equal nor unequal */
        {"tags.missing = 1", false},
        {"tags.missing != 1", false},
        {"NOT tags.missing = 1", false},
        {"tags.missing = 1 OR tags.live", true},
        {"tags.live OR tags.missing = 1", true},
        {"tags.missing = 1 AND tags.live", false},
        {"NOT (tags.missing = 1 AND tags.live = false)", true},
        {"IS_DEFINED(tags.site)", true},
        {"is_defined(tags.missing)", false},
        {"NOT IS_DEFINED(tags.missing)", true},
        {"IS_DEFINED(tags.none)", true},
        {"tags.site IN ['rome', 'berlin']", true},
        {"tags.site NIN ['rome', 'berlin']", false},
        {"tags.site NOT IN ['rome']", true},
        {"tags.missing IN ['rome']", false},
        {"tags.missing NIN ['rome']", false},
        {"tags.floor in [1, 2, 3]", true},
        {"tags.list = [1, 2, 'x']", true},
        {"tags.list[2] = 'x'", true},
        {"tags.list[9] = 'x'", false},
        {"tags.deep['a b'].c = 1.5", true},
        {"tags.deep = {'a b': {c: 1.5}}", true},
        {"tags['it\\'s'] = 'a''b'", true},
        {"true OR false AND false", true},
        {"(true OR false) AND false", false},
        {"SELECT * FROM devices", true},
        {"SELECT * FROM devices WHERE tags.floor = 4", false},
        {"  select * from devices where tags.floor = 3  ", true},
};

START_TEST(conditions_are_true_of)
{
	_cleanup_json_ json_t *doc = json_loads(document, 0, NULL);
	ck_assert_ptr_nonnull(doc);
	for (size_t i = 0; i < ARRAY_LEN(conditions); i++) {
		struct where *w = NULL;
		struct where_error e;
		int err = where_parse(slice_str(conditions[i].text), &w, &e);
		ck_assert_msg(err == 0, "%s: at %zu: %s", conditions[i].text, e.position, e.text);
		ck_assert_msg(
		        where_matches(w, doc) == conditions[i].truth, "%s", conditions[i].text);
		where_free(w);
	}
}
END_TEST

static const struct {
	const char *text;
	size_t position;
} refused[] = {
        {"", 0},
        {"a =", 3},
        {"a = = 1", 4},
        {"a ? 1", 2},
        {"(a = 1", 6},
        {"a = 1)", 5},
        {"a = 'x", 4},
        {"a = 1x", 4},
        {"a.", 2},
        {"a.1", 2},
        {"a[", 2},
        {"a[x]", 2},
        {"a IN 1", 5},
        {"a IN [1", 7},
        {"a IN [b]", 6},
        {"a NOT 1", 6},
        {"IS_DEFINED(1)", 11},
        {"AND", 0},
        {"a = 1 b", 6},
        {"SELECT a FROM devices", 7},
        {"SELECT * FROM jobs", 14},
        {"SELECT * FROM devices.modules", 21},
        {"SELECT * FROM devices ORDER BY a", 22},
        {"a = 1;", 5},
        {"\xff", 0},
};

START_TEST(what_is_wrong_is_pointed_at)
{
	for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
		struct where *w = NULL;
		struct where_error e = {0};
		ck_assert_msg(where_parse(slice_str(refused[i].text), &w, &e) == ERR_INVALID,
		        "'%s'", refused[i].text);
		ck_assert_msg(e.position == refused[i].position, "'%s': at %zu: %s",
		        refused[i].text, e.position, e.text);
		ck_assert_msg(e.text[0] != '\0', "'%s'", refused[i].text);
	}
}
END_TEST

static void too_much(const char *head, const char *repeated, const char *tail, unsigned times)
{
	static char text[3 * WHERE_BYTES_MAX];
	struct where *w = NULL;
	struct where_error e;
	size_t n = (size_t)snprintf(text, sizeof(text), "%s", head);
	for (unsigned i = 0; i < times && n < sizeof(text) - 64; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%s", repeated);
	snprintf(text + n, sizeof(text) - n, "%s", tail);
	ck_assert_msg(where_parse(slice_str(text), &w, &e) == ERR_TOO_BIG, "%.40s", text);
}

START_TEST(everything_is_bounded)
{
	too_much("", "(", "a", 200);
	too_much("", "NOT ", "a", 200);
	too_much("a = ", "- ", "1", 200);
	too_much("a", " AND a", "", 200);
	too_much("a", " + 1", " = 1", 200);
	too_much("a IN ", "[", "1", 200);
	too_much("a", ".b", " = 1", 20);
	too_much("a = '", "x", "'", 5000);
}
END_TEST

START_TEST(paths_are_told)
{
	struct where *w = NULL;
	struct where_error e;
	struct where_path path;
	unsigned pos = 0;
	ck_assert_int_eq(
	        where_parse(SLICE_LIT("tags.site = 'x' AND IS_DEFINED(a['b c'][1])"), &w, &e), 0);
	ck_assert(where_next_path(w, &pos, &path));
	ck_assert_uint_eq(path.n, 2);
	ck_assert(slice_eq_str(path.names[1], "site"));
	ck_assert(where_next_path(w, &pos, &path));
	ck_assert_uint_eq(path.n, 3);
	ck_assert(slice_eq_str(path.names[1], "b c") && !path.names[2].p);
	ck_assert(!where_next_path(w, &pos, &path));
	where_free(w);
}
END_TEST

UNIT_MAIN("where", conditions_are_true_of, what_is_wrong_is_pointed_at, everything_is_bounded,
        paths_are_told)
