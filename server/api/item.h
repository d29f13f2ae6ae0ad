/* A stored message as the REST API shows it (CONTRACT section 4). Any thread. */
#ifndef HF_API_ITEM_H
#define HF_API_ITEM_H

#include "server/api/telemetry_query_store.h"
#include "server/base/buf.h"

#define API_AGE_NONE INT64_MIN

/* Appends the item as a JSON object; age_us: for ageSeconds, or API_AGE_NONE. The payload goes in
 * as it is where it is JSON, never re-encoded. 0; ERR_NOMEM; buf's error, with a part appended. */
int api_item_write(struct buf *out, const struct telemetry_item *it, int64_t age_us);

#endif
