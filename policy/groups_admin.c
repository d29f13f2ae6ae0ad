/* Groups as administrators see them, and what hangs on whom. Workers. */
#include <stdlib.h>

#include "policy/admin.h"
#include "policy/rights.h"
#include "server/base/clock.h"
#include "server/base/err.h"
#include "server/base/where.h"

#define DESCRIPTION_MAX 1024
#define GROUPS_MAX 1000

/* ---- what is sent ---- */

/* What a condition may ask about: what changes with the device's record alone, so that membership
 * is known when the record is. */
static bool path_allowed(const struct where_path *path)
{
	static const char *const alone[] = {"deviceId", "status", "authenticationType"};
	if (path->n > 1 && path->names[0].p && slice_eq_str(path->names[0], "tags"))
		return true;
	for (size_t i = 0; i < ARRAY_LEN(alone); i++)
		if (path->n == 1 && slice_eq_str(path->names[0], alone[i]))
			return true;
	return false;
}

static void check_paths(struct doc_check *c, const struct where *w)
{
	struct where_path path;
	char why[200];
	for (unsigned pos = 0; where_next_path(w, &pos, &path);) {
		if (path_allowed(&path))
			continue;
		snprintf(why, sizeof(why),
		        "at %zu: a group may ask about deviceId, status, authenticationType and "
		        "tags.…; \"%.*s\" is none of them, or changes by itself",
		        path.position, (int)(path.names[0].n < 40 ? path.names[0].n : 40),
		        (const char *)path.names[0].p);
		doc_member_error(c, "condition", why);
	}
}

static void read_condition(struct doc_check *c, const json_t *value)
{
	struct where *w = NULL;
	struct where_error e;
	char why[WHERE_ERROR_LEN + 32];
	if (!value || json_is_null(value))
		return;
	if (!json_is_string(value)) {
		doc_member_error(c, "condition", "must be a string");
		return;
	}
	int err = where_parse(
	        slice_make(json_string_value(value), json_string_length(value)), &w, &e);
	if (err == 0) {
		check_paths(c, w);
	} else {
		snprintf(why, sizeof(why), "at %zu: %s", e.position,
		        err == ERR_NOMEM ? "out of memory" : e.text);
		doc_member_error(c, "condition", why);
	}
	where_free(w);
}

static void read_description(struct doc_check *c, const json_t *value)
{
	if (value && !json_is_null(value) &&
	        (!json_is_string(value) || json_string_length(value) > DESCRIPTION_MAX))
		doc_member_error(c, "description", "must be a string of at most 1,024 bytes");
}

/* The body to be stored. */
static int read_sent(struct policy_write *w, struct slice path,
        char name[static DOCUMENT_NAME_MAX + 1], json_t **ret)
{
	static const char *const read_only[] = {
	        "name", "dynamic", "policies", "etag", "createdTime", "updatedTime"};
	struct doc_check c = {.errors = w->errors};
	_cleanup_json_ json_t *body = json_object();
	const char *member;
	json_t *value;
	if (!json_is_object(w->doc)) {
		doc_error(&c, "must be an object");
		return ERR_INVALID;
	}
	json_object_foreach((json_t *)w->doc, member, value)
	{
		bool known = false;
		for (size_t i = 0; i < ARRAY_LEN(read_only); i++)
			known |= strcmp(member, read_only[i]) == 0;
		if (strcmp(member, "description") == 0 || strcmp(member, "condition") == 0) {
			if (!json_is_null(value) && json_object_set(body, member, value) < 0)
				return ERR_NOMEM;
		} else if (!known) {
			doc_member_error(&c, member, "unknown member");
		}
	}
	admin_read_name(&c, w->doc, path, name);
	read_description(&c, json_object_get(w->doc, "description"));
	read_condition(&c, json_object_get(w->doc, "condition"));
	if (c.failed)
		return ERR_INVALID;
	*ret = TAKE_PTR(body);
	return 0;
}

/* ---- showing ---- */

