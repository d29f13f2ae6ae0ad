/*
 * OpenSSL builds and checks the path. What is ours is which authority stands behind a name: they
 * are kept by subject here, and where several share one it is the key that fits, so that an
 * authority of the same name changes nothing for another's certificates. Intermediates that are
 * registered are anchors as roots are; those that a client sends are only ever on the way to one.
 */
#include "registry/auth/x509_trust.h"

#include <assert.h>
#include <openssl/err.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdlib.h>

#include "server/base/err.h"
#include "server/base/map.h"

#define DEPTH_MAX CERT_CHAIN_MAX
#define AUTH_LEVEL 2 /* 112 bits: RSA of 2048, no SHA-1 */

struct subject {
	uint64_t hash;
	const struct x509_authority *authority;
};

struct x509_trust {
	size_t n;
	struct x509_authority *list; /* sorted by id */
	struct subject *subjects;    /* sorted by hash of the subject's canonical form */
	X509_STORE *store;
};

/* ---- authorities by subject ---- */

/* Equal for names that X509_NAME_cmp calls equal: OpenSSL hashes the canonical form. */
static uint64_t name_hash(const X509_NAME *name)
{
	int ok = 0;
	unsigned long h = X509_NAME_hash_ex(name, NULL, NULL, &ok);
	return ok ? h : 0;
}

static const struct subject *subject_first(const struct x509_trust *t, uint64_t hash)
{
	size_t low = 0, high = t->n;
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		if (t->subjects[mid].hash < hash)
			low = mid + 1;
		else
			high = mid;
	}
	return &t->subjects[low];
}

/* Every authority of that name: starts with *at = NULL; NULL at the end. */
static const struct x509_authority *subject_next(
        const struct x509_trust *t, const X509_NAME *name, const struct subject **at)
{
	uint64_t hash = name_hash(name);
	const struct subject *end = t->subjects + t->n;
	const struct subject *s = *at ? *at + 1 : subject_first(t, hash);
	for (; s < end && s->hash == hash; s++)
		if (X509_NAME_cmp(X509_get_subject_name(s->authority->cert), name) == 0) {
			*at = s;
			return s->authority;
		}
	return NULL;
}

/* The better of two that have both signed: one certificate may be renewed under the same key. */
static bool better(const struct x509_authority *a, const struct x509_authority *b, time_t now)
{
	bool a_now = X509_cmp_time(X509_get0_notAfter(a->cert), &now) > 0;
	bool b_now = X509_cmp_time(X509_get0_notAfter(b->cert), &now) > 0;
	if (a_now != b_now)
		return a_now;
	return a->status == AUTHORITY_ACTIVE && b->status != AUTHORITY_ACTIVE;
}

/* Whether a fits as far as can be told without its key: names, identifiers of keys, usage. */
static bool fits(const struct x509_authority *a, X509 *cert)
{
	return X509_check_issued(a->cert, cert) == X509_V_OK;
}

/* Which of several authorities of one name has signed cert; NULL: none of those that are looked at.
 * loose: all are. */
static const struct x509_authority *signer_of(
        const struct x509_trust *t, X509 *cert, time_t now, bool loose)
{
	const X509_NAME *name = X509_get_issuer_name(cert);
	const struct subject *at = NULL;
	const struct x509_authority *best = NULL, *a;
	while ((a = subject_next(t, name, &at)) != NULL)
		if ((loose || fits(a, cert)) && (!best || better(a, best, now)) &&
		        x509_signed_by(cert, a->cert))
			best = a;
	return best;
}

/* Who has issued cert. Where one alone can have, it is taken at its word, for the signature is
 * checked later; of several it is the one whose key fits. */
static const struct x509_authority *issuer_of(const struct x509_trust *t, X509 *cert, time_t now)
{
	const X509_NAME *name = X509_get_issuer_name(cert);
	const struct subject *at = NULL;
	const struct x509_authority *first = subject_next(t, name, &at), *fit = NULL, *a = first;
	unsigned n = 0, n_fit = 0;
	for (; a; a = subject_next(t, name, &at), n++)
		if (fits(a, cert)) {
			fit = a;
			n_fit++;
		}
	if (n <= 1 || n_fit == 1)
		return n_fit == 1 ? fit : first;
	const struct x509_authority *signer = signer_of(t, cert, now, n_fit == 0);
	return signer ? signer : first;
}

