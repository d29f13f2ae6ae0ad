/* Whether somebody who is known may be connected from where it is. */
#include "policy/abuse.h"
#include "policy/ip_rules.h"

static bool groups_admit(
        const struct ip_rules *r, const struct principal *who, const struct ip_addr *ip)
{
	for (unsigned i = 0; i < PRINCIPAL_PARTS; i++) {
		struct slice group;
		unsigned pos = 0;
		while (policy_access_groups(who->access[i], &pos, &group))
			if (!ip_rules_admit_named(r, SCOPE_GROUP, group, ip))
				return false;
	}
	return true;
}

static bool rules_admit(
        const struct ip_rules *r, const struct principal *who, const struct ip_addr *ip)
{
	if (!r || !ip_scopes_named(r->scopes))
		return true;
	if (who->kind == PRINCIPAL_DEVICE &&
	        !ip_rules_admit_named(r, SCOPE_DEVICE, principal_device_id(who), ip))
		return false;
	return groups_admit(r, who, ip);
}

/* Bans that the hub made itself end nobody who is connected: they are asked in policy_attempt. */
static bool bans_admit(const struct bans *b, const struct principal *who, const struct ip_addr *ip)
{
	if (!b || !b->any_by_hand)
		return true;
	const struct slice key = who->kind == PRINCIPAL_KEY ? principal_id(who)
	                                                    : principal_key_name(who);
	if (who->kind == PRINCIPAL_DEVICE &&
	        (bans_find(b, SCOPE_DEVICE, principal_id(who), ip) == BAN_BY_HAND ||
	                bans_find(b, SCOPE_DEVICE, principal_device_id(who), ip) == BAN_BY_HAND))
		return false;
	return key.n == 0 || bans_find(b, SCOPE_KEY, key, ip) != BAN_BY_HAND;
}

bool policy_bans_by_hand(struct policy *p)
{
	struct rules *held;
	const struct bans *b = bans_of(rules_now(p, &held));
	bool any = b && b->any_by_hand;
	rules_unref(held);
	return any;
}

enum deny_reason policy_may_connect_from(struct policy *p, const struct principal *who)
{
	const struct ip_addr *ip = who->has_source ? &who->source : NULL;
	enum deny_reason why = DENY_NONE;
	struct rules *held;
	const struct rules *r = rules_now(p, &held);
	if (!rules_admit(ip_rules_of(r), who, ip))
		why = DENY_IP_RULE;
	else if (ip && !bans_admit(bans_of(r), who, ip))
		why = DENY_BANNED;
	rules_unref(held);
	return why;
}
