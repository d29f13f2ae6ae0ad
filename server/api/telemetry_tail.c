#include "server/api/ask.h"
#include "server/api/handlers.h"
#include "server/api/internal.h"
#include "server/api/item.h"
#include "server/api/stream.h"
#include "server/api/window.h"
#include "server/base/clock.h"
#include "server/base/err.h"

/*
 * Messages as they are committed, as server-sent events (WHATWG HTML section 9.2). They are read
 * from the store behind the last one that was sent: so a client that is slow, away for a while or
 * on another hub misses none, nothing is kept for it, and an event's id is where to go on.
 */

#define LOOK_MS 100 /* between two looks */
#define SLICE_MS 300
#define FIRST_ROWS 64
#define HEARTBEAT_MS 15000
#define SPILL ((size_t)16 << 10)
/* Lanes commit side by side: of several devices, what was received this long ago is there in the
 * order of time. One device's messages are in order always. */
#define SETTLE_US 2000000

struct tail {
	struct api_ask ask;
	struct api_stream out;
	struct buf item;
	uint64_t spoke_ms;
};

static void release(void *state)
{
	struct tail *t = state;
	api_ask_done(&t->ask);
	buf_wipe(&t->item);
	free(t);
}

static int write_id(struct tail *t)
{
	const struct api_call *c = t->out.call;
	char scope[API_ASK_SCOPE_LEN], text[API_CURSOR_LEN + 1];
	uint8_t position[API_WINDOW_POSITION_LEN];
	api_window_put(position, t->ask.q.after_us, t->ask.q.after_seq);
	api_cursor_make(c->api->store, api_ask_scope(c, &t->ask, scope),
	        slice_make(position, sizeof(position)), text);
	return buf_printf(&t->out.line, "id: %s\n", text);
}

/* A line of data for each line of the text; a reader puts them together again. */
static int write_data(struct buf *out, struct slice text)
{
	int r = buf_append_str(out, "data: ");
	for (size_t i = 0; r == 0 && i < text.n;) {
		size_t n = 0;
		while (i + n < text.n && text.p[i + n] != '\n' && text.p[i + n] != '\r')
			n++;
		r = buf_append(out, text.p + i, n);
		i += n;
		if (r == 0 && i < text.n) {
			r = buf_append_str(out, "\ndata: ");
			i++;
		}
	}
	return r == 0 ? buf_append_str(out, "\n\n") : r;
}

static int write_event(struct tail *t, const struct telemetry_item *it)
{
	struct telemetry_item shown = *it;
	if (t->ask.q.scope == TELEMETRY_DEVICE)
		shown.device = (struct slice){NULL, 0};
	buf_truncate(&t->item, 0);
	int r = api_item_write(&t->item, &shown, API_AGE_NONE);
	if (r == 0)
		r = write_id(t);
	return r == 0 ? write_data(&t->out.line, buf_slice(&t->item)) : r;
}

static int add_item(const struct telemetry_item *it, void *arg)
{
	struct tail *t = arg;
	int r = api_ask_wants(&t->ask, it);
	if (r < 0)
		return r;
	t->ask.q.after_us = it->received_us;
	t->ask.q.after_seq = it->seq;
	if (r > 0)
		r = write_event(t, it);
	if (r < 0 || buf_len(&t->out.line) < SPILL)
		return r;
	r = api_stream_put(&t->out);
	if (r == 0)
		r = api_stream_room(&t->out);
	return r == ERR_TIMEOUT ? TELEMETRY_ENOUGH : r;
}

/* Past what was read without a message, but never to where one may still come. */
static void move(
        struct tail *t, const struct telemetry_query *q, const struct telemetry_reach *reach)
{
	int64_t us = reach->us, seq = reach->seq;
	if (reach->ended && q->scope != TELEMETRY_DEVICE) {
		us = q->to_us - 1;
		seq = INT64_MAX;
	}
	bool settled = us < clock_wall_us() - SETTLE_US;
	if ((reach->ended && q->scope == TELEMETRY_DEVICE) || !settled || us < t->ask.q.after_us)
		return;
	t->ask.q.after_us = us;
	t->ask.q.after_seq = seq;
}

