/* Certificates, chains and revocation lists that the openssl command line has made. */
#include "registry/auth/x509_trust.h"

#include <time.h>

#include "server/base/err.h"
#include "tests/unit/base/unit.h"

static char folder[] = "/tmp/hf-x509-XXXXXX";

static struct slice file_read(const char *name, const char *ending)
{
	static char text[8 << 20]; /* a list of 100,000 in PEM */
	char path[128];
	snprintf(path, sizeof(path), "%s/%s%s", folder, name, ending);
	_cleanup_fclose_ FILE *f = fopen(path, "re");
	ck_assert_msg(f, "%s", path);
	return slice_make(text, fread(text, 1, sizeof(text), f));
}

static struct x509_st *cert_read(const char *name)
{
	struct x509_st *cert = NULL;
	ck_assert_msg(x509_read_pem(file_read(name, ".pem"), &cert) == 0, "%s", name);
	return cert;
}

static struct x509_crl *crl_read(const char *name, const char *issuer)
{
	_cleanup_x509_ struct x509_st *cert = cert_read(issuer);
	_cleanup_free_ uint8_t *der = NULL;
	size_t n;
	struct x509_crl *crl = NULL;
	const char *why = "";
	ck_assert_int_eq(x509_crl_to_der(file_read(name, ".crl"), &der, &n), 0);
	ck_assert_msg(x509_crl_read(slice_make(der, n), cert, &crl, &why) == 0, "%s", why);
	return crl;
}

/* A chain as a client sends it, from names of files that are separated by spaces. */
static struct cert_chain *chain_read(const char *names)
{
	static uint8_t bytes[CERT_CHAIN_BYTES_MAX];
	struct slice der[CERT_CHAIN_MAX];
	unsigned n = 0;
	size_t at = 0;
	char list[256], *rest = list, *name;
	snprintf(list, sizeof(list), "%s", names);
	while ((name = strsep(&rest, " ")) != NULL) {
		struct slice pem = file_read(name, ".pem");
		const char *from = strstr((const char *)pem.p, "-----BEGIN CERTIFICATE-----");
		char base64[1 << 14];
		size_t len = 0, got;
		for (const char *c = from + 27; *c != '-'; c++)
			if (*c != '\n')
				base64[len++] = *c;
		ck_assert_int_eq(
		        crypto_base64_decode(slice_make(base64, len), bytes + at, &got), 0);
		der[n++] = slice_make(bytes + at, got);
		at += got;
	}
	struct cert_chain *chain = cert_chain_new(der, n);
	ck_assert_ptr_nonnull(chain);
	return chain;
}

/* ---- a trust ---- */

static void authority_set(struct x509_authority *a, const char *name)
{
	snprintf(a->name, sizeof(a->name), "%s", name);
	a->cert = cert_read(name);
	a->status = AUTHORITY_ACTIVE;
	ck_assert_int_eq(x509_id(a->cert, a->id), 0);
}

struct change {
	const char *name; /* of the authority */
	enum authority_status status;
	const char *crl;
	bool hard;
};

/* names: separated by spaces. */
static struct x509_trust *trust_of(const char *names, const struct change *change)
{
	struct x509_authority *list = calloc(16, sizeof(*list));
	size_t n = 0;
	char text[256], *rest = text, *name;
	snprintf(text, sizeof(text), "%s", names);
	while ((name = strsep(&rest, " ")) != NULL) {
		struct x509_authority *a = &list[n++];
		authority_set(a, name);
		if (!change || strcmp(change->name, name) != 0)
			continue;
		a->status = change->status;
		a->crl_hard = change->hard;
		a->crl = change->crl ? crl_read(change->crl, name) : NULL;
	}
	struct x509_trust *t = x509_trust_new(list, n);
	ck_assert_ptr_nonnull(t);
	return t;
}

static enum deny_reason verify(
        const struct x509_trust *t, const char *names, struct x509_verdict *ret)
{
	struct cert_chain *chain = chain_read(names);
	struct x509_st *leaf = NULL;
	ck_assert_int_eq(x509_read(chain->der[0], &leaf), 0);
	enum deny_reason why = x509_trust_verify(t, chain, leaf, time(NULL), ret);
	if (why == DENY_NONE)
		ck_assert_int_eq(x509_trust_verify_again(t, &ret->path), DENY_NONE);
	x509_free(leaf);
	cert_chain_unref(chain);
	return why;
}

/* ---- tests ---- */

