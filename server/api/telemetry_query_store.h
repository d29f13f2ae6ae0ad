/*
 * The port through which the API reads stored telemetry; storage implements it. On threads that may
 * block (API workers, streams).
 */
#ifndef HF_API_TELEMETRY_QUERY_STORE_H
#define HF_API_TELEMETRY_QUERY_STORE_H

#include "server/base/slice.h"

struct telemetry_item {
	uint64_t device_key;
	struct slice device; /* its id; empty: that generation is gone */
	int64_t seq;
	int64_t received_us;
	uint8_t qos;
	bool corrupt; /* the row was altered, moved or swapped: nothing below is set */
	struct slice topic, module, props /* encoded MQTT 5 properties */, payload;
};

enum telemetry_scope {
	TELEMETRY_DEVICE,
	TELEMETRY_GROUP, /* a list of devices */
	TELEMETRY_HUB,
};
/* Most devices of a list. */
#define TELEMETRY_GROUP_MAX 100000

/* How far a query came. */
struct telemetry_reach {
	bool ended;  /* at the end of its time: there is nothing more */
	int64_t us;  /* else: where to go on behind, as after_us and after_seq; it may be a place */
	int64_t seq; /* where no message is */
	uint64_t rows; /* that were read */
};

/*
 * Messages of devices in order of (received time, number). Messages whose data key was destroyed
 * are left out. Nothing of what is in a message is asked here: that is for whoever is called with
 * it.
 */
struct telemetry_query {
	enum telemetry_scope scope;
	uint64_t device_key;     /* of DEVICE */
	const uint64_t *devices; /* of GROUP, n_devices of them; none: an empty answer */
	unsigned n_devices;
	int64_t from_us, to_us; /* [from, to); INT64_MIN / INT64_MAX: open */
	bool ascending;
	/* The most that is read, 0: no bound. */
	uint64_t limit;
	/* How many are wanted at first, so that no more are fetched for somebody who takes few; 0:
	 * many. */
	unsigned first;
	/* How long it may take, in ms, 0: no bound. It then ends with what it has, no error. */
	unsigned budget_ms;
	/* Go on behind this item, in the direction of the query. */
	bool has_after;
	int64_t after_us, after_seq;
};

/* What item may return beside 0 and errors: it has enough; this message was taken. */
#define TELEMETRY_ENOUGH 1

/* What is known of a device without opening a message: by day (UTC), newest first. */
struct telemetry_day {
	int64_t day; /* since 1970 */
	uint64_t count, bytes /* sealed */;
	int64_t first_us, last_us;
};

struct telemetry_query_store {
	void *ctx;
	/* Calls item for decrypted messages in order; its slices are valid during the call; it
	 * returns 0, TELEMETRY_ENOUGH, or an error that ends the query. *ret_reach (may be NULL) is
	 * set unless there is an error. 0; ERR_UNAVAILABLE; ERR_INTERNAL; ERR_NOMEM; item's. */
	int (*query)(void *ctx, const struct telemetry_query *q,
	        int (*item)(const struct telemetry_item *it, void *arg), void *arg,
	        struct telemetry_reach *ret_reach);
	/* Counts a device's messages in [from, to), day by day; day returns 0 or an error. The
	 * same errors. */
	int (*days)(void *ctx, uint64_t device_key, int64_t from_us, int64_t to_us,
	        int (*day)(const struct telemetry_day *d, void *arg), void *arg);
	/* The devices that somebody put into the group, malloc'ed. ERR_TOO_BIG: more than
	 * TELEMETRY_GROUP_MAX; the same errors. */
	int (*members)(void *ctx, const char *group, uint64_t **ret, unsigned *ret_n);
};

#endif
