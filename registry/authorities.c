/* Certificate authorities as administrators see them. Worker threads. */
#include "registry/authority_doc.h"
#include "registry/crl.h"
#include "registry/edit.h"
#include "registry/trust.h"
#include "server/base/clock.h"

#define LIST_STEP 8 /* read at once: revocation lists, which are large, lie behind the last one */

static int64_t now_s(void)
{
	return clock_wall_us() / 1000000;
}

/* ---- showing ---- */

static int show(
        struct registry *r, const struct authority_doc *a, const struct document *d, json_t **ret)
{
	_cleanup_trust_ struct trust *t = trust_take(r);
	uint8_t id[X509_ID_LEN];
	const struct x509_authority *in_force = NULL;
	if (t && x509_id(a->cert, id) == 0)
		in_force = x509_trust_find(t->x509, id);
	json_t *doc = authority_doc_render(a, d, in_force ? in_force->crl : NULL);
	if (!doc)
		return ERR_NOMEM;
	*ret = doc;
	return 0;
}

static int show_stored(struct registry *r, const struct document *d, json_t **ret)
{
	_cleanup_(authority_doc_done) struct authority_doc a = {0};
	int err = authority_doc_load(d, &a);
	if (err < 0) {
		json_t *doc = json_pack("{s:s, s:s}", "name", d->name, "error",
		        "the stored document cannot be read");
		*ret = doc;
		return doc ? 0 : ERR_NOMEM;
	}
	return show(r, &a, d, ret);
}

static int finish(struct registry *r, const struct document *d, json_t **ret)
{
	trust_wrote(r);
	return show_stored(r, d, ret);
}

static int get(struct registry *r, struct slice name, struct document *ret)
{
	return authority_name_valid(name) ? edit_get(r, ENTITY_AUTHORITY, name, ret)
	                                  : ERR_NOT_FOUND;
}

int registry_authority_get(struct registry *r, struct slice name, json_t **ret)
{
	_cleanup_(document_done) struct document d = {0};
	int err = get(r, name, &d);
	return err < 0 ? err : show_stored(r, &d, ret);
}

/* ---- list ---- */

struct page {
	struct registry *registry;
	json_t *items;
	unsigned limit;
	char last[AUTHORITY_NAME_MAX + 1];
	bool more, ended;
};

static int page_take(struct page *p, const struct document *d)
{
	struct slice owner;
	json_t *doc = NULL;
	if (crl_doc_owner(d->name, &owner)) {
		p->ended = true;
		return 0;
	}
	if (json_array_size(p->items) == p->limit) {
		p->more = p->ended = true;
		return 0;
	}
	int err = show_stored(p->registry, d, &doc);
	if (err == 0 && json_array_append_new(p->items, doc) < 0)
		err = ERR_NOMEM;
	snprintf(p->last, sizeof(p->last), "%.*s", AUTHORITY_NAME_MAX, d->name);
	return err;
}

static int page_step(struct page *p)
{
	const struct document_store *store = &p->registry->store.documents;
	struct document *list = NULL;
	unsigned n = 0;
	int err = store->list(
	        store->ctx, ENTITY_AUTHORITY, p->last[0] ? p->last : NULL, LIST_STEP, &list, &n);
	if (err < 0)
		return err;
	for (unsigned i = 0; i < n; i++) {
		if (err == 0 && !p->ended)
			err = page_take(p, &list[i]);
		document_done(&list[i]);
	}
	free(list);
	p->ended |= n < LIST_STEP;
	return err;
}

int registry_authority_list(struct registry *r, const char *after, unsigned limit, json_t **ret,
        char ret_next[static REGISTRY_NAME_MAX + 1])
{
	_cleanup_json_ json_t *items = json_array();
	struct page p = {.registry = r, .items = items, .limit = limit};
	int err = items ? 0 : ERR_NOMEM;
	snprintf(p.last, sizeof(p.last), "%.*s", AUTHORITY_NAME_MAX, after ? after : "");
	while (err == 0 && !p.ended)
		err = page_step(&p);
	if (err < 0)
		return err;
	snprintf(ret_next, REGISTRY_NAME_MAX + 1, "%s", p.more ? p.last : "");
	*ret = TAKE_PTR(items);
	return 0;
}

