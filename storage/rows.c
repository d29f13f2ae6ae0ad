/* Rows of devices and access keys to records and back; keys leave and enter the database wrapped.
 */
#include <stdlib.h>

#include "server/base/err.h"
#include "storage/private.h"

#define OWNER_NAME_MAX (MODULE_ID_MAX + GENERATION_ID_LEN + 2)

/* A device's key belongs to a generation of it. */
static struct wrap_owner device_owner(
        const struct device_record *r, enum which_key which, char name[static OWNER_NAME_MAX])
{
	int n = snprintf(name, OWNER_NAME_MAX, "%s/%s", r->id, r->generation_id);

	return (struct wrap_owner){
	        .purpose = "device-key", .name = slice_make(name, (size_t)n), .which = which};
}

#define KEY_OWNER_MAX (KEY_NAME_MAX + 1 + CRYPTO_HASH_LEN)

/* An access key's belong to its permissions and scope too: whoever can write to the database cannot
 * widen a key that he has. */
static struct wrap_owner access_key_owner(
        const struct access_key_record *r, enum which_key which, uint8_t name[static KEY_OWNER_MAX])
{
	size_t n = strlen(r->name);

	memcpy(name, r->name, n);
	if (r->scope) { /* no name holds this byte */
		name[n++] = '/';
		crypto_sha256(slice_str(r->scope), name + n);
		n += CRYPTO_HASH_LEN;
	}
	return (struct wrap_owner){.purpose = "access-key",
	        .name = slice_make(name, n),
	        .number = r->perms,
	        .which = which};
}

static int wrap(const struct storage *s, const struct wrap_owner *owner, const struct sym_key *key,
        struct wrapped_key *ret)
{
	ret->slice = slice_make(NULL, 0);
	if (key->len == 0)
		return 0;
	if (key->len > SYM_KEY_MAX)
		return ERR_TOO_BIG;
	int err = keyring_wrap(s->keyring, owner, slice_make(key->bytes, key->len), ret->bytes);
	if (err == 0)
		ret->slice = slice_make(ret->bytes, key->len + (size_t)WRAP_OVERHEAD);
	return err;
}

static int unwrap(const struct storage *s, const struct wrap_owner *owner, struct slice wrapped,
        struct sym_key *ret)
{
	ret->len = 0;
	if (!wrapped.p)
		return 0;
	if (wrapped.n <= WRAP_OVERHEAD || wrapped.n > SYM_KEY_MAX + WRAP_OVERHEAD ||
	        keyring_unwrap(s->keyring, owner, wrapped, ret->bytes) < 0)
		return ERR_CORRUPT;
	ret->len = (uint8_t)(wrapped.n - WRAP_OVERHEAD);
	return 0;
}

int device_key_wrap(const struct storage *s, const struct device_record *r,
        const struct sym_key *key, enum which_key which, struct wrapped_key *ret)
{
	char name[OWNER_NAME_MAX];
	struct wrap_owner owner = device_owner(r, which, name);

	return wrap(s, &owner, key, ret);
}

int access_key_wrap(const struct storage *s, const struct access_key_record *r,
        const struct sym_key *key, enum which_key which, struct wrapped_key *ret)
{
	uint8_t name[KEY_OWNER_MAX];
	struct wrap_owner owner = access_key_owner(r, which, name);

	return wrap(s, &owner, key, ret);
}

static struct wrap_owner data_key_owner(uint64_t device_key, int64_t key_id)
{
	return (struct wrap_owner){
	        .purpose = "dek", .number = device_key, .which = (uint64_t)key_id};
}

int data_key_wrap(const struct storage *s, uint64_t device_key, int64_t key_id,
        const uint8_t key[static CRYPTO_KEY_LEN],
        uint8_t out[static CRYPTO_KEY_LEN + WRAP_OVERHEAD])
{
	struct wrap_owner owner = data_key_owner(device_key, key_id);

	return keyring_wrap(s->keyring, &owner, slice_make(key, CRYPTO_KEY_LEN), out);
}

int data_key_unwrap(const struct storage *s, uint64_t device_key, int64_t key_id,
        struct slice wrapped, uint8_t key[static CRYPTO_KEY_LEN])
{
	struct wrap_owner owner = data_key_owner(device_key, key_id);

	if (wrapped.n != CRYPTO_KEY_LEN + WRAP_OVERHEAD)
		return ERR_CORRUPT;
	return keyring_unwrap(s->keyring, &owner, wrapped, key);
}

static int64_t time_or_zero(const PGresult *r, int row, int col)
{
	return PQgetisnull(r, row, col) ? 0 : pg_get_time(r, row, col);
}

