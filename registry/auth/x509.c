#include "registry/auth/x509.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "server/base/device_id.h"
#include "server/base/err.h"

#define KEY_BITS_MIN 112 /* of strength: RSA of 2048 bits, curves of 224 (NIST SP 800-57) */
#define NAMES_MAX 64     /* entries of a name, alternative names: more are not looked at */

/* ---- reading ---- */

int x509_read(struct slice der, struct x509_st **ret)
{
	const unsigned char *at = der.p;
	if (der.n == 0 || der.n > X509_DER_MAX)
		return ERR_INVALID;
	X509 *cert = d2i_X509(NULL, &at, (long)der.n);
	ERR_clear_error();
	if (!cert || at != der.p + der.n) {
		X509_free(cert);
		return ERR_INVALID;
	}
	*ret = cert;
	return 0;
}

int x509_of_chain(const struct cert_chain *chain, unsigned i, struct x509_st **ret)
{
	X509 *cert = chain->read[i];
	if (!cert || chain->der[i].n > X509_DER_MAX)
		return x509_read(chain->der[i], ret);
	if (X509_up_ref(cert) != 1)
		return ERR_NOMEM;
	*ret = cert;
	return 0;
}

static int no_passphrase(
        HF_UNUSED char *buf, HF_UNUSED int size, HF_UNUSED int rw, HF_UNUSED void *arg)
{
	return -1;
}

static bool only_space(BIO *in)
{
	char c;
	while (BIO_read(in, &c, 1) == 1)
		if (c != ' ' && c != '\t' && c != '\r' && c != '\n')
			return false;
	return true;
}

int x509_read_pem(struct slice pem, struct x509_st **ret)
{
	if (pem.n == 0 || pem.n > X509_PEM_MAX)
		return ERR_INVALID;
	BIO *in = BIO_new_mem_buf(pem.p, (int)pem.n);
	if (!in)
		return ERR_NOMEM;
	X509 *cert = PEM_read_bio_X509(in, NULL, no_passphrase, NULL);
	bool alone = cert && only_space(in);
	BIO_free(in);
	ERR_clear_error();
	if (!alone) {
		X509_free(cert);
		return ERR_INVALID;
	}
	*ret = cert;
	return 0;
}

struct x509_st *x509_free(struct x509_st *cert)
{
	X509_free(cert);
	return NULL;
}

/* ---- numbers ---- */

int x509_id(const struct x509_st *cert, uint8_t ret[static X509_ID_LEN])
{
	int ok = X509_digest(cert, EVP_sha256(), ret, NULL);
	ERR_clear_error();
	return ok == 1 ? 0 : ERR_INVALID;
}

void x509_id_text(const uint8_t id[static X509_ID_LEN], char ret[static X509_ID_TEXT + 1])
{
	crypto_hex_encode(slice_make(id, X509_ID_LEN), ret);
}

int x509_sha1(struct slice der, uint8_t ret[static X509_SHA1_LEN])
{
	int ok = EVP_Digest(der.p, der.n, ret, NULL, EVP_sha1(), NULL);
	ERR_clear_error();
	return ok == 1 ? 0 : ERR_CRYPTO;
}

int x509_serial(const struct x509_st *cert, uint8_t ret[static X509_SERIAL_MAX], uint8_t *ret_len)
{
	const ASN1_INTEGER *serial = X509_get0_serialNumber(cert);
	int n = ASN1_STRING_length(serial);
	if (ASN1_STRING_type(serial) & V_ASN1_NEG || n < 1 || n > X509_SERIAL_MAX)
		return ERR_INVALID;
	memcpy(ret, ASN1_STRING_get0_data(serial), (size_t)n);
	*ret_len = (uint8_t)n;
	return 0;
}

static int seconds_of(const ASN1_TIME *time, int64_t *ret)
{
	struct tm tm;
	if (!time || ASN1_TIME_to_tm(time, &tm) != 1)
		return ERR_INVALID;
	*ret = timegm(&tm);
	return 0;
}

