/* Public keys as JSON Web Keys (RFC 7517, RFC 7518 section 6). Any thread. */
#ifndef HF_REGISTRY_AUTH_JWK_H
#define HF_REGISTRY_AUTH_JWK_H

#include "registry/auth/jws.h"

/* The key as PEM (malloc'ed) with the algorithm that its own members say: EC on P-256 is ES256, RSA
 * is RS256; an "alg" or "use" that says otherwise, and every other kind: ERR_INVALID. */
int jwk_read(const json_t *jwk, enum jws_alg *ret_alg, char **ret_pem);

#endif