static const struct {
	const char *authorities, *chain;
	enum deny_reason why;
} chains[] = {
        {"root", "good", DENY_NONE},
        {"root", "rsa-2048", DENY_NONE},
        {"root", "no-eku", DENY_NONE},
        {"root", "bare", DENY_NONE},
        {"plain", "good-plain", DENY_NONE},
        /* by the root alone with what is sent, by an intermediate that is registered, by both */
        {"root", "good-sub sub", DENY_NONE},
        {"sub", "good-sub", DENY_NONE},
        {"root sub", "good-sub", DENY_NONE},
        {"root", "good-sub", DENY_CERT_UNKNOWN_ISSUER},
        /* two of one name: by their keys, with identifiers of keys and without */
        {"root other", "good", DENY_NONE},
        {"other root", "by-other", DENY_NONE},
        {"other root", "by-other-bare", DENY_NONE},
        {"root other", "bare", DENY_NONE},
        {"root", "by-other", DENY_CERT_SIGNATURE},
        {"root", "by-other-bare", DENY_CERT_SIGNATURE},
        {"root", "by-other other", DENY_CERT_SIGNATURE},
        /* one key under two certificates, of which one has expired */
        {"old again", "good-again", DENY_NONE},
        {"old", "good-again", DENY_CERT_EXPIRED},
        {"root", "expired", DENY_CERT_EXPIRED},
        {"root", "early", DENY_CERT_NOT_YET_VALID},
        {"root", "server", DENY_CERT_USAGE},
        {"root", "root", DENY_CERT_USAGE},
        {"root sub", "sub", DENY_CERT_USAGE},
        {"short", "too-long below", DENY_CERT_PATH_LENGTH},
        {"root", "by-no-ca noca", DENY_CERT_CHAIN},
        {"root", "rsa-1024", DENY_CERT_WEAK},
        {"root", "p-192", DENY_CERT_WEAK},
        {"root", "sha1", DENY_CERT_WEAK},
        {"weakca", "by-weak", DENY_CERT_WEAK},
        {"root", "self", DENY_CERT_UNKNOWN_ISSUER},
        {"sub", "good", DENY_CERT_UNKNOWN_ISSUER},
};

static void chain_case(unsigned i)
{
	struct x509_trust *t = trust_of(chains[i].authorities, NULL);
	struct x509_verdict v;
	enum deny_reason why = verify(t, chains[i].chain, &v);
	ck_assert_msg(why == chains[i].why, "%s by %s: %s", chains[i].chain, chains[i].authorities,
	        deny_name(why));
	x509_trust_free(t);
}

START_TEST(each_chain_holds_or_has_its_reason)
{
	for (unsigned i = 0; i < ARRAY_LEN(chains); i++)
		chain_case(i);
}
END_TEST

START_TEST(nobody_is_trusted_by_nobody)
{
	struct x509_trust *t = x509_trust_new(NULL, 0);
	struct x509_verdict v;
	uint8_t id[X509_ID_LEN] = {0};
	ck_assert_int_eq(verify(t, "good", &v), DENY_CERT_UNKNOWN_ISSUER);
	ck_assert_ptr_null(x509_trust_find(t, id));
	x509_trust_free(t);
}
END_TEST

static const struct {
	const char *authorities, *chain;
	struct change change;
	enum deny_reason why, again; /* of somebody who was let in before */
} changes[] = {
        {"root", "good", {"root", AUTHORITY_REVOKED, NULL, false}, DENY_AUTHORITY_REVOKED,
                DENY_AUTHORITY_REVOKED},
        {"root", "good", {"root", AUTHORITY_INACTIVE, NULL, false}, DENY_AUTHORITY_INACTIVE,
                DENY_AUTHORITY_INACTIVE},
        {"root", "good", {"root", AUTHORITY_UNVERIFIED, NULL, false}, DENY_AUTHORITY_INACTIVE,
                DENY_AUTHORITY_INACTIVE},
        {"root", "revoked", {"root", AUTHORITY_ACTIVE, "root", false}, DENY_CERT_REVOKED,
                DENY_CERT_REVOKED},
        {"root", "good", {"root", AUTHORITY_ACTIVE, "root", true}, DENY_NONE, DENY_NONE},
        {"root", "good", {"root", AUTHORITY_ACTIVE, NULL, true}, DENY_CRL_MISSING, DENY_NONE},
        {"root", "good", {"root", AUTHORITY_ACTIVE, "root-stale", true}, DENY_CRL_MISSING,
                DENY_NONE},
        {"root", "good", {"root", AUTHORITY_ACTIVE, "root-stale", false}, DENY_NONE, DENY_NONE},
        /* what is above an intermediate */
        {"root sub", "good-sub", {"root", AUTHORITY_REVOKED, NULL, false}, DENY_AUTHORITY_REVOKED,
                DENY_AUTHORITY_REVOKED},
        {"root sub", "good-sub", {"root", AUTHORITY_INACTIVE, NULL, false}, DENY_NONE, DENY_NONE},
        {"root sub", "good-sub", {"root", AUTHORITY_ACTIVE, NULL, true}, DENY_CRL_MISSING,
                DENY_NONE},
        {"root sub", "good-sub", {"root", AUTHORITY_ACTIVE, "root", true}, DENY_NONE, DENY_NONE},
        {"root sub", "good-sub", {"root", AUTHORITY_INACTIVE, NULL, true}, DENY_NONE, DENY_NONE},
        {"root sub", "good-sub", {"root", AUTHORITY_ACTIVE, "root-sub", false}, DENY_CERT_REVOKED,
                DENY_CERT_REVOKED},
        {"root", "good-sub sub", {"root", AUTHORITY_ACTIVE, "root-sub", false}, DENY_CERT_REVOKED,
                DENY_CERT_REVOKED},
};

