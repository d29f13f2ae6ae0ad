#include "policy/admin.h"

#include <stdlib.h>

#include "policy/policy_json.h"
#include "server/base/clock.h"
#include "server/base/err.h"

#define SETTLE_MS 900

bool admin_name_valid(struct slice name)
{
	static const char *const words[] = {".", "..", "check", "simulate"};
	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		if (slice_eq_str(name, words[i]))
			return false;
	for (size_t i = 0; i < name.n; i++) {
		uint8_t c = name.p[i];
		bool ok = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
		        (c >= '0' && c <= '9') || (c && strchr("_+=,.@-", c));
		if (!ok)
			return false;
	}
	return name.n >= 1 && name.n <= DOCUMENT_NAME_MAX;
}

bool admin_name_text(struct slice name, char out[static DOCUMENT_NAME_MAX + 1])
{
	if (!admin_name_valid(name))
		return false;
	memcpy(out, name.p, name.n);
	out[name.n] = '\0';
	return true;
}

bool admin_read_name(struct doc_check *c, const json_t *doc, struct slice path,
        char out[static DOCUMENT_NAME_MAX + 1])
{
	const json_t *value = json_object_get(doc, "name");
	struct slice name = slice_make(json_string_value(value), json_string_length(value));
	if (path.p && !value)
		name = path;
	if (!json_is_string(value) && !(path.p && !value))
		doc_member_error(c, "name", value ? "must be a string" : "is required");
	else if (!admin_name_text(name, out))
		doc_member_error(c, "name", ADMIN_NAME_RULE);
	else if (path.p && !slice_eq(path, name))
		doc_member_error(c, "name", "is not the name of the path");
	else
		return true;
	return false;
}

void admin_settle(struct policy *p, enum entity kind)
{
	policy_changed(p, kind);
	policy_settled(p, SETTLE_MS);
}

int admin_get(struct policy *p, enum entity kind, struct slice name, struct document *ret,
        json_t **ret_body)
{
	const struct document_store *s = &p->store.documents;
	char text[DOCUMENT_NAME_MAX + 1], error[JSON_ERROR_LEN];
	if (!admin_name_text(name, text))
		return ERR_NOT_FOUND;
	int err = s->get(s->ctx, kind, text, ret);
	if (err == 0 && json_read(slice_str(ret->text), &policy_json_limits, ret_body, error) < 0)
		err = ERR_CORRUPT;
	return err;
}

int admin_write(struct policy *p, struct document *d, const json_t *body, const char *replace)
{
	const struct document_store *s = &p->store.documents;
	free(d->text);
	d->text = json_dumps(body, JSON_COMPACT);
	if (!d->text)
		return ERR_NOMEM;
	if (strlen(d->text) > DOCUMENT_TEXT_MAX)
		return ERR_TOO_BIG;
	int err = replace ? s->update(s->ctx, d, (struct store_match){.etag = replace})
	                  : s->insert(s->ctx, d);
	if (err == 0)
		admin_settle(p, d->kind);
	return err;
}

int admin_remove(
        struct policy *p, enum entity kind, struct slice name, const struct policy_write *w)
{
	const struct document_store *s = &p->store.documents;
	char text[DOCUMENT_NAME_MAX + 1];
	if (!admin_name_text(name, text))
		return ERR_NOT_FOUND;
	int err = s->remove(s->ctx, kind, text, (struct store_match){.etag = w->if_match});
	if (err == 0)
		admin_settle(p, kind);
	return err == ERR_NOT_FOUND && w->if_match ? ERR_STALE : err;
}

int admin_condition(const struct policy_write *w, const char *etag)
{
	if (w->if_none_match_any && etag)
		return ERR_STALE;
	if (w->if_match &&
	        (!etag || (strcmp(w->if_match, "*") != 0 && strcmp(w->if_match, etag) != 0)))
		return ERR_STALE;
	return 0;
}

int admin_stamp(json_t *doc, const struct document *d)
{
	char created[CLOCK_RFC3339_LEN], updated[CLOCK_RFC3339_LEN];
	if (!doc)
		return ERR_NOMEM;
	json_object_set_new(doc, "etag", json_string(d->etag));
	json_object_set_new(doc, "createdTime", json_string(clock_rfc3339(d->created_us, created)));
	json_object_set_new(doc, "updatedTime", json_string(clock_rfc3339(d->updated_us, updated)));
	return 0;
}

static json_t *show_one(
        const struct document *d, json_t *(*show)(const struct document *d, const json_t *body))
{
	_cleanup_json_ json_t *body = NULL;
	char error[JSON_ERROR_LEN];
	if (json_read(slice_str(d->text), &policy_json_limits, &body, error) < 0)
		return json_pack("{s:s, s:s}", "name", d->name, "error", "cannot be read");
	return show(d, body);
}

int admin_list(struct policy *p, enum entity kind, const char *after, unsigned limit,
        json_t *(*show)(const struct document *d, const json_t *body), json_t **ret,
        char ret_next[static DOCUMENT_NAME_MAX + 1])
{
	const struct document_store *s = &p->store.documents;
	_cleanup_json_ json_t *items = json_array();
	struct document *list = NULL;
	unsigned n = 0;
	int err = s->list(s->ctx, kind, after && after[0] ? after : NULL, limit + 1, &list, &n);
	if (err < 0)
		return err;
	unsigned shown = n > limit ? limit : n;
	for (unsigned i = 0; i < shown; i++)
		if (json_array_append_new(items, show_one(&list[i], show)) < 0)
			err = ERR_NOMEM;
	snprintf(ret_next, DOCUMENT_NAME_MAX + 1, "%s",
	        n > limit && shown > 0 ? list[shown - 1].name : "");
	for (unsigned i = 0; i < n; i++)
		document_done(&list[i]);
	free(list);
	if (err == 0)
		*ret = TAKE_PTR(items);
	return err;
}
