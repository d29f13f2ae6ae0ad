/* User names of MQTT, and secrets. */
#include "registry/auth/creds_mqtt.h"
#include "registry/auth/secret.h"
#include "registry/registry.h"
#include "server/base/cleanup.h"
#include "tests/unit/base/unit.h"

static const struct {
	const char *username;
	const char *id; /* NULL: none of the forms */
	bool is_key;
} names[] = {
        {"d1", "d1", false},
        {"hub/d1/?api-version=2021-04-12", "d1", false},
        {"hub:8883/d1/?api-version=2021-04-12&DeviceClientType=x%2Fy", "d1", false},
        {"hub/d1/?DeviceClientType=a/b/c&api-version=2019-10-01", "d1", false},
        {"hub/d1/api-version=2016-11-14", "d1", false},
        {"hub/d1/DeviceClientType=x&api-version=2016-11-14", "d1", false},
        {"hub/d1/m1/?api-version=2021-04-12", "d1/m1", false},
        {"hub/d1/m1/api-version=2016-11-14", "d1/m1", false},
        {"d1/m1", "d1/m1", false},
        {"?", "?", false},
        {"api-version=1", "api-version=1", false},
        {"key/service", "service", true},
        {"key/d1/?api-version=2021-04-12", "d1", false},
        {"", NULL, false},
        {"key/", NULL, false},
        {"a/b/c", NULL, false},
        {"a/b/c/d", NULL, false},
        {"key/a/b", NULL, false},
        {"hub/d1/m1/x/?api-version=1", NULL, false},
        {"/d1/?api-version=1", NULL, false},
        {"hub//?api-version=1", NULL, false},
        {"hub/d1/?x-api-version=1", NULL, false},
        {"hub/d1/?version=1", NULL, false},
        {"///", NULL, false},
};

START_TEST(user_names)
{
	for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
		struct creds_mqtt c = {0};
		bool ok = creds_mqtt_parse(slice_str(names[i].username), &c);
		ck_assert_msg(ok == (names[i].id != NULL), "%s", names[i].username);
		if (!ok)
			continue;
		ck_assert_msg(slice_eq_str(c.id, names[i].id), "%s gives %.*s", names[i].username,
		        SLICE_ARG(c.id));
		ck_assert_int_eq(c.is_key, names[i].is_key);
	}
}
END_TEST

START_TEST(claimed_id)
{
	struct slice id;
	ck_assert(registry_claimed_id(SLICE_LIT("d1"), &id));
	assert_slice(id, "d1");
	ck_assert(registry_claimed_id(SLICE_LIT("hub/d1/?api-version=1"), &id));
	assert_slice(id, "d1");
	ck_assert(registry_claimed_id(SLICE_LIT("hub/d1/m1/?api-version=1"), &id));
	assert_slice(id, "d1/m1");
	ck_assert(!registry_claimed_id(SLICE_LIT("key/service"), &id));
	ck_assert(!registry_claimed_id(SLICE_LIT("a b"), &id));
	ck_assert(!registry_claimed_id(SLICE_LIT("hub/a+b/?api-version=1"), &id));
	ck_assert(!registry_claimed_id(SLICE_LIT("d/m#"), &id));
	ck_assert(!registry_claimed_id(SLICE_LIT(""), &id));
}
END_TEST

/* ---- secrets ---- */

static void mac(void *ctx HF_UNUSED, const char *purpose, struct slice in, uint8_t out[static 32])
{
	crypto_hmac_sha256(SLICE_LIT("the hub's key"), slice_str(purpose), in, out);
}

START_TEST(secrets)
{
	const struct registry_store store = {.mac = mac};
	const struct slice id = SLICE_LIT("d1"), good = SLICE_LIT("0123456789abcdef");
	uint8_t kept[CRYPTO_HASH_LEN], other[CRYPTO_HASH_LEN];
	static char long_one[SECRET_MAX + 1];

	secret_mac(&store, id, good, kept);
	ck_assert(secret_fits(&store, id, good, kept));
	ck_assert(!secret_fits(&store, id, SLICE_LIT("0123456789abcdeF"), kept));
	ck_assert(!secret_fits(&store, id, SLICE_LIT("0123456789abcdef0"), kept));
	ck_assert(!secret_fits(&store, id, SLICE_LIT(""), kept));
	ck_assert(!secret_fits(&store, id, slice_make(long_one, sizeof(long_one)), kept));
	ck_assert(!secret_fits(&store, SLICE_LIT("d2"), good, kept));
	ck_assert(!secret_fits(&store, id, good, NULL));
	secret_mac(&store, SLICE_LIT("d2"), good, other);
	ck_assert_mem_ne(kept, other, sizeof(kept));
	/* The longest of a module. */
	static char longest[MODULE_ID_MAX];
	secret_mac(&store, slice_make(longest, sizeof(longest)),
	        slice_make(long_one, sizeof(long_one) - 1), other);
}
END_TEST

START_TEST(made_secrets)
{
	char a[SECRET_MADE_LEN + 1], b[SECRET_MADE_LEN + 1];
	secret_make(a);
	secret_make(b);
	ck_assert_str_ne(a, b);
	ck_assert_uint_eq(strlen(a), SECRET_MADE_LEN);
	ck_assert_uint_eq(strspn(a,
	                          "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	                          "0123456789-_"),
	        SECRET_MADE_LEN);
}
END_TEST

UNIT_MAIN("credentials", user_names, claimed_id, secrets, made_secrets)
