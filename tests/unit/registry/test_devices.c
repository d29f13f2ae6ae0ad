#include "tests/unit/registry/documents.h"

static const struct registry_condition always = {0};
static struct rig rig;

/* What the observer was told last, and how often. */
static struct {
	unsigned n;
	enum entity kind;
	bool gone;
	char id[DEVICE_ID_MAX + 1];
	uint64_t device_key;
} told;

static void changed(void *ctx, enum entity kind, struct slice id, uint64_t device_key, bool gone)
{
	ck_assert_ptr_eq(ctx, &told);
	told.n++;
	told.kind = kind;
	told.gone = gone;
	told.device_key = device_key;
	snprintf(told.id, sizeof(told.id), "%.*s", SLICE_ARG(id));
}

static void start(void)
{
	rig_start(&rig, 2, 5000);
	memset(&told, 0, sizeof(told));
	registry_set_observer(rig.registry, changed, &told);
}

static json_t *create(const char *text)
{
	_cleanup_json_ json_t *in = doc(text), *errors = json_array();
	json_t *out = NULL;
	int err = registry_device_create(rig.registry, in, errors, &out);
	ck_assert_msg(err == 0, "%s: %s %s", text, err_text(err), pointers(errors));
	return out;
}

static json_t *shown(const char *id, bool show_keys)
{
	json_t *out = NULL;
	ck_assert_int_eq(registry_device_get(rig.registry, slice_str(id), show_keys, &out), 0);
	return out;
}

static int put_if(const char *id, const char *text, struct registry_condition cond, json_t **ret,
        bool *ret_created)
{
	_cleanup_json_ json_t *in = doc(text), *errors = json_array();
	return registry_device_put(rig.registry, slice_str(id), in, cond, errors, ret, ret_created);
}

static json_t *put(const char *id, const char *text)
{
	json_t *out = NULL;
	bool created;
	int err = put_if(id, text, always, &out, &created);
	ck_assert_msg(err == 0, "%s: %s", text, err_text(err));
	return out;
}

static int patch_if(const char *id, const char *text, struct registry_condition cond, json_t **ret)
{
	_cleanup_json_ json_t *in = doc(text), *errors = json_array();
	return registry_device_patch(rig.registry, slice_str(id), in, cond, errors, ret);
}

static json_t *patch(const char *id, const char *text)
{
	json_t *out = NULL;
	int err = patch_if(id, text, always, &out);
	ck_assert_msg(err == 0, "%s: %s", text, err_text(err));
	return out;
}

static const char *connect_with(const json_t *device, const char *which)
{
	static char sr[300], token[TOKEN_MAX];
	uint8_t key[SYM_KEY_MAX];
	size_t n;
	snprintf(sr, sizeof(sr), "hub.test/devices/%s", text_at(device, "/deviceId"));
	ck_assert_int_eq(crypto_base64_decode(slice_str(text_at(device, which)), key, &n), 0);
	return token_for(token, slice_make(key, n), sr, soon(), NULL);
}

/* Whether a device gets in on every loop. */
static int connects(const char *id, const char *password)
{
	int err = ask(&rig, 0, id, id, password);
	ck_assert_int_eq(ask(&rig, 1, id, id, password), err);
	return err;
}

#define PRIMARY "/auth/primaryKey"
#define SECONDARY "/auth/secondaryKey"

/* ---- create, read, list, count ---- */

