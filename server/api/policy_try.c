#include "policy/policy_admin.h"

#include "server/api/handlers.h"
#include "server/api/internal.h"
#include "server/api/policy_write.h"
#include "server/base/clock.h"
#include "server/base/err.h"

/* POST /policies/simulate and /policies/check: what would be decided, and what a document would
 * change, before anything is stored. */

static struct policy *policy_of(const struct api_call *c)
{
	return c->api->deps.policy;
}

static struct slice member(const struct api_call *c, const char *name)
{
	const json_t *value = json_object_get(c->body, name);
	return slice_make(json_string_value(value), json_string_length(value));
}

/* Every member known, and of its type. */
struct member_row {
	const char *name;
	bool (*fits)(const json_t *value);
	const char *must;
};

static bool is_string(const json_t *value)
{
	return json_is_string(value);
}

static bool is_bool(const json_t *value)
{
	return json_is_boolean(value);
}

static bool is_list(const json_t *value)
{
	return json_is_array(value) && json_array_size(value) <= 16;
}

static bool is_any(const json_t *value HF_UNUSED)
{
	return true;
}

static bool is_names(const json_t *value)
{
	const json_t *name;
	size_t i;
	json_array_foreach((json_t *)value, i, name) if (!json_is_string(name)) return false;
	return !value || json_is_array(value);
}

/* {"devices": […], "groups": […]}, either of which may be left out. */
static bool is_attachment(const json_t *value)
{
	const json_t *devices = json_object_get(value, "devices");
	const json_t *groups = json_object_get(value, "groups");
	return json_is_object(value) && is_names(devices) && is_names(groups) &&
	        json_object_size(value) == (size_t)(devices != NULL) + (size_t)(groups != NULL);
}

static bool members_fit(struct api_call *c, const struct member_row *rows, size_t n)
{
	const char *name;
	json_t *value;
	char pointer[64];
	if (!json_is_object(c->body)) {
		api_call_bad_body(c, "", "must be an object");
		return false;
	}
	json_object_foreach(c->body, name, value)
	{
		size_t i = 0;
		while (i < n && strcmp(rows[i].name, name) != 0)
			i++;
		if (i == n) {
			api_call_unknown_member(c, name);
			return false;
		}
		if (rows[i].fits(value))
			continue;
		snprintf(pointer, sizeof(pointer), "/%s", name);
		api_call_bad_body(c, pointer, rows[i].must);
		return false;
	}
	return true;
}

/* ---- simulate ---- */

static const struct member_row simulate_members[] = {
        {"deviceId", is_string, "must be a string"},
        {"key", is_string, "must be a string"},
        {"certificateId", is_string, "must be a string"},
        {"clientId", is_string, "must be a string"},
        {"action", is_string, "must be a string"},
        {"topic", is_string, "must be a string"},
        {"filter", is_string, "must be a string"},
        {"sourceIp", is_string, "must be a string"},
        {"serverName", is_string, "must be a string"},
        {"persistent", is_bool, "must be true or false"},
        {"lastWillTopic", is_string, "must be a string"},
        {"fromDeviceId", is_string, "must be a string"},
        {"policies", is_list, "must be an array of at most 16 documents"},
};

static int documents_text(struct api_call *c, struct access_source *source, char **ret)
{
	const json_t *list = json_object_get(c->body, "policies");
	*ret = json_dumps(list, JSON_COMPACT);
	if (!*ret)
		return ERR_NOMEM;
	source->documents = slice_str(*ret);
	return 0;
}

/* The documents to be tried, each without an error. */
static bool documents_fit(struct api_call *c)
{
	_cleanup_json_ json_t *errors = json_array();
	const json_t *list = json_object_get(c->body, "policies"), *document;
	size_t i;
	json_array_foreach((json_t *)list, i, document)
	{
		int r = policy_check(document, errors, NULL);
		if (r == 0)
			continue;
		if (r == ERR_INVALID)
			api_call_invalid(c, errors);
		else
			api_call_err(c, r);
		return false;
	}
	return true;
}

/* What hangs on somebody: stored, or with the documents of the request in place of its policies. */
static int access_of(struct api_call *c, struct api_subject *s, bool documents, struct access **ret)
{
	_cleanup_free_ char *text = NULL;
	bool tries = json_object_get(c->body, "policies") != NULL;
	int r = tries && documents ? documents_text(c, &s->source, &text) : 0;
	if (r < 0)
		return r;
	*ret = tries ? policy_access_try(policy_of(c), &s->source)
	             : policy_access_make(policy_of(c), &s->source);
	s->source.documents = (struct slice){0};
	return *ret ? 0 : ERR_NOMEM;
}

static int certificate_access(struct api_call *c, struct access **ret)
{
	struct api_subject s;
	struct slice id = member(c, "certificateId");
	if (!id.p)
		return 0;
	int r = api_subject_read(c, ENTITY_CERTIFICATE, id, &s);
	if (r == 0)
		r = access_of(c, &s, false, ret);
	api_subject_done(&s);
	return r;
}

