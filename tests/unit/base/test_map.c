#include "tests/unit/base/unit.h"

#include <stdio.h>

#include "server/base/map.h"

/* SipHash-2-4 of 00, 00 01, … under the key 00 01 … 0f: from the reference implementation. */
START_TEST(siphash_fits_its_reference)
{
	const uint64_t key[2] = {0x0706050403020100, 0x0f0e0d0c0b0a0908};
	uint8_t in[64];
	for (unsigned i = 0; i < sizeof(in); i++)
		in[i] = (uint8_t)i;
	ck_assert_uint_eq(hash_keyed(key, in, 0), 0x726fdb47dd0e0e31);
	ck_assert_uint_eq(hash_keyed(key, in, 1), 0x74f839c593dc67fd);
	ck_assert_uint_eq(hash_keyed(key, in, 8), 0x93f5f5799a932462);
	ck_assert_uint_eq(hash_keyed(key, in, 15), 0xa129ca6149be45e5);
	ck_assert_uint_eq(hash_keyed(key, in, 63), 0x958a324ceb064572);
}
END_TEST

START_TEST(hashes_are_stable_or_secret)
{
	ck_assert_uint_eq(hash_stable("device", 6), hash_stable("device", 6));
	ck_assert_uint_ne(hash_stable("device", 6), hash_stable("devicf", 6));
	ck_assert_uint_eq(hash_bytes("device", 6), hash_bytes("device", 6));
	ck_assert_uint_ne(hash_bytes("device", 6), hash_stable("device", 6));
	/* Written down: lanes and homes must be the same after an upgrade. */
	ck_assert_uint_eq(hash_stable("device", 6), 0x1242258ff36a0eb4);
}
END_TEST

START_TEST(put_get_replace_remove)
{
	struct map m;
	map_init(&m);
	int a, b;
	void *old = &a;
	ck_assert_ptr_null(map_get(&m, SLICE_LIT("x")));
	ck_assert_ptr_null(map_remove(&m, SLICE_LIT("x")));
	ck_assert_int_eq(map_put(&m, SLICE_LIT("x"), &a, &old), 0);
	ck_assert_ptr_null(old);
	ck_assert_int_eq(map_put(&m, SLICE_LIT(""), &b, NULL), 0);
	ck_assert_ptr_eq(map_get(&m, (struct slice){0}), &b);
	ck_assert_int_eq(map_put(&m, SLICE_LIT("x"), &b, &old), 0);
	ck_assert_ptr_eq(old, &a);
	ck_assert_uint_eq(map_count(&m), 2);
	ck_assert_ptr_null(map_get(&m, SLICE_LIT("x\0")));
	ck_assert_ptr_eq(map_remove(&m, SLICE_LIT("x")), &b);
	ck_assert_ptr_null(map_get(&m, SLICE_LIT("x")));
	ck_assert_uint_eq(map_count(&m), 1);
	map_free(&m);
	ck_assert_uint_eq(map_count(&m), 0);
}
END_TEST

#define MANY 20000

struct item {
	char name[12];
	bool in;
};

static struct slice name_of(const struct item *i)
{
	return slice_str(i->name);
}

START_TEST(it_does_what_an_array_does)
{
	struct item *items = calloc(MANY, sizeof(*items));
	struct map m;
	map_init(&m);
	unsigned random = 1, count = 0;
	for (unsigned i = 0; i < MANY; i++)
		snprintf(items[i].name, sizeof(items[i].name), "k%u", i);
	for (unsigned round = 0; round < 200000; round++) {
		random = random * 1664525 + 1013904223;
		struct item *i = &items[(random >> 8) % (round < 100000 ? MANY : 50)];
		if (i->in) {
			ck_assert_ptr_eq(map_remove(&m, name_of(i)), i);
			count--;
		} else {
			ck_assert_int_eq(map_put(&m, name_of(i), i, NULL), 0);
			count++;
		}
		i->in = !i->in;
		ck_assert_uint_eq(map_count(&m), count);
	}
	for (unsigned i = 0; i < MANY; i++)
		ck_assert_ptr_eq(map_get(&m, name_of(&items[i])), items[i].in ? &items[i] : NULL);
	map_free(&m);
	free(items);
}
END_TEST

START_TEST(a_walk_may_remove_what_it_meets)
{
	struct item items[100] = {0};
	struct map m;
	map_init(&m);
	for (unsigned i = 0; i < 100; i++) {
		snprintf(items[i].name, sizeof(items[i].name), "%u", i);
		map_put(&m, name_of(&items[i]), &items[i], NULL);
	}
	struct item *i;
	unsigned met = 0;
	map_for_each (&m, pos, i) {
		ck_assert(!i->in);
		i->in = true;
		met++;
		if (met % 3)
			ck_assert_ptr_eq(map_remove(&m, name_of(i)), i);
	}
	ck_assert_uint_eq(met, 100);
	ck_assert_uint_eq(map_count(&m), 33);
	map_for_each (&m, pos, i)
		map_remove(&m, name_of(i));
	ck_assert_uint_eq(map_count(&m), 0);
	ck_assert_uint_eq(m.filled, 0);
	map_free(&m);
}
END_TEST

START_TEST(it_shrinks)
{
	struct item *items = calloc(MANY, sizeof(*items));
	struct map m;
	map_init(&m);
	for (unsigned i = 0; i < MANY; i++) {
		snprintf(items[i].name, sizeof(items[i].name), "%u", i);
		map_put(&m, name_of(&items[i]), &items[i], NULL);
	}
	size_t big = m.size;
	for (unsigned i = 10; i < MANY; i++)
		map_remove(&m, name_of(&items[i]));
	map_put(&m, name_of(&items[10]), &items[10], NULL);
	ck_assert_uint_lt(m.size, big / 100);
	for (unsigned i = 0; i <= 10; i++)
		ck_assert_ptr_eq(map_get(&m, name_of(&items[i])), &items[i]);
	map_free(&m);
	free(items);
}
END_TEST

UNIT_MAIN("map", siphash_fits_its_reference, hashes_are_stable_or_secret, put_get_replace_remove,
        it_does_what_an_array_does, a_walk_may_remove_what_it_meets, it_shrinks)
