/*
 * The conditions of a statement: operators, keys, values (wire-contract F.3), compiled. Private to
 * the room.
 */
#ifndef HF_POLICY_CONDITION_H
#define HF_POLICY_CONDITION_H

#include "policy/document.h"
#include "server/base/ip.h"

enum condition_type {
	CONDITION_STRING,
	CONDITION_NUMERIC,
	CONDITION_DATE,
	CONDITION_BOOL,
	CONDITION_IP,
	CONDITION_NULL, /* whether the key is missing */
};

enum condition_compare { COMPARE_EQ, COMPARE_LT, COMPARE_LE, COMPARE_GT, COMPARE_GE };

enum condition_set { SET_NONE, SET_ALL, SET_ANY };

union condition_value {
	struct glob glob;
	double number;
	int64_t date_us;
	bool boolean;
	struct cidr net;
};

struct condition {
	enum condition_type type;
	enum condition_compare compare;
	enum condition_set set;
	bool negated, if_exists, no_case;
	unsigned var;
	unsigned n;
	const union condition_value *values;
};

/* Reads the Condition member of a statement; errors go to the reader's check. */
void condition_read(
        struct doc_reader *r, const json_t *json, const struct condition **ret, unsigned *ret_n);

/* What is known of a condition: UNKNOWN where it asks about what the moment does not know (the
 * CONNECT's attributes later on, a variable without a value). */
enum holds { HOLDS_NOT, HOLDS, HOLDS_UNKNOWN };

/* Who knows the values of keys: next gives one after the other, starting with *pos 0. */
struct condition_values {
	bool (*next)(void *ctx, unsigned var, unsigned *pos, struct slice *ret);
	/* False: the moment knows nothing of that key, be it there or not. */
	bool (*known)(void *ctx, unsigned var);
	struct glob_values globs; /* for variables in the document's values */
	void *ctx;
};
enum holds condition_holds(const struct condition *c, const struct condition_values *values);

#endif
