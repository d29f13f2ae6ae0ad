#include "registry/edit.h"

static const struct document_store *store_of(struct registry *r)
{
	return &r->store.documents;
}

int edit_get(struct registry *r, enum entity kind, struct slice name, struct document *ret)
{
	char text[DOCUMENT_NAME_MAX + 1] = "";
	if (name.n == 0 || name.n > DOCUMENT_NAME_MAX || memchr(name.p, '\0', name.n))
		return ERR_NOT_FOUND;
	memcpy(text, name.p, name.n);
	return store_of(r)->get(store_of(r)->ctx, kind, text, ret);
}

/* *d is what is there; becomes what was written. */
static int write_once(const struct edit *e, struct document *d, bool *ret_lost)
{
	const struct document_store *store = store_of(e->registry);
	char *text = NULL, etag[ETAG_LEN + 1];
	int err = condition_check(e->cond, d->etag);
	if (err == 0)
		err = e->change(e->arg, d, &text);
	if (err < 0)
		return err;
	free(d->text);
	d->text = text;
	memcpy(etag, d->etag, sizeof(etag));
	err = store->update(store->ctx, d, (struct store_match){.etag = etag});
	*ret_lost = write_lost(err);
	return err;
}

int edit_run(const struct edit *e, struct document *ret)
{
	for (unsigned round = 0; round < WRITE_ROUNDS; round++) {
		struct document d = {0};
		bool lost = false;
		int err = edit_get(e->registry, e->kind, e->name, &d);
		if (err == ERR_NOT_FOUND && e->cond.if_match)
			return ERR_STALE;
		if (err == 0)
			err = write_once(e, &d, &lost);
		if (err == 0) {
			*ret = d;
			return 0;
		}
		document_done(&d);
		if (!lost)
			return err;
	}
	return ERR_CONFLICT;
}

int edit_remove(const struct edit *e)
{
	const struct document_store *store = store_of(e->registry);
	for (unsigned round = 0; round < WRITE_ROUNDS; round++) {
		_cleanup_(document_done) struct document d = {0};
		int err = edit_get(e->registry, e->kind, e->name, &d);
		if (err == 0)
			err = condition_check(e->cond, d.etag);
		if (err < 0)
			return err;
		err = store->remove(
		        store->ctx, e->kind, d.name, (struct store_match){.etag = d.etag});
		if (!write_lost(err))
			return err;
	}
	return ERR_CONFLICT;
}
