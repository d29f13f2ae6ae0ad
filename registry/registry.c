#include "registry/registry.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>

#include "registry/authorizer_call.h"
#include "registry/authorizers.h"
#include "registry/clerk.h"
#include "registry/oidc.h"
#include "registry/private.h"
#include "registry/query.h"
#include "registry/trust.h"
#include "server/base/audit.h"
#include "server/base/err.h"
#include "server/base/log.h"
#include "server/base/metrics.h"

/* ---- settings ---- */

struct settings *settings_new(const struct registry_limits *limits)
{
	size_t size = sizeof(struct settings) + limits->n_hub_names * sizeof(char *);
	struct settings *s = calloc(1, size);
	if (!s)
		return NULL;
	atomic_init(&s->refs, 1);
	s->lookup_ms = limits->lookup_ms;
	s->authorizer_min_s = limits->authorizer_min_s;
	s->jwt_skew_s = limits->jwt_skew_s;
	s->jwt_max_lifetime_s = limits->jwt_max_lifetime_s;
	s->cache_entries = limits->cache_entries;
	s->auto_register_rate = limits->auto_register_rate;
	for (; s->n_hub_names < limits->n_hub_names; s->n_hub_names++) {
		s->hub_names[s->n_hub_names] = strdup(limits->hub_names[s->n_hub_names]);
		if (!s->hub_names[s->n_hub_names])
			return settings_unref(s);
	}
	return s;
}

static struct settings *settings_ref(struct settings *s)
{
	atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
	return s;
}

