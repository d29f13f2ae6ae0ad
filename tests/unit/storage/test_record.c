/* Sealed records, wrapped keys, the cache of data keys: no database. */
#include <check.h>
#include <stdlib.h>

#include "server/base/err.h"
#include "storage/dek_cache.h"
#include "storage/envelope.h"
#include "storage/record.h"

static const uint8_t key[CRYPTO_KEY_LEN] = {1, 2, 3};
static const uint8_t nonce[CRYPTO_NONCE_LEN] = {9, 8, 7};
static const struct record_place place = {.device_key = 5, .key_id = 6, .seq = 7, .received_us = 8};
static const struct record sample = {
        .qos = 2,
        .retain = true,
        .topic = {(const uint8_t *)"devices/d/messages/events/", 26},
        .module = {(const uint8_t *)"m1", 2},
        .props = {(const uint8_t *)"\x01\x01", 2},
        .payload = {(const uint8_t *)"{\"t\":21.5}", 10},
};

static void seal_sample(uint8_t *out)
{
	ck_assert_int_eq(record_seal(&sample, &place, key, nonce, out), 0);
}

START_TEST(opens_what_it_sealed)
{
	uint8_t sealed[256], plain[256];
	struct record r;
	size_t n = record_sealed_size(&sample);

	seal_sample(sealed);
	ck_assert_int_eq(record_open(slice_make(sealed, n), &place, key, plain, &r), 0);
	ck_assert_uint_eq(r.qos, 2);
	ck_assert(r.retain);
	ck_assert(slice_eq(r.topic, sample.topic) && slice_eq(r.module, sample.module));
	ck_assert(slice_eq(r.props, sample.props) && slice_eq(r.payload, sample.payload));
	ck_assert_ptr_null(memmem(sealed, n, "devices", 7));
}
END_TEST

START_TEST(keeps_empty_parts)
{
	const struct record empty = {0};
	uint8_t sealed[RECORD_OVERHEAD], plain[RECORD_OVERHEAD];
	struct record r;

	ck_assert_uint_eq(record_sealed_size(&empty), RECORD_OVERHEAD);
	ck_assert_int_eq(record_seal(&empty, &place, key, nonce, sealed), 0);
	ck_assert_int_eq(
	        record_open(slice_make(sealed, sizeof(sealed)), &place, key, plain, &r), 0);
	ck_assert_uint_eq(r.topic.n + r.module.n + r.props.n + r.payload.n, 0);
}
END_TEST

