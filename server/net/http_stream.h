/*
 * An answer whose body comes piece by piece and has no bound (RFC 9112 section 7.1: chunked; to a
 * client of HTTP/1.0 up to the end of the connection). One thread that may block makes the pieces;
 * the connection's loop sends them. What the client has not taken is bounded: the maker waits.
 */
#ifndef HF_NET_HTTP_STREAM_H
#define HF_NET_HTTP_STREAM_H

#include "server/net/http.h"

struct http_stream;

/* Pieces that wait for the loop; past this the stream is full. */
#define HTTP_STREAM_BYTES ((size_t)256 << 10)

/*
 * Answers r with a stream: resp's status, type (static text), extra lines (copied); its body is not
 * looked at. The request stays valid, for reading, until http_stream_end. NULL: out of memory, r is
 * not answered. Any thread but a loop, which becomes the maker.
 */
struct http_stream *http_stream_begin(struct http_request *r, const struct http_response *resp);
/* The maker: appends to what waits (copied), also where the stream is full, so that nothing is cut
 * in the middle: ask http_stream_full between pieces. It leaves by http_stream_flush, or by itself
 * once there is enough of it. 0; ERR_CLOSED: the client is gone, or wants no body (HEAD);
 * ERR_NOMEM. */
int http_stream_write(struct http_stream *s, struct slice piece);
/* The maker: has the loop send what was written. */
void http_stream_flush(struct http_stream *s);
/* The maker: whether it should wait before it writes more. */
bool http_stream_full(struct http_stream *s);
/* The maker: waits until there is room, the client is gone, or the time has passed. 0: there is
 * room; ERR_CLOSED; ERR_TIMEOUT. */
int http_stream_wait(struct http_stream *s, unsigned ms);
/* The maker: whether the client is gone (waits for ms at most until it is). */
bool http_stream_closed(struct http_stream *s, unsigned ms);
/* The maker: the body is whole, or it is not and the client is to see that (the connection then
 * ends without the last chunk). Neither s nor the request may be touched after it. */
void http_stream_end(struct http_stream *s, bool whole);

#endif