/* ---- making ---- */

static bool too_many(struct registry *r)
{
	_cleanup_trust_ struct trust *t = trust_take(r);
	return t && x509_trust_count(t->x509) >= AUTHORITIES_MAX;
}

/* Whether another authority is this very certificate: then two states would hold for one. */
static bool is_there(struct registry *r, const struct authority_doc *a)
{
	_cleanup_trust_ struct trust *t = trust_take(r);
	uint8_t id[X509_ID_LEN];
	return t && x509_id(a->cert, id) == 0 && x509_trust_find(t->x509, id);
}

int registry_authority_create(struct registry *r, const json_t *doc, json_t *errors, json_t **ret)
{
	const struct document_store *store = &r->store.documents;
	_cleanup_(authority_doc_done) struct authority_doc a = {0};
	_cleanup_(document_done) struct document d = {.kind = ENTITY_AUTHORITY};
	int err = authority_doc_read(doc, now_s(), errors, &a);
	if (err < 0)
		return err;
	if (too_many(r))
		return ERR_QUOTA;
	if (is_there(r, &a))
		return ERR_EXISTS;
	snprintf(d.name, sizeof(d.name), "%s", a.name);
	d.text = authority_doc_text(&a);
	if (!d.text)
		return ERR_NOMEM;
	err = store->insert(store->ctx, &d);
	return err < 0 ? err : finish(r, &d, ret);
}

/* ---- changing ---- */

struct change {
	const json_t *body;
	json_t *errors;
};

static int change_by_patch(void *arg, const struct document *before, char **ret_text)
{
	const struct change *c = arg;
	_cleanup_(authority_doc_done) struct authority_doc a = {0};
	int err = authority_doc_load(before, &a);
	if (err == 0)
		err = authority_doc_patch(c->body, c->errors, &a);
	if (err < 0)
		return err;
	*ret_text = authority_doc_text(&a);
	return *ret_text ? 0 : ERR_NOMEM;
}

static int change(struct registry *r, struct slice name, struct registry_condition cond,
        const struct edit *how, json_t **ret)
{
	struct edit e = *how;
	_cleanup_(document_done) struct document d = {0};
	e.registry = r;
	e.kind = ENTITY_AUTHORITY;
	e.name = name;
	e.cond = cond;
	if (!authority_name_valid(name))
		return ERR_NOT_FOUND;
	int err = edit_run(&e, &d);
	return err < 0 ? err : finish(r, &d, ret);
}

int registry_authority_patch(struct registry *r, struct slice name, const json_t *patch,
        struct registry_condition cond, json_t *errors, json_t **ret)
{
	struct change c = {.body = patch, .errors = errors};
	return change(r, name, cond, &(struct edit){.change = change_by_patch, .arg = &c}, ret);
}

int registry_authority_delete(struct registry *r, struct slice name, struct registry_condition cond)
{
	const struct document_store *store = &r->store.documents;
	const struct edit e = {.registry = r, .kind = ENTITY_AUTHORITY, .name = name, .cond = cond};
	char owner[AUTHORITY_NAME_MAX + 1] = "", list[CRL_DOC_NAME_MAX];
	if (!authority_name_valid(name))
		return cond.if_match ? ERR_STALE : ERR_NOT_FOUND;
	int err = edit_remove(&e);
	if (err < 0)
		return err;
	memcpy(owner, name.p, name.n);
	crl_doc_name(owner, list);
	/* A list that stays behind belongs to nobody, and is replaced by the next of that name. */
	store->remove(store->ctx, ENTITY_AUTHORITY, list, (struct store_match){0});
	trust_wrote(r);
	return 0;
}

/* ---- proof of possession ---- */

/* The only member of a body, a text; NULL: noted as an error. */
static const char *only_text(const struct change *c, const char *member)
{
	struct doc_check check = {.errors = c->errors};
	const char *name, *text = json_string_value(json_object_get(c->body, member));
	json_t *value;
	if (!text)
		doc_member_error(&check, member, "is required, as a string");
	json_object_foreach((json_t *)c->body, name, value) if (strcmp(name, member) != 0)
	        doc_member_error(&check, name, "unknown member");
	return check.failed ? NULL : text;
}

