#include "policy/policy_admin.h"

#include "server/api/handlers.h"
#include "server/api/internal.h"
#include "server/api/policy_write.h"
#include "server/base/err.h"

/* /policies: policy documents, their versions, and what they are attached to. */

#define POLICIES "/api/v1/policies"

static struct policy *policy_of(const struct api_call *c)
{
	return c->api->deps.policy;
}

static int read_policy(struct api_call *c, struct slice name, json_t **ret)
{
	return policy_get(policy_of(c), name, ret);
}

void api_policy_create(struct api_call *c)
{
	_cleanup_(api_policy_write_done) struct policy_write w;
	_cleanup_json_ json_t *doc = NULL;
	if (!api_policy_write_begin(c, NULL, &w))
		return;
	if (!api_policy_write_ok(c, policy_create(policy_of(c), &w, &doc), &w))
		return;
	api_call_document(c, 201, doc);
	const char *name = json_string_value(json_object_get(doc, "name"));
	if (name && c->status == 201)
		api_call_location(c, POLICIES, name);
}

void api_policy_get(struct api_call *c)
{
	_cleanup_json_ json_t *doc = NULL;
	if (api_call_ok(c, read_policy(c, c->params[0], &doc), NULL))
		api_call_get(c, doc);
}

void api_policy_put(struct api_call *c)
{
	_cleanup_(api_policy_write_done) struct policy_write w;
	_cleanup_json_ json_t *doc = NULL;
	bool created = false;
	if (!api_policy_write_begin(c, read_policy, &w))
		return;
	int r = policy_put(policy_of(c), c->params[0], &w, &doc, &created);
	if (!api_policy_write_ok(c, r, &w))
		return;
	api_call_document(c, created ? 201 : 200, doc);
	if (c->status == 201)
		api_call_location(c, POLICIES, c->param_text[0]);
}

void api_policy_patch(struct api_call *c)
{
	_cleanup_(api_policy_write_done) struct policy_write w;
	_cleanup_json_ json_t *doc = NULL;
	if (!api_policy_write_begin(c, read_policy, &w))
		return;
	if (api_policy_write_ok(c, policy_patch(policy_of(c), c->params[0], &w, &doc), &w))
		api_call_document(c, 200, doc);
}

void api_policy_delete(struct api_call *c)
{
	_cleanup_(api_policy_write_done) struct policy_write w;
	if (!api_policy_write_begin(c, read_policy, &w))
		return;
	int r = policy_delete(policy_of(c), c->params[0], &w);
	if (r == ERR_CONFLICT)
		api_call_problem(c, API_PROBLEM_CONFLICT, "the policy is attached to something");
	else if (api_policy_write_ok(c, r, &w))
		api_call_empty(c, 204);
}

static int list_policies(
        struct policy *p, const char *after, unsigned limit, json_t **ret, char *ret_next)
{
	return policy_list(p, after, limit, ret, ret_next);
}

void api_policy_list(struct api_call *c)
{
	api_policy_page(c, SLICE_LIT("policies"), list_policies);
}

/* ---- versions ---- */

void api_policy_version_create(struct api_call *c)
{
	_cleanup_(api_policy_write_done) struct policy_write w;
	_cleanup_json_ json_t *doc = NULL;
	if (!api_policy_write_begin(c, read_policy, &w))
		return;
	int r = policy_version_create(policy_of(c), c->params[0], &w, &doc);
	if (api_policy_write_ok(c, r, &w))
		api_call_document(c, 201, doc);
}

void api_policy_version_list(struct api_call *c)
{
	_cleanup_json_ json_t *doc = NULL;
	if (!api_call_ok(c, read_policy(c, c->params[0], &doc), NULL))
		return;
	api_call_page(c, json_object_get(doc, "versions"), SLICE_LIT("versions"), NULL);
}

static bool version_of(struct api_call *c, unsigned *ret)
{
	uint64_t version;
	if (api_parse_uint(c->params[1], 1, INT32_MAX, &version) < 0) {
		api_call_problem(c, API_PROBLEM_NOT_FOUND, NULL);
		return false;
	}
	*ret = (unsigned)version;
	return true;
}

void api_policy_version_get(struct api_call *c)
{
	_cleanup_json_ json_t *doc = NULL;
	unsigned version;
	if (!version_of(c, &version))
		return;
	int r = policy_version_get(policy_of(c), c->params[0], version, &doc);
	if (api_call_ok(c, r, NULL))
		api_call_json(c, 200, doc);
}

void api_policy_version_delete(struct api_call *c)
{
	unsigned version;
	if (!version_of(c, &version))
		return;
	int r = policy_version_delete(policy_of(c), c->params[0], version);
	if (r == ERR_CONFLICT)
		api_call_problem(c, API_PROBLEM_CONFLICT, "it is the version that is in force");
	else if (api_call_ok(c, r, NULL))
		api_call_empty(c, 204);
}

/* ---- attachments ---- */

void api_policy_attachments(struct api_call *c)
{
	_cleanup_json_ json_t *doc = NULL;
	struct link_query q = {.letters = "p", .value = c->param_text[0]};
	if (api_call_ok(c, read_policy(c, c->params[0], &doc), NULL))
		api_link_page(c, &q, policy_links);
}

static void list_of(struct api_call *c, enum entity kind, const char *letters)
{
	struct link_query q = {
	        .subject_kind = kind, .subject = c->param_text[0], .letters = letters};
	api_link_page(c, &q, policy_links);
}

static void attach(struct api_call *c, enum entity kind, bool there)
{
	const char *subject = c->param_text[0];
	int r = there ? policy_attach(policy_of(c), kind, subject, 'p', c->params[1])
	              : policy_detach(policy_of(c), kind, subject, 'p', c->params[1]);
	if (!api_call_ok(c, r, NULL))
		return;
	if (kind != ENTITY_GROUP)
		api_identity_changed(c, kind, c->params[0]);
	api_call_empty(c, 204);
}

void api_device_policy_list(struct api_call *c)
{
	list_of(c, ENTITY_DEVICE, "p");
}

void api_device_policy_put(struct api_call *c)
{
	attach(c, ENTITY_DEVICE, true);
}

void api_device_policy_delete(struct api_call *c)
{
	attach(c, ENTITY_DEVICE, false);
}

void api_certificate_policy_list(struct api_call *c)
{
	list_of(c, ENTITY_CERTIFICATE, "p");
}

void api_certificate_policy_put(struct api_call *c)
{
	attach(c, ENTITY_CERTIFICATE, true);
}

void api_certificate_policy_delete(struct api_call *c)
{
	attach(c, ENTITY_CERTIFICATE, false);
}

void api_group_policy_list(struct api_call *c)
{
	list_of(c, ENTITY_GROUP, "p");
}

void api_group_policy_put(struct api_call *c)
{
	attach(c, ENTITY_GROUP, true);
}

void api_group_policy_delete(struct api_call *c)
{
	attach(c, ENTITY_GROUP, false);
}
