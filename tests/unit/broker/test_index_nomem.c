/* The trees over topics when memory runs out: each allocation of each step fails once. Nothing may
 * be lost, half-made or left behind. The sanitizers bring their own malloc: nothing to test there.
 */
#include "broker/index.h"
#include "broker/retain.h"
#include "server/base/map.h"
#include "tests/unit/broker/packets.h"

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define CAN_FAIL 1

void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);

static unsigned fail_at; /* the n-th allocation from now on fails; 0: none */

static bool fails(void)
{
	return fail_at > 0 && --fail_at == 0;
}

void *malloc(size_t n)
{
	return fails() ? NULL : __libc_malloc(n);
}

void *calloc(size_t n, size_t size)
{
	return fails() ? NULL : __libc_calloc(n, size);
}
#else
#define CAN_FAIL 0
static unsigned fail_at;
#endif

static char things[128]; /* values; a value is its key */

static const void *value_key(const void *value)
{
	return value;
}

static bool value_counts(const void *value HF_UNUSED)
{
	return true;
}

static const struct index_values values = {value_key, value_counts};

static void *value_of(uintptr_t key)
{
	return &things[0] + (uintptr_t)&things[0] % 2 + 2 * key;
}

static void count_one(void *value HF_UNUSED, void *arg)
{
	++*(unsigned *)arg;
}

static unsigned count_matches(const struct index *ix, const char *topic)
{
	unsigned n = 0;
	index_match(ix, slice_str(topic), count_one, &n);
	return n;
}

/* Adds an entry with its first, second, … allocation failing until it works. Returns how many
 * times it failed. */
static unsigned put_at_last(struct index *ix, const char *filter, uintptr_t key)
{
	for (unsigned nth = 1;; nth++) {
		size_t before = index_count(ix);
		bool had = index_has(ix, slice_str(filter));
		fail_at = nth;
		int err = index_put(ix, slice_str(filter), value_of(key), NULL, NULL);
		fail_at = 0;
		if (err == 0)
			return nth - 1;
		ck_assert_int_eq(err, ERR_NOMEM);
		ck_assert_uint_eq(index_count(ix), before);
		ck_assert(index_has(ix, slice_str(filter)) == had);
	}
}

START_TEST(index_nomem)
{
	hash_bytes("", 0);
	struct index *ix = index_new(&values);
	char filter[30];
	unsigned failed = 0;
	for (unsigned i = 0; i < 40; i++) { /* one child, a few, many */
		snprintf(filter, sizeof(filter), "a/%u/+/c", i);
		failed += put_at_last(ix, filter, 1);
		ck_assert_uint_eq(count_matches(ix, "a/0/b/c"), 1);
	}
	for (uintptr_t i = 0; i < 40; i++) /* one entry, a table that grows */
		failed += put_at_last(ix, "x/#", i);
	ck_assert_uint_eq(count_matches(ix, "x"), 40);
	ck_assert(!CAN_FAIL || failed > 100);
	for (uintptr_t i = 0; i < 40;
	        i++) { /* smaller tables that cannot be had are done without */
		fail_at = 1;
		ck_assert_ptr_eq(
		        index_remove(ix, slice_str("x/#"), value_of(i), NULL), value_of(i));
		snprintf(filter, sizeof(filter), "a/%u/+/c", (unsigned)i);
		fail_at = 1;
		ck_assert_ptr_eq(
		        index_remove(ix, slice_str(filter), value_of(1), NULL), value_of(1));
		fail_at = 0;
		ck_assert_uint_eq(count_matches(ix, "x/y"), 39 - (unsigned)i);
		ck_assert_uint_eq(count_matches(ix, "a/39/b/c"), i < 39);
	}
	ck_assert_uint_eq(index_count(ix), 0);
	index_free(ix);
}
END_TEST

START_TEST(retain_nomem)
{
	hash_bytes("", 0);
	struct retain *r = retain_new();
	char topic[30];
	unsigned failed = 0;
	for (unsigned i = 0; i < 40; i++) {
		snprintf(topic, sizeof(topic), "a/%u/b/c", i % 20);
		struct msg *m = msg_new(slice_str(topic), slice_make(NULL, 0), slice_str("x"));
		size_t count = retain_count(r), bytes = retain_bytes(r);
		for (unsigned nth = 1;; nth++) {
			fail_at = nth;
			int err = retain_put(r, m, 1 + i, SIZE_MAX, SIZE_MAX);
			fail_at = 0;
			if (err == 0)
				break;
			ck_assert_int_eq(err, ERR_NOMEM);
			ck_assert(retain_count(r) == count && retain_bytes(r) == bytes);
			ck_assert_uint_eq(retain_remove_device(r, 1 + i), 0);
			failed++;
		}
		msg_unref(m);
	}
	ck_assert(!CAN_FAIL || failed > 60);
	for (unsigned i = 20; i < 40; i++)
		ck_assert_uint_eq(retain_remove_device(r, 1 + i), 1);
	ck_assert_uint_eq(retain_bytes(r), 0);
	retain_free(r);
}
END_TEST

START_TEST(new_nomem)
{
	for (unsigned nth = 1; CAN_FAIL && nth <= 2; nth++) {
		fail_at = nth;
		ck_assert_ptr_null(index_new(&values));
		fail_at = nth;
		ck_assert_ptr_null(retain_new());
	}
	fail_at = 0;
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("trees without memory");
	TCase *tc = tcase_create("all");
	tcase_add_test(tc, index_nomem);
	tcase_add_test(tc, retain_nomem);
	tcase_add_test(tc, new_nomem);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
