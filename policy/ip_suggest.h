/* The smallest networks that have all of some addresses. Any thread. Private to the room. */
#ifndef HF_POLICY_IP_SUGGEST_H
#define HF_POLICY_IP_SUGGEST_H

#include "server/base/ip.h"

/* At most max networks (max over 0) for each family, of what is cut at the widest gaps: no other
 * max networks are longer-prefixed in sum at the cuts. ips: n, sorted by this in place. ret holds
 * 2 * max. How many. */
size_t ip_suggest(struct ip_addr *ips, size_t n, unsigned max, struct cidr *ret);

#endif
