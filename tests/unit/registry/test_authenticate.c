#include "tests/unit/registry/rig.h"

#define KEY "the primary key of d1"
#define SECOND "the secondary key"
#define SECRET "a secret of sixteen or more"
#define APP "the application's key"

static struct rig rig;

static void start(unsigned lookup_ms)
{
	rig_start(&rig, 1, lookup_ms);
	rig_add_device(&rig, "d1", KEY);
	rig_add_device(&rig, "d10", "the primary key of d10");
	rig_add_device(&rig, "off", KEY);
	rig_change_device(&rig, "off", device->enabled = false);
	rig_add_device(&rig, "*", KEY);
	rig_add_secret(&rig, "s1", SECRET);
	rig_add_key(&rig, "all", APP, PERM_ALL_KEY);
	rig_add_key(&rig, "service", APP, PERM_SERVICE_CONNECT);
	rig_add_key(&rig, "device", APP, PERM_DEVICE_CONNECT);
}

/* ---- every kind of credential ---- */

/* sr NULL: the password is given as it is. */
struct row {
	const char *client_id, *username;
	const char *sr, *key, *skn; /* a token */
	const char *password;       /* else */
	int err;
	enum deny_reason reason;
	int64_t expires;
};
#define D1 "hub.test%2Fdevices%2Fd1"
#define OLD 1000

