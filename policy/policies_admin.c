/* Policies and their versions as administrators see them. Workers. */
#include "policy/admin.h"
#include "policy/objections.h"
#include "policy/policy_json.h"
#include "server/base/clock.h"
#include "server/base/err.h"

#define WRITE_ROUNDS 4

/* ---- showing ---- */

static json_t *show_version(const json_t *policy, const json_t *version, bool document)
{
	json_int_t n = json_integer_value(json_object_get(version, "version"));
	bool is_default = n == json_integer_value(json_object_get(policy, "default"));
	json_t *doc = json_pack("{s:I, s:O, s:b}", "version", n, "createdTime",
	        json_object_get(version, "createdTime"), "isDefault", is_default);
	if (doc && document)
		json_object_set(doc, "document", json_object_get(version, "document"));
	return doc;
}

static json_t *show(const struct document *d, const json_t *policy)
{
	const json_t *versions = json_object_get(policy, "versions");
	const json_t *number = json_object_get(policy, "default");
	_cleanup_json_ json_t *list = json_array();
	for (size_t i = 0; i < json_array_size(versions); i++)
		json_array_append_new(
		        list, show_version(policy, json_array_get(versions, i), false));
	json_t *current = policy_json_version(policy, (unsigned)json_integer_value(number));
	json_t *doc = json_pack("{s:s, s:O, s:O, s:O}", "name", d->name, "version", number,
	        "document", json_object_get(current, "document"), "versions", list);
	admin_stamp(doc, d);
	return doc;
}

static int finish(const struct document *d, const json_t *policy, json_t **ret)
{
	json_t *doc = show(d, policy);
	if (!doc)
		return ERR_NOMEM;
	*ret = doc;
	return 0;
}

/* ---- reading what is sent ---- */

struct sent {
	char name[DOCUMENT_NAME_MAX + 1];
	json_t *document; /* borrowed */
	bool set_default;
};

static void unknown_members(
        struct doc_check *c, const json_t *doc, const char *const *known, size_t n)
{
	const char *name;
	json_t *value;
	json_object_foreach((json_t *)doc, name, value)
	{
		size_t i = 0;
		while (i < n && strcmp(known[i], name) != 0)
			i++;
		if (i == n)
			doc_member_error(c, name, "unknown member");
	}
}

static int read_document(struct doc_check *c, struct policy_write *w, struct sent *s)
{
	struct policy_doc *compiled = NULL;
	s->document = json_object_get(w->doc, "document");
	if (!s->document) {
		doc_member_error(c, "document", "is required");
		return ERR_INVALID;
	}
	size_t mark = doc_enter(c, SLICE_LIT("document"));
	int err = policy_doc_read(s->document, c, slice_str(s->name), &compiled);
	doc_leave(c, mark);
	if (err == 0 && !c->failed && objections_find(compiled, w->objections) > 0 && !w->force)
		err = ERR_DENIED;
	policy_doc_free(compiled);
	return err;
}

static int read_sent(struct policy_write *w, struct slice path, struct sent *s)
{
	static const char *const known[] = {"name", "document", "setAsDefault", "version",
	        "versions", "etag", "createdTime", "updatedTime"};
	struct doc_check c = {.errors = w->errors};
	const json_t *set = json_object_get(w->doc, "setAsDefault");
	*s = (struct sent){.set_default = !json_is_false(set)};
	if (!json_is_object(w->doc)) {
		doc_error(&c, "must be an object");
		return ERR_INVALID;
	}
	unknown_members(&c, w->doc, known, ARRAY_LEN(known));
	if (set && !json_is_boolean(set))
		doc_member_error(&c, "setAsDefault", "must be true or false");
	admin_read_name(&c, w->doc, path, s->name);
	int err = read_document(&c, w, s);
	return c.failed && err == 0 ? ERR_INVALID : err;
}

/* ---- versions ---- */

