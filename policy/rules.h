/*
 * The rules that a hub decides by, read whole: policies, groups, IP rules, bans. Immutable, counted
 * by references; every loop has a pointer of its own (server/base/replica.h), so nothing here is
 * locked. Private to the room.
 */
#ifndef HF_POLICY_RULES_H
#define HF_POLICY_RULES_H

#include <stdatomic.h>

#include "policy/policy.h"
#include "server/base/replica.h"

/* One for each row of the table in rules.c. */
enum rules_part {
	RULES_POLICIES,
	RULES_GROUPS,
	RULES_IP,
	RULES_BANS,
	RULES_PARTS,
};

/* What a part is: a file of its own loads it, anew only when documents of its kind have changed.
 * Immutable, counted by references. */
struct part {
	atomic_uint refs;
	void (*free)(struct part *p);
};

struct rules {
	atomic_uint refs;
	uint64_t version; /* rises with every load of what an access is compiled from */
	struct part *parts[RULES_PARTS];
};

/* The rules in force on the calling loop (borrowed until the turn ends), or on another thread the
 * newest (then *ret_held is to be dropped by rules_unref; NULL on loops). */
const struct rules *rules_now(struct policy *p, struct rules **ret_held);
struct rules *rules_ref(struct rules *r);
struct rules *rules_unref(struct rules *r); /* NULL is fine; returns NULL */

struct policy {
	struct policy_store store;
	atomic_bool device_defaults;
	struct replica *rules;
	struct abuse *abuse;
	struct keeper *keeper;
	atomic_bool ip_default_deny, started;
	void (*applied)(void *ctx, enum entity kind);
	void *applied_ctx;
	uint64_t next_version; /* the replica's thread */
};

#endif
