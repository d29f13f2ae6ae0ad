/* What writing IP rules and trying them out have in common. Worker threads. Private to the room. */
#ifndef HF_POLICY_IP_ADMIN_H
#define HF_POLICY_IP_ADMIN_H

#include "policy/ip_rules.h"

/* The newest set; one reference; NULL: there is none. */
struct ip_rules *ip_rules_newest(struct policy *p);
/* The newest set without the ids that are members of remove (an object, or NULL) and with the rules
 * of add. One reference; NULL when out of memory. */
struct ip_rules *ip_rules_changed(
        struct policy *p, const struct ip_rule *add, size_t n_add, const json_t *remove);
/* policy.ip_default as it is now. */
bool ip_default_deny(struct policy *p);

#endif
