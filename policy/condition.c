#include "policy/condition.h"

#include <stdlib.h>
#include <strings.h>

#include "server/base/clock.h"

static const struct op {
	const char *name;
	enum condition_type type;
	enum condition_compare compare;
	bool negated, no_case, wild;
} operators[] = {
        {"StringEquals", CONDITION_STRING, COMPARE_EQ, false, false, false},
        {"StringNotEquals", CONDITION_STRING, COMPARE_EQ, true, false, false},
        {"StringEqualsIgnoreCase", CONDITION_STRING, COMPARE_EQ, false, true, false},
        {"StringNotEqualsIgnoreCase", CONDITION_STRING, COMPARE_EQ, true, true, false},
        {"StringLike", CONDITION_STRING, COMPARE_EQ, false, false, true},
        {"StringNotLike", CONDITION_STRING, COMPARE_EQ, true, false, true},
        {"ArnEquals", CONDITION_STRING, COMPARE_EQ, false, false, true},
        {"ArnNotEquals", CONDITION_STRING, COMPARE_EQ, true, false, true},
        {"ArnLike", CONDITION_STRING, COMPARE_EQ, false, false, true},
        {"ArnNotLike", CONDITION_STRING, COMPARE_EQ, true, false, true},
        {"NumericEquals", CONDITION_NUMERIC, COMPARE_EQ, false, false, false},
        {"NumericNotEquals", CONDITION_NUMERIC, COMPARE_EQ, true, false, false},
        {"NumericLessThan", CONDITION_NUMERIC, COMPARE_LT, false, false, false},
        {"NumericLessThanEquals", CONDITION_NUMERIC, COMPARE_LE, false, false, false},
        {"NumericGreaterThan", CONDITION_NUMERIC, COMPARE_GT, false, false, false},
        {"NumericGreaterThanEquals", CONDITION_NUMERIC, COMPARE_GE, false, false, false},
        {"DateEquals", CONDITION_DATE, COMPARE_EQ, false, false, false},
        {"DateNotEquals", CONDITION_DATE, COMPARE_EQ, true, false, false},
        {"DateLessThan", CONDITION_DATE, COMPARE_LT, false, false, false},
        {"DateLessThanEquals", CONDITION_DATE, COMPARE_LE, false, false, false},
        {"DateGreaterThan", CONDITION_DATE, COMPARE_GT, false, false, false},
        {"DateGreaterThanEquals", CONDITION_DATE, COMPARE_GE, false, false, false},
        {"Bool", CONDITION_BOOL, COMPARE_EQ, false, false, false},
        {"IpAddress", CONDITION_IP, COMPARE_EQ, false, false, false},
        {"NotIpAddress", CONDITION_IP, COMPARE_EQ, true, false, false},
        {"Null", CONDITION_NULL, COMPARE_EQ, false, false, false},
};

/* ---- values ---- */

static bool number_of(struct slice text, double *ret)
{
	char copy[64], *end;
	if (text.n == 0 || text.n >= sizeof(copy))
		return false;
	for (size_t i = 0; i < text.n; i++)
		if (text.p[i] == 0 || !strchr("0123456789+-.eE", text.p[i]))
			return false;
	memcpy(copy, text.p, text.n);
	copy[text.n] = '\0';
	*ret = strtod(copy, &end);
	return *end == '\0';
}

/* RFC 3339, a day alone, or seconds since 1970. */
static bool date_of(struct slice text, int64_t *ret)
{
	char day[32];
	double seconds;
	if (clock_parse_rfc3339((const char *)text.p, text.n, ret) == 0)
		return true;
	if (text.n == 10 && text.p[4] == '-') {
		int n = snprintf(day, sizeof(day), "%.*sT00:00:00Z", SLICE_ARG(text));
		return clock_parse_rfc3339(day, (size_t)n, ret) == 0;
	}
	if (!number_of(text, &seconds) || seconds < -1e11 || seconds > 1e12)
		return false;
	*ret = (int64_t)(seconds * 1e6);
	return true;
}

