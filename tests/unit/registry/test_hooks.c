/* What the registry asks of policy when somebody comes and when he is judged again; modules. */
#include "tests/unit/registry/rig.h"

#define KEY "the primary key of d1"
#define MODULE_KEY "the key of a module"

static struct rig rig;

/* Policy, as it is played here: written while no loop is at it. */
static struct {
	_Atomic uint64_t version;
	atomic_bool stale;
	_Atomic(enum deny_reason) connect, attempt, outcome;
	atomic_uint made, freed, outcomes;
	char id[300], key[100];
} fake_policy;

static void part_free(struct access *a)
{
	atomic_fetch_add(&fake_policy.freed, 1);
	free(a);
}

static struct access *make_part(void *ctx HF_UNUSED, const struct access_source *source)
{
	struct access *a = calloc(1, sizeof(*a));
	ck_assert_uint_gt(source->id.n, 0);
	atomic_init(&a->refs, 1);
	a->version = fake_policy.version;
	a->free = part_free;
	atomic_fetch_add(&fake_policy.made, 1);
	return a;
}

static uint64_t version_now(void *ctx HF_UNUSED)
{
	return fake_policy.version;
}

static bool rules_fresh(void *ctx HF_UNUSED)
{
	return !fake_policy.stale;
}

static enum deny_reason may_connect(
        void *ctx HF_UNUSED, const struct principal *p, const struct auth_request *req HF_UNUSED)
{
	ck_assert(p->resolved && p->has_source);
	return fake_policy.connect;
}

static enum deny_reason attempt(
        void *ctx HF_UNUSED, const char *peer, struct slice id, struct slice key)
{
	ck_assert_str_eq(peer, "192.0.2.7:4711");
	snprintf(fake_policy.id, sizeof(fake_policy.id), "%.*s", SLICE_ARG(id));
	snprintf(fake_policy.key, sizeof(fake_policy.key), "%.*s", SLICE_ARG(key));
	return fake_policy.attempt;
}

static void outcome(void *ctx HF_UNUSED, const char *peer HF_UNUSED, struct slice id HF_UNUSED,
        struct slice key HF_UNUSED, enum deny_reason why)
{
	fake_policy.outcome = why;
	atomic_fetch_add(&fake_policy.outcomes, 1);
}

static void start(unsigned lookup_ms)
{
	static const struct registry_hooks hooks = {
	        .access_make = make_part,
	        .access_version = version_now,
	        .access_fresh = rules_fresh,
	        .may_connect = may_connect,
	        .attempt = attempt,
	        .outcome = outcome,
	};
	memset(&fake_policy, 0, sizeof(fake_policy));
	rig = (struct rig){.hooks = &hooks};
	rig_start(&rig, 1, lookup_ms);
	rig_add_device(&rig, "d1", KEY);
	rig_add_device(&rig, "d1/m1", MODULE_KEY);
	rig_add_key(&rig, "all", "the application's key", PERM_ALL_KEY);
}

static void stop(void)
{
	rig_stop(&rig);
	ck_assert_uint_eq(fake_policy.made, fake_policy.freed);
}

static struct principal *come(const char *id, const char *password, enum deny_reason *ret)
{
	struct asked a;
	asked_init(&a, &rig, id, id, password);
	snprintf(a.req.peer, sizeof(a.req.peer), "192.0.2.7:4711");
	asked_post(&a, 0);
	asked_wait(&a);
	*ret = a.req.reason;
	return a.req.principal;
}

static enum deny_reason refused(const char *id, const char *password)
{
	enum deny_reason why;
	ck_assert_ptr_null(come(id, password, &why));
	return why;
}

static struct principal *let_in(const char *id, const char *password)
{
	enum deny_reason why;
	struct principal *p = come(id, password, &why);
	ck_assert_msg(p != NULL, "%s", deny_name(why));
	return p;
}

static const char *module_token(const char *key)
{
	static char token[TOKEN_MAX];
	return token_for(
	        token, slice_str(key), "hub.test%2Fdevices%2Fd1%2Fmodules%2Fm1", soon(), NULL);
}

/* ---- judging again ---- */

struct checked {
	struct mail mail;
	struct mail_wait wait;
	struct recheck_request req;
};

static void checked_done(struct recheck_request *req)
{
	mail_wait_done(req->user);
}

static void checked_deliver(struct mail *m)
{
	registry_recheck(rig.registry, &container_of(m, struct checked, mail)->req);
}

