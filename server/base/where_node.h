/* A compiled condition, between where_parse.c and where.c. */
#ifndef HF_BASE_WHERE_NODE_H
#define HF_BASE_WHERE_NODE_H

#include "server/base/where.h"

enum where_kind {
	WHERE_UNDEFINED,
	WHERE_NULL,
	WHERE_TRUE,
	WHERE_FALSE,
	WHERE_NUMBER,
	WHERE_TEXT,
	WHERE_JSON, /* an array or object */
	WHERE_PATH,
	WHERE_IS_DEFINED, /* a: a path */
	WHERE_NOT,
	WHERE_MINUS, /* of one value */
	WHERE_AND,
	WHERE_OR,
	WHERE_EQ,
	WHERE_NE,
	WHERE_LT,
	WHERE_LE,
	WHERE_GT,
	WHERE_GE,
	WHERE_IN,
	WHERE_NOT_IN,
	WHERE_ADD,
	WHERE_SUB,
	WHERE_MUL,
	WHERE_DIV,
	WHERE_MOD,
};

struct where_step {
	const char *name; /* NULL: by index */
	size_t len, index;
};

struct where_node {
	enum where_kind kind;
	uint16_t a, b; /* nodes */
	size_t position;
	union {
		double number;
		struct slice text;
		json_t *json; /* owned */
		struct {
			uint16_t first, n; /* steps */
		} path;
	};
};

struct where {
	uint16_t n, root, n_steps;
	struct where_node *nodes;
	struct where_step *steps;
	char *text; /* what names and texts lie in, unescaped */
};

#endif
