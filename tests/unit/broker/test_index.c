/* The subscription index. */
#include "broker/index.h"

#include <malloc.h>

#include "broker/topic.h"
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

static void put(struct index *ix, const char *filter, uintptr_t k)
{
	ck_assert_int_eq(index_put(ix, slice_str(filter), key(k), (void *)(k + 1), NULL, NULL), 0);
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
	struct index *ix = index_new();
	for (uintptr_t i = 0; i < ARRAY_LEN(filters); i++)
		put(ix, filters[i], i);
	for (size_t gone = 0; gone <= ARRAY_LEN(filters); gone++) {
		ck_assert_uint_eq(index_count(ix), ARRAY_LEN(filters) - gone);
		for (size_t t = 0; t < ARRAY_LEN(topics); t++) {
			struct found want = {0, 0};
			for (uintptr_t i = gone; i < ARRAY_LEN(filters); i++) {
				if (topic_matches(slice_str(filters[i]), slice_str(topics[t])))
					found_one((void *)(i + 1), &want);
			}
			struct found got = match(ix, topics[t]);
			ck_assert_msg(got.n == want.n && got.sum == want.sum, "%s", topics[t]);
		}
		if (gone == ARRAY_LEN(filters))
			break;
		bool last = false;
		struct slice filter = slice_str(filters[gone]);
		ck_assert(index_has(ix, filter));
		ck_assert_ptr_eq(index_remove(ix, filter, key(gone), &last), (void *)(gone + 1));
		ck_assert(last && !index_has(ix, filter));
	}
	index_free(ix);
}
END_TEST

START_TEST(first_old_last)
{
	struct index *ix = index_new();
	struct slice filter = slice_str("a/+/b");
	bool first = false, last = true;
	void *old = (void *)1;
	ck_assert(!index_has(ix, filter));
	ck_assert_int_eq(index_put(ix, filter, key(0), (void *)10, &first, &old), 0);
	ck_assert(first && !old && index_has(ix, filter));
	ck_assert_int_eq(index_put(ix, filter, key(5), (void *)11, &first, &old), 0);
	ck_assert(!first && !old && index_count(ix) == 2);
	ck_assert_int_eq(index_put(ix, filter, key(0), (void *)12, &first, &old), 0);
	ck_assert(!first && old == (void *)10 && index_count(ix) == 2);
	ck_assert(match(ix, "a/x/b").sum == 23);
	ck_assert(!index_has(ix, slice_str("a/+")) && !index_has(ix, slice_str("a/#")));
	ck_assert_ptr_null(index_remove(ix, filter, key(7), &last));
	ck_assert(!last);
	ck_assert_ptr_null(index_remove(ix, slice_str("a/+/#"), key(0), &last));
	ck_assert_ptr_null(index_remove(ix, slice_str("a"), key(0), NULL));
	ck_assert_ptr_eq(index_remove(ix, filter, key(0), &last), (void *)12);
	ck_assert(!last);
	ck_assert_ptr_eq(index_remove(ix, filter, key(5), &last), (void *)11);
	ck_assert(last && index_count(ix) == 0);
	for (uintptr_t i = 0; i < 20; i++) { /* what is left is freed with the index */
		put(ix, "a/b", i);
		put(ix, "a/#", i);
	}
	index_free(ix);
	index_free(NULL);
}
END_TEST

/* One filter with very many subscribers, who leave in another order. */
START_TEST(many_on_one_filter)
{
	enum { MANY = 20011 };
	struct index *ix = index_new();
	for (uintptr_t i = 0; i < MANY; i++)
		put(ix, "all/#", i * 64);
	ck_assert_uint_eq(match(ix, "all").n, MANY);
	for (uintptr_t i = 0, at = 0; i < MANY; i++, at = (at + 7919) % MANY) {
		void *value = index_remove(ix, slice_str("all/#"), key(at * 64), NULL);
		ck_assert_ptr_eq(value, (void *)(at * 64 + 1));
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
	struct index *ix = index_new();
	char filter[2 * LEVELS + 1];
	uint64_t sum = 0;
	for (uintptr_t i = 0; i < 1u << LEVELS; i++) {
		for (unsigned level = 0; level < LEVELS; level++) {
			filter[2 * level] = i >> level & 1 ? '+' : 'a';
			filter[2 * level + 1] = '/';
		}
		filter[2 * LEVELS - 1] = 0;
		put(ix, filter, i);
		sum += i + 1;
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
	struct index *ix = index_new();
	char *text = malloc(TOPIC);
	memset(text, '/', TOPIC);
	struct slice empty = slice_make(text, DEPTH - 1);
	ck_assert_int_eq(
	        index_put(ix, slice_make(text, DEPTH), key(1), (void *)1, NULL, NULL), ERR_TOO_BIG);
	ck_assert_int_eq(
	        index_put(ix, slice_make(text, TOPIC), key(1), (void *)1, NULL, NULL), ERR_TOO_BIG);
	ck_assert_int_eq(index_put(ix, empty, key(1), (void *)1, NULL, NULL), 0);
	ck_assert_int_eq(index_put(ix, slice_str("#"), key(1), (void *)2, NULL, NULL), 0);
	char *plus = malloc(2 * DEPTH);
	for (unsigned level = 0; level < DEPTH; level++) {
		/* A filter that leaves the empty levels for a '+' at this one. */
		size_t n = 0;
		for (unsigned i = 0; i < level; i++)
			plus[n++] = '/';
		plus[n++] = '+';
		ck_assert_int_eq(
		        index_put(ix, slice_make(plus, n), key(1), (void *)4, NULL, NULL), 0);
	}
	struct found f = {0, 0};
	index_match(ix, empty, found_one, &f);
	ck_assert_uint_eq(f.sum, 1 + 2 + 4);
	f = (struct found){0, 0};
	index_match(ix, slice_make(text, TOPIC), found_one, &f);
	ck_assert_uint_eq(f.sum, 2);
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
	struct index *ix = index_new();
	char filter[80];
	hash_bytes("", 0); /* what the random key behind it allocates once is not the index's */
	struct mallinfo2 before = mallinfo2();
	for (unsigned i = 0; i < CLIENTS; i++) {
		snprintf(filter, sizeof(filter), "devices/1c9e6679-7425-40de-944b-%012x/#", i);
		put(ix, filter, i);
	}
	struct mallinfo2 after = mallinfo2();
	size_t each = (after.uordblks + after.hblkhd - before.uordblks - before.hblkhd) / CLIENTS;
	ck_assert_msg(each <= 250, "%zu bytes a subscription", each);
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
	tcase_add_test(tc, first_old_last);
	tcase_add_test(tc, many_on_one_filter);
	tcase_add_test(tc, overlapping_wildcards);
	tcase_add_test(tc, deep);
	tcase_add_test(tc, memory);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
