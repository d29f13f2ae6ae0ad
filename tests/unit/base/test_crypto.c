#include "tests/unit/base/unit.h"

#include <openssl/err.h>
#include <pthread.h>

#include "server/base/cleanup.h"
#include "server/base/crypto.h"
#include "server/base/err.h"

struct bytes {
	uint8_t p[256];
	size_t n;
};

static struct bytes hex(const char *s)
{
	struct bytes b = {.n = strlen(s) / 2};
	ck_assert_int_eq(crypto_hex_decode(slice_str(s), b.p, b.n), 0);
	return b;
}

static struct slice view(const struct bytes *b)
{
	return slice_make(b->p, b->n);
}

static void assert_hex(const uint8_t *p, const char *want)
{
	char got[513];
	crypto_hex_encode(slice_make(p, strlen(want) / 2), got);
	ck_assert_str_eq(got, want);
}

START_TEST(sha256_of_fips_180)
{
	uint8_t out[CRYPTO_HASH_LEN];
	crypto_sha256(SLICE_LIT("abc"), out);
	assert_hex(out, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	crypto_sha256((struct slice){0}, out);
	assert_hex(out, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}
END_TEST

/* RFC 4231, test cases 1 to 4, 6 and 7. */
START_TEST(hmac_of_rfc_4231)
{
	char ones[263], count[51];
	memset(ones, 'a', 262);
	ones[262] = '\0';
	for (unsigned i = 0; i < 25; i++)
		snprintf(count + 2 * i, 3, "%02x", i + 1);
	const struct {
		const char *key, *data, *mac;
	} cases[] = {
	        {"0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b", "4869205468657265",
	                "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"},
	        {"4a656665", "7768617420646f2079612077616e7420666f72206e6f7468696e673f",
	                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"},
	        {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
	                "dddddddddddddddddddddddddddddddddddddddddddddddddd"
	                "dddddddddddddddddddddddddddddddddddddddddddddddddd",
	                "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"},
	        {count,
	                "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd"
	                "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd",
	                "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"},
	        {ones,
	                "54657374205573696e67204c6172676572205468616e20426c6f636b2d53697a65204b6579"
	                "202d2048617368204b6579204669727374",
	                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"},
	        {ones,
	                "5468697320697320612074657374207573696e672061206c6172676572207468616e20626c"
	                "6f636b2d73697a65206b657920616e642061206c6172676572207468616e20626c6f636b2d"
	                "73697a6520646174612e20546865206b6579206e6565647320746f20626520686173686564"
	                "206265666f7265206265696e6720757365642062792074686520484d414320616c676f7269"
	                "74686d2e",
	                "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2"},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct bytes key = hex(cases[i].key), data = hex(cases[i].data);
		uint8_t out[CRYPTO_HASH_LEN];
		crypto_hmac_sha256(view(&key), view(&data), (struct slice){0}, out);
		assert_hex(out, cases[i].mac);
		/* The same in two pieces, wherever it is cut. */
		for (size_t cut = 0; cut <= data.n; cut++) {
			crypto_hmac_sha256(view(&key), slice_make(data.p, cut),
			        slice_make(data.p + cut, data.n - cut), out);
			assert_hex(out, cases[i].mac);
		}
	}
}
END_TEST

START_TEST(hmac_with_an_empty_key)
{
	uint8_t out[CRYPTO_HASH_LEN];
	crypto_hmac_sha256(SLICE_LIT("key"), SLICE_LIT("x"), (struct slice){0}, out);
	/* After another key: an empty one is not the last one. */
	crypto_hmac_sha256((struct slice){0}, (struct slice){0}, (struct slice){0}, out);
	assert_hex(out, "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}
END_TEST

struct gcm_case {
	const char *key, *nonce, *aad, *plain, *sealed;
};

/* The GCM specification (McGrew and Viega), test cases 13 to 16. */
static const struct gcm_case gcm_cases[] = {
        {"0000000000000000000000000000000000000000000000000000000000000000",
                "000000000000000000000000", "", "", "530f8afbc74536b9a963b4f1c4cb738b"},
        {"0000000000000000000000000000000000000000000000000000000000000000",
                "000000000000000000000000", "", "00000000000000000000000000000000",
                "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919"},
        {"feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308",
                "cafebabefacedbaddecaf888", "",
                "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
                "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255",
                "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
                "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015ad"
                "b094dac5d93471bdec1a502270e3cc6c"},
        {"feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308",
                "cafebabefacedbaddecaf888", "feedfacedeadbeeffeedfacedeadbeefabaddad2",
                "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
                "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
                "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
                "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662"
                "76fc6ece0f4e1768cddf8853bb2d551b"},
};

static void check_gcm(const struct gcm_case *c)
{
	struct bytes key = hex(c->key), nonce = hex(c->nonce), aad = hex(c->aad),
	             plain = hex(c->plain), sealed = hex(c->sealed);
	uint8_t out[256];
	ck_assert_int_eq(crypto_seal(key.p, nonce.p, view(&aad), view(&plain), out), 0);
	assert_hex(out, c->sealed);
	memset(out, 0xee, sizeof(out));
	ck_assert_int_eq(crypto_open(key.p, nonce.p, view(&aad), view(&sealed), out), 0);
	ck_assert_mem_eq(out, plain.p, plain.n);
	ck_assert_uint_eq(out[plain.n], 0xee);
}

START_TEST(gcm_of_its_specification)
{
	/* Twice, back and forth: the kept key must not matter. */
	for (int round = 0; round < 2; round++) {
		for (size_t i = 0; i < 4; i++)
			check_gcm(&gcm_cases[i]);
		for (size_t i = 4; i-- > 0;)
			check_gcm(&gcm_cases[i]);
	}
	crypto_thread_done();
	check_gcm(&gcm_cases[3]);
	crypto_thread_done();
}
END_TEST

START_TEST(what_was_altered_is_refused_and_wiped)
{
	uint8_t key[CRYPTO_KEY_LEN] = {1}, nonce[CRYPTO_NONCE_LEN] = {2}, sealed[37], out[21];
	const uint8_t wiped[21] = {0};
	struct slice aad = SLICE_LIT("row 7"), plain = SLICE_LIT("twenty-one bytes here");
	ck_assert_int_eq(crypto_seal(key, nonce, aad, plain, sealed), 0);
	for (size_t bit = 0; bit < 8 * sizeof(sealed); bit++) {
		sealed[bit / 8] ^= (uint8_t)(1 << bit % 8);
		ck_assert_int_eq(
		        crypto_open(key, nonce, aad, slice_make(sealed, 37), out), ERR_CORRUPT);
		ck_assert_mem_eq(out, wiped, sizeof(wiped));
		sealed[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	for (size_t n = 0; n < sizeof(sealed); n++)
		ck_assert_int_eq(
		        crypto_open(key, nonce, aad, slice_make(sealed, n), out), ERR_CORRUPT);
	ck_assert_int_eq(crypto_open(key, nonce, SLICE_LIT("row 8"), slice_make(sealed, 37), out),
	        ERR_CORRUPT);
	nonce[11] ^= 1;
	ck_assert_int_eq(crypto_open(key, nonce, aad, slice_make(sealed, 37), out), ERR_CORRUPT);
	nonce[11] ^= 1;
	key[31] ^= 1;
	ck_assert_int_eq(crypto_open(key, nonce, aad, slice_make(sealed, 37), out), ERR_CORRUPT);
	key[31] ^= 1;
	ck_assert_int_eq(crypto_open(key, nonce, aad, slice_make(sealed, 37), out), 0);
	ck_assert_mem_eq(out, plain.p, plain.n);
	/* Nothing is left for the next SSL_get_error of this thread. */
	ck_assert_uint_eq(ERR_peek_error(), 0);
}
END_TEST

START_TEST(equal_and_random)
{
	uint8_t a[32], b[32];
	ck_assert(crypto_equal(NULL, NULL, 0));
	ck_assert(crypto_equal("abc", "abd", 2));
	ck_assert(!crypto_equal("abc", "abd", 3));
	crypto_random(a, sizeof(a));
	crypto_random(b, sizeof(b));
	ck_assert(!crypto_equal(a, b, sizeof(a)));
	crypto_wipe(a, sizeof(a));
	crypto_wipe(NULL, 0);
	for (size_t i = 0; i < sizeof(a); i++)
		ck_assert_uint_eq(a[i], 0);
}
END_TEST

static void *use_all(HF_UNUSED void *arg)
{
	for (int i = 0; i < 200; i++)
		check_gcm(&gcm_cases[i % 4]);
	uint8_t out[CRYPTO_HASH_LEN];
	crypto_hmac_sha256(SLICE_LIT("k"), SLICE_LIT("a"), SLICE_LIT("b"), out);
	crypto_sha256(SLICE_LIT("abc"), out);
	crypto_thread_done();
	return NULL;
}

START_TEST(every_thread_has_its_own_contexts)
{
	pthread_t threads[4];
	ck_assert_int_eq(crypto_init(), 0);
	for (int i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, use_all, NULL);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
}
END_TEST

/* RFC 4648 section 10. */
START_TEST(base64_of_rfc_4648)
{
	const char *pairs[][2] = {{"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"},
	        {"foob", "Zm9vYg=="}, {"fooba", "Zm9vYmE="}, {"foobar", "Zm9vYmFy"},
	        {"\xfb\xff\xfe", "+//+"}};
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		char text[16];
		uint8_t back[16];
		size_t n = crypto_base64_encode(slice_str(pairs[i][0]), text);
		ck_assert_str_eq(text, pairs[i][1]);
		ck_assert_uint_eq(n, strlen(text));
		ck_assert_int_eq(crypto_base64_decode(slice_str(text), back, &n), 0);
		assert_slice(slice_make(back, n), pairs[i][0]);
	}
}
END_TEST

START_TEST(base64_is_strict)
{
	const char *bad[] = {"Z", "Zg", "Zg=", "Zg===", "=", "====", "Z===", "Zg==Zg==", "Zm9v\n",
	        "Zm 9", "Zm9v ", "Zm9-", "Zm9_", "Zh==", "Zm9=", "Zm=v", "Z=9v", "Zm9\xc3",
	        "Zg==="};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		uint8_t out[16];
		size_t n = 77;
		ck_assert_msg(crypto_base64_decode(slice_str(bad[i]), out, &n) == ERR_INVALID, "%s",
		        bad[i]);
		ck_assert_uint_eq(n, 77);
	}
	uint8_t out[4];
	size_t n;
	ck_assert_int_eq(crypto_base64_decode(SLICE_LIT("Zm\0v"), out, &n), ERR_INVALID);
}
END_TEST

START_TEST(base64_comes_back_at_any_length)
{
	uint8_t in[100], back[102];
	char text[140];
	crypto_random(in, sizeof(in));
	for (size_t n = 0; n <= sizeof(in); n++) {
		size_t len, m = crypto_base64_encode(slice_make(in, n), text);
		ck_assert_uint_eq(m, 4 * ((n + 2) / 3));
		ck_assert_int_eq(crypto_base64_decode(slice_make(text, m), back, &len), 0);
		ck_assert_uint_eq(len, n);
		if (n > 0)
			ck_assert_mem_eq(back, in, n);
	}
}
END_TEST

START_TEST(hex_both_ways)
{
	uint8_t out[3];
	char text[7];
	crypto_hex_encode(SLICE_LIT("\x00\xab\xff"), text);
	ck_assert_str_eq(text, "00abff");
	ck_assert_int_eq(crypto_hex_decode(SLICE_LIT("00aBFf"), out, 3), 0);
	ck_assert_mem_eq(out, "\x00\xab\xff", 3);
	const char *bad[] = {"", "00abf", "00abff0", "00abff00", "00abfg", "00ab f", "0x00ab",
	        "@0abff", "`0abff", ":0abff"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_msg(
		        crypto_hex_decode(slice_str(bad[i]), out, 3) == ERR_INVALID, "%s", bad[i]);
}
END_TEST

UNIT_MAIN("crypto", sha256_of_fips_180, hmac_of_rfc_4231, hmac_with_an_empty_key,
        gcm_of_its_specification, what_was_altered_is_refused_and_wiped, equal_and_random,
        every_thread_has_its_own_contexts, base64_of_rfc_4648, base64_is_strict,
        base64_comes_back_at_any_length, hex_both_ways)