/* Everything that is new. */
static int look(struct tail *t, bool *ret_all)
{
	const struct telemetry_query_store *store = &t->out.call->api->deps.telemetry;
	struct telemetry_query q = t->ask.q; /* the position moves while it is asked */
	struct telemetry_reach reach = {0};
	if (q.scope != TELEMETRY_DEVICE) {
		q.to_us = clock_wall_us() - SETTLE_US;
		*ret_all = q.to_us <= q.after_us;
		if (*ret_all)
			return 0;
	}
	q.from_us = q.after_us;
	int r = store->query(store->ctx, &q, add_item, t, &reach);
	if (r < 0)
		return r;
	move(t, &q, &reach);
	*ret_all = reach.ended;
	if (buf_len(&t->out.line) == 0)
		return 0;
	t->spoke_ms = clock_ms();
	return api_stream_put(&t->out);
}

static int say_hello(struct tail *t)
{
	int r = buf_append_str(&t->out.line, "retry: 1000\n");
	if (r == 0)
		r = write_id(t);
	if (r == 0)
		r = buf_append_str(&t->out.line, "\n");
	t->spoke_ms = clock_ms();
	return r == 0 ? api_stream_put(&t->out) : r;
}

/* So that balancers and clients see that the connection lives. */
static int beat(struct tail *t)
{
	if (clock_ms() - t->spoke_ms < HEARTBEAT_MS)
		return 0;
	int r = buf_append_str(&t->out.line, ":\n");
	if (r == 0)
		r = write_id(t);
	if (r == 0)
		r = buf_append_str(&t->out.line, "\n");
	t->spoke_ms = clock_ms();
	return r == 0 ? api_stream_put(&t->out) : r;
}

static int follow(struct tail *t)
{
	int r = say_hello(t);
	while (r == 0) {
		bool all = false;
		r = look(t, &all);
		/* The database is away for a moment: what comes meanwhile is read behind it. */
		if (r == ERR_UNAVAILABLE) {
			all = true;
			r = 0;
		}
		if (r == 0)
			r = beat(t);
		if (r == 0)
			r = api_stream_sleep(&t->out, all ? LOOK_MS : 0);
		while (r == 0 && (r = api_stream_room(&t->out)) == ERR_TIMEOUT)
			r = api_stream_check(&t->out);
	}
	return r;
}

static void make(struct api_call *c)
{
	struct tail *t = c->state;
	/* Balancers that gather answers do not gather this one. */
	if (!api_stream_begin(&t->out, c, "text/event-stream", "X-Accel-Buffering: no\r\n"))
		return;
	int r = follow(t);
	if (r != ERR_CLOSED) {
		buf_truncate(&t->out.line, 0);
		if (buf_printf(&t->out.line, "event: end\ndata: {\"reason\":\"%s\"}\n\n",
		            r == ERR_UNAVAILABLE      ? "stopping"
		                    : r == ERR_DENIED ? "denied"
		                                      : "error") == 0)
			(void)api_stream_put(&t->out);
	}
	api_stream_end(&t->out, r != ERR_CLOSED);
}

/* Where to go on: what the client's last event said, or the parameter, or now. */
static bool read_position(struct api_call *c, struct api_ask *a)
{
	uint8_t position[API_CURSOR_POSITION_MAX];
	char scope[API_ASK_SCOPE_LEN];
	size_t len;
	struct slice last = http_header_get(c->r, "Last-Event-ID", NULL);
	a->q.ascending = true;
	if (last.n == 0) {
		if (!api_ask_cursor(c, a))
			return false;
	} else if (api_cursor_read(
	                   c->api->store, api_ask_scope(c, a, scope), last, position, &len) < 0 ||
	        len != API_WINDOW_POSITION_LEN) {
		api_call_problem(c, API_PROBLEM_INVALID, "Last-Event-ID is not of this tail");
		return false;
	} else {
		api_window_get(position, &a->q.after_us, &a->q.after_seq);
	}
	if (last.n == 0 && !a->q.has_after) {
		a->q.after_us = clock_wall_us();
		a->q.after_seq = 0;
	}
	a->q.has_after = true;
	return true;
}

void api_telemetry_tail(struct api_call *c)
{
	struct tail *t = calloc(1, sizeof(*t));
	if (!t) {
		api_call_err(c, ERR_NOMEM);
		return;
	}
	c->state = t;
	c->release = release;
	buf_init(&t->item, (size_t)32 << 20);
	if (!api_ask_read(c, &t->ask) || !read_position(c, &t->ask))
		return;
	t->ask.q.budget_ms = SLICE_MS;
	t->ask.q.first = FIRST_ROWS;
	c->stream = make;
}
