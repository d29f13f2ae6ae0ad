/* Access keys as administrators see them. Worker threads. */
#include "registry/access_key_doc.h"
#include "registry/condition.h"
#include "registry/private.h"
#include "registry/sym_key.h"

static int get(struct registry *r, struct slice name, struct access_key_record *ret)
{
	char text[KEY_NAME_MAX + 1] = "";
	if (!access_key_name_valid(name))
		return ERR_NOT_FOUND;
	memcpy(text, name.p, name.n);
	return r->store.access_key_get(r->store.ctx, text, ret);
}

static int show(const struct access_key_record *rec, bool keys, json_t **ret)
{
	json_t *doc = access_key_doc_render(rec, keys);
	if (!doc)
		return ERR_NOMEM;
	*ret = doc;
	return 0;
}

static int finish(struct registry *r, const struct access_key_record *rec, json_t **ret)
{
	registry_wrote(r, ENTITY_KEY, slice_str(rec->name), 0, false);
	return show(rec, true, ret);
}

/* Keys and a scope that the document does not name stay; keys that are none are made. */
static int apply(const struct access_key_doc *doc, struct access_key_record *rec)
{
	char *scope = doc->scope ? strdup(doc->scope) : NULL;
	if (doc->scope && !scope)
		return ERR_NOMEM;
	if (doc->has_scope) {
		free(rec->scope);
		rec->scope = scope;
	}
	rec->perms = doc->perms;
	if (doc->primary.len > 0)
		rec->primary = doc->primary;
	if (doc->secondary.len > 0)
		rec->secondary = doc->secondary;
	if (rec->primary.len == 0)
		sym_key_make(&rec->primary);
	if (rec->secondary.len == 0)
		sym_key_make(&rec->secondary);
	return 0;
}

static int insert(
        struct registry *r, const struct access_key_doc *doc, struct access_key_record *rec)
{
	*rec = (struct access_key_record){0};
	memcpy(rec->name, doc->name, sizeof(rec->name));
	int err = apply(doc, rec);
	return err < 0 ? err : r->store.access_key_insert(r->store.ctx, rec);
}

int registry_access_key_create(struct registry *r, const json_t *doc, json_t *errors, json_t **ret)
{
	_cleanup_(access_key_doc_done) struct access_key_doc d;
	_cleanup_(access_key_record_done) struct access_key_record rec = {0};
	int err = access_key_doc_read(doc, (struct slice){0}, errors, &d);
	if (err == 0)
		err = insert(r, &d, &rec);
	return err < 0 ? err : finish(r, &rec, ret);
}

int registry_access_key_get(struct registry *r, struct slice name, bool show_keys, json_t **ret)
{
	_cleanup_(access_key_record_done) struct access_key_record rec = {0};
	int err = get(r, name, &rec);
	return err < 0 ? err : show(&rec, show_keys, ret);
}

static int render_list(
        const struct access_key_record *list, unsigned n, bool show_keys, json_t **ret)
{
	_cleanup_json_ json_t *items = json_array();
	if (!items)
		return ERR_NOMEM;
	for (unsigned i = 0; i < n; i++)
		if (json_array_append_new(items, access_key_doc_render(&list[i], show_keys)) < 0)
			return ERR_NOMEM;
	*ret = TAKE_PTR(items);
	return 0;
}

int registry_access_key_list(struct registry *r, const char *after, unsigned limit, bool show_keys,
        json_t **ret, char ret_next[static KEY_NAME_MAX + 1])
{
	struct access_key_record *list = NULL;
	unsigned n = 0;
	int err = r->store.access_key_list(
	        r->store.ctx, after && after[0] ? after : NULL, limit + 1, &list, &n);
	if (err < 0)
		return err;
	unsigned shown = n > limit ? limit : n;
	err = render_list(list, shown, show_keys, ret);
	if (err == 0)
		snprintf(ret_next, KEY_NAME_MAX + 1, "%s",
		        n > limit && shown > 0 ? list[shown - 1].name : "");
	for (unsigned i = 0; i < n; i++)
		access_key_record_done(&list[i]);
	free(list);
	return err;
}

