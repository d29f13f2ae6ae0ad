/*
 * SharedAccessSignature tokens: `SharedAccessSignature sr={resource}&sig={signature}&se={expiry}`
 * and, for access keys, `&skn={name}`; in any order. Any thread; no allocation.
 */
#ifndef HF_REGISTRY_AUTH_SAS_H
#define HF_REGISTRY_AUTH_SAS_H

#include "registry/registry_store.h"
#include "server/base/deny.h"

#define SAS_TOKEN_MAX 4096
#define SAS_RESOURCE_MAX 1024

struct sas {
	struct slice sr, se; /* as received, for the signature: views of the token */
	int64_t expires_at;  /* wall-clock seconds; a far future is cut to the year 9999 */
	uint8_t sig[CRYPTO_HASH_LEN];
	char skn[KEY_NAME_MAX + 1]; /* "": the device's own key */
	size_t resource_len;
	char resource[SAS_RESOURCE_MAX]; /* sr, decoded once */
};

/* Whether the text has the form "SharedAccessSignature …" (the scheme in any case). */
bool sas_is(struct slice text);
/* 0 or ERR_INVALID: a field missing, repeated, unknown or not well-formed. The token must outlive
 * *ret. */
int sas_parse(struct slice token, struct sas *ret);
/* Whether sr names one of the hub's names (any case, a port behind it ignored) and, by whole
 * segments, path or something above it: "" is the hub itself, "devices/d1" a device. Returns
 * DENY_NONE, DENY_TOKEN_HOST or DENY_TOKEN_SCOPE. */
enum deny_reason sas_check_scope(
        const struct sas *s, char *const *hub_names, unsigned n, struct slice path);
bool sas_expired(const struct sas *s, int64_t now_wall_s);
/* Which of the two keys (primary, secondary; empty: none) signed it: 0 or 1, or
 * ERR_UNAUTHENTICATED. Both are computed whatever comes, with or without keys, so that the time
 * tells neither which one nor whether there is any. */
int sas_signer(const struct sas *s, const struct slice keys[static 2]);

#endif