START_TEST(created_with_keys)
{
	uint8_t key[SYM_KEY_MAX];
	size_t n;

	start();
	_cleanup_json_ json_t *d = create(
	        "{'deviceId': 'd1', 'tags': {'site': 'a', 'n': [1, 2.5]}}");
	ck_assert_int_eq(crypto_base64_decode(slice_str(text_at(d, PRIMARY)), key, &n), 0);
	ck_assert_uint_eq(n, 64);
	ck_assert_str_ne(text_at(d, PRIMARY), text_at(d, SECONDARY));
	char want[512];
	snprintf(want, sizeof(want), "HostName=hub.test;DeviceId=d1;SharedAccessKey=%s",
	        text_at(d, PRIMARY));
	ck_assert_str_eq(text_at(d, "/connectionString"), want);
	assert_json_at(d, "/tags", "{'site': 'a', 'n': [1, 2.5]}");
	assert_json_at(d, "/status", "'enabled'");
	assert_json_at(d, "/statusReason", "null");
	assert_json_at(d, "/connectionState", "'Disconnected'");
	assert_json_at(d, "/connectionStateUpdatedTime", "null");
	assert_json_at(d, "/lastActivityTime", "null");
	ck_assert_uint_eq(strlen(text_at(d, "/createdTime")), CLOCK_RFC3339_LEN - 1);
	ck_assert_uint_gt(strlen(text_at(d, "/generationId")), 0);
	ck_assert_uint_gt(strlen(text_at(d, "/etag")), 0);
	ck_assert_uint_eq(json_object_size(d), 12);
	ck_assert_int_eq(connects("d1", connect_with(d, PRIMARY)), 0);
	ck_assert_int_eq(connects("d1", connect_with(d, SECONDARY)), 0);

	_cleanup_json_ json_t *with = shown("d1", true), *without = shown("d1", false);
	ck_assert(json_equal(with, d));
	ck_assert_ptr_null(at(without, PRIMARY));
	ck_assert_ptr_null(at(without, SECONDARY));
	ck_assert_ptr_null(at(without, "/connectionString"));
	assert_json_at(without, "/auth", "{'type': 'sas'}");
	ck_assert_uint_eq(told.n, 1);
	ck_assert_str_eq(told.id, "d1");
	ck_assert(!told.gone && told.kind == ENTITY_DEVICE);
	rig_stop(&rig);
}
END_TEST

START_TEST(created_with_given_credentials)
{
	start();
	_cleanup_json_ json_t *d = create(
	        "{'deviceId': 'd1', 'status': 'disabled', 'statusReason': "
	        "'é', 'auth': {'type': 'sas', 'primaryKey': "
	        "'MDEyMzQ1Njc4OWFiY2RlZg=='}}");
	ck_assert_str_eq(text_at(d, PRIMARY), "MDEyMzQ1Njc4OWFiY2RlZg==");
	ck_assert_uint_eq(strlen(text_at(d, SECONDARY)), 88);
	ck_assert_str_eq(text_at(d, "/statusReason"), "é");
	ck_assert_int_lt(connects("d1", connect_with(d, PRIMARY)), 0);

	/* A secret that was given is known to the giver and not shown; one that was made is, once.
	 */
	_cleanup_json_ json_t *given = create(
	        "{'deviceId': 's1', 'auth': {'type': 'secret', 'secret': '0123456789abcdef'}}");
	assert_json_at(given, "/auth", "{'type': 'secret'}");
	ck_assert_ptr_null(at(given, "/connectionString"));
	ck_assert_int_eq(connects("s1", "0123456789abcdef"), 0);
	_cleanup_json_ json_t *made = create("{'deviceId': 's2', 'auth': {'type': 'secret'}}");
	ck_assert_uint_eq(strlen(text_at(made, "/auth/secret")), 43);
	ck_assert_int_eq(connects("s2", text_at(made, "/auth/secret")), 0);
	_cleanup_json_ json_t *later = shown("s2", true);
	assert_json_at(later, "/auth", "{'type': 'secret'}");
	rig_stop(&rig);
}
END_TEST

START_TEST(not_created_twice)
{
	_cleanup_json_ json_t *in = doc("{'deviceId': 'd1'}"), *errors = json_array();
	json_t *out = NULL;

	start();
	_cleanup_json_ json_t *d = create("{'deviceId': 'd1'}");
	ck_assert_int_eq(registry_device_create(rig.registry, in, errors, &out), ERR_EXISTS);
	ck_assert_int_eq(
	        registry_device_get(rig.registry, SLICE_LIT("d2"), true, &out), ERR_NOT_FOUND);
	ck_assert_int_eq(
	        registry_device_get(rig.registry, SLICE_LIT("a/b"), true, &out), ERR_NOT_FOUND);
	ck_assert_int_eq(
	        registry_device_get(rig.registry, SLICE_LIT(""), true, &out), ERR_NOT_FOUND);
	fake_set_err(&rig.store, ERR_UNAVAILABLE);
	ck_assert_int_eq(registry_device_create(rig.registry, in, errors, &out), ERR_UNAVAILABLE);
	ck_assert_int_eq(
	        registry_device_get(rig.registry, SLICE_LIT("d1"), true, &out), ERR_UNAVAILABLE);
	ck_assert_ptr_null(out);
	rig_stop(&rig);
}
END_TEST

