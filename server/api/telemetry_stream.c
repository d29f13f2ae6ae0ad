#include "server/api/ask.h"
#include "server/api/handlers.h"
#include "server/api/internal.h"
#include "server/api/item.h"
#include "server/api/item_csv.h"
#include "server/api/stream.h"
#include "server/base/err.h"

/* All stored messages that are asked for, as lines: JSON (NDJSON) or CSV. */

#define SLICE_MS 300 /* of one query; what is between two of them is asked that often */
#define SLICE_ROWS 16384
#define SPILL ((size_t)16 << 10) /* lines go to the connection in pieces of this size */

static const char ndjson_type[] = "application/x-ndjson";
static const char csv_type[] = "text/csv; charset=utf-8; header=present";

struct reading {
	struct api_ask ask;
	struct api_stream out;
	bool csv;
	int (*write)(struct buf *out, const struct telemetry_item *it);
};

static void release(void *state)
{
	struct reading *rd = state;
	api_ask_done(&rd->ask);
	free(rd);
}

static int write_json(struct buf *out, const struct telemetry_item *it)
{
	size_t before = buf_len(out);
	int r = api_item_write(out, it, API_AGE_NONE);
	if (r < 0)
		return r;
	/* A line each: a line's end in JSON is nothing but white space between its words. */
	struct slice item = slice_from(buf_slice(out), before);
	for (uint8_t *p = out->data + out->end - item.n; item.n > 0; p++, item.n--)
		if (*p == '\n' || *p == '\r')
			*p = ' ';
	return buf_append_byte(out, '\n');
}

static int add_item(const struct telemetry_item *it, void *arg)
{
	struct reading *rd = arg;
	int r = api_ask_wants(&rd->ask, it);
	if (r <= 0)
		return r;
	if (rd->ask.q.scope == TELEMETRY_DEVICE) {
		struct telemetry_item shown = *it;
		shown.device = (struct slice){NULL, 0};
		r = rd->write(&rd->out.line, &shown);
	} else {
		r = rd->write(&rd->out.line, it);
	}
	if (r < 0 || buf_len(&rd->out.line) < SPILL)
		return r;
	r = api_stream_put(&rd->out);
	if (r == 0)
		r = api_stream_room(&rd->out);
	/* No connection to the database waits for a client. */
	return r == ERR_TIMEOUT ? TELEMETRY_ENOUGH : r;
}

/* Until the client has room. */
static int wait_for_room(struct reading *rd)
{
	int r;
	while ((r = api_stream_room(&rd->out)) == ERR_TIMEOUT) {
		r = api_stream_check(&rd->out);
		if (r < 0)
			break;
	}
	return r;
}

static int read_all(struct reading *rd)
{
	const struct telemetry_query_store *store = &rd->out.call->api->deps.telemetry;
	struct telemetry_query *q = &rd->ask.q;
	struct telemetry_reach reach = {0};
	q->budget_ms = SLICE_MS;
	q->first = SLICE_ROWS;
	for (;;) {
		int r = store->query(store->ctx, q, add_item, rd, &reach);
		if (r == 0)
			r = api_stream_put(&rd->out);
		if (r == 0 && reach.ended)
			return 0;
		if (r == 0)
			r = wait_for_room(rd);
		if (r == 0)
			r = api_stream_check(&rd->out);
		if (r < 0)
			return r;
		q->has_after = true;
		q->after_us = reach.us;
		q->after_seq = reach.seq;
	}
}

/* Why the rest is missing, where a line can say it. */
static void say_why(struct reading *rd, int err)
{
	struct buf *line = &rd->out.line;
	enum api_problem kind = err == ERR_DENIED ? API_PROBLEM_UNAUTHENTICATED
	                                          : api_problem_of_err(err);
	if (rd->csv || err == ERR_CLOSED || buf_append_str(line, "{\"problem\":") < 0)
		return;
	if (api_problem_write(
	            line, kind, "the stream is not whole", rd->out.call->r->trace_id, NULL) == 0 &&
	        buf_append_str(line, "}\n") == 0)
		(void)api_stream_put(&rd->out);
}

static void make(struct api_call *c)
{
	struct reading *rd = c->state;
	const char *vary = "Vary: Accept\r\n";
	if (!api_stream_begin(&rd->out, c, rd->csv ? csv_type : ndjson_type, vary))
		return;
	int r = rd->csv ? api_item_csv_head(&rd->out.line) : 0;
	if (r == 0)
		r = read_all(rd);
	if (r < 0)
		say_why(rd, r);
	api_stream_end(&rd->out, r == 0);
}

/* By the parameter, else by what is accepted first. */
static bool read_format(struct api_call *c, bool *ret_csv)
{
	struct slice format;
	if (!api_query_get(&c->query, "format", &format)) {
		struct slice accept = http_header_get(c->r, "Accept", NULL);
		*ret_csv = slice_has_prefix(accept, SLICE_LIT("text/csv"));
		return true;
	}
	*ret_csv = slice_eq_str(format, "csv");
	if (*ret_csv || slice_eq_str(format, "ndjson"))
		return true;
	api_call_bad_param(c, "format", "must be ndjson or csv");
	return false;
}

void api_telemetry_stream(struct api_call *c)
{
	struct reading *rd = calloc(1, sizeof(*rd));
	struct slice order;
	if (!rd) {
		api_call_err(c, ERR_NOMEM);
		return;
	}
	c->state = rd;
	c->release = release;
	if (!api_ask_read(c, &rd->ask) || !read_format(c, &rd->csv))
		return;
	/* As they came, unless it is said otherwise. */
	if (!api_query_get(&c->query, "order", &order))
		rd->ask.q.ascending = true;
	if (!api_ask_cursor(c, &rd->ask))
		return;
	rd->write = rd->csv ? api_item_csv : write_json;
	c->stream = make;
}
