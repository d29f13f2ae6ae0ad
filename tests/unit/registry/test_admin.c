/* Access keys as administrators see them, and who administrators are. */
#include "tests/unit/registry/documents.h"

#define APP "the application's key"

static const struct registry_condition always = {0};
static struct rig rig;

static int authenticate(const char *authorization, struct principal **ret, enum deny_reason *why)
{
	*ret = NULL;
	*why = DENY_NONE;
	return registry_authenticate_admin(
	        rig.registry, slice_str(authorization), "127.0.0.1", ret, why);
}

static const char *key_token(const char *sr, const char *key, const char *skn, int64_t se)
{
	static char token[TOKEN_MAX];
	return token_for(token, slice_str(key), sr, se, skn);
}

/* ---- who ---- */

static enum deny_reason refused(const char *authorization)
{
	struct principal *p;
	enum deny_reason why;
	int err = authenticate(authorization, &p, &why);
	ck_assert_int_eq(err, why == DENY_UNAVAILABLE ? ERR_UNAVAILABLE : ERR_UNAUTHENTICATED);
	ck_assert_ptr_null(p);
	return why;
}

START_TEST(by_bearer_token)
{
	struct principal *p;
	enum deny_reason why;

	rig_start(&rig, 1, 5000);
	fake_mac(NULL, "token", SLICE_LIT("owner-token"), rig.store.token.mac);
	rig.store.token.role = "owner";
	ck_assert_int_eq(authenticate("Bearer owner-token", &p, &why), 0);
	ck_assert_int_eq(p->kind, PRINCIPAL_TOKEN);
	ck_assert_uint_eq(p->perms, PERM_ALL);
	assert_slice(principal_id(p), "owner");
	principal_unref(p);
	ck_assert_int_eq(authenticate("bearer owner-token", &p, &why), 0);
	principal_unref(p);
	rig.store.token.expires = soon();
	ck_assert_int_eq(authenticate("Bearer owner-token", &p, &why), 0);
	ck_assert_int_eq(p->expires_at, rig.store.token.expires);
	principal_unref(p);
	rig.store.token.expires = soon() - 7200;
	ck_assert_int_eq(refused("Bearer owner-token"), DENY_BEARER);
	rig.store.token.expires = 0;
	ck_assert_int_eq(refused("Bearer owner-tokeN"), DENY_BEARER);
	ck_assert_int_eq(refused("Bearer owner-token "), DENY_BEARER);
	ck_assert_int_eq(refused("Bearer  owner-token"), DENY_BEARER);
	ck_assert_int_eq(refused("Bearer "), DENY_NO_CREDENTIAL);
	ck_assert_int_eq(refused("Basic abc"), DENY_NO_CREDENTIAL);
	ck_assert_int_eq(refused(""), DENY_NO_CREDENTIAL);
	static char huge[5000] = "Bearer ";
	memset(huge + 7, 'x', sizeof(huge) - 8);
	ck_assert_int_eq(refused(huge), DENY_BEARER);
	fake_set_err(&rig.store, ERR_UNAVAILABLE);
	ck_assert_int_eq(refused("Bearer owner-token"), DENY_UNAVAILABLE);
	rig_stop(&rig);
}
END_TEST

