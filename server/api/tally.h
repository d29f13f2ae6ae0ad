/*
 * What aggregation over one window adds up: the functions that are asked for, and the values so
 * far. One worker's.
 */
#ifndef HF_API_TALLY_H
#define HF_API_TALLY_H

#include "server/base/buf.h"
#include "server/base/slice.h"

#define API_TALLY_FUNCTIONS 16
/* Values of a window that percentiles keep: 32 MiB. */
#define API_TALLY_VALUES ((size_t)1 << 22)

struct api_tally_function {
	char name[16];
	unsigned kind;     /* private */
	double percentile; /* 0 to 100 */
};

struct api_tally {
	struct api_tally_function functions[API_TALLY_FUNCTIONS];
	unsigned n_functions;
	bool needs_value, keeps; /* any but count; percentiles */
	/* of the window */
	uint64_t count;
	double min, max, sum, lost /* of sum, by rounding */, first, last;
	double *values;
	size_t size;
};

/* "avg,p95". False: one of them is unknown, given twice, or they are too many. */
bool api_tally_read(struct slice text, struct api_tally *ret);
void api_tally_done(struct api_tally *t);
void api_tally_begin(struct api_tally *t);
/* 0; ERR_TOO_BIG: more values than percentiles can be made of; ERR_NOMEM. */
int api_tally_add(struct api_tally *t, double value);
/* Appends ,"name":value for each function, null where there is none. 0 or buf's error. */
int api_tally_write(struct api_tally *t, struct buf *out);

#endif
