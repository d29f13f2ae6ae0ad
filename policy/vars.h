/*
 * What policy documents can ask about: the names that stand in "${…}" and as keys of conditions
 * (wire-contract F.3). Private to the room.
 */
#ifndef HF_POLICY_VARS_H
#define HF_POLICY_VARS_H

#include "server/base/slice.h"

enum var_kind {
	VAR_CLIENT_ID,
	VAR_THING_NAME,
	VAR_IS_ATTACHED,
	VAR_ATTRIBUTE, /* a tag of the device at the top; name is the tag's */
	VAR_FACT,      /* of the certificate; name is the whole one (facts.h) */
	VAR_SOURCE_IP,
	/* of the CONNECT alone */
	VAR_DOMAIN,
	VAR_CONNECT_ATTRIBUTES, /* keys of conditions alone, as all below */
	VAR_LAST_WILL,
	/* of the moment */
	VAR_CURRENT_TIME,
	VAR_EPOCH_TIME,
};

struct var {
	enum var_kind kind;
	struct slice name;  /* of ATTRIBUTE and FACT; borrowed */
	unsigned attribute; /* of ATTRIBUTE: which of the document's */
};

#define ATTRIBUTE_NAME_MAX 128
/* Longer values stand for nothing, as those with wildcards do. */
#define VAR_VALUE_MAX 1024

/* False: there is no such name. ret->name lies in name. */
bool var_parse(struct slice name, struct var *ret);
/* Whether it may stand in "${…}". */
static inline bool var_substitutable(const struct var *v)
{
	return v->kind <= VAR_DOMAIN;
}
/* Whether only a CONNECT knows it. */
static inline bool var_of_connect(const struct var *v)
{
	return v->kind >= VAR_DOMAIN && v->kind <= VAR_LAST_WILL;
}
bool var_equal(const struct var *a, const struct var *b);
/* Whether a value can be put in: it is there, not too long, and holds no wildcard of either kind.
 */
bool var_value_usable(struct slice value);

#endif
