#include "policy/policy_admin.h"

#include "server/api/handlers.h"
#include "server/api/internal.h"
#include "server/api/policy_write.h"
#include "server/base/err.h"

/* /grants: reading, writing or both below a topic filter, for a device or a group. */

#define GRANTS "/api/v1/grants"

static struct policy *policy_of(const struct api_call *c)
{
	return c->api->deps.policy;
}

static void tell(struct api_call *c, const json_t *grant)
{
	const char *device = json_string_value(json_object_get(grant, "deviceId"));
	if (device)
		api_identity_changed(c, ENTITY_DEVICE, slice_str(device));
}

void api_grant_create(struct api_call *c)
{
	_cleanup_(api_policy_write_done) struct policy_write w;
	_cleanup_json_ json_t *doc = NULL;
	if (!api_policy_write_begin(c, NULL, &w))
		return;
	if (!api_policy_write_ok(c, policy_grant_create(policy_of(c), &w, &doc), &w))
		return;
	tell(c, doc);
	api_call_json(c, 201, doc);
	const char *id = json_string_value(json_object_get(doc, "id"));
	if (id && c->status == 201)
		api_call_location(c, GRANTS, id);
}

static bool id_of(struct api_call *c, uint64_t *ret)
{
	if (api_parse_uint(c->params[0], 1, INT64_MAX, ret) == 0)
		return true;
	api_call_problem(c, API_PROBLEM_NOT_FOUND, NULL);
	return false;
}

void api_grant_get(struct api_call *c)
{
	_cleanup_json_ json_t *doc = NULL;
	uint64_t id;
	if (id_of(c, &id) && api_call_ok(c, policy_grant_get(policy_of(c), id, &doc), NULL))
		api_call_json(c, 200, doc);
}

void api_grant_delete(struct api_call *c)
{
	_cleanup_json_ json_t *doc = NULL;
	uint64_t id;
	if (!id_of(c, &id) || !api_call_ok(c, policy_grant_delete(policy_of(c), id, &doc), NULL))
		return;
	tell(c, doc);
	api_call_empty(c, 204);
}

void api_grant_list(struct api_call *c)
{
	struct link_query q = {0};
	struct slice device, group;
	char subject[MODULE_ID_MAX + 1] = "";
	bool by_device = api_query_get(&c->query, "deviceId", &device);
	bool by_group = api_query_get(&c->query, "group", &group);
	if (by_device && by_group) {
		api_call_bad_param(c, "group", "stands beside deviceId");
		return;
	}
	if (by_device || by_group) {
		struct slice s = by_device ? device : group;
		if (s.n == 0 || s.n > MODULE_ID_MAX || memchr(s.p, 0, s.n)) {
			api_call_bad_param(c, by_device ? "deviceId" : "group", "names nobody");
			return;
		}
		memcpy(subject, s.p, s.n);
		q.subject_kind = by_device ? ENTITY_DEVICE : ENTITY_GROUP;
		q.subject = subject;
	}
	api_link_page(c, &q, policy_grant_list);
}
