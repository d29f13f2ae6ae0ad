/* The loop's half of a stream (http.c's). Private to server/net; on the request's loop. */
#ifndef HF_NET_HTTP_STREAM_LOOP_H
#define HF_NET_HTTP_STREAM_LOOP_H

#include "server/net/http_stream.h"

/* Something was begun, written or ended. http.c's. */
void http_stream_pump(struct http_request *r, struct http_stream *s);

/* The head that was asked for; its extra lines live as long as the stream. */
const struct http_response *http_stream_head(const struct http_stream *s);
/* What waits, all of it, valid until the next take; empty: nothing. *ret_ended: nothing comes
 * behind it, and *ret_whole says whether the body is whole then. */
struct slice http_stream_take(struct http_stream *s, bool *ret_ended, bool *ret_whole);
/* Nobody takes any more: the maker learns it. Whether the maker has ended already. */
bool http_stream_gone(struct http_stream *s);
/* Once the maker has ended. */
void http_stream_free(struct http_stream *s);

#endif