static void change_case(unsigned i)
{
	struct x509_trust *before = trust_of(changes[i].authorities, NULL);
	struct x509_trust *after = trust_of(changes[i].authorities, &changes[i].change);
	struct x509_verdict was, is;
	ck_assert_int_eq(verify(before, changes[i].chain, &was), DENY_NONE);
	ck_assert_int_eq(verify(after, changes[i].chain, &is), changes[i].why);
	ck_assert_int_eq(x509_trust_verify_again(after, &was.path), changes[i].again);
	x509_trust_free(before);
	x509_trust_free(after);
}

START_TEST(authorities_and_lists_are_asked_now_and_again)
{
	for (unsigned i = 0; i < ARRAY_LEN(changes); i++)
		change_case(i);
}
END_TEST

START_TEST(an_authority_that_is_gone_takes_its_own_along)
{
	struct x509_trust *before = trust_of("root other", NULL), *after = trust_of("other", NULL);
	struct x509_verdict v;
	ck_assert_int_eq(verify(before, "good", &v), DENY_NONE);
	ck_assert_str_eq(v.authority->name, "root");
	ck_assert_int_eq(x509_trust_verify_again(after, &v.path), DENY_CERT_UNKNOWN_ISSUER);
	x509_trust_free(before);
	x509_trust_free(after);
}
END_TEST

START_TEST(it_ends_with_the_earliest_of_the_chain)
{
	struct x509_trust *t = trust_of("root", NULL);
	_cleanup_x509_ struct x509_st *leaf = cert_read("good");
	struct x509_verdict v;
	int64_t from, to;
	ck_assert_int_eq(verify(t, "good", &v), DENY_NONE);
	ck_assert_int_eq(x509_dates(leaf, &from, &to), 0);
	ck_assert_int_eq(v.expires_at, to);
	ck_assert_int_lt(from, to);
	x509_trust_free(t);
}
END_TEST

/* ---- names ---- */

static const struct {
	const char *cert;
	enum x509_id_from from;
	const char *id;
	bool named;
	const char *only; /* the one that it names; NULL: none alone */
} names[] = {
        {"good", X509_ID_FROM_CN, "good", true, "good"},
        {"good", X509_ID_FROM_CN, "goo", false, "good"},
        {"good", X509_ID_FROM_CN, "Good", false, "good"},
        {"good", X509_ID_FROM_SAN, "good", false, NULL},
        {"san", X509_ID_FROM_SAN, "san-1", true, NULL},
        {"san", X509_ID_FROM_SAN, "urn:dev:san-1", true, NULL},
        {"san", X509_ID_FROM_SAN, "other-name", false, NULL},
        {"san", X509_ID_FROM_SAN, "192.0.2.7", false, NULL},
        {"san", X509_ID_FROM_CN, "other-name", true, "other-name"},
        {"san-two", X509_ID_FROM_SAN, "two", true, NULL},
        {"cn-two", X509_ID_FROM_CN, "one", false, NULL},
        {"cn-two", X509_ID_FROM_CN, "two", false, NULL},
        {"cn-none", X509_ID_FROM_CN, "Acme", false, NULL},
        {"cn-none", X509_ID_FROM_CN, "", false, NULL},
};