static const struct row rows[] = {
        {"d1", "d1", D1, KEY, NULL, NULL, 0, DENY_NONE, 0},
        {"d1", "d1", D1, SECOND, NULL, NULL, 0, DENY_NONE, 0},
        {"d1", "hub.test/d1/?api-version=2021-04-12", D1, KEY, NULL, NULL, 0, DENY_NONE, 0},
        {"d1", "gateway/d1/api-version=2016-11-14", D1, KEY, NULL, NULL, 0, DENY_NONE, 0},
        {"d1", "d1", "hub.test", KEY, NULL, NULL, 0, DENY_NONE, 0},
        {"d1", "d1", "LOCALHOST:8883/devices/d1", KEY, NULL, NULL, 0, DENY_NONE, 0},
        {"d1", "d1", D1, KEY, "", NULL, 0, DENY_NONE, 0},
        {"*", "*", "hub.test%2fdevices%2f*", KEY, NULL, NULL, 0, DENY_NONE, 0},
        {"d1", "d1", "hub.test", APP, "all", NULL, 0, DENY_NONE, 0},
        {"d1", "d1", D1, APP, "device", NULL, 0, DENY_NONE, 0},
        {"s1", "s1", "hub.test", APP, "device", NULL, 0, DENY_NONE, 0},
        {"s1", "s1", NULL, NULL, NULL, SECRET, 0, DENY_NONE, 0},
        {"anything/at all", "key/service", "hub.test", APP, "service", NULL, 0, DENY_NONE, 0},
        {"x", "key/all", "hub.test", "another access key", "all", NULL, 0, DENY_NONE, 0},

        {"d2", "d1", D1, KEY, NULL, NULL, ERR_INVALID, DENY_CLIENT_ID, 0},
        {"D1", "d1", D1, KEY, NULL, NULL, ERR_INVALID, DENY_CLIENT_ID, 0},
        {"", "d1", D1, KEY, NULL, NULL, ERR_INVALID, DENY_CLIENT_ID, 0},
        {"d1/m", "d1", D1, KEY, NULL, NULL, ERR_INVALID, DENY_CLIENT_ID, 0},
        {"d1", NULL, NULL, NULL, NULL, NULL, ERR_UNAUTHENTICATED, DENY_ANONYMOUS, 0},
        {"d1", "d1", NULL, NULL, NULL, NULL, ERR_UNAUTHENTICATED, DENY_NO_CREDENTIAL, 0},
        {"d1", "d1", NULL, NULL, NULL, "", ERR_UNAUTHENTICATED, DENY_NO_CREDENTIAL, 0},
        {"d1", NULL, D1, KEY, NULL, NULL, ERR_UNAUTHENTICATED, DENY_NO_CREDENTIAL, 0},
        {"d1", "", D1, KEY, NULL, NULL, ERR_UNAUTHENTICATED, DENY_NO_CREDENTIAL, 0},
        {"d1", "a/b/c", D1, KEY, NULL, NULL, ERR_UNAUTHENTICATED, DENY_NO_CREDENTIAL, 0},
        {"s1", "s1", NULL, NULL, NULL, "", ERR_UNAUTHENTICATED, DENY_NO_CREDENTIAL, 0},
        {"s1", "s1", NULL, NULL, NULL, SECRET "x", ERR_UNAUTHENTICATED, DENY_SECRET, 0},
        {"s1", "s1", NULL, NULL, NULL, "short", ERR_UNAUTHENTICATED, DENY_SECRET, 0},
        {"s1", "s1", "hub.test/devices/s1", KEY, NULL, NULL, ERR_UNAUTHENTICATED, DENY_KEY_KIND, 0},
        {"d1", "d1", NULL, NULL, NULL, SECRET, ERR_UNAUTHENTICATED, DENY_KEY_KIND, 0},
        {"no", "no", NULL, NULL, NULL, SECRET, ERR_UNAUTHENTICATED, DENY_UNKNOWN_DEVICE, 0},
        {"no", "no", "hub.test/devices/no", KEY, NULL, NULL, ERR_UNAUTHENTICATED,
                DENY_UNKNOWN_DEVICE, 0},
        {"no", "no", "hub.test", APP, "all", NULL, ERR_UNAUTHENTICATED, DENY_UNKNOWN_DEVICE, 0},
        {"d1/m", "d1/m", "hub.test/devices/d1", KEY, NULL, NULL, ERR_UNAUTHENTICATED,
                DENY_UNKNOWN_DEVICE, 0},
        {"d1/m", "d1/m", "hub.test", APP, "all", NULL, ERR_UNAUTHENTICATED, DENY_UNKNOWN_DEVICE, 0},
        {"a b", "a b", "hub.test", KEY, NULL, NULL, ERR_UNAUTHENTICATED, DENY_BAD_ID, 0},
        {"+", "+", "hub.test", KEY, NULL, NULL, ERR_UNAUTHENTICATED, DENY_BAD_ID, 0},
        {"..", "..", "hub.test", KEY, NULL, NULL, ERR_UNAUTHENTICATED, DENY_BAD_ID, 0},
        {"off", "off", "hub.test/devices/off", KEY, NULL, NULL, ERR_UNAUTHENTICATED, DENY_DISABLED,
                0},
        {"off", "off", "hub.test", APP, "all", NULL, ERR_UNAUTHENTICATED, DENY_DISABLED, 0},
        {"d1", "d1", D1, "wrong", NULL, NULL, ERR_UNAUTHENTICATED, DENY_TOKEN_SIGNATURE, 0},
        {"d1", "d1", D1, "", NULL, NULL, ERR_UNAUTHENTICATED, DENY_TOKEN_SIGNATURE, 0},
        {"d10", "d10", "hub.test", KEY, NULL, NULL, ERR_UNAUTHENTICATED, DENY_TOKEN_SIGNATURE, 0},
        {"d10", "d10", D1, KEY, NULL, NULL, ERR_UNAUTHENTICATED, DENY_TOKEN_SCOPE, 0},
        {"d1", "d1", "hub.test/devices/d10", KEY, NULL, NULL, ERR_UNAUTHENTICATED, DENY_TOKEN_SCOPE,
                0},
        {"d1", "d1", "hub.test/devices/d1/messages/events", KEY, NULL, NULL, ERR_UNAUTHENTICATED,
                DENY_TOKEN_SCOPE, 0},
        {"d1", "d1", "hub.test%252Fdevices%252Fd1", KEY, NULL, NULL, ERR_UNAUTHENTICATED,
                DENY_TOKEN_HOST, 0},
        {"d1", "d1", "evil%2Fdevices%2Fd1", KEY, NULL, NULL, ERR_UNAUTHENTICATED, DENY_TOKEN_HOST,
                0},
        {"d1", "d1", D1, KEY, NULL, NULL, ERR_UNAUTHENTICATED, DENY_TOKEN_EXPIRED, OLD},
        {"d1", "d1", NULL, NULL, NULL, "SharedAccessSignature sr=x", ERR_UNAUTHENTICATED,
                DENY_TOKEN_MALFORMED, 0},
        {"d1", "d1", D1, APP, "service", NULL, ERR_UNAUTHENTICATED, DENY_KEY_PERMISSION, 0},
        {"d1", "d1", D1, KEY, "all", NULL, ERR_UNAUTHENTICATED, DENY_TOKEN_SIGNATURE, 0},
        {"d1", "d1", D1, APP, "nokey", NULL, ERR_UNAUTHENTICATED, DENY_UNKNOWN_KEY, 0},
        {"d1", "d1", "hub.test/devices/d10", APP, "all", NULL, ERR_UNAUTHENTICATED,
                DENY_TOKEN_SCOPE, 0},
        {"x", "key/device", "hub.test", APP, "device", NULL, ERR_UNAUTHENTICATED,
                DENY_KEY_PERMISSION, 0},
        {"x", "key/service", "hub.test", APP, "all", NULL, ERR_UNAUTHENTICATED, DENY_UNKNOWN_KEY,
                0},
        {"x", "key/service", "hub.test", APP, NULL, NULL, ERR_UNAUTHENTICATED, DENY_UNKNOWN_KEY, 0},
        {"x", "key/nokey", "hub.test", APP, "nokey", NULL, ERR_UNAUTHENTICATED, DENY_UNKNOWN_KEY,
                0},
        {"x", "key/service", D1, APP, "service", NULL, ERR_UNAUTHENTICATED, DENY_TOKEN_SCOPE, 0},
        {"x", "key/service", NULL, NULL, NULL, SECRET, ERR_UNAUTHENTICATED, DENY_KEY_KIND, 0},
        {"x", "key/service", NULL, NULL, NULL, NULL, ERR_UNAUTHENTICATED, DENY_NO_CREDENTIAL, 0},
        {"x", "key/service", "hub.test", "wrong", "service", NULL, ERR_UNAUTHENTICATED,
                DENY_TOKEN_SIGNATURE, 0},
};

