/* What was signed: the heads that the database has, those that were kept elsewhere, the records of
 * what retention dropped. */
#include <errno.h>
#include <stdlib.h>

#include "server/base/clock.h"
#include "server/base/err.h"
#include "server/base/json.h"
#include "storage/verify.h"

#define LINE_BYTES (2u * HEAD_TEXT_MAX + 1024)

static const struct json_limits line_limits = {.bytes = LINE_BYTES, .depth = 2, .values = 16};

/* Room for one more of what is counted by n, which doubles. */
static int grow(struct verify *v, void **array, size_t n, size_t size)
{
	if (n & (n - 1))
		return 0;
	void *more = realloc(*array, (n ? 2 * n : 1) * size);
	if (!more) {
		snprintf(v->error, STORAGE_ERROR_LEN, "out of memory");
		return ERR_NOMEM;
	}
	*array = more;
	return 0;
}

static bool is_signed(
        const struct verify *v, const char *purpose, struct slice text, struct slice signature)
{
	struct buf whole;
	bool good = false;

	buf_init(&whole, HEAD_TEXT_MAX + 64);
	if (signature.n == CRYPTO_SIGNATURE_LEN &&
	        buf_append(&whole, purpose, strlen(purpose) + 1) == 0 &&
	        buf_append(&whole, text.p, text.n) == 0)
		good = crypto_verify(v->public_key, buf_slice(&whole), signature.p);
	buf_free(&whole);
	return good;
}

static int add_anchor(struct verify *v, const struct anchor *a)
{
	int err = grow(v, (void **)&v->anchors, v->n_anchors, sizeof(*a));

	if (err == 0)
		v->anchors[v->n_anchors++] = *a;
	return err;
}

static int add_anchors(struct verify *v, const struct head *h)
{
	struct anchor a = {.chain = AUDIT_CHAIN, .position = h->audit_position, .head = h->number};
	int err = 0;

	memcpy(a.hash, h->audit_hash, sizeof(a.hash));
	if (a.position > 0)
		err = add_anchor(v, &a);
	for (size_t i = 0; err == 0 && i < h->n_chains; i++) {
		a.chain = h->chains[i].chain;
		a.position = h->chains[i].position;
		memcpy(a.hash, h->chains[i].hash, sizeof(a.hash));
		err = add_anchor(v, &a);
	}
	return err;
}

static int add_span(struct verify *v, const struct head_span *s)
{
	int err = grow(v, (void **)&v->spans, v->n_spans, sizeof(*s));

	if (err == 0)
		v->spans[v->n_spans++] = *s;
	return err;
}

/* ---- heads that were kept elsewhere ---- */

static int keep_line(struct verify *v, struct slice line)
{
	char why[JSON_ERROR_LEN];
	_cleanup_json_ json_t *doc = NULL;
	struct kept_head k = {0};
	struct head h;
	size_t n = 0;
	uint8_t signature[CRYPTO_SIGNATURE_LEN + 3];

	if (json_read(line, &line_limits, &doc, why) < 0)
		return ERR_INVALID;
	const json_t *body = json_object_get(doc, "body");
	const json_t *sign = json_object_get(doc, "signature");
	struct slice text = slice_make(json_string_value(body), json_string_length(body));
	struct slice code = slice_make(json_string_value(sign), json_string_length(sign));
	if (!json_is_string(body) || code.n != 88 ||
	        crypto_base64_decode(code, signature, &n) < 0 || n != CRYPTO_SIGNATURE_LEN ||
	        head_decode(text, &h) < 0)
		return ERR_INVALID;
	k.number = h.number;
	memcpy(k.signature, signature, sizeof(k.signature));
	crypto_sha256(text, k.hash);
	int err = add_anchors(v, &h);
	head_done(&h);
	if (err == 0)
		err = grow(v, (void **)&v->kept, v->n_kept, sizeof(k));
	if (err < 0)
		return err;
	k.text = malloc(text.n);
	if (!k.text)
		return ERR_NOMEM;
	memcpy(k.text, text.p, text.n);
	k.text_len = text.n;
	v->kept[v->n_kept++] = k;
	return 0;
}

