#include "server/net/http_response.h"

#include <stdio.h>
#include <time.h>

#include "server/base/buf.h"

#define HEAD_MAX 65536
#define DATE_LEN 32

static const char *reason_of(int status)
{
	static const struct {
		int status;
		const char *reason;
	} reasons[] = {
	        {200, "OK"},
	        {201, "Created"},
	        {202, "Accepted"},
	        {204, "No Content"},
	        {301, "Moved Permanently"},
	        {302, "Found"},
	        {303, "See Other"},
	        {304, "Not Modified"},
	        {307, "Temporary Redirect"},
	        {308, "Permanent Redirect"},
	        {400, "Bad Request"},
	        {401, "Unauthorized"},
	        {403, "Forbidden"},
	        {404, "Not Found"},
	        {405, "Method Not Allowed"},
	        {406, "Not Acceptable"},
	        {408, "Request Timeout"},
	        {409, "Conflict"},
	        {410, "Gone"},
	        {411, "Length Required"},
	        {412, "Precondition Failed"},
	        {413, "Content Too Large"},
	        {414, "URI Too Long"},
	        {415, "Unsupported Media Type"},
	        {422, "Unprocessable Content"},
	        {426, "Upgrade Required"},
	        {428, "Precondition Required"},
	        {429, "Too Many Requests"},
	        {431, "Request Header Fields Too Large"},
	        {500, "Internal Server Error"},
	        {501, "Not Implemented"},
	        {502, "Bad Gateway"},
	        {503, "Service Unavailable"},
	        {504, "Gateway Timeout"},
	};
	for (size_t i = 0; i < ARRAY_LEN(reasons); i++)
		if (reasons[i].status == status)
			return reasons[i].reason;
	return "";
}

/* IMF-fixdate (RFC 9110 section 5.6.7), made anew once a second. */
static const char *date_text(int64_t wall_us)
{
	static const char days[][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
	static const char months[][4] = {
	        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
	static _Thread_local char text[DATE_LEN];
	static _Thread_local time_t made = -1;
	time_t now = (time_t)(wall_us / 1000000);
	struct tm tm;
	if (now == made || !gmtime_r(&now, &tm))
		return text;
	made = now;
	snprintf(text, sizeof(text), "%s, %02u %s %04u %02u:%02u:%02u GMT", days[tm.tm_wday % 7],
	        (unsigned)tm.tm_mday % 100, months[tm.tm_mon % 12],
	        (unsigned)(tm.tm_year + 1900) % 10000, (unsigned)tm.tm_hour % 100,
	        (unsigned)tm.tm_min % 100, (unsigned)tm.tm_sec % 100);
	return text;
}

static int head_write(struct buf *out, const struct conn *c, const struct http_response *resp,
        enum http_persistence persistence)
{
	static const char *const persistence_lines[] = {
	        [HTTP_KEEP] = "",
	        [HTTP_KEEP_10] = "Connection: keep-alive\r\n",
	        [HTTP_CLOSE] = "Connection: close\r\n",
	};
	bool may_have_length = resp->status >= 200 && resp->status != 204 && resp->status != 304;
	bool has_cache_control = resp->extra && strcasestr(resp->extra, "cache-control:");
	int r = buf_printf(out, "HTTP/1.1 %d %s\r\nDate: %s\r\n", resp->status,
	        reason_of(resp->status), date_text(loop_wall_us(conn_loop(c))));
	if (r == 0 && resp->content_type)
		r = buf_printf(out, "Content-Type: %s\r\n", resp->content_type);
	if (r == 0 && may_have_length)
		r = buf_printf(out, "Content-Length: %zu\r\n",
		        resp->content_type ? resp->body.n : (size_t)0);
	if (r == 0)
		r = buf_printf(out, "X-Content-Type-Options: nosniff\r\n%s%s%s%s\r\n",
		        has_cache_control ? "" : "Cache-Control: no-store\r\n",
		        conn_is_tls(c) ? "Strict-Transport-Security: max-age=31536000\r\n" : "",
		        persistence_lines[persistence], resp->extra ? resp->extra : "");
	return r;
}

void http_response_send(struct conn *c, const struct http_response *resp,
        enum http_persistence persistence, bool head_only)
{
	_cleanup_(buf_free) struct buf head;
	buf_init(&head, HEAD_MAX);
	if (head_write(&head, c, resp, persistence) < 0) {
		conn_abort(c, END_INTERNAL);
		return;
	}
	struct slice bytes = buf_slice(&head);
	conn_send(c, bytes.p, bytes.n);
	if (resp->content_type && !head_only)
		conn_send(c, resp->body.p, resp->body.n);
}
