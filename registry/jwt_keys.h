/*
 * The public keys of a device that signs JWTs, as its document and its record have them:
 * {"keys": [{"kid"?, "alg", "publicKey", "notAfter"?}]}. Private to the registry.
 */
#ifndef HF_REGISTRY_JWT_KEYS_H
#define HF_REGISTRY_JWT_KEYS_H

#include "registry/auth/jws.h"
#include "registry/identity.h"
#include "server/base/doc_error.h"

#define JWT_KEYS_MAX 8

/* Checks the member "keys" at c; *ret: {"keys": …} as text, malloc'ed. */
void jwt_keys_read(struct doc_check *c, const json_t *value, char **ret);

/* Which of an identity's keys has signed, and until when (wall s, 0: for good); one whose notAfter
 * is past has not. DENY_NONE with the tag of the key, DENY_JWT_ALGORITHM: all of them are for
 * another one, DENY_JWT_KEY. */
struct jwt_signer {
	uint8_t tag[CREDENTIAL_TAG_LEN];
	int64_t not_after;
};
enum deny_reason jwt_keys_signer(
        struct slice doc, const struct jws *token, int64_t now_s, struct jwt_signer *ret);
/* Whether one that is good now has that tag, and until when (as above; of several the longest). */
bool jwt_keys_have(struct slice doc, const uint8_t tag[static CREDENTIAL_TAG_LEN], int64_t now_s,
        int64_t *ret_not_after);

#endif