static void name_case(unsigned i)
{
	_cleanup_x509_ struct x509_st *cert = cert_read(names[i].cert);
	char only[MODULE_ID_MAX + 1];
	ck_assert_int_eq(
	        x509_names_device(cert, names[i].from, slice_str(names[i].id)), names[i].named);
	ck_assert_int_eq(x509_device_id(cert, names[i].from, only), names[i].only != NULL);
	if (names[i].only)
		ck_assert_str_eq(only, names[i].only);
}

START_TEST(a_certificate_names_a_device)
{
	for (unsigned i = 0; i < ARRAY_LEN(names); i++)
		name_case(i);
}
END_TEST

static void fact_is(const struct facts *f, const char *name, const char *value)
{
	struct slice got;
	ck_assert_msg(facts_get(f, slice_str(name), &got), "%s", name);
	ck_assert_msg(slice_eq_str(got, value), "%s: %.*s", name, SLICE_ARG(got));
}

START_TEST(a_certificate_is_facts_for_policies)
{
	static const uint8_t id[X509_ID_LEN] = {0xab};
	_cleanup_x509_ struct x509_st *good = cert_read("good"), *san = cert_read("san");
	struct facts *f = x509_facts(good, id);
	struct slice got;
	fact_is(f, "iot:Certificate.Subject.CommonName", "good");
	fact_is(f, "iot:Certificate.Subject.Country", "DE");
	fact_is(f, "iot:Certificate.Subject.Organization", "Acme");
	fact_is(f, "iot:Certificate.Issuer.CommonName", "root");
	ck_assert(facts_get(f, SLICE_LIT("iot:CertificateId"), &got));
	ck_assert_uint_eq(got.n, X509_ID_TEXT);
	ck_assert(facts_get(f, SLICE_LIT("iot:Certificate.SerialNumber"), &got));
	ck_assert(!facts_get(f, SLICE_LIT("iot:Certificate.Subject.Title"), &got));
	facts_free(f);
	f = x509_facts(san, id);
	fact_is(f, "iot:Certificate.SubjectAlternativeName.DNSName", "san-1");
	fact_is(f, "iot:Certificate.SubjectAlternativeName.URI", "urn:dev:san-1");
	fact_is(f, "iot:Certificate.SubjectAlternativeName.IPAddress", "192.0.2.7");
	fact_is(f, "iot:Certificate.SubjectAlternativeName.RFC822Name", "a@b.example");
	facts_free(f);
}
END_TEST

/* ---- what comes in ---- */

START_TEST(what_is_no_certificate_is_refused)
{
	struct x509_st *cert = NULL;
	struct cert_chain *chain = chain_read("good");
	struct slice der = chain->der[0];
	uint8_t longer[4096] = {0};
	memcpy(longer, der.p, der.n);
	ck_assert_int_eq(x509_read(slice_make(longer, der.n + 1), &cert), ERR_INVALID);
	ck_assert_int_eq(x509_read(slice_make(longer, der.n - 1), &cert), ERR_INVALID);
	ck_assert_int_eq(x509_read((struct slice){0}, &cert), ERR_INVALID);
	ck_assert_int_eq(x509_read_pem(SLICE_LIT("no certificate"), &cert), ERR_INVALID);
	ck_assert_int_eq(x509_read_pem((struct slice){0}, &cert), ERR_INVALID);
	/* two in one */
	struct slice pem = file_read("good", ".pem");
	char two[8192];
	int n = snprintf(two, sizeof(two), "%.*s%.*s", SLICE_ARG(pem), SLICE_ARG(pem));
	ck_assert_int_eq(x509_read_pem(slice_make(two, (size_t)n), &cert), ERR_INVALID);
	ck_assert_ptr_null(cert);
	cert_chain_unref(chain);
}
END_TEST

START_TEST(authorities_have_to_be_good_enough)
{
	static const struct {
		const char *name, *fault;
	} rows[] = {{"root", NULL}, {"sub", NULL}, {"plain", NULL}, {"good", "no authority"},
	        {"noca", "no authority"}, {"old", "expired"}, {"weakca", "too weak"}};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		_cleanup_x509_ struct x509_st *cert = cert_read(rows[i].name);
		const char *fault = x509_authority_fault(cert, time(NULL));
		ck_assert_msg((fault != NULL) == (rows[i].fault != NULL), "%s", rows[i].name);
		if (fault)
			ck_assert_msg(strstr(fault, rows[i].fault), "%s", fault);
	}
}
END_TEST