static void check_row(const struct row *row, unsigned i, bool anonymous)
{
	char token[TOKEN_MAX];
	struct asked a;
	const char *password = row->password;
	int64_t se = row->expires ? row->expires : soon();

	if (row->sr)
		password = token_for(token, slice_str(row->key), row->sr, se, row->skn);
	asked_init(&a, &rig, row->client_id, row->username, password);
	a.req.anonymous_allowed = anonymous;
	asked_post(&a, 0);
	int err = asked_wait(&a);
	bool nameless = anonymous && !row->username && !password;
	ck_assert_msg(a.req.reason == (nameless ? DENY_NONE : row->reason), "row %u: %s", i,
	        deny_name(a.req.reason));
	ck_assert_int_eq(err, nameless ? 0 : row->err);
	ck_assert((err == 0) == (a.req.principal != NULL));
	if (err == 0 && row->sr)
		ck_assert_int_eq(a.req.principal->expires_at, se);
	principal_unref(a.req.principal);
}

START_TEST(credentials)
{
	start(5000);
	/* A second time from the cache; a third time where anonymous clients are let in. */
	for (unsigned round = 0; round < 3; round++)
		for (unsigned i = 0; i < ARRAY_LEN(rows); i++)
			check_row(&rows[i], i, round == 2);
	rig_stop(&rig);
}
END_TEST

