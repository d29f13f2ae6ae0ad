/*
 * Policy: may it? Reads policy/access.def, keeps nothing, locks nothing, allocates nothing. Any
 * thread.
 */
#ifndef HF_POLICY_POLICY_H
#define HF_POLICY_POLICY_H

#include "server/base/principal.h"
#include "server/base/slice.h"

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
