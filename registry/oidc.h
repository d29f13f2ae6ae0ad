/*
 * OpenID Connect: administrators by the bearer tokens of somebody else's issuer. Its keys are
 * fetched, kept for as long as it says within bounds, and asked for again when a token names one
 * that is not known. Private to the registry; worker threads, which may wait.
 */
#ifndef HF_REGISTRY_OIDC_H
#define HF_REGISTRY_OIDC_H

#include "registry/auth/jws.h"
#include "registry/registry.h"

struct oidc;

/* settings are copied. NULL: out of memory. */
struct oidc *oidc_new(struct registry *r, const struct registry_oidc *settings);
void oidc_free(struct oidc *o); /* NULL is fine */

/* Who a token of the issuer is of. DENY_NONE with the caller's reference; DENY_UNAVAILABLE: there
 * are no keys to judge by, and the issuer does not answer. */
enum deny_reason oidc_authenticate(struct oidc *o, struct slice token, struct principal **ret);

#endif
