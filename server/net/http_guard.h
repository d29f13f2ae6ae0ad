/*
 * The check of what arrives before http-parser sees it: bytes that two readers of HTTP could take
 * for different messages are refused (RFC 9112 sections 2.2, 5, 6.3, 7.1 and 11.2). Bytes in,
 * verdict out; no state but what the caller holds. Any thread. Private to server/net.
 */
#ifndef HF_NET_HTTP_GUARD_H
#define HF_NET_HTTP_GUARD_H

#include <sys/types.h>

#include "server/base/slice.h"

#define HTTP_MAX_TARGET 8192

/* Looks for the end of a head over several reads: zero it at the start of each. */
struct http_scan {
	size_t at, line; /* looked at so far; where the line began */
};
/* in: all bytes from the head's first on. The head's length with its empty line, 0: not there yet,
 * -1: a bare CR or LF or a control character. */
ssize_t http_scan_head(struct http_scan *scan, struct slice in);

/* What the head says about the message's framing. */
struct http_guard {
	struct slice method, target;
	bool http10, chunked, has_length, expect_continue;
	uint64_t content_length;
	unsigned n_headers;
	unsigned n_host; /* how many Host headers */
	const char *why; /* the detail of a refusal */
};
/* Checks a head that http_scan_head has found. 0, or the status to refuse it with. */
int http_guard_head(struct slice head, struct http_guard *ret);

/* Walks a chunked body: zero it at the start. */
struct http_chunks {
	uint64_t left;  /* of the chunk */
	uint64_t total; /* of all chunks announced so far */
	uint8_t state, digits;
};
/* Checks the framing of in. 1: the body ends behind *ret_used bytes, 0: it goes on, -1: refused. */
int http_guard_chunks(struct http_chunks *chunks, struct slice in, size_t *ret_used);

#endif
