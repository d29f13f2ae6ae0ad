/*
 * One REST request on its way: made on the connection's loop, carried out by a worker, answered on
 * the loop. Owned by whoever has it at the time; nothing in it is shared.
 */
#ifndef HF_API_CALL_H
#define HF_API_CALL_H

#include "server/api/api.h"
#include "server/api/condition.h"
#include "server/api/cursor.h"
#include "server/api/problem.h"
#include "server/api/query.h"
#include "server/api/route.h"
#include "server/base/audit.h"

#define API_PARAM_MAX CLIENT_ID_MAX /* bytes of a path parameter, decoded */
#define API_LIMIT_DEFAULT 100
#define API_LIMIT_MAX 1000
/* A page ends early, with a cursor, once its text is this long. */
#define API_PAGE_BYTES ((size_t)8 << 20)
/* What one answer may ever be: a page and one more item of the largest kind, escaped. */
#define API_ANSWER_MAX ((size_t)256 << 20)

struct api_call {
	struct mail mail;      /* the way back to the loop */
	struct api_call *next; /* in the pool's queue */
	struct api *api;
	struct http_request *r;
	struct api_match match;

	/* Filled in on the way to the handler. */
	struct principal *who; /* NULL on routes for nobody */
	struct audit_actor actor;
	struct slice params[API_PARAMS_MAX];
	char param_text[API_PARAMS_MAX][API_PARAM_MAX + 1];
	struct api_query query;
	struct api_condition condition;
	json_t *body; /* NULL: none was sent (and none is needed) */

	/* Set by a handler whose work ends on the loop: called there in place of the answer, which
	 * it sends by api_call_answer. */
	void (*resume)(struct api_call *c);
	void *state; /* the handler's */

	/* The answer. */
	int status;
	const char *content_type; /* NULL: no body */
	struct buf out;
	struct buf extra; /* header lines */
};

/* NULL when out of memory. */
struct api_call *api_call_new(struct api *api, struct http_request *r, const struct api_match *m);
/* Frees a call that was not begun; the request stays the caller's. NULL is fine. */
void api_call_drop(struct api_call *c);
/* On a worker: from authentication to the answer. */
void api_call_run(struct api_call *c);
/* Any thread but a loop: sends the call with its answer to the loop, where it ends. */
void api_call_finish(struct api_call *c);
/* On the loop: sends the answer and ends the call. */
void api_call_answer(struct api_call *c);
/* Drops what was answered so far: the next answer is the only one. */
void api_call_clear(struct api_call *c);

/* ---- answers, for handlers; each call gets exactly one ---- */
void api_call_empty(struct api_call *c, int status);
void api_call_json(struct api_call *c, int status, const json_t *doc);
/* With the ETag header from doc's "etag". */
void api_call_document(struct api_call *c, int status, const json_t *doc);
/* Text that the handler has appended to c->out itself. */
void api_call_text(struct api_call *c, int status, const char *content_type);
void api_call_problem(struct api_call *c, enum api_problem kind, const char *detail);
/* The same with a list of errors. */
void api_call_problem_errors(
        struct api_call *c, enum api_problem kind, const char *detail, const json_t *errors);
/* A lower room's error, without anything internal; logged if it is ours (5xx). */
void api_call_err(struct api_call *c, int err);
/* A document with errors (pointer, detail), as the registry found them. */
void api_call_invalid(struct api_call *c, const json_t *errors);
/* 400 that names one place of the body, or one parameter. */
void api_call_bad_body(struct api_call *c, const char *pointer, const char *detail);
void api_call_bad_param(struct api_call *c, const char *name, const char *detail);
/* The result of a registry call: nothing to say (true), or the problem is answered (false). */
bool api_call_ok(struct api_call *c, int err, const json_t *errors);

/* ---- what handlers have in common ---- */
/* Appends a header line; the text is safe already. */
void api_call_header(struct api_call *c, const char *fmt, ...) HF_PRINTF(2, 3);
/* Location: base, '/', segment percent-encoded. */
void api_call_location(struct api_call *c, const char *base, const char *segment);
/* The same of base/owner/collection/segment. */
void api_call_location_below(struct api_call *c, const char *base, const char *owner,
        const char *collection, const char *segment);
/* The limit parameter; false: 400 is answered. */
bool api_call_limit(struct api_call *c, unsigned *ret);
/* The cursor parameter; false: 400 is answered. Without one *ret_len is 0 and *ret_given false. */
bool api_call_cursor(struct api_call *c, struct slice scope,
        uint8_t ret[static API_CURSOR_POSITION_MAX], size_t *ret_len, bool *ret_given);
/* Appends ],"nextCursor":…} to a page in c->out and answers it; position NULL: the last page. */
void api_call_page_end(struct api_call *c, struct slice scope, const struct slice *position);
/* A whole page: the items of an array, then as above. */
void api_call_page(
        struct api_call *c, const json_t *items, struct slice scope, const struct slice *position);
/* What the registry is to demand of what is there. get reads the document and is asked only where
 * the request lists several tags; false: answered. */
bool api_call_match(struct api_call *c,
        int (*get)(struct api_call *c, struct slice name, json_t **ret),
        struct registry_condition *ret);
/* GET: 304 if the document is the one that the caller has, else 200. */
void api_call_get(struct api_call *c, const json_t *doc);
/* A body that may be left out and has no members: false: 400 is answered. */
bool api_call_no_members(struct api_call *c);
/* 400 for a member of the body that the operation does not know. */
void api_call_unknown_member(struct api_call *c, const char *member);
/* {which} of the path: false: 404 is answered. */
bool api_call_which(struct api_call *c, unsigned param, bool *ret_primary);

#endif
