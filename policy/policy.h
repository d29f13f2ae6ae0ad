/*
 * Policy: may it? The table of access.def says what everybody of a kind may; policy documents,
 * grants, scopes, groups and IP rules, which administrators write, say the rest. What hangs on an
 * identity is compiled once (policy_access_make) and travels with its principals, so that a
 * decision needs neither lock nor allocation. Any thread, unless said otherwise.
 */
#ifndef HF_POLICY_POLICY_H
#define HF_POLICY_POLICY_H

#include "policy/policy_store.h"
#include "server/base/loop.h"
#include "server/base/principal.h"
#include "server/base/slice.h"

struct policy;

struct policy_limits {
	bool device_defaults; /* policy.device_defaults: devices may use their own topics without a
	                       * policy that says so, and connect */
};

/* ---- the rules: read from the store, in force on every loop ---- */

/* loops: n, not running. store is copied. NULL when out of memory. Main thread. */
struct policy *policy_new(struct loop *const *loops, unsigned n, const struct policy_store *store,
        const struct policy_limits *limits);
/* Called on a thread of policy's own, once rules of that kind have changed and every loop has them:
 * who is connected is to be asked about again. Before policy_start. */
void policy_set_observer(struct policy *p, void (*told)(void *ctx, enum entity kind), void *ctx);
/* Reads everything and starts the thread that reads what changes. Before the loops run. 0, or the
 * store's error. Main thread. */
int policy_start(struct policy *p);
void policy_stop(struct policy *p); /* before the loops stop; NULL is fine */
void policy_free(struct policy *p); /* after they have; NULL is fine */

/* A document of that kind has changed: the change feed's and workers' word. Any thread. */
void policy_changed(struct policy *p, enum entity kind);
void policy_changed_all(struct policy *p); /* changes may have been missed */
/* False: something has changed over a second ago and is not in force yet. */
bool policy_fresh(const struct policy *p);
/* Waits until what was told before is in force on every loop; on a thread that may block. */
bool policy_settled(struct policy *p, unsigned timeout_ms);
/* Of the rules in force on the calling loop (else: the newest). */
uint64_t policy_version(struct policy *p);

/* ---- the table ---- */

/* Operations of the REST table, in its order: POLICY_OP_device_create, … */
enum policy_op {
#define REST(op, method, path, needs, summary) POLICY_OP_##op,
#include "policy/access.def"
#undef REST
	POLICY_OP_COUNT
};

enum policy_need_kind { POLICY_NEED_NOBODY, POLICY_NEED_PERMISSION, POLICY_NEED_DEVICE };

struct policy_route {
	enum policy_op op;
	const char *name;   /* "device_create" */
	const char *method; /* "POST" */
	const char *path;   /* "/api/v1/devices/{id}" */
	enum policy_need_kind need;
	uint32_t perm; /* one of enum permission where need is PERMISSION */
	const char *summary;
};
/* The table, POLICY_OP_COUNT rows. */
const struct policy_route *policy_routes(void);

/* Whether the principal (NULL: no credential was given) may do op. Devices may only what
 * POLICY_NEED_DEVICE says; that a device acts on itself alone is the caller's to check. */
bool policy_may(const struct principal *p, enum policy_op op);

/* Whether p may publish to topic (of a will too), or subscribe to filter ("$share/{g}/…" included,
 * judged by the filter behind it). Devices: "{id}" is the device's own id, also for a module.
 * CONTRACT section 5. */
bool policy_may_publish(const struct principal *p, struct slice topic);
bool policy_may_subscribe(const struct principal *p, struct slice filter);

/* "RegistryRead" … for a single permission; 0 for an unknown name. */
const char *policy_permission_name(uint32_t perm);
uint32_t policy_permission_parse(struct slice name);

#endif