START_TEST(principals)
{
	char token[TOKEN_MAX];
	struct asked a;

	start(5000);
	asked_init(&a, &rig, "d1", "d1", device_token("d1", KEY));
	asked_post(&a, 0);
	ck_assert_int_eq(asked_wait(&a), 0);
	struct principal *p = a.req.principal;
	ck_assert_int_eq(p->kind, PRINCIPAL_DEVICE);
	assert_slice(principal_id(p), "d1");
	assert_slice(principal_key_name(p), "");
	ck_assert(!p->via_key);
	ck_assert_uint_eq(p->perms, 0);
	rig_change_device(&rig, "d1", ck_assert_uint_eq(p->device_key, device->device_key));
	principal_unref(p);

	asked_init(&a, &rig, "d1", "d1",
	        token_for(token, SLICE_LIT(APP), "hub.test", soon(), "device"));
	asked_post(&a, 0);
	ck_assert_int_eq(asked_wait(&a), 0);
	p = a.req.principal;
	ck_assert_int_eq(p->kind, PRINCIPAL_DEVICE);
	assert_slice(principal_id(p), "d1");
	assert_slice(principal_key_name(p), "device");
	ck_assert(p->via_key);
	ck_assert_uint_eq(p->perms, 0);
	principal_unref(p);

	asked_init(&a, &rig, "x", "key/all",
	        token_for(token, SLICE_LIT(APP), "hub.test", soon(), "all"));
	asked_post(&a, 0);
	ck_assert_int_eq(asked_wait(&a), 0);
	p = a.req.principal;
	ck_assert_int_eq(p->kind, PRINCIPAL_KEY);
	assert_slice(principal_id(p), "all");
	ck_assert_uint_eq(p->perms, PERM_ALL_KEY);
	ck_assert_uint_eq(p->device_key, 0);
	principal_unref(p);

	asked_init(&a, &rig, "x", NULL, NULL);
	a.req.anonymous_allowed = true;
	asked_post(&a, 0);
	ck_assert_int_eq(asked_wait(&a), 0);
	ck_assert_int_eq(a.req.principal->kind, PRINCIPAL_ANONYMOUS);
	principal_unref(a.req.principal);

	asked_init(&a, &rig, "s1", "s1", SECRET);
	asked_post(&a, 0);
	ck_assert_int_eq(asked_wait(&a), 0);
	ck_assert_int_eq(a.req.principal->expires_at, 0);
	principal_unref(a.req.principal);
	rig_stop(&rig);
}
END_TEST

/* ---- HTTPS ---- */

static const struct {
	const char *id, *sr, *key, *skn, *header;
	enum deny_reason reason;
} https[] = {
        {"d1", D1, KEY, NULL, NULL, DENY_NONE},
        {"d1", "hub.test/devices/d1/messages/events", KEY, NULL, NULL, DENY_NONE},
        {"d1", "hub.test/devices/d1/messages", KEY, NULL, NULL, DENY_NONE},
        {"d1", "hub.test", APP, "device", NULL, DENY_NONE},
        {"d1", "hub.test/devices/d1/messages/event", KEY, NULL, NULL, DENY_TOKEN_SCOPE},
        {"d1", "hub.test/devices/d1/files", KEY, NULL, NULL, DENY_TOKEN_SCOPE},
        {"d10", D1, KEY, NULL, NULL, DENY_TOKEN_SCOPE},
        {"d1", "hub.test", APP, "service", NULL, DENY_KEY_PERMISSION},
        {"off", "hub.test", KEY, NULL, NULL, DENY_DISABLED},
        {"no", "hub.test", KEY, NULL, NULL, DENY_UNKNOWN_DEVICE},
        {"a b", "hub.test", KEY, NULL, NULL, DENY_BAD_ID},
        {"d1/m", "hub.test", KEY, NULL, NULL, DENY_UNKNOWN_DEVICE},
        {"d1", NULL, NULL, NULL, NULL, DENY_NO_CREDENTIAL},
        {"d1", NULL, NULL, NULL, "Bearer abc", DENY_NO_CREDENTIAL},
        {"s1", NULL, NULL, NULL, SECRET, DENY_NO_CREDENTIAL},
        {"d1", NULL, NULL, NULL, "SharedAccessSignature x", DENY_TOKEN_MALFORMED},
};

