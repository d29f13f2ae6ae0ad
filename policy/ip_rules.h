/*
 * A set of IP rules, compiled: rules that have not expired, in order of priority and id, the first
 * match wins. Immutable, a part of the rules that every loop holds. Private to the room.
 */
#ifndef HF_POLICY_IP_RULES_H
#define HF_POLICY_IP_RULES_H

#include "policy/ip_docs.h"
#include "policy/ip_scopes.h"
#include "policy/rules.h"

struct ip_rule {
	char id[POLICY_IP_ID_MAX + 1];
	bool allow;
	struct cidr net;
	enum ip_scope scope;              /* SCOPE_HUB, SCOPE_GROUP, SCOPE_DEVICE */
	char name[DOCUMENT_NAME_MAX + 1]; /* of the group or device */
	unsigned priority;
	int64_t expires_us; /* 0: never */
};

struct ip_rules {
	struct part part;
	struct ip_scopes *scopes; /* values: indices of list */
	struct ip_rule *list;
	size_t n;
	int64_t next_expiry_us; /* 0: none expires */
};

static inline const struct ip_rules *ip_rules_of(const struct rules *r)
{
	const struct part *p = r->parts[RULES_IP];
	return p ? (const struct ip_rules *)((const char *)p - offsetof(struct ip_rules, part))
	         : NULL;
}

/* Takes list (malloc'ed, n of them, in any order), also when it fails: then NULL, out of memory.
 * Rules that have expired by now_us do not count. One reference. */
struct ip_rules *ip_rules_new(struct ip_rule *list, size_t n, int64_t now_us);
struct ip_rules *ip_rules_unref(struct ip_rules *r); /* NULL is fine; returns NULL */
/* Reads them from the store as they are now. One reference. */
int ip_rules_read(const struct document_store *documents, struct ip_rules **ret);
/* rules.c: the same, to be in force. */
int ip_rules_load(const struct document_store *documents, struct part **ret);

/* Of the hub-wide rules, for an address: the first that matches; NULL: none. */
const struct ip_rule *ip_rules_find(const struct ip_rules *r, const struct ip_addr *ip);
/* Whether hub-wide rules let it in; deny: what counts where none matches. r NULL: no rules. */
bool ip_rules_admit(const struct ip_rules *r, const struct ip_addr *ip, bool deny);
/* Whether the rules of a group's or device's own let it in: where one of them allows, what matches
 * none is refused. ip NULL, not known: there are none. */
bool ip_rules_admit_named(
        const struct ip_rules *r, enum ip_scope scope, struct slice name, const struct ip_addr *ip);
/* Whether they refuse every address. */
bool ip_rules_deny_all(const struct ip_rules *r, bool deny);

/* A rule's document. id: of the path, else (p NULL) the document may give one, or *ret has none. 0
 * or ERR_INVALID with errors noted in c. *ret_body (may be NULL): what the store is to have. */
int ip_rule_read(struct doc_check *c, const json_t *doc, struct slice id, struct ip_rule *ret,
        json_t **ret_body);

#endif
