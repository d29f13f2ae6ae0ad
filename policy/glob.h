/*
 * Patterns of policy documents: '*' is any run of characters ('/' included), '?' any one character,
 * everything else itself, with variables whose values stand for themselves alone. Matching takes
 * time linear in the text, and neither allocates nor recurses, whatever the pattern. Private to the
 * room.
 */
#ifndef HF_POLICY_GLOB_H
#define HF_POLICY_GLOB_H

#include "server/base/slice.h"

enum glob_kind {
	GLOB_TEXT,
	GLOB_VAR,
	GLOB_ONE, /* '?' */
	GLOB_RUN, /* '*' */
};

struct glob_atom {
	enum glob_kind kind;
	unsigned var;      /* of GLOB_VAR: what value is asked for */
	struct slice text; /* of GLOB_TEXT */
};

#define GLOB_ATOMS_MAX 64
struct glob {
	unsigned n;
	const struct glob_atom *atoms;
};

/* Who knows the variables' values. */
struct glob_values {
	/* False: there is none, or it may not be put in. */
	bool (*get)(void *ctx, unsigned var, struct slice *ret);
	void *ctx;
	/* What is not known counts as whatever it could be: a variable without a value matches any
	 * text, and a match that takes too long is one. For refusals; else it matches nothing. */
	bool broad;
	/* What glob_meets may still do, over all patterns of a decision: GLOB_MEETS_WORK at first.
	 */
	size_t *work;
};
#define GLOB_MEETS_WORK ((size_t)1 << 19) /* a millisecond or two */

bool glob_match(const struct glob *g, struct slice text, const struct glob_values *values);
/* Whether any topic that the MQTT filter could match is matched by g, or the filter's own text is.
 * Where that takes too long, or values->work is used up: true. */
bool glob_meets(const struct glob *g, struct slice filter, const struct glob_values *values);

#endif
