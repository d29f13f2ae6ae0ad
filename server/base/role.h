/* Roles of people and programs: what a bearer token may. Any thread. */
#ifndef HF_BASE_ROLE_H
#define HF_BASE_ROLE_H

#include "server/base/principal.h"

#define ROLE_NAME_MAX 16

/* X(name, permissions), the one that may most first: where somebody has several, the first counts.
 */
#define ROLES(X)                                                                                 \
	X("owner", PERM_ALL)                                                                     \
	X("security-admin",                                                                      \
	        PERM_REGISTRY_READ | PERM_SECURITY_READ | PERM_SECURITY_WRITE | PERM_AUDIT_READ) \
	X("operator",                                                                            \
	        PERM_REGISTRY_READ | PERM_REGISTRY_WRITE | PERM_SERVICE_CONNECT |                \
	                PERM_TELEMETRY_READ | PERM_GROUP_WRITE)                                  \
	X("provisioner", PERM_REGISTRY_READ | PERM_REGISTRY_WRITE | PERM_GROUP_WRITE)            \
	X("analyst", PERM_REGISTRY_READ | PERM_TELEMETRY_READ)                                   \
	X("auditor",                                                                             \
	        PERM_REGISTRY_READ | PERM_SECURITY_READ | PERM_AUDIT_READ | PERM_TELEMETRY_READ)

struct role {
	const char *name; /* as documents, settings and the database have it */
	uint32_t perms;   /* enum permission */
};
/* All of them, in the order of the table. */
const struct role *role_list(unsigned *ret_n);
/* NULL: there is none of that name. */
const struct role *role_by_name(struct slice name);

#endif