static json_t *new_version(json_int_t number, json_t *document)
{
	char now[CLOCK_RFC3339_LEN];
	return json_pack("{s:I, s:s, s:O}", "version", number, "createdTime",
	        clock_rfc3339(clock_wall_us(), now), "document", document);
}

static int insert(struct policy *p, const struct sent *s, struct document *d, json_t **ret)
{
	_cleanup_json_ json_t *policy = json_pack("{s:[o], s:i, s:i}", "versions",
	        new_version(1, s->document), "default", 1, "next", 2);
	*d = (struct document){.kind = ENTITY_POLICY};
	memcpy(d->name, s->name, sizeof(d->name));
	if (!policy)
		return ERR_NOMEM;
	int err = admin_write(p, d, policy, NULL);
	return err < 0 ? err : finish(d, policy, ret);
}

/* Makes room by the oldest that is not the default. */
static void drop_oldest(json_t *policy)
{
	json_t *versions = json_object_get(policy, "versions");
	json_int_t current = json_integer_value(json_object_get(policy, "default"));
	for (size_t i = 0; i < json_array_size(versions); i++) {
		const json_t *v = json_array_get(versions, i);
		if (json_integer_value(json_object_get(v, "version")) == current)
			continue;
		json_array_remove(versions, i);
		return;
	}
}

static int add_version(json_t *policy, const struct sent *s, bool make_room)
{
	json_t *versions = json_object_get(policy, "versions");
	json_int_t number = json_integer_value(json_object_get(policy, "next"));
	if (json_array_size(versions) >= POLICY_VERSIONS_MAX && make_room)
		drop_oldest(policy);
	if (json_array_size(versions) >= POLICY_VERSIONS_MAX)
		return ERR_QUOTA;
	if (json_array_append_new(versions, new_version(number, s->document)) < 0)
		return ERR_NOMEM;
	json_object_set_new(policy, "next", json_integer(number + 1));
	if (s->set_default)
		json_object_set_new(policy, "default", json_integer(number));
	return 0;
}

/* ---- changing: read, change, write under the etag that was read ---- */

struct change {
	int (*apply)(json_t *policy, const struct change *c);
	const struct sent *sent;
	bool make_room;
	unsigned version;
};

static int change_once(struct policy *p, struct slice name, const struct policy_write *w,
        const struct change *c, json_t **ret)
{
	_cleanup_(document_done) struct document d = {0};
	_cleanup_json_ json_t *policy = NULL;
	int err = admin_get(p, ENTITY_POLICY, name, &d, &policy);
	if (err == 0)
		err = admin_condition(w, d.etag);
	if (err == 0)
		err = c->apply(policy, c);
	if (err < 0)
		return err;
	char etag[ETAG_LEN + 1];
	memcpy(etag, d.etag, sizeof(etag));
	err = admin_write(p, &d, policy, etag);
	/* Somebody else was faster. */
	if (err == ERR_STALE && !w->if_match)
		return ERR_TIMEOUT;
	return err < 0 ? err : finish(&d, policy, ret);
}

static int change(struct policy *p, struct slice name, const struct policy_write *w,
        const struct change *c, json_t **ret)
{
	for (unsigned i = 0; i < WRITE_ROUNDS; i++) {
		int err = change_once(p, name, w, c, ret);
		if (err != ERR_TIMEOUT)
			return err;
	}
	return ERR_CONFLICT;
}

static int apply_version(json_t *policy, const struct change *c)
{
	return add_version(policy, c->sent, c->make_room);
}

static int apply_default(json_t *policy, const struct change *c)
{
	if (!policy_json_version(policy, c->version))
		return ERR_NOT_FOUND;
	return json_object_set_new(policy, "default", json_integer(c->version)) < 0 ? ERR_NOMEM : 0;
}

