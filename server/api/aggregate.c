#include <inttypes.h>

#include "server/api/ask.h"
#include "server/api/handlers.h"
#include "server/api/internal.h"
#include "server/api/tally.h"
#include "server/api/window.h"
#include "server/base/clock.h"
#include "server/base/err.h"

/* /telemetry/aggregate: functions over a number in the payloads, by windows of time; and what is
 * known of a device's messages without opening them, by day. */

/* One request looks this long, then it ends with a cursor. */
#define SCAN_MS 15000
#define SECOND_US 1000000LL

struct aggregate {
	struct api_call *call;
	struct api_ask ask;
	struct api_tally tally;
	struct where *path; /* NULL: messages are counted */
	int64_t window_us;  /* 0: one over all */
	unsigned limit, n;
	bool open, full;
	int64_t start_us; /* of the open window */
	uint64_t messages, corrupt;
};

static void aggregate_done(struct aggregate *a)
{
	api_ask_done(&a->ask);
	api_tally_done(&a->tally);
	a->path = where_free(a->path);
}

/* ---- windows ---- */

static int64_t window_start(const struct aggregate *a, int64_t us)
{
	int64_t behind = us % a->window_us;
	return us - (behind < 0 ? behind + a->window_us : behind);
}

static int write_time(struct buf *out, const char *name, int64_t us)
{
	char text[CLOCK_RFC3339_LEN];
	if (us == INT64_MIN || us == INT64_MAX)
		return buf_printf(out, "\"%s\":null", name);
	return buf_printf(out, "\"%s\":\"%s\"", name, clock_rfc3339(us, text));
}

static int close_window(struct aggregate *a)
{
	struct buf *out = &a->call->out;
	int64_t start = a->window_us ? a->start_us : a->ask.q.from_us;
	int64_t end = a->window_us ? a->start_us + a->window_us : a->ask.q.to_us;
	int r = buf_append_str(out, a->n++ > 0 ? ",{" : "{");
	if (r == 0)
		r = write_time(out, "start", start);
	if (r == 0)
		r = buf_append_byte(out, ',');
	if (r == 0)
		r = write_time(out, "end", end);
	if (r == 0)
		r = buf_printf(out,
		        ",\"messages\":%" PRIu64 ",\"skipped\":%" PRIu64 ",\"corrupt\":%" PRIu64,
		        a->messages, a->messages - a->tally.count - a->corrupt, a->corrupt);
	if (r == 0)
		r = api_tally_write(&a->tally, out);
	a->open = false;
	return r < 0 ? r : buf_append_byte(out, '}');
}

static int open_window(struct aggregate *a)
{
	if (a->n == a->limit) {
		a->full = true;
		return TELEMETRY_ENOUGH;
	}
	a->open = true;
	a->messages = a->corrupt = 0;
	api_tally_begin(&a->tally);
	return 0;
}

static int place(struct aggregate *a, int64_t us)
{
	int64_t start = a->window_us ? window_start(a, us) : 0;
	if (a->open && a->start_us == start)
		return 0;
	int r = a->open ? close_window(a) : 0;
	a->start_us = start;
	return r < 0 ? r : open_window(a);
}

static int take(const struct telemetry_item *it, void *arg)
{
	struct aggregate *a = arg;
	double value = 1;
	int r = api_ask_wants(&a->ask, it);
	if (r > 0)
		r = place(a, it->received_us);
	else
		return r;
	if (r != 0)
		return r;
	a->messages++;
	if (it->corrupt) {
		a->corrupt++;
		return 0;
	}
	if (a->path && !where_number_text(a->path, it->payload, &value))
		return 0;
	return api_tally_add(&a->tally, value);
}

/* ---- parameters ---- */

static bool read_window(struct api_call *c, int64_t *ret)
{
	static const struct {
		char unit;
		int64_t seconds;
	} units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}};
	struct slice text;
	uint64_t n;
	if (!api_query_get(&c->query, "window", &text))
		return true;
	for (size_t i = 0; text.n > 1 && i < ARRAY_LEN(units); i++)
		if (text.p[text.n - 1] == units[i].unit &&
		        api_parse_uint(slice_make(text.p, text.n - 1), 1,
		                (uint64_t)(3660 * 86400 / units[i].seconds), &n) == 0) {
			*ret = (int64_t)n * units[i].seconds * SECOND_US;
			return true;
		}
	api_call_bad_param(c, "window", "must be a length as 30s, 5m, 1h or 7d, ten years at most");
	return false;
}

static bool read_functions(struct api_call *c, struct aggregate *a)
{
	struct slice text = SLICE_LIT("count"), path;
	(void)api_query_get(&c->query, "functions", &text);
	if (!api_tally_read(text, &a->tally)) {
		api_call_bad_param(c, "functions",
		        "must be min, max, avg, sum, count, first, last, p0 to p100, with commas, "
		        "each once, 16 at most");
		return false;
	}
	if (api_query_get(&c->query, "path", &path))
		return api_ask_expression(c, "path", path, &a->path);
	if (!a->tally.needs_value)
		return true;
	api_call_bad_param(c, "path", "is missing: the place of the number, as $.temperature");
	return false;
}

