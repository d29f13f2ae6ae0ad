#include "server/base/entity.h"

#include <string.h>

#include "server/base/cleanup.h"

static const struct {
	enum entity kind;
	const char *name;
} names[] = {
        {ENTITY_DEVICE, "device"},
        {ENTITY_KEY, "access-key"},
        {ENTITY_CERTIFICATE, "certificate"},
        {ENTITY_POLICY, "policy"},
        {ENTITY_GROUP, "group"},
        {ENTITY_IP_RULE, "ip-rule"},
        {ENTITY_BAN, "ban"},
        {ENTITY_AUTHORITY, "authority"},
        {ENTITY_AUTHORIZER, "authorizer"},
        {ENTITY_TOKEN, "token"},
        {ENTITY_APPROVAL, "approval"},
};

bool entity_valid(char letter)
{
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if ((char)names[i].kind == letter)
			return true;
	return false;
}

const char *entity_name(enum entity kind)
{
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (names[i].kind == kind)
			return names[i].name;
	return "unknown";
}

enum entity entity_by_name(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (strcmp(names[i].name, name) == 0)
			return names[i].kind;
	return 0;
}
