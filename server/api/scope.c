/*
 * Access keys that are narrowed (scope), on REST: to reading or writing, and to devices. What is
 * not about one device is refused to a key that is narrowed to some, but for the list of devices,
 * which then shows those alone.
 */
#include "server/api/scope.h"

#include "server/api/internal.h"
#include "server/base/err.h"

static bool has_items(const json_t *scope, const char *member)
{
	return json_array_size(json_object_get(scope, member)) > 0;
}

static bool array_has(const json_t *array, struct slice text)
{
	const json_t *item;
	size_t i;
	json_array_foreach((json_t *)array, i,
	        item) if (slice_eq(slice_make(json_string_value(item), json_string_length(item)),
	                          text)) return true;
	return false;
}

static bool in_groups(const json_t *groups, const struct access *access)
{
	struct slice group;
	unsigned pos = 0;
	while (policy_access_groups(access, &pos, &group))
		if (array_has(groups, group))
			return true;
	return false;
}

int api_scope_covers(struct api_call *c, struct slice device)
{
	const json_t *scope = c->who ? registry_scope(c->who) : NULL;
	const json_t *groups = json_object_get(scope, "groups");
	struct access *access = NULL;
	if (!has_items(scope, "groups") && !has_items(scope, "devices"))
		return 1;
	if (array_has(json_object_get(scope, "devices"), device))
		return 1;
	if (json_array_size(groups) == 0)
		return 0;
	int r = registry_device_access(c->api->deps.registry, device, &access);
	if (r < 0)
		return r == ERR_NOT_FOUND ? 0 : r;
	bool covers = in_groups(groups, access);
	access_unref(access);
	return covers;
}

static bool verb_fits(const json_t *scope, const char *method)
{
	const char *access = json_string_value(json_object_get(scope, "access"));
	return !access || strchr(access, strcmp(method, "GET") == 0 ? 'r' : 'w');
}

/* Messages are told apart by topic on MQTT alone. */
static bool is_about_messages(enum policy_op op)
{
	return op == POLICY_OP_telemetry_query || op == POLICY_OP_telemetry_latest ||
	        op == POLICY_OP_command_send;
}

/* Why not, as far as it needs no device; NULL: nothing against it. */
static const char *objection(const struct api_call *c, const json_t *scope)
{
	const struct policy_route *route = &policy_routes()[c->match.op];
	bool narrowed = has_items(scope, "groups") || has_items(scope, "devices");
	if (!verb_fits(scope, route->method))
		return strcmp(route->method, "GET") == 0 ? "the access key may only write"
		                                         : "the access key may only read";
	if (has_items(scope, "topicFilters") && is_about_messages(c->match.op))
		return "the access key is narrowed to topics: messages are for MQTT alone";
	if (narrowed && !strstr(route->path, "/devices/{id}") &&
	        c->match.op != POLICY_OP_device_list)
		return "the access key is narrowed to devices, and this is not about one";
	return NULL;
}

bool api_scope_allows(struct api_call *c)
{
	const json_t *scope = c->who ? registry_scope(c->who) : NULL;
	if (!scope)
		return true;
	const char *why = objection(c, scope);
	if (why) {
		api_call_problem(c, API_PROBLEM_FORBIDDEN, why);
		return false;
	}
	if (!strstr(policy_routes()[c->match.op].path, "/devices/{id}"))
		return true;
	int r = api_scope_covers(c, c->params[0]);
	if (r < 0)
		api_call_err(c, r);
	else if (r == 0)
		api_call_problem(
		        c, API_PROBLEM_FORBIDDEN, "the access key is narrowed to other devices");
	return r > 0;
}
