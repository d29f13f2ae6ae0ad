/*
 * Compiling what hangs on an identity: gathered on the stack, then laid into one block, because
 * there is one for each identity that is connected.
 */
#include "policy/rights.h"

#include <stdlib.h>

#include "policy/filter.h"
#include "policy/policy_admin.h"
#include "server/base/cleanup.h"
#include "server/base/err.h"
#include "server/base/log.h"
#include "server/base/where.h"

struct gathering {
	const struct access_source *source;
	const struct rules *rules;
	/* Trying out: its own documents in place of all policies; or one in place of, or besides,
	 * the policy of that name. */
	bool only_documents;
	const char *instead;
	const json_t *document;
	json_t *tags;   /* read when first asked for */
	json_t *record; /* what conditions of groups are asked about */
	bool tags_read;
	int err;
	bool broken; /* too much, or not to be read: nothing is allowed */
	unsigned n_docs, n_groups, n_grants, n_attributes;
	struct scope *scope;
	struct policy_doc **documents;
	/* How much of these is set, the counts say: they are not cleared. */
	struct attached docs[RIGHTS_DOCS_MAX];
	const struct group *groups[RIGHTS_GROUPS_MAX];
	struct granted grants[RIGHTS_GRANTS_MAX];
};

static void gathering_done(struct gathering *g)
{
	json_decref(g->tags);
	json_decref(g->record);
	scope_free(g->scope);
	for (struct policy_doc **d = g->documents; d && *d; d++)
		policy_doc_free(*d);
	free(g->documents);
}

/* ---- gathering ---- */

static const json_t *tags_of(struct gathering *g)
{
	char error[JSON_ERROR_LEN];
	if (!g->tags_read && g->source->tags.n > 0 &&
	        json_read(g->source->tags, &json_limits_body, &g->tags, error) == ERR_NOMEM)
		g->err = ERR_NOMEM;
	g->tags_read = true;
	return g->tags;
}

static void add_doc(struct gathering *g, const struct policy_doc *doc, const struct group *group)
{
	if (g->n_docs == RIGHTS_DOCS_MAX) {
		g->broken = true;
		return;
	}
	g->docs[g->n_docs++] = (struct attached){.doc = doc, .group = group};
	g->n_attributes += doc->n_attributes;
}

/* One that is not there yet will be with the next rules. */
static void add_policy(struct gathering *g, struct slice name, const struct group *group)
{
	bool broken = false;
	if (g->only_documents || (g->instead && slice_eq_str(name, g->instead)))
		return;
	const struct policy_doc *doc = policies_find(
	        g->rules->parts[RULES_POLICIES], name, &broken);
	g->broken |= broken;
	if (doc)
		add_doc(g, doc, group);
}

static void add_grant(struct gathering *g, struct grant grant, const struct group *group)
{
	if (!filter_grantable(grant.filter))
		return;
	if (g->n_grants == RIGHTS_GRANTS_MAX)
		g->broken = true;
	else
		g->grants[g->n_grants++] = (struct granted){grant, group};
}

static void add_group(struct gathering *g, const struct group *group)
{
	if (!group)
		return;
	for (unsigned i = 0; i < g->n_groups; i++)
		if (g->groups[i] == group)
			return;
	if (g->n_groups == RIGHTS_GROUPS_MAX) {
		g->broken = true;
		return;
	}
	g->groups[g->n_groups++] = group;
	for (unsigned i = 0; i < group->n_policies; i++)
		add_policy(g, group->policies[i], group);
	for (unsigned i = 0; i < group->n_grants; i++)
		add_grant(g, group->grants[i], group);
}

static void add_links(struct gathering *g)
{
	struct slice links = g->source->links;
	for (struct link l; link_next(&links, &l);)
		switch (l.letter) {
		case 'p': add_policy(g, l.value, NULL); break;
		case 'g': add_group(g, groups_find(g->rules->parts[RULES_GROUPS], l.value)); break;
		case 'r':
		case 'w':
		case 'b': add_grant(g, (struct grant){l.letter, l.value}, NULL); break;
		default: g->broken = true; break;
		}
}

static void read_record(struct gathering *g)
{
	const struct access_source *s = g->source;
	const json_t *tags = tags_of(g);
	g->record = json_pack("{s:s%, s:s, s:s, s:O?}", "deviceId", s->id.p, s->id.n, "status",
	        s->enabled ? "enabled" : "disabled", "authenticationType",
	        s->auth_type ? s->auth_type : "", "tags", tags);
	if (!g->record)
		g->err = ERR_NOMEM;
}