static bool read_all(struct api_call *c, struct aggregate *a)
{
	if (!read_window(c, &a->window_us) || !read_functions(c, a) || !api_ask_read(c, &a->ask))
		return false;
	a->ask.q.ascending = true;
	a->ask.q.budget_ms = SCAN_MS;
	return api_call_limit(c, &a->limit) && api_ask_cursor(c, &a->ask);
}

/* ---- the answer ---- */

/* Where the next request has to begin: before the window that is not complete. */
static void end_part(struct aggregate *a, const struct telemetry_reach *reach)
{
	char scope[API_ASK_SCOPE_LEN];
	uint8_t position[API_WINDOW_POSITION_LEN];
	const struct slice last = slice_make(position, sizeof(position));
	if (a->open && a->n == 0) {
		api_call_problem(a->call, API_PROBLEM_TOO_MUCH,
		        "a window holds more messages than one request can look at: ask for a "
		        "shorter one");
		return;
	}
	if (a->open || a->full)
		api_window_put(position, a->start_us - 1, INT64_MAX);
	else
		api_window_put(position, reach->us, reach->seq);
	api_call_page_end(a->call, api_ask_scope(a->call, &a->ask, scope), &last);
}

static void answer(struct aggregate *a, int r, const struct telemetry_reach *reach)
{
	char scope[API_ASK_SCOPE_LEN];
	if (r == ERR_TOO_BIG && a->tally.keeps && a->tally.count == API_TALLY_VALUES) {
		api_call_problem(a->call, API_PROBLEM_TOO_MUCH,
		        "a window holds more than 4,194,304 values, too many for percentiles");
		return;
	}
	if (r == 0 && !a->full && !reach->ended) {
		end_part(a, reach);
		return;
	}
	if (r == 0 && a->open)
		r = close_window(a);
	if (r < 0)
		api_call_err(a->call, r);
	else if (a->full)
		end_part(a, reach);
	else
		api_call_page_end(a->call, api_ask_scope(a->call, &a->ask, scope), NULL);
}

void api_telemetry_aggregate(struct api_call *c)
{
	struct aggregate _cleanup_(aggregate_done) a = {.call = c};
	const struct telemetry_query_store *store = &c->api->deps.telemetry;
	struct telemetry_reach reach = {.ended = true};
	if (!read_all(c, &a))
		return;
	int r = buf_append_str(&c->out, "{\"items\":[");
	if (r == 0)
		r = store->query(store->ctx, &a.ask.q, take, &a, &reach);
	answer(&a, r, &reach);
}

/* ---- days ---- */

struct days {
	struct buf *out;
	uint64_t count, bytes;
	int64_t first_us, last_us;
};

static int add_day(const struct telemetry_day *d, void *arg)
{
	struct days *days = arg;
	char text[CLOCK_RFC3339_LEN];
	if (days->count == 0)
		days->last_us = d->last_us;
	clock_rfc3339(d->day * 86400 * SECOND_US, text);
	int r = buf_printf(days->out,
	        "%s{\"day\":\"%.10s\",\"messages\":%" PRIu64 ",\"bytes\":%" PRIu64 "}",
	        days->count > 0 ? "," : "", text, d->count, d->bytes);
	days->count += d->count;
	days->bytes += d->bytes;
	days->first_us = d->first_us;
	return r;
}

void api_telemetry_stats(struct api_call *c)
{
	const struct telemetry_query_store *store = &c->api->deps.telemetry;
	struct days days = {.out = &c->out, .first_us = INT64_MIN, .last_us = INT64_MIN};
	int64_t from = INT64_MIN, to = INT64_MAX;
	bool ascending;
	uint64_t device_key;
	if (!api_window_read(c, &from, &to, &ascending))
		return;
	int r = registry_device_key(c->api->deps.registry, c->params[0], &device_key);
	if (r == 0)
		r = buf_append_str(&c->out, "{\"days\":[");
	if (r == 0)
		r = store->days(store->ctx, device_key, from, to, add_day, &days);
	if (!api_call_ok(c, r, NULL))
		return;
	r = buf_printf(&c->out, "],\"messages\":%" PRIu64 ",\"bytes\":%" PRIu64 ",", days.count,
	        days.bytes);
	if (r == 0)
		r = write_time(&c->out, "first", days.first_us);
	if (r == 0)
		r = buf_append_byte(&c->out, ',');
	if (r == 0)
		r = write_time(&c->out, "last", days.last_us);
	if (r == 0)
		r = buf_append_byte(&c->out, '}');
	if (r < 0)
		api_call_err(c, r);
	else
		api_call_text(c, 200, API_JSON_TYPE);
}
