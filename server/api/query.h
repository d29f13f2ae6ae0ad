/*
 * The query string, against params.def: every parameter known, given once, well-formed. Any thread.
 */
#ifndef HF_API_QUERY_H
#define HF_API_QUERY_H

#include "policy/policy.h"
#include "server/base/slice.h"

#define API_QUERY_MAX 12 /* most parameters that an operation takes */
#define API_QUERY_NAME_MAX 64

struct api_param {
	enum policy_op op;
	const char *name, *schema, *text;
};
/* params.def. */
const struct api_param *api_params(unsigned *ret_n);

struct api_query {
	unsigned n;
	struct {
		const char *name; /* of params.def */
		struct slice value;
	} items[API_QUERY_MAX];
	char *text; /* the decoded values */
};

/* What is wrong with a parameter. */
struct api_query_error {
	char name[API_QUERY_NAME_MAX + 1]; /* as sent, cut; for the caller to see */
	const char *why;
};

/* 0, with ret to be freed by api_query_done; ERR_INVALID with *ret_error; ERR_NOMEM. */
int api_query_read(enum policy_op op, struct slice query, struct api_query *ret,
        struct api_query_error *ret_error);
void api_query_done(struct api_query *q);
/* Whether the parameter was given. */
bool api_query_get(const struct api_query *q, const char *name, struct slice *ret);

/* Decimal digits alone, within [min, max]. 0 or ERR_INVALID. */
int api_parse_uint(struct slice s, uint64_t min, uint64_t max, uint64_t *ret);

#endif
