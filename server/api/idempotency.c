#include "server/api/idempotency.h"

#include "server/api/call.h"
#include "server/api/internal.h"
#include "server/base/err.h"
#include "server/base/log.h"

void api_claims_init(struct api_claims *claims)
{
	claims->head = NULL;
	pthread_mutex_init(&claims->mutex, NULL);
}

void api_claims_done(struct api_claims *claims)
{
	pthread_mutex_destroy(&claims->mutex);
}

static bool claim(struct api_claims *claims, struct api_claim *mine)
{
	pthread_mutex_lock(&claims->mutex);
	bool taken = false;
	for (const struct api_claim *c = claims->head; c && !taken; c = c->next)
		taken = crypto_equal(c->key, mine->key, sizeof(mine->key));
	if (!taken) {
		mine->next = claims->head;
		claims->head = mine;
	}
	pthread_mutex_unlock(&claims->mutex);
	return !taken;
}

static void release(struct api_claims *claims, const struct api_claim *mine)
{
	pthread_mutex_lock(&claims->mutex);
	struct api_claim **at = &claims->head;
	while (*at != mine)
		at = &(*at)->next;
	*at = mine->next;
	pthread_mutex_unlock(&claims->mutex);
}

int api_hash_parts(const struct slice *parts, unsigned n, uint8_t ret[static CRYPTO_HASH_LEN])
{
	struct buf _cleanup_(buf_free) all;
	buf_init(&all, API_ANSWER_MAX);
	for (unsigned i = 0; i < n; i++) {
		uint64_t len = parts[i].n;
		if (buf_append(&all, &len, sizeof(len)) < 0 ||
		        buf_append(&all, parts[i].p, parts[i].n) < 0)
			return ERR_NOMEM;
	}
	crypto_sha256(buf_slice(&all), ret);
	crypto_wipe(all.data, buf_len(&all));
	return 0;
}

/* 1: there is a key; 0: none; or an error. */
static int read_key(struct api_call *c, struct slice *ret)
{
	bool many = false;
	*ret = http_header_get(c->r, "Idempotency-Key", &many);
	if (many)
		return ERR_INVALID;
	if (!ret->p)
		return 0;
	if (ret->n == 0 || ret->n > API_IDEMPOTENCY_KEY_MAX)
		return ERR_INVALID;
	for (size_t i = 0; i < ret->n; i++)
		if (ret->p[i] <= ' ' || ret->p[i] >= 0x7f)
			return ERR_INVALID;
	return 1;
}

/* The value of the answer's Location header, "" if it has none. */
static void location_of(const struct api_call *c, char *out, size_t size)
{
	struct slice extra = buf_slice(&c->extra), name = SLICE_LIT("Location: ");
	const uint8_t *at = extra.p ? memmem(extra.p, extra.n, name.p, name.n) : NULL;
	out[0] = '\0';
	if (!at)
		return;
	struct slice value = slice_from(extra, (size_t)(at - extra.p) + name.n);
	const uint8_t *end = memchr(value.p, '\r', value.n);
	if (end && (size_t)(end - value.p) < size)
		snprintf(out, size, "%.*s", (int)(end - value.p), (const char *)value.p);
}

static void keep(struct api_call *c, struct slice key, const uint8_t hash[static CRYPTO_HASH_LEN])
{
	if (c->status < 200 || c->status > 299)
		return;
	char location[8 * DEVICE_ID_MAX]; /* of a module, percent-encoded */
	location_of(c, location, sizeof(location));
	const struct registry_store *s = c->api->store;
	int r = s->idempotency_put(s->ctx, key, hash, c->status, buf_slice(&c->out), location);
	if (r < 0)
		log_warn("the answer of an idempotent request was not kept",
		        F_STR("trace", c->r->trace_id), F_STR("error", err_text(r)));
}

static void replay(struct api_call *c, int status, struct slice body, const char *location)
{
	_cleanup_json_ json_t *doc = json_loadb((const char *)body.p, body.n, 0, NULL);
	api_call_document(c, status, doc);
	if (location && *location)
		api_call_header(c, "Location: %s\r\n", location);
	api_call_header(c, "Idempotency-Replayed: true\r\n");
}

static void run_once(
        struct api_call *c, struct slice key, const uint8_t hash[static CRYPTO_HASH_LEN])
{
	const struct registry_store *s = c->api->store;
	int status;
	size_t len = 0;
	_cleanup_free_ char *body = NULL, *location = NULL;
	int r = s->idempotency_get(s->ctx, key, hash, &status, &body, &len, &location);
	switch (r) {
	case 0:
		replay(c, status, slice_make(body, len), location);
		if (body)
			crypto_wipe(body, len);
		break;
	case ERR_CONFLICT:
		api_call_problem(c, API_PROBLEM_KEY_REUSED,
		        "this Idempotency-Key was sent with another request before");
		break;
	case ERR_NOT_FOUND:
		c->match.route->on_worker(c);
		keep(c, key, hash);
		break;
	default: api_call_err(c, r);
	}
}

void api_idempotency_run(struct api_call *c)
{
	struct slice key;
	int r = read_key(c, &key);
	if (r < 0) {
		api_call_problem(c, API_PROBLEM_INVALID,
		        "Idempotency-Key must be one value of 1 to 128 visible ASCII characters");
		return;
	}
	if (r == 0) {
		c->match.route->on_worker(c);
		return;
	}
	/* Keys of different callers never meet. */
	const struct slice owner[] = {
	        slice_str(auth_method_name(c->who->method)), principal_id(c->who), key};
	const struct slice request[] = {c->r->method_text, c->r->path, c->r->query, c->r->body};
	struct api_claim mine;
	uint8_t hash[CRYPTO_HASH_LEN];
	char name[2 * CRYPTO_HASH_LEN + 1];
	if (api_hash_parts(owner, ARRAY_LEN(owner), mine.key) < 0 ||
	        api_hash_parts(request, ARRAY_LEN(request), hash) < 0) {
		api_call_err(c, ERR_NOMEM);
		return;
	}
	if (!claim(&c->api->claims, &mine)) {
		api_call_problem(c, API_PROBLEM_IN_PROGRESS, NULL);
		return;
	}
	crypto_hex_encode(slice_make(mine.key, sizeof(mine.key)), name);
	run_once(c, slice_str(name), hash);
	release(&c->api->claims, &mine);
}
