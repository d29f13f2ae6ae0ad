/* A registry over the fake store, with loops that run in threads of their own. */
#ifndef HF_TESTS_UNIT_REGISTRY_RIG_H
#define HF_TESTS_UNIT_REGISTRY_RIG_H

#include "registry/registry.h"
#include "server/base/log.h"
#include "tests/unit/registry/fake_store.h"
#include "tests/unit/registry/tokens.h"

#define RIG_LOOPS 3
#define RIG_WAIT_MS 30000

struct rig {
	struct fake store;
	const struct registry_hooks *hooks; /* NULL: none */
	struct registry *registry;
	unsigned n;
	struct loop *loops[RIG_LOOPS];
	pthread_t threads[RIG_LOOPS];
};

static char *const rig_names[] = {"hub.test", "localhost"};

static inline struct registry_limits rig_limits(unsigned lookup_ms)
{
	return (struct registry_limits){
	        .lookup_ms = lookup_ms,
	        .cache_entries = 16,
	        .hub_names = rig_names,
	        .n_hub_names = 2,
	};
}

static inline void *rig_thread(void *arg)
{
	loop_run(arg);
	crypto_thread_done();
	return NULL;
}

static inline void rig_start(struct rig *rig, unsigned n, unsigned lookup_ms)
{
	const struct registry_limits limits = rig_limits(lookup_ms);
	ck_assert_int_eq(crypto_init(), 0);
	log_configure(LOG_ERROR, false);
	fake_init(&rig->store);
	const struct registry_store store = fake_store(&rig->store);
	rig->n = n;
	for (unsigned i = 0; i < n; i++)
		rig->loops[i] = loop_new(i);
	rig->registry = registry_new(rig->loops, n, &store, rig->hooks, &limits);
	ck_assert_ptr_nonnull(rig->registry);
	for (unsigned i = 0; i < n; i++)
		pthread_create(&rig->threads[i], NULL, rig_thread, rig->loops[i]);
}

static inline void rig_stop(struct rig *rig)
{
	/* Every order that was posted is carried out before the loops stop. */
	registry_forget(rig->registry, ENTITY_DEVICE, SLICE_LIT("nobody"), true);
	for (unsigned i = 0; i < rig->n; i++)
		loop_stop(rig->loops[i]);
	for (unsigned i = 0; i < rig->n; i++)
		pthread_join(rig->threads[i], NULL);
	registry_free(rig->registry);
	for (unsigned i = 0; i < rig->n; i++)
		loop_free(rig->loops[i]);
	fake_done(&rig->store);
}

/* ---- authentication, asked from outside of the loops ---- */

struct asked {
	struct mail mail;
	struct mail_wait wait;
	struct rig *rig;
	struct auth_request req;
	char client_id[300], username[300], password[TOKEN_MAX];
};

static inline void asked_done(struct auth_request *req)
{
	mail_wait_done(req->user);
}

static inline void asked_deliver(struct mail *m)
{
	struct asked *a = container_of(m, struct asked, mail);
	registry_authenticate(a->rig->registry, &a->req);
}

/* NULL: not given. Https: client_id is the device id of the path, password the header. */
static inline void asked_init(struct asked *a, struct rig *rig, const char *client_id,
        const char *username, const char *password)
{
	memset(a, 0, sizeof(*a));
	a->rig = rig;
	snprintf(a->client_id, sizeof(a->client_id), "%s", client_id);
	snprintf(a->username, sizeof(a->username), "%s", username ? username : "");
	snprintf(a->password, sizeof(a->password), "%s", password ? password : "");
	a->req.client_id = a->req.device_id = slice_str(a->client_id);
	a->req.has_username = username != NULL;
	a->req.has_password = password != NULL;
	a->req.username = slice_str(a->username);
	a->req.password = a->req.authorization = slice_str(a->password);
}

static inline void asked_post(struct asked *a, unsigned loop)
{
	ck_assert_int_eq(mail_wait_init(&a->wait, 1), 0);
	a->mail.deliver = asked_deliver;
	a->req.loop = a->rig->loops[loop];
	a->req.done = asked_done;
	a->req.user = &a->wait;
	mail_send(loop_mailbox(a->req.loop), &a->mail);
}

/* Waits for the answer; the principal is the caller's. */
static inline int asked_wait(struct asked *a)
{
	ck_assert(mail_wait_for(&a->wait, RIG_WAIT_MS));
	mail_wait_free(&a->wait);
	return a->req.err;
}

/* Asks and drops the principal. */
static inline int ask(struct rig *rig, unsigned loop, const char *client_id, const char *username,
        const char *password)
{
	struct asked a;
	asked_init(&a, rig, client_id, username, password);
	asked_post(&a, loop);
	int err = asked_wait(&a);
	ck_assert((err == 0) == (a.req.principal != NULL));
	ck_assert((err == 0) == (a.req.reason == DENY_NONE));
	principal_unref(a.req.principal);
	return err;
}

/* ---- records ---- */

static inline struct sym_key rig_key(const char *text)
{
	struct sym_key k = {.len = (uint8_t)strlen(text)};
	memcpy(k.bytes, text, k.len);
	return k;
}

static inline void rig_add_device(struct rig *rig, const char *id, const char *primary)
{
	struct device_record r = {.enabled = true, .primary = rig_key(primary)};
	snprintf(r.id, sizeof(r.id), "%s", id);
	r.secondary = rig_key("the secondary key");
	ck_assert_int_eq(fake_device_insert(&rig->store, &r), 0);
}

static inline void rig_add_secret(struct rig *rig, const char *id, const char *secret)
{
	struct device_record r = {.enabled = true, .auth = DEVICE_AUTH_SECRET};
	char text[512];
	snprintf(r.id, sizeof(r.id), "%s", id);
	int n = snprintf(text, sizeof(text), "%s%c%s", id, 0, secret);
	fake_mac(NULL, "secret", slice_make(text, (size_t)n), r.secret_mac);
	ck_assert_int_eq(fake_device_insert(&rig->store, &r), 0);
}

static inline void rig_add_key(struct rig *rig, const char *name, const char *key, uint32_t perms)
{
	struct access_key_record r = {.perms = perms, .primary = rig_key(key)};
	snprintf(r.name, sizeof(r.name), "%s", name);
	r.secondary = rig_key("another access key");
	ck_assert_int_eq(fake_access_key_insert(&rig->store, &r), 0);
}

/* Changes a device's record as another hub would: the store knows, the registry does not yet. */
#define rig_change_device(rig, device_id, what)                                               \
	do {                                                                                  \
		struct fake *f_ = &(rig)->store;                                              \
		pthread_mutex_lock(&f_->mutex);                                               \
		struct device_record *device = &f_->devices[fake_find_device(f_, device_id)]; \
		what;                                                                         \
		pthread_mutex_unlock(&f_->mutex);                                             \
	} while (0)

/* A token of a device's own key: the names of its static buffers last until the next call. */
static inline const char *device_token(const char *id, const char *key)
{
	static _Thread_local char sr[300], token[TOKEN_MAX];
	snprintf(sr, sizeof(sr), "hub.test%%2Fdevices%%2F%s", id);
	return token_for(token, slice_str(key), sr, soon(), NULL);
}

#endif
