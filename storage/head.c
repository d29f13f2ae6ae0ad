/* Heads and records of retention as text: head.h has the form. */
#include "storage/head.h"

#include <stdlib.h>

#include "server/base/err.h"

/* ---- writing ---- */

static int put_hash(struct buf *out, const uint8_t hash[static CRYPTO_HASH_LEN], char end)
{
	char hex[2 * CRYPTO_HASH_LEN + 1];

	crypto_hex_encode(slice_make(hash, CRYPTO_HASH_LEN), hex);
	return buf_printf(out, "%s%c", hex, end);
}

static int put_numbers(struct buf *out, const char *word, const int64_t *numbers, unsigned n)
{
	int err = buf_append_str(out, word);

	for (unsigned i = 0; err == 0 && i < n; i++)
		err = buf_printf(out, " %lld", (long long)numbers[i]);
	return err;
}

static int put_number(struct buf *out, const char *word, int64_t number)
{
	int err = put_numbers(out, word, &number, 1);

	return err < 0 ? err : buf_append_byte(out, '\n');
}

static int put_chain(struct buf *out, const struct head_chain *c)
{
	int err = put_numbers(out, "chain", (const int64_t[]){c->chain, c->position}, 2);

	if (err == 0)
		err = buf_append_byte(out, ' ');
	return err < 0 ? err : put_hash(out, c->hash, '\n');
}

static int put_span(struct buf *out, const struct head_span *s)
{
	bool audit = s->chain == 0;
	const int64_t numbers[] = {s->chain, s->first, s->last};
	int err = put_numbers(out, audit ? "audit" : "span", numbers + audit, 3 - audit);

	if (err == 0)
		err = buf_append_byte(out, ' ');
	if (err == 0)
		err = put_hash(out, s->prev, ' ');
	return err < 0 ? err : put_hash(out, s->hash, '\n');
}

int head_encode(const struct head *h, struct buf *out)
{
	int err = buf_append_str(out, "holdfast head 1\n");

	if (err == 0)
		err = put_number(out, "number", h->number);
	if (err == 0)
		err = put_number(out, "at", h->at_us);
	if (err == 0)
		err = buf_append_str(out, "previous ");
	if (err == 0)
		err = put_hash(out, h->previous, '\n');
	if (err == 0)
		err = put_numbers(out, "audit", &h->audit_position, 1);
	if (err == 0)
		err = buf_append_byte(out, ' ');
	if (err == 0)
		err = put_hash(out, h->audit_hash, '\n');
	for (size_t i = 0; err == 0 && i < h->n_chains; i++)
		err = put_chain(out, &h->chains[i]);
	return err;
}

int retention_encode(const struct retention *r, struct buf *out)
{
	int err = buf_append_str(out, "holdfast retention 1\n");

	if (err == 0)
		err = put_number(out, "number", r->number);
	if (err == 0)
		err = put_number(out, "at", r->at_us);
	if (err == 0)
		err = r->partition ? put_number(out, "partition", r->partition)
		                   : put_span(out, &r->audit);
	for (size_t i = 0; err == 0 && i < r->n_spans; i++)
		err = put_span(out, &r->spans[i]);
	return err;
}

/* ---- reading: what is left, and whether all fitted so far ---- */

struct text {
	struct slice rest;
	bool bad;
};

static void take_word(struct text *t, const char *word)
{
	struct slice w = slice_str(word);

	if (slice_has_prefix(t->rest, w))
		t->rest = slice_from(t->rest, w.n);
	else
		t->bad = true;
}

static int64_t take_number(struct text *t)
{
	int64_t v = 0;
	size_t n = 0;

	while (n < t->rest.n && t->rest.p[n] >= '0' && t->rest.p[n] <= '9') {
		if (__builtin_mul_overflow(v, 10, &v) ||
		        __builtin_add_overflow(v, t->rest.p[n] - '0', &v)) {
			t->bad = true;
			return 0;
		}
		n++;
	}
	if (n == 0 || (n > 1 && t->rest.p[0] == '0'))
		t->bad = true;
	t->rest = slice_from(t->rest, n);
	return v;
}

static void take_hash(struct text *t, uint8_t hash[static CRYPTO_HASH_LEN])
{
	struct slice hex = {t->rest.p, 2 * CRYPTO_HASH_LEN};

	if (t->rest.n < hex.n || crypto_hex_decode(hex, hash, CRYPTO_HASH_LEN) < 0) {
		t->bad = true;
		return;
	}
	for (size_t i = 0; i < hex.n; i++)
		t->bad |= hex.p[i] >= 'A' && hex.p[i] <= 'F';
	t->rest = slice_from(t->rest, hex.n);
}

