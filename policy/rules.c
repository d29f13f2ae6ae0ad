/* Loading the rules, handing them to the loops, and telling the rest of the hub. */
#include "policy/rules.h"

#include <stdlib.h>

#include "policy/abuse.h"
#include "policy/bans.h"
#include "policy/ip_rules.h"
#include "policy/keeper.h"
#include "policy/rights.h"
#include "server/base/cleanup.h"
#include "server/base/err.h"

/*
 * How each part is read: 0 with *ret, a reference; else an error, and all of it is tried again. A
 * part without a load function is not there.
 */
static const struct {
	enum entity kind;
	int (*load)(const struct document_store *documents, struct part **ret);
} kinds[RULES_PARTS] = {
        [RULES_POLICIES] = {ENTITY_POLICY, policies_load},
        [RULES_GROUPS] = {ENTITY_GROUP, groups_load},
        [RULES_IP] = {ENTITY_IP_RULE, ip_rules_load},
        [RULES_BANS] = {ENTITY_BAN, bans_load},
};

/* What an access is compiled from: a ban makes none of them stale. */
#define ACCESS_PARTS (1u << RULES_POLICIES | 1u << RULES_GROUPS)

static struct part *part_ref(struct part *p)
{
	if (p)
		atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
	return p;
}

static void part_unref(struct part *p)
{
	if (p && atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) == 1)
		p->free(p);
}

struct rules *rules_ref(struct rules *r)
{
	atomic_fetch_add_explicit(&r->refs, 1, memory_order_relaxed);
	return r;
}

struct rules *rules_unref(struct rules *r)
{
	if (!r || atomic_fetch_sub_explicit(&r->refs, 1, memory_order_acq_rel) != 1)
		return NULL;
	for (unsigned i = 0; i < RULES_PARTS; i++)
		part_unref(r->parts[i]);
	free(r);
	return NULL;
}

/* ---- the replica ---- */

static int load(void *ctx, void *old, uint64_t what, void **ret)
{
	struct policy *p = ctx;
	const struct rules *before = old;
	struct rules *r = calloc(1, sizeof(*r));
	if (!r)
		return ERR_NOMEM;
	atomic_init(&r->refs, 1);
	r->version = before && !(what & ACCESS_PARTS) ? before->version : ++p->next_version;
	for (unsigned i = 0; i < RULES_PARTS; i++) {
		int err = 0;
		if (before && !(what & 1u << i))
			r->parts[i] = part_ref(before->parts[i]);
		else if (kinds[i].load)
			err = kinds[i].load(&p->store.documents, &r->parts[i]);
		if (err < 0) {
			rules_unref(r);
			return err;
		}
	}
	*ret = r;
	return 0;
}

static void *ref(void *value)
{
	return rules_ref(value);
}

static void *unref(void *value)
{
	return rules_unref(value);
}

static void applied(void *ctx, void *value HF_UNUSED, uint64_t what)
{
	struct policy *p = ctx;
	keeper_poke(p->keeper);
	for (unsigned i = 0; p->applied && i < RULES_PARTS; i++)
		if (what & 1u << i)
			p->applied(p->applied_ctx, kinds[i].kind);
}

static const struct replica_ops ops = {
        .name = "rules",
        .load = load,
        .ref = ref,
        .unref = unref,
        .applied = applied,
};

/* ---- the room ---- */

struct policy *policy_new(struct loop *const *loops, unsigned n, const struct policy_store *store,
        const struct policy_limits *limits)
{
	struct policy *p = calloc(1, sizeof(*p));
	if (!p)
		return NULL;
	p->store = *store;
	atomic_init(&p->device_defaults, limits->device_defaults);
	p->rules = replica_new(loops, n, &ops, p);
	p->keeper = keeper_new(p);
	p->abuse = p->keeper ? abuse_new(p->keeper) : NULL;
	if (p->rules && p->abuse)
		return p;
	policy_free(p);
	return NULL;
}

void policy_set_observer(struct policy *p, void (*told)(void *ctx, enum entity kind), void *ctx)
{
	p->applied = told;
	p->applied_ctx = ctx;
}

int policy_start(struct policy *p)
{
	int r = replica_start(p->rules);
	if (r < 0)
		return r;
	atomic_store(&p->started, true);
	return keeper_start(p->keeper);
}

void policy_stop(struct policy *p)
{
	if (!p)
		return;
	keeper_hurry(p->keeper);
	replica_stop(p->rules);
	keeper_stop(p->keeper);
}

void policy_free(struct policy *p)
{
	if (!p)
		return;
	keeper_free(p->keeper);
	abuse_free(p->abuse);
	replica_free(p->rules);
	free(p);
}

void policy_set_limits(struct policy *p, const struct policy_limits *limits)
{
	if (atomic_exchange(&p->device_defaults, limits->device_defaults) !=
	        limits->device_defaults)
		policy_changed(p, ENTITY_POLICY);
}

void policy_changed(struct policy *p, enum entity kind)
{
	for (unsigned i = 0; i < RULES_PARTS; i++)
		if (kinds[i].kind == kind)
			replica_changed(p->rules, 1u << i);
}

void policy_changed_all(struct policy *p)
{
	replica_changed(p->rules, (1u << RULES_PARTS) - 1);
}

bool policy_fresh(const struct policy *p)
{
	return replica_fresh(p->rules);
}

bool policy_settled(struct policy *p, unsigned timeout_ms)
{
	return replica_wait(p->rules, timeout_ms);
}

const struct rules *rules_now(struct policy *p, struct rules **ret_held)
{
	*ret_held = loop_here() ? NULL : replica_take(p->rules);
	return *ret_held ? *ret_held : replica_here(p->rules);
}

uint64_t policy_version(struct policy *p)
{
	struct rules *held;
	uint64_t version = rules_now(p, &held)->version;
	rules_unref(held);
	return version;
}
