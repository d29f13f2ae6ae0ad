/* The subscription index. */
#include "broker/index.h"

#include <malloc.h>

#include "broker/topic.h"
#include "server/base/err.h"
#include "server/base/map.h"
#include "tests/unit/broker/packets.h"

struct found {
	unsigned n;
	uint64_t sum; /* of the values, so that each must have come once */
};

static void found_one(void *value, void *arg)
{
	struct found *f = arg;
	f->n++;
	f->sum += (uintptr_t)value;
}

/* A value is eight times its key, and a bit more, so that two can have the same key; those with 4
 * do not count. */
static const void *value_key(const void *value)
{
	return (const void *)((uintptr_t)value / 8);
}

static bool value_counts(const void *value)
{
	return !((uintptr_t)value & 4);
}

static const struct index_values values = {value_key, value_counts};

static struct found match(const struct index *ix, const char *topic)
{
	struct found f = {0, 0};
	index_match(ix, slice_str(topic), found_one, &f);
	return f;
}

static const void *key(uintptr_t n)
{
	return (const void *)n;
}

static void *value_of(uintptr_t k)
{
	return (void *)(8 * k + 2);
}

static void put(struct index *ix, const char *filter, uintptr_t k)
{
	struct index_place place;
	uint8_t text[INDEX_TEXT_MAX];
	ck_assert_int_eq(index_put(ix, slice_str(filter), value_of(k), &place, NULL), 0);
	ck_assert(slice_eq(index_text(place, text), slice_str(filter)));
	ck_assert_ptr_eq(index_get(ix, slice_str(filter), key(k)), value_of(k));
}

static const char *const filters[] = {"#", "+", "+/#", "+/+", "/+", "/#", "a", "a/#", "a/+",
        "a/+/c", "a/b", "a/b/#", "a/b/c", "+/b/c", "+/+/c", "+/+/+", "$SYS/#", "$SYS/+", "$SYS/a",
        "a//c", "/", "a/", "a/$b", "+/$b", "b"};
static const char *const topics[] = {"a", "b", "a/b", "a/b/c", "a/b/c/d", "a/x/c", "x", "x/y/z",
        "/", "//", "/a", "a/", "a//c", "$SYS", "$SYS/a", "$SYS/b/c", "$x", "a/$b", "", "a/b/",
        "é/ü"};

/* Every topic finds exactly the filters that topic_matches says, whatever else has come and gone.
 */
START_TEST(same_as_topic_matches)
{
	struct index *ix = index_new(&values);
	for (uintptr_t i = 0; i < ARRAY_LEN(filters); i++)
		put(ix, filters[i], i);
	for (size_t gone = 0; gone <= ARRAY_LEN(filters); gone++) {
		ck_assert_uint_eq(index_count(ix), ARRAY_LEN(filters) - gone);
		for (size_t t = 0; t < ARRAY_LEN(topics); t++) {
			struct found want = {0, 0};
			for (uintptr_t i = gone; i < ARRAY_LEN(filters); i++) {
				if (topic_matches(slice_str(filters[i]), slice_str(topics[t])))
					found_one(value_of(i), &want);
			}
			struct found got = match(ix, topics[t]);
			ck_assert_msg(got.n == want.n && got.sum == want.sum, "%s", topics[t]);
		}
		if (gone == ARRAY_LEN(filters))
			break;
		bool last = false;
		struct slice filter = slice_str(filters[gone]);
		ck_assert(index_has(ix, filter));
		ck_assert_ptr_eq(index_remove(ix, filter, key(gone), &last), value_of(gone));
		ck_assert(last && !index_has(ix, filter));
	}
	index_free(ix);
}
END_TEST

