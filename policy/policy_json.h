/*
 * A policy as the store has it: {"versions": [{"version", "createdTime", "document"}, …],
 * "default": n, "next": n}. Private to the room.
 */
#ifndef HF_POLICY_JSON_H
#define HF_POLICY_JSON_H

#include "policy/document.h"
#include "server/base/document_store.h"

#define POLICY_VERSIONS_MAX 5

/* The limits under which stored text is read again. */
extern const struct json_limits policy_json_limits;

/* The object of a version; NULL: there is none. Borrowed. */
json_t *policy_json_version(const json_t *policy, unsigned version);
/* Compiles the default version. 0, ERR_INVALID, ERR_NOMEM. */
int policy_json_compile(const struct document *d, struct policy_doc **ret);

#endif