int row_copy_text(const PGresult *r, int row, int col, char **ret)
{
	struct slice s = pg_get_bytes(r, row, col);
	char *text = s.p ? strndup((const char *)s.p, s.n) : NULL;

	if (s.p && !text)
		return ERR_NOMEM;
	*ret = text;
	return 0;
}

static int read_texts(const PGresult *r, int row, struct device_record *ret)
{
	int err = row_copy_text(r, row, 10, &ret->tags);

	if (err == 0)
		err = row_copy_text(r, row, 17, &ret->auth_public);
	return err < 0 ? err : row_copy_text(r, row, 18, &ret->links);
}

/* What the hub wrote always fits; what somebody else wrote may be anything. */
static int read_device_columns(
        const struct storage *s, const PGresult *r, int row, struct device_record *ret)
{
	struct slice mac = pg_get_bytes(r, row, 9);
	char name[OWNER_NAME_MAX];
	struct wrap_owner owner;
	int16_t auth = (int16_t)(PQgetvalue(r, row, 6)[0] << 8 | (uint8_t)PQgetvalue(r, row, 6)[1]);

	ret->device_key = (uint64_t)pg_get_i64(r, row, 0);
	ret->enabled = pg_get_bool(r, row, 4);
	ret->auth = (enum device_auth)auth;
	if (!pg_get_text(r, row, 1, ret->id, sizeof(ret->id)) ||
	        !pg_get_text(r, row, 2, ret->generation_id, sizeof(ret->generation_id)) ||
	        !pg_get_text(r, row, 3, ret->etag, sizeof(ret->etag)) ||
	        !pg_get_text(r, row, 5, ret->status_reason, sizeof(ret->status_reason)) ||
	        auth < DEVICE_AUTH_SAS || auth > DEVICE_AUTH_JWT ||
	        (mac.p && mac.n != sizeof(ret->secret_mac)))
		return ERR_CORRUPT;
	if (mac.p)
		memcpy(ret->secret_mac, mac.p, mac.n);
	ret->created_us = pg_get_time(r, row, 11);
	ret->updated_us = pg_get_time(r, row, 12);
	ret->connected = pg_get_bool(r, row, 13);
	ret->connected_us = time_or_zero(r, row, 14);
	ret->last_activity_us = time_or_zero(r, row, 15);
	ret->parent_key = PQgetisnull(r, row, 16) ? 0 : (uint64_t)pg_get_i64(r, row, 16);
	owner = device_owner(ret, WHICH_PRIMARY, name);
	int err = unwrap(s, &owner, pg_get_bytes(r, row, 7), &ret->primary);
	owner.which = WHICH_SECONDARY;
	return err < 0 ? err : unwrap(s, &owner, pg_get_bytes(r, row, 8), &ret->secondary);
}

int device_read(const struct storage *s, const PGresult *r, int row, struct device_record *ret)
{
	struct device_record d = {0};
	int err = read_device_columns(s, r, row, &d);

	if (err == 0)
		err = read_texts(r, row, &d);
	if (err == 0)
		*ret = d;
	else
		device_record_done(&d);
	return err;
}

static int read_key_columns(
        const struct storage *s, const PGresult *r, int row, struct access_key_record *ret)
{
	uint8_t name[KEY_OWNER_MAX];

	ret->perms = (uint32_t)pg_get_i32(r, row, 1);
	if (!pg_get_text(r, row, 0, ret->name, sizeof(ret->name)) ||
	        !pg_get_text(r, row, 2, ret->etag, sizeof(ret->etag)) ||
	        ret->perms & ~(uint32_t)PERM_ALL_KEY)
		return ERR_CORRUPT;
	ret->created_us = pg_get_time(r, row, 5);
	ret->updated_us = pg_get_time(r, row, 6);
	int err = row_copy_text(r, row, 7, &ret->scope);
	if (err < 0)
		return err;
	struct wrap_owner owner = access_key_owner(ret, WHICH_PRIMARY, name);
	err = unwrap(s, &owner, pg_get_bytes(r, row, 3), &ret->primary);
	owner.which = WHICH_SECONDARY;
	return err < 0 ? err : unwrap(s, &owner, pg_get_bytes(r, row, 4), &ret->secondary);
}

int access_key_read(
        const struct storage *s, const PGresult *r, int row, struct access_key_record *ret)
{
	struct access_key_record k = {0};
	int err = read_key_columns(s, r, row, &k);

	if (err == 0)
		*ret = k;
	else
		access_key_record_done(&k);
	crypto_wipe(&k, sizeof(k));
	return err;
}
