/*
 * Cryptography, all of it OpenSSL's, behind calls that do not fetch algorithms per use: EVP objects
 * are fetched once by crypto_init, contexts are kept per thread. All sizes in bytes. Any thread.
 */
#ifndef HF_BASE_CRYPTO_H
#define HF_BASE_CRYPTO_H

#include "server/base/slice.h"

#define CRYPTO_KEY_LEN 32   /* AES-256 */
#define CRYPTO_NONCE_LEN 12 /* GCM */
#define CRYPTO_TAG_LEN 16
#define CRYPTO_HASH_LEN 32 /* SHA-256 */

/* Once, before any thread starts: 0 or ERR_CRYPTO. */
int crypto_init(void);
/* Before a thread ends: frees what the calling thread keeps. */
void crypto_thread_done(void);

/* Random bytes from the DRBG; aborts if there are none (nothing safe can go on). */
void crypto_random(void *p, size_t n);
/* Overwrites; not optimised away. */
void crypto_wipe(void *p, size_t n);
/* Constant time over n. Lengths are not secret: compare them first. */
bool crypto_equal(const void *a, const void *b, size_t n);

void crypto_sha256(struct slice in, uint8_t out[static CRYPTO_HASH_LEN]);
/* HMAC-SHA-256 (RFC 2104) over the concatenation of a and b. */
void crypto_hmac_sha256(
        struct slice key, struct slice a, struct slice b, uint8_t out[static CRYPTO_HASH_LEN]);

/*
 * AES-256-GCM (NIST SP 800-38D). seal writes plain.n bytes of ciphertext and then the tag to out
 * (plain.n + CRYPTO_TAG_LEN); open takes that and writes sealed.n - CRYPTO_TAG_LEN bytes.
 * A caller that uses one key for many calls in a row pays for the key schedule once: the thread's
 * context keeps the last key. open: ERR_CORRUPT where the tag does not fit; out is wiped then.
 */
int crypto_seal(const uint8_t key[static CRYPTO_KEY_LEN],
        const uint8_t nonce[static CRYPTO_NONCE_LEN], struct slice aad, struct slice plain,
        uint8_t *out);
int crypto_open(const uint8_t key[static CRYPTO_KEY_LEN],
        const uint8_t nonce[static CRYPTO_NONCE_LEN], struct slice aad, struct slice sealed,
        uint8_t *out);

/* Base64 (RFC 4648 section 4, padded). encode: out holds 4*((n+2)/3)+1 bytes, NUL added; returns
 * the length. decode: strict (no white space, canonical padding); out holds 3*(s.n/4) bytes;
 * 0 or ERR_INVALID. */
size_t crypto_base64_encode(struct slice in, char *out);
int crypto_base64_decode(struct slice s, uint8_t *out, size_t *ret_len);
/* Lower-case hex; out holds 2*n+1. decode: exactly 2*n digits, any case; 0 or ERR_INVALID. */
void crypto_hex_encode(struct slice in, char *out);
int crypto_hex_decode(struct slice s, uint8_t *out, size_t n);

#endif
