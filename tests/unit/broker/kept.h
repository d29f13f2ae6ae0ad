/* For tests of what outlives a hub: a store in memory that hubs find again, one after the other. */
#ifndef HF_TESTS_BROKER_KEPT_H
#define HF_TESTS_BROKER_KEPT_H

#include "tests/unit/broker/rig.h"

static struct ram_store *kept;

static void setup(void)
{
	kept = ram_new();
}
static void teardown(void)
{
	ram_free(kept);
}

/* The hub is killed: what the store has not answered never happened. Another one starts. */
static struct rig *rig_kill(struct rig *rig)
{
	struct broker_limits limits = rig->limits;
	unsigned n = rig->n;
	mail_flush();
	ram_crash(kept);
	rig_free(rig);
	ram_set_available(kept, true);
	ram_revive(kept);
	return rig_new_kept(n, &limits, kept);
}

#endif
