/*
 * The port through which the API reads stored telemetry; storage implements it. On threads that may
 * block (API workers).
 */
#ifndef HF_API_TELEMETRY_QUERY_STORE_H
#define HF_API_TELEMETRY_QUERY_STORE_H

#include "server/base/slice.h"

struct telemetry_item {
	int64_t seq;
	int64_t received_us;
	uint8_t qos;
	bool corrupt; /* the row was altered, moved or swapped: nothing below is set */
	struct slice topic, module, props /* encoded MQTT 5 properties */, payload;
};

struct telemetry_query {
	uint64_t device_key;
	int64_t from_us, to_us; /* [from, to); INT64_MIN / INT64_MAX: open */
	bool ascending;
	unsigned limit;
	/* Go on behind this item, in the direction of the query. */
	bool has_after;
	int64_t after_us, after_seq;
};

struct telemetry_query_store {
	void *ctx;
	/* Calls item for up to limit decrypted messages in order (received time, then seq); its
	 * slices are valid during the call; it returns 0, or an error that ends the query. 0;
	 * ERR_UNAVAILABLE; ERR_INTERNAL. */
	int (*query)(void *ctx, const struct telemetry_query *q,
	        int (*item)(const struct telemetry_item *it, void *arg), void *arg);
};

#endif