START_TEST(first_and_last)
{
	struct index *ix = index_new(&values);
	struct slice filter = slice_str("a/+/b");
	struct index_place place = {0}, same = {0};
	uint8_t text[INDEX_TEXT_MAX];
	void *other = (void *)(8 * 9 + 4);
	bool first = false, last = true;
	ck_assert(!index_has(ix, filter) && !index_get(ix, filter, key(9)));
	ck_assert_int_eq(index_put(ix, filter, other, &place, NULL), 0);
	ck_assert(index_has(ix, filter));
	ck_assert_int_eq(index_put(ix, filter, value_of(0), &same, &first), 0);
	ck_assert(first && same.bits == place.bits); /* the other one does not count */
	ck_assert_int_eq(index_put(ix, filter, value_of(5), &same, &first), 0);
	ck_assert(!first && same.bits == place.bits && index_count(ix) == 3);
	ck_assert_int_eq(index_put(ix, filter, (void *)(8 * 5 + 4), NULL, NULL), ERR_EXISTS);
	ck_assert(slice_eq(index_text(place, text), filter));
	ck_assert(match(ix, "a/x/b").sum == 76 + 2 + 42);
	ck_assert(!index_has(ix, slice_str("a/+")) && !index_has(ix, slice_str("a/#")));
	ck_assert_ptr_null(index_remove(ix, filter, key(7), &last));
	ck_assert(!last);
	ck_assert_ptr_null(index_remove(ix, slice_str("a/+/#"), key(0), &last));
	ck_assert_ptr_null(index_remove(ix, slice_str("a"), key(0), NULL));
	ck_assert_ptr_eq(index_take(ix, place, key(0), &last), value_of(0));
	ck_assert(!last);
	ck_assert_ptr_eq(index_remove(ix, filter, key(5), &last), value_of(5));
	ck_assert(last && index_count(ix) == 1);
	ck_assert_ptr_eq(index_take(ix, place, key(9), &last), other);
	ck_assert(!last && index_count(ix) == 0 && !index_has(ix, filter));
	for (uintptr_t i = 0; i < 20; i++) { /* what is left is freed with the index */
		put(ix, "a/b", i);
		put(ix, "a/#", i);
	}
	index_free(ix);
	index_free(NULL);
}
END_TEST

/* A wide level has every child, and "+" beside them, while it grows and shrinks. */
START_TEST(wide)
{
	enum { MANY = 5000 };
	struct index *ix = index_new(&values);
	char filter[20];
	for (uintptr_t i = 0; i < MANY; i++) {
		snprintf(filter, sizeof(filter), "a/%u", (unsigned)i);
		put(ix, filter, i);
		if (i == 100)
			put(ix, "a/+", MANY);
	}
	for (uintptr_t i = 0, at = 0; i < MANY; i++, at = (at + 1999) % MANY) {
		snprintf(filter, sizeof(filter), "a/%u", (unsigned)at);
		ck_assert_uint_eq(match(ix, filter).n, i < MANY - 20 ? 2 : 1);
		ck_assert_ptr_eq(index_remove(ix, slice_str(filter), key(at), NULL), value_of(at));
		ck_assert_uint_eq(match(ix, filter).n, i < MANY - 20 ? 1 : 0);
		if (i == MANY - 21)
			ck_assert_ptr_nonnull(index_remove(ix, slice_str("a/+"), key(MANY), NULL));
	}
	ck_assert_uint_eq(index_count(ix), 0);
	index_free(ix);
}
END_TEST

/* One filter with very many subscribers, who leave in another order. */
START_TEST(many_on_one_filter)
{
	enum { MANY = 20011 };
	struct index *ix = index_new(&values);
	for (uintptr_t i = 0; i < MANY; i++)
		put(ix, "all/#", i * 64);
	ck_assert_uint_eq(match(ix, "all").n, MANY);
	for (uintptr_t i = 0, at = 0; i < MANY; i++, at = (at + 7919) % MANY) {
		void *value = index_remove(ix, slice_str("all/#"), key(at * 64), NULL);
		ck_assert_ptr_eq(value, value_of(at * 64));
		if (i % 1000 == 0)
			ck_assert_uint_eq(match(ix, "all/x").n, MANY - 1 - i);
	}
	ck_assert_uint_eq(index_count(ix), 0);
	index_free(ix);
}
END_TEST