/* What is wrong with a certificate that is to prove it; NULL: nothing. */
static const char *proof_fault(const struct authority_doc *a, const char *pem)
{
	_cleanup_x509_ struct x509_st *proof = NULL;
	int64_t from, to;
	if (x509_read_pem(slice_str(pem), &proof) < 0)
		return "must be one certificate in PEM";
	if (!x509_names_device(proof, X509_ID_FROM_CN, slice_str(a->challenge)))
		return "its CommonName is not the challenge";
	if (!x509_signed_by(proof, a->cert))
		return "the authority has not signed it";
	if (x509_dates(proof, &from, &to) < 0 || to <= now_s())
		return "it has expired";
	return NULL;
}

static int change_by_proof(void *arg, const struct document *before, char **ret_text)
{
	const struct change *c = arg;
	struct doc_check check = {.errors = c->errors};
	_cleanup_(authority_doc_done) struct authority_doc a = {0};
	const char *pem = only_text(c, "certificate");
	if (!pem)
		return ERR_INVALID;
	int err = authority_doc_load(before, &a);
	if (err < 0)
		return err;
	if (a.verified)
		return ERR_CONFLICT;
	const char *fault = proof_fault(&a, pem);
	if (fault) {
		doc_member_error(&check, "certificate", fault);
		return ERR_INVALID;
	}
	a.verified = true;
	a.status = AUTHORITY_ACTIVE;
	*ret_text = authority_doc_text(&a);
	return *ret_text ? 0 : ERR_NOMEM;
}

int registry_authority_verify(
        struct registry *r, struct slice name, const json_t *body, json_t *errors, json_t **ret)
{
	struct change c = {.body = body, .errors = errors};
	const struct registry_condition none = {0};
	return change(r, name, none, &(struct edit){.change = change_by_proof, .arg = &c}, ret);
}

/* ---- revocation list ---- */

/* PEM as it is; anything else is taken for base64. *ret malloc'ed. */
static int list_bytes(const char *text, uint8_t **ret, size_t *ret_n)
{
	size_t n = strlen(text);
	_cleanup_free_ uint8_t *bytes = malloc(n + 1);
	if (!bytes)
		return ERR_NOMEM;
	if (strstr(text, "-----BEGIN")) {
		memcpy(bytes, text, n);
		*ret_n = n;
	} else if (crypto_base64_decode(slice_make(text, n), bytes, ret_n) < 0) {
		return ERR_INVALID;
	}
	*ret = TAKE_PTR(bytes);
	return 0;
}

int registry_authority_crl(
        struct registry *r, struct slice name, const json_t *body, json_t *errors, json_t **ret)
{
	const struct change c = {.body = body, .errors = errors};
	struct doc_check check = {.errors = errors};
	_cleanup_free_ uint8_t *bytes = NULL;
	char owner[AUTHORITY_NAME_MAX + 1] = "";
	size_t n = 0;
	bool changed = false;
	const char *why = "must be PEM, or DER in base64", *text;
	if (!authority_name_valid(name))
		return ERR_NOT_FOUND;
	memcpy(owner, name.p, name.n);
	text = only_text(&c, "crl");
	if (!text)
		return ERR_INVALID;
	int err = list_bytes(text, &bytes, &n);
	if (err == 0)
		err = crl_take(r, owner, slice_make(bytes, n), "upload", &changed, &why);
	if (err == ERR_INVALID)
		doc_member_error(&check, "crl", why);
	if (err < 0)
		return err;
	if (changed)
		trust_wrote(r);
	return registry_authority_get(r, name, ret);
}

/* ---- on loops ---- */

bool registry_certificate_id(
        struct registry *r, const struct cert_chain *chain, char ret[static MODULE_ID_MAX + 1])
{
	const struct trust *t = trust_here(r);
	_cleanup_x509_ struct x509_st *leaf = NULL;
	if (x509_of_chain(chain, 0, &leaf) < 0)
		return false;
	const struct x509_authority *a = t ? x509_trust_issuer(t->x509, leaf) : NULL;
	return x509_device_id(leaf, a ? a->id_from : X509_ID_FROM_CN, ret);
}