/* ---- OpenSSL's questions ---- */

struct question {
	const struct x509_trust *trust;
	time_t now;
};

static int get_issuer(X509 **issuer, X509_STORE_CTX *ctx, X509 *cert)
{
	const struct question *q = X509_STORE_CTX_get_app_data(ctx);
	const struct x509_authority *a = issuer_of(q->trust, cert, q->now);
	/* One that has signed itself would be its own issuer without end. */
	if (!a || X509_up_ref(a->cert) != 1)
		return 0;
	*issuer = a->cert;
	return 1;
}

/* Asked whether a certificate of the chain is an anchor itself: only what has issued is. */
static STACK_OF(X509) * lookup_certs(HF_UNUSED X509_STORE_CTX *ctx, HF_UNUSED const X509_NAME *name)
{
	return sk_X509_new_null();
}

/* What RFC 5280 wants of certificates and small authorities' tools leave out. Identifiers of keys
 * only help to find an issuer, and we try its key; a key usage that is not there forbids nothing.
 */
static int tolerate(int ok, X509_STORE_CTX *ctx)
{
	switch (X509_STORE_CTX_get_error(ctx)) {
	case X509_V_ERR_MISSING_AUTHORITY_KEY_IDENTIFIER:
	case X509_V_ERR_MISSING_SUBJECT_KEY_IDENTIFIER:
	case X509_V_ERR_CA_CERT_MISSING_KEY_USAGE:
	case X509_V_ERR_CA_BCONS_NOT_CRITICAL: return 1;
	default: return ok;
	}
}

static X509_STORE *store_new(void)
{
	X509_STORE *store = X509_STORE_new();
	if (!store)
		return NULL;
	X509_VERIFY_PARAM *p = X509_STORE_get0_param(store);
	X509_VERIFY_PARAM_set_flags(p, X509_V_FLAG_PARTIAL_CHAIN | X509_V_FLAG_X509_STRICT);
	X509_VERIFY_PARAM_set_purpose(p, X509_PURPOSE_SSL_CLIENT);
	X509_VERIFY_PARAM_set_auth_level(p, AUTH_LEVEL);
	X509_VERIFY_PARAM_set_depth(p, DEPTH_MAX);
	X509_STORE_set_get_issuer(store, get_issuer);
	X509_STORE_set_lookup_certs(store, lookup_certs);
	X509_STORE_set_verify_cb(store, tolerate);
	return store;
}

/* ---- life ---- */

static int by_id(const void *a, const void *b)
{
	const struct x509_authority *x = a, *y = b;
	return memcmp(x->id, y->id, sizeof(x->id));
}

static int by_hash(const void *a, const void *b)
{
	const struct subject *x = a, *y = b;
	return (x->hash > y->hash) - (x->hash < y->hash);
}

/* An authority that has signed itself has no other above it. */
static void find_parents(struct x509_trust *t)
{
	for (size_t i = 0; i < t->n; i++) {
		struct x509_authority *a = &t->list[i];
		const struct subject *at = NULL;
		const struct x509_authority *p;
		const X509_NAME *issuer = X509_get_issuer_name(a->cert);
		if (X509_NAME_cmp(issuer, X509_get_subject_name(a->cert)) == 0)
			continue;
		while (!a->parent && (p = subject_next(t, issuer, &at)) != NULL)
			if (p != a && x509_signed_by(a->cert, p->cert))
				a->parent = p;
	}
}

static void authorities_free(struct x509_authority *list, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		x509_free(list[i].cert);
		x509_crl_unref(list[i].crl);
	}
	free(list);
}

void x509_trust_free(struct x509_trust *t)
{
	if (!t)
		return;
	authorities_free(t->list, t->n);
	X509_STORE_free(t->store);
	free(t->subjects);
	free(t);
}

