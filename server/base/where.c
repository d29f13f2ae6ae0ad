#include "server/base/where.h"

#include <math.h>
#include <stdlib.h>

#include "server/base/where_node.h"

struct where *where_free(struct where *w)
{
	if (!w)
		return NULL;
	for (unsigned i = 0; i < w->n; i++)
		if (w->nodes[i].kind == WHERE_JSON)
			json_decref(w->nodes[i].json);
	free(w->nodes);
	free(w->steps);
	free(w->text);
	free(w);
	return NULL;
}

bool where_next_path(const struct where *w, unsigned *pos, struct where_path *ret)
{
	while (*pos < w->n && w->nodes[*pos].kind != WHERE_PATH)
		++*pos;
	if (*pos >= w->n)
		return false;
	const struct where_node *node = &w->nodes[(*pos)++];
	ret->position = node->position;
	ret->n = node->path.n;
	for (unsigned i = 0; i < ret->n; i++) {
		const struct where_step *step = &w->steps[node->path.first + i];
		ret->names[i] = slice_make(step->name, step->len);
	}
	return true;
}

/* ---- evaluation ---- */

/* A value: kind is one of UNDEFINED to JSON. Borrows from condition and document. */
struct value {
	enum where_kind kind;
	union {
		double number;
		struct slice text;
		const json_t *json;
	};
};

static struct value truth(bool yes)
{
	return (struct value){.kind = yes ? WHERE_TRUE : WHERE_FALSE};
}

static struct value undefined(void)
{
	return (struct value){.kind = WHERE_UNDEFINED};
}

static struct value number(double n)
{
	return isfinite(n) ? (struct value){.kind = WHERE_NUMBER, .number = n} : undefined();
}

static struct value of_json(const json_t *json)
{
	if (!json)
		return undefined();
	switch (json_typeof(json)) {
	case JSON_NULL: return (struct value){.kind = WHERE_NULL};
	case JSON_TRUE: return truth(true);
	case JSON_FALSE: return truth(false);
	case JSON_INTEGER:
	case JSON_REAL: return number(json_number_value(json));
	case JSON_STRING:
		return (struct value){.kind = WHERE_TEXT,
		        .text = slice_make(json_string_value(json), json_string_length(json))};
	case JSON_ARRAY:
	case JSON_OBJECT: break;
	}
	return (struct value){.kind = WHERE_JSON, .json = json};
}

static struct value of_path(const struct where *w, const struct where_node *node, const json_t *doc)
{
	for (unsigned i = 0; i < node->path.n && doc; i++) {
		const struct where_step *step = &w->steps[node->path.first + i];
		doc = step->name ? json_object_getn(doc, step->name, step->len)
		                 : json_array_get(doc, step->index);
	}
	return of_json(doc);
}

/* -1, 0, 1: how texts lie bytewise. */
static int text_order(struct slice a, struct slice b)
{
	size_t n = a.n < b.n ? a.n : b.n;
	int order = n > 0 ? memcmp(a.p, b.p, n) : 0;
	if (order == 0)
		return (a.n > b.n) - (a.n < b.n);
	return order < 0 ? -1 : 1;
}

static bool same(const struct value *a, const struct value *b)
{
	if (a->kind != b->kind)
		return false;
	switch (a->kind) {
	case WHERE_NUMBER: return a->number == b->number;
	case WHERE_TEXT: return slice_eq(a->text, b->text);
	case WHERE_JSON: return json_equal(a->json, b->json);
	default: return true;
	}
}

static struct value order(enum where_kind how, const struct value *a, const struct value *b)
{
	int o;
	if (a->kind == WHERE_NUMBER && b->kind == WHERE_NUMBER)
		o = (a->number > b->number) - (a->number < b->number);
	else if (a->kind == WHERE_TEXT && b->kind == WHERE_TEXT)
		o = text_order(a->text, b->text);
	else
		return undefined();
	switch (how) {
	case WHERE_LT: return truth(o < 0);
	case WHERE_LE: return truth(o <= 0);
	case WHERE_GT: return truth(o > 0);
	default: return truth(o >= 0);
	}
}

static struct value member_of(const struct value *a, const struct value *list)
{
	if (list->kind != WHERE_JSON || !json_is_array(list->json))
		return undefined();
	for (size_t i = 0; i < json_array_size(list->json); i++) {
		struct value item = of_json(json_array_get(list->json, i));
		if (same(a, &item))
			return truth(true);
	}
	return truth(false);
}

static struct value arithmetic(enum where_kind how, const struct value *a, const struct value *b)
{
	if (a->kind != WHERE_NUMBER || b->kind != WHERE_NUMBER)
		return undefined();
	switch (how) {
	case WHERE_ADD: return number(a->number + b->number);
	case WHERE_SUB: return number(a->number - b->number);
	case WHERE_MUL: return number(a->number * b->number);
	case WHERE_DIV: return number(a->number / b->number);
	default: return number(fmod(a->number, b->number));
	}
}

static struct value negation(struct value v)
{
	if (v.kind == WHERE_TRUE || v.kind == WHERE_FALSE)
		return truth(v.kind == WHERE_FALSE);
	return undefined();
}

static struct value of_two(enum where_kind how, const struct value *a, const struct value *b)
{
	if (a->kind == WHERE_UNDEFINED || b->kind == WHERE_UNDEFINED)
		return undefined();
	switch (how) {
	case WHERE_EQ: return truth(same(a, b));
	case WHERE_NE: return truth(!same(a, b));
	case WHERE_LT:
	case WHERE_LE:
	case WHERE_GT:
	case WHERE_GE: return order(how, a, b);
	case WHERE_IN: return member_of(a, b);
	case WHERE_NOT_IN: return negation(member_of(a, b));
	default: return arithmetic(how, a, b);
	}
}

/* As deep as the parser let it become. */
static struct value eval(const struct where *w, unsigned i, const json_t *doc)
{
	const struct where_node *node = &w->nodes[i];
	struct value a, b;
	switch (node->kind) {
	case WHERE_UNDEFINED:
	case WHERE_NULL:
	case WHERE_TRUE:
	case WHERE_FALSE: return (struct value){.kind = node->kind};
	case WHERE_NUMBER: return number(node->number);
	case WHERE_TEXT: return (struct value){.kind = WHERE_TEXT, .text = node->text};
	case WHERE_JSON: return (struct value){.kind = WHERE_JSON, .json = node->json};
	case WHERE_PATH: return of_path(w, node, doc);
	case WHERE_IS_DEFINED: return truth(eval(w, node->a, doc).kind != WHERE_UNDEFINED);
	case WHERE_NOT: return negation(eval(w, node->a, doc));
	case WHERE_MINUS:
		a = eval(w, node->a, doc);
		return a.kind == WHERE_NUMBER ? number(-a.number) : undefined();
	case WHERE_AND:
	case WHERE_OR: {
		/* The one that settles it may stand on either side. */
		const enum where_kind settles = node->kind == WHERE_AND ? WHERE_FALSE : WHERE_TRUE;
		a = eval(w, node->a, doc);
		if (a.kind == settles)
			return a;
		b = eval(w, node->b, doc);
		if (b.kind == settles)
			return b;
		return a.kind == b.kind && (a.kind == WHERE_TRUE || a.kind == WHERE_FALSE)
		        ? a
		        : undefined();
	}
	default:
		a = eval(w, node->a, doc);
		b = eval(w, node->b, doc);
		return of_two(node->kind, &a, &b);
	}
}

bool where_matches(const struct where *w, const json_t *doc)
{
	return eval(w, w->root, doc).kind == WHERE_TRUE;
}
