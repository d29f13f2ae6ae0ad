#include "server/init_cert.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>

#include "server/base/err.h"

#define DAY (24L * 3600)
#define CA_DAYS 3650
#define SERVER_DAYS 730
/* A device whose clock is a little behind shall not refuse a certificate made a minute ago. */
#define SKEW 3600L
#define SERIAL_LEN 16

static void bn_freep(BIGNUM **n)
{
	BN_free(*n);
}
static void general_names_freep(GENERAL_NAMES **names)
{
	GENERAL_NAMES_free(*names);
}

int init_cert_key(EVP_PKEY **ret)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");

	if (!key)
		return ERR_CRYPTO;
	*ret = key;
	return 0;
}

/* A positive random serial number, so that two authorities of one name never repeat one. */
static bool cert_set_serial(X509 *cert)
{
	uint8_t bytes[SERIAL_LEN];
	_cleanup_(bn_freep) BIGNUM *n = NULL;

	if (RAND_bytes(bytes, sizeof(bytes)) != 1)
		return false;
	bytes[0] = (bytes[0] & 0x7f) | 0x40;
	n = BN_bin2bn(bytes, sizeof(bytes), NULL);
	return n && BN_to_ASN1_INTEGER(n, X509_get_serialNumber(cert));
}

static bool cert_add_name(X509_NAME *name, const char *field, const char *value)
{
	return X509_NAME_add_entry_by_txt(
	               name, field, MBSTRING_UTF8, (const uint8_t *)value, -1, -1, 0) == 1;
}

static bool cert_add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509_EXTENSION *ext;
	bool added;

	X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
	X509V3_set_ctx_nodb(&ctx);
	ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	added = ext && X509_add_ext(cert, ext, -1) == 1;
	X509_EXTENSION_free(ext);
	return added;
}

/* What both certificates have: version 3, serial, validity, key. NULL on failure. */
static X509 *cert_new(EVP_PKEY *key, long days)
{
	_cleanup_cert_ X509 *cert = X509_new();

	if (!cert || X509_set_version(cert, X509_VERSION_3) != 1 || !cert_set_serial(cert))
		return NULL;
	if (!X509_gmtime_adj(X509_getm_notBefore(cert), -SKEW) ||
	        !X509_gmtime_adj(X509_getm_notAfter(cert), days * DAY) ||
	        X509_set_pubkey(cert, key) != 1)
		return NULL;
	return TAKE_PTR(cert);
}

