#include <inttypes.h>

#include "server/api/handlers.h"
#include "server/api/internal.h"
#include "server/api/window.h"
#include "server/base/clock.h"
#include "server/base/crypto.h"
#include "server/base/err.h"

/* /proof: what is signed of the chains, to be kept elsewhere, and the key that checks it. */

#define POSITION_LEN 8

struct page {
	struct api_call *call;
	unsigned limit, n;
	bool more;
	int64_t last;
};

static int write_statement(struct buf *out, const struct proof_statement *s)
{
	char when[CLOCK_RFC3339_LEN], signature[2 * CRYPTO_SIGNATURE_LEN];
	if (s->signature.n != CRYPTO_SIGNATURE_LEN)
		return ERR_CORRUPT;
	crypto_base64_encode(s->signature, signature);
	int r = buf_printf(out, "{\"number\":%" PRId64 ",\"time\":\"%s\",\"body\":", s->number,
	        clock_rfc3339(s->at_us, when));
	if (r == 0)
		r = json_append_string(out, s->body);
	return r == 0 ? buf_printf(out, ",\"signature\":\"%s\"}", signature) : r;
}

static int add_statement(const struct proof_statement *s, void *arg)
{
	struct page *page = arg;
	struct buf *out = &page->call->out;
	if (page->n == page->limit || (page->n > 0 && buf_len(out) >= API_PAGE_BYTES)) {
		page->more = true;
		return ERR_TOO_BIG; /* enough: ends the query */
	}
	int r = page->n > 0 ? buf_append_byte(out, ',') : 0;
	if (r == 0)
		r = write_statement(out, s);
	page->n++;
	page->last = s->number;
	return r;
}

static struct slice scope_of(const struct proof_query *q)
{
	if (q->kind == PROOF_ERASURE)
		return q->ascending ? SLICE_LIT("erasures asc") : SLICE_LIT("erasures desc");
	if (q->kind == PROOF_HEAD)
		return q->ascending ? SLICE_LIT("heads asc") : SLICE_LIT("heads desc");
	return q->ascending ? SLICE_LIT("retention asc") : SLICE_LIT("retention desc");
}

static bool read_after(struct api_call *c, struct proof_query *q)
{
	uint8_t position[API_CURSOR_POSITION_MAX];
	size_t len;
	if (!api_call_cursor(c, scope_of(q), position, &len, &q->has_after))
		return false;
	if (len != POSITION_LEN)
		return !q->has_after;
	for (size_t i = 0; i < POSITION_LEN; i++)
		q->after = (int64_t)((uint64_t)q->after << 8 | position[i]);
	return true;
}

static bool read_device(struct api_call *c, char ret[static DEVICE_ID_MAX + 1])
{
	struct slice id = c->params[0];
	if (!device_id_valid(id)) {
		api_call_err(c, ERR_NOT_FOUND);
		return false;
	}
	memcpy(ret, id.p, id.n);
	ret[id.n] = '\0';
	return true;
}

/* device NULL: whichever. */
static void list_of(struct api_call *c, enum proof_kind kind, const char *device)
{
	const struct proof_store *store = &c->api->deps.proof;
	struct proof_query q = {.kind = kind, .from_us = INT64_MIN, .to_us = INT64_MAX};
	struct page page = {.call = c};
	uint8_t position[POSITION_LEN];
	if (!api_window_read(c, &q.from_us, &q.to_us, &q.ascending) ||
	        !api_call_limit(c, &page.limit) || !read_after(c, &q))
		return;
	q.device = device;
	q.limit = page.limit + 1; /* one more tells whether there is a next page */
	int r = buf_append_str(&c->out, "{\"items\":[");
	if (r == 0)
		r = store->query(store->ctx, &q, add_statement, &page);
	if (r < 0 && !page.more) {
		api_call_err(c, r);
		return;
	}
	for (unsigned i = 0; i < POSITION_LEN; i++)
		position[i] = (uint8_t)((uint64_t)page.last >> (56 - 8 * i));
	const struct slice last = slice_make(position, sizeof(position));
	api_call_page_end(c, scope_of(&q), page.more ? &last : NULL);
}

void api_proof_heads(struct api_call *c)
{
	list_of(c, PROOF_HEAD, NULL);
}

void api_proof_retention(struct api_call *c)
{
	list_of(c, PROOF_RETENTION, NULL);
}

/* Of a device that is gone too. */
void api_erasures(struct api_call *c)
{
	char device[DEVICE_ID_MAX + 1];
	if (read_device(c, device))
		list_of(c, PROOF_ERASURE, device);
}

static int answer_receipt(const struct proof_statement *s, void *arg)
{
	return write_statement(&((struct api_call *)arg)->out, s);
}

bool api_erase_first(struct api_call *c)
{
	const struct proof_store *store = &c->api->deps.proof;
	char device[DEVICE_ID_MAX + 1];
	return read_device(c, device) &&
	        api_call_ok(c, store->erase(store->ctx, device, answer_receipt, c), NULL);
}

/* Of all devices. */
void api_erasure_list(struct api_call *c)
{
	list_of(c, PROOF_ERASURE, NULL);
}

struct wanted {
	struct api_call *call;
	int64_t number;
	bool found;
};

static int answer_wanted(const struct proof_statement *s, void *arg)
{
	struct wanted *w = arg;
	if (s->number != w->number)
		return 0;
	w->found = true;
	return write_statement(&w->call->out, s);
}

void api_erasure_get(struct api_call *c)
{
	const struct proof_store *store = &c->api->deps.proof;
	struct wanted w = {.call = c};
	uint64_t number;
	if (api_parse_uint(c->params[0], 1, INT64_MAX, &number) < 0) {
		api_call_problem(c, API_PROBLEM_NOT_FOUND, NULL);
		return;
	}
	w.number = (int64_t)number;
	const struct proof_query q = {.kind = PROOF_ERASURE,
	        .from_us = INT64_MIN,
	        .to_us = INT64_MAX,
	        .ascending = true,
	        .has_after = true,
	        .after = w.number - 1,
	        .limit = 1};
	int r = store->query(store->ctx, &q, answer_wanted, &w);
	if (api_call_ok(c, r == 0 && !w.found ? ERR_NOT_FOUND : r, NULL))
		api_call_text(c, 200, API_JSON_TYPE);
}

/* As SubjectPublicKeyInfo (RFC 8410 section 4), which openssl reads. */
void api_proof_key(struct api_call *c)
{
	static const uint8_t head[] = {
	        0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00};
	uint8_t der[sizeof(head) + CRYPTO_SIGN_KEY_LEN];
	char text[2 * sizeof(der)], pem[200];
	memcpy(der, head, sizeof(head));
	memcpy(der + sizeof(head), c->api->deps.proof.public_key, CRYPTO_SIGN_KEY_LEN);
	crypto_base64_encode(slice_make(der, sizeof(der)), text);
	snprintf(pem, sizeof(pem), "-----BEGIN PUBLIC KEY-----\n%s\n-----END PUBLIC KEY-----\n",
	        text);
	_cleanup_json_ json_t *doc = json_pack(
	        "{s:s,s:s}", "algorithm", "Ed25519", "publicKey", pem);
	if (doc)
		api_call_json(c, 200, doc);
	else
		api_call_err(c, ERR_NOMEM);
}
