#include "tests/unit/registry/rig.h"

#define KEY "the primary key of d1"
#define SECOND "the secondary key"
#define SECRET "a secret of sixteen or more"
#define APP "the application's key"

static struct rig rig;

struct checked {
	struct mail mail;
	struct mail_wait wait;
	struct recheck_request req;
};

static void checked_done(struct recheck_request *req)
{
	principal_unref(req->fresh);
	mail_wait_done(req->user);
}

static void checked_deliver(struct mail *m)
{
	struct checked *c = container_of(m, struct checked, mail);
	registry_recheck(rig.registry, &c->req);
}

static void checked_init(struct checked *c, struct principal *p)
{
	memset(c, 0, sizeof(*c));
	ck_assert_int_eq(mail_wait_init(&c->wait, 1), 0);
	c->mail.deliver = checked_deliver;
	c->req.loop = rig.loops[0];
	c->req.principal = p;
	c->req.done = checked_done;
	c->req.user = &c->wait;
}

static void checked_post(struct checked *c, struct principal *p)
{
	checked_init(c, p);
	mail_send(loop_mailbox(c->req.loop), &c->mail);
}

static int checked_wait(struct checked *c)
{
	ck_assert(mail_wait_for(&c->wait, RIG_WAIT_MS));
	mail_wait_free(&c->wait);
	return c->req.err;
}

/* An identity has changed: asks for the principal again, as the broker would. */
static int recheck(struct principal *p, enum entity kind, const char *id, enum end_reason *ret_end)
{
	struct checked c;
	registry_forget(rig.registry, kind, slice_str(id), true);
	checked_post(&c, p);
	int err = checked_wait(&c);
	*ret_end = c.req.end;
	return err;
}

#define check(p, kind, id, want_err, want_end)                           \
	do {                                                             \
		enum end_reason end_;                                    \
		ck_assert_int_eq(recheck(p, kind, id, &end_), want_err); \
		ck_assert_int_eq(end_, want_end);                        \
	} while (0)

static struct principal *let_in(const char *client_id, const char *username, const char *password)
{
	struct asked a;
	asked_init(&a, &rig, client_id, username, password);
	asked_post(&a, 0);
	ck_assert_int_eq(asked_wait(&a), 0);
	return a.req.principal;
}

static struct principal *let_in_by_key(const char *client_id, const char *username, const char *skn)
{
	char token[TOKEN_MAX];
	token_for(token, SLICE_LIT(APP), "hub.test", soon(), skn);
	return let_in(client_id, username, token);
}

static void start(void)
{
	rig_start(&rig, 1, 5000);
	rig_add_device(&rig, "d1", KEY);
	rig_add_secret(&rig, "s1", SECRET);
	rig_add_key(&rig, "all", APP, PERM_ALL_KEY);
}

START_TEST(a_device_by_its_key)
{
	start();
	struct principal *p = let_in("d1", "d1", device_token("d1", KEY));

	check(p, ENTITY_DEVICE, "d1", 0, END_NORMAL);
	rig_change_device(&rig, "d1", device->secondary = rig_key("a new secondary key"));
	check(p, ENTITY_DEVICE, "d1", 0, END_NORMAL);
	rig_change_device(&rig, "d1", device->enabled = false);
	check(p, ENTITY_DEVICE, "d1", ERR_UNAUTHENTICATED, END_DISABLED);
	rig_change_device(&rig, "d1", device->enabled = true);
	check(p, ENTITY_DEVICE, "d1", 0, END_NORMAL);
	/* The same key in the other place is the same key. */
	rig_change_device(&rig, "d1", {
		device->secondary = device->primary;
		device->primary = rig_key("a new primary key");
	});
	check(p, ENTITY_DEVICE, "d1", 0, END_NORMAL);
	rig_change_device(&rig, "d1", device->secondary = rig_key("another new key"));
	check(p, ENTITY_DEVICE, "d1", ERR_UNAUTHENTICATED, END_CREDENTIAL_REVOKED);
	principal_unref(p);
	rig_stop(&rig);
}
END_TEST

