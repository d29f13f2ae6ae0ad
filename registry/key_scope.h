/*
 * What an access key is narrowed to on top of its permissions: a JSON object of groups, devices,
 * topicFilters, access, cidrs, notBefore, notAfter; what it leaves out does not narrow. Private to
 * the registry.
 */
#ifndef HF_REGISTRY_KEY_SCOPE_H
#define HF_REGISTRY_KEY_SCOPE_H

#include "registry/credential.h"
#include "server/base/doc_error.h"
#include "server/base/json.h"

#define SCOPE_NAMES_MAX 256 /* of groups, devices, topic filters */
#define SCOPE_FILTER_MAX 1024
#define SCOPE_CIDRS_MAX 16
#define SCOPE_TEXT_MAX 16384

/* Checks the document at c; *ret_text: the same as text, malloc'ed, or NULL for {}; to be freed in
 * any case. */
void key_scope_read(struct doc_check *c, const json_t *value, char **ret_text);

/* Kept by the principals of REST requests. Immutable. */
struct key_scope {
	struct proof proof;
	json_t *doc;
	int64_t not_before, not_after; /* wall s; 0: none */
	unsigned n_cidrs;              /* 0: from anywhere */
	struct cidr cidrs[SCOPE_CIDRS_MAX];
};
/* One reference, for proof_unref. NULL: out of memory, or it cannot be ours. */
struct key_scope *key_scope_parse(struct slice text);
/* Whether it may be used now, from there. */
bool key_scope_in_force(const struct key_scope *s, int64_t now_s, const char *peer);

#endif
