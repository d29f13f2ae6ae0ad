/* JSON Web Tokens: whatever is taken has its three parts, one of the two algorithms and claims
 * within the limits; what was never signed is signed by nobody. */
#include "registry/auth/jws.h"

#include <assert.h>

#include "server/base/cleanup.h"
#include "server/base/crypto.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char *const hub[] = {"localhost", "hub.test"};

static void check_claims(const struct jws *s)
{
	const struct jws_rules rules = {
	        .audiences = hub,
	        .n_audiences = ARRAY_LEN(hub),
	        .subject = SLICE_LIT("d1"),
	        .now_s = 1700000000,
	        .skew_s = 30,
	        .max_lifetime_s = 86400,
	};
	int64_t expires = -1;
	enum deny_reason why = jws_check(s, &rules, &expires);
	if (why != DENY_NONE)
		return;
	assert(expires > rules.now_s);
	assert(expires <= rules.now_s + rules.skew_s + rules.max_lifetime_s);
	assert(json_object_get(s->claims, "aud") && json_object_get(s->claims, "exp"));
}

/* The fuzzer signs nothing with a key that nobody has. */
static void check_token(struct slice token, bool verify)
{
	struct jws *s = malloc(sizeof(*s));
	assert(s);
	enum deny_reason why = jws_parse(token, s);
	assert(why == DENY_NONE || why == DENY_JWT_MALFORMED || why == DENY_JWT_ALGORITHM);
	if (why == DENY_NONE) {
		assert(token.n <= JWS_TOKEN_MAX && json_is_object(s->claims));
		assert(strlen(s->text) == token.n && strlen(s->kid) <= JWS_KID_MAX);
		check_claims(s);
		if (verify)
			jws_waste(s);
	}
	jws_free(s);
}

/* The input as header, payload and signature behind a byte of length each, encoded here: else
 * nearly everything would end at the base64. */
static void check_encoded(const uint8_t *data, size_t size)
{
	char text[3 * 512 + 8];
	size_t at = 0;
	for (unsigned i = 0; i < 3 && size > 0; i++) {
		size_t n = data[0] < size - 1 ? data[0] : size - 1;
		at += crypto_base64_encode(slice_make(data + 1, n), text + at);
		while (at > 0 && text[at - 1] == '=')
			at--;
		text[at++] = '.';
		data += 1 + n;
		size -= 1 + n;
	}
	for (size_t i = 0; i < at; i++)
		text[i] = text[i] == '+' ? '-' : text[i] == '/' ? '_' : text[i];
	if (at > 0)
		check_token(slice_make(text, at - 1), false);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size > 2 * JWS_TOKEN_MAX)
		return 0;
	jws_is(slice_make(data, size));
	check_token(slice_make(data, size), size % 16 == 0);
	check_encoded(data, size);
	return 0;
}