/* Asked for what it may as the publisher of what is retained: its credential does not matter. */
static int recheck_identity(struct principal *p)
{
	struct checked c;
	registry_forget(rig.registry, ENTITY_DEVICE, SLICE_LIT("d1"), true);
	checked_init(&c, p);
	c.req.identity_alone = true;
	mail_send(loop_mailbox(c.req.loop), &c.mail);
	int err = checked_wait(&c);
	principal_unref(c.req.fresh);
	return err;
}

START_TEST(an_identity_alone)
{
	start();
	struct principal *p = let_in("d1", "d1", device_token("d1", KEY));

	rig_change_device(&rig, "d1", device->primary = rig_key("a new primary key"));
	check(p, ENTITY_DEVICE, "d1", ERR_UNAUTHENTICATED, END_CREDENTIAL_REVOKED);
	ck_assert_int_eq(recheck_identity(p), 0);
	rig_change_device(&rig, "d1", device->enabled = false);
	ck_assert_int_eq(recheck_identity(p), ERR_UNAUTHENTICATED);
	ck_assert_int_eq(fake_device_delete(&rig.store, "d1", (struct store_match){0}), 0);
	ck_assert_int_eq(recheck_identity(p), ERR_NOT_FOUND);
	principal_unref(p);
	rig_stop(&rig);
}
END_TEST

START_TEST(a_generation_that_is_gone)
{
	start();
	struct principal *p = let_in("d1", "d1", device_token("d1", KEY));

	ck_assert_int_eq(fake_device_delete(&rig.store, "d1", (struct store_match){0}), 0);
	check(p, ENTITY_DEVICE, "d1", ERR_NOT_FOUND, END_DISABLED);
	/* Made again with the same key, it is another device. */
	rig_add_device(&rig, "d1", KEY);
	check(p, ENTITY_DEVICE, "d1", ERR_NOT_FOUND, END_DISABLED);
	principal_unref(p);
	rig_stop(&rig);
}
END_TEST

START_TEST(a_device_by_its_secret)
{
	start();
	struct principal *p = let_in("s1", "s1", SECRET);

	check(p, ENTITY_DEVICE, "s1", 0, END_NORMAL);
	rig_change_device(&rig, "s1", device->secret_mac[0] ^= 1);
	check(p, ENTITY_DEVICE, "s1", ERR_UNAUTHENTICATED, END_CREDENTIAL_REVOKED);
	rig_change_device(&rig, "s1", {
		device->auth = DEVICE_AUTH_SAS;
		device->primary = rig_key(KEY);
	});
	check(p, ENTITY_DEVICE, "s1", ERR_UNAUTHENTICATED, END_CREDENTIAL_REVOKED);
	principal_unref(p);
	rig_stop(&rig);
}
END_TEST

static void change_key(uint32_t perms, const char *primary)
{
	pthread_mutex_lock(&rig.store.mutex);
	rig.store.keys[0].perms = perms;
	rig.store.keys[0].primary = rig_key(primary);
	pthread_mutex_unlock(&rig.store.mutex);
}

START_TEST(a_device_by_an_access_key)
{
	start();
	struct principal *p = let_in_by_key("d1", "d1", "all");

	check(p, ENTITY_KEY, "all", 0, END_NORMAL);
	/* The device's own keys are nothing to it. */
	rig_change_device(&rig, "d1", device->primary = rig_key("a new primary key"));
	check(p, ENTITY_DEVICE, "d1", 0, END_NORMAL);
	change_key(PERM_SERVICE_CONNECT, APP);
	check(p, ENTITY_KEY, "all", ERR_UNAUTHENTICATED, END_CREDENTIAL_REVOKED);
	change_key(PERM_DEVICE_CONNECT, "a new access key");
	check(p, ENTITY_KEY, "all", ERR_UNAUTHENTICATED, END_CREDENTIAL_REVOKED);
	change_key(PERM_DEVICE_CONNECT, APP);
	check(p, ENTITY_KEY, "all", 0, END_NORMAL);
	rig_change_device(&rig, "d1", device->enabled = false);
	check(p, ENTITY_DEVICE, "d1", ERR_UNAUTHENTICATED, END_DISABLED);
	rig_change_device(&rig, "d1", device->enabled = true);
	ck_assert_int_eq(fake_access_key_delete(&rig.store, "all", (struct store_match){0}), 0);
	registry_forget(rig.registry, ENTITY_DEVICE, SLICE_LIT("d1"), true);
	check(p, ENTITY_KEY, "all", ERR_UNAUTHENTICATED, END_CREDENTIAL_REVOKED);
	principal_unref(p);
	rig_stop(&rig);
}
END_TEST