START_TEST(refuses_every_flipped_bit)
{
	uint8_t sealed[256], plain[256];
	struct record r;
	size_t n = record_sealed_size(&sample);

	seal_sample(sealed);
	for (size_t bit = 0; bit < n * 8; bit++) {
		sealed[bit / 8] ^= (uint8_t)(1 << bit % 8);
		ck_assert_int_eq(
		        record_open(slice_make(sealed, n), &place, key, plain, &r), ERR_CORRUPT);
		sealed[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	for (size_t cut = 0; cut < n; cut++)
		ck_assert_int_eq(
		        record_open(slice_make(sealed, cut), &place, key, plain, &r), ERR_CORRUPT);
}
END_TEST

START_TEST(refuses_another_place)
{
	const struct record_place others[] = {{6, 6, 7, 8, RECORD_TELEMETRY, 0},
	        {5, 7, 7, 8, RECORD_TELEMETRY, 0}, {5, 6, 8, 8, RECORD_TELEMETRY, 0},
	        {5, 6, 7, 9, RECORD_TELEMETRY, 0}, {6, 5, 7, 8, RECORD_TELEMETRY, 0},
	        {5, 6, 7, 8, RECORD_QUEUED, 0}};
	uint8_t sealed[256], plain[256];
	struct record r;
	struct slice s = slice_make(sealed, record_sealed_size(&sample));

	seal_sample(sealed);
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		ck_assert_int_eq(record_open(s, &others[i], key, plain, &r), ERR_CORRUPT);
}
END_TEST

/* Lengths that lie, at every cut. */
START_TEST(decodes_within_bounds)
{
	uint8_t sealed[256], plain[256], *exact;
	struct record r;
	size_t n = record_sealed_size(&sample);
	size_t plain_n = n - RECORD_SEALED_HEAD - CRYPTO_TAG_LEN;

	seal_sample(sealed);
	ck_assert_int_eq(record_open(slice_make(sealed, n), &place, key, plain, &r), 0);
	for (size_t cut = 0; cut < plain_n - sample.payload.n; cut++) {
		exact = malloc(cut ? cut : 1);
		memcpy(exact, plain, cut);
		ck_assert_int_eq(record_decode(slice_make(exact, cut), &r), ERR_CORRUPT);
		free(exact);
	}
	plain[0] = 2;
	ck_assert_int_eq(record_decode(slice_make(plain, plain_n), &r), ERR_CORRUPT);
	plain[0] = 1;
	plain[1] = 3;
	ck_assert_int_eq(record_decode(slice_make(plain, plain_n), &r), ERR_CORRUPT);
}
END_TEST

START_TEST(wraps_for_one_owner)
{
	const struct wrap_owner owner = {"device-key", {(const uint8_t *)"d1", 2}, 3, 1};
	const struct wrap_owner others[] = {
	        {"access-key", {(const uint8_t *)"d1", 2}, 3, 1},
	        {"device-key", {(const uint8_t *)"d2", 2}, 3, 1},
	        {"device-key", {(const uint8_t *)"d1", 2}, 4, 1},
	        {"device-key", {(const uint8_t *)"d1", 2}, 3, 2},
	        {"device-key", {(const uint8_t *)"d", 1}, 3, 1},
	};
	uint8_t wrapped[64 + ENVELOPE_OVERHEAD], again[64 + ENVELOPE_OVERHEAD], out[64], in[64];
	struct slice s = slice_make(wrapped, sizeof(wrapped));

	memset(in, 'k', sizeof(in));
	ck_assert_int_eq(envelope_seal(key, &owner, slice_make(in, 64), wrapped), 0);
	ck_assert_int_eq(envelope_seal(key, &owner, slice_make(in, 64), again), 0);
	ck_assert_mem_ne(wrapped, again, sizeof(wrapped));
	ck_assert_int_eq(envelope_open(key, &owner, s, out), 0);
	ck_assert_mem_eq(in, out, 64);
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		ck_assert_int_eq(envelope_open(key, &others[i], s, out), ERR_CORRUPT);
	for (size_t cut = 0; cut < ENVELOPE_OVERHEAD; cut++)
		ck_assert_int_eq(
		        envelope_open(key, &owner, slice_make(wrapped, cut), out), ERR_CORRUPT);
}
END_TEST

START_TEST(keeps_the_latest_keys)
{
	struct dek_cache c = {0};
	uint8_t k[CRYPTO_KEY_LEN] = {0};

	ck_assert_int_eq(dek_cache_init(&c), 0);
	for (uint64_t i = 1; i <= DEK_CACHE_MAX; i++) {
		memcpy(k, &i, sizeof(i));
		ck_assert_int_eq(dek_cache_put(&c, i, (int64_t)i * 2, k), 0);
	}
	/* 1 is used again, so 2 is the one to go. */
	const struct dek *one = dek_cache_get(&c, 1);
	ck_assert_ptr_nonnull(one);
	ck_assert_int_eq(dek_cache_put(&c, 1000000, 1, k), 0);
	ck_assert_ptr_null(dek_cache_get(&c, 2));
	ck_assert_ptr_eq(dek_cache_get(&c, 1), one);
	ck_assert_int_eq(one->key_id, 2);
	ck_assert_uint_eq(one->key[0], 1);
	dek_cache_drop(&c, 1);
	ck_assert_ptr_null(dek_cache_get(&c, 1));
	/* The place that was given back is used before another one goes. */
	ck_assert_int_eq(dek_cache_put(&c, 1000001, 1, k), 0);
	ck_assert_ptr_nonnull(dek_cache_get(&c, 3));
	ck_assert_uint_eq(map_count(&c.map), DEK_CACHE_MAX);
	dek_cache_drop_all(&c);
	ck_assert_ptr_null(dek_cache_get(&c, 3));
	ck_assert_int_eq(dek_cache_put(&c, 3, 4, k), 0);
	ck_assert_ptr_nonnull(dek_cache_get(&c, 3));
	dek_cache_done(&c);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("record");
	TCase *tc = tcase_create("record");

	tcase_add_test(tc, opens_what_it_sealed);
	tcase_add_test(tc, keeps_empty_parts);
	tcase_add_test(tc, refuses_every_flipped_bit);
	tcase_add_test(tc, refuses_another_place);
	tcase_add_test(tc, decodes_within_bounds);
	tcase_add_test(tc, wraps_for_one_owner);
	tcase_add_test(tc, keeps_the_latest_keys);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	crypto_thread_done();
	return failed == 0 ? 0 : 1;
}