START_TEST(https_tokens)
{
	start(5000);
	for (unsigned i = 0; i < ARRAY_LEN(https); i++) {
		char token[TOKEN_MAX];
		struct asked a;
		const char *header = https[i].header;
		if (https[i].sr)
			header = token_for(
			        token, slice_str(https[i].key), https[i].sr, soon(), https[i].skn);
		asked_init(&a, &rig, https[i].id, NULL, header);
		a.req.https = true;
		a.req.anonymous_allowed = true; /* nothing to do with HTTPS */
		asked_post(&a, 0);
		int err = asked_wait(&a);
		ck_assert_msg(
		        a.req.reason == https[i].reason, "row %u: %s", i, deny_name(a.req.reason));
		ck_assert_int_eq(err, https[i].reason ? ERR_UNAUTHENTICATED : 0);
		principal_unref(a.req.principal);
	}
	rig_stop(&rig);
}
END_TEST

/* ---- cache, feed, failures ---- */

START_TEST(cached_until_forgotten)
{
	start(5000);
	ck_assert_int_eq(ask(&rig, 0, "d1", "d1", device_token("d1", KEY)), 0);
	ck_assert_int_eq(ask(&rig, 0, "d1", "d1", device_token("d1", KEY)), 0);
	ck_assert_uint_eq(fake_lookups(&rig.store), 1);
	registry_forget(rig.registry, ENTITY_DEVICE, SLICE_LIT("d10"), true);
	registry_forget(rig.registry, ENTITY_KEY, SLICE_LIT("d1"), true);
	ck_assert_int_eq(ask(&rig, 0, "d1", "d1", device_token("d1", KEY)), 0);
	ck_assert_uint_eq(fake_lookups(&rig.store), 1);

	rig_change_device(&rig, "d1", device->primary = rig_key("a new key of d1"));
	registry_forget(rig.registry, ENTITY_DEVICE, SLICE_LIT("d1"), true);
	ck_assert_int_lt(ask(&rig, 0, "d1", "d1", device_token("d1", KEY)), 0);
	ck_assert_int_eq(ask(&rig, 0, "d1", "d1", device_token("d1", "a new key of d1")), 0);
	ck_assert_uint_eq(fake_lookups(&rig.store), 2);
	registry_forget_all(rig.registry);
	ck_assert_int_eq(ask(&rig, 0, "d1", "d1", device_token("d1", SECOND)), 0);
	ck_assert_uint_eq(fake_lookups(&rig.store), 3);
	rig_stop(&rig);
}
END_TEST

START_TEST(absence_is_not_cached)
{
	start(5000);
	ck_assert_int_eq(ask(&rig, 0, "d2", "d2", device_token("d2", KEY)), ERR_UNAUTHENTICATED);
	ck_assert_int_eq(ask(&rig, 0, "d2", "d2", device_token("d2", KEY)), ERR_UNAUTHENTICATED);
	ck_assert_uint_eq(fake_lookups(&rig.store), 2);
	rig_add_device(&rig, "d2", KEY);
	ck_assert_int_eq(ask(&rig, 0, "d2", "d2", device_token("d2", KEY)), 0);
	rig_stop(&rig);
}
END_TEST

/* Another hub has enabled a device, given it a new key, and the news is not here yet. */
START_TEST(nobody_is_refused_by_the_cache)
{
	start(5000);
	ck_assert_int_eq(ask(&rig, 0, "d1", "d1", device_token("d1", KEY)), 0);
	rig_change_device(&rig, "d1", device->primary = rig_key("a new key of d1"));
	ck_assert_int_eq(ask(&rig, 0, "d1", "d1", device_token("d1", "a new key of d1")), 0);
	ck_assert_uint_eq(fake_lookups(&rig.store), 2);
	ck_assert_int_lt(ask(&rig, 0, "d1", "d1", device_token("d1", KEY)), 0);
	ck_assert_uint_eq(fake_lookups(&rig.store), 3);
	ck_assert_int_eq(ask(&rig, 0, "d1", "d1", device_token("d1", "a new key of d1")), 0);
	ck_assert_uint_eq(fake_lookups(&rig.store), 3);
	rig_stop(&rig);
}
END_TEST