struct x509_trust *x509_trust_new(struct x509_authority *list, size_t n)
{
	struct x509_trust *t = calloc(1, sizeof(*t));
	assert(n <= AUTHORITIES_MAX);
	if (!t) {
		authorities_free(list, n);
		return NULL;
	}
	t->n = n;
	t->list = list;
	t->subjects = calloc(n + 1, sizeof(t->subjects[0]));
	t->store = store_new();
	if (!t->subjects || !t->store) {
		x509_trust_free(t);
		return NULL;
	}
	if (n > 0)
		qsort(list, n, sizeof(*list), by_id);
	for (size_t i = 0; i < n; i++)
		t->subjects[i] = (struct subject){
		        name_hash(X509_get_subject_name(list[i].cert)), &list[i]};
	qsort(t->subjects, n, sizeof(t->subjects[0]), by_hash);
	find_parents(t);
	ERR_clear_error();
	return t;
}

size_t x509_trust_count(const struct x509_trust *t)
{
	return t->n;
}

const struct x509_authority *x509_trust_find(
        const struct x509_trust *t, const uint8_t id[static X509_ID_LEN])
{
	struct x509_authority key = {0};
	memcpy(key.id, id, sizeof(key.id));
	return t->n ? bsearch(&key, t->list, t->n, sizeof(key), by_id) : NULL;
}

const struct x509_authority *x509_trust_issuer(
        const struct x509_trust *t, const struct x509_st *leaf)
{
	const struct subject *at = NULL;
	return subject_next(t, X509_get_issuer_name(leaf), &at);
}

/* ---- what does not need a signature ---- */

static enum deny_reason judge_status(const struct x509_authority *a)
{
	switch (a->status) {
	case AUTHORITY_ACTIVE: return DENY_NONE;
	case AUTHORITY_REVOKED: return DENY_AUTHORITY_REVOKED;
	default: return DENY_AUTHORITY_INACTIVE;
	}
}

/* An authority stands with those above it: one that is revoked, or whose list has it, takes it
 * along. That one above is merely not active means nothing for those below. */
static enum deny_reason judge_above(const struct x509_authority *a)
{
	struct x509_serial s;
	for (unsigned depth = 0; a->parent && depth < DEPTH_MAX; depth++, a = a->parent) {
		if (a->parent->status == AUTHORITY_REVOKED)
			return DENY_AUTHORITY_REVOKED;
		if (a->parent->crl && x509_serial(a->cert, s.bytes, &s.len) == 0 &&
		        x509_crl_has(a->parent->crl, slice_make(s.bytes, s.len)))
			return DENY_CERT_REVOKED;
	}
	return DENY_NONE;
}

static enum deny_reason judge_path(const struct x509_authority *a, const struct x509_serial *serial)
{
	enum deny_reason why = judge_status(a);
	if (why == DENY_NONE)
		why = judge_above(a);
	if (why == DENY_NONE && a->crl &&
	        x509_crl_has(a->crl, slice_make(serial->bytes, serial->len)))
		why = DENY_CERT_REVOKED;
	return why;
}

enum deny_reason x509_trust_verify_again(const struct x509_trust *t, const struct x509_path *path)
{
	const struct x509_authority *a = x509_trust_find(t, path->authority);
	return a ? judge_path(a, &path->serial) : DENY_CERT_UNKNOWN_ISSUER;
}

/* ---- verifying ---- */

static enum deny_reason reason_of(int error)
{
	switch (error) {
	case X509_V_ERR_CERT_HAS_EXPIRED: return DENY_CERT_EXPIRED;
	case X509_V_ERR_CERT_NOT_YET_VALID: return DENY_CERT_NOT_YET_VALID;
	case X509_V_ERR_INVALID_PURPOSE:
	case X509_V_ERR_CERT_REJECTED: return DENY_CERT_USAGE;
	case X509_V_ERR_PATH_LENGTH_EXCEEDED:
	case X509_V_ERR_CERT_CHAIN_TOO_LONG: return DENY_CERT_PATH_LENGTH;
	case X509_V_ERR_PERMITTED_VIOLATION:
	case X509_V_ERR_EXCLUDED_VIOLATION: return DENY_CERT_NAME;
	case X509_V_ERR_EE_KEY_TOO_SMALL:
	case X509_V_ERR_CA_KEY_TOO_SMALL:
	case X509_V_ERR_CA_MD_TOO_WEAK:
	case X509_V_ERR_EC_KEY_EXPLICIT_PARAMS: return DENY_CERT_WEAK;
	case X509_V_ERR_CERT_SIGNATURE_FAILURE:
	case X509_V_ERR_UNABLE_TO_DECRYPT_CERT_SIGNATURE: return DENY_CERT_SIGNATURE;
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
	case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
	case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
	case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
	case X509_V_ERR_CERT_UNTRUSTED: return DENY_CERT_UNKNOWN_ISSUER;
	case X509_V_ERR_ERROR_IN_CERT_NOT_BEFORE_FIELD:
	case X509_V_ERR_ERROR_IN_CERT_NOT_AFTER_FIELD: return DENY_CERT_MALFORMED;
	case X509_V_ERR_OUT_OF_MEM: return DENY_UNAVAILABLE;
	default: return DENY_CERT_CHAIN;
	}
}

