/* The registry's port: bearer tokens and answers under an Idempotency-Key. */
#include <stdlib.h>

#include "server/base/err.h"
#include "storage/private.h"

#define BODY_MAX (4u * 1024 * 1024)

#define LIST_MAX 1001 /* the largest page, and one to see whether more follow */

/* ---- tokens ---- */

#define TOKEN_COLUMNS "name, role, expires_at, array_to_string(cidrs, ' '), created_by, created_at"
#define CIDRS_TEXT_MAX (TOKEN_CIDRS_MAX * CIDR_TEXT_LEN)

static int read_cidrs(char *text, struct token_record *ret)
{
	char *save, *word = strtok_r(text, " ", &save);
	for (; word; word = strtok_r(NULL, " ", &save))
		if (ret->n_cidrs == TOKEN_CIDRS_MAX ||
		        cidr_parse(word, &ret->cidrs[ret->n_cidrs++]) < 0)
			return ERR_CORRUPT;
	return 0;
}

static int read_token(const PGresult *r, int row, struct token_record *ret)
{
	char cidrs[CIDRS_TEXT_MAX];

	*ret = (struct token_record){0};
	if (!pg_get_text(r, row, 0, ret->name, sizeof(ret->name)) ||
	        !pg_get_text(r, row, 1, ret->role, sizeof(ret->role)) ||
	        !pg_get_text(r, row, 3, cidrs, sizeof(cidrs)) ||
	        !pg_get_text(r, row, 4, ret->created_by, sizeof(ret->created_by)))
		return ERR_CORRUPT;
	if (!PQgetisnull(r, row, 2))
		ret->expires_at = pg_get_time(r, row, 2) / 1000000;
	ret->created_us = pg_get_time(r, row, 5);
	return read_cidrs(cidrs, ret);
}

static int select_token(
        struct storage *s, const char *sql, const struct pg_params *p, struct token_record *ret)
{
	_cleanup_result_ PGresult *r = NULL;
	int err = pool_call(s, sql, p, &r);

	if (err == 0 && PQntuples(r) == 0)
		return ERR_NOT_FOUND;
	return err < 0 ? err : read_token(r, 0, ret);
}

static int token_find(void *ctx, const uint8_t mac[static 32], struct token_record *ret)
{
	struct pg_params p = {0};

	pg_put_bytes(&p, slice_make(mac, 32));
	return select_token(
	        ctx, "SELECT " TOKEN_COLUMNS " FROM holdfast.tokens WHERE mac = $1", &p, ret);
}

static int token_get(void *ctx, const char *name, struct token_record *ret)
{
	struct pg_params p = {0};

	pg_put_text(&p, name);
	return select_token(
	        ctx, "SELECT " TOKEN_COLUMNS " FROM holdfast.tokens WHERE name = $1", &p, ret);
}

static int token_insert(void *ctx, struct token_record *r)
{
	_cleanup_result_ PGresult *res = NULL;
	struct pg_params p = {0};
	char cidrs[CIDRS_TEXT_MAX] = "", text[CIDR_TEXT_LEN];
	size_t n = 0;

	for (unsigned i = 0; i < r->n_cidrs; i++)
		n += (size_t)snprintf(cidrs + n, sizeof(cidrs) - n, "%s%s", i ? " " : "",
		        cidr_text(&r->cidrs[i], text));
	pg_put_bytes(&p, slice_make(r->mac, sizeof(r->mac)));
	pg_put_text(&p, r->name);
	pg_put_text(&p, r->role);
	if (r->expires_at)
		pg_put_time(&p, r->expires_at * 1000000);
	else
		pg_put_null(&p, PG_TIMESTAMPTZ);
	pg_put_text(&p, cidrs);
	pg_put_text(&p, r->created_by);
	int err = pool_write(ctx,
	        "INSERT INTO holdfast.tokens (mac, name, role, expires_at, cidrs, created_by)"
	        " VALUES ($1, $2, $3, $4, string_to_array($5, ' '), $6) RETURNING created_at",
	        &p, &res);
	if (err == 0)
		r->created_us = pg_get_time(res, 0, 0);
	return err;
}

static int token_list(
        void *ctx, const char *after, unsigned limit, struct token_record **ret, unsigned *ret_n)
{
	_cleanup_result_ PGresult *res = NULL;
	struct pg_params p = {0};

	pg_put_text(&p, after ? after : "");
	pg_put_i64(&p, limit > LIST_MAX ? LIST_MAX : limit);
	int err = pool_call(ctx,
	        "SELECT " TOKEN_COLUMNS
	        " FROM holdfast.tokens WHERE name > $1 ORDER BY name LIMIT $2",
	        &p, &res);
	if (err < 0)
		return err;
	unsigned n = (unsigned)PQntuples(res);
	_cleanup_free_ struct token_record *list = calloc(n ? n : 1, sizeof(*list));
	err = list ? 0 : ERR_NOMEM;
	for (unsigned i = 0; i < n && err == 0; i++)
		err = read_token(res, (int)i, &list[i]);
	if (err < 0)
		return err;
	*ret = TAKE_PTR(list);
	*ret_n = n;
	return 0;
}

/* The owners' rows are locked in order, so that of two who each delete one of the last two only
 * the first does. */
static int token_delete(void *ctx, const char *name)
{
	_cleanup_result_ PGresult *res = NULL;
	struct token_record there;
	struct pg_params p = {0};

	pg_put_text(&p, name);
	int err = pool_write(ctx,
	        "WITH owners AS (SELECT name FROM holdfast.tokens"
	        "   WHERE role = 'owner' AND expires_at IS NULL ORDER BY name FOR UPDATE)"
	        " DELETE FROM holdfast.tokens WHERE name = $1"
	        " AND (SELECT count(*) FILTER (WHERE owners.name <> $1) > 0"
	        "   OR count(*) FILTER (WHERE owners.name = $1) = 0 FROM owners) RETURNING name",
	        &p, &res);
	if (err < 0 || PQntuples(res) > 0)
		return err;
	err = token_get(ctx, name, &there);
	return err < 0 ? err : ERR_CONFLICT;
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
	port->token_find = token_find;
	port->token_insert = token_insert;
	port->token_get = token_get;
	port->token_list = token_list;
	port->token_delete = token_delete;
	port->idempotency_get = idempotency_get;
	port->idempotency_put = idempotency_put;
}
