/*
 * Policy: may it? The table of access.def says what everybody of a kind may; policy documents,
 * grants, scopes, groups and IP rules, which administrators write, say the rest. What hangs on an
 * identity is compiled once (policy_access_make) and travels with its principals, so that a
 * decision needs neither lock nor allocation. Any thread, unless said otherwise.
 */
#ifndef HF_POLICY_POLICY_H
#define HF_POLICY_POLICY_H

#include "policy/policy_store.h"
#include "server/base/access.h"
#include "server/base/auth.h"
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

/* Live settings; main thread. What is compiled under others is stale from then on. */
void policy_set_limits(struct policy *p, const struct policy_limits *limits);
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
	uint32_t perm; /* enum permission, where need is PERMISSION: any of them suffices */
	const char *summary;
};
/* The table, POLICY_OP_COUNT rows. */
const struct policy_route *policy_routes(void);

/* Whether the principal (NULL: no credential was given) may do op. Devices may only what
 * POLICY_NEED_DEVICE says; that a device acts on itself alone is the caller's to check. */
bool policy_may(const struct principal *p, enum policy_op op);

/* ---- what hangs on identities, compiled ---- */

/* Compiles what hangs on an identity under the rules in force on the calling loop (else: the
 * newest). One reference; NULL when out of memory: let nobody in on that. What of it cannot be read
 * (a policy that is not there, links that are none) allows nothing, and a scope that cannot be read
 * narrows to nothing. Neither blocks nor locks on loops; its cost: README. */
struct access *policy_access_make(struct policy *p, const struct access_source *source);

/* The groups that it is in, whatever put it there: starts with *pos = 0; false at the end. *ret is
 * good as long as a reference is held. a may be NULL. */
bool policy_access_groups(const struct access *a, unsigned *pos, struct slice *ret);

/* ---- decisions: no lock, no allocation; any thread ---- */

/*
 * A refusal by any part of the principal (principal.h) wins; else what the table, a grant or a
 * policy document of any part allows is allowed; else it is refused. A scope of an access key only
 * narrows. A device without a part is judged by the table alone. NULL may nothing.
 */

/* May it publish to topic (of a will too)? retain: the message is to be kept, for which a document
 * has to allow iot:RetainPublish as well. */
bool policy_may_publish(const struct principal *p, struct slice topic, bool retain);
/* May it subscribe to filter? "$share/{g}/…" included, judged by the filter behind it. Devices:
 * "{id}" is the device's own id, also for a module. CONTRACT section 5. */
bool policy_may_subscribe(const struct principal *p, struct slice filter);
/* May a message on topic, which a subscription of its own takes, be given to it? from: the
 * publishing device's part; NULL: none, or not known (access keys that are narrowed by group then
 * go by nothing and refuse; by device, they go by the topic). */
bool policy_may_receive(const struct principal *p, struct slice topic, const struct access *from);
/* False: policy_may_receive is true for whatever it may be subscribed to, and need not be asked. */
bool policy_filters_receive(const struct principal *p);
/* Somebody is who he says, and wants in: DENY_NONE, DENY_POLICY (iot:Connect) or DENY_SCOPE (an
 * access key's addresses and times). req: NULL in a recheck, which knows nothing of the CONNECT:
 * then conditions on that stand as they were judged. */
enum deny_reason policy_may_connect(
        struct policy *p, const struct principal *who, const struct auth_request *req);

/* "RegistryRead" … for a single permission; 0 for an unknown name. */
const char *policy_permission_name(uint32_t perm);
uint32_t policy_permission_parse(struct slice name);

#endif