static int list_after(const char *after, unsigned limit, bool show_keys, json_t **ret, char *next)
{
	struct registry_page page = {.limit = limit};
	snprintf(page.position, sizeof(page.position), "%s", after);
	int err = registry_device_list(rig.registry, &page, show_keys, ret);
	snprintf(next, DEVICE_ID_MAX + 1, "%.*s", DEVICE_ID_MAX, page.position);
	return err;
}

START_TEST(lists)
{
	char next[DEVICE_ID_MAX + 1];
	json_t *list = NULL;

	start();
	for (unsigned i = 0; i < 7; i++)
		rig_add_device(&rig, (char[]){(char)('a' + (i * 3) % 7), '\0'}, "0123456789abcdef");
	ck_assert_int_eq(list_after("", 3, false, &list, next), 0);
	ck_assert_uint_eq(json_array_size(list), 3);
	ck_assert_str_eq(text_at(json_array_get(list, 2), "/deviceId"), "c");
	ck_assert_ptr_null(at(json_array_get(list, 0), PRIMARY));
	ck_assert_str_eq(next, "c");
	json_decref(list);
	ck_assert_int_eq(list_after("c", 4, true, &list, next), 0);
	ck_assert_uint_eq(json_array_size(list), 4);
	ck_assert_str_eq(text_at(json_array_get(list, 0), "/deviceId"), "d");
	ck_assert_ptr_nonnull(at(json_array_get(list, 0), PRIMARY));
	ck_assert_str_eq(next, "");
	json_decref(list);
	ck_assert_int_eq(list_after("g", 4, true, &list, next), 0);
	ck_assert_uint_eq(json_array_size(list), 0);
	ck_assert_str_eq(next, "");
	json_decref(list);

	uint64_t all, disabled, key;
	rig_change_device(&rig, "b", device->enabled = false);
	ck_assert_int_eq(registry_device_count(rig.registry, &all, &disabled), 0);
	ck_assert_uint_eq(all, 7);
	ck_assert_uint_eq(disabled, 1);
	ck_assert_int_eq(registry_device_key(rig.registry, SLICE_LIT("b"), &key), 0);
	rig_change_device(&rig, "b", ck_assert_uint_eq(key, device->device_key));
	ck_assert_int_eq(registry_device_key(rig.registry, SLICE_LIT("x"), &key), ERR_NOT_FOUND);
	rig_stop(&rig);
}
END_TEST

/* ---- PUT ---- */

START_TEST(put_keeps_what_it_does_not_name)
{
	bool created = false;
	json_t *made = NULL;

	start();
	ck_assert_int_eq(
	        put_if("d1", "{'tags': {'a': 1}, 'statusReason': 'x'}", always, &made, &created),
	        0);
	ck_assert(created);
	_cleanup_json_ json_t *first = made;
	made = NULL;
	ck_assert_int_eq(put_if("d1", "{'status': 'disabled'}", always, &made, &created), 0);
	ck_assert(!created);
	_cleanup_json_ json_t *second = made;
	ck_assert_str_eq(text_at(second, PRIMARY), text_at(first, PRIMARY));
	ck_assert_str_eq(text_at(second, SECONDARY), text_at(first, SECONDARY));
	ck_assert_str_eq(text_at(second, "/generationId"), text_at(first, "/generationId"));
	ck_assert_str_eq(text_at(second, "/createdTime"), text_at(first, "/createdTime"));
	ck_assert_str_ne(text_at(second, "/etag"), text_at(first, "/etag"));
	assert_json_at(second, "/tags", "{}");
	assert_json_at(second, "/statusReason", "null");
	assert_json_at(second, "/status", "'disabled'");

	/* What a GET shows can be sent back, read-only members and all. */
	_cleanup_json_ json_t *errors = json_array();
	json_t *again = NULL;
	ck_assert_int_eq(registry_device_put(rig.registry, SLICE_LIT("d1"), first, always, errors,
	                         &again, &created),
	        0);
	assert_json_at(again, "/status", "'enabled'");
	assert_json_at(again, "/statusReason", "'x'");
	json_decref(again);

	_cleanup_json_ json_t *named = put("d1",
	        "{'auth': {'type': 'sas', 'secondaryKey': "
	        "'MDEyMzQ1Njc4OWFiY2RlZg=='}}");
	ck_assert_str_eq(text_at(named, PRIMARY), text_at(first, PRIMARY));
	ck_assert_str_eq(text_at(named, SECONDARY), "MDEyMzQ1Njc4OWFiY2RlZg==");
	rig_stop(&rig);
}
END_TEST

