/* Custom authorisers: every loop's copy of them, and administration (worker threads). */
#include "registry/authorizers.h"

#include <stdlib.h>

#include "registry/condition.h"
#include "registry/private.h"
#include "server/base/err.h"
#include "server/base/log.h"

#define WROTE_WAIT_MS 5000

/* ---- the copy ---- */

struct authorizers {
	atomic_uint refs;
	unsigned n;
	struct authorizer *by_default; /* one of the list, or NULL */
	struct authorizer *list[AUTHORIZERS_MAX];
};

static void *set_ref(void *value)
{
	struct authorizers *set = value;
	atomic_fetch_add_explicit(&set->refs, 1, memory_order_relaxed);
	return set;
}

static void *set_unref(void *value)
{
	struct authorizers *set = value;
	if (!set || atomic_fetch_sub_explicit(&set->refs, 1, memory_order_acq_rel) != 1)
		return NULL;
	for (unsigned i = 0; i < set->n; i++)
		authorizer_unref(set->list[i]);
	free(set);
	return NULL;
}

/* One that cannot be read is not there: who names it is not let in. */
static int load_one(void *arg, const struct document *d)
{
	struct authorizers *set = arg;
	struct authorizer *a = NULL;
	int err = authorizer_doc_load(d, &a);
	if (err == ERR_CORRUPT || (err == 0 && set->n == AUTHORIZERS_MAX)) {
		log_error("a custom authoriser cannot be read", F_STR("name", d->name));
		authorizer_unref(a);
		return 0;
	}
	if (err < 0)
		return err;
	set->list[set->n++] = a;
	if (a->is_default && a->active && set->by_default)
		log_warn("two custom authorisers are the default; the first one is",
		        F_STR("name", set->by_default->name));
	else if (a->is_default && a->active)
		set->by_default = a;
	return 0;
}

static int load(void *ctx, void *old HF_UNUSED, uint64_t what HF_UNUSED, void **ret)
{
	const struct document_store *documents = &((struct registry *)ctx)->store.documents;
	struct authorizers *set = calloc(1, sizeof(*set));
	if (!set)
		return ERR_NOMEM;
	atomic_init(&set->refs, 1);
	int err = documents->each(documents->ctx, ENTITY_AUTHORIZER, load_one, set);
	if (err < 0) {
		set_unref(set);
		return err;
	}
	*ret = set;
	return 0;
}

static void applied(void *ctx, void *value HF_UNUSED, uint64_t what HF_UNUSED)
{
	struct registry *r = ctx;
	if (r->trust_applied)
		r->trust_applied(r->trust_applied_ctx);
}

static const struct replica_ops ops = {
        .name = "custom authorisers",
        .load = load,
        .ref = set_ref,
        .unref = set_unref,
        .applied = applied,
};

struct replica *authorizers_new(struct loop *const *loops, unsigned n, struct registry *r)
{
	return replica_new(loops, n, &ops, r);
}

bool authorizers_fresh(const struct registry *r)
{
	return replica_fresh(r->authorizers);
}

static const struct authorizers *here(const struct registry *r)
{
	return authorizers_fresh(r) ? replica_here(r->authorizers) : NULL;
}

struct authorizer *authorizer_here(const struct registry *r, struct slice name)
{
	const struct authorizers *set = here(r);
	for (unsigned i = 0; set && i < set->n; i++)
		if (slice_eq_str(name, set->list[i]->name))
			return set->list[i]->active ? set->list[i] : NULL;
	return NULL;
}

bool authorizer_in_force(const struct registry *r, const struct authorizer *a)
{
	const struct authorizer *now = authorizer_here(r, slice_make(a->name, strlen(a->name)));
	return now && strcmp(now->etag, a->etag) == 0;
}

struct authorizer *authorizer_default_here(const struct registry *r)
{
	const struct authorizers *set = here(r);
	return set ? set->by_default : NULL;
}