START_TEST(a_thumbprint_is_what_openssl_says)
{
	struct cert_chain *chain = chain_read("self");
	_cleanup_x509_ struct x509_st *cert = cert_read("self");
	uint8_t id[X509_ID_LEN], hash[CRYPTO_HASH_LEN], sha1[X509_SHA1_LEN];
	char hex[2 * X509_SHA1_LEN + 1], command[256], line[256] = "";
	ck_assert_int_eq(x509_id(cert, id), 0);
	crypto_sha256(chain->der[0], hash);
	ck_assert_mem_eq(id, hash, sizeof(id));
	ck_assert_int_eq(x509_sha1(chain->der[0], sha1), 0);
	crypto_hex_encode(slice_make(sha1, sizeof(sha1)), hex);
	snprintf(command, sizeof(command),
	        "openssl x509 -in %s/self.pem -noout -fingerprint -sha1 | tr -d : | "
	        "tr A-F a-f | sed 's/.*=//'",
	        folder);
	FILE *p = popen(command, "re");
	ck_assert_ptr_nonnull(fgets(line, sizeof(line), p));
	pclose(p);
	line[strcspn(line, "\n")] = '\0';
	ck_assert_str_eq(line, hex);
	cert_chain_unref(chain);
}
END_TEST

/* ---- revocation lists ---- */

START_TEST(a_list_counts_only_from_its_issuer)
{
	_cleanup_x509_ struct x509_st *root = cert_read("root"), *other = cert_read("other");
	_cleanup_free_ uint8_t *der = NULL;
	size_t n;
	struct x509_crl *crl = NULL;
	const char *why = "";
	ck_assert_int_eq(x509_crl_to_der(file_read("root", ".crl"), &der, &n), 0);
	/* of the same name */
	ck_assert_int_eq(x509_crl_read(slice_make(der, n), other, &crl, &why), ERR_INVALID);
	ck_assert_str_eq(why, "its signature is not the authority's");
	der[n - 1] ^= 1;
	ck_assert_int_lt(x509_crl_read(slice_make(der, n), root, &crl, &why), 0);
	der[n - 1] ^= 1;
	ck_assert_int_lt(x509_crl_read(slice_make(der, n - 1), root, &crl, &why), 0);
	ck_assert_int_eq(x509_crl_read(slice_make(der, n), root, &crl, &why), 0);
	crl = x509_crl_unref(crl);
	ck_assert_int_lt(x509_crl_read((struct slice){0}, root, &crl, &why), 0);
	ck_assert_int_eq(x509_crl_to_der(SLICE_LIT("nothing"), &der, &n), ERR_INVALID);
}
END_TEST

START_TEST(lists_have_an_order_and_an_end)
{
	struct x509_crl *first = crl_read("root", "root"), *stale = crl_read("root-stale", "root"),
	                *last = crl_read("root-sub", "root");
	ck_assert_uint_eq(first->n, 1);
	ck_assert_uint_eq(last->n, 2);
	ck_assert(x509_crl_stale(stale, time(NULL)) && !x509_crl_stale(first, time(NULL)));
	ck_assert_int_lt(x509_crl_compare(first, last), 0);
	ck_assert_int_gt(x509_crl_compare(last, first), 0);
	ck_assert_int_eq(x509_crl_compare(first, first), 0);
	ck_assert(!x509_crl_has(first, (struct slice){0}));
	ck_assert(!x509_crl_has(first, SLICE_LIT("\x01")));
	ck_assert(x509_crl_has(first, slice_make(first->serials[0].bytes, first->serials[0].len)));
	x509_crl_unref(first);
	x509_crl_unref(stale);
	x509_crl_unref(last);
}
END_TEST

START_TEST(a_large_list_is_as_good_as_any)
{
	struct x509_crl *crl = crl_read("many", "many");
	ck_assert_uint_eq(crl->n, 100000);
	for (size_t i = 0; i < crl->n; i++)
		ck_assert(
		        x509_crl_has(crl, slice_make(crl->serials[i].bytes, crl->serials[i].len)));
	ck_assert(!x509_crl_has(crl, SLICE_LIT("\xf0\x00\x00\x01\x86\xa0")));
	ck_assert(!x509_crl_has(crl, SLICE_LIT("\xf0")));
	x509_crl_unref(crl);
}
END_TEST

/* ---- hostile names ---- */

