#include "registry/trust.h"

#include <stdlib.h>

#include "registry/clerk.h"
#include "registry/private.h"
#include "server/base/err.h"
#include "server/base/log.h"

#define WROTE_WAIT_MS 5000

/* ---- life ---- */

struct trust *trust_ref(struct trust *t)
{
	if (t)
		atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
	return t;
}

struct trust *trust_unref(struct trust *t)
{
	if (!t || atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) != 1)
		return NULL;
	x509_trust_free(t->x509);
	for (unsigned i = 0; i < t->n_lists; i++)
		x509_crl_unref(t->lists[i].crl);
	for (unsigned i = 0; i < t->n_sources; i++)
		free(t->sources[i].url);
	free(t->lists);
	free(t->sources);
	free(t);
	return NULL;
}

/* ---- loading ---- */

/* The bytes of a list, until it is known whose they are. */
struct raw_list {
	char name[AUTHORITY_NAME_MAX + 1];
	char etag[ETAG_LEN + 1];
	const struct trust_list *known; /* of the trust before: nothing is read again */
	uint8_t *der;
	size_t n;
};

struct loading {
	const struct trust *before;
	struct trust *to;
	struct x509_authority *authorities;
	struct raw_list *raw;
	size_t n, n_raw;
};

/* Each is one of at most AUTHORITIES_MAX, which the table is made for. */
static int loading_init(struct loading *l, const struct trust *before)
{
	*l = (struct loading){.before = before,
	        .to = calloc(1, sizeof(*l->to)),
	        .authorities = calloc(AUTHORITIES_MAX, sizeof(*l->authorities)),
	        .raw = calloc(AUTHORITIES_MAX, sizeof(*l->raw))};
	if (!l->to || !l->authorities || !l->raw)
		return ERR_NOMEM;
	atomic_init(&l->to->refs, 1);
	l->to->lists = calloc(AUTHORITIES_MAX, sizeof(*l->to->lists));
	l->to->sources = calloc(AUTHORITIES_MAX, sizeof(*l->to->sources));
	return l->to->lists && l->to->sources ? 0 : ERR_NOMEM;
}

static void loading_done(struct loading *l)
{
	for (size_t i = 0; l->authorities && i < l->n; i++) {
		x509_free(l->authorities[i].cert);
		x509_crl_unref(l->authorities[i].crl);
	}
	for (size_t i = 0; l->raw && i < l->n_raw; i++)
		free(l->raw[i].der);
	free(l->authorities);
	free(l->raw);
	trust_unref(l->to);
}

static const struct trust_list *list_known(const struct trust *t, const char *name)
{
	for (unsigned i = 0; t && i < t->n_lists; i++)
		if (strcmp(t->lists[i].name, name) == 0)
			return &t->lists[i];
	return NULL;
}

static int take_list(struct loading *l, const struct document *d, struct slice owner)
{
	if (l->n_raw == AUTHORITIES_MAX || !authority_name_valid(owner))
		return 0;
	struct raw_list *raw = &l->raw[l->n_raw++];
	snprintf(raw->name, sizeof(raw->name), "%.*s", SLICE_ARG(owner));
	snprintf(raw->etag, sizeof(raw->etag), "%s", d->etag);
	const struct trust_list *known = list_known(l->before, raw->name);
	if (known && strcmp(known->etag, raw->etag) == 0)
		raw->known = known;
	else if (crl_doc_load(d, &raw->der, &raw->n) < 0)
		log_error("a stored revocation list cannot be read", F_STR("authority", raw->name));
	return 0;
}

static int take_authority(struct loading *l, const struct authority_doc *d)
{
	struct x509_authority *a = &l->authorities[l->n];
	struct crl_source *source = &l->to->sources[l->to->n_sources];
	if (x509_id(d->cert, a->id) < 0)
		return ERR_CORRUPT;
	if (d->crl_url[0]) {
		source->url = strdup(d->crl_url);
		if (!source->url)
			return ERR_NOMEM;
		source->refresh_s = d->crl_refresh_s;
		snprintf(source->name, sizeof(source->name), "%s", d->name);
		l->to->n_sources++;
	}
	snprintf(a->name, sizeof(a->name), "%s", d->name);
	a->status = d->status;
	a->id_from = d->id_from;
	a->auto_register = d->auto_register;
	a->crl_hard = d->crl_hard;
	a->crl_expected = d->crl_url[0] != '\0';
	l->n++;
	return 0;
}

