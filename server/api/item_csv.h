/* A stored message as a line of CSV (RFC 4180). Any thread. */
#ifndef HF_API_ITEM_CSV_H
#define HF_API_ITEM_CSV_H

#include "server/api/item.h"

/* Appends the names of the columns. */
int api_item_csv_head(struct buf *out);
/* Appends the item as a line. Properties are a JSON object; a payload that is not JSON stands in
 * payloadBase64. 0; ERR_NOMEM; buf's error, with a part appended. */
int api_item_csv(struct buf *out, const struct telemetry_item *it);

#endif