/* A certificate whose bytes from are to instead: nobody has signed it, but it can be read. */
static struct x509_st *forged(const char *name, struct slice from, struct slice to)
{
	struct cert_chain *chain = chain_read(name);
	uint8_t *at = memmem(chain->bytes, chain->der[0].n, from.p, from.n);
	struct x509_st *cert = NULL;
	ck_assert_ptr_nonnull(at);
	ck_assert_uint_eq(from.n, to.n);
	memcpy(at, to.p, to.n);
	int err = x509_read(chain->der[0], &cert);
	cert_chain_unref(chain);
	return err == 0 ? cert : NULL;
}

static const struct {
	const char *cert;
	enum x509_id_from from;
	struct slice was, is;
	const char *id; /* that it must not name; an empty one: any */
} forgeries[] = {
        /* "g\0od" is not "g" */
        {"good", X509_ID_FROM_CN, SLICE_LIT("\x0c\x04good"), SLICE_LIT("\x0c\x04g\0od"), "g"},
        {"good", X509_ID_FROM_CN, SLICE_LIT("\x0c\x04good"), SLICE_LIT("\x0c\x04goo\0"), "goo"},
        {"good", X509_ID_FROM_CN, SLICE_LIT("\x0c\x04good"), SLICE_LIT("\x0c\x04goo\n"), "goo"},
        {"good", X509_ID_FROM_CN, SLICE_LIT("\x0c\x04good"), SLICE_LIT("\x0c\x04goo+"), "goo+"},
        /* no UTF-8; two characters of 16 bits; four bytes that are no such */
        {"good", X509_ID_FROM_CN, SLICE_LIT("\x0c\x04good"), SLICE_LIT("\x0c\x04\xff\xfeod"), ""},
        {"good", X509_ID_FROM_CN, SLICE_LIT("\x0c\x04good"), SLICE_LIT("\x1e\x04good"), ""},
        {"good", X509_ID_FROM_CN, SLICE_LIT("\x0c\x04good"), SLICE_LIT("\x04\x04good"), "good"},
        {"san", X509_ID_FROM_SAN, SLICE_LIT("\x82\x05san-1"), SLICE_LIT("\x82\x05s\0n-1"), "s"},
        /* an e-mail address, an X.400 address and what is none of them */
        {"san", X509_ID_FROM_SAN, SLICE_LIT("\x82\x05san-1"), SLICE_LIT("\x81\x05san-1"), "san-1"},
        {"san", X509_ID_FROM_SAN, SLICE_LIT("\x82\x05san-1"), SLICE_LIT("\xa3\x05san-1"), "san-1"},
        {"san", X509_ID_FROM_SAN, SLICE_LIT("\x82\x05san-1"), SLICE_LIT("\x8f\x05san-1"), "san-1"},
};

START_TEST(hostile_names_name_nobody)
{
	static const uint8_t id[X509_ID_LEN] = {0};
	for (size_t i = 0; i < ARRAY_LEN(forgeries); i++) {
		char only[MODULE_ID_MAX + 1] = "";
		_cleanup_x509_ struct x509_st *cert = forged(
		        forgeries[i].cert, forgeries[i].was, forgeries[i].is);
		if (!cert)
			continue;
		ck_assert_msg(
		        !x509_names_device(cert, forgeries[i].from, slice_str(forgeries[i].id)),
		        "%zu", i);
		if (forgeries[i].from == X509_ID_FROM_CN)
			ck_assert_msg(
			        !x509_device_id(cert, forgeries[i].from, only), "%zu %s", i, only);
		facts_free(x509_facts(cert, id));
	}
}
END_TEST

static int shell(const char *command)
{
	char line[256];
	snprintf(line, sizeof(line), "%s %s", command, folder);
	return system(line);
}

int main(void)
{
	const TTest *const tests[] = {each_chain_holds_or_has_its_reason,
	        authorities_and_lists_are_asked_now_and_again, a_certificate_names_a_device,
	        nobody_is_trusted_by_nobody, an_authority_that_is_gone_takes_its_own_along,
	        it_ends_with_the_earliest_of_the_chain, a_certificate_is_facts_for_policies,
	        what_is_no_certificate_is_refused, authorities_have_to_be_good_enough,
	        a_thumbprint_is_what_openssl_says, a_list_counts_only_from_its_issuer,
	        lists_have_an_order_and_an_end, a_large_list_is_as_good_as_any,
	        hostile_names_name_nobody};
	if (!mkdtemp(folder) || shell("python3 tests/lib/pki.py") != 0 || crypto_init() < 0)
		return EXIT_FAILURE;
	int failed = unit_run("x509", tests, ARRAY_LEN(tests));
	shell("rm -rf");
	return failed;
}
