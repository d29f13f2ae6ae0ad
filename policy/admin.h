/* What administration of policies, groups and grants shares. Workers. Private to the room. */
#ifndef HF_POLICY_ADMIN_H
#define HF_POLICY_ADMIN_H

#include "policy/policy_admin.h"
#include "policy/rules.h"
#include "server/base/doc_error.h"

/* 1 to 128 of A-Z a-z 0-9 _ + = , . @ - and no word that means something in a path. */
bool admin_name_valid(struct slice name);
/* As a C string for the store; false: there can be no such document. */
bool admin_name_text(struct slice name, char out[static DOCUMENT_NAME_MAX + 1]);
/* Reads the member "name" of w->doc, or takes that of the path (p not NULL). False: noted. */
bool admin_read_name(struct doc_check *c, const json_t *doc, struct slice path,
        char out[static DOCUMENT_NAME_MAX + 1]);
#define ADMIN_NAME_RULE                                                                        \
	"must be 1 to 128 of A-Z a-z 0-9 _ + = , . @ - and none of \".\", \"..\", \"check\", " \
	"\"simulate\""

int admin_get(struct policy *p, enum entity kind, struct slice name, struct document *ret,
        json_t **ret_body);
/* Makes it, or with replace replaces it under that etag. 0: d has etag and times. */
int admin_write(struct policy *p, struct document *d, const json_t *body, const char *replace);
int admin_remove(
        struct policy *p, enum entity kind, struct slice name, const struct policy_write *w);
/* What w demands of a document with that etag (NULL: there is none): 0 or ERR_STALE. */
int admin_condition(const struct policy_write *w, const char *etag);
int admin_list(struct policy *p, enum entity kind, const char *after, unsigned limit,
        json_t *(*show)(const struct document *d, const json_t *body), json_t **ret,
        char ret_next[static DOCUMENT_NAME_MAX + 1]);
/* Adds etag and times. */
int admin_stamp(json_t *doc, const struct document *d);
/* After a write: until every loop has it. */
void admin_settle(struct policy *p, enum entity kind);

#endif
