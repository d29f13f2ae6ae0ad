#include "registry/crl.h"

#include "registry/private.h"
#include "registry/trust.h"
#include "server/base/clock.h"
#include "server/base/err.h"

#define CLOCK_SKEW_S 300

static int refuse(const char **ret_why, const char *why)
{
	*ret_why = why;
	return ERR_INVALID;
}

static int check_dates(const struct x509_crl *crl, const char **ret_why)
{
	int64_t now = clock_wall_us() / 1000000;
	if (crl->this_update > now + CLOCK_SKEW_S)
		return refuse(ret_why, "it begins in the future");
	if (x509_crl_stale(crl, now))
		return refuse(ret_why, "it has expired: nextUpdate has passed");
	return 0;
}

/* ---- what is there already ---- */

struct before {
	struct document doc; /* text NULL: none is there */
	uint8_t *der;
	size_t n;
};

static void before_done(struct before *b)
{
	document_done(&b->doc);
	free(b->der);
}

static int before_get(struct registry *r, const char *name, struct before *ret)
{
	const struct document_store *store = &r->store.documents;
	*ret = (struct before){0};
	int err = store->get(store->ctx, ENTITY_AUTHORITY, name, &ret->doc);
	if (err == ERR_NOT_FOUND)
		return 0;
	/* What cannot be read any more is replaced. */
	if (err == 0 && crl_doc_load(&ret->doc, &ret->der, &ret->n) == ERR_NOMEM)
		err = ERR_NOMEM;
	return err;
}

/* A list never goes back, or whoever keeps an old one could undo a revocation. */
static int check_order(const struct before *b, const struct x509_st *issuer, struct slice der,
        const struct x509_crl *crl, const char **ret_why)
{
	struct x509_crl *old = NULL;
	const char *why;
	bool same = b->n == der.n && memcmp(b->der, der.p, der.n) == 0;
	if (b->n == 0 || same || x509_crl_read(slice_make(b->der, b->n), issuer, &old, &why) < 0)
		return 0;
	int order = x509_crl_compare(crl, old);
	bool older = order < 0 || crl->this_update < old->this_update;
	x509_crl_unref(old);
	if (older)
		return refuse(ret_why, "it is older than the list in force");
	return order > 0
	        ? 0
	        : refuse(ret_why, "it has the number of the list in force, which is another");
}

static int write_list(struct registry *r, const char *name, struct before *b, struct slice der,
        const char *source)
{
	const struct document_store *store = &r->store.documents;
	struct document d = {.kind = ENTITY_AUTHORITY, .text = crl_doc_text(der, source)};
	if (!d.text)
		return ERR_NOMEM;
	snprintf(d.name, sizeof(d.name), "%s", name);
	const struct store_match match = {.etag = b->doc.etag};
	int err = b->doc.text ? store->update(store->ctx, &d, match)
	                      : store->insert(store->ctx, &d);
	document_done(&d);
	/* Another hub has fetched one in the same moment: the next round compares with that. */
	return err == ERR_STALE || err == ERR_EXISTS || err == ERR_NOT_FOUND ? ERR_CONFLICT : err;
}

static int take(struct registry *r, const struct authority_doc *a, struct slice der,
        const char *source, bool *ret_changed, const char **ret_why)
{
	char name[CRL_DOC_NAME_MAX];
	struct x509_crl *crl = NULL;
	struct before b;
	int err = x509_crl_read(der, a->cert, &crl, ret_why);
	if (err < 0)
		return err;
	crl_doc_name(a->name, name);
	err = check_dates(crl, ret_why);
	if (err == 0)
		err = before_get(r, name, &b);
	else
		b = (struct before){0};
	if (err == 0)
		err = check_order(&b, a->cert, der, crl, ret_why);
	bool same = b.n == der.n && b.n > 0 && memcmp(b.der, der.p, der.n) == 0;
	if (err == 0 && !same)
		err = write_list(r, name, &b, der, source);
	if (err == 0)
		*ret_changed = !same;
	before_done(&b);
	x509_crl_unref(crl);
	return err;
}

int crl_take(struct registry *r, const char *authority, struct slice text, const char *source,
        bool *ret_changed, const char **ret_why)
{
	const struct document_store *store = &r->store.documents;
	_cleanup_(document_done) struct document d = {0};
	_cleanup_(authority_doc_done) struct authority_doc a = {0};
	_cleanup_free_ uint8_t *der = NULL;
	size_t n;
	int err = store->get(store->ctx, ENTITY_AUTHORITY, authority, &d);
	if (err == 0)
		err = authority_doc_load(&d, &a);
	if (err < 0)
		return err;
	err = x509_crl_to_der(text, &der, &n);
	if (err == ERR_INVALID)
		return refuse(ret_why, "it is no revocation list in DER or PEM");
	return err < 0 ? err : take(r, &a, slice_make(der, n), source, ret_changed, ret_why);
}
