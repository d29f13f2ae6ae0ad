#include "registry/identity.h"

#include <assert.h>

#include "registry/key_scope.h"
#include "server/base/cleanup.h"

struct slice identity_name_write(
        enum entity kind, struct slice id, char out[static IDENTITY_NAME_MAX])
{
	assert(id.n <= MODULE_ID_MAX);
	out[0] = (char)kind;
	if (id.n > 0)
		memcpy(out + 1, id.p, id.n);
	return slice_make(out, 1 + id.n);
}

const char *device_auth_name(enum device_auth auth)
{
	static const char *const names[] = {
	        [DEVICE_AUTH_SAS] = "sas",
	        [DEVICE_AUTH_SECRET] = "secret",
	        [DEVICE_AUTH_X509_THUMBPRINT] = "x509Thumbprint",
	        [DEVICE_AUTH_X509_CA] = "x509Ca",
	        [DEVICE_AUTH_JWT] = "jwt",
	};
	return auth < ARRAY_LEN(names) ? names[auth] : "unknown";
}

/* ---- making ---- */

/* What a look-up found, as the bytes that are kept of it. */
struct parts {
	struct slice keys[2];
	struct slice texts[IDENTITY_TEXTS];
};

static struct slice sym_key_slice(const struct sym_key *key)
{
	return slice_make(key->bytes, key->len);
}

static struct slice text_slice(const char *text)
{
	return text ? slice_str(text) : (struct slice){0};
}

static void parts_of_device(const struct device_record *r, struct parts *ret)
{
	if (r->auth == DEVICE_AUTH_SAS) {
		ret->keys[0] = sym_key_slice(&r->primary);
		ret->keys[1] = sym_key_slice(&r->secondary);
	} else if (r->auth == DEVICE_AUTH_SECRET) {
		ret->keys[0] = slice_make(r->secret_mac, sizeof(r->secret_mac));
	}
	ret->texts[IDENTITY_LINKS] = text_slice(r->links);
	ret->texts[IDENTITY_TAGS] = text_slice(r->tags);
	ret->texts[IDENTITY_DOC] = text_slice(r->auth_public);
}

static void parts_of(const struct identity_lookup *l, struct parts *ret)
{
	*ret = (struct parts){0};
	if (l->kind == ENTITY_KEY) {
		ret->keys[0] = sym_key_slice(&l->key.primary);
		ret->keys[1] = sym_key_slice(&l->key.secondary);
		ret->texts[IDENTITY_DOC] = text_slice(l->key.scope);
	} else if (l->kind == ENTITY_CERTIFICATE) {
		ret->texts[IDENTITY_LINKS] = text_slice(l->certificate.links);
		ret->texts[IDENTITY_DOC] = text_slice(l->certificate.text);
	} else {
		parts_of_device(&l->device, ret);
	}
}

static size_t size_of(const struct identity *i)
{
	size_t n = sizeof(*i) + 1u + i->id_len + i->key_len[0] + i->key_len[1];
	for (unsigned t = 0; t < IDENTITY_TEXTS; t++)
		n += i->text_len[t];
	return n;
}

static void put(uint8_t **to, struct slice s)
{
	if (s.n > 0)
		memcpy(*to, s.p, s.n);
	*to += s.n;
}

static struct identity *make(enum entity kind, struct slice id, const struct parts *parts)
{
	struct identity head = {.kind = kind, .refs = 1, .id_len = (uint16_t)id.n};
	head.source_kept = parts->texts[IDENTITY_LINKS].n <= IDENTITY_SOURCE_MAX &&
	        parts->texts[IDENTITY_TAGS].n <= IDENTITY_SOURCE_MAX;
	for (unsigned k = 0; k < 2; k++)
		head.key_len[k] = (uint8_t)parts->keys[k].n;
	for (unsigned t = 0; t < IDENTITY_TEXTS; t++)
		if (head.source_kept || t == IDENTITY_DOC)
			head.text_len[t] = (uint32_t)parts->texts[t].n;
	struct identity *i = malloc(size_of(&head));
	if (!i)
		return NULL;
	*i = head;
	uint8_t *to = i->bytes;
	*to++ = (uint8_t)kind;
	put(&to, id);
	for (unsigned k = 0; k < 2; k++)
		put(&to, parts->keys[k]);
	for (unsigned t = 0; t < IDENTITY_TEXTS; t++)
		put(&to, slice_make(parts->texts[t].p, i->text_len[t]));
	return i;
}