/* 16,384 filters of 14 levels, each "a" or "+": all match, and each is found once. */
START_TEST(overlapping_wildcards)
{
	enum { LEVELS = 14 };
	struct index *ix = index_new(&values);
	char filter[2 * LEVELS + 1];
	uint64_t sum = 0;
	for (uintptr_t i = 0; i < 1u << LEVELS; i++) {
		for (unsigned level = 0; level < LEVELS; level++) {
			filter[2 * level] = i >> level & 1 ? '+' : 'a';
			filter[2 * level + 1] = '/';
		}
		filter[2 * LEVELS - 1] = 0;
		put(ix, filter, i);
		sum += 8 * i + 2;
	}
	struct found all = match(ix, "a/a/a/a/a/a/a/a/a/a/a/a/a/a");
	ck_assert(all.n == 1u << LEVELS && all.sum == sum);
	ck_assert_uint_eq(match(ix, "b/b/b/b/b/b/b/b/b/b/b/b/b/b").n, 1);
	ck_assert_uint_eq(match(ix, "a/a").n, 0);
	index_free(ix);
}
END_TEST

/* The deepest filters, twice over with the topic's own levels and with '+', and topics of as many
 * levels as a packet can hold. */
START_TEST(deep)
{
	enum { DEPTH = 1024, TOPIC = 65535 };
	struct index *ix = index_new(&values);
	char *text = malloc(TOPIC);
	memset(text, '/', TOPIC);
	struct slice empty = slice_make(text, DEPTH - 1);
	ck_assert_int_eq(
	        index_put(ix, slice_make(text, DEPTH), value_of(1), NULL, NULL), ERR_TOO_BIG);
	ck_assert_int_eq(
	        index_put(ix, slice_make(text, TOPIC), value_of(1), NULL, NULL), ERR_TOO_BIG);
	ck_assert_int_eq(index_put(ix, empty, (void *)8, NULL, NULL), 0);
	ck_assert_int_eq(index_put(ix, slice_str("#"), (void *)16, NULL, NULL), 0);
	char *plus = malloc(2 * DEPTH);
	for (unsigned level = 0; level < DEPTH; level++) {
		/* A filter that leaves the empty levels for a '+' at this one. */
		size_t n = 0;
		for (unsigned i = 0; i < level; i++)
			plus[n++] = '/';
		plus[n++] = '+';
		ck_assert_int_eq(index_put(ix, slice_make(plus, n), (void *)32, NULL, NULL), 0);
	}
	struct found f = {0, 0};
	index_match(ix, empty, found_one, &f);
	ck_assert_uint_eq(f.sum, 8 + 16 + 32);
	f = (struct found){0, 0};
	index_match(ix, slice_make(text, TOPIC), found_one, &f);
	ck_assert_uint_eq(f.sum, 16);
	free(plus);
	free(text);
	index_free(ix);
}
END_TEST

/* What a subscription costs: 10,000 clients with one filter each. */
START_TEST(memory)
{
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
	enum { CLIENTS = 10000 };
	struct index *ix = index_new(&values);
	char filter[80];
	hash_bytes("", 0); /* what the random key behind it allocates once is not the index's */
	struct mallinfo2 before = mallinfo2();
	for (unsigned i = 0; i < CLIENTS; i++) {
		snprintf(filter, sizeof(filter), "devices/1c9e6679-7425-40de-944b-%012x/#", i);
		put(ix, filter, i);
	}
	struct mallinfo2 after = mallinfo2();
	size_t each = (after.uordblks + after.hblkhd - before.uordblks - before.hblkhd) / CLIENTS;
	ck_assert_msg(each <= 120, "%zu bytes a subscription", each);
	for (unsigned i = 0; i < CLIENTS; i++) {
		snprintf(filter, sizeof(filter), "devices/1c9e6679-7425-40de-944b-%012x/#", i);
		ck_assert_ptr_nonnull(index_remove(ix, slice_str(filter), key(i), NULL));
	}
	/* All is back, but for what the allocator itself keeps at hand. */
	struct mallinfo2 end = mallinfo2();
	ck_assert_uint_le(end.uordblks + end.hblkhd, before.uordblks + before.hblkhd + 16384);
	index_free(ix);
#endif
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("subscription index");
	TCase *tc = tcase_create("all");
	tcase_add_test(tc, same_as_topic_matches);
	tcase_add_test(tc, first_and_last);
	tcase_add_test(tc, wide);
	tcase_add_test(tc, many_on_one_filter);
	tcase_add_test(tc, overlapping_wildcards);
	tcase_add_test(tc, deep);
	tcase_add_test(tc, memory);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