int init_cert_authority(EVP_PKEY *key, X509 **ret)
{
	_cleanup_cert_ X509 *cert = cert_new(key, CA_DAYS);
	uint8_t tag[4];
	char common[64];
	X509_NAME *name;

	if (!cert || RAND_bytes(tag, sizeof(tag)) != 1)
		return ERR_CRYPTO;
	/* Somebody who trusts two hubs' authorities can tell them apart by name. */
	snprintf(common, sizeof(common), "Holdfast private CA %02x%02x%02x%02x", tag[0], tag[1],
	        tag[2], tag[3]);
	name = X509_get_subject_name(cert);
	if (!cert_add_name(name, "O", "Holdfast") || !cert_add_name(name, "CN", common) ||
	        X509_set_issuer_name(cert, name) != 1)
		return ERR_CRYPTO;
	if (!cert_add_extension(cert, cert, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") ||
	        !cert_add_extension(cert, cert, NID_key_usage, "critical,keyCertSign,cRLSign") ||
	        !cert_add_extension(cert, cert, NID_subject_key_identifier, "hash") ||
	        !cert_add_extension(cert, cert, NID_authority_key_identifier, "keyid:always"))
		return ERR_CRYPTO;
	if (X509_sign(cert, key, EVP_sha256()) <= 0)
		return ERR_CRYPTO;
	*ret = TAKE_PTR(cert);
	return 0;
}

static bool name_is_host(const char *name)
{
	size_t n = strlen(name);

	if (n == 0 || n > 253 || name[0] == '-' || name[0] == '.')
		return false;
	for (size_t i = 0; i < n; i++)
		if (!isalnum((unsigned char)name[i]) && !strchr("-._", name[i]))
			return false;
	return true;
}

/* An address as its bytes, a host name as it is; anything else is passed over: good for a token's
 * audience perhaps, not for a certificate. False only when out of memory. */
static bool names_add(GENERAL_NAMES *names, const char *name)
{
	uint8_t addr[sizeof(struct in6_addr)];
	bool v4 = inet_pton(AF_INET, name, addr) == 1;
	bool v6 = !v4 && inet_pton(AF_INET6, name, addr) == 1;
	int n = v4 ? 4 : v6 ? 16 : (int)strlen(name);
	GENERAL_NAME *entry;
	ASN1_STRING *data;

	if (!v4 && !v6 && !name_is_host(name))
		return true;
	data = v4 || v6 ? ASN1_OCTET_STRING_new() : ASN1_IA5STRING_new();
	entry = GENERAL_NAME_new();
	if (!data || !entry ||
	        ASN1_STRING_set(data, v4 || v6 ? (const char *)addr : name, n) != 1 ||
	        sk_GENERAL_NAME_push(names, entry) <= 0) {
		ASN1_STRING_free(data);
		GENERAL_NAME_free(entry);
		return false;
	}
	GENERAL_NAME_set0_value(entry, v4 || v6 ? GEN_IPADD : GEN_DNS, data);
	return true;
}

static bool name_seen_before(const char *const *names, size_t i)
{
	for (size_t j = 0; j < i; j++)
		if (strcasecmp(names[j], names[i]) == 0)
			return true;
	return false;
}

static int cert_add_names(X509 *cert, const char *const *names)
{
	_cleanup_(general_names_freep) GENERAL_NAMES *alt = GENERAL_NAMES_new();

	if (!alt)
		return ERR_CRYPTO;
	for (size_t i = 0; names[i]; i++)
		if (!name_seen_before(names, i) && !names_add(alt, names[i]))
			return ERR_CRYPTO;
	if (sk_GENERAL_NAME_num(alt) == 0)
		return ERR_INVALID;
	if (X509_add1_ext_i2d(cert, NID_subject_alt_name, alt, 0, X509V3_ADD_DEFAULT) != 1)
		return ERR_CRYPTO;
	return 0;
}

int init_cert_server(
        EVP_PKEY *key, X509 *ca, EVP_PKEY *ca_key, const char *const *names, X509 **ret)
{
	_cleanup_cert_ X509 *cert = cert_new(key, SERVER_DAYS);
	int err;

	if (!cert || !cert_add_name(X509_get_subject_name(cert), "O", "Holdfast") ||
	        !cert_add_name(X509_get_subject_name(cert), "CN", "Holdfast hub") ||
	        X509_set_issuer_name(cert, X509_get_subject_name(ca)) != 1)
		return ERR_CRYPTO;
	if (!cert_add_extension(cert, ca, NID_basic_constraints, "critical,CA:FALSE") ||
	        !cert_add_extension(cert, ca, NID_key_usage, "critical,digitalSignature") ||
	        !cert_add_extension(cert, ca, NID_ext_key_usage, "serverAuth") ||
	        !cert_add_extension(cert, ca, NID_subject_key_identifier, "hash") ||
	        !cert_add_extension(cert, ca, NID_authority_key_identifier, "keyid:always"))
		return ERR_CRYPTO;
	err = cert_add_names(cert, names);
	if (err < 0)
		return err;
	if (X509_sign(cert, ca_key, EVP_sha256()) <= 0)
		return ERR_CRYPTO;
	*ret = TAKE_PTR(cert);
	return 0;
}

BIO *init_cert_pem(X509 *cert)
{
	BIO *out = BIO_new(BIO_s_mem());

	if (out && PEM_write_bio_X509(out, cert) != 1) {
		BIO_free(out);
		return NULL;
	}
	return out;
}

BIO *init_cert_key_pem(EVP_PKEY *key)
{
	/* Memory that is wiped when it is freed. */
	BIO *out = BIO_new(BIO_s_secmem());

	if (out && PEM_write_bio_PKCS8PrivateKey(out, key, NULL, NULL, 0, NULL, NULL) != 1) {
		BIO_free(out);
		return NULL;
	}
	return out;
}
