#include "storage/keyd.h"

#include "server/base/err.h"
#include "storage/pg.h"

/* ---- reading a request ---- */

struct cursor {
	struct slice left;
	bool bad; /* something was not there */
};

static struct slice take(struct cursor *c, size_t n)
{
	if (c->bad || c->left.n < n) {
		c->bad = true;
		return slice_make(NULL, 0);
	}
	struct slice got = slice_make(c->left.p, n);
	c->left = slice_from(c->left, n);
	return got;
}

static unsigned take_u8(struct cursor *c)
{
	struct slice s = take(c, 1);

	return c->bad ? 0 : s.p[0];
}

static unsigned take_u16(struct cursor *c)
{
	unsigned high = take_u8(c);

	return high << 8 | take_u8(c);
}

static uint64_t take_u64(struct cursor *c)
{
	struct slice s = take(c, 8);

	return c->bad ? 0 : pg_load_u64(s.p);
}

struct item {
	char purpose[KEYD_PURPOSE_MAX + 1];
	struct wrap_owner owner;
	struct slice bytes;
};

static void take_item(struct cursor *c, struct item *ret)
{
	struct slice purpose = take(c, take_u8(c));

	c->bad |= purpose.n == 0 || purpose.n > KEYD_PURPOSE_MAX ||
	        memchr(purpose.p, '\0', purpose.n);
	if (c->bad)
		return;
	memcpy(ret->purpose, purpose.p, purpose.n);
	ret->purpose[purpose.n] = '\0';
	ret->owner.purpose = ret->purpose;
	ret->owner.name = take(c, take_u16(c));
	ret->owner.number = take_u64(c);
	ret->owner.which = take_u64(c);
	ret->bytes = take(c, take_u16(c));
	c->bad |= ret->owner.name.n > KEYD_NAME_MAX;
}

/* ---- wrapping ---- */

static int work(const struct keyd *k, enum keyd_op op, const struct item *item, uint8_t *out,
        bool *ret_changed)
{
	bool signing = strcmp(item->purpose, KEYD_SIGN_PURPOSE) == 0;

	switch (op) {
	case KEYD_WRAP:
		return signing ? ERR_DENIED
		               : masters_wrap(&k->masters, &item->owner, item->bytes, out);
	case KEYD_UNWRAP:
		return signing ? ERR_DENIED
		               : masters_unwrap(&k->masters, &item->owner, item->bytes, out);
	default: return masters_rewrap(&k->masters, &item->owner, item->bytes, out, ret_changed);
	}
}

static size_t made_len(enum keyd_op op, size_t n)
{
	return op == KEYD_WRAP ? n + WRAP_OVERHEAD : op == KEYD_UNWRAP ? n - WRAP_OVERHEAD : n;
}

static int add_answer(struct buf *reply, int err, bool changed, struct slice bytes)
{
	uint8_t head[4] = {(uint8_t)-err, changed, (uint8_t)(bytes.n >> 8), (uint8_t)bytes.n};
	int r = buf_append(reply, head, sizeof(head));

	return r < 0 ? r : buf_append(reply, bytes.p, bytes.n);
}

static int do_items(struct keyd *k, enum keyd_op op, struct cursor *c, struct buf *reply)
{
	unsigned n = take_u16(c);
	int err = n > KEYD_ITEMS_MAX ? ERR_MALFORMED : 0;

	for (unsigned i = 0; err == 0 && i < n; i++) {
		uint8_t out[WRAP_MAX];
		struct item item = {0};
		bool changed = false;

		take_item(c, &item);
		if (c->bad)
			return ERR_MALFORMED;
		int result = work(k, op, &item, out, &changed);
		size_t made = result == 0 ? made_len(op, item.bytes.n) : 0;
		err = add_answer(reply, result, changed, slice_make(out, made));
		crypto_wipe(out, sizeof(out));
	}
	return err;
}

/* ---- signing ---- */

static int use_signing_key(
        struct keyd *k, const uint8_t key[static CRYPTO_SIGN_KEY_LEN], struct buf *reply)
{
	uint8_t public[CRYPTO_SIGN_KEY_LEN];
	int err = crypto_sign_public(key, public);

	if (err < 0)
		return err;
	memcpy(k->sign, key, sizeof(k->sign));
	k->can_sign = true;
	return buf_append(reply, public, sizeof(public));
}

static int do_sign_make(
        struct keyd *k, enum keyd_op op HF_UNUSED, struct cursor *c HF_UNUSED, struct buf *reply)
{
	uint8_t key[CRYPTO_SIGN_KEY_LEN];

	crypto_random(key, sizeof(key));
	int err = use_signing_key(k, key, reply);
	crypto_wipe(key, sizeof(key));
	return err;
}

static int do_sign_load(
        struct keyd *k, enum keyd_op op HF_UNUSED, struct cursor *c, struct buf *reply)
{
	const struct wrap_owner owner = {.purpose = KEYD_SIGN_PURPOSE};
	struct slice wrapped = take(c, CRYPTO_SIGN_KEY_LEN + WRAP_OVERHEAD);
	uint8_t key[CRYPTO_SIGN_KEY_LEN];