/* ---- administration ---- */

static const struct document_store *documents_of(const struct registry *r)
{
	return &r->store.documents;
}

static int get(struct registry *r, struct slice name, struct document *ret)
{
	char text[AUTHORIZER_NAME_MAX + 1] = "";
	if (!authorizer_name_valid(name))
		return ERR_NOT_FOUND;
	memcpy(text, name.p, name.n);
	return documents_of(r)->get(documents_of(r)->ctx, ENTITY_AUTHORIZER, text, ret);
}

static int show(const struct document *d, json_t **ret)
{
	json_t *doc = authorizer_doc_render(d);
	if (!doc)
		return ERR_NOMEM;
	*ret = doc;
	return 0;
}

/* Every loop knows of it before the writer gets the answer; other hubs hear of it by the feed. */
static void wrote(struct registry *r)
{
	replica_changed(r->authorizers, 1);
	if (!replica_wait(r->authorizers, WROTE_WAIT_MS))
		log_warn("a change of custom authorisers takes long to get to every loop");
}

/* ---- the set: how many there are, and one default ---- */

struct others {
	const struct authorizer *self;
	unsigned n;
	char by_default[AUTHORIZER_NAME_MAX + 1];
};

static int look_at_other(void *arg, const struct document *d)
{
	struct others *o = arg;
	_cleanup_authorizer_ struct authorizer *a = NULL;
	if (strcmp(d->name, o->self->name) == 0)
		return 0;
	o->n++;
	if (authorizer_doc_load(d, &a) == 0 && a->is_default)
		memcpy(o->by_default, a->name, sizeof(a->name));
	return 0;
}

static int check_set(struct registry *r, const struct authorizer *a, json_t *errors)
{
	char text[AUTHORIZER_NAME_MAX + 64];
	struct doc_check c = {.errors = errors};
	struct others o = {.self = a};
	int err = documents_of(r)->each(documents_of(r)->ctx, ENTITY_AUTHORIZER, look_at_other, &o);
	if (err < 0)
		return err;
	if (o.n >= AUTHORIZERS_MAX)
		doc_error(&c, "there are 100 already, which is as many as there can be");
	if (a->is_default && o.by_default[0]) {
		snprintf(text, sizeof(text), "\"%s\" is the default already", o.by_default);
		doc_member_error(&c, "default", text);
	}
	return c.failed ? ERR_INVALID : 0;
}

/* ---- writes ---- */

static int read_doc(struct registry *r, const json_t *doc, struct slice name, json_t *errors,
        struct document *ret)
{
	_cleanup_authorizer_ struct authorizer *a = NULL;
	int err = authorizer_doc_read(doc, name, errors, &a);
	if (err == 0)
		err = check_set(r, a, errors);
	if (err < 0)
		return err;
	*ret = (struct document){.kind = ENTITY_AUTHORIZER, .text = authorizer_doc_text(doc, a)};
	memcpy(ret->name, a->name, sizeof(a->name));
	return ret->text ? 0 : ERR_NOMEM;
}

static int finish(struct registry *r, const struct document *d, json_t **ret)
{
	wrote(r);
	return show(d, ret);
}

int registry_authorizer_create(struct registry *r, const json_t *doc, json_t *errors, json_t **ret)
{
	_cleanup_(document_done) struct document d = {0};
	int err = read_doc(r, doc, (struct slice){0}, errors, &d);
	if (err == 0)
		err = documents_of(r)->insert(documents_of(r)->ctx, &d);
	return err < 0 ? err : finish(r, &d, ret);
}

/* The present one's etag guards what was checked against it. */
static int replace_once(
        struct registry *r, struct document *d, struct registry_condition cond, bool *ret_lost)
{
	_cleanup_(document_done) struct document now = {0};
	int err = get(r, slice_str(d->name), &now);
	if (err == 0)
		err = condition_check(cond, now.etag);
	if (err < 0)
		return err;
	err = documents_of(r)->update(
	        documents_of(r)->ctx, d, (struct store_match){.etag = now.etag});
	*ret_lost = write_lost(err);
	return err;
}