START_TEST(a_gap_in_the_feed_empties_the_cache)
{
	start(5000);
	ck_assert_int_eq(ask(&rig, 0, "d1", "d1", device_token("d1", KEY)), 0);
	fake_set_feed(&rig.store, true); /* the epoch rises */
	ck_assert_int_eq(ask(&rig, 0, "d1", "d1", device_token("d1", KEY)), 0);
	ck_assert_uint_eq(fake_lookups(&rig.store), 2);
	rig_stop(&rig);
}
END_TEST

START_TEST(nobody_is_let_in_without_the_feed)
{
	struct asked a;

	start(300);
	ck_assert_int_eq(ask(&rig, 0, "d1", "d1", device_token("d1", KEY)), 0);
	fake_set_feed(&rig.store, false);
	asked_init(&a, &rig, "d1", "d1", device_token("d1", KEY));
	uint64_t before = clock_ms();
	asked_post(&a, 0);
	ck_assert_int_eq(asked_wait(&a), ERR_UNAVAILABLE);
	ck_assert_int_eq(a.req.reason, DENY_UNAVAILABLE);
	ck_assert_uint_ge(clock_ms() - before, 250);
	/* What is wrong in itself is refused all the same. */
	ck_assert_int_eq(ask(&rig, 0, "d1", "d1", "SharedAccessSignature x"), ERR_UNAUTHENTICATED);
	rig_stop(&rig);
}
END_TEST

START_TEST(requests_wait_for_the_feed)
{
	struct asked a, b;

	start(20000);
	ck_assert_int_eq(ask(&rig, 0, "d1", "d1", device_token("d1", KEY)), 0);
	fake_set_feed(&rig.store, false);
	asked_init(&a, &rig, "d1", "d1", device_token("d1", KEY));
	asked_post(&a, 0);
	asked_init(&b, &rig, "d10", "d10", device_token("d10", "wrong"));
	asked_post(&b, 0);
	registry_forget(
	        rig.registry, ENTITY_DEVICE, SLICE_LIT("x"), true); /* both have been asked */
	ck_assert_uint_eq(fake_lookups(&rig.store), 1);
	fake_set_feed(&rig.store, true);
	ck_assert_int_eq(asked_wait(&a), 0);
	ck_assert_int_eq(asked_wait(&b), ERR_UNAUTHENTICATED);
	ck_assert_uint_eq(fake_lookups(&rig.store), 3);
	principal_unref(a.req.principal);
	rig_stop(&rig);
}
END_TEST

/* The feed fails while a look-up is under way: its answer lets nobody in. */
START_TEST(an_answer_without_the_feed_is_not_used)
{
	struct asked a;

	start(20000);
	fake_set_hold(&rig.store, true);
	asked_init(&a, &rig, "d1", "d1", device_token("d1", KEY));
	asked_post(&a, 0);
	registry_forget(rig.registry, ENTITY_DEVICE, SLICE_LIT("x"), true);
	ck_assert_uint_eq(fake_lookups(&rig.store), 1);
	fake_set_feed(&rig.store, false);
	ck_assert_uint_eq(fake_release(&rig.store), 1);
	registry_forget(rig.registry, ENTITY_DEVICE, SLICE_LIT("x"), true);
	rig_change_device(&rig, "d1", device->enabled = false);
	fake_set_hold(&rig.store, false);
	fake_set_feed(&rig.store, true);
	ck_assert_int_eq(asked_wait(&a), ERR_UNAUTHENTICATED);
	ck_assert_int_eq(a.req.reason, DENY_DISABLED);
	ck_assert_uint_eq(fake_lookups(&rig.store), 2);
	rig_stop(&rig);
}
END_TEST

START_TEST(one_lookup_for_all_who_wait)
{
	static struct asked many[20];

	start(20000);
	fake_set_hold(&rig.store, true);
	for (unsigned i = 0; i < ARRAY_LEN(many); i++) {
		asked_init(&many[i], &rig, "d1", "d1", device_token("d1", i % 2 ? KEY : "wrong"));
		asked_post(&many[i], 0);
	}
	registry_forget(rig.registry, ENTITY_DEVICE, SLICE_LIT("x"), true);
	ck_assert_uint_eq(fake_release(&rig.store), 1);
	for (unsigned i = 0; i < ARRAY_LEN(many); i++) {
		ck_assert_int_eq(asked_wait(&many[i]), i % 2 ? 0 : ERR_UNAUTHENTICATED);
		principal_unref(many[i].req.principal);
	}
	rig_stop(&rig);
}
END_TEST