/* ---- PUT, regenerate, delete ---- */

struct write {
	struct registry *registry;
	struct slice name;
	struct registry_condition cond;
	const struct access_key_doc *doc; /* NULL: make a new key instead */
	bool primary;
};

static int write_once(const struct write *w, struct access_key_record *ret, bool *ret_lost)
{
	const struct registry_store *store = &w->registry->store;
	char etag[ETAG_LEN + 1];
	int err = get(w->registry, w->name, ret);
	if (err == 0)
		err = condition_check(w->cond, ret->etag);
	if (err < 0)
		return err;
	if (w->doc)
		err = apply(w->doc, ret);
	else
		sym_key_make(w->primary ? &ret->primary : &ret->secondary);
	if (err < 0)
		return err;
	memcpy(etag, ret->etag, sizeof(etag));
	err = store->access_key_update(store->ctx, ret, (struct store_match){.etag = etag});
	*ret_lost = write_lost(err);
	return err;
}

static int write_key(const struct write *w, struct access_key_record *ret)
{
	for (unsigned round = 0; round < WRITE_ROUNDS; round++) {
		bool lost = false;
		access_key_record_done(ret);
		int err = write_once(w, ret, &lost);
		if (!lost)
			return err;
	}
	return ERR_CONFLICT;
}

int registry_access_key_put(struct registry *r, struct slice name, const json_t *doc,
        struct registry_condition cond, json_t *errors, json_t **ret, bool *ret_created)
{
	_cleanup_(access_key_doc_done) struct access_key_doc d;
	_cleanup_(access_key_record_done) struct access_key_record rec = {0};
	const struct write w = {.registry = r, .name = name, .cond = cond, .doc = &d};
	int err = access_key_doc_read(doc, name, errors, &d);
	if (err < 0)
		return err;
	bool created = false;
	err = write_key(&w, &rec);
	if (err == ERR_NOT_FOUND) {
		err = condition_check(cond, NULL);
		if (err == 0)
			err = insert(r, &d, &rec);
		created = err == 0;
		/* Somebody else was first. */
		if (err == ERR_EXISTS)
			err = cond.if_none_match_any ? ERR_STALE : ERR_CONFLICT;
	}
	if (err == 0)
		err = finish(r, &rec, ret);
	if (err == 0)
		*ret_created = created;
	return err;
}

int registry_access_key_regenerate(struct registry *r, struct slice name, bool primary,
        struct registry_condition cond, json_t **ret)
{
	_cleanup_(access_key_record_done) struct access_key_record rec = {0};
	const struct write w = {.registry = r, .name = name, .cond = cond, .primary = primary};
	int err = write_key(&w, &rec);
	return err < 0 ? err : finish(r, &rec, ret);
}

static int delete_once(
        struct registry *r, struct slice name, struct registry_condition cond, bool *ret_lost)
{
	_cleanup_(access_key_record_done) struct access_key_record rec = {0};
	int err = get(r, name, &rec);
	/* What was altered cannot be read, but taken away. */
	bool altered = err == ERR_CORRUPT;
	if (altered) {
		memcpy(rec.name, name.p, name.n);
		err = 0;
	}
	if (err == 0)
		err = condition_check(cond, rec.etag);
	if (err < 0)
		return err;
	err = r->store.access_key_delete(
	        r->store.ctx, rec.name, (struct store_match){.etag = altered ? NULL : rec.etag});
	if (err == 0)
		registry_wrote(r, ENTITY_KEY, name, 0, true);
	*ret_lost = write_lost(err);
	return err;
}

int registry_access_key_delete(
        struct registry *r, struct slice name, struct registry_condition cond)
{
	for (unsigned round = 0; round < WRITE_ROUNDS; round++) {
		bool lost = false;
		int err = delete_once(r, name, cond, &lost);
		if (!lost)
			return err;
	}
	return ERR_CONFLICT;
}
