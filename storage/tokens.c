/* The registry's port: bearer tokens and answers under an Idempotency-Key. */
#include <stdlib.h>

#include "server/base/err.h"
#include "storage/private.h"

#define BODY_MAX (4u * 1024 * 1024)

/* What a role may. */
static const struct role {
	const char *name;
	uint32_t perms;
} roles[] = {
        {"owner", PERM_OWNER | PERM_ALL_KEY},
};

static int token_get(void *ctx, const uint8_t mac[static 32], uint32_t *ret_perms,
        char ret_name[static KEY_NAME_MAX + 1], int64_t *ret_expires)
{
	_cleanup_result_ PGresult *r = NULL;
	struct pg_params p = {0};
	char role[32];

	pg_put_bytes(&p, slice_make(mac, 32));
	int err = pool_call(
	        ctx, "SELECT name, role, expires_at FROM holdfast.tokens WHERE mac = $1", &p, &r);
	if (err < 0)
		return err;
	if (PQntuples(r) == 0)
		return ERR_NOT_FOUND;
	if (!pg_get_text(r, 0, 1, role, sizeof(role)))
		return ERR_CORRUPT;
	for (size_t i = 0; i < ARRAY_LEN(roles); i++) {
		if (strcmp(roles[i].name, role) != 0)
			continue;
		if (!pg_get_text(r, 0, 0, ret_name, KEY_NAME_MAX + 1))
			return ERR_CORRUPT;
		*ret_perms = roles[i].perms;
		*ret_expires = PQgetisnull(r, 0, 2) ? 0 : pg_get_time(r, 0, 2) / 1000000;
		return 0;
	}
	return ERR_CORRUPT;
}

/* ---- answers, sealed: length of the location (4, all ones: none), location, body ---- */

static struct wrap_owner answer_owner(const uint8_t key_mac[static 32])
{
	return (struct wrap_owner){.purpose = "idempotency", .name = slice_make(key_mac, 32)};
}

static int unpack(struct slice plain, char **ret_body, size_t *ret_len, char **ret_location)
{
	if (plain.n < 4)
		return ERR_CORRUPT;
	uint32_t n = pg_load_u32(plain.p);
	bool none = n == UINT32_MAX;
	struct slice rest = slice_from(plain, 4);
	if (!none && n > rest.n)
		return ERR_CORRUPT;
	struct slice body = none ? rest : slice_from(rest, n);
	_cleanup_free_ char *location = none ? NULL : strndup((const char *)rest.p, n);
	char *text = malloc(body.n + 1);
	if (!text || (!none && !location)) {
		free(text);
		return ERR_NOMEM;
	}
	if (body.n > 0)
		memcpy(text, body.p, body.n);
	text[body.n] = '\0';
	*ret_body = text;
	*ret_len = body.n;
	*ret_location = TAKE_PTR(location);
	return 0;
}

static int open_answer(struct storage *s, const uint8_t key_mac[static 32], struct slice sealed,
        char **ret_body, size_t *ret_len, char **ret_location)
{
	struct wrap_owner owner = answer_owner(key_mac);

	if (sealed.n < WRAP_OVERHEAD)
		return ERR_CORRUPT;
	size_t n = sealed.n - WRAP_OVERHEAD;
	uint8_t *plain = malloc(n + 1);
	if (!plain)
		return ERR_NOMEM;
	int err = keyring_open(s->keyring, &owner, sealed, plain);
	if (err == 0)
		err = unpack(slice_make(plain, n), ret_body, ret_len, ret_location);
	crypto_wipe(plain, n);
	free(plain);
	return err;
}

static int idempotency_get(void *ctx, struct slice key, const uint8_t request_hash[static 32],
        int *ret_status, char **ret_body, size_t *ret_len, char **ret_location)
{
	struct storage *s = ctx;
	_cleanup_result_ PGresult *r = NULL;
	struct pg_params p = {0};
	uint8_t mac[32];

	keyring_mac(s->keyring, "idempotency", key, mac);
	pg_put_bytes(&p, slice_make(mac, sizeof(mac)));
	int err = pool_call(s,
	        "SELECT request_hash, status, sealed FROM holdfast.idempotency"
	        " WHERE key_mac = $1 AND created_at > now() - interval '1 day'",
	        &p, &r);
	if (err < 0)
		return err;
	if (PQntuples(r) == 0)
		return ERR_NOT_FOUND;
	if (!slice_eq(pg_get_bytes(r, 0, 0), slice_make(request_hash, 32)))
		return ERR_CONFLICT;
	err = open_answer(s, mac, pg_get_bytes(r, 0, 2), ret_body, ret_len, ret_location);
	if (err == 0)
		*ret_status = pg_get_i32(r, 0, 1);
	return err;
}

static int seal_answer(struct storage *s, const uint8_t key_mac[static 32], struct slice body,
        const char *location, struct buf *out)
{
	struct wrap_owner owner = answer_owner(key_mac);
	struct slice place = slice_str(location);
	size_t n = 4 + place.n + body.n;
	uint8_t *plain = malloc(n);

	if (!plain)
		return ERR_NOMEM;
	pg_store_u32(plain, location ? (uint32_t)place.n : UINT32_MAX);
	if (place.n > 0)
		memcpy(plain + 4, place.p, place.n);
	if (body.n > 0)
		memcpy(plain + 4 + place.n, body.p, body.n);
	uint8_t *at = buf_reserve(out, n + WRAP_OVERHEAD);
	int err = at ? keyring_seal(s->keyring, &owner, slice_make(plain, n), at) : ERR_NOMEM;
	if (err == 0)
		buf_added(out, n + WRAP_OVERHEAD);
	crypto_wipe(plain, n);
	free(plain);
	return err;
}

/* One that is there and valid stays: the first answer counts. */
static int idempotency_put(void *ctx, struct slice key, const uint8_t request_hash[static 32],
        int status, struct slice body, const char *location)
{
	struct storage *s = ctx;
	struct pg_params p = {0};
	struct buf sealed;
	uint8_t mac[32];

	if (body.n > BODY_MAX)
		return ERR_TOO_BIG;
	keyring_mac(s->keyring, "idempotency", key, mac);
	buf_init(&sealed, BODY_MAX * 2);
	int err = seal_answer(s, mac, body, location, &sealed);
	if (err == 0) {
		pg_put_bytes(&p, slice_make(mac, sizeof(mac)));
		pg_put_bytes(&p, slice_make(request_hash, 32));
		pg_put_i32(&p, status);
		pg_put_bytes(&p, buf_slice(&sealed));
		err = pool_call(s,
		        "INSERT INTO holdfast.idempotency AS i"
		        " (key_mac, request_hash, status, sealed) VALUES ($1, $2, $3, $4)"
		        " ON CONFLICT (key_mac) DO UPDATE SET request_hash = excluded.request_hash,"
		        " status = excluded.status, sealed = excluded.sealed,"
		        " created_at = excluded.created_at"
		        " WHERE i.created_at <= now() - interval '1 day'",
		        &p, NULL);
	}
	buf_free(&sealed);
	return err;
}

void tokens_port(struct registry_store *port)
{
	port->token_get = token_get;
	port->idempotency_get = idempotency_get;
	port->idempotency_put = idempotency_put;
}
