/* What an API request names: path, query string, cursor, entity tags. First byte: which operation.
 */
#include <stdlib.h>

#include "server/api/condition.h"
#include "server/api/cursor.h"
#include "server/api/query.h"
#include "server/api/route.h"
#include "server/base/crypto.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void mac(void *ctx, const char *purpose, struct slice in, uint8_t out[static 32])
{
	(void)ctx;
	(void)purpose;
	crypto_sha256(in, out);
}

static void read_path(struct slice in)
{
	struct api_match m;
	unsigned allowed = 0;
	for (int method = HTTP_METHOD_GET; method <= HTTP_METHOD_OTHER; method++) {
		int r = api_route_find((enum http_method)method, in, &m, &allowed);
		if ((r == 0 && m.n_params > API_PARAMS_MAX) || (r == 405 && allowed == 0))
			abort();
		char allow[API_ALLOW_LEN];
		api_route_allow(allowed, allow);
	}
}

static void read_query(enum policy_op op, struct slice in)
{
	struct api_query q;
	struct api_query_error e;
	if (api_query_read(op, in, &q, &e) < 0)
		return;
	size_t used = 0;
	for (unsigned i = 0; i < q.n; i++)
		used += q.items[i].value.n;
	if (used > in.n)
		abort();
	api_query_done(&q);
}

static void read_cursor(struct slice in)
{
	static const struct registry_store hub = {.mac = mac};
	uint8_t position[API_CURSOR_POSITION_MAX];
	char text[API_CURSOR_LEN + 1];
	size_t n = 0;
	if (api_cursor_read(&hub, SLICE_LIT("fuzz"), in, position, &n) < 0)
		return;
	/* Of one position there is one text. */
	api_cursor_make(&hub, SLICE_LIT("fuzz"), slice_make(position, n), text);
	if (!slice_eq_str(in, text))
		abort();
}

static void read_tags(struct slice in)
{
	struct api_condition c;
	struct http_request r = {.n_headers = 2};
	r.headers[0] = (struct http_header){SLICE_LIT("If-Match"), in};
	r.headers[1] = (struct http_header){SLICE_LIT("If-None-Match"), in};
	if (api_condition_read(&r, &c) == 0 && c.match.n > c.none_match.n)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	struct slice in = slice_make(data + 1, size - 1);
	read_path(in);
	read_query((enum policy_op)(data[0] % POLICY_OP_COUNT), in);
	read_cursor(in);
	read_tags(in);
	return 0;
}