static int apply_removal(json_t *policy, const struct change *c)
{
	json_t *versions = json_object_get(policy, "versions");
	if (json_integer_value(json_object_get(policy, "default")) == (json_int_t)c->version)
		return ERR_CONFLICT;
	for (size_t i = 0; i < json_array_size(versions); i++)
		if (json_integer_value(json_object_get(json_array_get(versions, i), "version")) ==
		        (json_int_t)c->version)
			return json_array_remove(versions, i) < 0 ? ERR_NOMEM : 0;
	return ERR_NOT_FOUND;
}

/* ---- the door ---- */

int policy_create(struct policy *p, struct policy_write *w, json_t **ret)
{
	_cleanup_(document_done) struct document d = {0};
	struct sent s;
	int err = read_sent(w, (struct slice){0}, &s);
	return err < 0 ? err : insert(p, &s, &d, ret);
}

int policy_get(struct policy *p, struct slice name, json_t **ret)
{
	_cleanup_(document_done) struct document d = {0};
	_cleanup_json_ json_t *policy = NULL;
	int err = admin_get(p, ENTITY_POLICY, name, &d, &policy);
	return err < 0 ? err : finish(&d, policy, ret);
}

int policy_list(struct policy *p, const char *after, unsigned limit, json_t **ret,
        char ret_next[static DOCUMENT_NAME_MAX + 1])
{
	return admin_list(p, ENTITY_POLICY, after, limit, show, ret, ret_next);
}

int policy_put(struct policy *p, struct slice name, struct policy_write *w, json_t **ret,
        bool *ret_created)
{
	_cleanup_(document_done) struct document d = {0};
	struct sent s;
	int err = read_sent(w, name, &s);
	if (err < 0)
		return err;
	s.set_default = true;
	const struct change c = {.apply = apply_version, .sent = &s, .make_room = true};
	err = change(p, name, w, &c, ret);
	if (err != ERR_NOT_FOUND)
		return err;
	err = admin_condition(w, NULL);
	if (err == 0)
		err = insert(p, &s, &d, ret);
	if (err == ERR_EXISTS)
		err = w->if_none_match_any ? ERR_STALE : ERR_CONFLICT;
	if (err == 0)
		*ret_created = true;
	return err;
}

int policy_patch(struct policy *p, struct slice name, struct policy_write *w, json_t **ret)
{
	static const char *const known[] = {"version"};
	struct doc_check check = {.errors = w->errors};
	json_int_t version = json_integer_value(json_object_get(w->doc, "version"));
	unknown_members(&check, w->doc, known, ARRAY_LEN(known));
	if (version < 1 || version > INT32_MAX)
		doc_member_error(&check, "version", "must be the number of a version");
	const struct change c = {.apply = apply_default, .version = (unsigned)version};
	return check.failed ? ERR_INVALID : change(p, name, w, &c, ret);
}

int policy_delete(struct policy *p, struct slice name, struct policy_write *w)
{
	return admin_remove(p, ENTITY_POLICY, name, w);
}

int policy_version_create(struct policy *p, struct slice name, struct policy_write *w, json_t **ret)
{
	struct sent s;
	int err = read_sent(w, name, &s);
	const struct change c = {.apply = apply_version, .sent = &s};
	return err < 0 ? err : change(p, name, w, &c, ret);
}

int policy_version_get(struct policy *p, struct slice name, unsigned version, json_t **ret)
{
	_cleanup_(document_done) struct document d = {0};
	_cleanup_json_ json_t *policy = NULL;
	int err = admin_get(p, ENTITY_POLICY, name, &d, &policy);
	if (err < 0)
		return err;
	const json_t *v = policy_json_version(policy, version);
	if (!v)
		return ERR_NOT_FOUND;
	*ret = show_version(policy, v, true);
	return *ret ? 0 : ERR_NOMEM;
}

int policy_version_delete(struct policy *p, struct slice name, unsigned version)
{
	_cleanup_json_ json_t *after = NULL;
	const struct policy_write w = {0};
	const struct change c = {.apply = apply_removal, .version = version};
	return change(p, name, &w, &c, &after);
}
