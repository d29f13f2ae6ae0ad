/* Ed25519 signatures (RFC 8032). */
#include <openssl/evp.h>
#include <string.h>

#include "server/base/crypto.h"
#include "server/base/err.h"

static EVP_PKEY *private_key(const uint8_t *key)
{
	return EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, key, CRYPTO_SIGN_KEY_LEN);
}

int crypto_sign_public(const uint8_t key[static CRYPTO_SIGN_KEY_LEN],
        uint8_t ret_public[static CRYPTO_SIGN_KEY_LEN])
{
	EVP_PKEY *pkey = private_key(key);
	uint8_t public[CRYPTO_SIGN_KEY_LEN];
	size_t n = sizeof(public);
	bool ok = pkey && EVP_PKEY_get_raw_public_key(pkey, public, &n) == 1 && n == sizeof(public);

	EVP_PKEY_free(pkey);
	if (!ok)
		return ERR_CRYPTO;
	memcpy(ret_public, public, sizeof(public));
	return 0;
}

int crypto_sign(const uint8_t key[static CRYPTO_SIGN_KEY_LEN], struct slice message,
        uint8_t ret_signature[static CRYPTO_SIGNATURE_LEN])
{
	EVP_PKEY *pkey = private_key(key);
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	uint8_t signature[CRYPTO_SIGNATURE_LEN];
	size_t n = sizeof(signature);
	bool ok = pkey && ctx && EVP_DigestSignInit(ctx, NULL, NULL, NULL, pkey) == 1 &&
	        EVP_DigestSign(ctx, signature, &n, message.p, message.n) == 1 &&
	        n == sizeof(signature);

	EVP_MD_CTX_free(ctx);
	EVP_PKEY_free(pkey);
	if (!ok)
		return ERR_CRYPTO;
	memcpy(ret_signature, signature, sizeof(signature));
	return 0;
}

bool crypto_verify(const uint8_t public[static CRYPTO_SIGN_KEY_LEN], struct slice message,
        const uint8_t signature[static CRYPTO_SIGNATURE_LEN])
{
	EVP_PKEY *pkey = EVP_PKEY_new_raw_public_key(
	        EVP_PKEY_ED25519, NULL, public, CRYPTO_SIGN_KEY_LEN);
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	bool ok = pkey && ctx && EVP_DigestVerifyInit(ctx, NULL, NULL, NULL, pkey) == 1 &&
	        EVP_DigestVerify(ctx, signature, CRYPTO_SIGNATURE_LEN, message.p, message.n) == 1;

	EVP_MD_CTX_free(ctx);
	EVP_PKEY_free(pkey);
	return ok;
}
