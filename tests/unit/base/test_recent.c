/* How often something happened lately, in bounded memory. */
#include <pthread.h>

#include "server/base/recent.h"
#include "unit.h"

#define A SLICE_LIT("a")

START_TEST(counts_and_forgets)
{
	struct recent *r = recent_new(1024);
	ck_assert_uint_eq(recent_count(r, A, 5000, 1000), 0);
	for (unsigned i = 1; i <= 10; i++)
		ck_assert_uint_eq(recent_add(r, A, 5000, 1000), i);
	ck_assert_uint_eq(recent_count(r, SLICE_LIT("b"), 5000, 1000), 0);
	ck_assert_uint_eq(recent_count(r, A, 5999, 1000), 10);
	/* Half of the window before still counts, then nothing. */
	ck_assert_uint_eq(recent_count(r, A, 6500, 1000), 5);
	ck_assert_uint_eq(recent_add(r, A, 6500, 1000), 6);
	ck_assert_uint_eq(recent_count(r, A, 7000, 1000), 1);
	ck_assert_uint_eq(recent_count(r, A, 9000, 1000), 0);
	ck_assert_ptr_null(recent_free(r));
	ck_assert_ptr_null(recent_free(NULL));
}
END_TEST

START_TEST(saturates)
{
	struct recent *r = recent_new(16);
	for (unsigned i = 0; i < 70000; i++)
		recent_add(r, A, 5000, 1000);
	ck_assert_uint_eq(recent_count(r, A, 5000, 1000), 65535);
	recent_free(r);
}
END_TEST

/* Never too small for anybody, and rarely too large. */
START_TEST(many_keys)
{
	struct recent *r = recent_new(1024);
	unsigned wrong = 0;
	for (uint32_t round = 0; round < 3; round++)
		for (uint32_t i = 0; i < 300; i++)
			recent_add(r, slice_make(&i, sizeof(i)), 5000, 1000);
	for (uint32_t i = 0; i < 300; i++) {
		unsigned n = recent_count(r, slice_make(&i, sizeof(i)), 5000, 1000);
		ck_assert_uint_ge(n, 3);
		wrong += n != 3;
	}
	ck_assert_uint_lt(wrong, 60);
	recent_free(r);
}
END_TEST

static void *count(void *arg)
{
	for (unsigned i = 0; i < 10000; i++)
		recent_add(arg, A, 5000, 1000);
	return NULL;
}

START_TEST(threads)
{
	struct recent *r = recent_new(16);
	pthread_t four[4];
	for (unsigned i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_create(&four[i], NULL, count, r), 0);
	for (unsigned i = 0; i < 4; i++)
		pthread_join(four[i], NULL);
	ck_assert_uint_eq(recent_count(r, A, 5000, 1000), 40000);
	recent_free(r);
}
END_TEST

UNIT_MAIN("recent", counts_and_forgets, saturates, many_keys, threads)
