#include "server/base/crypto.h"

#include <limits.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "server/base/err.h"

/* Fetched once: a fetch takes locks that all threads share. */
static EVP_CIPHER *gcm;
static EVP_MD *sha256;
static EVP_MAC *hmac;
static pthread_once_t fetch_once = PTHREAD_ONCE_INIT;

/* An AES-GCM context and the key it was scheduled for. */
struct keyed {
	EVP_CIPHER_CTX *ctx;
	bool has_key;
	uint8_t key[CRYPTO_KEY_LEN];
};

static _Thread_local struct {
	struct keyed seal, open;
	EVP_MD_CTX *md;
	EVP_MAC_CTX *mac;
} mine;

/* Nothing safe can go on: a hash that cannot be made, no memory for a context of a few hundred
 * bytes, no randomness. */
static void crypto_die(const char *what)
{
	fprintf(stderr, "holdfast: cryptography failed: %s\n", what);
	abort();
}

static void fetch_all(void)
{
	gcm = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
	sha256 = EVP_MD_fetch(NULL, "SHA2-256", NULL);
	hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
}

int crypto_init(void)
{
	pthread_once(&fetch_once, fetch_all);
	return gcm && sha256 && hmac ? 0 : ERR_CRYPTO;
}

static void keyed_done(struct keyed *k)
{
	EVP_CIPHER_CTX_free(k->ctx);
	OPENSSL_cleanse(k, sizeof(*k));
}

void crypto_thread_done(void)
{
	keyed_done(&mine.seal);
	keyed_done(&mine.open);
	EVP_MD_CTX_free(mine.md);
	mine.md = NULL;
	EVP_MAC_CTX_free(mine.mac);
	mine.mac = NULL;
}

void crypto_random(void *p, size_t n)
{
	uint8_t *out = p;
	while (n > 0) {
		int part = n > INT_MAX ? INT_MAX : (int)n;
		if (RAND_bytes(out, part) != 1)
			crypto_die("no random bytes");
		out += part;
		n -= (size_t)part;
	}
}

void crypto_wipe(void *p, size_t n)
{
	if (n > 0)
		OPENSSL_cleanse(p, n);
}

bool crypto_equal(const void *a, const void *b, size_t n)
{
	return n == 0 || CRYPTO_memcmp(a, b, n) == 0;
}

void crypto_sha256(struct slice in, uint8_t out[static CRYPTO_HASH_LEN])
{
	if (crypto_init() < 0 || (!mine.md && !(mine.md = EVP_MD_CTX_new())))
		crypto_die("SHA-256");
	if (!EVP_DigestInit_ex2(mine.md, sha256, NULL) ||
	        !EVP_DigestUpdate(mine.md, in.n ? (const void *)in.p : "", in.n) ||
	        !EVP_DigestFinal_ex(mine.md, out, NULL))
		crypto_die("SHA-256");
}

static bool mac_context(void)
{
	if (mine.mac)
		return true;
	if (crypto_init() < 0)
		return false;
	mine.mac = EVP_MAC_CTX_new(hmac);
	char digest[] = "SHA2-256";
	const OSSL_PARAM params[] = {
	        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
	        OSSL_PARAM_construct_end(),
	};
	return mine.mac && EVP_MAC_CTX_set_params(mine.mac, params);
}

void crypto_hmac_sha256(
        struct slice key, struct slice a, struct slice b, uint8_t out[static CRYPTO_HASH_LEN])
{
	size_t len;
	if (!mac_context() ||
	        !EVP_MAC_init(mine.mac, key.n ? key.p : (const uint8_t *)"", key.n, NULL) ||
	        (a.n && !EVP_MAC_update(mine.mac, a.p, a.n)) ||
	        (b.n && !EVP_MAC_update(mine.mac, b.p, b.n)) ||
	        !EVP_MAC_final(mine.mac, out, &len, CRYPTO_HASH_LEN))
		crypto_die("HMAC");
}

