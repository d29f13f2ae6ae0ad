/*
 * Certificates and revocation lists as strangers send them, above all their names. The first byte
 * says what the rest is. What a certificate names is a device id, named by it and by nobody's
 * reading of half of it; facts hold no control characters; nothing that was not signed is trusted.
 */
#include <assert.h>
#include <string.h>

#include "registry/auth/x509_trust.h"
#include "server/base/device_id.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const int64_t noon = 1800000000;

/* Whether it is the id of a device, or of a module with its device. */
static bool possible(const char *id)
{
	const char *slash = strchr(id, '/');
	if (!slash)
		return device_id_valid(slice_str(id));
	return device_id_valid(slice_make(id, (size_t)(slash - id))) &&
	        device_id_valid(slice_str(slash + 1));
}

static void check_names(const struct x509_st *cert, enum x509_id_from from)
{
	char id[MODULE_ID_MAX + 1], longer[MODULE_ID_MAX + 2];
	assert(!x509_names_device(cert, from, (struct slice){0}));
	if (!x509_device_id(cert, from, id))
		return;
	assert(possible(id));
	assert(x509_names_device(cert, from, slice_str(id)));
	snprintf(longer, sizeof(longer), "%sx", id);
	assert(!x509_names_device(cert, from, slice_str(longer)));
	assert(!x509_names_device(cert, from, slice_make(id, strlen(id) - 1)));
}

static void check_facts(const struct x509_st *cert, const uint8_t *id)
{
	struct facts *facts = x509_facts(cert, id);
	struct fact f;
	assert(facts);
	for (unsigned pos = 0; facts_next(facts, &pos, &f);) {
		assert(f.value.n > 0 && f.value.n <= FACT_VALUE_MAX);
		for (size_t i = 0; i < f.value.n; i++)
			assert(f.value.p[i] >= ' ' && f.value.p[i] != 0x7f);
	}
	facts_free(facts);
}

/* By itself it is nobody's, and an authority that signs itself does not let itself in. */
static void check_trust(struct x509_st *cert, struct slice der)
{
	struct cert_chain *chain = cert_chain_new(&(struct slice){der.p, der.n}, 1);
	struct x509_trust *none = x509_trust_new(NULL, 0);
	struct x509_verdict verdict;
	assert(chain && none);
	assert(x509_trust_verify(none, chain, cert, noon, &verdict) != DENY_NONE);
	assert(!x509_trust_issuer(none, cert));
	x509_trust_free(none);

	struct x509_authority *self = calloc(1, sizeof(*self));
	struct x509_st *again = NULL;
	assert(self && x509_read(der, &again) == 0 && x509_id(again, self->id) == 0);
	self->cert = again;
	self->status = AUTHORITY_ACTIVE;
	struct x509_trust *trust = x509_trust_new(self, 1);
	assert(trust);
	assert(x509_trust_verify(trust, chain, cert, noon, &verdict) != DENY_NONE);
	x509_trust_free(trust);
	cert_chain_unref(chain);
}

static void check_certificate(struct slice der)
{
	struct x509_st *cert = NULL;
	uint8_t id[X509_ID_LEN], serial[X509_SERIAL_MAX], n = 0;
	char line[X509_NAME_MAX + 1];
	int64_t from, to;
	if (x509_read(der, &cert) < 0)
		return;
	x509_subject(cert, line);
	x509_issuer(cert, line);
	x509_dates(cert, &from, &to);
	x509_authority_fault(cert, noon);
	if (x509_serial(cert, serial, &n) == 0)
		assert(n > 0 && n <= X509_SERIAL_MAX);
	check_names(cert, X509_ID_FROM_CN);
	check_names(cert, X509_ID_FROM_SAN);
	if (x509_id(cert, id) == 0) {
		check_facts(cert, id);
		check_trust(cert, der);
	}
	x509_free(cert);
}

/* The list is asked for what it holds, as if somebody had signed it: its own reader refuses before.
 */
static void check_list(struct slice text)
{
	uint8_t *der = NULL;
	size_t n = 0;
	if (x509_crl_to_der(text, &der, &n) < 0)
		return;
	assert(n > 0);
	free(der);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct x509_st *cert = NULL;
	if (size == 0)
		return 0;
	struct slice rest = slice_make(data + 1, size - 1);
	switch (data[0]) {
	case 'p':
		if (x509_read_pem(rest, &cert) == 0)
			x509_free(cert);
		break;
	case 'l': check_list(rest); break;
	default: check_certificate(rest);
	}
	return 0;
}