	if (c->bad)
		return ERR_CORRUPT;
	int err = masters_unwrap(&k->masters, &owner, wrapped, key);
	if (err == 0)
		err = use_signing_key(k, key, reply);
	crypto_wipe(key, sizeof(key));
	return err;
}

static int do_sign_wrap(
        struct keyd *k, enum keyd_op op HF_UNUSED, struct cursor *c HF_UNUSED, struct buf *reply)
{
	const struct wrap_owner owner = {.purpose = KEYD_SIGN_PURPOSE};
	uint8_t out[CRYPTO_SIGN_KEY_LEN + WRAP_OVERHEAD];

	if (!k->can_sign)
		return ERR_NOT_FOUND;
	int err = masters_wrap(&k->masters, &owner, slice_make(k->sign, sizeof(k->sign)), out);
	return err < 0 ? err : buf_append(reply, out, sizeof(out));
}

/* What is signed always begins with a purpose: no message can be made out to be another's. */
static int do_sign(struct keyd *k, enum keyd_op op HF_UNUSED, struct cursor *c, struct buf *reply)
{
	uint8_t signature[CRYPTO_SIGNATURE_LEN];
	const uint8_t *nul = c->left.n ? memchr(c->left.p, '\0', c->left.n) : NULL;

	if (!nul || nul == c->left.p)
		return ERR_MALFORMED;
	if (!k->can_sign)
		return ERR_NOT_FOUND;
	int err = crypto_sign(k->sign, take(c, c->left.n), signature);
	return err < 0 ? err : buf_append(reply, signature, sizeof(signature));
}

/* ---- the master keys ---- */

static int do_set_wrapping(
        struct keyd *k, enum keyd_op op HF_UNUSED, struct cursor *c, struct buf *reply HF_UNUSED)
{
	unsigned next = take_u8(c);

	if (c->bad || next > 1)
		return ERR_MALFORMED;
	if (next && !k->masters.has_next)
		return ERR_NOT_FOUND;
	k->masters.wraps_next = next;
	return 0;
}

static int do_ids(
        struct keyd *k, enum keyd_op op HF_UNUSED, struct cursor *c HF_UNUSED, struct buf *reply)
{
	struct keyring_ids ids;

	masters_ids(&k->masters, &ids);
	int err = buf_append_byte(reply,
	        (uint8_t)((ids.has_next ? KEYD_HAS_NEXT : 0) |
	                (ids.wraps_next ? KEYD_WRAPS_NEXT : 0)));
	if (err == 0)
		err = buf_append(reply, ids.current, KEYRING_ID_LEN);
	return err < 0 ? err : buf_append(reply, ids.next, KEYRING_ID_LEN);
}

/* ---- any of them ---- */

static int (*const answers[])(
        struct keyd *k, enum keyd_op op, struct cursor *c, struct buf *reply) = {
        [KEYD_SET_WRAPPING] = do_set_wrapping,
        [KEYD_IDS] = do_ids,
        [KEYD_WRAP] = do_items,
        [KEYD_UNWRAP] = do_items,
        [KEYD_REWRAP] = do_items,
        [KEYD_SIGN_MAKE] = do_sign_make,
        [KEYD_SIGN_LOAD] = do_sign_load,
        [KEYD_SIGN_WRAP] = do_sign_wrap,
        [KEYD_SIGN] = do_sign,
};

static int dispatch(struct keyd *k, struct cursor *c, struct buf *reply)
{
	unsigned op = take_u8(c);

	if (c->bad || op >= ARRAY_LEN(answers) || !answers[op])
		return ERR_MALFORMED;
	if (!k->loaded)
		return ERR_UNAVAILABLE;
	int err = answers[op](k, (enum keyd_op)op, c, reply);
	return err == 0 && (c->bad || c->left.n > 0) ? ERR_MALFORMED : err;
}

static int finish(struct buf *reply, int err)
{
	if (buf_len(reply) == 0)
		return ERR_NOMEM;
	reply->data[reply->start] = (uint8_t)-err;
	return 0;
}

int keyd_answer(struct keyd *k, struct slice request, struct buf *reply)
{
	struct cursor c = {.left = request};

	buf_truncate(reply, 0);
	int err = buf_append_byte(reply, 0);
	if (err == 0)
		err = dispatch(k, &c, reply);
	if (err < 0)
		buf_truncate(reply, 1);
	return finish(reply, err);
}

int keyd_take(struct keyd *k, const struct keyd_fetched *f, struct buf *reply)
{
	buf_truncate(reply, 0);
	int err = buf_append_byte(reply, 0);
	if (err == 0 && f->err < 0)
		err = buf_append_str(reply, f->error);
	if (err == 0 && f->err == 0) {
		masters_replace(&k->masters, &f->masters);
		k->loaded = true;
	}
	return finish(reply, err < 0 ? err : f->err);
}