/* Before the database is looked at: what is in the file then, the database has to have. */
int verify_kept_heads(struct verify *v)
{
	const char *file = v->settings->heads_file;
	_cleanup_free_ char *line = NULL;
	size_t size = 0, number = 0;

	if (!file)
		return 0;
	_cleanup_fclose_ FILE *in = fopen(file, "re");
	if (!in && errno == ENOENT && v->settings->heads_optional)
		return 0;
	if (!in) {
		snprintf(v->error, STORAGE_ERROR_LEN, "%s: %s", file, strerror(errno));
		return ERR_IO;
	}
	for (ssize_t n; (n = getline(&line, &size, in)) > 0;) {
		number++;
		if (line[n - 1] != '\n')
			break; /* it is being written */
		int err = keep_line(v, slice_make(line, (size_t)n - 1));
		if (err == ERR_INVALID)
			verify_found(v, "line %zu of %s is no head: altered", number, file);
		else if (err < 0)
			return err;
	}
	return 0;
}

static int compare_kept(struct verify *v)
{
	int64_t lost = 0;

	for (size_t i = 0; i < v->n_kept; i++) {
		const struct kept_head *k = &v->kept[i];

		if (!is_signed(v, HEAD_PURPOSE, slice_make(k->text, k->text_len),
		            slice_make(k->signature, sizeof(k->signature))))
			verify_found(v,
			        "head %lld that was kept is not signed by the database's key: "
			        "altered, or of another database",
			        (long long)k->number);
		else if (k->number > v->last_head)
			lost = k->number > lost ? k->number : lost;
		else if (memcmp(k->hash, v->head_hashes[k->number - 1], CRYPTO_HASH_LEN) != 0)
			verify_found(v, "head %lld is not the one that was kept: altered",
			        (long long)k->number);
	}
	if (lost > 0)
		verify_found(v,
		        "head %lld was kept, the database ends with head %lld: it was restored to "
		        "an earlier state, or cut off",
		        (long long)lost, (long long)v->last_head);
	return 0;
}

/* ---- heads of the database ---- */

static int take_head(struct verify *v, int64_t number, struct slice text, struct slice signature)
{
	struct head h;

	if (!is_signed(v, HEAD_PURPOSE, text, signature) || head_decode(text, &h) < 0) {
		verify_found(v, "head %lld is not as it was signed: altered", (long long)number);
		return 0;
	}
	if (h.number != number || number != v->last_head + 1)
		verify_found(v, "head %lld follows head %lld: removed, or inserted",
		        (long long)number, (long long)v->last_head);
	else if (memcmp(h.previous, v->last_head_hash, CRYPTO_HASH_LEN) != 0)
		verify_found(v, "head %lld does not follow the one before it: altered",
		        (long long)number);
	int err = add_anchors(v, &h);
	v->last_head_us = h.at_us;
	head_done(&h);
	return err;
}

static int note_head(struct verify *v, int64_t number, struct slice text)
{
	crypto_sha256(text, v->last_head_hash);
	/* Numbers that are left out are zeros: no hash. */
	while (v->last_head < number) {
		int err = grow(
		        v, (void **)&v->head_hashes, (size_t)v->last_head, sizeof(*v->head_hashes));
		if (err < 0)
			return err;
		memset(v->head_hashes[v->last_head++], 0, CRYPTO_HASH_LEN);
	}
	memcpy(v->head_hashes[number - 1], v->last_head_hash, CRYPTO_HASH_LEN);
	v->heads++;
	return 0;
}

static int read_heads(struct verify *v, struct copy *c)
{
	bool bad = false;
	int r;

	while ((r = verify_next(v, c, 3)) > 0) {
		int64_t number = copy_i64(c, 0, &bad);

		if (bad || number <= v->last_head || number > v->last_head + 1000000)
			return verify_bad(v, "numbers of heads");
		int err = take_head(v, number, c->fields[1], c->fields[2]);
		if (err == 0)
			err = note_head(v, number, c->fields[1]);
		if (err < 0)
			return err;
	}
	return r;
}