/* The longest ids there are get in as any other, and are not taken for another one. */
START_TEST(the_longest_ids)
{
	static struct asked module, other;
	char device[DEVICE_ID_MAX + 1] = "", id[MODULE_ID_MAX + 1];

	start(20000);
	memset(device, 'a', DEVICE_ID_MAX);
	snprintf(id, sizeof(id), "%s/%s", device, device);
	rig_add_device(&rig, device, KEY);
	rig_add_secret(&rig, id, SECRET);
	rig_add_device(&rig, "a", SECOND);
	fake_set_hold(&rig.store, true);
	asked_init(&module, &rig, id, id, SECRET);
	asked_post(&module, 0);
	asked_init(&other, &rig, "a", "a", device_token("a", SECOND));
	asked_post(&other, 0);
	registry_forget(rig.registry, ENTITY_DEVICE, SLICE_LIT("x"), true);
	ck_assert_uint_eq(fake_release(&rig.store), 3);
	ck_assert_int_eq(asked_wait(&module), 0);
	ck_assert_int_eq(asked_wait(&other), 0);
	principal_unref(module.req.principal);
	principal_unref(other.req.principal);
	rig_stop(&rig);
}
END_TEST

/* An answer that was read before the change comes after it: it is asked for again. */
START_TEST(a_change_while_looking_up)
{
	struct asked a;

	start(20000);
	fake_set_hold(&rig.store, true);
	asked_init(&a, &rig, "d1", "d1", device_token("d1", KEY));
	asked_post(&a, 0);
	registry_forget(rig.registry, ENTITY_DEVICE, SLICE_LIT("x"), true);
	registry_forget(rig.registry, ENTITY_DEVICE, SLICE_LIT("d1"), true);
	fake_set_hold(&rig.store, false);
	ck_assert_uint_eq(fake_release(&rig.store), 1);
	ck_assert_int_eq(asked_wait(&a), 0);
	ck_assert_uint_eq(fake_lookups(&rig.store), 2);
	principal_unref(a.req.principal);
	rig_stop(&rig);
}
END_TEST

/* A device's token by an access key needs two identities; the first one changes while the second is
 * still read. */
START_TEST(a_change_while_waiting_for_the_other)
{
	char token[TOKEN_MAX];
	struct asked a;

	start(20000);
	ck_assert_int_eq(ask(&rig, 0, "d1", "d1", device_token("d1", KEY)), 0);
	fake_set_hold(&rig.store, true);
	asked_init(&a, &rig, "d1", "d1",
	        token_for(token, SLICE_LIT(APP), "hub.test", soon(), "device"));
	asked_post(&a, 0);
	registry_forget(rig.registry, ENTITY_DEVICE, SLICE_LIT("x"), true);
	ck_assert_uint_eq(fake_lookups(&rig.store), 2); /* the key; the device is cached */
	rig_change_device(&rig, "d1", device->enabled = false);
	registry_forget(rig.registry, ENTITY_DEVICE, SLICE_LIT("d1"), true);
	fake_set_hold(&rig.store, false);
	fake_release(&rig.store);
	ck_assert_int_eq(asked_wait(&a), ERR_UNAUTHENTICATED);
	ck_assert_int_eq(a.req.reason, DENY_DISABLED);
	ck_assert_uint_eq(fake_lookups(&rig.store), 3);
	rig_stop(&rig);
}
END_TEST

START_TEST(retries_until_the_database_is_back)
{
	struct asked a;

	start(20000);
	fake_set_err(&rig.store, ERR_UNAVAILABLE);
	asked_init(&a, &rig, "d1", "d1", device_token("d1", KEY));
	asked_post(&a, 0);
	while (fake_lookups(&rig.store) < 3)
		registry_forget(rig.registry, ENTITY_DEVICE, SLICE_LIT("x"), true);
	fake_set_err(&rig.store, 0);
	ck_assert_int_eq(asked_wait(&a), 0);
	principal_unref(a.req.principal);
	rig_stop(&rig);
}
END_TEST

