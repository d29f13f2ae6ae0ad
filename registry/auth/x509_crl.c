#include "registry/auth/x509_crl.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <time.h>

#include "server/base/err.h"

/* What a list that is read is made of; all of it is the reader's. */
struct reading {
	X509_CRL *crl;
	const char *why;
};

static int refuse(struct reading *r, const char *why)
{
	r->why = why;
	return ERR_INVALID;
}

/* ---- checks ---- */

/* SHA-1 and MD5 can be made to fit something else. */
static bool signature_weak(const X509_CRL *crl)
{
	int digest = NID_undef, key;
	OBJ_find_sigid_algs(X509_CRL_get_signature_nid(crl), &digest, &key);
	return digest == NID_sha1 || digest == NID_md5 || digest == NID_md4 || digest == NID_md2;
}

static int check_signature(struct reading *r, const X509 *issuer)
{
	EVP_PKEY *key = X509_get0_pubkey(issuer);
	if (X509_NAME_cmp(X509_CRL_get_issuer(r->crl), X509_get_subject_name(issuer)) != 0)
		return refuse(r, "it is of another issuer");
	if (!(X509_get_key_usage((X509 *)issuer) & KU_CRL_SIGN))
		return refuse(r, "the authority's keyUsage does not let it sign revocation lists");
	if (signature_weak(r->crl))
		return refuse(r, "its signature is too weak");
	if (!key || X509_CRL_verify(r->crl, key) != 1)
		return refuse(r, "its signature is not the authority's");
	return 0;
}

/* Whether the list speaks of all certificates of its issuer (RFC 5280 section 5.2.5). */
static bool scope_whole(const X509_CRL *crl)
{
	int critical;
	ISSUING_DIST_POINT *idp = X509_CRL_get_ext_d2i(
	        crl, NID_issuing_distribution_point, &critical, NULL);
	if (!idp)
		return critical == -1; /* it has none; else it cannot be read */
	bool whole = !idp->onlyuser && !idp->onlyCA && !idp->onlysomereasons && !idp->indirectCRL &&
	        !idp->onlyattr;
	ISSUING_DIST_POINT_free(idp);
	return whole;
}

static int check_extensions(struct reading *r)
{
	for (int i = 0; i < X509_CRL_get_ext_count(r->crl); i++) {
		X509_EXTENSION *ext = X509_CRL_get_ext(r->crl, i);
		int nid = OBJ_obj2nid(X509_EXTENSION_get_object(ext));
		if (nid == NID_delta_crl)
			return refuse(r, "it is a delta list, and only whole ones are taken");
		if (X509_EXTENSION_get_critical(ext) && nid != NID_issuing_distribution_point)
			return refuse(r, "it has a critical extension that is not known here");
	}
	return scope_whole(r->crl)
	        ? 0
	        : refuse(r, "it is not a list of all certificates of its issuer");
}

/* ---- what is kept ---- */

static int seconds_of(const ASN1_TIME *time, int64_t *ret)
{
	struct tm tm;
	if (ASN1_TIME_to_tm(time, &tm) != 1)
		return ERR_INVALID;
	*ret = timegm(&tm);
	return 0;
}

static int keep_dates(struct reading *r, struct x509_crl *to)
{
	const ASN1_TIME *next = X509_CRL_get0_nextUpdate(r->crl);
	const ASN1_TIME *last = X509_CRL_get0_lastUpdate(r->crl);
	if (!last || seconds_of(last, &to->this_update) < 0 ||
	        (next && seconds_of(next, &to->next_update) < 0))
		return refuse(r, "its dates cannot be read");
	return 0;
}

static int keep_number(struct reading *r, struct x509_crl *to)
{
	int critical;
	ASN1_INTEGER *number = X509_CRL_get_ext_d2i(r->crl, NID_crl_number, &critical, NULL);
	if (!number)
		return critical == -1 ? 0 : refuse(r, "its number cannot be read");
	int n = ASN1_STRING_length(number);
	bool fits = !(ASN1_STRING_type(number) & V_ASN1_NEG) && n > 0 && n <= X509_CRL_NUMBER_MAX;
	if (fits) {
		memcpy(to->number, ASN1_STRING_get0_data(number), (size_t)n);
		to->number_len = (uint8_t)n;
	}
	ASN1_INTEGER_free(number);
	return fits ? 0 : refuse(r, "its number is negative or too long");
}

static int serial_compare(const void *a, const void *b)
{
	const struct x509_serial *x = a, *y = b;
	return x->len != y->len ? (int)x->len - (int)y->len : memcmp(x->bytes, y->bytes, x->len);
}

/* An entry of another issuer would make it an indirect list. */
static int keep_entry(struct reading *r, X509_REVOKED *entry, struct x509_crl *to)
{
	const ASN1_INTEGER *serial = X509_REVOKED_get0_serialNumber(entry);
	int n = ASN1_STRING_length(serial);
	if (X509_REVOKED_get_ext_by_NID(entry, NID_certificate_issuer, -1) >= 0)
		return refuse(r, "it is a list for several issuers");
	/* Whoever has such a number is not let in anyway. */
	if (ASN1_STRING_type(serial) & V_ASN1_NEG || n < 1 || n > X509_SERIAL_MAX)
		return 0;
	struct x509_serial *kept = &to->serials[to->n++];
	kept->len = (uint8_t)n;
	memcpy(kept->bytes, ASN1_STRING_get0_data(serial), (size_t)n);
	return 0;
}