START_TEST(by_access_key)
{
	struct principal *p;
	enum deny_reason why;

	rig_start(&rig, 1, 5000);
	rig_add_key(&rig, "app", APP, PERM_REGISTRY_READ);
	rig_add_device(&rig, "d1", "the key of d1");
	ck_assert_int_eq(authenticate(key_token("hub.test", APP, "app", soon()), &p, &why), 0);
	ck_assert_int_eq(p->kind, PRINCIPAL_KEY);
	ck_assert_uint_eq(p->perms, PERM_REGISTRY_READ);
	assert_slice(principal_id(p), "app");
	principal_unref(p);
	ck_assert_int_eq(
	        authenticate(
	                key_token("LOCALHOST:8443", "another access key", "app", soon()), &p, &why),
	        0);
	principal_unref(p);
	ck_assert_int_eq(refused(key_token("evil", APP, "app", soon())), DENY_TOKEN_HOST);
	ck_assert_int_eq(
	        refused(key_token("hub.test/devices/d1", APP, "app", soon())), DENY_TOKEN_SCOPE);
	ck_assert_int_eq(refused(key_token("hub.test", APP, "app", 1000)), DENY_TOKEN_EXPIRED);
	ck_assert_int_eq(refused(key_token("hub.test", APP, "other", soon())), DENY_UNKNOWN_KEY);
	ck_assert_int_eq(refused(key_token("hub.test", "", "other", soon())), DENY_UNKNOWN_KEY);
	ck_assert_int_eq(refused(key_token("hub.test", "", "app", soon())), DENY_TOKEN_SIGNATURE);
	ck_assert_int_eq(
	        refused(key_token("hub.test", "wrong", "app", soon())), DENY_TOKEN_SIGNATURE);
	ck_assert_int_eq(
	        refused(key_token("hub.test", "the key of d1", NULL, soon())), DENY_KEY_KIND);
	ck_assert_int_eq(refused(key_token("hub.test", APP, "", soon())), DENY_KEY_KIND);
	ck_assert_int_eq(refused("SharedAccessSignature x"), DENY_TOKEN_MALFORMED);
	/* Never from a cache: what was revoked is refused at once, whatever the loops know. */
	rig.store.keys[0].primary = rig_key("a new access key");
	ck_assert_int_eq(refused(key_token("hub.test", APP, "app", soon())), DENY_TOKEN_SIGNATURE);
	fake_set_err(&rig.store, ERR_UNAVAILABLE);
	ck_assert_int_eq(refused(key_token("hub.test", APP, "app", soon())), DENY_UNAVAILABLE);
	rig_stop(&rig);
}
END_TEST

/* ---- access keys ---- */

static int create(const char *text, json_t **ret)
{
	_cleanup_json_ json_t *in = doc(text), *errors = json_array();
	return registry_access_key_create(rig.registry, in, errors, ret);
}

static int put(const char *name, const char *text, struct registry_condition cond, json_t **ret,
        bool *ret_created)
{
	_cleanup_json_ json_t *in = doc(text), *errors = json_array();
	return registry_access_key_put(
	        rig.registry, slice_str(name), in, cond, errors, ret, ret_created);
}

static int backend(const json_t *key, const char *which)
{
	char token[TOKEN_MAX], username[128];
	uint8_t bytes[SYM_KEY_MAX];
	size_t n;
	ck_assert_int_eq(crypto_base64_decode(slice_str(text_at(key, which)), bytes, &n), 0);
	snprintf(username, sizeof(username), "key/%s", text_at(key, "/name"));
	token_for(token, slice_make(bytes, n), "hub.test", soon(), text_at(key, "/name"));
	return ask(&rig, 0, "app", username, token);
}