START_TEST(put_changes_the_kind_of_credential)
{
	start();
	_cleanup_json_ json_t *sas = create("{'deviceId': 'd1'}");
	_cleanup_json_ json_t *secret = put("d1", "{'auth': {'type': 'secret'}}");
	ck_assert_int_eq(connects("d1", text_at(secret, "/auth/secret")), 0);
	ck_assert_int_lt(connects("d1", connect_with(sas, PRIMARY)), 0);
	_cleanup_json_ json_t *kept = put("d1", "{'auth': {'type': 'secret'}}");
	assert_json_at(kept, "/auth", "{'type': 'secret'}");
	ck_assert_int_eq(connects("d1", text_at(secret, "/auth/secret")), 0);
	_cleanup_json_ json_t *untouched = put("d1", "{}");
	assert_json_at(untouched, "/auth", "{'type': 'secret'}");
	_cleanup_json_ json_t *back = put("d1", "{'auth': {'type': 'sas'}}");
	ck_assert_str_ne(text_at(back, PRIMARY), text_at(sas, PRIMARY));
	ck_assert_int_eq(connects("d1", connect_with(back, SECONDARY)), 0);
	ck_assert_int_lt(connects("d1", text_at(secret, "/auth/secret")), 0);
	rig_stop(&rig);
}
END_TEST

/* ---- PATCH ---- */

START_TEST(patch_merges)
{
	start();
	_cleanup_json_ json_t *a = create("{'deviceId': 'd1', 'statusReason': 'x', "
	                                  "'tags': {'a': 1, 'b': {'c': 2}}}");
	_cleanup_json_ json_t *b = patch("d1", "{'tags': {'a': null, 'b': {'d': 3}}}");
	assert_json_at(b, "/tags", "{'b': {'c': 2, 'd': 3}}");
	assert_json_at(b, "/statusReason", "'x'");
	ck_assert(json_equal((json_t *)at(a, "/auth"), (json_t *)at(b, "/auth")));
	_cleanup_json_ json_t *c = patch("d1", "{'statusReason': null, 'status': 'disabled'}");
	assert_json_at(c, "/statusReason", "null");
	assert_json_at(c, "/status", "'disabled'");
	assert_json_at(c, "/tags", "{'b': {'c': 2, 'd': 3}}");
	_cleanup_json_ json_t *d = patch("d1", "{'tags': null, 'deviceId': 'd1'}");
	assert_json_at(d, "/tags", "{}");
	assert_json_at(d, "/status", "'disabled'");
	rig_stop(&rig);
}
END_TEST

START_TEST(patch_of_credentials)
{
	start();
	_cleanup_json_ json_t *a = create("{'deviceId': 'd1'}");
	_cleanup_json_ json_t *b = patch("d1", "{'auth': {'primaryKey': null}}");
	ck_assert_str_ne(text_at(b, PRIMARY), text_at(a, PRIMARY));
	ck_assert_str_eq(text_at(b, SECONDARY), text_at(a, SECONDARY));
	_cleanup_json_ json_t *c = patch("d1", "{'auth': {'type': 'secret'}}");
	ck_assert_int_eq(connects("d1", text_at(c, "/auth/secret")), 0);
	_cleanup_json_ json_t *d = patch("d1", "{'tags': {'x': 1}}");
	assert_json_at(d, "/auth", "{'type': 'secret'}");
	ck_assert_int_eq(connects("d1", text_at(c, "/auth/secret")), 0);
	_cleanup_json_ json_t *e = patch("d1", "{'auth': {'secret': null}}");
	ck_assert_str_ne(text_at(c, "/auth/secret"), text_at(e, "/auth/secret"));
	ck_assert_int_lt(connects("d1", text_at(c, "/auth/secret")), 0);
	ck_assert_int_eq(connects("d1", text_at(e, "/auth/secret")), 0);
	_cleanup_json_ json_t *f = patch("d1", "{'auth': {'secret': 'fedcba9876543210'}}");
	assert_json_at(f, "/auth", "{'type': 'secret'}");
	ck_assert_int_eq(connects("d1", "fedcba9876543210"), 0);
	_cleanup_json_ json_t *g = patch("d1", "{'auth': {'type': 'sas'}}");
	ck_assert_int_eq(connects("d1", connect_with(g, PRIMARY)), 0);
	rig_stop(&rig);
}
END_TEST