/* False: out of memory. */
static bool compile(
        struct identity *i, const struct slice *texts, const struct registry_hooks *hooks)
{
	bool is_device = i->kind == ENTITY_DEVICE;
	const struct access_source source = {
	        .kind = i->kind,
	        .id = identity_id(i),
	        .links = texts[IDENTITY_LINKS],
	        .tags = texts[IDENTITY_TAGS],
	        .scope = i->kind == ENTITY_KEY ? texts[IDENTITY_DOC] : (struct slice){0},
	        .auth_type = is_device ? device_auth_name(i->auth) : NULL,
	        .enabled = i->enabled,
	};
	struct access *fresh = hooks->access_make(hooks->ctx, &source);
	if (!fresh)
		return false;
	access_unref(i->access);
	i->access = fresh;
	return true;
}

/* False: it cannot be read, and the key is worth nothing. */
static bool read_scope(struct identity *key)
{
	struct slice text = identity_text(key, IDENTITY_DOC);
	if (text.n == 0)
		return true;
	struct key_scope *scope = key_scope_parse(text);
	if (!scope)
		return false;
	key->not_after = scope->not_after;
	proof_unref(&scope->proof);
	return true;
}

struct identity *identity_new(
        const struct identity_lookup *l, uint64_t epoch, const struct registry_hooks *hooks)
{
	struct parts parts;
	parts_of(l, &parts);
	struct identity *i = make(l->kind, slice_str(l->id), &parts);
	if (!i)
		return NULL;
	i->epoch = epoch;
	i->enabled = true;
	if (l->kind == ENTITY_KEY) {
		i->perms = l->key.perms & PERM_ALL_KEY;
		i->enabled = read_scope(i);
	} else if (l->kind == ENTITY_DEVICE) {
		i->enabled = l->device.enabled;
		i->auth = l->device.auth;
		i->device_key = l->device.device_key;
		i->parent_key = l->device.parent_key;
	}
	if (hooks->access_make && !compile(i, parts.texts, hooks))
		return identity_unref(i);
	return i;
}

bool identity_refresh(struct identity *i, const struct registry_hooks *hooks)
{
	if (!hooks->access_make || i->access->version == hooks->access_version(hooks->ctx))
		return true;
	if (!i->source_kept)
		return false;
	struct slice texts[IDENTITY_TEXTS];
	for (unsigned t = 0; t < IDENTITY_TEXTS; t++)
		texts[t] = identity_text(i, (enum identity_text)t);
	return compile(i, texts, hooks);
}

struct identity *identity_ref(struct identity *i)
{
	i->refs++;
	return i;
}

struct identity *identity_unref(struct identity *i)
{
	if (!i || --i->refs > 0)
		return NULL;
	access_unref(i->access);
	crypto_wipe(i, size_of(i));
	free(i);
	return NULL;
}

/* ---- reading ---- */

struct slice identity_name(const struct identity *i)
{
	return slice_make(i->bytes, 1u + i->id_len);
}

struct slice identity_id(const struct identity *i)
{
	return slice_make(i->bytes + 1, i->id_len);
}

struct slice identity_key(const struct identity *i, unsigned which)
{
	const uint8_t *keys = i->bytes + 1 + i->id_len;
	return slice_make(keys + (which ? i->key_len[0] : 0), i->key_len[which]);
}

struct slice identity_text(const struct identity *i, enum identity_text which)
{
	const uint8_t *at = i->bytes + 1 + i->id_len + i->key_len[0] + i->key_len[1];
	for (unsigned t = 0; t < which; t++)
		at += i->text_len[t];
	return slice_make(at, i->text_len[which]);
}

void identity_credential_tag(struct slice credential, uint8_t out[static CREDENTIAL_TAG_LEN])
{
	uint8_t hash[CRYPTO_HASH_LEN];
	crypto_sha256(credential, hash);
	memcpy(out, hash, CREDENTIAL_TAG_LEN);
	crypto_wipe(hash, sizeof(hash));
}

bool identity_has_credential(const struct identity *i, const uint8_t tag[static CREDENTIAL_TAG_LEN])
{
	bool has = false;
	for (unsigned k = 0; k < 2; k++) {
		struct slice key = identity_key(i, k);
		uint8_t mine[CREDENTIAL_TAG_LEN];
		if (key.n == 0)
			continue;
		identity_credential_tag(key, mine);
		has |= crypto_equal(mine, tag, sizeof(mine));
	}
	return has;
}