int x509_dates(const struct x509_st *cert, int64_t *ret_not_before, int64_t *ret_not_after)
{
	int64_t from, to;
	bool ok = seconds_of(X509_get0_notBefore(cert), &from) == 0 &&
	        seconds_of(X509_get0_notAfter(cert), &to) == 0;
	ERR_clear_error();
	if (!ok)
		return ERR_INVALID;
	*ret_not_before = from;
	*ret_not_after = to;
	return 0;
}

/* ---- names as text ---- */

static void name_line(const X509_NAME *name, char ret[static X509_NAME_MAX + 1])
{
	BIO *out = BIO_new(BIO_s_mem());
	ret[0] = '\0';
	if (out && X509_NAME_print_ex(out, name, 0, XN_FLAG_RFC2253) >= 0) {
		int n = BIO_read(out, ret, X509_NAME_MAX);
		ret[n > 0 ? n : 0] = '\0';
	}
	BIO_free(out);
	ERR_clear_error();
}

void x509_subject(const struct x509_st *cert, char ret[static X509_NAME_MAX + 1])
{
	name_line(X509_get_subject_name(cert), ret);
}

void x509_issuer(const struct x509_st *cert, char ret[static X509_NAME_MAX + 1])
{
	name_line(X509_get_issuer_name(cert), ret);
}

/* Text in UTF-8 that ends where it says, so that nobody reads "good\0evil" as "good". */
static bool text_clean(struct slice text)
{
	for (size_t i = 0; i < text.n; i++)
		if (text.p[i] < ' ' || text.p[i] == 0x7f)
			return false;
	return text.n > 0;
}

/* The string in UTF-8, to be freed with OPENSSL_free; an empty slice: it cannot be had. */
static struct slice utf8_of(const ASN1_STRING *string)
{
	unsigned char *text = NULL;
	int n = ASN1_STRING_length(string) <= X509_DER_MAX ? ASN1_STRING_to_UTF8(&text, string)
	                                                   : -1;
	if (n > 0 && text_clean(slice_make(text, (size_t)n)))
		return slice_make(text, (size_t)n);
	OPENSSL_free(text);
	ERR_clear_error();
	return (struct slice){0};
}

/* ---- the device that is named ---- */

/* What is looked for in a certificate's names. */
struct search {
	struct slice want; /* an id; p NULL: whatever there is */
	unsigned n;        /* found */
	char first[MODULE_ID_MAX + 1];
};

static void search_note(struct search *s, struct slice text)
{
	if (!device_or_module_id_valid(text) || (s->want.p && !slice_eq(text, s->want)))
		return;
	/* One name twice is still one. */
	if (s->n > 0 && slice_eq_str(text, s->first))
		return;
	if (s->n++ == 0 && text.n > 0) {
		memcpy(s->first, text.p, text.n);
		s->first[text.n] = '\0';
	}
}

/* Several common names name nobody, or whoever reads another one of them would be deceived. */
static void search_cn(struct search *s, const X509 *cert)
{
	const X509_NAME *name = X509_get_subject_name(cert);
	int at = X509_NAME_get_index_by_NID(name, NID_commonName, -1);
	if (at < 0 || X509_NAME_get_index_by_NID(name, NID_commonName, at) >= 0)
		return;
	struct slice text = utf8_of(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at)));
	search_note(s, text);
	OPENSSL_free((void *)text.p);
}

static GENERAL_NAMES *alternative_names(const X509 *cert)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
	ERR_clear_error();
	return names;
}

static void search_san(struct search *s, const X509 *cert)
{
	GENERAL_NAMES *names = alternative_names(cert);
	for (int i = 0; i < sk_GENERAL_NAME_num(names) && i < NAMES_MAX; i++) {
		int type;
		const ASN1_STRING *value = GENERAL_NAME_get0_value(
		        sk_GENERAL_NAME_value(names, i), &type);
		if (type != GEN_DNS && type != GEN_URI)
			continue;
		struct slice text = slice_make(
		        ASN1_STRING_get0_data(value), (size_t)ASN1_STRING_length(value));
		if (text_clean(text))
			search_note(s, text);
	}
	GENERAL_NAMES_free(names);
}