static const struct {
	const char *patch, *pointers;
} bad_patches[] = {
        {"[]", ""},
        {"null", ""},
        {"{'auth': null}", "/auth"},
        {"{'auth': []}", "/auth"},
        {"{'auth': {'type': null}}", "/auth/type"},
        {"{'auth': {'secret': '0123456789abcdef'}}", "/auth/secret"},
        {"{'auth': {'type': 'secret', 'primaryKey': 'x'}}", "/auth/primaryKey"},
        {"{'deviceId': 'd2'}", "/deviceId"},
        {"{'color': 1}", "/color"},
        {"{'status': 1, 'tags': {'a': {'$b': 1}}}", "/status /tags/a/$b"},
};

START_TEST(patches_that_are_refused)
{
	start();
	_cleanup_json_ json_t *before = create("{'deviceId': 'd1'}");
	for (unsigned i = 0; i < ARRAY_LEN(bad_patches); i++) {
		_cleanup_json_ json_t *in = doc(bad_patches[i].patch), *errors = json_array();
		json_t *out = NULL;
		ck_assert_msg(registry_device_patch(rig.registry, SLICE_LIT("d1"), in, always,
		                      errors, &out) == ERR_INVALID,
		        "%s", bad_patches[i].patch);
		ck_assert_str_eq(pointers(errors), bad_patches[i].pointers);
		ck_assert_ptr_null(out);
	}
	_cleanup_json_ json_t *after = shown("d1", true);
	ck_assert(json_equal(before, after));
	json_t *out = NULL;
	ck_assert_int_eq(patch_if("d2", "{}", always, &out), ERR_NOT_FOUND);
	rig_stop(&rig);
}
END_TEST

/* ---- conditions, races ---- */

START_TEST(conditions)
{
	const struct registry_condition any = {.if_match = "*"}, none = {.if_none_match_any = true};
	struct registry_condition stale = {.if_match = "old"};
	json_t *out = NULL;
	bool created;

	start();
	ck_assert_int_eq(put_if("d1", "{}", any, &out, &created), ERR_STALE);
	ck_assert_int_eq(put_if("d1", "{}", stale, &out, &created), ERR_STALE);
	ck_assert_int_eq(put_if("d1", "{}", none, &out, &created), 0);
	_cleanup_json_ json_t *first = TAKE_PTR(out);
	const struct registry_condition fresh = {.if_match = text_at(first, "/etag")};
	ck_assert_int_eq(put_if("d1", "{}", none, &out, &created), ERR_STALE);
	ck_assert_int_eq(put_if("d1", "{}", stale, &out, &created), ERR_STALE);
	ck_assert_int_eq(patch_if("d1", "{}", stale, &out), ERR_STALE);
	ck_assert_int_eq(patch_if("d1", "{}", none, &out), ERR_STALE);
	ck_assert_int_eq(
	        registry_device_regenerate(rig.registry, SLICE_LIT("d1"), true, stale, &out),
	        ERR_STALE);
	ck_assert_int_eq(registry_device_delete(rig.registry, SLICE_LIT("d1"), stale), ERR_STALE);
	ck_assert_int_eq(put_if("d1", "{}", fresh, &out, &created), 0);
	json_decref(TAKE_PTR(out));
	ck_assert_int_eq(patch_if("d1", "{}", fresh, &out), ERR_STALE);
	ck_assert_int_eq(patch_if("d1", "{}", any, &out), 0);
	json_decref(TAKE_PTR(out));
	ck_assert_int_eq(registry_device_delete(rig.registry, SLICE_LIT("d1"), any), 0);
	ck_assert_int_eq(registry_device_delete(rig.registry, SLICE_LIT("d1"), any), ERR_NOT_FOUND);
	rig_stop(&rig);
}
END_TEST

