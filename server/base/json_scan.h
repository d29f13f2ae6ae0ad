/* A scan over JSON text (RFC 8259) that builds nothing and does not recurse. Private to json.c. */
#ifndef HF_BASE_JSON_SCAN_H
#define HF_BASE_JSON_SCAN_H

#include "server/base/slice.h"

#define JSON_SCAN_DEPTH_MAX 256

enum json_scan_result { JSON_SCAN_OK, JSON_SCAN_SYNTAX, JSON_SCAN_DEPTH, JSON_SCAN_VALUES };

/* Whether text is one JSON value in valid UTF-8 with at most that many levels of arrays and objects
 * (JSON_SCAN_DEPTH_MAX at most) and values of all kinds. ret_at: where it stopped. */
enum json_scan_result json_scan(struct slice text, unsigned depth, unsigned values, size_t *ret_at);

#endif
