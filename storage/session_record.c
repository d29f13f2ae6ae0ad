#include "storage/session_record.h"

#include <stdlib.h>

#include "server/base/clock.h"
#include "server/base/err.h"
#include "storage/pg.h"

#define VERSION 2
#define VERSION_1 1                  /* one byte for the length of the id; no module, no method */
#define LAST_US 253402300799999999LL /* 9999-12-31T23:59:59.999999Z */
#define FLAG_RETAIN 0x01
#define FLAG_VIA_KEY 0x01
#define DELIVERY_HEAD 6
#define PRINCIPAL_FIXED_1 (1 + 1 + 4 + 8 + 8 + 8 + 1 + 2 + 1 + 1)
#define PRINCIPAL_FIXED (PRINCIPAL_FIXED_1 + 1 + 8 + 1)
#define PRINCIPAL_AAD (4 + 8 + CRYPTO_HASH_LEN)

_Static_assert(PRINCIPAL_SEALED_MAX >= RECORD_SEALED_HEAD + PRINCIPAL_FIXED + MODULE_ID_MAX +
                        KEY_NAME_MAX + CRYPTO_TAG_LEN,
        "the largest principal fits");

/* ---- times ---- */

int64_t session_time(int64_t us)
{
	if (us < 0)
		return 0;
	return us > LAST_US ? LAST_US : us;
}

int64_t message_expires_us(const struct msg *m)
{
	uint64_t now = clock_ms();
	int64_t wall = clock_steady_us();

	if (m->expires_ms <= now)
		return session_time(wall - 1);
	uint64_t left_ms = m->expires_ms - now;
	return left_ms > (uint64_t)LAST_US / 1000 ? LAST_US
	                                          : session_time(wall + (int64_t)left_ms * 1000);
}

void message_set_expiry(struct msg *m, int64_t us)
{
	int64_t left = us - clock_steady_us();
	uint64_t now = clock_ms();

	m->expires = true;
	m->expires_ms = left > 0 ? now + (uint64_t)left / 1000 : now;
}

/* ---- delivery ---- */

int delivery_encode(const struct queue_append *a, struct buf *out)
{
	size_t n = DELIVERY_HEAD + 4 * (size_t)a->n_ids;
	uint8_t *at = buf_reserve(out, n + a->group.n);

	if (!at)
		return ERR_NOMEM;
	at[0] = a->qos;
	at[1] = a->retain ? FLAG_RETAIN : 0;
	pg_store_u32(at + 2, a->n_ids);
	for (unsigned i = 0; i < a->n_ids; i++)
		pg_store_u32(at + DELIVERY_HEAD + 4 * (size_t)i, a->ids[i]);
	if (a->group.n > 0)
		memcpy(at + n, a->group.p, a->group.n);
	buf_added(out, n + a->group.n);
	return 0;
}

int delivery_decode(struct slice extra, struct queue_entry *e)
{
	if (extra.n < DELIVERY_HEAD || extra.p[0] > 2)
		return ERR_CORRUPT;
	uint32_t n = pg_load_u32(extra.p + 2);
	struct slice rest = slice_from(extra, DELIVERY_HEAD);

	if (n > rest.n / 4)
		return ERR_CORRUPT;
	struct slice group = slice_from(rest, 4 * (size_t)n);
	e->qos = extra.p[0];
	e->retain = extra.p[1] & FLAG_RETAIN;
	if (n > 0 && !(e->ids = calloc(n, sizeof(*e->ids))))
		return ERR_NOMEM;
	for (uint32_t i = 0; i < n; i++)
		e->ids[i] = pg_load_u32(rest.p + 4 * (size_t)i);
	e->n_ids = n;
	if (group.n > 0 && !(e->group = strndup((const char *)group.p, group.n)))
		return ERR_NOMEM;
	return 0;
}

/* ---- wills ---- */

void will_encode(const struct session_will *w, uint8_t out[static WILL_EXTRA_LEN])
{
	pg_store_u32(out, w->delay);
	out[4] = w->has_expiry;
	pg_store_u32(out + 5, w->expiry);
}

int will_decode(struct slice extra, struct session_will *w)
{
	if (extra.n != WILL_EXTRA_LEN)
		return ERR_CORRUPT;
	w->delay = pg_load_u32(extra.p);
	w->has_expiry = extra.p[4] != 0;
	w->expiry = pg_load_u32(extra.p + 5);
	return 0;
}

/* ---- principals ---- */

/* Of any length, the key goes in as its hash. */
static struct slice principal_aad(
        const struct session_row *row, uint8_t version, uint8_t aad[static PRINCIPAL_AAD])
{
	const uint8_t magic[4] = {'H', 'F', 'S', version};

	memcpy(aad, magic, sizeof(magic));
	pg_store_u64(aad + 4, row->id);
	crypto_sha256(row->key, aad + 12);
	return slice_make(aad, PRINCIPAL_AAD);
}