static int replace(struct registry *r, struct document *d, struct registry_condition cond)
{
	for (unsigned round = 0; round < WRITE_ROUNDS; round++) {
		bool lost = false;
		int err = replace_once(r, d, cond, &lost);
		if (!lost)
			return err;
	}
	return ERR_CONFLICT;
}

int registry_authorizer_put(struct registry *r, struct slice name, const json_t *doc,
        struct registry_condition cond, json_t *errors, json_t **ret, bool *ret_created)
{
	_cleanup_(document_done) struct document d = {0};
	bool created = false;
	int err = read_doc(r, doc, name, errors, &d);
	if (err < 0)
		return err;
	err = replace(r, &d, cond);
	if (err == ERR_NOT_FOUND) {
		err = condition_check(cond, NULL);
		if (err == 0)
			err = documents_of(r)->insert(documents_of(r)->ctx, &d);
		created = err == 0;
		/* Somebody else was first. */
		if (err == ERR_EXISTS)
			err = cond.if_none_match_any ? ERR_STALE : ERR_CONFLICT;
	}
	if (err == 0)
		err = finish(r, &d, ret);
	if (err == 0)
		*ret_created = created;
	return err;
}

int registry_authorizer_delete(
        struct registry *r, struct slice name, struct registry_condition cond)
{
	for (unsigned round = 0; round < WRITE_ROUNDS; round++) {
		_cleanup_(document_done) struct document now = {0};
		int err = get(r, name, &now);
		if (err == 0)
			err = condition_check(cond, now.etag);
		if (err < 0)
			return err;
		err = documents_of(r)->remove(documents_of(r)->ctx, ENTITY_AUTHORIZER, now.name,
		        (struct store_match){.etag = now.etag});
		if (err == 0)
			wrote(r);
		if (!write_lost(err))
			return err;
	}
	return ERR_CONFLICT;
}

/* ---- reading ---- */

int registry_authorizer_get(struct registry *r, struct slice name, json_t **ret)
{
	_cleanup_(document_done) struct document d = {0};
	int err = get(r, name, &d);
	return err < 0 ? err : show(&d, ret);
}

int registry_authorizer_list(struct registry *r, const char *after, unsigned limit, json_t **ret,
        char ret_next[static DOCUMENT_NAME_MAX + 1])
{
	_cleanup_json_ json_t *items = json_array();
	struct document *list = NULL;
	unsigned n = 0;
	int err = documents_of(r)->list(documents_of(r)->ctx, ENTITY_AUTHORIZER,
	        after && after[0] ? after : NULL, limit + 1, &list, &n);
	if (err < 0)
		return err;
	unsigned shown = n > limit ? limit : n;
	for (unsigned i = 0; i < shown && err == 0; i++)
		if (json_array_append_new(items, authorizer_doc_render(&list[i])) < 0)
			err = ERR_NOMEM;
	if (err == 0) {
		snprintf(ret_next, DOCUMENT_NAME_MAX + 1, "%s",
		        n > limit && shown > 0 ? list[shown - 1].name : "");
		*ret = TAKE_PTR(items);
	}
	for (unsigned i = 0; i < n; i++)
		document_done(&list[i]);
	free(list);
	return err;
}

int registry_authorizer_test(
        struct registry *r, struct slice name, const json_t *doc, json_t *errors, json_t **ret)
{
	_cleanup_(document_done) struct document d = {0};
	_cleanup_authorizer_ struct authorizer *a = NULL;
	int err = get(r, name, &d);
	if (err == 0)
		err = authorizer_doc_load(&d, &a);
	return err < 0 ? err : authorizer_test(r, a, doc, errors, ret);
}