struct settings *settings_unref(struct settings *s)
{
	if (!s || atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
		return NULL;
	for (unsigned i = 0; i < s->n_hub_names; i++)
		free(s->hub_names[i]);
	free(s);
	return NULL;
}

struct settings *registry_settings(struct registry *r)
{
	pthread_mutex_lock(&r->mutex);
	struct settings *s = settings_ref(r->settings);
	pthread_mutex_unlock(&r->mutex);
	return s;
}

/* ---- life ---- */

struct registry *registry_new(struct loop *const *loops, unsigned n,
        const struct registry_store *store, const struct registry_hooks *hooks,
        const struct registry_limits *limits)
{
	assert(n <= REGISTRY_MAX_LOOPS);
	struct registry *r = calloc(1, sizeof(*r));
	if (!r)
		return NULL;
	r->settings = settings_new(limits);
	if (!r->settings) {
		free(r);
		return NULL;
	}
	pthread_mutex_init(&r->mutex, NULL);
	r->store = *store;
	if (hooks)
		r->hooks = *hooks;
	r->n = n;
	for (unsigned i = 0; i < n; i++)
		shard_init(&r->shards[i], r, loops[i], settings_ref(r->settings));
	r->trust = trust_replica_new(loops, n, r);
	r->clerk = clerk_new(r);
	r->authorizers = authorizers_new(loops, n, r);
	bool whole = r->trust && r->clerk && r->authorizers;
	if (limits->oidc.issuer && limits->oidc.issuer[0]) {
		r->oidc = oidc_new(r, &limits->oidc);
		whole &= r->oidc != NULL;
	}
	for (unsigned i = 0; i < n; i++) {
		r->shards[i].desk = desk_new(&r->shards[i]);
		whole &= r->shards[i].desk != NULL;
	}
	if (!whole) {
		registry_free(r);
		return NULL;
	}
	return r;
}

int registry_start(struct registry *r)
{
	int err = replica_start(r->trust);
	if (err == 0)
		err = replica_start(r->authorizers);
	return err < 0 ? err : clerk_start(r->clerk);
}

void registry_stop(struct registry *r)
{
	if (!r)
		return;
	clerk_stop(r->clerk);
	replica_stop(r->trust);
	replica_stop(r->authorizers);
}

void registry_set_trust_observer(struct registry *r, void (*applied)(void *ctx), void *ctx)
{
	r->trust_applied = applied;
	r->trust_applied_ctx = ctx;
}

void registry_trust_changed(struct registry *r, enum entity kind)
{
	if (kind == ENTITY_AUTHORITY)
		replica_changed(r->trust, 1);
	else if (kind == ENTITY_AUTHORIZER)
		replica_changed(r->authorizers, 1);
}

void registry_trust_changed_all(struct registry *r)
{
	registry_trust_changed(r, ENTITY_AUTHORITY);
	registry_trust_changed(r, ENTITY_AUTHORIZER);
}

void registry_free(struct registry *r)
{
	if (!r)
		return;
	for (unsigned i = 0; i < r->n; i++)
		shard_done(&r->shards[i]);
	clerk_free(r->clerk); /* whoever waits for it has gone with the shards */
	replica_free(r->trust);
	replica_free(r->authorizers);
	oidc_free(r->oidc);
	settings_unref(r->settings);
	pthread_mutex_destroy(&r->mutex);
	free(r);
}

const struct registry_store *registry_port(const struct registry *r)
{
	return &r->store;
}

/* ---- whom it trusts ---- */

/* ---- orders to every loop ---- */

struct order {
	struct mail mail;
	struct shard *shard;
	struct settings *settings; /* new ones, or NULL: forget */
	struct mail_wait *wait;
	bool all;
	enum entity kind;
	uint16_t id_len;
	char id[MODULE_ID_MAX];
};

static void order_deliver(struct mail *m)
{
	struct order *o = container_of(m, struct order, mail);
	struct shard *s = o->shard;
	if (o->settings) {
		settings_unref(s->settings);
		s->settings = o->settings;
		cache_set_max(&s->cache, o->settings->cache_entries);
	} else if (o->all) {
		shard_forget_all(s);
	} else {
		shard_forget(s, o->kind, slice_make(o->id, o->id_len));
	}
	if (o->wait)
		mail_wait_done(o->wait);
	free(o);
}

/* A change that is not told to every loop would let somebody in who may not: without memory for
 * these few bytes nothing safe can go on. */
static struct order *order_new(struct shard *s)
{
	struct order *o = calloc(1, sizeof(*o));
	if (!o)
		abort();
	o->mail.deliver = order_deliver;
	o->shard = s;
	return o;
}

static void order_post(struct order *o)
{
	mail_post(loop_mailbox(o->shard->loop), &o->mail);
}

/* Loops flush at the end of their turn, other threads have no turns. */
static void flush(void)
{
	if (!loop_here())
		mail_flush();
}

int registry_set_limits(struct registry *r, const struct registry_limits *limits)
{
	struct settings *fresh = settings_new(limits);
	if (!fresh)
		return ERR_NOMEM;
	for (unsigned i = 0; i < r->n; i++) {
		struct order *o = order_new(&r->shards[i]);
		o->settings = settings_ref(fresh);
		order_post(o);
	}
	pthread_mutex_lock(&r->mutex);
	struct settings *old = r->settings;
	r->settings = fresh;
	pthread_mutex_unlock(&r->mutex);
	settings_unref(old);
	flush();
	return 0;
}

void registry_forget(struct registry *r, enum entity kind, struct slice id, bool wait)
{
	struct mail_wait w;
	if (id.n > MODULE_ID_MAX)
		return;
	assert(!wait || !loop_here());
	if (wait && mail_wait_init(&w, (int)r->n) < 0)
		abort();
	for (unsigned i = 0; i < r->n; i++) {
		struct order *o = order_new(&r->shards[i]);
		o->kind = kind;
		o->id_len = (uint16_t)id.n;
		memcpy(o->id, id.p, id.n);
		o->wait = wait ? &w : NULL;
		order_post(o);
	}
	flush();
	if (wait) {
		mail_wait_for(&w, -1);
		mail_wait_free(&w);
	}
}

void registry_forget_all(struct registry *r)
{
	for (unsigned i = 0; i < r->n; i++) {
		struct order *o = order_new(&r->shards[i]);
		o->all = true;
		order_post(o);
	}
	flush();
}

/* ---- writes ---- */

void registry_set_observer(struct registry *r,
        void (*changed)(
                void *ctx, enum entity kind, struct slice id, uint64_t device_key, bool gone),
        void *ctx)
{
	r->changed = changed;
	r->changed_ctx = ctx;
}

void registry_wrote(
        struct registry *r, enum entity kind, struct slice id, uint64_t device_key, bool gone)
{
	registry_forget(r, kind, id, true);
	if (r->changed)
		r->changed(r->changed_ctx, kind, id, device_key, gone);
}

/* ---- what log and metrics learn of authentications ---- */

void registry_note_denied(enum deny_reason why, struct slice id, const char *peer)
{
	metric_inc_by(METRIC_AUTH_DENIED, why);
	audit_denied(&(struct audit_denial){
	        .operation = "authenticate", .reason = deny_name(why), .who = id, .peer = peer});
	log_warn("authentication refused", F_SLICE("id", id), F_STR("reason", deny_name(why)),
	        F_STR("peer", peer));
}

void registry_note_allowed(const struct principal *p, const char *peer)
{
	metric_inc(METRIC_AUTH_OK);
	log_debug("authenticated", F_STR("kind", principal_kind_name(p->kind)),
	        F_SLICE("id", principal_id(p)), F_SLICE("key", principal_key_name(p)),
	        F_STR("peer", peer));
}
