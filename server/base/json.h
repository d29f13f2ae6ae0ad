/*
 * jansson with limits: every document that comes from outside is read by json_read, which bounds
 * size, depth and number of values before the parser's recursion or allocation can be used against
 * the hub. Duplicate keys are refused. Documents may hold keys and secrets: whatever jansson frees
 * is wiped. Any thread.
 */
#ifndef HF_BASE_JSON_H
#define HF_BASE_JSON_H

#include <jansson.h>

#include "server/base/buf.h"
#include "server/base/slice.h"

struct json_limits {
	size_t bytes; /* of the text */
	unsigned depth;
	unsigned values; /* of all kinds */
};
extern const struct json_limits json_limits_body; /* 1 MiB, depth 32, 65,536 values */

#define JSON_ERROR_LEN 160
/* Parses one JSON value (RFC 8259). 0; ERR_TOO_BIG (bytes, depth or values over the limit) or
 * ERR_INVALID, with a text in error for the caller to see. *ret is the caller's. */
int json_read(struct slice text, const struct json_limits *limits, json_t **ret,
        char error[static JSON_ERROR_LEN]);
/* Whether the bytes are one valid JSON text of any kind (scalars too) in valid UTF-8, checked
 * without building it: no allocation, depth at most 256, else false. */
bool json_is_valid(struct slice text);
/* Appends s as a JSON string with quotes, escaped; invalid UTF-8 becomes U+FFFD. 0 or buf's error.
 */
int json_append_string(struct buf *out, struct slice s);
/* RFC 7396: applies patch to target (both borrowed), returns a new value or NULL (memory). */
json_t *json_merge_patch(const json_t *target, const json_t *patch);

static inline void json_cleanup(json_t **j)
{
	json_decref(*j);
}
#define _cleanup_json_ _cleanup_(json_cleanup)

#endif
