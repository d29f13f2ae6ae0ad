/* Sums of many keys in bounded memory. */
#include <pthread.h>

#include "server/base/tally.h"
#include "unit.h"

START_TEST(sums)
{
	struct tally *t = tally_new(1024);
	ck_assert_int_eq(tally_sum(t, SLICE_LIT("a")), 0);
	ck_assert_int_eq(tally_add(t, SLICE_LIT("a"), 3), 3);
	ck_assert_int_eq(tally_add(t, SLICE_LIT("a"), -1), 2);
	ck_assert_int_eq(tally_sum(t, SLICE_LIT("a")), 2);
	ck_assert_ptr_null(tally_free(t));
	ck_assert_ptr_null(tally_free(NULL));
}
END_TEST

/* Never too small, and rarely too large: 1,000 keys in 1,024 places of two rows. */
START_TEST(many_keys)
{
	struct tally *t = tally_new(1024);
	unsigned wrong = 0;
	for (uint32_t i = 0; i < 1000; i++)
		tally_add(t, slice_make(&i, sizeof(i)), i % 100 == 0 ? 1000000 : 1);
	for (uint32_t i = 0; i < 1000; i++) {
		int64_t sum = tally_sum(t, slice_make(&i, sizeof(i)));
		ck_assert_int_ge(sum, i % 100 == 0 ? 1000000 : 1);
		wrong += i % 100 != 0 && sum >= 1000000;
	}
	ck_assert_uint_lt(
	        wrong, 10); /* both places shared with one of ten heavy ones: 0.1 expected */
	for (uint32_t i = 0; i < 1000; i++)
		tally_add(t, slice_make(&i, sizeof(i)), i % 100 == 0 ? -1000000 : -1);
	for (uint32_t i = 0; i < 1000; i++)
		ck_assert_int_eq(tally_sum(t, slice_make(&i, sizeof(i))), 0);
	tally_free(t);
}
END_TEST

static void *count(void *arg)
{
	for (unsigned i = 0; i < 100000; i++)
		tally_add(arg, SLICE_LIT("key"), i % 2 ? 2 : -1);
	return NULL;
}

START_TEST(threads)
{
	struct tally *t = tally_new(16);
	pthread_t four[4];
	for (unsigned i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_create(&four[i], NULL, count, t), 0);
	for (unsigned i = 0; i < 4; i++)
		pthread_join(four[i], NULL);
	ck_assert_int_eq(tally_sum(t, SLICE_LIT("key")), 4 * 50000);
	tally_free(t);
}
END_TEST

UNIT_MAIN("tally", sums, many_keys, threads)
