#include "registry/jwt_keys.h"

#include "server/base/clock.h"

struct jwt_key {
	enum jws_alg alg;
	const char *kid, *pem; /* kid "": it has none */
	int64_t not_after;     /* wall s; 0: for good */
};

static struct slice text_of(const json_t *value)
{
	return slice_make(json_string_value(value), json_string_length(value));
}

static bool read_time(const json_t *value, int64_t *ret)
{
	int64_t us;
	struct slice text = text_of(value);
	if (!json_is_string(value) || clock_parse_rfc3339((const char *)text.p, text.n, &us) < 0 ||
	        us <= 0)
		return false;
	*ret = us / 1000000;
	return true;
}

/* ---- documents ---- */

static const char *const members[] = {"kid", "alg", "publicKey", "notAfter"};

static bool is_member(const char *name)
{
	for (unsigned i = 0; i < ARRAY_LEN(members); i++)
		if (strcmp(name, members[i]) == 0)
			return true;
	return false;
}

static void check_pem(struct doc_check *c, const json_t *value, enum jws_alg alg)
{
	struct slice text = text_of(value);
	const char *why = "must be a public key as PEM";
	if (json_is_string(value) && strlen((const char *)text.p) == text.n)
		why = jws_key_error(alg, (const char *)text.p);
	if (why)
		doc_member_error(c, "publicKey", why);
}

static void check_key(struct doc_check *c, const json_t *key)
{
	const json_t *kid = json_object_get(key, "kid");
	const json_t *not_after = json_object_get(key, "notAfter");
	struct slice text = text_of(kid);
	const char *name;
	json_t *value;
	enum jws_alg alg;
	int64_t at;
	if (!json_is_object(key)) {
		doc_error(c, "must be an object");
		return;
	}
	json_object_foreach((json_t *)key, name, value) if (!is_member(name))
	        doc_member_error(c, name, "unknown member");
	if (kid &&
	        (!json_is_string(kid) || text.n < 1 || text.n > JWS_KID_MAX ||
	                memchr(text.p, '\0', text.n)))
		doc_member_error(c, "kid", "must be a string of 1 to 256 bytes");
	if (not_after && !read_time(not_after, &at))
		doc_member_error(c, "notAfter", "must be a time as in RFC 3339");
	if (jws_alg_parse(text_of(json_object_get(key, "alg")), &alg))
		check_pem(c, json_object_get(key, "publicKey"), alg);
	else
		doc_member_error(c, "alg", "must be \"ES256\" or \"RS256\"");
}

void jwt_keys_read(struct doc_check *c, const json_t *value, char **ret)
{
	size_t n = json_array_size(value);
	if (!json_is_array(value) || n < 1 || n > JWT_KEYS_MAX) {
		doc_error(c, "must be an array of 1 to 8 keys");
		return;
	}
	for (size_t i = 0; i < n; i++) {
		size_t mark = doc_enter_index(c, i);
		check_key(c, json_array_get(value, i));
		doc_leave(c, mark);
	}
	if (c->failed)
		return;
	_cleanup_json_ json_t *doc = json_pack("{s:O}", "keys", value);
	char *text = doc ? json_dumps(doc, JSON_COMPACT) : NULL;
	if (text && strlen(text) <= AUTH_PUBLIC_MAX) {
		*ret = text;
		return;
	}
	free(text);
	doc_error(c, "are too long: at most 16384 bytes in all");
}

/* ---- what was stored ---- */

static bool key_of(const json_t *value, struct jwt_key *ret)
{
	const json_t *kid = json_object_get(value, "kid");
	const json_t *not_after = json_object_get(value, "notAfter");
	*ret = (struct jwt_key){.kid = kid ? json_string_value(kid) : "",
	        .pem = json_string_value(json_object_get(value, "publicKey"))};
	return ret->pem && ret->kid &&
	        jws_alg_parse(text_of(json_object_get(value, "alg")), &ret->alg) &&
	        (!not_after || read_time(not_after, &ret->not_after));
}

static bool is_good(const struct jwt_key *k, int64_t now_s)
{
	return !k->not_after || k->not_after > now_s;
}

static void tag_of(const struct jwt_key *k, uint8_t out[static CREDENTIAL_TAG_LEN])
{
	identity_credential_tag(slice_str(k->pem), out);
}

/* NULL: none, or they cannot be ours. */
static json_t *keys_of(struct slice doc)
{
	return doc.n > 0 ? json_loadb((const char *)doc.p, doc.n, 0, NULL) : NULL;
}

enum deny_reason jwt_keys_signer(
        struct slice doc, const struct jws *token, int64_t now_s, struct jwt_signer *ret)
{
	_cleanup_json_ json_t *root = keys_of(doc);
	const json_t *keys = json_object_get(root, "keys"), *value;
	bool of_alg = false, found = false;
	unsigned tried = 0;
	size_t i;
	json_array_foreach((json_t *)keys, i, value)
	{
		struct jwt_key k;
		if (!key_of(value, &k) || k.alg != token->alg)
			continue;
		of_alg = true;
		if (!is_good(&k, now_s) ||
		        (*k.kid && *token->kid && strcmp(k.kid, token->kid) != 0))
			continue;
		tried++;
		if (found || !jws_signed_by(token, k.alg, k.pem))
			continue;
		found = true;
		tag_of(&k, ret->tag);
		ret->not_after = k.not_after;
	}
	if (tried == 0)
		jws_waste(token);
	if (found)
		return DENY_NONE;
	return of_alg || json_array_size(keys) == 0 ? DENY_JWT_KEY : DENY_JWT_ALGORITHM;
}

bool jwt_keys_have(struct slice doc, const uint8_t tag[static CREDENTIAL_TAG_LEN], int64_t now_s,
        int64_t *ret_not_after)
{
	_cleanup_json_ json_t *root = keys_of(doc);
	const json_t *value;
	bool has = false;
	int64_t until = 0;
	size_t i;
	json_array_foreach(json_object_get(root, "keys"), i, value)
	{
		uint8_t mine[CREDENTIAL_TAG_LEN];
		struct jwt_key k;
		if (!key_of(value, &k) || !is_good(&k, now_s))
			continue;
		tag_of(&k, mine);
		if (!crypto_equal(mine, tag, sizeof(mine)))
			continue;
		bool longer = !has || !k.not_after || (until && k.not_after > until);
		until = longer ? k.not_after : until;
		has = true;
	}
	if (has)
		*ret_not_after = until;
	return has;
}
