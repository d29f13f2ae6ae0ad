/*
 * What is wrong with a document: a JSON array of {"pointer", "detail"} (RFC 6901, RFC 9457), and
 * the pointer to where a check is just now. Any thread.
 */
#ifndef HF_BASE_DOC_ERROR_H
#define HF_BASE_DOC_ERROR_H

#include "server/base/cleanup.h"
#include "server/base/json.h"

#define DOC_ERRORS_MAX 32
#define DOC_POINTER_MAX 512

struct doc_check {
	json_t *errors; /* borrowed; may be NULL */
	bool failed;
	size_t len;
	char pointer[DOC_POINTER_MAX]; /* of the value that is being checked */
};

/* Goes into a member or an element; returns what doc_leave needs to come back. A pointer that grows
 * too long is cut. */
size_t doc_enter(struct doc_check *c, struct slice member);
size_t doc_enter_index(struct doc_check *c, size_t index);
void doc_leave(struct doc_check *c, size_t mark);

/* Notes an error at the pointer; the first DOC_ERRORS_MAX are reported. */
void doc_error(struct doc_check *c, const char *detail);
/* The same at a member of where the check is. */
void doc_member_error(struct doc_check *c, const char *member, const char *detail);

#endif
