/*
 * The certificates that `holdfast init` makes: ECDSA P-256, signed with SHA-256. A private
 * authority for trying out, and the server's certificate under it. Main thread.
 */
#ifndef HF_SERVER_INIT_CERT_H
#define HF_SERVER_INIT_CERT_H

#include <openssl/evp.h>
#include <openssl/x509.h>

#include "server/base/cleanup.h"

static inline void init_cert_key_freep(EVP_PKEY **key)
{
	EVP_PKEY_free(*key);
}
static inline void init_cert_freep(X509 **cert)
{
	X509_free(*cert);
}
#define _cleanup_key_ _cleanup_(init_cert_key_freep)
#define _cleanup_cert_ _cleanup_(init_cert_freep)

/* A new key, an authority's own certificate (10 years), a server's (2 years) for those of the names
 * that are host names or addresses. 0 or ERR_CRYPTO; init_cert_server also ERR_INVALID when none
 * of the names is fit for a certificate. */
int init_cert_key(EVP_PKEY **ret);
int init_cert_authority(EVP_PKEY *key, X509 **ret);
int init_cert_server(
        EVP_PKEY *key, X509 *ca, EVP_PKEY *ca_key, const char *const *names, X509 **ret);

/* As PEM, in memory that BIO_free releases. NULL on failure. */
BIO *init_cert_pem(X509 *cert);
BIO *init_cert_key_pem(EVP_PKEY *key);

#endif