static void take_span(struct text *t, struct head_span *ret)
{
	*ret = (struct head_span){0};
	if (slice_has_prefix(t->rest, SLICE_LIT("audit "))) {
		take_word(t, "audit ");
	} else {
		take_word(t, "span ");
		ret->chain = take_number(t);
		take_word(t, " ");
		t->bad |= ret->chain == 0;
	}
	ret->first = take_number(t);
	take_word(t, " ");
	ret->last = take_number(t);
	take_word(t, " ");
	take_hash(t, ret->prev);
	take_word(t, " ");
	take_hash(t, ret->hash);
	take_word(t, "\n");
	t->bad |= ret->first > ret->last;
}

static void take_chain(struct text *t, struct head_chain *ret)
{
	take_word(t, "chain ");
	ret->chain = take_number(t);
	take_word(t, " ");
	ret->position = take_number(t);
	take_word(t, " ");
	take_hash(t, ret->hash);
	take_word(t, "\n");
}

/* Room for one more of what is counted by n: 0, ERR_TOO_BIG, ERR_NOMEM. */
static int grow(void **array, size_t n, size_t size)
{
	if (n >= HEAD_CHAINS_MAX)
		return ERR_TOO_BIG;
	if (n & (n - 1)) /* it doubles at the powers of two */
		return 0;
	void *more = realloc(*array, (n ? 2 * n : 1) * size);
	if (!more)
		return ERR_NOMEM;
	*array = more;
	return 0;
}

static void take_start(struct text *t, const char *title, int64_t *ret_number, int64_t *ret_at)
{
	take_word(t, title);
	take_word(t, "\nnumber ");
	*ret_number = take_number(t);
	take_word(t, "\nat ");
	*ret_at = take_number(t);
	take_word(t, "\n");
}

int head_decode(struct slice text, struct head *ret)
{
	struct head h = {0};
	struct text t = {.rest = text};
	int err = text.n > HEAD_TEXT_MAX ? ERR_TOO_BIG : 0;

	take_start(&t, "holdfast head 1", &h.number, &h.at_us);
	take_word(&t, "previous ");
	take_hash(&t, h.previous);
	take_word(&t, "\naudit ");
	h.audit_position = take_number(&t);
	take_word(&t, " ");
	take_hash(&t, h.audit_hash);
	take_word(&t, "\n");
	while (err == 0 && !t.bad && t.rest.n > 0) {
		err = grow((void **)&h.chains, h.n_chains, sizeof(*h.chains));
		if (err < 0)
			break;
		take_chain(&t, &h.chains[h.n_chains++]);
		t.bad |= h.n_chains > 1 &&
		        h.chains[h.n_chains - 1].chain <= h.chains[h.n_chains - 2].chain;
	}
	if (err == 0 && t.bad)
		err = ERR_INVALID;
	if (err < 0)
		head_done(&h);
	else
		*ret = h;
	return err;
}

int retention_decode(struct slice text, struct retention *ret)
{
	struct retention r = {0};
	struct text t = {.rest = text};
	int err = text.n > HEAD_TEXT_MAX ? ERR_TOO_BIG : 0;

	take_start(&t, "holdfast retention 1", &r.number, &r.at_us);
	if (slice_has_prefix(t.rest, SLICE_LIT("audit "))) {
		take_span(&t, &r.audit);
		t.bad |= t.rest.n > 0;
	} else {
		take_word(&t, "partition ");
		int64_t partition = take_number(&t);
		t.bad |= partition < 19700101 || partition > 99991231;
		r.partition = (int32_t)partition;
		take_word(&t, "\n");
	}
	while (err == 0 && !t.bad && t.rest.n > 0) {
		err = grow((void **)&r.spans, r.n_spans, sizeof(*r.spans));
		if (err < 0)
			break;
		take_span(&t, &r.spans[r.n_spans++]);
		t.bad |= r.spans[r.n_spans - 1].chain == 0;
	}
	if (err == 0 && t.bad)
		err = ERR_INVALID;
	if (err < 0)
		retention_done(&r);
	else
		*ret = r;
	return err;
}

void head_done(struct head *h)
{
	free(h->chains);
	*h = (struct head){0};
}

void retention_done(struct retention *r)
{
	free(r->spans);
	*r = (struct retention){0};
}
