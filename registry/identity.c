#include "registry/identity.h"

#include <assert.h>

struct slice identity_name_write(
        enum entity kind, struct slice id, char out[static IDENTITY_NAME_MAX])
{
	assert(id.n <= MODULE_ID_MAX);
	out[0] = (char)kind;
	if (id.n > 0)
		memcpy(out + 1, id.p, id.n);
	return slice_make(out, 1 + id.n);
}

static struct slice sym_key_slice(const struct sym_key *key)
{
	return slice_make(key->bytes, key->len);
}

static size_t size_of(const struct identity *i)
{
	return sizeof(*i) + 1u + i->id_len + i->key_len[0] + i->key_len[1];
}

static struct identity *make(enum entity kind, struct slice id, const struct slice keys[static 2])
{
	size_t size = sizeof(struct identity) + 1 + id.n + keys[0].n + keys[1].n;
	struct identity *i = calloc(1, size);
	if (!i)
		return NULL;
	i->refs = 1;
	i->kind = kind;
	i->id_len = (uint16_t)id.n;
	i->bytes[0] = (uint8_t)kind;
	uint8_t *to = i->bytes + 1;
	memcpy(to, id.p, id.n);
	to += id.n;
	for (unsigned k = 0; k < 2; k++) {
		i->key_len[k] = (uint8_t)keys[k].n;
		if (keys[k].n > 0)
			memcpy(to, keys[k].p, keys[k].n);
		to += keys[k].n;
	}
	return i;
}

struct identity *identity_new(const struct identity_lookup *l, uint64_t epoch)
{
	struct slice keys[2] = {0};
	if (l->kind == ENTITY_KEY) {
		keys[0] = sym_key_slice(&l->key.primary);
		keys[1] = sym_key_slice(&l->key.secondary);
	} else if (l->device.auth == DEVICE_AUTH_SAS) {
		keys[0] = sym_key_slice(&l->device.primary);
		keys[1] = sym_key_slice(&l->device.secondary);
	} else {
		keys[0] = slice_make(l->device.secret_mac, sizeof(l->device.secret_mac));
	}
	struct identity *i = make(l->kind, slice_str(l->id), keys);
	if (!i)
		return NULL;
	i->epoch = epoch;
	if (l->kind == ENTITY_KEY) {
		i->enabled = true;
		i->perms = l->key.perms & PERM_ALL_KEY;
	} else {
		i->enabled = l->device.enabled;
		i->auth = l->device.auth;
		i->device_key = l->device.device_key;
	}
	return i;
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
	crypto_wipe(i, size_of(i));
	free(i);
	return NULL;
}

struct slice identity_name(const struct identity *i)
{
	return slice_make(i->bytes, 1u + i->id_len);
}

struct slice identity_key(const struct identity *i, unsigned which)
{
	const uint8_t *keys = i->bytes + 1 + i->id_len;
	return slice_make(keys + (which ? i->key_len[0] : 0), i->key_len[which]);
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
