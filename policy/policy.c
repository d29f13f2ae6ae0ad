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

/* ---- MQTT ---- */

enum action { ACTION_PUBLISH, ACTION_SUBSCRIBE };

/* The two words of the table that are no patterns of levels. Neither can be mistaken for one: no
 * topic is empty, and no level of the table is a '$' alone. */
#define ANY ""
#define DOLLAR "$"

struct rule {
	enum action action;
	enum principal_kind kind;
	struct slice pattern;
	bool allowed;
};

static const struct rule rules[] = {
#define MQTT(action, principal, pattern, allowed) \
	{ACTION_##action, PRINCIPAL_##principal,  \
	        {(const uint8_t *)(pattern), sizeof(pattern) - 1}, allowed},
#include "policy/access.def"
#undef MQTT
};

/* Cuts the first level off *rest; *more: whether another one (maybe empty) follows. */
static struct slice level_cut(struct slice *rest, bool *more)
{
	const uint8_t *slash = rest->n > 0 ? memchr(rest->p, '/', rest->n) : NULL;
	struct slice level = *rest;
	*more = slash != NULL;
	if (slash)
		level.n = (size_t)(slash - rest->p);
	*rest = slice_from(*rest, level.n + (slash ? 1 : 0));
	return level;
}

/* Wildcards are those of the topic or filter that is judged: they could match more than one level's
 * text, so only a pattern that allows any text covers '+', and none but '#' covers '#'. Everything
 * else is compared byte by byte, ids too, so that no character of an id means anything here. */
static bool level_fits(struct slice pattern, struct slice level, struct slice id)
{
	if (slice_eq_str(level, "#"))
		return false;
	if (slice_eq_str(pattern, "*"))
		return true;
	if (slice_eq_str(level, "+"))
		return false;
	return slice_eq(level, slice_eq_str(pattern, "{id}") ? id : pattern);
}

static bool pattern_fits(struct slice pattern, struct slice topic, struct slice id)
{
	if (pattern.n == 0)
		return true;
	if (slice_eq_str(pattern, DOLLAR))
		return topic.p[0] == '$';
	bool more_pattern = true, more_topic = true;
	while (more_pattern) {
		struct slice want = level_cut(&pattern, &more_pattern);
		if (slice_eq_str(want, "#"))
			return true;
		if (!more_topic || !level_fits(want, level_cut(&topic, &more_topic), id))
			return false;
	}
	return !more_topic;
}

static bool may(const struct principal *p, enum action action, struct slice topic)
{
	if (!p || topic.n == 0)
		return false;
	struct slice id = principal_id(p);
	const uint8_t *slash = id.n > 0 ? memchr(id.p, '/', id.n) : NULL;
	if (slash) /* a module acts for its device */
		id.n = (size_t)(slash - id.p);
	for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
		const struct rule *r = &rules[i];
		if (r->action == action && r->kind == p->kind &&
		        pattern_fits(r->pattern, topic, id))
			return r->allowed;
	}
	return false;
}

bool policy_may_publish(const struct principal *p, struct slice topic, bool retain HF_UNUSED)
{
	return may(p, ACTION_PUBLISH, topic);
}

/* "$share/{group}/{filter}" is judged by the filter; "$share" in any other form is nobody's. */
bool policy_may_subscribe(const struct principal *p, struct slice filter)
{
	bool more;
	struct slice rest = filter;
	if (slice_eq_str(level_cut(&rest, &more), "$share")) {
		if (level_cut(&rest, &more).n == 0 || !more)
			return false;
		filter = rest;
	}
	return may(p, ACTION_SUBSCRIBE, filter);
}

bool policy_may_receive(const struct principal *p, struct slice topic HF_UNUSED,
        const struct access *from HF_UNUSED)
{
	return p != NULL;
}

bool policy_filters_receive(const struct principal *p HF_UNUSED)
{
	return false;
}

enum deny_reason policy_may_connect(struct policy *p HF_UNUSED, const struct principal *who,
        const struct auth_request *req HF_UNUSED)
{
	return who ? DENY_NONE : DENY_POLICY;
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