static size_t principal_encode(const struct session_row *row, uint8_t *out)
{
	const struct principal *p = row->principal;
	uint8_t *at = out;

	*at++ = VERSION;
	*at++ = (uint8_t)p->kind;
	pg_store_u32(at, p->perms);
	pg_store_u64(at + 4, p->device_key);
	pg_store_u64(at + 12, (uint64_t)p->expires_at);
	memcpy(at + 20, p->credential_tag, sizeof(p->credential_tag));
	at += 28;
	*at++ = p->via_key ? FLAG_VIA_KEY : 0;
	*at++ = (uint8_t)(row->client_id_off >> 8);
	*at++ = (uint8_t)row->client_id_off;
	*at++ = (uint8_t)(p->id_len >> 8);
	*at++ = (uint8_t)p->id_len;
	*at++ = p->key_name_len;
	*at++ = (uint8_t)p->method;
	pg_store_u64(at, p->module_key);
	at += 8;
	memcpy(at, principal_id(p).p, p->id_len);
	memcpy(at + p->id_len, principal_key_name(p).p, p->key_name_len);
	return PRINCIPAL_FIXED + p->id_len + (size_t)p->key_name_len;
}

int principal_seal(const struct session_row *row, const uint8_t key[static CRYPTO_KEY_LEN],
        const uint8_t nonce[static CRYPTO_NONCE_LEN], uint8_t out[static PRINCIPAL_SEALED_MAX],
        size_t *ret_n)
{
	uint8_t aad[PRINCIPAL_AAD];
	uint8_t *body = out + RECORD_SEALED_HEAD;

	out[0] = VERSION;
	memcpy(out + 1, nonce, CRYPTO_NONCE_LEN);
	size_t n = principal_encode(row, body);
	*ret_n = RECORD_SEALED_HEAD + n + CRYPTO_TAG_LEN;
	return crypto_seal(key, nonce, principal_aad(row, VERSION, aad), slice_make(body, n), body);
}

static int principal_decode(struct session_row *row, const uint8_t *in, size_t n)
{
	bool old = n > 0 && in[0] == VERSION_1;
	size_t fixed = old ? PRINCIPAL_FIXED_1 : PRINCIPAL_FIXED;

	if (n < fixed || (!old && in[0] != VERSION) || in[1] > PRINCIPAL_CUSTOM)
		return ERR_CORRUPT;
	const uint8_t *at = in + fixed;
	size_t id_len = old ? in[33] : (size_t)(in[33] << 8 | in[34]);
	uint8_t key_name_len = old ? in[34] : in[35];

	row->client_id_off = (uint16_t)(in[31] << 8 | in[32]);
	if (n != fixed + id_len + key_name_len || id_len > MODULE_ID_MAX ||
	        key_name_len > KEY_NAME_MAX || row->client_id_off > row->key.n)
		return ERR_CORRUPT;
	struct principal *p = principal_new((enum principal_kind)in[1], slice_make(at, id_len),
	        slice_make(at + id_len, key_name_len));
	if (!p)
		return ERR_NOMEM;
	p->perms = pg_load_u32(in + 2);
	p->device_key = pg_load_u64(in + 6);
	p->expires_at = (int64_t)pg_load_u64(in + 14);
	memcpy(p->credential_tag, in + 22, sizeof(p->credential_tag));
	p->via_key = in[30] & FLAG_VIA_KEY;
	if (!old) {
		p->method = (enum auth_method)in[36];
		p->module_key = pg_load_u64(in + 37);
	}
	row->principal = p;
	return 0;
}

int principal_open(
        struct session_row *row, const uint8_t key[static CRYPTO_KEY_LEN], struct slice sealed)
{
	uint8_t aad[PRINCIPAL_AAD], plain[PRINCIPAL_SEALED_MAX];

	if (sealed.n < RECORD_SEALED_HEAD + CRYPTO_TAG_LEN || sealed.n > PRINCIPAL_SEALED_MAX ||
	        (sealed.p[0] != VERSION && sealed.p[0] != VERSION_1))
		return ERR_CORRUPT;
	int err = crypto_open(key, sealed.p + 1, principal_aad(row, sealed.p[0], aad),
	        slice_from(sealed, RECORD_SEALED_HEAD), plain);
	if (err == 0)
		err = principal_decode(row, plain, sealed.n - RECORD_SEALED_HEAD - CRYPTO_TAG_LEN);
	crypto_wipe(plain, sizeof(plain));
	return err;
}

/* ---- messages ---- */

struct msg *message_from(const struct record *r, uint64_t device_key)
{
	struct msg *m = msg_new(r->topic, r->props, r->payload);

	if (!m)
		return NULL;
	m->qos = r->qos;
	m->retain = r->retain;
	m->device_key = device_key;
	m->expires_ms = MSG_NO_EXPIRY;
	return m;
}