START_TEST(gives_up_at_the_deadline)
{
	struct asked a;

	start(300);
	fake_set_err(&rig.store, ERR_UNAVAILABLE);
	ck_assert_int_eq(ask(&rig, 0, "d1", "d1", device_token("d1", KEY)), ERR_UNAVAILABLE);
	fake_set_err(&rig.store, ERR_CORRUPT);
	ck_assert_int_eq(ask(&rig, 0, "d10", "d10", device_token("d10", KEY)), ERR_UNAVAILABLE);
	fake_set_err(&rig.store, 0);
	fake_set_hold(&rig.store, true);
	asked_init(&a, &rig, "*", "*", device_token("*", KEY));
	asked_post(&a, 0);
	ck_assert_int_eq(asked_wait(&a), ERR_UNAVAILABLE);
	/* The answer that comes too late finds nobody. */
	fake_set_hold(&rig.store, false);
	ck_assert_uint_ge(fake_release(&rig.store), 1);
	ck_assert_int_eq(ask(&rig, 0, "*", "*", device_token("*", KEY)), 0);
	rig_stop(&rig);
}
END_TEST

START_TEST(freed_while_requests_wait)
{
	static struct asked a, b;

	start(20000);
	fake_set_hold(&rig.store, true);
	asked_init(&a, &rig, "d1", "d1", device_token("d1", KEY));
	asked_post(&a, 0);
	registry_forget(rig.registry, ENTITY_DEVICE, SLICE_LIT("x"), true);
	fake_set_feed(&rig.store, false);
	asked_init(&b, &rig, "d1", "d1", device_token("d1", KEY));
	asked_post(&b, 0);
	rig_stop(&rig);
}
END_TEST

START_TEST(limits_change)
{
	static char *const other[] = {"new.test"};
	struct registry_limits limits = rig_limits(5000);

	start(5000);
	ck_assert_int_eq(ask(&rig, 0, "d1", "d1", device_token("d1", KEY)), 0);
	limits.hub_names = other;
	limits.n_hub_names = 1;
	ck_assert_int_eq(registry_set_limits(rig.registry, &limits), 0);
	ck_assert_int_eq(ask(&rig, 0, "d1", "d1", device_token("d1", KEY)), ERR_UNAUTHENTICATED);
	rig_stop(&rig);
}
END_TEST

START_TEST(more_devices_than_the_cache_holds)
{
	start(5000);
	for (unsigned i = 0; i < 40; i++) {
		char id[16];
		snprintf(id, sizeof(id), "many%u", i);
		rig_add_device(&rig, id, KEY);
		ck_assert_int_eq(ask(&rig, 0, id, id, device_token(id, KEY)), 0);
	}
	unsigned before = fake_lookups(&rig.store);
	ck_assert_int_eq(ask(&rig, 0, "many39", "many39", device_token("many39", KEY)), 0);
	ck_assert_uint_eq(fake_lookups(&rig.store), before);
	ck_assert_int_eq(ask(&rig, 0, "many0", "many0", device_token("many0", KEY)), 0);
	ck_assert_uint_eq(fake_lookups(&rig.store), before + 1);
	rig_stop(&rig);
}
END_TEST

UNIT_MAIN("authenticate", credentials, principals, https_tokens, cached_until_forgotten,
        absence_is_not_cached, nobody_is_refused_by_the_cache, a_gap_in_the_feed_empties_the_cache,
        nobody_is_let_in_without_the_feed, requests_wait_for_the_feed,
        an_answer_without_the_feed_is_not_used, one_lookup_for_all_who_wait, the_longest_ids,
        a_change_while_looking_up, a_change_while_waiting_for_the_other,
        retries_until_the_database_is_back, gives_up_at_the_deadline, freed_while_requests_wait,
        limits_change, more_devices_than_the_cache_holds)