static int keep_entries(struct reading *r, struct x509_crl *to)
{
	STACK_OF(X509_REVOKED) *entries = X509_CRL_get_REVOKED(r->crl);
	for (int i = 0; i < sk_X509_REVOKED_num(entries); i++) {
		int err = keep_entry(r, sk_X509_REVOKED_value(entries, i), to);
		if (err < 0)
			return err;
	}
	qsort(to->serials, to->n, sizeof(to->serials[0]), serial_compare);
	return 0;
}

static int keep(struct reading *r, struct x509_crl **ret)
{
	int n = sk_X509_REVOKED_num(X509_CRL_get_REVOKED(r->crl));
	size_t room = n > 0 ? (size_t)n : 0;
	struct x509_crl *crl = calloc(1, sizeof(*crl) + room * sizeof(crl->serials[0]));
	if (!crl)
		return ERR_NOMEM;
	atomic_init(&crl->refs, 1);
	int err = keep_dates(r, crl);
	if (err == 0)
		err = keep_number(r, crl);
	if (err == 0)
		err = keep_entries(r, crl);
	if (err < 0) {
		free(crl);
		return err;
	}
	*ret = crl;
	return 0;
}

int x509_crl_read(
        struct slice der, const struct x509_st *issuer, struct x509_crl **ret, const char **ret_why)
{
	const unsigned char *at = der.p;
	struct reading r = {.why = "it is no revocation list in DER or PEM"};
	if (der.n > X509_CRL_MAX)
		return ERR_TOO_BIG;
	if (der.n > 0)
		r.crl = d2i_X509_CRL(NULL, &at, (long)der.n);
	int err = r.crl && at == der.p + der.n ? 0 : ERR_INVALID;
	if (err == 0)
		err = check_signature(&r, issuer);
	if (err == 0)
		err = check_extensions(&r);
	if (err == 0)
		err = keep(&r, ret);
	X509_CRL_free(r.crl);
	ERR_clear_error();
	if (err == ERR_INVALID)
		*ret_why = r.why;
	return err;
}

int x509_crl_to_der(struct slice text, uint8_t **ret, size_t *ret_n)
{
	char *name = NULL, *header = NULL;
	unsigned char *data = NULL;
	long n = 0;
	if (text.n == 0 || text.n > 2 * X509_CRL_MAX)
		return ERR_INVALID;
	/* DER begins with a SEQUENCE. */
	bool is_der = text.p[0] == 0x30;
	BIO *in = is_der ? NULL : BIO_new_mem_buf(text.p, (int)text.n);
	bool ok = in && PEM_read_bio(in, &name, &header, &data, &n) == 1 && n > 0 &&
	        strcmp(name, PEM_STRING_X509_CRL) == 0;
	struct slice der = is_der ? text : ok ? slice_make(data, (size_t)n) : (struct slice){0};
	uint8_t *copy = der.n > 0 ? malloc(der.n) : NULL;
	if (copy) {
		memcpy(copy, der.p, der.n);
		*ret = copy;
		*ret_n = der.n;
	}
	BIO_free(in);
	OPENSSL_free(name);
	OPENSSL_free(header);
	OPENSSL_free(data);
	ERR_clear_error();
	if (copy)
		return 0;
	return der.n > 0 ? ERR_NOMEM : ERR_INVALID;
}

struct x509_crl *x509_crl_ref(struct x509_crl *crl)
{
	if (crl)
		atomic_fetch_add_explicit(&crl->refs, 1, memory_order_relaxed);
	return crl;
}

struct x509_crl *x509_crl_unref(struct x509_crl *crl)
{
	if (crl && atomic_fetch_sub_explicit(&crl->refs, 1, memory_order_acq_rel) == 1)
		free(crl);
	return NULL;
}

/* ---- asking ---- */

bool x509_crl_has(const struct x509_crl *crl, struct slice serial)
{
	struct x509_serial key = {.len = (uint8_t)serial.n};
	if (serial.n == 0 || serial.n > X509_SERIAL_MAX)
		return false;
	memcpy(key.bytes, serial.p, serial.n);
	return bsearch(&key, crl->serials, crl->n, sizeof(key), serial_compare) != NULL;
}

bool x509_crl_stale(const struct x509_crl *crl, int64_t now)
{
	return crl->next_update != 0 && crl->next_update <= now;
}

int x509_crl_compare(const struct x509_crl *a, const struct x509_crl *b)
{
	if (a->number_len > 0 && b->number_len > 0)
		return a->number_len != b->number_len ? (int)a->number_len - (int)b->number_len
		                                      : memcmp(a->number, b->number, a->number_len);
	return (a->this_update > b->this_update) - (a->this_update < b->this_update);
}
