/*
 * What the broker asks of the rest of the hub: who somebody is (registry), what they may do
 * (policy), who wants to know. The hallway (server/hub.c) fills it in.
 */
#ifndef HF_BROKER_HOOKS_H
#define HF_BROKER_HOOKS_H

#include "server/base/auth.h"
#include "server/base/end.h"
#include "server/base/principal.h"

struct broker_hooks {
	void *ctx;
	void (*authenticate)(void *ctx, struct auth_request *r);
	void (*recheck)(void *ctx, struct recheck_request *r);
	/* The device id that a user name claims ("{hub}/{id}/?api-version=…", "{id}"), for a
	 * CONNECT with an empty client id; false: none. */
	bool (*claimed_id)(void *ctx, struct slice username, struct slice *ret);
	/* The device id that a certificate names, not checked, for a CONNECT with neither; false:
	 * none. May be NULL. */
	bool (*certificate_id)(void *ctx, const struct cert_chain *certificate,
	        char ret[static MODULE_ID_MAX + 1]);
	/* Policy. Any loop, no lock, no allocation. topic of a publish or a will, with RETAIN or
	 * without it; filter of a subscription as sent ("$share/…" included). */
	bool (*may_publish)(void *ctx, const struct principal *p, struct slice topic, bool retain);
	bool (*may_subscribe)(void *ctx, const struct principal *p, struct slice filter);
	/* Whether a message of that topic may be delivered to p; from: what its publisher's first
	 * part says (which groups it is in); NULL: nothing is known of it. */
	bool (*may_receive)(void *ctx, const struct principal *p, struct slice topic,
	        const struct access *from);
	/* False: p may receive whatever it may subscribe to, and may_receive need not be asked. */
	bool (*filters_receive)(void *ctx, const struct principal *p);
	/* A device is connected or gone; when: wall-clock us. For connectionState. */
	void (*presence)(void *ctx, const struct principal *p, bool connected, int64_t when_us);
};

#endif