/* Devices are found by conditions, their modules are not. */
static void add_dynamic(struct gathering *g)
{
	unsigned n;
	const struct group *const *list = groups_dynamic(g->rules->parts[RULES_GROUPS], &n);
	struct slice id = g->source->id;
	if (n == 0 || g->source->kind != ENTITY_DEVICE || memchr(id.p, '/', id.n))
		return;
	read_record(g);
	for (unsigned i = 0; i < n && g->record; i++)
		if (!list[i]->broken && where_matches(list[i]->where, g->record))
			add_group(g, list[i]);
}

static int read_documents(struct gathering *g, const json_t *list)
{
	size_t n = json_array_size(list);
	struct doc_check check = {0};
	if (!json_is_array(list) || n > RIGHTS_DOCS_MAX)
		return ERR_INVALID;
	g->documents = calloc(n + 1, sizeof(struct policy_doc *));
	if (!g->documents)
		return ERR_NOMEM;
	for (size_t i = 0; i < n; i++) {
		int err = policy_doc_read(
		        json_array_get(list, i), &check, slice_str(""), &g->documents[i]);
		if (err < 0)
			return err;
		add_doc(g, g->documents[i], NULL);
	}
	return 0;
}

static void add_documents(struct gathering *g)
{
	_cleanup_json_ json_t *list = NULL;
	char error[JSON_ERROR_LEN];
	if (g->source->documents.n == 0)
		return;
	int err = json_read(g->source->documents, &json_limits_body, &list, error);
	if (err == 0)
		err = read_documents(g, list);
	/* Who gave them is told that they are none (access.h). */
	if (err < 0)
		g->err = err;
}

static void add_instead(struct gathering *g)
{
	struct doc_check check = {0};
	if (!g->document)
		return;
	g->documents = calloc(2, sizeof(struct policy_doc *));
	int err = g->documents
	        ? policy_doc_read(g->document, &check, slice_str(g->instead), &g->documents[0])
	        : ERR_NOMEM;
	if (err == 0)
		add_doc(g, g->documents[0], NULL);
	else
		g->err = err;
}

static void add_scope(struct gathering *g)
{
	int err = g->source->scope.n > 0 ? scope_read(g->source->scope, &g->scope) : 0;
	if (err == ERR_NOMEM)
		g->err = err;
	g->broken |= err < 0;
}

/* ---- laying down ---- */

struct writer {
	struct gathering *g;
	uint8_t *at;
};

/* The text of a tag; empty: there is none that could be put in. */
static struct slice attribute_text(const json_t *value, char scratch[static 64])
{
	struct slice text = {0};
	if (json_is_string(value)) {
		text = slice_make(json_string_value(value), json_string_length(value));
	} else if (json_is_number(value) || json_is_boolean(value)) {
		size_t n = json_dumpb(value, scratch, 64, JSON_ENCODE_ANY);
		text = slice_make(scratch, n <= 64 ? n : 0);
	}
	return var_value_usable(text) ? text : (struct slice){0};
}

static const json_t *tag_of(struct gathering *g, const struct var *v)
{
	return json_object_getn(tags_of(g), (const char *)v->name.p, v->name.n);
}

static size_t attributes_size(struct gathering *g)
{
	char scratch[64];
	size_t n = 0;
	for (unsigned i = 0; i < g->n_docs; i++)
		for (unsigned k = 0; k < g->docs[i].doc->n_vars; k++) {
			const struct var *v = &g->docs[i].doc->vars[k];
			if (v->kind == VAR_ATTRIBUTE)
				n += attribute_text(tag_of(g, v), scratch).n;
		}
	return n;
}

static struct slice write_text(struct writer *w, struct slice s)
{
	uint8_t *p = w->at;
	if (s.n > 0)
		memcpy(p, s.p, s.n);
	w->at += s.n;
	return slice_make(p, s.n);
}

static void write_attributes(struct writer *w, struct attached *docs, struct slice *attributes)
{
	char scratch[64];
	for (unsigned i = 0; i < w->g->n_docs; i++) {
		const struct policy_doc *doc = docs[i].doc;
		docs[i].attributes = attributes;
		for (unsigned k = 0; k < doc->n_vars; k++) {
			const struct var *v = &doc->vars[k];
			if (v->kind == VAR_ATTRIBUTE)
				attributes[v->attribute] = write_text(
				        w, attribute_text(tag_of(w->g, v), scratch));
		}
		attributes += doc->n_attributes;
	}
}

static void write_grants(struct writer *w, struct granted *grants)
{
	for (unsigned i = 0; i < w->g->n_grants; i++) {
		grants[i] = w->g->grants[i];
		if (!grants[i].group)
			grants[i].grant.filter = write_text(w, grants[i].grant.filter);
	}
}

