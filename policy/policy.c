#include "policy/policy.h"

#include "server/base/cleanup.h"

/* ---- REST ---- */

/* The words of the table that are no permissions. */
#define NOBODY 0u
#define DEVICE (1u << 31)

static const struct policy_route routes[POLICY_OP_COUNT] = {
#define REST(op, method, path, needs, summary)                        \
	{POLICY_OP_##op, #op, #method, path,                          \
	        (needs) == NOBODY           ? POLICY_NEED_NOBODY      \
	                : (needs) == DEVICE ? POLICY_NEED_DEVICE      \
	                                    : POLICY_NEED_PERMISSION, \
	        (needs) == DEVICE ? 0 : (needs), summary},
#include "policy/access.def"
#undef REST
};
#undef NOBODY
#undef DEVICE

const struct policy_route *policy_routes(void)
{
	return routes;
}

/* An access key holds the four permissions at most, whatever its record says: what an owner may is
 * for bearer tokens, so that no key can widen itself. */
static uint32_t perms_of(const struct principal *p)
{
	switch (p->kind) {
	case PRINCIPAL_KEY: return p->perms & PERM_ALL_KEY;
	case PRINCIPAL_TOKEN: return p->perms;
	case PRINCIPAL_ANONYMOUS:
	case PRINCIPAL_DEVICE:
	case PRINCIPAL_CUSTOM: break;
	}
	return 0;
}

bool policy_may(const struct principal *p, enum policy_op op)
{
	if ((unsigned)op >= POLICY_OP_COUNT)
		return false;
	switch (routes[op].need) {
	case POLICY_NEED_NOBODY: return true;
	case POLICY_NEED_DEVICE: return p && p->kind == PRINCIPAL_DEVICE;
	case POLICY_NEED_PERMISSION: return p && (perms_of(p) & routes[op].perm) != 0;
	}
	return false;
}

/* ---- permissions ---- */

static const struct {
	uint32_t perm;
	const char *name;
} permissions[] = {
        {PERM_REGISTRY_READ, "RegistryRead"},
        {PERM_REGISTRY_WRITE, "RegistryWrite"},
        {PERM_SERVICE_CONNECT, "ServiceConnect"},
        {PERM_DEVICE_CONNECT, "DeviceConnect"},
        {PERM_OWNER, "Owner"},
        {PERM_SECURITY_READ, "SecurityRead"},
        {PERM_SECURITY_WRITE, "SecurityWrite"},
        {PERM_AUDIT_READ, "AuditRead"},
        {PERM_TELEMETRY_READ, "TelemetryRead"},
        {PERM_GROUP_WRITE, "GroupWrite"},
};

const char *policy_permission_name(uint32_t perm)
{
	for (size_t i = 0; i < ARRAY_LEN(permissions); i++)
		if (permissions[i].perm == perm)
			return permissions[i].name;
	return NULL;
}

uint32_t policy_permission_parse(struct slice name)
{
	for (size_t i = 0; i < ARRAY_LEN(permissions); i++)
		if (slice_eq_str(name, permissions[i].name))
			return permissions[i].perm;
	return 0;
}
