/*
 * Conditions over JSON documents in the language of Azure's twin queries (wire-contract G.2), the
 * part behind WHERE: dynamic groups and queries. Compiled once, then constant; any thread may
 * evaluate. Parsing recurses no deeper than WHERE_DEPTH_MAX, evaluation than there are nodes.
 *
 *   [SELECT * FROM devices [WHERE]] condition
 *   condition: AND OR NOT, = != <> < <= > >=, [NOT] IN […], NIN […], + - * / %, parentheses,
 *   IS_DEFINED(path); constants: numbers (0x too), 'text', "text", true, false, null, undefined,
 *   arrays, objects; paths: a.b.c, a['b c'], a[0]
 */
#ifndef HF_BASE_WHERE_H
#define HF_BASE_WHERE_H

#include "server/base/json.h"

#define WHERE_BYTES_MAX 4096
#define WHERE_NODES_MAX 512
#define WHERE_DEPTH_MAX 64
#define WHERE_PATH_MAX 16 /* steps of a path */
#define WHERE_ERROR_LEN 160

struct where;

struct where_error {
	size_t position; /* bytes from the start of the text */
	char text[WHERE_ERROR_LEN];
};

/* 0; ERR_INVALID or ERR_TOO_BIG with *ret_error; ERR_NOMEM. */
int where_parse(struct slice text, struct where **ret, struct where_error *ret_error);
struct where *where_free(struct where *w); /* NULL is fine; returns NULL */

/* Whether the condition is true of the document. What is not there is undefined, and what is
 * undefined, or anything but true, is not true: also its negation is not. */
bool where_matches(const struct where *w, const json_t *doc);

/* One path of the condition, "tags.site" in its own words: the names of its steps. */
struct where_path {
	size_t position;
	unsigned n;
	struct slice names[WHERE_PATH_MAX]; /* p NULL: a step by index */
};
/* Walks the paths: starts with *pos = 0; false at the end. */
bool where_next_path(const struct where *w, unsigned *pos, struct where_path *ret);

#endif
