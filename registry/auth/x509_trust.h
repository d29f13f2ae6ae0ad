/*
 * Whom the hub trusts to name devices, and whether a chain of certificates holds. A trust is a set
 * of authorities with their revocation lists, prepared for OpenSSL's X509_verify_cert: immutable,
 * so any thread asks it without a lock. RFC 5280 section 6.
 */
#ifndef HF_REGISTRY_AUTH_X509_TRUST_H
#define HF_REGISTRY_AUTH_X509_TRUST_H

#include "registry/auth/x509_crl.h"
#include "server/base/cert_chain.h"
#include "server/base/deny.h"

#define AUTHORITY_NAME_MAX 64
#define AUTHORITIES_MAX 4096

enum authority_status {
	AUTHORITY_UNVERIFIED, /* nobody has shown that they hold its key */
	AUTHORITY_ACTIVE,
	AUTHORITY_INACTIVE,
	AUTHORITY_REVOKED,
};

struct x509_authority {
	char name[AUTHORITY_NAME_MAX + 1];
	struct x509_st *cert;
	uint8_t id[X509_ID_LEN];
	enum authority_status status;
	enum x509_id_from id_from;
	bool auto_register; /* a device that is not known is made */
	bool crl_hard;      /* nobody below it is let in without a list that is valid now */
	bool crl_expected;  /* there is to be one: its absence is worth a warning */
	struct x509_crl *crl;
	/* x509_trust_new's: the authority among the others that has signed it; NULL: none. */
	const struct x509_authority *parent;
};

struct x509_trust;

/* list: malloc'ed, the trust's from here on, with what its members hold; also after a failure. n:
 * at most AUTHORITIES_MAX. NULL when out of memory. */
struct x509_trust *x509_trust_new(struct x509_authority *list, size_t n);
void x509_trust_free(struct x509_trust *t); /* NULL is fine */
size_t x509_trust_count(const struct x509_trust *t);
const struct x509_authority *x509_trust_find(
        const struct x509_trust *t, const uint8_t id[static X509_ID_LEN]);

/* By what a chain held: enough to judge it again without its signatures. */
struct x509_path {
	uint8_t authority[X509_ID_LEN]; /* that it ended at */
	struct x509_serial serial;      /* of the certificate which that has signed */
};

struct x509_verdict {
	const struct x509_authority *authority; /* the trust's; NULL: none was found */
	struct x509_path path;
	int64_t expires_at; /* the earliest end of the chain, wall s */
	bool crl_missing;   /* let in without a list that there should be */
};

/* Whether the leaf (chain's own, read already) is good for a client now: DENY_NONE with *ret, or
 * why not (then the authority alone may be set). Which device it is for is not looked at. */
enum deny_reason x509_trust_verify(const struct x509_trust *t, const struct cert_chain *chain,
        struct x509_st *leaf, int64_t now, struct x509_verdict *ret);
/* Whether a chain that held would hold now, as far as authorities and their lists say: DENY_NONE,
 * DENY_CERT_UNKNOWN_ISSUER, …_REVOKED, …_INACTIVE. A list that is missing ends nobody. */
enum deny_reason x509_trust_verify_again(const struct x509_trust *t, const struct x509_path *path);
/* Whose name the leaf's issuer has, for reading its device id before anything is verified; the
 * first of several. NULL: nobody's. */
const struct x509_authority *x509_trust_issuer(
        const struct x509_trust *t, const struct x509_st *leaf);

#endif