START_TEST(writers_that_race)
{
	json_t *out = NULL;
	bool created;

	start();
	_cleanup_json_ json_t *first = create("{'deviceId': 'd1', 'auth': {'type': 'secret'}}");
	/* Without a condition, a write that lost is tried again; what it made is shown. */
	rig.store.racers = 2;
	_cleanup_json_ json_t *second = patch("d1", "{'auth': {'secret': null}}");
	ck_assert_int_eq(connects("d1", text_at(second, "/auth/secret")), 0);
	rig.store.racers = 2;
	_cleanup_json_ json_t *third = put("d1", "{'auth': {'type': 'sas'}}");
	ck_assert_int_eq(connects("d1", connect_with(third, PRIMARY)), 0);
	rig.store.racers = 2;
	_cleanup_json_ json_t *fourth = put("d1", "{'auth': {'type': 'secret'}, 'tags': {'a': 1}}");
	ck_assert_int_eq(connects("d1", text_at(fourth, "/auth/secret")), 0);
	assert_json_at(fourth, "/tags", "{'a': 1}");
	/* With one, it is stale. */
	const struct registry_condition cond = {.if_match = text_at(fourth, "/etag")};
	rig.store.racers = 1;
	ck_assert_int_eq(put_if("d1", "{}", cond, &out, &created), ERR_STALE);
	rig.store.racers = 100;
	ck_assert_int_eq(put_if("d1", "{}", always, &out, &created), ERR_CONFLICT);
	rig_stop(&rig);
}
END_TEST

/* ---- regenerate, delete ---- */

START_TEST(regenerated_keys)
{
	json_t *out = NULL;

	start();
	_cleanup_json_ json_t *a = create("{'deviceId': 'd1'}");
	ck_assert_int_eq(connects("d1", connect_with(a, PRIMARY)), 0); /* cached */
	ck_assert_int_eq(
	        registry_device_regenerate(rig.registry, SLICE_LIT("d1"), true, always, &out), 0);
	_cleanup_json_ json_t *b = TAKE_PTR(out);
	ck_assert_str_ne(text_at(a, PRIMARY), text_at(b, PRIMARY));
	ck_assert_str_eq(text_at(a, SECONDARY), text_at(b, SECONDARY));
	ck_assert_int_lt(connects("d1", connect_with(a, PRIMARY)), 0);
	ck_assert_int_eq(connects("d1", connect_with(b, PRIMARY)), 0);
	ck_assert_int_eq(connects("d1", connect_with(a, SECONDARY)), 0);
	ck_assert_int_eq(
	        registry_device_regenerate(rig.registry, SLICE_LIT("d1"), false, always, &out), 0);
	_cleanup_json_ json_t *c = TAKE_PTR(out);
	ck_assert_str_eq(text_at(b, PRIMARY), text_at(c, PRIMARY));
	ck_assert_str_ne(text_at(b, SECONDARY), text_at(c, SECONDARY));
	ck_assert_int_eq(
	        registry_device_regenerate(rig.registry, SLICE_LIT("d2"), true, always, &out),
	        ERR_NOT_FOUND);
	_cleanup_json_ json_t *s = create("{'deviceId': 's', 'auth': {'type': 'secret'}}");
	ck_assert_int_eq(
	        registry_device_regenerate(rig.registry, SLICE_LIT("s"), true, always, &out),
	        ERR_CONFLICT);
	rig_stop(&rig);
}
END_TEST

START_TEST(deleted_devices)
{
	uint64_t key;

	start();
	_cleanup_json_ json_t *a = create("{'deviceId': 'd1'}");
	ck_assert_int_eq(connects("d1", connect_with(a, PRIMARY)), 0);
	ck_assert_int_eq(registry_device_key(rig.registry, SLICE_LIT("d1"), &key), 0);
	ck_assert_int_eq(registry_device_delete(rig.registry, SLICE_LIT("d1"), always), 0);
	ck_assert(told.gone);
	ck_assert_uint_eq(told.device_key, key);
	ck_assert_str_eq(told.id, "d1");
	ck_assert_int_lt(connects("d1", connect_with(a, PRIMARY)), 0);
	_cleanup_json_ json_t *b = create("{'deviceId': 'd1'}");
	ck_assert_str_ne(text_at(a, "/generationId"), text_at(b, "/generationId"));
	ck_assert_int_lt(connects("d1", connect_with(a, PRIMARY)), 0);
	ck_assert_int_eq(connects("d1", connect_with(b, PRIMARY)), 0);
	rig_stop(&rig);
}
END_TEST

UNIT_MAIN("devices", created_with_keys, created_with_given_credentials, not_created_twice, lists,
        put_keeps_what_it_does_not_name, put_changes_the_kind_of_credential, patch_merges,
        patch_of_credentials, patches_that_are_refused, conditions, writers_that_race,
        regenerated_keys, deleted_devices)