static json_t *show(const struct document *d, const json_t *body)
{
	struct slice links = slice_str(d->links);
	json_t *condition = json_object_get(body, "condition");
	_cleanup_json_ json_t *policies = json_array();
	for (struct link l; link_next(&links, &l);)
		if (l.letter == 'p')
			json_array_append_new(
			        policies, json_stringn((const char *)l.value.p, l.value.n));
	json_t *doc = json_pack("{s:s, s:b, s:O}", "name", d->name, "dynamic", condition != NULL,
	        "policies", policies);
	if (doc && json_object_update(doc, (json_t *)body) < 0) {
		json_decref(doc);
		return NULL;
	}
	admin_stamp(doc, d);
	return doc;
}

static int finish(const struct document *d, const json_t *body, json_t **ret)
{
	json_t *doc = show(d, body);
	if (!doc)
		return ERR_NOMEM;
	*ret = doc;
	return 0;
}

static int insert(struct policy *p, const char *name, const json_t *body, struct document *d)
{
	*d = (struct document){.kind = ENTITY_GROUP};
	memcpy(d->name, name, strlen(name) + 1);
	return admin_write(p, d, body, NULL);
}

int policy_group_create(struct policy *p, struct policy_write *w, json_t **ret)
{
	_cleanup_(document_done) struct document d = {0};
	_cleanup_json_ json_t *body = NULL;
	char name[DOCUMENT_NAME_MAX + 1];
	int err = read_sent(w, (struct slice){0}, name, &body);
	if (err == 0)
		err = insert(p, name, body, &d);
	return err < 0 ? err : finish(&d, body, ret);
}

int policy_group_get(struct policy *p, struct slice name, json_t **ret)
{
	_cleanup_(document_done) struct document d = {0};
	_cleanup_json_ json_t *body = NULL;
	int err = admin_get(p, ENTITY_GROUP, name, &d, &body);
	return err < 0 ? err : finish(&d, body, ret);
}

int policy_group_list(struct policy *p, const char *after, unsigned limit, json_t **ret,
        char ret_next[static DOCUMENT_NAME_MAX + 1])
{
	return admin_list(p, ENTITY_GROUP, after, limit, show, ret, ret_next);
}

int policy_group_put(struct policy *p, struct slice name, struct policy_write *w, json_t **ret,
        bool *ret_created)
{
	_cleanup_(document_done) struct document d = {0};
	_cleanup_json_ json_t *body = NULL, *old = NULL;
	char text[DOCUMENT_NAME_MAX + 1], etag[ETAG_LEN + 1];
	int err = read_sent(w, name, text, &body);
	if (err < 0)
		return err;
	err = admin_get(p, ENTITY_GROUP, name, &d, &old);
	bool there = err == 0 || err == ERR_CORRUPT;
	if (!there && err != ERR_NOT_FOUND)
		return err;
	err = admin_condition(w, there ? d.etag : NULL);
	memcpy(etag, d.etag, sizeof(etag));
	if (err == 0)
		err = there ? admin_write(p, &d, body, etag) : insert(p, text, body, &d);
	if (err == ERR_EXISTS || (err == ERR_STALE && there && !w->if_match))
		err = ERR_CONFLICT;
	if (err == 0)
		err = finish(&d, body, ret);
	if (err == 0)
		*ret_created = !there;
	return err;
}

int policy_group_delete(struct policy *p, struct slice name, struct policy_write *w)
{
	return admin_remove(p, ENTITY_GROUP, name, w);
}

/* ---- links ---- */

static int takes_members(struct policy *p, struct slice name)
{
	_cleanup_(document_done) struct document d = {0};
	_cleanup_json_ json_t *body = NULL;
	int err = admin_get(p, ENTITY_GROUP, name, &d, &body);
	if (err == 0 && json_object_get(body, "condition"))
		err = ERR_CONFLICT;
	return err;
}

int policy_attach(
        struct policy *p, enum entity kind, const char *subject, char letter, struct slice value)
{
	const struct document_store *s = &p->store.documents;
	char name[DOCUMENT_NAME_MAX + 1];
	int err = letter == 'g' ? takes_members(p, value) : 0;
	if (err == 0 && !admin_name_text(value, name))
		err = ERR_NOT_FOUND;
	if (err == 0)
		err = s->link_add(s->ctx, kind, subject, letter, name, NULL);
	if (err == 0 && kind == ENTITY_GROUP)
		admin_settle(p, kind);
	return err == ERR_EXISTS ? 0 : err;
}