/* Who is asked about: a device, with a certificate or without, or a key. */
static int somebody(struct api_call *c, struct principal **ret)
{
	struct api_subject s;
	struct access *own = NULL, *certificate = NULL;
	struct slice device = member(c, "deviceId"), key = member(c, "key");
	int r = api_subject_read(c, key.p ? ENTITY_KEY : ENTITY_DEVICE, key.p ? key : device, &s);
	if (r == 0)
		r = access_of(c, &s, true, &own);
	if (r == 0)
		r = certificate_access(c, &certificate);
	if (r == 0) {
		*ret = api_subject_principal(&s, member(c, "clientId"), own, certificate);
		r = *ret ? 0 : ERR_NOMEM;
	} else {
		access_unref(own);
		access_unref(certificate);
	}
	api_subject_done(&s);
	return r;
}

static int sender(struct api_call *c, struct access **ret)
{
	struct api_subject s;
	struct slice id = member(c, "fromDeviceId");
	if (!id.p)
		return 0;
	int r = api_subject_read(c, ENTITY_DEVICE, id, &s);
	if (r == 0)
		*ret = policy_access_make(policy_of(c), &s.source);
	api_subject_done(&s);
	return r < 0 || *ret ? r : ERR_NOMEM;
}

static bool read_source(struct api_call *c, struct principal *who)
{
	struct slice ip = member(c, "sourceIp");
	if (!ip.p)
		return true;
	who->has_source = ip_parse(ip, &who->source) == 0;
	if (!who->has_source)
		api_call_bad_body(c, "/sourceIp", "must be an IPv4 or IPv6 address");
	return who->has_source;
}

static void answer_simulation(struct api_call *c, struct principal *who, const struct access *from)
{
	_cleanup_json_ json_t *answer = NULL;
	struct slice topic = member(c, "topic"), will = member(c, "lastWillTopic");
	const struct auth_request req = {.server_name = member(c, "serverName"),
	        .persistent = json_is_true(json_object_get(c->body, "persistent")),
	        .has_will = will.p != NULL,
	        .will_topic = will};
	const struct policy_question q = {.who = who,
	        .action = json_string_value(json_object_get(c->body, "action")),
	        .text = topic.p ? topic : member(c, "filter"),
	        .from = from,
	        .req = &req};
	int r = policy_simulate(policy_of(c), &q, &answer);
	if (r == ERR_INVALID)
		api_call_bad_body(c, "/action",
		        "must be Connect, Publish, RetainPublish, Subscribe or Receive");
	else if (api_call_ok(c, r, NULL))
		api_call_json(c, 200, answer);
}

static bool question_fits(struct api_call *c)
{
	bool device = member(c, "deviceId").p != NULL, key = member(c, "key").p != NULL;
	bool topic = member(c, "topic").p != NULL, filter = member(c, "filter").p != NULL;
	struct slice action = member(c, "action");
	if (!members_fit(c, simulate_members, ARRAY_LEN(simulate_members)))
		return false;
	if (device == key)
		api_call_bad_body(c, "", "needs either \"deviceId\" or \"key\"");
	else if (!action.p)
		api_call_bad_body(c, "/action", "is required");
	else if (topic && filter)
		api_call_bad_body(c, "/filter", "stands beside \"topic\"");
	else
		return documents_fit(c);
	return false;
}

void api_policy_simulate(struct api_call *c)
{
	struct principal *who = NULL;
	struct access *from = NULL;
	if (!question_fits(c))
		return;
	int r = somebody(c, &who);
	if (r == 0)
		r = sender(c, &from);
	if (api_call_ok(c, r, NULL) && read_source(c, who))
		answer_simulation(c, who, from);
	access_unref(from);
	principal_unref(who);
}

/* ---- check ---- */

#define SAMPLE_MAX 100 /* devices that are compared */
#define WALK_MAX 1000  /* devices that are looked at for a dynamic group */

static const struct member_row check_members[] = {
        {"name", is_string, "must be a string"},
        {"document", is_any, ""},
        {"attachTo", is_attachment,
                "must be an object of \"devices\" and \"groups\", each an array of names"},
};

struct check {
	struct api_call *call;
	const char *name;
	const json_t *document;
	json_t *devices; /* id -> what changes for it */
	size_t concerned, changed;
	bool truncated;
	int err;
};

static json_t *compare(struct check *k, struct api_subject *s)
{
	struct policy *p = policy_of(k->call);
	_cleanup_json_ json_t *gains = json_array(), *losses = json_array();
	struct access *now = policy_access_make(p, &s->source);
	struct access *then = policy_access_with(p, &s->source, k->name, k->document);
	struct principal *before = NULL, *after = NULL;
	if (now && then) {
		before = api_subject_principal(s, (struct slice){0}, now, NULL);
		after = api_subject_principal(s, (struct slice){0}, then, NULL);
	} else {
		access_unref(now);
		access_unref(then);
	}
	if (before && after)
		policy_compare(before, after, gains, losses);
	else
		k->err = ERR_NOMEM;
	principal_unref(before);
	principal_unref(after);
	if (k->err < 0)
		return NULL;
	return json_pack("{s:O, s:O}", "gains", gains, "loses", losses);
}

