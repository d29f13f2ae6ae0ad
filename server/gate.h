/* Who may come in at all: policy's word to net, for every listener, and the settings of it. */
#ifndef HF_SERVER_GATE_H
#define HF_SERVER_GATE_H

#include "policy/policy_ip.h"
#include "server/config.h"
#include "server/net/net.h"

/* From here on net asks policy. Main thread, before the loops run. 0, or what of the settings
 * cannot be taken. */
int gate_make(struct net *net, struct policy *policy, const struct config *c);
/* Live settings; any thread. */
void gate_set_limits(struct policy *policy, const struct config *c);
/* abuse.ban_seconds: 1 to POLICY_BAN_STEPS numbers over 0. 0 or ERR_INVALID. */
int gate_ban_seconds(
        const struct config_list *list, unsigned ret[static POLICY_BAN_STEPS], unsigned *ret_n);

#endif
