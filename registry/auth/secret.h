/* Secrets of devices and modules: kept as a MAC under the hub's key. Any thread. */
#ifndef HF_REGISTRY_AUTH_SECRET_H
#define HF_REGISTRY_AUTH_SECRET_H

#include "registry/registry_store.h"

#define SECRET_MIN 16
#define SECRET_MAX 256
#define SECRET_MADE_LEN 43 /* 32 random bytes in url-safe base64 */

/* The MAC covers the id: equal secrets of two devices do not look equal, and one device's
 * MAC is worth nothing in another's row. id at most MODULE_ID_MAX, secret at most SECRET_MAX. */
void secret_mac(const struct registry_store *store, struct slice id, struct slice secret,
        uint8_t out[static CRYPTO_HASH_LEN]);
/* Constant time; a password of impossible length fits nothing. mac NULL: computes all the same and
 * says no. */
bool secret_fits(const struct registry_store *store, struct slice id, struct slice password,
        const uint8_t *mac);
void secret_make(char out[static SECRET_MADE_LEN + 1]);

#endif
