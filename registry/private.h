/* What the files of the registry share: the registry itself and each loop's share of it. */
#ifndef HF_REGISTRY_PRIVATE_H
#define HF_REGISTRY_PRIVATE_H

#include "registry/cache.h"
#include "registry/registry.h"

#define REGISTRY_MAX_LOOPS 64

/* An immutable copy of struct registry_limits, counted by references. */
struct settings {
	atomic_uint refs;
	unsigned lookup_ms;
	unsigned authorizer_min_s;
	unsigned jwt_skew_s, jwt_max_lifetime_s;
	size_t cache_entries;
	unsigned auto_register_rate;
	unsigned n_hub_names;
	char *hub_names[];
};
struct settings *settings_new(const struct registry_limits *limits);
struct settings *settings_unref(struct settings *s); /* returns NULL */
static inline void settings_cleanup(struct settings **s)
{
	settings_unref(*s);
}
#define _cleanup_settings_ _cleanup_(settings_cleanup)

/* What belongs to one loop and is touched there only. */
struct shard {
	struct registry *registry;
	struct loop *loop;
	struct settings *settings;
	struct cache cache;
	struct map flights;    /* look-ups under way, by the identity's name (query.c) */
	struct query *queries; /* all that wait for something */
	struct query *stalled; /* those that wait for the change feed */
	struct loop_timer feed_timer;
	struct desk *desk;    /* asks custom authorisers (authorizer_call.c) */
	struct grant *grants; /* what they have granted (authorizer_grant.c) */
};

struct registry {
	struct registry_store store;
	struct registry_hooks hooks;
	void (*changed)(
	        void *ctx, enum entity kind, struct slice id, uint64_t device_key, bool gone);
	void *changed_ctx;
	struct replica *trust;       /* trust.c */
	struct oidc *oidc;           /* NULL: bearer tokens are our own alone */
	struct replica *authorizers; /* authorizers.c */
	void (*trust_applied)(void *ctx);
	void *trust_applied_ctx;
	struct clerk *clerk;   /* clerk.c */
	pthread_mutex_t mutex; /* for settings */
	struct settings *settings;
	unsigned n;
	struct shard shards[REGISTRY_MAX_LOOPS];
};

/* Any thread: the settings in force; the caller's reference. */
struct settings *registry_settings(struct registry *r);

/* A worker has written: every loop forgets, then the observer hears of it. */
void registry_wrote(
        struct registry *r, enum entity kind, struct slice id, uint64_t device_key, bool gone);

/* Asks somebody else and waits, on a thread that may block: f->err. What f borrows is needed until
 * it returns. */
int registry_fetch(struct registry *r, struct fetch *f);

/* Counts and logs a refusal or an admission. id: who it claims to be, or empty. */
void registry_note_denied(enum deny_reason why, struct slice id, const char *peer);
void registry_note_allowed(const struct principal *p, const char *peer);

#endif
