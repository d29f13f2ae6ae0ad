/*
 * What the registry asks of the rest of the hub when somebody comes: what hangs on them (policy),
 * whether they may connect from where they are, whether they have tried too often. The hallway
 * (server/hub.c) fills it in; a member that is NULL is not asked. On loops, and on workers where
 * administrators are concerned; none blocks.
 */
#ifndef HF_REGISTRY_HOOKS_H
#define HF_REGISTRY_HOOKS_H

#include "server/base/auth.h"
#include "server/base/fetch.h"

struct registry_hooks {
	void *ctx;
	/* Compiles what hangs on an identity. One reference; NULL when out of memory, or where
	 * source->documents are not all valid. */
	struct access *(*access_make)(void *ctx, const struct access_source *source);
	/* Of the rules in force on the calling loop: an access of another version is stale. */
	uint64_t (*access_version)(void *ctx);
	/* False: rules have changed for a while and are not in force: nobody is let in. */
	bool (*access_fresh)(void *ctx);
	/* Somebody is who he says: DENY_NONE, or why he may not connect all the same (IP rules of
	 * his groups and his own, the scope of his key, iot:Connect). req: NULL in a recheck. */
	enum deny_reason (*may_connect)(
	        void *ctx, const struct principal *p, const struct auth_request *req);
	/* Before anything is read or computed: DENY_NONE, DENY_BANNED or DENY_BUDGET. id: who it
	 * claims to be; key: the access key that is named; either may be empty. */
	enum deny_reason (*attempt)(void *ctx, const char *peer, struct slice id, struct slice key);
	/* How it went: DENY_NONE, or why not. Counted against address, identity and key. */
	void (*outcome)(void *ctx, const char *peer, struct slice id, struct slice key,
	        enum deny_reason why);
	/* Asks somebody else; any thread. NULL: nobody can be asked. */
	void (*fetch)(void *ctx, struct fetch *f);
};

#endif