static void add_device(struct check *k, const char *id)
{
	struct api_subject s;
	if (k->err < 0 || json_object_get(k->devices, id))
		return;
	k->concerned++;
	if (json_object_size(k->devices) >= SAMPLE_MAX) {
		k->truncated = true;
		return;
	}
	int r = api_subject_read(k->call, ENTITY_DEVICE, slice_str(id), &s);
	json_t *change = r == 0 ? compare(k, &s) : NULL;
	if (change) {
		k->changed += json_array_size(json_object_get(change, "gains")) +
		                json_array_size(json_object_get(change, "loses")) >
		        0;
		json_object_set_new(k->devices, id, change);
	} else if (r != ERR_NOT_FOUND && r < 0) {
		k->err = r;
	}
	api_subject_done(&s);
}

static void add_links(struct check *k, char letter, const char *value,
        void (*each)(struct check *k, const struct link_row *l))
{
	const struct document_store *store = &k->call->api->store->documents;
	const char letters[] = {letter, '\0'};
	struct link_query q = {.letters = letters, .value = value, .limit = WALK_MAX};
	_cleanup_free_ struct link_row *rows = NULL;
	unsigned n = 0;
	int r = store->link_list(store->ctx, &q, &rows, &n);
	if (r < 0)
		k->err = r;
	k->truncated |= n == WALK_MAX;
	for (unsigned i = 0; r == 0 && i < n; i++)
		each(k, &rows[i]);
}

static void add_member(struct check *k, const struct link_row *l)
{
	if (l->subject_kind == ENTITY_DEVICE)
		add_device(k, l->subject);
}

static void add_matching(struct check *k, const char *group)
{
	const struct registry_store *store = k->call->api->store;
	struct device_record *list = NULL;
	unsigned n = 0;
	int r = store->device_list(store->ctx, NULL, WALK_MAX, &list, &n);
	if (r < 0)
		k->err = r;
	for (unsigned i = 0; r == 0 && i < n; i++) {
		struct api_subject s;
		struct slice name;
		struct access *a = NULL;
		if (api_subject_read(k->call, ENTITY_DEVICE, slice_str(list[i].id), &s) == 0)
			a = policy_access_make(policy_of(k->call), &s.source);
		for (unsigned pos = 0; policy_access_groups(a, &pos, &name);)
			if (slice_eq_str(name, group))
				add_device(k, list[i].id);
		access_unref(a);
		api_subject_done(&s);
	}
	k->truncated |= n == WALK_MAX;
	for (unsigned i = 0; i < n; i++)
		device_record_done(&list[i]);
	free(list);
}

static void add_group(struct check *k, const char *group)
{
	_cleanup_json_ json_t *doc = NULL;
	int r = policy_group_get(policy_of(k->call), slice_str(group), &doc);
	if (r < 0 && r != ERR_NOT_FOUND)
		k->err = r;
	else if (r == 0 && json_is_true(json_object_get(doc, "dynamic")))
		add_matching(k, group);
	else if (r == 0)
		add_links(k, 'g', group, add_member);
}

static void add_attached(struct check *k, const struct link_row *l)
{
	if (l->subject_kind == ENTITY_DEVICE)
		add_device(k, l->subject);
	else if (l->subject_kind == ENTITY_GROUP)
		add_group(k, l->subject);
}

static void add_named(
        struct check *k, const char *list, void (*add)(struct check *k, const char *name))
{
	const json_t *names = json_object_get(json_object_get(k->call->body, "attachTo"), list);
	const json_t *name;
	size_t i;
	k->truncated |= json_array_size(names) > SAMPLE_MAX;
	json_array_foreach((json_t *)names, i, name)
	{
		if (i < SAMPLE_MAX)
			add(k, json_string_value(name));
	}
}

static void answer_check(struct check *k, const json_t *objections)
{
	json_t *answer = json_pack("{s:O, s:{s:I, s:I, s:b, s:O}}", "objections", objections,
	        "devices", "concerned", (json_int_t)k->concerned, "changed", (json_int_t)k->changed,
	        "truncated", k->truncated, "sample", k->devices);
	api_call_json(k->call, 200, answer);
	json_decref(answer);
}

void api_policy_check(struct api_call *c)
{
	_cleanup_json_ json_t *errors = json_array(), *objections = json_array(),
	                      *devices = json_object();
	struct slice name = member(c, "name");
	if (!members_fit(c, check_members, ARRAY_LEN(check_members)))
		return;
	struct check k = {.call = c,
	        .name = name.p ? (const char *)name.p : "",
	        .document = json_object_get(c->body, "document"),
	        .devices = devices};
	if (!k.document) {
		api_call_bad_body(c, "/document", "is required");
		return;
	}
	if (!api_call_ok(c, policy_check(k.document, errors, objections), errors))
		return;
	if (name.n > 0)
		add_links(&k, 'p', k.name, add_attached);
	add_named(&k, "devices", add_device);
	add_named(&k, "groups", add_group);
	if (api_call_ok(c, k.err, NULL))
		answer_check(&k, objections);
}
