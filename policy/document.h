/*
 * A policy document in the language of AWS IoT (wire-contract F.3), read and compiled: constant
 * from then on. Private to the room.
 */
#ifndef HF_POLICY_DOCUMENT_H
#define HF_POLICY_DOCUMENT_H

#include "policy/arena.h"
#include "policy/glob.h"
#include "policy/vars.h"
#include "server/base/doc_error.h"

#define DOCUMENT_BYTES_MAX ((size_t)16 << 10)
#define DOCUMENT_DEPTH_MAX 8
#define STATEMENTS_MAX 100
#define STATEMENT_RESOURCES_MAX 100
#define STATEMENT_CONDITIONS_MAX 32
#define CONDITION_VALUES_MAX 100
#define DOCUMENT_VARS_MAX 64
#define PATTERN_BYTES_MAX 1024
#define SID_MAX 128

/* What a statement is about; bits. */
enum doc_action {
	DOC_CONNECT = 1 << 0,
	DOC_PUBLISH = 1 << 1,
	DOC_SUBSCRIBE = 1 << 2,
	DOC_RECEIVE = 1 << 3,
	DOC_RETAIN_PUBLISH = 1 << 4,
};
#define DOC_ALL 0x1f

/* The types of resources that actions are judged by; bits. */
enum doc_resource {
	DOC_CLIENT = 1 << 0,
	DOC_TOPIC = 1 << 1,
	DOC_TOPICFILTER = 1 << 2,
};

struct resource {
	unsigned types; /* 0: one that decides nothing yet (thing, job, …) */
	struct glob glob;
};

struct condition; /* condition.h */

struct statement {
	bool deny;
	unsigned actions; /* 0: only such as decide nothing yet */
	struct slice sid; /* empty: none */
	unsigned n_resources, n_conditions;
	const struct resource *resources;
	const struct condition *conditions;
};

struct policy_doc {
	struct arena arena;
	struct slice name;
	unsigned version;
	unsigned n_statements, n_vars, n_attributes;
	const struct statement *statements;
	const struct var *vars;
	unsigned allows, denies; /* actions of all statements of that effect */
};

/* Reads and compiles. 0; ERR_INVALID with the errors in check; ERR_NOMEM. */
int policy_doc_read(
        const json_t *json, struct doc_check *check, struct slice name, struct policy_doc **ret);
struct policy_doc *policy_doc_free(struct policy_doc *d); /* NULL is fine; returns NULL */

/* ---- for its parts ---- */

struct doc_reader {
	struct doc_check *check;
	struct policy_doc *doc;
	struct var vars[DOCUMENT_VARS_MAX];
	bool nomem;
};
/* The number of a variable in the document; -1: there are too many (noted). */
int doc_reader_var(struct doc_reader *r, const struct var *v);
/* Compiles a pattern (where wild: with '*' and '?') with its variables; false: noted. */
bool doc_reader_glob(struct doc_reader *r, struct slice text, bool wild, struct glob *ret);
/* What is behind the first five colons of an ARN of iot; other texts: themselves; false: an ARN
 * of something else (noted). */
bool doc_reader_arn(struct doc_reader *r, struct slice text, struct slice *ret);
/* One string or an array of them: how many, at most max; 0: neither (noted). */
size_t doc_reader_count(struct doc_reader *r, const json_t *value, size_t max);
/* The i-th of those, entered into the check (leave it with the mark); p NULL: no string (noted). */
struct slice doc_reader_item(struct doc_reader *r, const json_t *value, size_t i, size_t *ret_mark);

#endif
