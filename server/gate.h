/* Who may come in at all: policy's word to net, for every listener, and the settings of it. */
#ifndef HF_SERVER_GATE_H
#define HF_SERVER_GATE_H

#include "policy/policy_ip.h"
#include "server/config.h"
#include "server/net/net.h"
#include "storage/storage.h"

/* A part of the hub, whose members are set. */
struct gate {
	struct policy *policy;
	struct storage *storage; /* keeps the addresses that were seen */
};

/* From here on net asks policy. g lives as long as net. Main thread, before the loops run. 0, or
 * what of the settings cannot be taken. */
int gate_make(struct gate *g, struct net *net, const struct config *c);
/* Live settings; any thread. */
void gate_set_limits(struct policy *policy, const struct config *c);
/* abuse.ban_seconds: 1 to POLICY_BAN_STEPS numbers over 0. 0 or ERR_INVALID. */
int gate_ban_seconds(
        const struct config_list *list, unsigned ret[static POLICY_BAN_STEPS], unsigned *ret_n);

#endif