/* Sets key and nonce; the key schedule is made only where the key is another one than last time.
 * Naming the cipher throws the whole context away and makes it anew: once is enough. */
static bool keyed_start(struct keyed *k, const uint8_t *key, const uint8_t *nonce, int encrypt)
{
	if (!k->ctx && (crypto_init() < 0 || !(k->ctx = EVP_CIPHER_CTX_new())))
		return false;
	if (k->has_key && crypto_equal(k->key, key, CRYPTO_KEY_LEN))
		return EVP_CipherInit_ex2(k->ctx, NULL, NULL, nonce, encrypt, NULL) == 1;
	const EVP_CIPHER *cipher = EVP_CIPHER_CTX_get0_cipher(k->ctx) ? NULL : gcm;
	k->has_key = EVP_CipherInit_ex2(k->ctx, cipher, key, nonce, encrypt, NULL) == 1;
	memcpy(k->key, key, CRYPTO_KEY_LEN);
	return k->has_key;
}

/* A context that failed may hold anything: forget it. What OpenSSL noted about it must not be found
 * by the next SSL_get_error of this thread. */
static int keyed_failed(struct keyed *k, int err)
{
	keyed_done(k);
	ERR_clear_error();
	return err;
}

static bool update(EVP_CIPHER_CTX *ctx, uint8_t *out, struct slice in)
{
	int n;
	return in.n == 0 || EVP_CipherUpdate(ctx, out, &n, in.p, (int)in.n) == 1;
}

int crypto_seal(const uint8_t key[static CRYPTO_KEY_LEN],
        const uint8_t nonce[static CRYPTO_NONCE_LEN], struct slice aad, struct slice plain,
        uint8_t *out)
{
	if (aad.n > INT_MAX || plain.n > INT_MAX - CRYPTO_TAG_LEN)
		return ERR_TOO_BIG;
	struct keyed *k = &mine.seal;
	int n;
	if (!keyed_start(k, key, nonce, 1) || !update(k->ctx, NULL, aad) ||
	        !update(k->ctx, out, plain) || EVP_CipherFinal_ex(k->ctx, out + plain.n, &n) != 1 ||
	        EVP_CIPHER_CTX_ctrl(k->ctx, EVP_CTRL_AEAD_GET_TAG, CRYPTO_TAG_LEN, out + plain.n) !=
	                1)
		return keyed_failed(k, ERR_CRYPTO);
	return 0;
}

int crypto_open(const uint8_t key[static CRYPTO_KEY_LEN],
        const uint8_t nonce[static CRYPTO_NONCE_LEN], struct slice aad, struct slice sealed,
        uint8_t *out)
{
	if (aad.n > INT_MAX || sealed.n > INT_MAX)
		return ERR_TOO_BIG;
	if (sealed.n < CRYPTO_TAG_LEN)
		return ERR_CORRUPT;
	struct keyed *k = &mine.open;
	struct slice cipher = slice_make(sealed.p, sealed.n - CRYPTO_TAG_LEN);
	uint8_t tag[CRYPTO_TAG_LEN], none;
	memcpy(tag, sealed.p + cipher.n, CRYPTO_TAG_LEN);
	int n;
	if (!keyed_start(k, key, nonce, 0) || !update(k->ctx, NULL, aad) ||
	        !update(k->ctx, out, cipher) ||
	        EVP_CIPHER_CTX_ctrl(k->ctx, EVP_CTRL_AEAD_SET_TAG, CRYPTO_TAG_LEN, tag) != 1) {
		crypto_wipe(out, cipher.n);
		return keyed_failed(k, ERR_CRYPTO);
	}
	if (EVP_CipherFinal_ex(k->ctx, &none, &n) != 1) {
		crypto_wipe(out, cipher.n);
		return keyed_failed(k, ERR_CORRUPT);
	}
	return 0;
}
