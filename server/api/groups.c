#include "policy/policy_admin.h"

#include "server/api/handlers.h"
#include "server/api/internal.h"
#include "server/api/policy_write.h"
#include "server/base/err.h"

/* /groups: sets of devices, by hand or by a condition. */

#define GROUPS "/api/v1/groups"
/* How many devices a page of a dynamic group's members looks at. */
#define WALK_MAX 1000

static struct policy *policy_of(const struct api_call *c)
{
	return c->api->deps.policy;
}

static int read_group(struct api_call *c, struct slice name, json_t **ret)
{
	return policy_group_get(policy_of(c), name, ret);
}

void api_group_create(struct api_call *c)
{
	_cleanup_(api_policy_write_done) struct policy_write w;
	_cleanup_json_ json_t *doc = NULL;
	if (!api_policy_write_begin(c, NULL, &w))
		return;
	if (!api_policy_write_ok(c, policy_group_create(policy_of(c), &w, &doc), &w))
		return;
	api_call_document(c, 201, doc);
	const char *name = json_string_value(json_object_get(doc, "name"));
	if (name && c->status == 201)
		api_call_location(c, GROUPS, name);
}

void api_group_get(struct api_call *c)
{
	_cleanup_json_ json_t *doc = NULL;
	if (api_call_ok(c, read_group(c, c->params[0], &doc), NULL))
		api_call_get(c, doc);
}

void api_group_put(struct api_call *c)
{
	_cleanup_(api_policy_write_done) struct policy_write w;
	_cleanup_json_ json_t *doc = NULL;
	bool created = false;
	if (!api_policy_write_begin(c, read_group, &w))
		return;
	int r = policy_group_put(policy_of(c), c->params[0], &w, &doc, &created);
	if (!api_policy_write_ok(c, r, &w))
		return;
	api_call_document(c, created ? 201 : 200, doc);
	if (c->status == 201)
		api_call_location(c, GROUPS, c->param_text[0]);
}

void api_group_delete(struct api_call *c)
{
	_cleanup_(api_policy_write_done) struct policy_write w;
	if (!api_policy_write_begin(c, read_group, &w))
		return;
	if (api_policy_write_ok(c, policy_group_delete(policy_of(c), c->params[0], &w), &w))
		api_call_empty(c, 204);
}

static int list_groups(
        struct policy *p, const char *after, unsigned limit, json_t **ret, char *ret_next)
{
	return policy_group_list(p, after, limit, ret, ret_next);
}

void api_group_list(struct api_call *c)
{
	api_policy_page(c, SLICE_LIT("groups"), list_groups);
}

/* ---- members ---- */

static bool is_member(struct api_call *c, const char *device, struct slice group)
{
	struct api_subject s;
	bool found = false;
	if (api_subject_read(c, ENTITY_DEVICE, slice_str(device), &s) == 0) {
		struct access *a = policy_access_make(policy_of(c), &s.source);
		struct slice name;
		for (unsigned pos = 0; policy_access_groups(a, &pos, &name);)
			found |= slice_eq(name, group);
		access_unref(a);
	}
	api_subject_done(&s);
	return found;
}

/* One page of devices is looked at, whether many or none of them are in the group. */
static int walk(struct api_call *c, const char *after, unsigned limit, json_t **ret,
        char ret_next[static MODULE_ID_MAX + 1])
{
	const struct registry_store *store = c->api->store;
	_cleanup_json_ json_t *items = json_array();
	struct device_record *list = NULL;
	unsigned n = 0, i = 0;
	int r = store->device_list(store->ctx, after, WALK_MAX, &list, &n);
	if (r < 0)
		return r;
	for (; i < n && json_array_size(items) < limit; i++)
		if (is_member(c, list[i].id, c->params[0]))
			json_array_append_new(
			        items, json_pack("{s:s, s:s}", "kind", "device", "id", list[i].id));
	snprintf(ret_next, MODULE_ID_MAX + 1, "%s",
	        i < n || n == WALK_MAX ? list[i > 0 ? i - 1 : 0].id : "");
	for (unsigned k = 0; k < n; k++)
		device_record_done(&list[k]);
	free(list);
	*ret = TAKE_PTR(items);
	return 0;
}

static void list_dynamic(struct api_call *c)
{
	uint8_t position[API_CURSOR_POSITION_MAX];
	char scope[DOCUMENT_NAME_MAX + 16], after[MODULE_ID_MAX + 1] = "",
	                                                          next[MODULE_ID_MAX + 1] = "";
	_cleanup_json_ json_t *items = NULL;
	unsigned limit;
	size_t len;
	bool given;
	int n = snprintf(scope, sizeof(scope), "members %.*s", SLICE_ARG(c->params[0]));
	struct slice name = slice_make(scope, (size_t)n);
	if (!api_call_limit(c, &limit) || !api_call_cursor(c, name, position, &len, &given))
		return;
	if (len <= MODULE_ID_MAX)
		memcpy(after, position, len);
	if (!api_call_ok(c, walk(c, given ? after : NULL, limit, &items, next), NULL))
		return;
	const struct slice last = slice_str(next);
	api_call_page(c, items, name, *next ? &last : NULL);
}

void api_group_member_list(struct api_call *c)
{
	_cleanup_json_ json_t *doc = NULL;
	struct link_query q = {
	        .subject_kind = ENTITY_DEVICE, .letters = "g", .value = c->param_text[0]};
	if (!api_call_ok(c, read_group(c, c->params[0], &doc), NULL))
		return;
	if (json_is_true(json_object_get(doc, "dynamic")))
		list_dynamic(c);
	else
		api_link_page(c, &q, policy_links);
}

static void change_member(struct api_call *c, bool there)
{
	const char *device = c->param_text[1];
	int r = there ? policy_attach(policy_of(c), ENTITY_DEVICE, device, 'g', c->params[0])
	              : policy_detach(policy_of(c), ENTITY_DEVICE, device, 'g', c->params[0]);
	if (r == ERR_CONFLICT) {
		api_call_problem(c, API_PROBLEM_CONFLICT,
		        "the group has a condition, which says who is in it");
		return;
	}
	if (!api_call_ok(c, r, NULL))
		return;
	api_identity_changed(c, ENTITY_DEVICE, c->params[1]);
	api_call_empty(c, 204);
}

void api_group_member_put(struct api_call *c)
{
	change_member(c, true);
}

void api_group_member_delete(struct api_call *c)
{
	change_member(c, false);
}

/* Those by hand and those by condition alike. */
void api_device_group_list(struct api_call *c)
{
	struct api_subject s;
	_cleanup_json_ json_t *items = json_array();
	int r = api_subject_read(c, ENTITY_DEVICE, c->params[0], &s);
	struct access *a = r == 0 ? policy_access_make(policy_of(c), &s.source) : NULL;
	struct slice name;
	for (unsigned pos = 0; policy_access_groups(a, &pos, &name);)
		json_array_append_new(
		        items, json_pack("{s:s%}", "name", (const char *)name.p, name.n));
	if (r == 0 && !a)
		r = ERR_NOMEM;
	access_unref(a);
	api_subject_done(&s);
	if (api_call_ok(c, r, NULL))
		api_call_page(c, items, SLICE_LIT("device groups"), NULL);
}