static void search_run(struct search *s, const X509 *cert, enum x509_id_from from)
{
	if (from == X509_ID_FROM_CN)
		search_cn(s, cert);
	else
		search_san(s, cert);
}

bool x509_names_device(const struct x509_st *cert, enum x509_id_from from, struct slice id)
{
	struct search s = {.want = id};
	if (!device_or_module_id_valid(id))
		return false;
	search_run(&s, cert, from);
	return s.n > 0;
}

bool x509_device_id(
        const struct x509_st *cert, enum x509_id_from from, char ret[static MODULE_ID_MAX + 1])
{
	struct search s = {0};
	search_run(&s, cert, from);
	if (s.n != 1)
		return false;
	memcpy(ret, s.first, sizeof(s.first));
	return true;
}

/* ---- authorities ---- */

const char *x509_authority_fault(const struct x509_st *cert, int64_t now)
{
	X509 *x = (X509 *)cert; /* extensions are decoded on first use, under OpenSSL's own lock */
	int64_t from, to;
	const EVP_PKEY *key = X509_get0_pubkey(x);
	const char *fault = NULL;
	if (!key)
		fault = "its public key is of a kind that is not known here";
	else if (EVP_PKEY_get_security_bits(key) < KEY_BITS_MIN)
		fault = "its key is too weak: RSA of 2048 bits or a curve of 224 bits is the least";
	else if (X509_check_ca(x) != 1)
		fault = "it is no authority: basicConstraints must say CA:TRUE, and keyUsage, if "
		        "there, keyCertSign";
	else if (x509_dates(x, &from, &to) < 0)
		fault = "its dates cannot be read";
	else if (to <= now)
		fault = "it has expired";
	ERR_clear_error();
	return fault;
}

bool x509_signed_by(const struct x509_st *cert, const struct x509_st *authority)
{
	EVP_PKEY *key = X509_get0_pubkey(authority);
	bool by = key &&
	        X509_NAME_cmp(X509_get_issuer_name(cert), X509_get_subject_name(authority)) == 0 &&
	        X509_verify((X509 *)cert, key) == 1;
	ERR_clear_error();
	return by;
}

/* ---- facts ---- */

#define PREFIX "iot:Certificate."
/* A variable for the subject's entry, and one for the issuer's. */
#define RDN(nid, name)                                                \
	{                                                             \
		nid,                                                  \
		{                                                     \
			PREFIX "Subject." name, PREFIX "Issuer." name \
		}                                                     \
	}

static const struct {
	int nid;
	const char *names[2];
} rdns[] = {
        RDN(NID_commonName, "CommonName"),
        RDN(NID_countryName, "Country"),
        RDN(NID_organizationName, "Organization"),
        RDN(NID_organizationalUnitName, "OrganizationalUnit"),
        RDN(NID_stateOrProvinceName, "State"),
        RDN(NID_localityName, "Locality"),
        RDN(NID_dnQualifier, "DistinguishedNameQualifier"),
        RDN(NID_serialNumber, "SerialNumber"),
        RDN(NID_title, "Title"),
        RDN(NID_surname, "Surname"),
        RDN(NID_givenName, "GivenName"),
        RDN(NID_initials, "Initials"),
        RDN(NID_pseudonym, "Pseudonym"),
        RDN(NID_generationQualifier, "GenerationQualifier"),
};

/* The values are copied at the end; until then each is held here. */
struct gathering {
	struct fact list[FACTS_MAX];
	unsigned n;
};

static void gather(struct gathering *g, const char *name, struct slice value)
{
	uint8_t *copy = value.n > 0 && g->n < FACTS_MAX ? malloc(value.n) : NULL;
	if (!copy)
		return;
	memcpy(copy, value.p, value.n);
	g->list[g->n++] = (struct fact){name, slice_make(copy, value.n)};
}

