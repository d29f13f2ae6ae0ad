#include "server/api/stream.h"

#include "server/api/internal.h"
#include "server/api/scope.h"
#include "server/base/clock.h"
#include "server/base/err.h"
#include "server/base/log.h"

#define ADMIT_MS 300
#define ROOM_MS 200
#define LINE_MAX ((size_t)32 << 20) /* the largest message, escaped */

bool api_stream_begin(
        struct api_stream *s, struct api_call *c, const char *content_type, const char *extra)
{
	*s = (struct api_stream){.call = c, .admitted_ms = clock_ms()};
	buf_init(&s->line, LINE_MAX);
	s->http = http_stream_begin(c->r,
	        &(struct http_response){
	                .status = 200, .content_type = content_type, .extra = extra});
	if (s->http)
		return true;
	api_call_err(c, ERR_NOMEM);
	api_call_finish(c);
	return false;
}

int api_stream_put(struct api_stream *s)
{
	int r = http_stream_write(s->http, buf_slice(&s->line));
	buf_truncate(&s->line, 0);
	return r;
}

int api_stream_room(struct api_stream *s)
{
	return http_stream_full(s->http) ? http_stream_wait(s->http, ROOM_MS) : 0;
}

int api_stream_check(struct api_stream *s)
{
	struct api_call *c = s->call;
	uint64_t now = clock_ms();
	if (http_stream_closed(s->http, 0))
		return ERR_CLOSED;
	if (atomic_load_explicit(&c->api->stopping, memory_order_relaxed))
		return ERR_UNAVAILABLE;
	if (now - s->admitted_ms < ADMIT_MS)
		return 0;
	s->admitted_ms = now;
	if (api_call_admit(c) && api_scope_allows(c))
		return 0;
	/* A store that is away for a moment takes nothing away. */
	return c->status >= 500 ? 0 : ERR_DENIED;
}

int api_stream_sleep(struct api_stream *s, unsigned ms)
{
	http_stream_flush(s->http);
	return http_stream_closed(s->http, ms) ? ERR_CLOSED : api_stream_check(s);
}

void api_stream_end(struct api_stream *s, bool whole)
{
	struct api_call *c = s->call;
	if (!whole)
		log_info("a stream ended early", F_STR("trace", c->r->trace_id),
		        F_STR("operation", policy_routes()[c->match.op].name));
	http_stream_end(s->http, whole);
	buf_wipe(&s->line);
	api_call_drop(c);
}