/* What cannot be read is nobody's trust; the others go on. */
static int take(void *arg, const struct document *d)
{
	struct loading *l = arg;
	struct slice owner;
	struct authority_doc doc;
	if (crl_doc_owner(d->name, &owner))
		return take_list(l, d, owner);
	if (l->n == AUTHORITIES_MAX) {
		log_error("too many authorities: one is left out", F_STR("authority", d->name));
		return 0;
	}
	int err = authority_doc_load(d, &doc);
	if (err == 0)
		err = take_authority(l, &doc);
	if (err == 0)
		l->authorities[l->n - 1].cert = TAKE_PTR(doc.cert);
	authority_doc_done(&doc);
	if (err != ERR_CORRUPT)
		return err;
	log_error("a stored authority cannot be read", F_STR("authority", d->name));
	return 0;
}

static struct x509_crl *read_list(const struct raw_list *raw, const struct x509_authority *a)
{
	struct x509_crl *crl = NULL;
	const char *why = "out of memory";
	if (raw->known && memcmp(raw->known->authority, a->id, sizeof(a->id)) == 0)
		return x509_crl_ref(raw->known->crl);
	if (raw->der && x509_crl_read(slice_make(raw->der, raw->n), a->cert, &crl, &why) < 0)
		log_error("a stored revocation list does not count", F_STR("authority", raw->name),
		        F_STR("reason", why));
	return crl;
}

static void join_lists(struct loading *l)
{
	for (size_t i = 0; i < l->n_raw; i++) {
		const struct raw_list *raw = &l->raw[i];
		struct x509_authority *a = NULL;
		for (size_t k = 0; !a && k < l->n; k++)
			if (strcmp(l->authorities[k].name, raw->name) == 0)
				a = &l->authorities[k];
		struct x509_crl *crl = a ? read_list(raw, a) : NULL;
		if (!crl)
			continue;
		struct trust_list *kept = &l->to->lists[l->to->n_lists++];
		memcpy(kept->name, raw->name, sizeof(kept->name));
		memcpy(kept->etag, raw->etag, sizeof(kept->etag));
		memcpy(kept->authority, a->id, sizeof(kept->authority));
		kept->crl = crl;
		a->crl = x509_crl_ref(crl);
	}
}

int trust_load(
        const struct document_store *documents, const struct trust *before, struct trust **ret)
{
	struct loading l;
	int err = loading_init(&l, before);
	if (err == 0)
		err = documents->each(documents->ctx, ENTITY_AUTHORITY, take, &l);
	if (err == 0) {
		join_lists(&l);
		l.to->x509 = x509_trust_new(TAKE_PTR(l.authorities), l.n);
		err = l.to->x509 ? 0 : ERR_NOMEM;
	}
	if (err == 0)
		*ret = TAKE_PTR(l.to);
	loading_done(&l);
	return err;
}

/* ---- the replica ---- */

static int load(void *ctx, void *old, HF_UNUSED uint64_t what, void **ret)
{
	struct registry *r = ctx;
	struct trust *fresh = NULL;
	int err = trust_load(&r->store.documents, old, &fresh);
	if (err == 0)
		*ret = fresh;
	return err;
}

static void *ref(void *value)
{
	return trust_ref(value);
}

static void *unref(void *value)
{
	return trust_unref(value);
}

static void applied(void *ctx, HF_UNUSED void *value, HF_UNUSED uint64_t what)
{
	struct registry *r = ctx;
	clerk_wake(r->clerk);
	if (r->trust_applied)
		r->trust_applied(r->trust_applied_ctx);
}

static const struct replica_ops ops = {
        .name = "authorities",
        .load = load,
        .ref = ref,
        .unref = unref,
        .applied = applied,
};

struct replica *trust_replica_new(struct loop *const *loops, unsigned n, struct registry *r)
{
	return replica_new(loops, n, &ops, r);
}

const struct trust *trust_here(const struct registry *r)
{
	return replica_here(r->trust);
}

struct trust *trust_take(const struct registry *r)
{
	return replica_take(r->trust);
}

void trust_wrote(struct registry *r)
{
	replica_changed(r->trust, 1);
	if (!replica_wait(r->trust, WROTE_WAIT_MS))
		log_warn("authorities have changed, and not every loop knows of it yet");
}