START_TEST(a_back_end)
{
	start();
	struct principal *p = let_in_by_key("app", "key/all", "all");

	check(p, ENTITY_KEY, "all", 0, END_NORMAL);
	change_key(PERM_DEVICE_CONNECT | PERM_REGISTRY_READ, APP);
	check(p, ENTITY_KEY, "all", ERR_UNAUTHENTICATED, END_CREDENTIAL_REVOKED);
	change_key(PERM_SERVICE_CONNECT, "a new access key");
	check(p, ENTITY_KEY, "all", ERR_UNAUTHENTICATED, END_CREDENTIAL_REVOKED);
	ck_assert_int_eq(fake_access_key_delete(&rig.store, "all", (struct store_match){0}), 0);
	check(p, ENTITY_KEY, "all", ERR_NOT_FOUND, END_DISABLED);
	principal_unref(p);
	rig_stop(&rig);
}
END_TEST

START_TEST(others_have_nothing_to_lose)
{
	start();
	struct slice none = {0};
	struct principal *p = principal_new(PRINCIPAL_ANONYMOUS, none, none);

	check(p, ENTITY_DEVICE, "d1", 0, END_NORMAL);
	principal_unref(p);
	rig_stop(&rig);
}
END_TEST

/* The connection goes on while the database is away, and ends when it tells. */
START_TEST(waits_for_the_database)
{
	struct checked c;

	start();
	struct principal *p = let_in("d1", "d1", device_token("d1", KEY));
	rig_change_device(&rig, "d1", device->enabled = false);
	registry_forget(rig.registry, ENTITY_DEVICE, SLICE_LIT("d1"), true);
	fake_set_err(&rig.store, ERR_UNAVAILABLE);
	unsigned before = fake_lookups(&rig.store);
	checked_post(&c, p);
	while (fake_lookups(&rig.store) < before + 3)
		registry_forget(rig.registry, ENTITY_DEVICE, SLICE_LIT("x"), true);
	fake_set_err(&rig.store, 0);
	ck_assert_int_eq(checked_wait(&c), ERR_UNAUTHENTICATED);
	ck_assert_int_eq(c.req.end, END_DISABLED);
	fake_set_err(&rig.store, ERR_CORRUPT);
	check(p, ENTITY_DEVICE, "d1", ERR_UNAVAILABLE, END_NORMAL);
	principal_unref(p);
	rig_stop(&rig);
}
END_TEST

/* This process disables a device while its change feed is down: that ends the connection all the
 * same, and at once. */
START_TEST(does_not_wait_for_the_feed)
{
	start();
	struct principal *p = let_in("d1", "d1", device_token("d1", KEY));

	fake_set_feed(&rig.store, false);
	check(p, ENTITY_DEVICE, "d1", 0, END_NORMAL);
	rig_change_device(&rig, "d1", device->enabled = false);
	check(p, ENTITY_DEVICE, "d1", ERR_UNAUTHENTICATED, END_DISABLED);
	principal_unref(p);
	rig_stop(&rig);
}
END_TEST

UNIT_MAIN("recheck", a_device_by_its_key, an_identity_alone, a_generation_that_is_gone,
        a_device_by_its_secret, a_device_by_an_access_key, a_back_end, others_have_nothing_to_lose,
        waits_for_the_database, does_not_wait_for_the_feed)