static bool bool_of(struct slice text, bool *ret)
{
	bool yes = text.n == 4 && strncasecmp((const char *)text.p, "true", 4) == 0;
	if (!yes && !(text.n == 5 && strncasecmp((const char *)text.p, "false", 5) == 0))
		return false;
	*ret = yes;
	return true;
}

static bool net_of(struct slice text, struct cidr *ret)
{
	char copy[CIDR_TEXT_LEN];
	if (text.n == 0 || text.n >= sizeof(copy))
		return false;
	memcpy(copy, text.p, text.n);
	copy[text.n] = '\0';
	return cidr_parse(copy, ret) == 0;
}

/* The topic of a last will is written as the resource that it is. */
static bool read_will(struct doc_reader *r, struct slice *text)
{
	static const struct slice topic = SLICE_LIT("topic/");
	if (!doc_reader_arn(r, *text, text))
		return false;
	if (slice_has_prefix(*text, topic))
		*text = slice_from(*text, topic.n);
	else if (!slice_eq_str(*text, "*")) {
		doc_error(r->check, "must be the ARN of a topic, or \"topic/…\"");
		return false;
	}
	return true;
}

static void read_text(struct doc_reader *r, const struct op *op, const struct var *key,
        struct slice text, union condition_value *ret)
{
	bool ok = true;
	switch (op->type) {
	case CONDITION_STRING:
		if (key->kind != VAR_LAST_WILL || read_will(r, &text))
			doc_reader_glob(r, text, op->wild, &ret->glob);
		return;
	case CONDITION_NUMERIC: ok = number_of(text, &ret->number); break;
	case CONDITION_DATE: ok = date_of(text, &ret->date_us); break;
	case CONDITION_BOOL:
	case CONDITION_NULL: ok = bool_of(text, &ret->boolean); break;
	case CONDITION_IP: ok = net_of(text, &ret->net); break;
	}
	if (!ok)
		doc_error(r->check, "is no value that the operator can compare with");
}

/* AWS takes numbers and booleans for strings, and one value for a list of one. */
static void read_value(struct doc_reader *r, const struct op *op, const struct var *key,
        const json_t *json, union condition_value *ret)
{
	char text[64];
	if (json_is_string(json)) {
		read_text(r, op, key, slice_make(json_string_value(json), json_string_length(json)),
		        ret);
		return;
	}
	size_t n = json_is_number(json) || json_is_boolean(json)
	        ? json_dumpb(json, text, sizeof(text), JSON_ENCODE_ANY)
	        : 0;
	if (n == 0 || n > sizeof(text))
		doc_error(r->check, "must be a string, a number or a boolean");
	else
		read_text(r, op, key, slice_make(text, n), ret);
}

static void read_values(struct doc_reader *r, const struct op *op, const struct var *key,
        const json_t *json, struct condition *c)
{
	bool many = json_is_array(json);
	size_t n = many ? json_array_size(json) : 1;
	if (n < 1 || n > CONDITION_VALUES_MAX) {
		doc_error(r->check, "must be a value or an array of 1 to 100");
		return;
	}
	union condition_value *list = arena_alloc(&r->doc->arena, n * sizeof(*list));
	r->nomem |= !list;
	for (size_t i = 0; i < n && list; i++) {
		size_t mark = many ? doc_enter_index(r->check, i) : r->check->len;
		read_value(r, op, key, many ? json_array_get(json, i) : json, &list[i]);
		doc_leave(r->check, mark);
	}
	c->values = list;
	c->n = list ? (unsigned)n : 0;
}

/* ---- operators and keys ---- */

