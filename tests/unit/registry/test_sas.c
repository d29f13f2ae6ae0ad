#include "registry/auth/sas.h"

#include "server/base/err.h"
#include "tests/unit/registry/tokens.h"

static char *const hub[] = {"hub.example.test", "localhost", "127.0.0.1", "::1", "HUB2"};

static int parse(const char *text, struct sas *ret)
{
	return sas_parse(slice_str(text), ret);
}

static enum deny_reason scope(const char *sr, const char *path)
{
	char text[SAS_TOKEN_MAX];
	struct sas s;

	snprintf(text, sizeof(text), "SharedAccessSignature sr=%s&sig=%s&se=1", sr,
	        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA%3D");
	ck_assert_msg(parse(text, &s) == 0, "%s", text);
	return sas_check_scope(&s, hub, ARRAY_LEN(hub), slice_str(path));
}

/* ---- published vectors ---- */

static const char vector_key[] = "Jsm0lyGpjaVYVP2g3FnmnmG9dI/9qU24wNoykUmermc=";
static const struct {
	const char *token;
} vectors[] = {
        {"SharedAccessSignature sr=hub.example.test%2fdevices%2fsn-007"
         "&sig=F6msCPpZXGPqbUav0xa9txFy90xK%2fbotlKcRqo%2flxU8%3d&se=1767225600"},
        {"SharedAccessSignature sr=hub.example.test%2Fdevices%2Fsn-007"
         "&sig=e%2BdeM%2FflkwYVArRj4WX2psvDPwA5qdkSekLdabBwnDk%3D&se=1767225600"},
        /* any order; the signature as sloppy clients send it, not encoded */
        {"SharedAccessSignature se=1767225600&sig=e+deM/flkwYVArRj4WX2psvDPwA5qdkSekLdabBwnDk="
         "&sr=hub.example.test%2Fdevices%2Fsn-007"},
        {"sharedaccesssignature sr=hub.example.test%2Fdevices%2Fsn-007"
         "&sig=e%2BdeM%2FflkwYVArRj4WX2psvDPwA5qdkSekLdabBwnDk%3D&skn=&se=1767225600"},
};

static void decode_key(uint8_t out[33], struct slice *ret)
{
	size_t n;
	ck_assert_int_eq(crypto_base64_decode(slice_str(vector_key), out, &n), 0);
	*ret = slice_make(out, n);
}

START_TEST(published_vectors)
{
	uint8_t bytes[33];
	struct slice key, none = {0};
	struct sas s;

	decode_key(bytes, &key);
	for (unsigned i = 0; i < ARRAY_LEN(vectors); i++) {
		ck_assert_int_eq(parse(vectors[i].token, &s), 0);
		ck_assert_int_eq(sas_signer(&s, (struct slice[]){key, none}), 0);
		ck_assert_int_eq(sas_signer(&s, (struct slice[]){none, key}), 1);
		ck_assert_int_eq(sas_signer(&s, (struct slice[]){SLICE_LIT("other"), key}), 1);
		ck_assert_int_lt(sas_signer(&s, (struct slice[]){none, none}), 0);
		ck_assert_int_eq(
		        sas_check_scope(&s, hub, ARRAY_LEN(hub), SLICE_LIT("devices/sn-007")),
		        DENY_NONE);
		ck_assert(sas_expired(&s, 1767225600));
		ck_assert(!sas_expired(&s, 1767225599));
		ck_assert_str_eq(s.skn, "");
	}
}
END_TEST

/* One changed byte anywhere is noticed: by the parser, by the scope or by the signature. */
START_TEST(every_byte_counts)
{
	uint8_t bytes[33];
	struct slice key, none = {0};
	const char *token = vectors[1].token;
	size_t n = strlen(token), from = sizeof("SharedAccessSignature ") - 1;

	decode_key(bytes, &key);
	for (size_t i = from; i < n; i++)
		for (int flip = 1; flip < 256; flip++) {
			char text[TOKEN_MAX];
			struct sas s;
			memcpy(text, token, n);
			text[i] = (char)(text[i] ^ flip);
			/* %2B and %2b are the same byte of the signature, not of sr. */
			const char *sig = strstr(token, "&sig="), *end = strstr(token, "&se=");
			bool in_sig = token + i >= sig && token + i < end;
			if (in_sig && flip == 0x20 && token[i] >= 'A' && token[i] <= 'F' &&
			        (token[i - 1] == '%' || token[i - 2] == '%'))
				continue;
			ck_assert_msg(sas_parse(slice_make(text, n), &s) < 0 ||
			                sas_signer(&s, (struct slice[]){key, none}) < 0,
			        "byte %zu changed by %02x", i, (unsigned)flip);
		}
}
END_TEST

START_TEST(signed_by_nothing)
{
	/* A signature under the empty key, for a device without keys. */
	char text[TOKEN_MAX];
	struct slice none = {0};
	struct sas s;

	token_for(text, (struct slice){0}, "localhost", 1, NULL);
	ck_assert_int_eq(parse(text, &s), 0);
	ck_assert_int_lt(sas_signer(&s, (struct slice[]){none, none}), 0);
}
END_TEST

/* ---- form ---- */

#define SIG "sig=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA%3D"
#define SCHEME "SharedAccessSignature "
static const char *const malformed[] = {
        "",
        "SharedAccessSignature",
        "SharedAccessSignature ",
        "SharedAccessSignatures sr=h&" SIG "&se=1",
        "Bearer sr=h&" SIG "&se=1",
        SCHEME "sr=h&" SIG,
        SCHEME "sr=h&se=1",
        SCHEME SIG "&se=1",
        SCHEME "sr=h&" SIG "&se=1&se=1",
        SCHEME "sr=h&sr=h&" SIG "&se=1",
        SCHEME "sr=h&" SIG "&" SIG "&se=1",
        SCHEME "sr=h&" SIG "&se=1&skn=a&skn=a",
        SCHEME "sr=h&" SIG "&se=1&skn=%FF",
        SCHEME "sr=h&" SIG "&se=1&skn=a%C3",
        SCHEME "sr=h&" SIG "&se=1&skn=\xc0\x80",
        SCHEME "sr=h&" SIG "&se=1&skn=%ED%A0%80",
        SCHEME "sr=h&" SIG "&se=1&foo=bar",
        SCHEME "sr=h&" SIG "&se=1&",
        SCHEME "&sr=h&" SIG "&se=1",
        SCHEME "sr=h&&" SIG "&se=1",
        SCHEME "sr=h&" SIG "&se",
        SCHEME "sr=h&" SIG "&se=",
        SCHEME "sr=h&" SIG "&se=1x",
        SCHEME "sr=h&" SIG "&se=-1",
        SCHEME "sr=h&" SIG "&se=+1",
        SCHEME "sr=h&" SIG "&se= 1",
        SCHEME "sr=h&" SIG "&se=1.5",
        SCHEME "sr=h&" SIG "&se=0x10",
        SCHEME "sr=h&" SIG "&se=%31",
        SCHEME "sr=h&" SIG "&se=111111111111111111111",
        SCHEME "sr=&" SIG "&se=1",
        SCHEME "sr=h%&" SIG "&se=1",
        SCHEME "sr=h%2&" SIG "&se=1",
        SCHEME "sr=h%2g&" SIG "&se=1",
        SCHEME "sr=h%00&" SIG "&se=1",
        SCHEME "sr=h%0a&" SIG "&se=1",
        SCHEME "sr=h h&" SIG "&se=1",
        SCHEME "sr=h&sig=&se=1",
        SCHEME "sr=h&sig=AAAA&se=1",
        SCHEME "sr=h&" SIG "AAAA&se=1",
        SCHEME "sr=h&sig=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA&se=1",
        SCHEME "sr=h&sig=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB%3D&se=1",
        SCHEME "sr=h&sig=!AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA%3D&se=1",
};

START_TEST(malformed_tokens)
{
	struct sas s;
	for (unsigned i = 0; i < ARRAY_LEN(malformed); i++)
		ck_assert_msg(parse(malformed[i], &s) < 0, "%s", malformed[i]);
	ck_assert_int_eq(parse(SCHEME "sr=h&" SIG "&se=1&skn=a", &s), 0);
	ck_assert_str_eq(s.skn, "a");
	ck_assert_int_eq(parse(SCHEME "  sr=h&" SIG "&se=1&skn=a%2Db", &s), 0);
	ck_assert_str_eq(s.skn, "a-b");
	ck_assert(!sas_is(SLICE_LIT("SharedAccessSignature")));
	ck_assert(!sas_is(SLICE_LIT("SharedAccessSignature=x")));
}
END_TEST

START_TEST(bounds)
{
	static char text[SAS_TOKEN_MAX + 64];
	struct sas s;
	int n;

	n = snprintf(text, sizeof(text), SCHEME "sr=%*s&%s&se=1", SAS_RESOURCE_MAX, "", SIG);
	memset(strchr(text, '=') + 1, 'h', SAS_RESOURCE_MAX);
	ck_assert_int_eq(sas_parse(slice_make(text, (size_t)n), &s), 0);
	n = snprintf(text, sizeof(text), SCHEME "sr=%*s&%s&se=1", SAS_RESOURCE_MAX + 1, "", SIG);
	memset(strchr(text, '=') + 1, 'h', SAS_RESOURCE_MAX + 1);
	ck_assert_int_lt(sas_parse(slice_make(text, (size_t)n), &s), 0);

	memset(text, 'a', sizeof(text));
	memcpy(text, SCHEME "sr=h&" SIG "&se=1&skn=", sizeof(SCHEME "sr=h&" SIG "&se=1&skn=") - 1);
	size_t head = sizeof(SCHEME "sr=h&" SIG "&se=1&skn=") - 1;
	ck_assert_int_eq(sas_parse(slice_make(text, head + KEY_NAME_MAX), &s), 0);
	ck_assert_int_lt(sas_parse(slice_make(text, head + KEY_NAME_MAX + 1), &s), 0);
	ck_assert_int_lt(sas_parse(slice_make(text, SAS_TOKEN_MAX), &s), 0);
	ck_assert_int_lt(sas_parse(slice_make(text, SAS_TOKEN_MAX + 1), &s), 0);
}
END_TEST

START_TEST(expiry)
{
	struct sas s;
	ck_assert_int_eq(parse(SCHEME "sr=h&" SIG "&se=99999999999999999999", &s), 0);
	ck_assert_int_eq(s.expires_at, 253402300799);
	ck_assert(!sas_expired(&s, 4102444800));
	ck_assert_int_eq(parse(SCHEME "sr=h&" SIG "&se=0", &s), 0);
	ck_assert(sas_expired(&s, 1));
	ck_assert_int_eq(parse(SCHEME "sr=h&" SIG "&se=0000000100", &s), 0);
	ck_assert_int_eq(s.expires_at, 100);
}
END_TEST

/* ---- scope ---- */

static const struct {
	const char *sr, *path;
	enum deny_reason why;
} scopes[] = {
        {"localhost", "", DENY_NONE},
        {"localhost", "devices/device1", DENY_NONE},
        {"LocalHost", "devices/device1", DENY_NONE},
        {"localhost:8883", "devices/device1", DENY_NONE},
        {"localhost%3A8883%2Fdevices%2Fdevice1", "devices/device1", DENY_NONE},
        {"localhost:8883/devices/device1", "devices/device1", DENY_NONE},
        {"hub2/devices/device1", "devices/device1", DENY_NONE},
        {"127.0.0.1:1", "", DENY_NONE},
        {"::1", "", DENY_NONE},
        {"[::1]", "", DENY_NONE},
        {"[::1]:8443", "", DENY_NONE},
        {"::1:8443", "", DENY_NONE},
        {"localhost/devices", "devices/device1", DENY_NONE},
        {"localhost/devices/device1", "devices/device1/modules/m", DENY_NONE},
        {"localhost/devices/device1", "devices/device1/messages/events", DENY_NONE},
        {"localhost/devices/device1/messages/events", "devices/device1/messages/events", DENY_NONE},
        {"localhost/devices/a%252Fb", "devices/a%2Fb", DENY_NONE},
        {"localhost/devices/device1/messages/events", "devices/device1", DENY_TOKEN_SCOPE},
        {"localhost/devices/device1", "", DENY_TOKEN_SCOPE},
        {"localhost/devices/device1", "devices/device10", DENY_TOKEN_SCOPE},
        {"localhost/devices/device10", "devices/device1", DENY_TOKEN_SCOPE},
        {"localhost/devices/Device1", "devices/device1", DENY_TOKEN_SCOPE},
        {"localhost/Devices/device1", "devices/device1", DENY_TOKEN_SCOPE},
        {"localhost/device", "devices/device1", DENY_TOKEN_SCOPE},
        {"localhost/", "devices/device1", DENY_TOKEN_SCOPE},
        {"localhost//devices/device1", "devices/device1", DENY_TOKEN_SCOPE},
        {"localhost/devices/", "devices/device1", DENY_TOKEN_SCOPE},
        {"localhost/devices/device1/", "devices/device1", DENY_TOKEN_SCOPE},
        {"localhost%252Fdevices%252Fdevice1", "devices/device1", DENY_TOKEN_HOST},
        {"localhost/devices%252Fdevice1", "devices/device1", DENY_TOKEN_SCOPE},
        {"localhostx", "", DENY_TOKEN_HOST},
        {"localhos", "", DENY_TOKEN_HOST},
        {"localhost:", "", DENY_TOKEN_HOST},
        {"localhost:x", "", DENY_TOKEN_HOST},
        {"[localhost", "", DENY_TOKEN_HOST},
        {":8883", "", DENY_TOKEN_HOST},
        {"evil.example.test/localhost", "devices/device1", DENY_TOKEN_HOST},
        {"https://localhost", "", DENY_TOKEN_HOST},
        {"/devices/device1", "devices/device1", DENY_TOKEN_HOST},
};

START_TEST(scope_by_whole_segments)
{
	for (unsigned i = 0; i < ARRAY_LEN(scopes); i++)
		ck_assert_msg(scope(scopes[i].sr, scopes[i].path) == scopes[i].why, "%s over %s",
		        scopes[i].sr, scopes[i].path);
}
END_TEST

UNIT_MAIN("sas", published_vectors, every_byte_counts, signed_by_nothing, malformed_tokens, bounds,
        expiry, scope_by_whole_segments)
