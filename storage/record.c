#include "storage/record.h"

#include "server/base/err.h"
#include "storage/pg.h"

#define VERSION 1
#define VERSION_EXTRA 2
#define FLAG_RETAIN 0x01
#define AAD_MAX (4 + 8 * 5)

/* No two places have the same: the kind comes first, and gives the length. */
static struct slice place_aad(const struct record_place *p, uint8_t aad[static AAD_MAX])
{
	static const uint8_t magic[][3] = {
	        [RECORD_TELEMETRY] = {'H', 'F', 'T'},
	        [RECORD_QUEUED] = {'H', 'F', 'Q'},
	        [RECORD_RETAINED] = {'H', 'F', 'R'},
	        [RECORD_WILL] = {'H', 'F', 'W'},
	};

	memcpy(aad, magic[p->kind], sizeof(magic[0]));
	aad[3] = VERSION;
	pg_store_u64(aad + 4, p->device_key);
	pg_store_u64(aad + 12, (uint64_t)p->key_id);
	pg_store_u64(aad + 20, (uint64_t)p->seq);
	pg_store_u64(aad + 28, (uint64_t)p->received_us);
	if (p->kind == RECORD_TELEMETRY)
		return slice_make(aad, AAD_MAX - 8);
	pg_store_u64(aad + 36, p->owner);
	return slice_make(aad, AAD_MAX);
}

static uint8_t *put(uint8_t *at, struct slice s)
{
	if (s.n > 0)
		memcpy(at, s.p, s.n);
	return at + s.n;
}

static size_t encode(const struct record *r, uint8_t *out)
{
	uint8_t *at = out;

	*at++ = r->extra.p ? VERSION_EXTRA : VERSION;
	*at++ = r->qos;
	*at++ = r->retain ? FLAG_RETAIN : 0;
	*at++ = (uint8_t)(r->topic.n >> 8);
	*at++ = (uint8_t)r->topic.n;
	at = put(at, r->topic);
	*at++ = (uint8_t)r->module.n;
	at = put(at, r->module);
	pg_store_u32(at, (uint32_t)r->props.n);
	at = put(at + 4, r->props);
	if (r->extra.p) {
		pg_store_u32(at, (uint32_t)r->extra.n);
		at = put(at + 4, r->extra);
	}
	at = put(at, r->payload);
	return (size_t)(at - out);
}

int record_seal(const struct record *r, const struct record_place *place,
        const uint8_t key[static CRYPTO_KEY_LEN], const uint8_t nonce[static CRYPTO_NONCE_LEN],
        uint8_t *out)
{
	uint8_t aad[AAD_MAX];
	uint8_t *body = out + RECORD_SEALED_HEAD;

	if (r->topic.n > UINT16_MAX || r->module.n > RECORD_MODULE_MAX || r->props.n > INT32_MAX ||
	        r->extra.n > INT32_MAX)
		return ERR_TOO_BIG;
	out[0] = VERSION;
	memcpy(out + 1, nonce, CRYPTO_NONCE_LEN);
	/* Built where it goes and encrypted in place: the payload is copied once. */
	size_t n = encode(r, body);
	return crypto_seal(key, out + 1, place_aad(place, aad), slice_make(body, n), body);
}

int record_open(struct slice sealed, const struct record_place *place,
        const uint8_t key[static CRYPTO_KEY_LEN], uint8_t *plain, struct record *ret)
{
	uint8_t aad[AAD_MAX];

	if (sealed.n < RECORD_OVERHEAD || sealed.p[0] != VERSION)
		return ERR_CORRUPT;
	int err = crypto_open(key, sealed.p + 1, place_aad(place, aad),
	        slice_from(sealed, RECORD_SEALED_HEAD), plain);
	if (err < 0)
		return ERR_CORRUPT;
	return record_decode(
	        slice_make(plain, sealed.n - RECORD_SEALED_HEAD - CRYPTO_TAG_LEN), ret);
}

/* Takes n bytes off the front of *in. */
static bool take(struct slice *in, size_t n, struct slice *ret)
{
	if (n > in->n)
		return false;
	*ret = slice_make(in->p, n);
	*in = slice_from(*in, n);
	return true;
}

static bool take_number(struct slice *in, size_t bytes, size_t *ret)
{
	struct slice s;
	size_t v = 0;

	if (!take(in, bytes, &s))
		return false;
	for (size_t i = 0; i < bytes; i++)
		v = v << 8 | s.p[i];
	*ret = v;
	return true;
}

int record_decode(struct slice plain, struct record *ret)
{
	struct record r = {0};
	size_t version, qos, flags, n;

	if (!take_number(&plain, 1, &version) || version < VERSION || version > VERSION_EXTRA ||
	        !take_number(&plain, 1, &qos) || qos > 2 || !take_number(&plain, 1, &flags) ||
	        flags & ~(size_t)FLAG_RETAIN)
		return ERR_CORRUPT;
	r.qos = (uint8_t)qos;
	r.retain = flags & FLAG_RETAIN;
	if (!take_number(&plain, 2, &n) || !take(&plain, n, &r.topic) ||
	        !take_number(&plain, 1, &n) || !take(&plain, n, &r.module) ||
	        !take_number(&plain, 4, &n) || !take(&plain, n, &r.props))
		return ERR_CORRUPT;
	if (version == VERSION_EXTRA && (!take_number(&plain, 4, &n) || !take(&plain, n, &r.extra)))
		return ERR_CORRUPT;
	r.payload = plain;
	*ret = r;
	return 0;
}
