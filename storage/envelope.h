/*
 * One key under another: AES-256-GCM with a random nonce, tied by its associated data to a purpose
 * and an owner, so that what was wrapped for one cannot be passed off as another's. Any thread.
 */
#ifndef HF_STORAGE_ENVELOPE_H
#define HF_STORAGE_ENVELOPE_H

#include "storage/keyring.h"

#define ENVELOPE_OVERHEAD WRAP_OVERHEAD /* version, nonce, tag */

/* plain.n + ENVELOPE_OVERHEAD bytes to out. 0 or ERR_CRYPTO. */
int envelope_seal(const uint8_t key[static CRYPTO_KEY_LEN], const struct wrap_owner *owner,
        struct slice plain, uint8_t *out);
/* sealed.n - ENVELOPE_OVERHEAD bytes to out. 0 or ERR_CORRUPT. */
int envelope_open(const uint8_t key[static CRYPTO_KEY_LEN], const struct wrap_owner *owner,
        struct slice sealed, uint8_t *out);

#endif