START_TEST(a_key_from_birth_to_death)
{
	json_t *out = NULL;
	bool created;

	rig_start(&rig, 1, 5000);
	ck_assert_int_eq(create("{'name': 'app', 'permissions': ['ServiceConnect', "
	                        "'RegistryRead']}",
	                         &out),
	        0);
	_cleanup_json_ json_t *a = TAKE_PTR(out);
	assert_json_at(a, "/permissions", "['RegistryRead', 'ServiceConnect']");
	assert_json_at(a, "/scope", "{}");
	ck_assert_uint_eq(strlen(text_at(a, "/primaryKey")), 88);
	ck_assert_str_ne(text_at(a, "/primaryKey"), text_at(a, "/secondaryKey"));
	ck_assert_uint_eq(json_object_size(a), 7);
	ck_assert_int_eq(
	        create("{'name': 'app', 'permissions': ['ServiceConnect']}", &out), ERR_EXISTS);
	ck_assert_int_eq(backend(a, "/primaryKey"), 0);
	ck_assert_int_eq(backend(a, "/secondaryKey"), 0);

	ck_assert_int_eq(registry_access_key_get(rig.registry, SLICE_LIT("app"), true, &out), 0);
	ck_assert(json_equal(a, out));
	json_decref(TAKE_PTR(out));
	ck_assert_int_eq(registry_access_key_get(rig.registry, SLICE_LIT("app"), false, &out), 0);
	ck_assert(json_object_size(out) == 5 && !at(out, "/primaryKey"));
	json_decref(TAKE_PTR(out));
	ck_assert_int_eq(
	        registry_access_key_get(rig.registry, SLICE_LIT("a/b"), true, &out), ERR_NOT_FOUND);

	ck_assert_int_eq(
	        registry_access_key_regenerate(rig.registry, SLICE_LIT("app"), true, always, &out),
	        0);
	_cleanup_json_ json_t *b = TAKE_PTR(out);
	ck_assert_int_lt(backend(a, "/primaryKey"), 0);
	ck_assert_int_eq(backend(b, "/primaryKey"), 0);
	ck_assert_int_eq(backend(a, "/secondaryKey"), 0);

	ck_assert_int_eq(
	        put("app", "{'permissions': ['DeviceConnect']}", always, &out, &created), 0);
	ck_assert(!created);
	_cleanup_json_ json_t *c = TAKE_PTR(out);
	ck_assert_str_eq(text_at(b, "/primaryKey"), text_at(c, "/primaryKey"));
	ck_assert_str_eq(text_at(b, "/createdTime"), text_at(c, "/createdTime"));
	ck_assert_int_lt(backend(b, "/primaryKey"), 0);

	ck_assert_int_eq(registry_access_key_delete(rig.registry, SLICE_LIT("app"), always), 0);
	ck_assert_int_eq(
	        registry_access_key_delete(rig.registry, SLICE_LIT("app"), always), ERR_NOT_FOUND);
	ck_assert_int_lt(backend(b, "/secondaryKey"), 0);
	rig_stop(&rig);
}
END_TEST

START_TEST(conditions)
{
	const struct registry_condition any = {.if_match = "*"}, none = {.if_none_match_any = true};
	const struct registry_condition stale = {.if_match = "old"};
	const char *text = "{'permissions': ['ServiceConnect']}";
	json_t *out = NULL;
	bool created;

	rig_start(&rig, 1, 5000);
	ck_assert_int_eq(put("app", text, any, &out, &created), ERR_STALE);
	ck_assert_int_eq(put("app", text, none, &out, &created), 0);
	ck_assert(created);
	json_decref(TAKE_PTR(out));
	ck_assert_int_eq(put("app", text, none, &out, &created), ERR_STALE);
	ck_assert_int_eq(put("app", text, stale, &out, &created), ERR_STALE);
	rig.store.racers = 2;
	ck_assert_int_eq(put("app", text, any, &out, &created), 0);
	json_decref(TAKE_PTR(out));
	ck_assert_int_eq(put("app", "{'permissions': []}", any, &out, &created), ERR_INVALID);
	ck_assert_int_eq(put("a b", text, always, &out, &created), ERR_INVALID);
	ck_assert_int_eq(
	        registry_access_key_delete(rig.registry, SLICE_LIT("app"), stale), ERR_STALE);
	ck_assert_int_eq(
	        registry_access_key_regenerate(rig.registry, SLICE_LIT("app"), false, stale, &out),
	        ERR_STALE);
	ck_assert_int_eq(registry_access_key_delete(rig.registry, SLICE_LIT("app"), any), 0);
	rig_stop(&rig);
}
END_TEST

START_TEST(lists)
{
	char next[KEY_NAME_MAX + 1];
	json_t *list = NULL;

	rig_start(&rig, 1, 5000);
	for (unsigned i = 0; i < 5; i++)
		rig_add_key(&rig, (char[]){(char)('e' - i), '\0'}, APP, PERM_REGISTRY_READ);
	ck_assert_int_eq(registry_access_key_list(rig.registry, "", 2, true, &list, next), 0);
	ck_assert_uint_eq(json_array_size(list), 2);
	ck_assert_str_eq(text_at(json_array_get(list, 0), "/name"), "a");
	ck_assert_str_eq(next, "b");
	json_decref(list);
	ck_assert_int_eq(registry_access_key_list(rig.registry, "b", 3, true, &list, next), 0);
	ck_assert_uint_eq(json_array_size(list), 3);
	ck_assert_str_eq(next, "");
	json_decref(list);
	rig_stop(&rig);
}
END_TEST

UNIT_MAIN("administrators", by_bearer_token, by_access_key, a_key_from_birth_to_death, conditions,
        lists)