/* ---- records of retention ---- */

static int take_record(struct verify *v, int64_t number, struct slice text, struct slice signature)
{
	struct retention r;
	int err = 0;

	if (!is_signed(v, RETENTION_PURPOSE, text, signature) || retention_decode(text, &r) < 0) {
		verify_found(v, "the record of retention %lld is not as it was signed: altered",
		        (long long)number);
		return 0;
	}
	if (r.number != number)
		verify_found(v, "the record of retention %lld stands in the place of %lld",
		        (long long)r.number, (long long)number);
	if (r.partition == 0)
		err = add_span(v, &r.audit);
	for (size_t i = 0; err == 0 && i < r.n_spans; i++)
		err = add_span(v, &r.spans[i]);
	if (err == 0 && r.partition != 0)
		err = grow(v, (void **)&v->dropped, v->n_dropped, sizeof(*v->dropped));
	if (err == 0 && r.partition != 0)
		v->dropped[v->n_dropped++] = r.partition;
	retention_done(&r);
	return err;
}

static int read_records(struct verify *v, struct copy *c)
{
	int64_t last = 0;
	bool bad = false;
	int r;

	while ((r = verify_next(v, c, 3)) > 0) {
		int64_t number = copy_i64(c, 0, &bad);

		if (bad)
			return verify_bad(v, "numbers of records of retention");
		if (number != last + 1)
			verify_found(v, "record of retention %lld follows %lld: removed",
			        (long long)number, (long long)last);
		last = number;
		int err = take_record(v, number, c->fields[1], c->fields[2]);
		if (err < 0)
			return err;
	}
	return r;
}

/* ---- all of it ---- */

static int read_key(struct verify *v, struct copy *c)
{
	bool bad = false;
	int r = verify_next(v, c, 1);

	if (r < 0)
		return r;
	if (r == 0)
		return verify_bad(v, "there is no public key: no hub has used this database yet");
	copy_fixed(c, 0, v->public_key, sizeof(v->public_key), &bad);
	if (bad)
		return verify_bad(v, "the public key");
	return verify_next(v, c, 1);
}

static int read_all(struct verify *v, const char *name, const char *select,
        int (*read)(struct verify *v, struct copy *c))
{
	struct copy c;
	int err = verify_open(v, &c, 0, name, select);

	if (err < 0)
		return err;
	err = read(v, &c);
	int closed = verify_close(v, &c);
	return err < 0 ? err : closed;
}

static int by_anchor(const void *a, const void *b)
{
	const struct anchor *x = a, *y = b;

	if (x->chain != y->chain)
		return x->chain < y->chain ? -1 : 1;
	return (x->position > y->position) - (x->position < y->position);
}

static int by_span(const void *a, const void *b)
{
	const struct head_span *x = a, *y = b;

	if (x->chain != y->chain)
		return x->chain < y->chain ? -1 : 1;
	return (x->first > y->first) - (x->first < y->first);
}

int verify_proofs(struct verify *v)
{
	int err = read_all(v, "key", "SELECT public_key FROM holdfast.signing", read_key);

	if (err == 0)
		err = read_all(v, "heads",
		        "SELECT head_id, body, signature FROM holdfast.heads ORDER BY head_id",
		        read_heads);
	if (err == 0)
		err = read_all(v, "retention",
		        "SELECT record_id, body, signature FROM holdfast.retention_records ORDER "
		        "BY record_id",
		        read_records);
	if (err == 0)
		err = compare_kept(v);
	if (err == 0 && v->n_anchors > 0)
		qsort(v->anchors, v->n_anchors, sizeof(v->anchors[0]), by_anchor);
	if (err == 0 && v->n_spans > 0)
		qsort(v->spans, v->n_spans, sizeof(v->spans[0]), by_span);
	return err;
}

void verify_proofs_done(struct verify *v)
{
	for (size_t i = 0; i < v->n_kept; i++)
		free(v->kept[i].text);
	free(v->kept);
	free(v->head_hashes);
	free(v->dropped);
	free(v->anchors);
	free(v->spans);
}
