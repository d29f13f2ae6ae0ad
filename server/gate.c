#include "server/gate.h"

#include <stdlib.h>
#include <string.h>

#include "server/base/err.h"

#define SECONDS_MAX 31536000 /* a year */

/* Whom a rule or a ban turns away is seen too: trying out other rules shows him. */
static enum end_reason admit(void *ctx, const struct ip_addr *peer)
{
	struct gate *g = ctx;
	enum end_reason why = policy_admit(g->policy, peer);

	if (why == END_IP_RULE || why == END_BANNED)
		storage_note_address(g->storage, peer, false);
	return why;
}

static void settled(void *ctx, const struct ip_addr *peer)
{
	policy_settle(((struct gate *)ctx)->policy, peer);
}

static enum end_reason still(void *ctx, const struct ip_addr *peer)
{
	return policy_may_stay(((struct gate *)ctx)->policy, peer);
}

int gate_ban_seconds(
        const struct config_list *list, unsigned ret[static POLICY_BAN_STEPS], unsigned *ret_n)
{
	if (list->n < 1 || list->n > POLICY_BAN_STEPS)
		return ERR_INVALID;
	for (unsigned i = 0; i < list->n; i++) {
		const char *text = list->items[i];
		size_t n = strspn(text, "0123456789");
		unsigned long v = n > 0 && n < 10 && !text[n] ? strtoul(text, NULL, 10) : 0;
		if (v < 1 || v > SECONDS_MAX)
			return ERR_INVALID;
		ret[i] = (unsigned)v;
	}
	*ret_n = list->n;
	return 0;
}

static const char *const default_words[] = {"allow", "deny"};

void gate_set_limits(struct policy *policy, const struct config *c)
{
	struct policy_abuse_limits limits = {
	        .ip_default_deny = strcmp(default_words[c->policy_ip_default], "deny") == 0,
	        .window = (unsigned)c->abuse_window,
	        .failures = (unsigned)c->abuse_failures,
	        .identity_failures = (unsigned)c->abuse_identity_failures,
	        .flaps = (unsigned)c->abuse_flaps,
	        .attempts = (unsigned)c->abuse_attempts,
	        .handshakes = (unsigned)c->abuse_handshakes,
	        .strangers = (unsigned)c->abuse_strangers,
	        .address_strangers = (unsigned)c->abuse_address_strangers,
	        .max_bans = (unsigned)c->abuse_max_bans,
	};
	/* The settings were checked when they were read. */
	gate_ban_seconds(&c->abuse_ban_seconds, limits.ban_seconds, &limits.n_ban_seconds);
	policy_set_abuse_limits(policy, &limits);
}

int gate_make(struct gate *g, struct net *net, const struct config *c)
{
	const struct net_admission admission = {
	        .ctx = g, .admit = admit, .settled = settled, .still = still};
	int r = policy_set_exempt(g->policy, c->abuse_exempt.items, c->abuse_exempt.n);

	if (r < 0)
		return r;
	gate_set_limits(g->policy, c);
	net_set_admission(net, &admission);
	return 0;
}
