#include "storage/masters.h"

#include "server/base/err.h"
#include "storage/envelope.h"

int masters_wrap(
        const struct masters *m, const struct wrap_owner *owner, struct slice plain, uint8_t *out)
{
	if (plain.n > WRAP_MAX - WRAP_OVERHEAD)
		return ERR_TOO_BIG;
	return envelope_seal(m->key[m->wraps_next], owner, plain, out);
}

/* The one that wraps is tried first. *ret_other: it was the other one. */
static int unwrap(const struct masters *m, const struct wrap_owner *owner, struct slice wrapped,
        uint8_t *out, bool *ret_other)
{
	if (wrapped.n > WRAP_MAX)
		return ERR_CORRUPT;
	int err = envelope_open(m->key[m->wraps_next], owner, wrapped, out);
	*ret_other = err < 0;
	if (err < 0 && m->has_next)
		err = envelope_open(m->key[!m->wraps_next], owner, wrapped, out);
	return err;
}

int masters_unwrap(
        const struct masters *m, const struct wrap_owner *owner, struct slice wrapped, uint8_t *out)
{
	bool other;

	return unwrap(m, owner, wrapped, out, &other);
}

int masters_rewrap(const struct masters *m, const struct wrap_owner *owner, struct slice wrapped,
        uint8_t *out, bool *ret_changed)
{
	uint8_t plain[WRAP_MAX];
	bool other = false;
	int err = unwrap(m, owner, wrapped, plain, &other);

	if (err == 0 && other)
		err = envelope_seal(m->key[m->wraps_next], owner,
		        slice_make(plain, wrapped.n - WRAP_OVERHEAD), out);
	else if (err == 0)
		memcpy(out, wrapped.p, wrapped.n);
	if (err == 0)
		*ret_changed = other;
	crypto_wipe(plain, sizeof(plain));
	return err;
}

static void key_id(const uint8_t *key, uint8_t ret[static KEYRING_ID_LEN])
{
	uint8_t mac[CRYPTO_HASH_LEN];

	crypto_hmac_sha256(
	        slice_make(key, CRYPTO_KEY_LEN), SLICE_LIT("holdfast key id"), SLICE_LIT(""), mac);
	memcpy(ret, mac, KEYRING_ID_LEN);
}

void masters_ids(const struct masters *m, struct keyring_ids *ret)
{
	*ret = (struct keyring_ids){.has_next = m->has_next, .wraps_next = m->wraps_next};
	key_id(m->key[0], ret->current);
	if (m->has_next)
		key_id(m->key[1], ret->next);
}

void masters_replace(struct masters *m, const struct masters *fresh)
{
	bool next = fresh->has_next &&
	        crypto_equal(m->key[m->wraps_next], fresh->key[1], CRYPTO_KEY_LEN);

	*m = *fresh;
	m->wraps_next = next;
}
