/*
 * One certificate: reading it, what it says of whom, thumbprints. Pure functions over OpenSSL's
 * X509, which stays opaque outside of this folder. Certificates come from strangers: what cannot be
 * read, or is larger than the bounds here, is refused. Any thread; OpenSSL's error queue is left
 * empty.
 */
#ifndef HF_REGISTRY_AUTH_X509_H
#define HF_REGISTRY_AUTH_X509_H

#include "server/base/cert_chain.h"
#include "server/base/cleanup.h"
#include "server/base/crypto.h"
#include "server/base/facts.h"
#include "server/base/principal.h"

struct x509_st; /* OpenSSL's X509 */

#define X509_DER_MAX 32768
#define X509_PEM_MAX 65536
#define X509_ID_LEN CRYPTO_HASH_LEN
#define X509_ID_TEXT (2 * X509_ID_LEN) /* lower-case hex */
#define X509_SHA1_LEN 20
#define X509_SERIAL_MAX 20 /* RFC 5280 section 4.1.2.2 */
#define X509_NAME_MAX 1024 /* of a whole name as text */

/* From which names of a certificate a device's id is taken. */
enum x509_id_from {
	X509_ID_FROM_CN,  /* the only CommonName of the subject */
	X509_ID_FROM_SAN, /* any DNS name or URI among the subject's alternative names */
};

/* One certificate and nothing behind it. 0 with *ret, ERR_INVALID, ERR_NOMEM. */
int x509_read(struct slice der, struct x509_st **ret);
/* The same from PEM: exactly one, text around it is passed over; white space alone behind it. */
int x509_read_pem(struct slice pem, struct x509_st **ret);
/* One of a chain that a client has shown, as it was read already where it was. A reference for the
 * caller. As x509_read. */
int x509_of_chain(const struct cert_chain *chain, unsigned i, struct x509_st **ret);
struct x509_st *x509_free(struct x509_st *cert); /* NULL is fine; returns NULL */
static inline void x509_cleanup(struct x509_st **cert)
{
	x509_free(*cert);
}
#define _cleanup_x509_ _cleanup_(x509_cleanup)

/* The certificate's id: SHA-256 over its DER form. */
int x509_id(const struct x509_st *cert, uint8_t ret[static X509_ID_LEN]);
void x509_id_text(const uint8_t id[static X509_ID_LEN], char ret[static X509_ID_TEXT + 1]);
/* SHA-1 over the bytes: thumbprints of fleets that come from elsewhere. */
int x509_sha1(struct slice der, uint8_t ret[static X509_SHA1_LEN]);
/* The serial number's magnitude, big-endian. 0; ERR_INVALID: negative, or too long. */
int x509_serial(const struct x509_st *cert, uint8_t ret[static X509_SERIAL_MAX], uint8_t *ret_len);
/* Wall-clock seconds. 0, ERR_INVALID. */
int x509_dates(const struct x509_st *cert, int64_t *ret_not_before, int64_t *ret_not_after);
/* Subject or issuer as one line of ASCII (RFC 2253, the rest escaped), cut where it is too long. */
void x509_subject(const struct x509_st *cert, char ret[static X509_NAME_MAX + 1]);
void x509_issuer(const struct x509_st *cert, char ret[static X509_NAME_MAX + 1]);

/* Whether it names that device; names with a NUL or other control characters name nobody. */
bool x509_names_device(const struct x509_st *cert, enum x509_id_from from, struct slice id);
/* The device that it names; false: none, or not one alone. */
bool x509_device_id(
        const struct x509_st *cert, enum x509_id_from from, char ret[static MODULE_ID_MAX + 1]);

/* Whether it may sign certificates, and is good enough for it: NULL, or why not, as a sentence for
 * the administrator. now: wall-clock seconds. */
const char *x509_authority_fault(const struct x509_st *cert, int64_t now);
/* Whether authority's key has signed cert (names are compared too). */
bool x509_signed_by(const struct x509_st *cert, const struct x509_st *authority);

/* The variables of wire-contract F.3. NULL when out of memory. */
struct facts *x509_facts(const struct x509_st *cert, const uint8_t id[static X509_ID_LEN]);

#endif
