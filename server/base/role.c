#include "server/base/role.h"

#include "server/base/cleanup.h"

static const struct role roles[] = {
#define X(name, perms) {name, perms},
        ROLES(X)
#undef X
};

const struct role *role_list(unsigned *ret_n)
{
	*ret_n = ARRAY_LEN(roles);
	return roles;
}

const struct role *role_by_name(struct slice name)
{
	for (unsigned i = 0; i < ARRAY_LEN(roles); i++)
		if (slice_eq_str(name, roles[i].name))
			return &roles[i];
	return NULL;
}