/* What the client sent with its own; whatever is among it that cannot be read is left out. */
static STACK_OF(X509) * sent_with(const struct cert_chain *chain)
{
	STACK_OF(X509) *sent = sk_X509_new_null();
	for (unsigned i = 1; sent && i < chain->n && i < CERT_CHAIN_MAX; i++) {
		X509 *cert = NULL;
		if (x509_of_chain(chain, i, &cert) == 0 && sk_X509_push(sent, cert) == 0)
			X509_free(cert);
	}
	return sent;
}

static int64_t earliest_end(const STACK_OF(X509) * path)
{
	int64_t earliest = INT64_MAX;
	for (int i = 0; i < sk_X509_num(path); i++) {
		int64_t from, to;
		if (x509_dates(sk_X509_value(path, i), &from, &to) == 0 && to < earliest)
			earliest = to;
	}
	return earliest;
}

/* The lists of the authority and of those above it, each by its own mode; one that is not active
 * demands nothing. */
static enum deny_reason judge_lists(const struct x509_authority *a, int64_t now, bool *ret_missing)
{
	for (unsigned depth = 0; a && depth <= DEPTH_MAX; depth++, a = a->parent) {
		if (a->status != AUTHORITY_ACTIVE || (a->crl && !x509_crl_stale(a->crl, now)))
			continue;
		if (a->crl_hard)
			return DENY_CRL_MISSING;
		*ret_missing |= a->crl_expected;
	}
	return DENY_NONE;
}

/* The path holds: it ends at an authority of ours, the one before the last is what that signed. */
static enum deny_reason judge_held(const struct x509_trust *t, const STACK_OF(X509) * path,
        int64_t now, struct x509_verdict *ret)
{
	int n = sk_X509_num(path);
	struct x509_path *p = &ret->path;
	if (n < 2 || x509_id(sk_X509_value(path, n - 1), p->authority) < 0)
		return DENY_CERT_CHAIN;
	const struct x509_authority *a = ret->authority = x509_trust_find(t, p->authority);
	if (!a || x509_serial(sk_X509_value(path, n - 2), p->serial.bytes, &p->serial.len) < 0)
		return DENY_CERT_MALFORMED;
	ret->expires_at = earliest_end(path);
	enum deny_reason why = judge_path(a, &p->serial);
	return why == DENY_NONE ? judge_lists(a, now, &ret->crl_missing) : why;
}

enum deny_reason x509_trust_verify(const struct x509_trust *t, const struct cert_chain *chain,
        struct x509_st *leaf, int64_t now, struct x509_verdict *ret)
{
	struct question q = {.trust = t, .now = (time_t)now};
	enum deny_reason why = DENY_UNAVAILABLE;
	*ret = (struct x509_verdict){0};
	/* An authority's own certificate is nobody's identity. */
	if (X509_check_ca(leaf) == 1)
		return DENY_CERT_USAGE;
	X509_STORE_CTX *ctx = X509_STORE_CTX_new();
	STACK_OF(X509) *sent = sent_with(chain);
	if (ctx && sent && X509_STORE_CTX_init(ctx, t->store, leaf, sent) == 1) {
		X509_STORE_CTX_set_app_data(ctx, &q);
		X509_VERIFY_PARAM_set_time(X509_STORE_CTX_get0_param(ctx), q.now);
		why = X509_verify_cert(ctx) == 1
		        ? judge_held(t, X509_STORE_CTX_get0_chain(ctx), now, ret)
		        : reason_of(X509_STORE_CTX_get_error(ctx));
	}
	X509_STORE_CTX_free(ctx);
	sk_X509_pop_free(sent, X509_free);
	ERR_clear_error();
	return why;
}
