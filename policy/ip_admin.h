/* What writing IP rules and trying them out have in common. Worker threads. Private to the room. */
#ifndef HF_POLICY_IP_ADMIN_H
#define HF_POLICY_IP_ADMIN_H

#include "policy/ip_rules.h"

/* The set that the store has, without the ids that are members of remove (an object, or NULL) and
 * with the rules of add: one reference. 0, the store's error. */
int ip_rules_changed(struct policy *p, const struct ip_rule *add, size_t n_add,
        const json_t *remove, struct ip_rules **ret);
/* policy.ip_default as it is now. */
bool ip_default_deny(struct policy *p);

#endif
