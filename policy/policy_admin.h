/*
 * Policy's third door: policies, groups, grants and what is attached to whom, as administrators see
 * them. All of it blocks (API workers). What is written is in force on every loop of this process
 * when a call returns, if that takes no longer than a moment.
 */
#ifndef HF_POLICY_POLICY_ADMIN_H
#define HF_POLICY_POLICY_ADMIN_H

#include "policy/policy.h"
#include "server/base/document_store.h"
#include "server/base/json.h"

struct policy_write {
	const json_t *doc;
	const char *if_match; /* NULL: anything; "*": what is there; else this etag */
	bool if_none_match_any;
	bool force;     /* also what is most likely a mistake */
	json_t *errors; /* an array that gets what is wrong with doc (server/base/doc_error.h) */
	/* An array that gets what is most likely a mistake: with ERR_DENIED those are why. */
	json_t *objections;
};

/*
 * Errors: ERR_INVALID (errors), ERR_DENIED (objections), ERR_EXISTS, ERR_STALE, ERR_NOT_FOUND,
 * ERR_CONFLICT (still attached; the version is the default), ERR_QUOTA (as many as there may be),
 * ERR_UNAVAILABLE, ERR_NOMEM. *ret is the caller's, with "etag" where it has one. Lists are in
 * order of name; ret_next: the last one where more may follow, else "".
 */
int policy_create(struct policy *p, struct policy_write *w, json_t **ret);
int policy_get(struct policy *p, struct slice name, json_t **ret);
int policy_list(struct policy *p, const char *after, unsigned limit, json_t **ret,
        char ret_next[static DOCUMENT_NAME_MAX + 1]);
/* Makes it, or makes doc's document its newest version and default; of too many versions the oldest
 * goes that is not the default. */
int policy_put(struct policy *p, struct slice name, struct policy_write *w, json_t **ret,
        bool *ret_created);
/* {"version": n}: makes that its default. */
int policy_patch(struct policy *p, struct slice name, struct policy_write *w, json_t **ret);
int policy_delete(struct policy *p, struct slice name, struct policy_write *w);
/* {"document", "setAsDefault"}. */
int policy_version_create(
        struct policy *p, struct slice name, struct policy_write *w, json_t **ret);
int policy_version_get(struct policy *p, struct slice name, unsigned version, json_t **ret);
int policy_version_delete(struct policy *p, struct slice name, unsigned version);

int policy_group_create(struct policy *p, struct policy_write *w, json_t **ret);
int policy_group_get(struct policy *p, struct slice name, json_t **ret);
int policy_group_list(struct policy *p, const char *after, unsigned limit, json_t **ret,
        char ret_next[static DOCUMENT_NAME_MAX + 1]);
int policy_group_put(struct policy *p, struct slice name, struct policy_write *w, json_t **ret,
        bool *ret_created);
int policy_group_delete(struct policy *p, struct slice name, struct policy_write *w);

/* ---- what hangs on devices, certificates and groups ---- */

/* letter: 'p' or 'g', value its name. Of devices and certificates the registry has to be told by
 * the caller. ERR_NOT_FOUND: no such subject, policy or group; ERR_CONFLICT: a dynamic group takes
 * no members by hand. Adding what is there is no error. */
int policy_attach(
        struct policy *p, enum entity kind, const char *subject, char letter, struct slice value);
int policy_detach(
        struct policy *p, enum entity kind, const char *subject, char letter, struct slice value);
/* *ret: array of {"kind", "id" or "name", "value", "createdTime"} in order of their making;
 * q->after is moved on; *ret_more: others follow. */
int policy_links(struct policy *p, struct link_query *q, json_t **ret, bool *ret_more);

/* {"id", "deviceId" or "group", "topicFilter", "access"}. */
int policy_grant_create(struct policy *p, struct policy_write *w, json_t **ret);
int policy_grant_get(struct policy *p, uint64_t id, json_t **ret);
int policy_grant_delete(struct policy *p, uint64_t id, json_t **ret);
int policy_grant_list(struct policy *p, struct link_query *q, json_t **ret, bool *ret_more);

/* ---- trying out ---- */

struct policy_question {
	const struct principal *who;
	const char *action; /* "Connect", "Publish", "RetainPublish", "Subscribe", "Receive" */
	struct slice text;  /* topic or filter */
	const struct access *from;      /* of Receive: the sender's */
	const struct auth_request *req; /* of Connect */
};
/* {"decision": "allow" | "deny", "by": …} and what made it. ERR_INVALID: no such action. */
int policy_simulate(struct policy *p, const struct policy_question *q, json_t **ret);
/* As policy_access_make, with the documents of source alone in place of all its policies. */
struct access *policy_access_try(struct policy *p, const struct access_source *source);
/* The same, with document (of a policy that is not stored yet, or in place of the one of that name,
 * also where a group has it) besides what it has. */
struct access *policy_access_with(struct policy *p, const struct access_source *source,
        const char *name, const json_t *document);
/* What somebody gains and loses between two principals of his: asks both about examples of what
 * their documents are about (200 at most), and adds {"action", "topic"} to gains and losses. */
void policy_compare(const struct principal *before, const struct principal *after, json_t *gains,
        json_t *losses);
/* Reads a document and adds what is most likely a mistake. ERR_INVALID: errors says why not. */
int policy_check(const json_t *document, json_t *errors, json_t *objections);

#endif