int policy_detach(
        struct policy *p, enum entity kind, const char *subject, char letter, struct slice value)
{
	const struct document_store *s = &p->store.documents;
	char name[DOCUMENT_NAME_MAX + 1];
	if (!admin_name_text(value, name))
		return ERR_NOT_FOUND;
	int err = s->link_remove(s->ctx, kind, subject, letter, name);
	if (err == 0 && kind == ENTITY_GROUP)
		admin_settle(p, kind);
	return err;
}

static json_t *show_link(const struct link_row *l)
{
	char created[CLOCK_RFC3339_LEN];
	return json_pack("{s:s, s:s, s:s, s:s}", "kind", entity_name(l->subject_kind),
	        l->subject_kind == ENTITY_GROUP ? "name" : "id", l->subject,
	        l->letter == 'g' ? "group" : "policy", l->value, "createdTime",
	        clock_rfc3339(l->created_us, created));
}

/* Reads a page of links and shows each. */
static int list(struct policy *p, struct link_query *q,
        json_t *(*show_row)(const struct link_row *l), json_t **ret, bool *ret_more)
{
	const struct document_store *s = &p->store.documents;
	_cleanup_json_ json_t *items = json_array();
	_cleanup_free_ struct link_row *rows = NULL;
	struct link_query more = *q;
	unsigned n = 0;
	more.limit++;
	int err = s->link_list(s->ctx, &more, &rows, &n);
	if (err < 0)
		return err;
	*ret_more = n > q->limit;
	for (unsigned i = 0; i < n && i < q->limit; i++) {
		if (json_array_append_new(items, show_row(&rows[i])) < 0)
			return ERR_NOMEM;
		q->after = rows[i].id;
	}
	*ret = TAKE_PTR(items);
	return 0;
}

int policy_links(struct policy *p, struct link_query *q, json_t **ret, bool *ret_more)
{
	return list(p, q, show_link, ret, ret_more);
}

/* ---- grants: links r, w, b ---- */

static json_t *show_grant(const struct link_row *l)
{
	char created[CLOCK_RFC3339_LEN], id[24];
	const char *access = l->letter == 'b' ? "rw" : l->letter == 'r' ? "r" : "w";
	snprintf(id, sizeof(id), "%llu", (unsigned long long)l->id);
	return json_pack("{s:s, s:s, s:s, s:s, s:s}", "id", id,
	        l->subject_kind == ENTITY_GROUP ? "group" : "deviceId", l->subject, "topicFilter",
	        l->value, "access", access, "createdTime", clock_rfc3339(l->created_us, created));
}

int policy_grant_list(struct policy *p, struct link_query *q, json_t **ret, bool *ret_more)
{
	q->letters = "rwb";
	return list(p, q, show_grant, ret, ret_more);
}

static int find_grant(struct policy *p, uint64_t id, struct link_row *ret)
{
	const struct document_store *s = &p->store.documents;
	struct link_row row;
	int err = s->link_get(s->ctx, id, &row);
	if (err == 0 && !strchr("rwb", row.letter))
		err = ERR_NOT_FOUND;
	if (err == 0)
		*ret = row;
	return err;
}

int policy_grant_get(struct policy *p, uint64_t id, json_t **ret)
{
	struct link_row row;
	int err = find_grant(p, id, &row);
	if (err == 0)
		*ret = show_grant(&row);
	return err < 0 || *ret ? err : ERR_NOMEM;
}

int policy_grant_delete(struct policy *p, uint64_t id, json_t **ret)
{
	const struct document_store *s = &p->store.documents;
	struct link_row row = {0};
	int err = find_grant(p, id, &row);
	if (err == 0)
		err = s->link_remove(s->ctx, row.subject_kind, row.subject, row.letter, row.value);
	if (err < 0)
		return err;
	if (row.subject_kind == ENTITY_GROUP)
		admin_settle(p, ENTITY_GROUP);
	*ret = show_grant(&row);
	return *ret ? 0 : ERR_NOMEM;
}
