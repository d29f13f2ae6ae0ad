/* Making SAS tokens, as a device's SDK would. */
#ifndef HF_TESTS_UNIT_REGISTRY_TOKENS_H
#define HF_TESTS_UNIT_REGISTRY_TOKENS_H

#include <inttypes.h>

#include "server/base/cleanup.h"
#include "server/base/clock.h"
#include "server/base/crypto.h"
#include "tests/unit/base/unit.h"

#define TOKEN_MAX 2048

static inline int64_t soon(void)
{
	return clock_wall_us() / 1000000 + 3600;
}

/* The signature of sr and se, percent-encoded as far as base64 needs it. */
static inline void token_sig(struct slice key, const char *sr, const char *se, char out[static 140])
{
	uint8_t mac[CRYPTO_HASH_LEN];
	char base64[45], tail[64];
	size_t n = 0;

	snprintf(tail, sizeof(tail), "\n%s", se);
	crypto_hmac_sha256(key, slice_str(sr), slice_str(tail), mac);
	crypto_base64_encode(slice_make(mac, sizeof(mac)), base64);
	for (const char *c = base64; *c; c++)
		n += (size_t)snprintf(out + n, 140 - n,
		        *c == '+' || *c == '/' || *c == '=' ? "%%%02X" : "%c", *c);
}

/* "…sr=…&sig=…&se=…[&skn=…]" for an sr as it shall stand there. */
static inline const char *token_for(
        char out[static TOKEN_MAX], struct slice key, const char *sr, int64_t se, const char *skn)
{
	char sig[140], expiry[24];

	snprintf(expiry, sizeof(expiry), "%" PRId64, se);
	token_sig(key, sr, expiry, sig);
	snprintf(out, TOKEN_MAX, "SharedAccessSignature sr=%s&sig=%s&se=%s%s%s", sr, sig, expiry,
	        skn ? "&skn=" : "", skn ? skn : "");
	return out;
}

#endif
