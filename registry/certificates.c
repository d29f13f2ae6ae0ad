/* Client certificates that are registered, as administrators see them. Worker threads. */
#include "registry/certificate_doc.h"
#include "registry/edit.h"

static int show(const struct document *d, json_t **ret)
{
	struct certificate_doc c;
	json_t *doc = certificate_doc_load(d, &c) < 0
	        ? json_pack("{s:s, s:s}", "certificateId", d->name, "error",
	                  "the stored document cannot be read")
	        : certificate_doc_render(&c, d);
	if (!doc)
		return ERR_NOMEM;
	*ret = doc;
	return 0;
}

static int finish(struct registry *r, const struct document *d, json_t **ret)
{
	registry_wrote(r, ENTITY_CERTIFICATE, slice_str(d->name), 0, false);
	return show(d, ret);
}

int registry_certificate_create(struct registry *r, const json_t *doc, json_t *errors, json_t **ret)
{
	_cleanup_(document_done) struct document d = {0};
	struct certificate_doc c;
	int err = certificate_doc_read(doc, errors, &c);
	if (err == 0)
		err = certificate_doc_insert(&r->store.documents, &c);
	if (err == 0)
		err = edit_get(r, ENTITY_CERTIFICATE, slice_str(c.id), &d);
	return err < 0 ? err : finish(r, &d, ret);
}

int registry_certificate_get(struct registry *r, struct slice id, json_t **ret)
{
	_cleanup_(document_done) struct document d = {0};
	int err = edit_get(r, ENTITY_CERTIFICATE, id, &d);
	return err < 0 ? err : show(&d, ret);
}

static int show_all(const struct document *list, unsigned n, json_t **ret)
{
	_cleanup_json_ json_t *items = json_array();
	int err = items ? 0 : ERR_NOMEM;
	for (unsigned i = 0; i < n && err == 0; i++) {
		json_t *doc = NULL;
		err = show(&list[i], &doc);
		if (err == 0 && json_array_append_new(items, doc) < 0)
			err = ERR_NOMEM;
	}
	if (err == 0)
		*ret = TAKE_PTR(items);
	return err;
}

int registry_certificate_list(struct registry *r, const char *after, unsigned limit, json_t **ret,
        char ret_next[static REGISTRY_NAME_MAX + 1])
{
	const struct document_store *store = &r->store.documents;
	struct document *list = NULL;
	unsigned n = 0;
	int err = store->list(store->ctx, ENTITY_CERTIFICATE, after && after[0] ? after : NULL,
	        limit + 1, &list, &n);
	if (err < 0)
		return err;
	unsigned shown = n > limit ? limit : n;
	err = show_all(list, shown, ret);
	if (err == 0)
		snprintf(ret_next, REGISTRY_NAME_MAX + 1, "%s",
		        n > limit && shown > 0 ? list[shown - 1].name : "");
	for (unsigned i = 0; i < n; i++)
		document_done(&list[i]);
	free(list);
	return err;
}

struct change {
	const json_t *patch;
	json_t *errors;
};

static int change_by_patch(void *arg, const struct document *before, char **ret_text)
{
	const struct change *c = arg;
	struct certificate_doc d;
	int err = certificate_doc_load(before, &d);
	if (err == 0)
		err = certificate_doc_patch(c->patch, c->errors, &d);
	if (err < 0)
		return err;
	_cleanup_json_ json_t *doc = certificate_doc_render(&d, NULL);
	*ret_text = doc ? json_dumps(doc, JSON_COMPACT) : NULL;
	return *ret_text ? 0 : ERR_NOMEM;
}

int registry_certificate_patch(struct registry *r, struct slice id, const json_t *patch,
        struct registry_condition cond, json_t *errors, json_t **ret)
{
	struct change c = {.patch = patch, .errors = errors};
	_cleanup_(document_done) struct document d = {0};
	const struct edit e = {.registry = r,
	        .kind = ENTITY_CERTIFICATE,
	        .name = id,
	        .cond = cond,
	        .change = change_by_patch,
	        .arg = &c};
	int err = edit_run(&e, &d);
	return err < 0 ? err : finish(r, &d, ret);
}

int registry_certificate_delete(struct registry *r, struct slice id, struct registry_condition cond)
{
	const struct edit e = {.registry = r, .kind = ENTITY_CERTIFICATE, .name = id, .cond = cond};
	int err = edit_remove(&e);
	if (err == 0)
		registry_wrote(r, ENTITY_CERTIFICATE, id, 0, true);
	return err;
}
