#include "server/base/principal.h"

#include <assert.h>
#include <stdlib.h>

static void text_add(char **at, struct slice s)
{
	if (s.n > 0)
		memcpy(*at, s.p, s.n);
	*at += s.n + 1;
}

struct principal *principal_new_client(
        enum principal_kind kind, struct slice id, struct slice key_name, struct slice client_id)
{
	assert(id.n <= MODULE_ID_MAX && key_name.n <= KEY_NAME_MAX && client_id.n <= CLIENT_ID_MAX);
	struct principal *p = calloc(1, sizeof(*p) + id.n + 1 + key_name.n + 1 + client_id.n + 1);
	if (!p)
		return NULL;
	atomic_init(&p->refs, 1);
	p->kind = kind;
	p->id_len = (uint16_t)id.n;
	p->key_name_len = (uint8_t)key_name.n;
	p->client_id_len = (uint16_t)client_id.n;
	char *at = p->text;
	text_add(&at, id);
	text_add(&at, key_name);
	text_add(&at, client_id);
	return p;
}

struct principal *principal_new(enum principal_kind kind, struct slice id, struct slice key_name)
{
	return principal_new_client(kind, id, key_name, (struct slice){0});
}

struct principal *principal_ref(struct principal *p)
{
	atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
	return p;
}

struct principal *principal_unref(struct principal *p)
{
	if (!p || atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) != 1)
		return NULL;
	for (unsigned i = 0; i < PRINCIPAL_PARTS; i++)
		access_unref(p->access[i]);
	facts_free(p->facts);
	if (p->proof)
		p->proof_free(p->proof);
	free(p);
	return NULL;
}

struct slice principal_device_id(const struct principal *p)
{
	const char *slash = memchr(p->text, '/', p->id_len);
	return slash ? slice_make(p->text, (size_t)(slash - p->text)) : principal_id(p);
}

const char *principal_kind_name(enum principal_kind kind)
{
	switch (kind) {
	case PRINCIPAL_ANONYMOUS: return "anonymous";
	case PRINCIPAL_DEVICE: return "device";
	case PRINCIPAL_KEY: return "key";
	case PRINCIPAL_TOKEN: return "token";
	case PRINCIPAL_CUSTOM: return "custom";
	}
	return "unknown";
}

const char *auth_method_name(enum auth_method method)
{
	switch (method) {
	case AUTH_METHOD_NONE: return "none";
	case AUTH_METHOD_SAS: return "sas";
	case AUTH_METHOD_SECRET: return "secret";
	case AUTH_METHOD_X509_THUMBPRINT: return "x509Thumbprint";
	case AUTH_METHOD_X509_CA: return "x509Ca";
	case AUTH_METHOD_JWT: return "jwt";
	case AUTH_METHOD_ACCESS_KEY: return "accessKey";
	case AUTH_METHOD_BEARER: return "token";
	case AUTH_METHOD_OIDC: return "oidc";
	case AUTH_METHOD_CUSTOM: return "custom";
	}
	return "unknown";
}