static size_t text_size(struct gathering *g)
{
	size_t n = g->source->id.n + attributes_size(g);
	for (unsigned i = 0; i < g->n_grants; i++)
		if (!g->grants[i].group)
			n += g->grants[i].grant.filter.n;
	return n;
}

static struct rights *lay_down(struct gathering *g)
{
	size_t docs = g->n_docs * sizeof(struct attached);
	size_t groups = g->n_groups * sizeof(struct group *);
	size_t grants = g->n_grants * sizeof(struct granted);
	size_t attributes = g->n_attributes * sizeof(struct slice);
	struct rights *r = calloc(
	        1, sizeof(*r) + docs + groups + grants + attributes + text_size(g));
	if (!r)
		return NULL;
	uint8_t *at = (uint8_t *)(r + 1);
	struct writer w = {.g = g, .at = at + docs + groups + grants + attributes};
	r->docs = memcpy(at, g->docs, docs);
	r->groups = memcpy(at + docs, g->groups, groups);
	r->grants = (struct granted *)(at + docs + groups);
	write_grants(&w, (struct granted *)(at + docs + groups));
	write_attributes(&w, (struct attached *)at, (struct slice *)(at + docs + groups + grants));
	r->id = write_text(&w, g->source->id);
	r->n_docs = g->n_docs;
	r->n_groups = g->n_groups;
	r->n_grants = g->n_grants;
	for (unsigned i = 0; i < g->n_docs; i++) {
		r->allows |= g->docs[i].doc->allows;
		r->denies |= g->docs[i].doc->denies;
	}
	return r;
}

static void rights_free(struct access *a)
{
	struct rights *r = (struct rights *)a;
	scope_free(r->scope);
	for (struct policy_doc **d = r->documents; d && *d; d++)
		policy_doc_free(*d);
	free(r->documents);
	rules_unref(r->rules);
	free(r);
}

/* Devices have their own topics unless a setting says otherwise; what only a custom authoriser
 * knows has what it says. */
static bool has_defaults(const struct policy *p, enum entity kind)
{
	return kind == ENTITY_DEVICE
	        ? atomic_load_explicit(&p->device_defaults, memory_order_relaxed)
	        : kind != ENTITY_AUTHORIZER;
}

static struct rights *make(struct policy *p, struct gathering *g)
{
	add_links(g);
	add_dynamic(g);
	add_documents(g);
	add_instead(g);
	add_scope(g);
	struct rights *r = g->err == 0 ? lay_down(g) : NULL;
	if (!r || g->err < 0) {
		free(r);
		return NULL;
	}
	atomic_init(&r->access.refs, 1);
	r->access.version = g->rules->version;
	r->access.free = rights_free;
	r->kind = g->source->kind;
	r->defaults = has_defaults(p, r->kind);
	r->broken = g->broken;
	r->scope = TAKE_PTR(g->scope);
	r->documents = TAKE_PTR(g->documents);
	if (r->broken)
		log_warn("what hangs on an identity cannot be read: it may nothing",
		        F_SLICE("id", r->id), F_STR("kind", entity_name(r->kind)));
	return r;
}

static struct access *gather_and_make(struct policy *p, struct gathering *g)
{
	struct rules *held;
	g->rules = rules_now(p, &held);
	struct rights *r = make(p, g);
	if (r)
		r->rules = rules_ref((struct rules *)g->rules);
	rules_unref(held);
	gathering_done(g);
	return r ? &r->access : NULL;
}

struct access *policy_access_make(struct policy *p, const struct access_source *source)
{
	struct gathering g;
	memset(&g, 0, offsetof(struct gathering, docs));
	g.source = source;
	return gather_and_make(p, &g);
}

struct access *policy_access_try(struct policy *p, const struct access_source *source)
{
	struct gathering g;
	memset(&g, 0, offsetof(struct gathering, docs));
	g.source = source;
	g.only_documents = true;
	return gather_and_make(p, &g);
}

struct access *policy_access_with(struct policy *p, const struct access_source *source,
        const char *name, const json_t *document)
{
	struct gathering g;
	memset(&g, 0, offsetof(struct gathering, docs));
	g.source = source;
	g.instead = name;
	g.document = document;
	return gather_and_make(p, &g);
}

bool policy_access_groups(const struct access *a, unsigned *pos, struct slice *ret)
{
	const struct rights *r = rights_of(a);
	if (!r || *pos >= r->n_groups)
		return false;
	*ret = r->groups[(*pos)++]->name;
	return true;
}

bool rights_in_group(const struct rights *r, struct slice name)
{
	for (unsigned i = 0; i < r->n_groups; i++)
		if (slice_eq(r->groups[i]->name, name))
			return true;
	return false;
}
