/*
 * Certificate revocation lists (RFC 5280 section 5): checked once, when they come in, and then only
 * asked for serial numbers. Immutable but for the reference count; any thread.
 */
#ifndef HF_REGISTRY_AUTH_X509_CRL_H
#define HF_REGISTRY_AUTH_X509_CRL_H

#include <stdatomic.h>

#include "registry/auth/x509.h"

#define X509_CRL_MAX ((size_t)16 << 20) /* bytes of DER: some 400,000 entries */
#define X509_CRL_NUMBER_MAX 20          /* RFC 5280 section 5.2.3 */

struct x509_serial {
	uint8_t len, bytes[X509_SERIAL_MAX];
};

struct x509_crl {
	atomic_uint refs;
	int64_t this_update, next_update; /* wall s; next 0: it does not say */
	uint8_t number_len;               /* 0: it has none */
	uint8_t number[X509_CRL_NUMBER_MAX];
	size_t n;
	struct x509_serial serials[]; /* sorted */
};

/*
 * Reads one that issuer has signed, and checks all that does not change: signature and its
 * strength, issuer, no critical extension that is not understood here. Delta, partial and indirect
 * lists are not. 0 with *ret, a reference; ERR_INVALID with *ret_why, a sentence; ERR_TOO_BIG;
 * ERR_NOMEM.
 */
int x509_crl_read(struct slice der, const struct x509_st *issuer, struct x509_crl **ret,
        const char **ret_why);
/* The DER form of what may be PEM or DER: malloc'ed. 0, ERR_INVALID, ERR_NOMEM. */
int x509_crl_to_der(struct slice text, uint8_t **ret, size_t *ret_n);
struct x509_crl *x509_crl_ref(struct x509_crl *crl);   /* NULL is fine */
struct x509_crl *x509_crl_unref(struct x509_crl *crl); /* NULL is fine; returns NULL */

bool x509_crl_has(const struct x509_crl *crl, struct slice serial);
/* Whether it says that there is a newer one by now. */
bool x509_crl_stale(const struct x509_crl *crl, int64_t now);
/* Below, equal, above 0: as a's number is to b's; lists without are compared by their dates. */
int x509_crl_compare(const struct x509_crl *a, const struct x509_crl *b);

#endif
