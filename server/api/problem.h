/* Errors as RFC 9457 documents: one table of stable types, nothing internal in them. Any thread. */
#ifndef HF_API_PROBLEM_H
#define HF_API_PROBLEM_H

#include "server/base/buf.h"
#include "server/base/json.h"

#define API_PROBLEM_TYPE "application/problem+json"

enum api_problem {
#define PROBLEM(id, status, slug, title) API_PROBLEM_##id,
#include "server/api/problem.def"
#undef PROBLEM
	API_PROBLEM_COUNT
};

int api_problem_status(enum api_problem kind);
/* What an error code of a lower room is to the caller. */
enum api_problem api_problem_of_err(int err);
enum api_problem api_problem_of_status(int status);

/* Appends the document. detail and errors (an array) may be NULL; both are the caller's own words.
 * 0 or buf's error. */
int api_problem_write(struct buf *out, enum api_problem kind, const char *detail,
        const char *trace_id, const json_t *errors);
/* The same by status, for the layers that know no more (http, ingest). */
void api_problem_append(struct buf *out, int status, const char *detail, const char *trace_id);

/* Appends a JSON value as compact text. 0 or buf's error. */
int api_json_append(struct buf *out, const json_t *value);

#endif
