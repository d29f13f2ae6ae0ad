#include "registry/cache.h"

#include "server/base/cleanup.h"
#include "tests/unit/base/unit.h"

static struct identity *make(enum entity kind, const char *id, uint64_t epoch)
{
	struct identity_lookup l = {.kind = kind};
	snprintf(l.id, sizeof(l.id), "%s", id);
	if (kind == ENTITY_KEY) {
		l.key.perms = 0xff;
		l.key.primary = (struct sym_key){{1, 2, 3}, 3};
	} else {
		l.device.enabled = true;
		l.device.device_key = 7;
		l.device.primary = (struct sym_key){{1, 2, 3}, 3};
		l.device.secondary = (struct sym_key){{4, 5}, 2};
	}
	struct identity *i = identity_new(&l, epoch, &(struct registry_hooks){0});
	ck_assert_ptr_nonnull(i);
	return i;
}

static void put(struct cache *c, enum entity kind, const char *id, uint64_t epoch)
{
	struct identity *i = make(kind, id, epoch);
	cache_put(c, i);
	identity_unref(i);
}

static struct identity *get(struct cache *c, enum entity kind, const char *id, uint64_t epoch)
{
	char text[IDENTITY_NAME_MAX];
	return cache_get(c, identity_name_write(kind, slice_str(id), text), epoch);
}

static void forget(struct cache *c, enum entity kind, const char *id)
{
	char text[IDENTITY_NAME_MAX];
	cache_forget(c, identity_name_write(kind, slice_str(id), text));
}

START_TEST(identities)
{
	struct identity *d = make(ENTITY_DEVICE, "d1", 1), *k = make(ENTITY_KEY, "d1", 1);
	uint8_t tag[CREDENTIAL_TAG_LEN];

	assert_slice(identity_name(d), "dd1");
	assert_slice(identity_name(k), "kd1");
	ck_assert(slice_eq(identity_key(d, 0), slice_make((uint8_t[]){1, 2, 3}, 3)));
	ck_assert(slice_eq(identity_key(d, 1), slice_make((uint8_t[]){4, 5}, 2)));
	ck_assert_uint_eq(identity_key(k, 1).n, 0);
	ck_assert_uint_eq(k->perms, PERM_ALL_KEY);
	identity_credential_tag(identity_key(d, 1), tag);
	ck_assert(identity_has_credential(d, tag));
	ck_assert(!identity_has_credential(k, tag));
	/* Nobody has the empty credential, although k has an empty key. */
	identity_credential_tag((struct slice){0}, tag);
	ck_assert(!identity_has_credential(k, tag));
	identity_unref(d);
	identity_unref(k);
}
END_TEST

START_TEST(devices_and_keys_apart)
{
	struct cache c;
	cache_init(&c, 16);
	put(&c, ENTITY_DEVICE, "a", 1);
	ck_assert_ptr_nonnull(get(&c, ENTITY_DEVICE, "a", 1));
	ck_assert_ptr_null(get(&c, ENTITY_KEY, "a", 1));
	put(&c, ENTITY_KEY, "a", 1);
	forget(&c, ENTITY_DEVICE, "a");
	ck_assert_ptr_null(get(&c, ENTITY_DEVICE, "a", 1));
	ck_assert_ptr_nonnull(get(&c, ENTITY_KEY, "a", 1));
	cache_done(&c);
}
END_TEST

START_TEST(the_least_recently_used_goes)
{
	struct cache c;
	cache_init(&c, 3);
	put(&c, ENTITY_DEVICE, "a", 1);
	put(&c, ENTITY_DEVICE, "b", 1);
	put(&c, ENTITY_DEVICE, "c", 1);
	ck_assert_ptr_nonnull(get(&c, ENTITY_DEVICE, "a", 1));
	put(&c, ENTITY_DEVICE, "d", 1);
	ck_assert_ptr_null(get(&c, ENTITY_DEVICE, "b", 1));
	ck_assert_ptr_nonnull(get(&c, ENTITY_DEVICE, "c", 1));
	put(&c, ENTITY_DEVICE, "c", 1); /* again: nothing has to go */
	ck_assert_uint_eq(map_count(&c.map), 3);
	ck_assert_ptr_nonnull(get(&c, ENTITY_DEVICE, "a", 1));
	cache_set_max(&c, 1);
	put(&c, ENTITY_DEVICE, "e", 1);
	ck_assert_uint_eq(map_count(&c.map), 1);
	cache_done(&c);
}
END_TEST

START_TEST(another_epoch)
{
	struct cache c;
	cache_init(&c, 3);
	put(&c, ENTITY_DEVICE, "a", 1);
	ck_assert_ptr_null(get(&c, ENTITY_DEVICE, "a", 2));
	ck_assert_ptr_null(get(&c, ENTITY_DEVICE, "a", 1));
	ck_assert_uint_eq(map_count(&c.map), 0);
	cache_done(&c);
}
END_TEST

START_TEST(what_is_held_stays_reachable)
{
	struct cache c;
	cache_init(&c, 2);
	put(&c, ENTITY_DEVICE, "held", 1);
	struct identity *held = identity_ref(get(&c, ENTITY_DEVICE, "held", 1));
	for (unsigned i = 0; i < 10; i++)
		put(&c, ENTITY_DEVICE, (char[]){(char)('a' + i), '\0'}, 1);
	ck_assert_uint_eq(map_count(&c.map), 2);
	ck_assert(!held->forgotten);
	forget(&c, ENTITY_DEVICE, "held");
	ck_assert(held->forgotten);
	identity_unref(held);

	put(&c, ENTITY_DEVICE, "x", 1);
	held = identity_ref(get(&c, ENTITY_DEVICE, "x", 1));
	put(&c, ENTITY_DEVICE, "x", 1);
	ck_assert(held->forgotten);
	identity_unref(held);

	/* All are held: the cache grows rather than lose one. */
	struct identity *all[4];
	cache_forget_all(&c);
	for (unsigned i = 0; i < ARRAY_LEN(all); i++) {
		const char id[] = {(char)('a' + i), '\0'};
		put(&c, ENTITY_DEVICE, id, 1);
		all[i] = identity_ref(get(&c, ENTITY_DEVICE, id, 1));
	}
	ck_assert_uint_eq(map_count(&c.map), 4);
	cache_forget_all(&c);
	for (unsigned i = 0; i < ARRAY_LEN(all); i++) {
		ck_assert(all[i]->forgotten);
		identity_unref(all[i]);
	}
	cache_done(&c);
}
END_TEST

UNIT_MAIN("cache", identities, devices_and_keys_apart, the_least_recently_used_goes, another_epoch,
        what_is_held_stays_reachable)