static const struct op *read_operator(struct slice name, struct condition *c)
{
	static const struct {
		struct slice head;
		enum condition_set set;
	} sets[] = {{SLICE_LIT("ForAllValues:"), SET_ALL}, {SLICE_LIT("ForAnyValue:"), SET_ANY}};
	static const struct slice tail = SLICE_LIT("IfExists");
	for (size_t i = 0; i < ARRAY_LEN(sets); i++)
		if (slice_has_prefix(name, sets[i].head)) {
			c->set = sets[i].set;
			name = slice_from(name, sets[i].head.n);
		}
	if (name.n > tail.n && slice_eq(slice_from(name, name.n - tail.n), tail)) {
		c->if_exists = true;
		name.n -= tail.n;
	}
	for (size_t i = 0; i < ARRAY_LEN(operators); i++)
		if (slice_eq_str(name, operators[i].name))
			return &operators[i];
	return NULL;
}

static void read_key(struct doc_reader *r, const struct op *op, const char *name,
        const json_t *json, struct condition *c)
{
	struct var key;
	if (!var_parse(slice_str(name), &key)) {
		doc_error(r->check, "there is no such key");
		return;
	}
	int var = doc_reader_var(r, &key);
	c->var = var < 0 ? 0 : (unsigned)var;
	read_values(r, op, &key, json, c);
}

static void read_keys(struct doc_reader *r, const char *name, const json_t *json,
        struct condition *list, size_t *n)
{
	struct condition head = {0};
	const struct op *op = read_operator(slice_str(name), &head);
	const char *key;
	json_t *value;
	if (!op) {
		doc_error(r->check, "there is no such operator");
		return;
	}
	if (!json_is_object(json)) {
		doc_error(r->check, "must be an object of keys and values");
		return;
	}
	head.type = op->type;
	head.compare = op->compare;
	head.negated = op->negated;
	head.no_case = op->no_case;
	json_object_foreach((json_t *)json, key, value)
	{
		size_t mark = doc_enter(r->check, slice_str(key));
		if (*n == STATEMENT_CONDITIONS_MAX) {
			doc_error(r->check, "the statement has more than 32 conditions");
		} else {
			list[*n] = head;
			read_key(r, op, key, value, &list[(*n)++]);
		}
		doc_leave(r->check, mark);
	}
}

void condition_read(
        struct doc_reader *r, const json_t *json, const struct condition **ret, unsigned *ret_n)
{
	struct condition list[STATEMENT_CONDITIONS_MAX];
	const char *name;
	json_t *value;
	size_t n = 0;
	if (!json_is_object(json)) {
		doc_error(r->check, "must be an object of operators");
		return;
	}
	json_object_foreach((json_t *)json, name, value)
	{
		size_t mark = doc_enter(r->check, slice_str(name));
		read_keys(r, name, value, list, &n);
		doc_leave(r->check, mark);
	}
	struct condition *copy = arena_alloc(&r->doc->arena, (n + 1) * sizeof(*copy));
	r->nomem |= !copy;
	if (!copy)
		return;
	memcpy(copy, list, n * sizeof(*copy));
	*ret = copy;
	*ret_n = (unsigned)n;
}

/* ---- do they hold? ---- */

static bool compared(enum condition_compare how, int order)
{
	switch (how) {
	case COMPARE_EQ: return order == 0;
	case COMPARE_LT: return order < 0;
	case COMPARE_LE: return order <= 0;
	case COMPARE_GT: return order > 0;
	case COMPARE_GE: return order >= 0;
	}
	return false;
}

static bool same_but_case(const struct glob *g, struct slice value)
{
	size_t at = 0;
	for (unsigned i = 0; i < g->n; i++) {
		struct slice want = g->atoms[i].text;
		if (want.n > value.n - at ||
		        strncasecmp((const char *)value.p + at, (const char *)want.p, want.n) != 0)
			return false;
		at += want.n;
	}
	return at == value.n;
}

static bool has_unknown(const struct glob *g, const struct glob_values *values)
{
	struct slice value;
	for (unsigned i = 0; i < g->n; i++)
		if (g->atoms[i].kind == GLOB_VAR &&
		        !(values->get && values->get(values->ctx, g->atoms[i].var, &value)))
			return true;
	return false;
}