static void gather_name(struct gathering *g, const X509_NAME *name, unsigned which)
{
	for (int i = 0; i < X509_NAME_entry_count(name) && i < NAMES_MAX; i++) {
		const X509_NAME_ENTRY *entry = X509_NAME_get_entry(name, i);
		int nid = OBJ_obj2nid(X509_NAME_ENTRY_get_object(entry));
		for (unsigned k = 0; k < ARRAY_LEN(rdns); k++) {
			if (rdns[k].nid != nid)
				continue;
			struct slice text = utf8_of(X509_NAME_ENTRY_get_data(entry));
			gather(g, rdns[k].names[which], text);
			OPENSSL_free((void *)text.p);
		}
	}
}

static void gather_address(struct gathering *g, const ASN1_STRING *value)
{
	size_t n = (size_t)ASN1_STRING_length(value);
	struct ip_addr ip = {.v6 = n == 16};
	char text[IP_TEXT_LEN];
	if (n != 4 && n != 16)
		return;
	memcpy(ip.bytes, ASN1_STRING_get0_data(value), n);
	gather(g, PREFIX "SubjectAlternativeName.IPAddress", slice_str(ip_text(&ip, text)));
}

static void gather_alternative(struct gathering *g, const GENERAL_NAME *alternative)
{
	int type;
	const void *value = GENERAL_NAME_get0_value(alternative, &type);
	char line[X509_NAME_MAX + 1];
	struct slice text = {0};
	if (type == GEN_DNS || type == GEN_EMAIL || type == GEN_URI)
		text = slice_make(ASN1_STRING_get0_data(value), (size_t)ASN1_STRING_length(value));
	if (text.n > 0 && !text_clean(text))
		return;
	switch (type) {
	case GEN_DNS: gather(g, PREFIX "SubjectAlternativeName.DNSName", text); break;
	case GEN_EMAIL: gather(g, PREFIX "SubjectAlternativeName.RFC822Name", text); break;
	case GEN_URI:
		gather(g, PREFIX "SubjectAlternativeName.URI", text);
		gather(g, PREFIX "SubjectAlternativeName.UniformResourceIdentifier", text);
		break;
	case GEN_DIRNAME:
		name_line(value, line);
		gather(g, PREFIX "SubjectAlternativeName.DirectoryName", slice_str(line));
		break;
	case GEN_IPADD: gather_address(g, value); break;
	default: break; /* X.400 addresses and the like: nothing that a policy could ask for */
	}
}

static void gather_serial(struct gathering *g, const X509 *cert)
{
	uint8_t serial[X509_SERIAL_MAX], n;
	char hex[2 * X509_SERIAL_MAX + 1];
	if (x509_serial(cert, serial, &n) < 0)
		return;
	crypto_hex_encode(slice_make(serial, n), hex);
	gather(g, PREFIX "SerialNumber", slice_str(hex));
}

struct facts *x509_facts(const struct x509_st *cert, const uint8_t id[static X509_ID_LEN])
{
	struct gathering g = {.n = 0};
	char text[X509_ID_TEXT + 1];
	x509_id_text(id, text);
	gather(&g, "iot:CertificateId", slice_str(text));
	gather_serial(&g, cert);
	gather_name(&g, X509_get_subject_name(cert), 0);
	gather_name(&g, X509_get_issuer_name(cert), 1);
	GENERAL_NAMES *names = alternative_names(cert);
	for (int i = 0; i < sk_GENERAL_NAME_num(names) && i < NAMES_MAX; i++)
		gather_alternative(&g, sk_GENERAL_NAME_value(names, i));
	GENERAL_NAMES_free(names);
	ERR_clear_error();
	struct facts *facts = facts_new(g.list, g.n);
	for (unsigned i = 0; i < g.n; i++)
		free((void *)g.list[i].value.p);
	return facts;
}