/* *ret: the fresh principal, if there is one. */
static int again(struct principal *p, struct principal **ret, enum end_reason *ret_end)
{
	struct checked c = {.mail.deliver = checked_deliver,
	        .req = {.loop = rig.loops[0], .principal = p, .done = checked_done}};
	ck_assert_int_eq(mail_wait_init(&c.wait, 1), 0);
	c.req.user = &c.wait;
	mail_send(loop_mailbox(rig.loops[0]), &c.mail);
	ck_assert(mail_wait_for(&c.wait, RIG_WAIT_MS));
	mail_wait_free(&c.wait);
	*ret = c.req.fresh;
	*ret_end = c.req.end;
	return c.req.err;
}

/* ---- tests ---- */

START_TEST(parts_of_a_principal)
{
	char token[TOKEN_MAX];

	start(5000);
	struct principal *p = let_in("d1", device_token("d1", KEY));
	ck_assert(p->access[0] && !p->access[1]);
	ck_assert_int_eq(p->method, AUTH_METHOD_SAS);
	ck_assert(p->resolved && p->has_source && !p->source.v6);
	principal_unref(p);
	p = let_in("d1/m1", module_token(MODULE_KEY));
	ck_assert(p->access[0] && p->access[1] && !p->access[2]);
	ck_assert(p->module_key && p->device_key && p->module_key != p->device_key);
	assert_slice(principal_device_id(p), "d1");
	principal_unref(p);
	token_for(token, SLICE_LIT("the application's key"), "hub.test", soon(), "all");
	p = let_in("d1/m1", token);
	ck_assert(p->access[0] && p->access[1] && p->access[2]);
	ck_assert_int_eq(p->method, AUTH_METHOD_ACCESS_KEY);
	ck_assert_str_eq(fake_policy.id, "d1/m1");
	ck_assert_str_eq(fake_policy.key, "all");
	principal_unref(p);
	stop();
}
END_TEST

START_TEST(asked_before_and_after)
{
	start(5000);
	fake_policy.attempt = DENY_BANNED;
	ck_assert_int_eq(refused("d1", device_token("d1", KEY)), DENY_BANNED);
	ck_assert_int_eq(refused("d1", "SharedAccessSignature x"), DENY_BANNED);
	ck_assert_uint_eq(fake_lookups(&rig.store), 0);
	fake_policy.attempt = DENY_NONE;
	fake_policy.connect = DENY_IP_RULE;
	ck_assert_int_eq(refused("d1", device_token("d1", KEY)), DENY_IP_RULE);
	ck_assert_int_eq(fake_policy.outcome, DENY_IP_RULE);
	ck_assert_int_eq(refused("d1", device_token("d1", "wrong")), DENY_TOKEN_SIGNATURE);
	ck_assert_int_eq(fake_policy.outcome, DENY_TOKEN_SIGNATURE);
	fake_policy.connect = DENY_NONE;
	principal_unref(let_in("d1", device_token("d1", KEY)));
	ck_assert_int_eq(fake_policy.outcome, DENY_NONE);
	ck_assert_uint_eq(fake_policy.outcomes, 5);
	ck_assert_str_eq(fake_policy.id, "d1");
	ck_assert_str_eq(fake_policy.key, "");
	/* A back end counts by its key, which is nobody's device. */
	struct asked a;
	asked_init(&a, &rig, "app", "key/service", "SharedAccessSignature x");
	snprintf(a.req.peer, sizeof(a.req.peer), "192.0.2.7:4711");
	asked_post(&a, 0);
	ck_assert_int_eq(asked_wait(&a), ERR_UNAUTHENTICATED);
	ck_assert_str_eq(fake_policy.id, "");
	ck_assert_str_eq(fake_policy.key, "service");
	stop();
}
END_TEST

START_TEST(nobody_is_let_in_by_rules_that_are_not_fresh)
{
	start(300);
	fake_policy.stale = true;
	ck_assert_int_eq(refused("d1", device_token("d1", KEY)), DENY_UNAVAILABLE);
	fake_policy.stale = false;
	principal_unref(let_in("d1", device_token("d1", KEY)));
	stop();
}
END_TEST

START_TEST(new_rules_make_new_parts)
{
	struct principal *fresh;
	enum end_reason why;

	start(5000);
	struct principal *p = let_in("d1/m1", module_token(MODULE_KEY));
	ck_assert_int_eq(again(p, &fresh, &why), 0);
	ck_assert_ptr_null(fresh); /* nothing has changed */
	fake_policy.version++;
	unsigned before = fake_lookups(&rig.store);
	ck_assert_int_eq(again(p, &fresh, &why), 0);
	ck_assert_ptr_nonnull(fresh);
	ck_assert(slice_eq(principal_id(fresh), principal_id(p)) && fresh->resolved);
	ck_assert(fresh->access[0] != p->access[0] && fresh->access[1]->version == 1);
	ck_assert_mem_eq(fresh->credential_tag, p->credential_tag, sizeof(p->credential_tag));
	ck_assert_uint_eq(fake_lookups(&rig.store), before); /* from what was kept */
	principal_unref(p);
	fake_policy.connect = DENY_POLICY;
	ck_assert_int_eq(again(fresh, &p, &why), ERR_UNAUTHENTICATED);
	ck_assert_ptr_null(p);
	ck_assert_int_eq(why, END_POLICY);
	fake_policy.connect = DENY_BANNED;
	ck_assert_int_eq(again(fresh, &p, &why), ERR_UNAUTHENTICATED);
	ck_assert_int_eq(why, END_BANNED);
	principal_unref(fresh);
	stop();
}
END_TEST

