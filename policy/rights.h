/*
 * What hangs on one identity, compiled: the struct access that only policy can look into, and the
 * parts of the rules that it points into. Private to the room.
 */
#ifndef HF_POLICY_RIGHTS_H
#define HF_POLICY_RIGHTS_H

#include "policy/document.h"
#include "policy/rules.h"
#include "policy/scope.h"

/* ---- the parts of the rules ---- */

/* RULES_POLICIES: NULL: no such policy, or (*ret_broken) one that cannot be read. */
const struct policy_doc *policies_find(
        const struct part *policies, struct slice name, bool *ret_broken);
int policies_load(const struct document_store *documents, struct part **ret);

struct grant {
	char letter; /* 'r', 'w', 'b' */
	struct slice filter;
};

/* RULES_GROUPS. */
struct group {
	struct slice name;
	const struct where *where; /* of a dynamic one, else NULL */
	bool broken;               /* its document cannot be read: it may be anybody's */
	unsigned n_policies, n_grants;
	const struct slice *policies; /* names */
	const struct grant *grants;
};
const struct group *groups_find(const struct part *groups, struct slice name);
/* The dynamic ones; *ret_n. */
const struct group *const *groups_dynamic(const struct part *groups, unsigned *ret_n);
int groups_load(const struct document_store *documents, struct part **ret);

/* ---- links, as text (access.h) ---- */

struct link {
	char letter;
	struct slice value;
};
/* Cuts the first one off; false: none is left. One that is malformed has the letter 0. */
bool link_next(struct slice *links, struct link *ret);

/* ---- what hangs on one identity ---- */

#define RIGHTS_DOCS_MAX 128
#define RIGHTS_GROUPS_MAX 128
#define RIGHTS_GRANTS_MAX 256

struct attached {
	const struct policy_doc *doc;
	const struct group *group;      /* whose policy it is; NULL: its own */
	const struct slice *attributes; /* the values of the document's; empty: none usable */
};

struct granted {
	struct grant grant;
	const struct group *group; /* NULL: its own */
};

struct rights {
	struct access access; /* first */
	struct rules *rules;  /* what it points into */
	enum entity kind;     /* ENTITY_DEVICE, ENTITY_KEY, ENTITY_CERTIFICATE, ENTITY_AUTHORIZER */
	bool defaults;        /* the table counts */
	bool broken;          /* something of it cannot be read: nothing is allowed */
	struct slice id;
	unsigned allows, denies; /* actions of all documents */
	unsigned n_docs, n_groups, n_grants;
	const struct attached *docs;
	const struct group *const *groups;
	const struct granted *grants;
	struct scope *scope;           /* of a key that is narrowed; owned */
	struct policy_doc **documents; /* of its own, owned; NULL behind the last */
};

static inline const struct rights *rights_of(const struct access *a)
{
	return (const struct rights *)a;
}
bool rights_in_group(const struct rights *r, struct slice name);

#endif
