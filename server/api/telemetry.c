#include "server/api/ask.h"
#include "server/api/handlers.h"
#include "server/api/internal.h"
#include "server/api/item.h"
#include "server/api/window.h"
#include "server/base/clock.h"
#include "server/base/err.h"

/* Stored messages of a device's present generation, of a group's devices, of all: lists and the
 * newest. */

/* A list that leaves out much ends after this, with a cursor. */
#define SCAN_ROWS 1000000
#define SCAN_MS 2000

struct page {
	struct api_call *call;
	const struct api_ask *ask;
	unsigned limit, n;
	bool more;
	int64_t last_us, last_seq;
};

static int add_item(const struct telemetry_item *it, void *arg)
{
	struct page *page = arg;
	struct buf *out = &page->call->out;
	struct telemetry_item shown = *it;
	int r = api_ask_wants(page->ask, it);
	if (r <= 0)
		return r;
	if (page->n == page->limit || (page->n > 0 && buf_len(out) >= API_PAGE_BYTES)) {
		page->more = true;
		return TELEMETRY_ENOUGH;
	}
	if (page->ask->q.scope == TELEMETRY_DEVICE)
		shown.device = (struct slice){0};
	r = page->n > 0 ? buf_append_byte(out, ',') : 0;
	if (r == 0)
		r = api_item_write(out, &shown, API_AGE_NONE);
	page->n++;
	page->last_us = it->received_us;
	page->last_seq = it->seq;
	return r;
}

static int run_query(struct api_call *c, const struct telemetry_query *q,
        int (*item)(const struct telemetry_item *it, void *arg), void *arg,
        struct telemetry_reach *ret_reach)
{
	const struct telemetry_query_store *store = &c->api->deps.telemetry;
	return store->query(store->ctx, q, item, arg, ret_reach);
}

static void end_page(
        struct api_call *c, const struct page *page, const struct telemetry_reach *reach)
{
	char scope[API_ASK_SCOPE_LEN];
	uint8_t position[API_WINDOW_POSITION_LEN];
	if (page->more)
		api_window_put(position, page->last_us, page->last_seq);
	else
		api_window_put(position, reach->us, reach->seq);
	const struct slice last = slice_make(position, sizeof(position));
	api_call_page_end(
	        c, api_ask_scope(c, page->ask, scope), page->more || !reach->ended ? &last : NULL);
}

void api_telemetry_query(struct api_call *c)
{
	struct api_ask _cleanup_(api_ask_done) ask = {0};
	struct page page = {.call = c, .ask = &ask};
	struct telemetry_reach reach = {.ended = true};
	if (!api_ask_read(c, &ask) || !api_call_limit(c, &page.limit) || !api_ask_cursor(c, &ask))
		return;
	/* One more tells whether there is a next page. */
	ask.q.first = page.limit + 1;
	ask.q.limit = ask.filters ? SCAN_ROWS : 0;
	ask.q.budget_ms = SCAN_MS;
	int r = buf_append_str(&c->out, "{\"items\":[");
	if (r == 0)
		r = run_query(c, &ask.q, add_item, &page, &reach);
	if (r < 0)
		api_call_err(c, r);
	else
		end_page(c, &page, &reach);
}

struct latest {
	struct api_call *call;
	bool found, corrupt;
	int64_t age_us;
};

static int note_latest(const struct telemetry_item *it, void *arg)
{
	struct latest *l = arg;
	struct telemetry_item shown = *it;
	shown.device = (struct slice){0};
	l->found = true;
	l->corrupt = it->corrupt;
	l->age_us = clock_wall_us() - it->received_us;
	int r = it->corrupt ? 0 : api_item_write(&l->call->out, &shown, l->age_us);
	return r < 0 ? r : TELEMETRY_ENOUGH;
}

void api_telemetry_latest(struct api_call *c)
{
	/* What was erased is read over; more than one is seldom needed. */
	struct telemetry_query q = {
	        .from_us = INT64_MIN, .to_us = INT64_MAX, .first = 1, .budget_ms = SCAN_MS};
	struct latest l = {.call = c};
	struct slice text;
	uint64_t max_age = UINT64_MAX;
	const uint64_t century = 3155760000;
	if (api_query_get(&c->query, "maxAge", &text) &&
	        api_parse_uint(text, 0, century, &max_age) < 0) {
		api_call_bad_param(c, "maxAge", "must be a number of seconds, 0 or more");
		return;
	}
	int r = registry_device_key(c->api->deps.registry, c->params[0], &q.device_key);
	if (r == 0)
		r = run_query(c, &q, note_latest, &l, NULL);
	if (!api_call_ok(c, r, NULL))
		return;
	if (!l.found)
		api_call_problem(c, API_PROBLEM_NOT_FOUND, "the device has no stored message");
	else if (max_age <= century && l.age_us > (int64_t)max_age * 1000000)
		api_call_problem(c, API_PROBLEM_TOO_OLD, NULL);
	else if (l.corrupt)
		api_call_err(c, ERR_CORRUPT);
	else
		api_call_text(c, 200, API_JSON_TYPE);
}
