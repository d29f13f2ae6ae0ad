/* Custom authorisers: what a user name or query gives is found alike wherever it stands, the
 * question is JSON whatever is in it, and an answer that is taken is within its bounds. */
#include <assert.h>

#include "registry/auth/custom.h"
#include "registry/auth/custom_answer.h"
#include "server/base/cleanup.h"
#include "server/base/err.h"
#include "server/base/json.h"
#include "server/base/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_find(struct slice in)
{
	const struct auth_request by_query = {.https = true, .query = in};
	char out[256], again[256];
	size_t n = 0, m = 0;
	int err = custom_find(&by_query, "tok", out, sizeof(out), &n);
	assert(err == 0 || err == ERR_NOT_FOUND || err == ERR_INVALID);
	assert(err < 0 || (n < sizeof(out) && strlen(out) == n && utf8_valid(slice_make(out, n))));
	/* The same behind the '?' of a user name. */
	struct buf _cleanup_(buf_free) name;
	buf_init(&name, 1 << 20);
	if (buf_append_str(&name, "joe?") < 0 || buf_append(&name, in.p, in.n) < 0)
		return;
	const struct auth_request by_name = {.has_username = true, .username = buf_slice(&name)};
	assert(custom_find(&by_name, "tok", again, sizeof(again), &m) == err);
	assert(err < 0 || (n == m && memcmp(out, again, n) == 0));
	assert(custom_is_named(&by_query) == custom_is_named(&by_name));
}

static void check_event(struct slice in)
{
	const struct http_header header = {in, in};
	const struct auth_request req = {.has_username = true,
	        .has_password = true,
	        .username = in,
	        .password = in,
	        .client_id = in,
	        .server_name = in,
	        .query = in,
	        .headers = &header,
	        .n_headers = 1,
	        .peer = "[2001:db8::1]:1"};
	struct buf _cleanup_(buf_free) event;
	buf_init(&event, CUSTOM_EVENT_MAX);
	if (custom_event_begin(&event, &req, in, false) == 0 && custom_event_end(&event) == 0)
		assert(json_is_valid(buf_slice(&event)));
}

static void check_answer(struct slice in)
{
	struct custom_answer *a = NULL;
	const char *why = NULL;
	int err = custom_answer_read(in, CUSTOM_SECONDS_MIN, &a, &why);
	assert((err == 0) == (why == NULL));
	if (err < 0 || !a->allowed) {
		custom_answer_unref(a);
		return;
	}
	assert(a->principal[0] && strlen(a->principal) <= CUSTOM_PRINCIPAL_MAX);
	assert(a->disconnect_s >= CUSTOM_SECONDS_MIN && a->disconnect_s <= CUSTOM_SECONDS_MAX);
	assert(a->refresh_s == 0 ||
	        (a->refresh_s >= CUSTOM_SECONDS_MIN && a->refresh_s <= CUSTOM_SECONDS_MAX));
	assert(!a->documents || json_is_valid(slice_str(a->documents)));
	custom_answer_unref(a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice in = slice_make(data, size);
	check_find(in);
	check_event(in);
	check_answer(in);
	return 0;
}