static enum holds text_is(const struct condition *c, const struct glob *g, struct slice value,
        const struct glob_values *values)
{
	if (has_unknown(g, values))
		return HOLDS_UNKNOWN;
	if (!c->no_case)
		return glob_match(g, value, values) ? HOLDS : HOLDS_NOT;
	/* A variable inside: its value in its place. */
	struct glob_atom atoms[GLOB_ATOMS_MAX];
	for (unsigned i = 0; i < g->n; i++) {
		atoms[i] = g->atoms[i];
		if (atoms[i].kind == GLOB_VAR)
			values->get(values->ctx, atoms[i].var, &atoms[i].text);
	}
	const struct glob plain = {.n = g->n, .atoms = atoms};
	return same_but_case(&plain, value) ? HOLDS : HOLDS_NOT;
}

static bool ip_in(const struct cidr *net, struct slice value)
{
	struct ip_addr ip;
	return ip_parse(value, &ip) == 0 && cidr_has(net, ip.v6, ip.bytes);
}

/* One value of the key against one of the document's. */
static enum holds value_is(const struct condition *c, const union condition_value *want,
        struct slice value, const struct glob_values *values)
{
	double number;
	int64_t date;
	bool boolean, yes = false;
	switch (c->type) {
	case CONDITION_STRING: return text_is(c, &want->glob, value, values);
	case CONDITION_NUMERIC:
		yes = number_of(value, &number) &&
		        compared(c->compare, (number > want->number) - (number < want->number));
		break;
	case CONDITION_DATE:
		yes = date_of(value, &date) &&
		        compared(c->compare, (date > want->date_us) - (date < want->date_us));
		break;
	case CONDITION_BOOL: yes = bool_of(value, &boolean) && boolean == want->boolean; break;
	case CONDITION_IP: yes = ip_in(&want->net, value); break;
	case CONDITION_NULL: break;
	}
	return yes ? HOLDS : HOLDS_NOT;
}

static enum holds negated(enum holds h)
{
	return h == HOLDS_UNKNOWN ? h : h == HOLDS ? HOLDS_NOT : HOLDS;
}

/* The document's values are alternatives; a negated operator asks for none of them. */
static enum holds any_value_is(
        const struct condition *c, struct slice value, const struct glob_values *values)
{
	enum holds result = HOLDS_NOT;
	for (unsigned i = 0; i < c->n && result != HOLDS; i++) {
		enum holds one = value_is(c, &c->values[i], value, values);
		if (one != HOLDS_NOT)
			result = one;
	}
	return c->negated ? negated(result) : result;
}

static enum holds key_missing(const struct condition *c)
{
	if (c->if_exists || c->set == SET_ALL)
		return HOLDS;
	if (c->set == SET_ANY)
		return HOLDS_NOT;
	return c->negated ? HOLDS : HOLDS_NOT;
}

static enum holds null_holds(const struct condition *c, bool missing)
{
	for (unsigned i = 0; i < c->n; i++)
		if (c->values[i].boolean == missing)
			return HOLDS;
	return HOLDS_NOT;
}

/* Of a key with several values and an operator for one, the first counts. */
enum holds condition_holds(const struct condition *c, const struct condition_values *values)
{
	unsigned pos = 0;
	struct slice value;
	if (!values->known(values->ctx, c->var))
		return HOLDS_UNKNOWN;
	bool there = values->next(values->ctx, c->var, &pos, &value);
	if (c->type == CONDITION_NULL)
		return null_holds(c, !there);
	if (!there)
		return key_missing(c);
	const enum holds ends = c->set == SET_ALL ? HOLDS_NOT : HOLDS;
	enum holds result = negated(ends);
	do {
		enum holds one = any_value_is(c, value, &values->globs);
		if (c->set == SET_NONE || one == ends)
			return one;
		if (one == HOLDS_UNKNOWN)
			result = one;
	} while (values->next(values->ctx, c->var, &pos, &value));
	return result;
}