/* Tags that are too long to keep are read again when the rules have changed. */
START_TEST(long_tags_are_read_again)
{
	struct principal *fresh;
	enum end_reason why;
	char tags[3000];

	start(5000);
	memset(tags, ' ', sizeof(tags));
	memcpy(tags, "{}", 2);
	tags[sizeof(tags) - 1] = '\0';
	rig_change_device(&rig, "d1", device->tags = strdup(tags));
	struct principal *p = let_in("d1", device_token("d1", KEY));
	unsigned before = fake_lookups(&rig.store);
	ck_assert_int_eq(again(p, &fresh, &why), 0);
	ck_assert_uint_eq(fake_lookups(&rig.store), before);
	fake_policy.version++;
	ck_assert_int_eq(again(p, &fresh, &why), 0);
	ck_assert_uint_eq(fake_lookups(&rig.store), before + 1);
	ck_assert_ptr_nonnull(fresh);
	principal_unref(fresh);
	principal_unref(p);
	stop();
}
END_TEST

START_TEST(a_module_stands_with_its_device)
{
	struct principal *fresh;
	enum end_reason why;

	start(5000);
	ck_assert_int_eq(refused("d1/m1", module_token(KEY)), DENY_TOKEN_SIGNATURE);
	ck_assert_int_eq(refused("d1/no", device_token("d1/no", KEY)), DENY_TOKEN_SCOPE);
	struct principal *p = let_in("d1/m1", module_token(MODULE_KEY));
	rig_change_device(&rig, "d1", device->enabled = false);
	registry_forget(rig.registry, ENTITY_DEVICE, SLICE_LIT("d1"), true);
	ck_assert_int_eq(again(p, &fresh, &why), ERR_UNAUTHENTICATED);
	ck_assert_int_eq(why, END_DISABLED);
	ck_assert_int_eq(refused("d1/m1", module_token(MODULE_KEY)), DENY_DISABLED);
	rig_change_device(&rig, "d1", device->enabled = true);
	registry_forget(rig.registry, ENTITY_DEVICE, SLICE_LIT("d1"), true);
	/* Made again, it is another one. */
	ck_assert_int_eq(fake_device_delete(&rig.store, "d1/m1", (struct store_match){0}), 0);
	rig_add_device(&rig, "d1/m1", MODULE_KEY);
	registry_forget(rig.registry, ENTITY_DEVICE, SLICE_LIT("d1/m1"), true);
	ck_assert_int_eq(again(p, &fresh, &why), ERR_NOT_FOUND);
	principal_unref(p);
	/* A device made again is not the one that the module belongs to. */
	rig_change_device(&rig, "d1", device->device_key += 1000);
	registry_forget(rig.registry, ENTITY_DEVICE, SLICE_LIT("d1"), true);
	ck_assert_int_eq(refused("d1/m1", module_token(MODULE_KEY)), DENY_UNKNOWN_DEVICE);
	stop();
}
END_TEST

/* A session's row has no credential and no connection: what it may is found out all the same. */
START_TEST(a_principal_that_is_not_resolved)
{
	struct principal *fresh;
	enum end_reason why;

	start(5000);
	struct principal *p = principal_new(PRINCIPAL_DEVICE, SLICE_LIT("d1"), (struct slice){0});
	rig_change_device(&rig, "d1", p->device_key = device->device_key);
	fake_policy.connect = DENY_IP_RULE; /* of nobody who is connected */
	ck_assert_int_eq(again(p, &fresh, &why), 0);
	ck_assert(fresh && fresh->resolved && fresh->access[0]);
	principal_unref(fresh);
	p->device_key++;
	ck_assert_int_eq(again(p, &fresh, &why), ERR_NOT_FOUND);
	principal_unref(p);
	stop();
}
END_TEST

UNIT_MAIN("registry hooks", parts_of_a_principal, asked_before_and_after,
        nobody_is_let_in_by_rules_that_are_not_fresh, new_rules_make_new_parts,
        long_tags_are_read_again, a_module_stands_with_its_device, a_principal_that_is_not_resolved)
