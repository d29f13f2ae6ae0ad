/*
 * Answers that go on until there is nothing more, or without an end: made on a thread of streams
 * (api_call.stream), under the client's back-pressure. Whether the caller still may is asked twice
 * a second. One thread owns all of it.
 */
#ifndef HF_API_STREAM_H
#define HF_API_STREAM_H

#include "server/api/call.h"
#include "server/net/http_stream.h"

struct api_stream {
	struct api_call *call;
	struct http_stream *http;
	uint64_t admitted_ms; /* when it was asked */
	struct buf line;      /* for the maker: what is written next */
};

/* Begins the answer, with further header lines or NULL. False: answered with an error, the call has
 * ended. */
bool api_stream_begin(
        struct api_stream *s, struct api_call *c, const char *content_type, const char *extra);
/* Sends what is in line and empties it. 0; ERR_CLOSED; ERR_NOMEM. */
int api_stream_put(struct api_stream *s);
/* Waits for the client to take more, for some hundred ms at most. 0: go on; ERR_TIMEOUT: it has not
 * yet; ERR_CLOSED. */
int api_stream_room(struct api_stream *s);
/* Whether to go on: 0; ERR_CLOSED: the client is gone; ERR_UNAVAILABLE: the hub stops; what is
 * wrong with the credential (ERR_DENIED). To be asked at least every 500 ms. */
int api_stream_check(struct api_stream *s);
/* Sleeps, but learns at once that the client is gone. As api_stream_check. */
int api_stream_sleep(struct api_stream *s, unsigned ms);
/* Ends answer and call; whole: nothing is missing. */
void api_stream_end(struct api_stream *s, bool whole);

#endif
