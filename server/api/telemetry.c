#include <inttypes.h>

#include "server/api/handlers.h"
#include "server/api/internal.h"
#include "server/api/item.h"
#include "server/api/window.h"
#include "server/base/clock.h"
#include "server/base/err.h"

/* /devices/{id}/telemetry: the stored messages of a device's present generation. */

#define POSITION_LEN API_WINDOW_POSITION_LEN /* received time and sequence number */
#define SCOPE_LEN 64

struct page {
	struct api_call *call;
	unsigned limit, n;
	bool more;
	int64_t last_us, last_seq;
};

/* Which list a cursor belongs to: this generation, this order. */
static struct slice scope_of(const struct telemetry_query *q, char to[static SCOPE_LEN])
{
	int n = snprintf(to, SCOPE_LEN, "telemetry %s %" PRIu64, q->ascending ? "asc" : "desc",
	        q->device_key);
	return slice_make(to, (size_t)n);
}

static bool read_after(struct api_call *c, struct telemetry_query *q)
{
	uint8_t position[API_CURSOR_POSITION_MAX];
	char scope[SCOPE_LEN];
	size_t len;
	if (!api_call_cursor(c, scope_of(q, scope), position, &len, &q->has_after))
		return false;
	if (len != POSITION_LEN)
		return !q->has_after;
	api_window_get(position, &q->after_us, &q->after_seq);
	return true;
}

static int add_item(const struct telemetry_item *it, void *arg)
{
	struct page *page = arg;
	struct buf *out = &page->call->out;
	if (page->n == page->limit || (page->n > 0 && buf_len(out) >= API_PAGE_BYTES)) {
		page->more = true;
		return ERR_TOO_BIG; /* enough: ends the query */
	}
	int r = page->n > 0 ? buf_append_byte(out, ',') : 0;
	if (r == 0)
		r = api_item_write(out, it, API_AGE_NONE);
	page->n++;
	page->last_us = it->received_us;
	page->last_seq = it->seq;
	return r;
}

static int run_query(struct api_call *c, const struct telemetry_query *q,
        int (*item)(const struct telemetry_item *it, void *arg), void *arg)
{
	const struct telemetry_query_store *store = &c->api->deps.telemetry;
	return store->query(store->ctx, q, item, arg);
}

void api_telemetry_query(struct api_call *c)
{
	struct telemetry_query q = {.from_us = INT64_MIN, .to_us = INT64_MAX};
	struct page page = {.call = c};
	if (!api_window_read(c, &q.from_us, &q.to_us, &q.ascending) ||
	        !api_call_limit(c, &page.limit))
		return;
	int r = registry_device_key(c->api->deps.registry, c->params[0], &q.device_key);
	if (!api_call_ok(c, r, NULL) || !read_after(c, &q))
		return;
	q.limit = page.limit + 1; /* one more tells whether there is a next page */
	r = buf_append_str(&c->out, "{\"items\":[");
	if (r == 0)
		r = run_query(c, &q, add_item, &page);
	if (r < 0 && !page.more) {
		api_call_err(c, r);
		return;
	}
	char scope[SCOPE_LEN];
	uint8_t position[POSITION_LEN];
	api_window_put(position, page.last_us, page.last_seq);
	const struct slice last = slice_make(position, sizeof(position));
	api_call_page_end(c, scope_of(&q, scope), page.more ? &last : NULL);
}

struct latest {
	struct api_call *call;
	bool found, corrupt;
	int64_t age_us;
};

static int note_latest(const struct telemetry_item *it, void *arg)
{
	struct latest *l = arg;
	l->found = true;
	l->corrupt = it->corrupt;
	l->age_us = clock_wall_us() - it->received_us;
	return it->corrupt ? 0 : api_item_write(&l->call->out, it, l->age_us);
}

void api_telemetry_latest(struct api_call *c)
{
	struct telemetry_query q = {.from_us = INT64_MIN, .to_us = INT64_MAX, .limit = 1};
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
		r = run_query(c, &q, note_latest, &l);
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
