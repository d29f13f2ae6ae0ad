#include "policy/document.h"

#include <stdlib.h>

#include "policy/condition.h"
#include "server/base/err.h"

/* ---- what its parts need ---- */

int doc_reader_var(struct doc_reader *r, const struct var *v)
{
	struct policy_doc *doc = r->doc;
	for (unsigned i = 0; i < doc->n_vars; i++)
		if (var_equal(&r->vars[i], v))
			return (int)i;
	if (doc->n_vars == DOCUMENT_VARS_MAX) {
		doc_error(r->check, "the document has more than 64 different variables");
		return -1;
	}
	struct var *mine = &r->vars[doc->n_vars];
	*mine = *v;
	if (v->kind == VAR_ATTRIBUTE || v->kind == VAR_FACT) {
		mine->name = arena_copy(&doc->arena, v->name);
		r->nomem |= !mine->name.p;
	}
	if (v->kind == VAR_ATTRIBUTE)
		mine->attribute = doc->n_attributes++;
	return (int)doc->n_vars++;
}

size_t doc_reader_count(struct doc_reader *r, const json_t *value, size_t max)
{
	if (json_is_string(value))
		return 1;
	size_t n = json_array_size(value);
	if (n == 0)
		doc_error(r->check, "must be a string or an array of at least one");
	else if (n > max)
		doc_error(r->check, "has too many entries");
	return n > max ? 0 : n;
}

struct slice doc_reader_item(struct doc_reader *r, const json_t *value, size_t i, size_t *ret_mark)
{
	const json_t *item = value;
	*ret_mark = r->check->len;
	if (!json_is_string(value)) {
		item = json_array_get(value, i);
		*ret_mark = doc_enter_index(r->check, i);
	}
	if (!json_is_string(item)) {
		doc_error(r->check, "must be a string");
		return (struct slice){0};
	}
	return slice_make(json_string_value(item), json_string_length(item));
}

bool doc_reader_arn(struct doc_reader *r, struct slice text, struct slice *ret)
{
	struct slice rest = text;
	if (!slice_has_prefix(text, SLICE_LIT("arn:"))) {
		*ret = text;
		return true;
	}
	for (unsigned i = 0; i < 5; i++) {
		const uint8_t *colon = rest.n > 0 ? memchr(rest.p, ':', rest.n) : NULL;
		struct slice part = rest;
		if (!colon) {
			doc_error(r->check, "is no ARN: arn:partition:iot:region:account:resource");
			return false;
		}
		part.n = (size_t)(colon - rest.p);
		rest = slice_from(rest, part.n + 1);
		if (i == 2 && !slice_eq_str(part, "iot") && !slice_eq_str(part, "*")) {
			doc_error(r->check, "is an ARN of another service than iot");
			return false;
		}
	}
	*ret = rest;
	return true;
}

/* ---- patterns ---- */

struct glob_reader {
	struct doc_reader *r;
	struct glob_atom atoms[GLOB_ATOMS_MAX];
	unsigned n;
	bool failed;
};

static void add(struct glob_reader *g, struct glob_atom atom)
{
	/* Several asterisks in a row say no more than one. */
	if (atom.kind == GLOB_RUN && g->n > 0 && g->atoms[g->n - 1].kind == GLOB_RUN)
		return;
	if (g->n < GLOB_ATOMS_MAX) {
		g->atoms[g->n++] = atom;
		return;
	}
	if (!g->failed)
		doc_error(g->r->check, "has too many wildcards and variables");
	g->failed = true;
}

static void add_text(struct glob_reader *g, struct slice text)
{
	if (text.n > 0)
		add(g, (struct glob_atom){.kind = GLOB_TEXT, .text = text});
}

/* "${…}" at the start of rest: how long it is, 0: none. */
static size_t add_variable(struct glob_reader *g, struct slice rest)
{
	struct var v;
	const uint8_t *end;
	if (!slice_has_prefix(rest, SLICE_LIT("${")) || !(end = memchr(rest.p, '}', rest.n)))
		return 0;
	size_t len = (size_t)(end - rest.p) + 1;
	struct slice name = slice_make(rest.p + 2, len - 3);
	if (name.n == 1 && strchr("*?$", name.p[0])) {
		add_text(g, name);
	} else if (!var_parse(name, &v) || !var_substitutable(&v)) {
		char why[160];
		snprintf(why, sizeof(why), "there is no variable \"%.*s\"",
		        (int)(name.n < 100 ? name.n : 100), (const char *)name.p);
		doc_error(g->r->check, why);
		g->failed = true;
	} else {
		int number = doc_reader_var(g->r, &v);
		g->failed |= number < 0;
		if (number >= 0)
			add(g, (struct glob_atom){.kind = GLOB_VAR, .var = (unsigned)number});
	}
	return len;
}

static void read_atoms(struct glob_reader *g, struct slice text, bool wild)
{
	size_t from = 0, i = 0;
	while (i < text.n && !g->failed) {
		uint8_t c = text.p[i];
		size_t len = 0;
		if (c == '$' || (wild && (c == '*' || c == '?')))
			add_text(g, slice_make(text.p + from, i - from));
		else {
			i++;
			continue;
		}
		from = i;
		if (c == '$')
			len = add_variable(g, slice_from(text, i));
		else
			add(g, (struct glob_atom){.kind = c == '*' ? GLOB_RUN : GLOB_ONE});
		i += len ? len : 1;
		if (len || c != '$')
			from = i;
	}
	if (!g->failed)
		add_text(g, slice_make(text.p + from, text.n - from));
}

bool doc_reader_glob(struct doc_reader *r, struct slice text, bool wild, struct glob *ret)
{
	struct glob_reader g = {.r = r};
	struct arena *arena = &r->doc->arena;
	if (text.n > PATTERN_BYTES_MAX) {
		doc_error(r->check, "is longer than 1,024 bytes");
		return false;
	}
	struct slice copy = arena_copy(arena, text);
	if (copy.p)
		read_atoms(&g, copy, wild);
	struct glob_atom *atoms = arena_alloc(arena, (g.n + 1) * sizeof(*atoms));
	if (!copy.p || !atoms) {
		r->nomem = true;
		return false;
	}
	memcpy(atoms, g.atoms, g.n * sizeof(*atoms));
	*ret = (struct glob){.n = g.n, .atoms = atoms};
	return !g.failed;
}

/* ---- statements ---- */

static const struct {
	const char *name; /* lower case */
	enum doc_action action;
} actions[] = {
        {"connect", DOC_CONNECT},
        {"publish", DOC_PUBLISH},
        {"subscribe", DOC_SUBSCRIBE},
        {"receive", DOC_RECEIVE},
        {"retainpublish", DOC_RETAIN_PUBLISH},
};

#define ACTION_NAME_MAX 64

/* Names of actions know no case. */
static unsigned actions_named(struct slice pattern)
{
	char lower[ACTION_NAME_MAX];
	struct glob_atom atoms[GLOB_ATOMS_MAX];
	struct glob g = {.atoms = atoms};
	const struct glob_values none = {0};
	unsigned mask = 0;
	for (size_t i = 0; i < pattern.n && g.n < GLOB_ATOMS_MAX; i++) {
		char c = (char)pattern.p[i];
		lower[i] = c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
		atoms[g.n++] = (struct glob_atom){
		        .kind = c == '*' ? GLOB_RUN : GLOB_TEXT, .text = slice_make(&lower[i], 1)};
	}
	for (size_t i = 0; i < ARRAY_LEN(actions); i++)
		if (glob_match(&g, slice_str(actions[i].name), &none))
			mask |= actions[i].action;
	return mask;
}

static bool action_name_valid(struct slice name)
{
	for (size_t i = 0; i < name.n; i++) {
		uint8_t c = name.p[i];
		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '*'))
			return false;
	}
	return name.n > 0 && name.n < ACTION_NAME_MAX;
}

static void read_action(struct doc_reader *r, struct statement *s, const json_t *value)
{
	size_t n = doc_reader_count(r, value, STATEMENT_RESOURCES_MAX);
	for (size_t i = 0; i < n; i++) {
		size_t mark;
		struct slice name = doc_reader_item(r, value, i, &mark);
		static const struct slice iot = SLICE_LIT("iot:");
		if (name.p && slice_eq_str(name, "*"))
			s->actions |= DOC_ALL;
		else if (name.p && !slice_has_prefix(name, iot))
			doc_error(r->check, "must be \"*\" or begin with \"iot:\"");
		else if (name.p && !action_name_valid(slice_from(name, iot.n)))
			doc_error(r->check,
			        "must be \"iot:\" and letters, of which '*' stands for any run");
		else if (name.p)
			s->actions |= actions_named(slice_from(name, iot.n));
		doc_leave(r->check, mark);
	}
}

static const struct {
	struct slice head;
	unsigned type;
} resource_types[] = {
        {SLICE_LIT("client/"), DOC_CLIENT},
        {SLICE_LIT("topic/"), DOC_TOPIC},
        {SLICE_LIT("topicfilter/"), DOC_TOPICFILTER},
        /* they decide nothing yet */
        {SLICE_LIT("thing/"), 0},
        {SLICE_LIT("thinggroup/"), 0},
        {SLICE_LIT("job/"), 0},
        {SLICE_LIT("jobtemplate/"), 0},
        {SLICE_LIT("rolealias/"), 0},
        {SLICE_LIT("cert/"), 0},
        {SLICE_LIT("rule/"), 0},
        {SLICE_LIT("stream/"), 0},
        {SLICE_LIT("tunnel/"), 0},
};

static void read_resource(struct doc_reader *r, struct slice text, struct resource *ret)
{
	if (!doc_reader_arn(r, text, &text))
		return;
	if (slice_eq_str(text, "*")) {
		ret->types = DOC_CLIENT | DOC_TOPIC | DOC_TOPICFILTER;
		doc_reader_glob(r, text, true, &ret->glob);
		return;
	}
	for (size_t i = 0; i < ARRAY_LEN(resource_types); i++)
		if (slice_has_prefix(text, resource_types[i].head)) {
			ret->types = resource_types[i].type;
			doc_reader_glob(
			        r, slice_from(text, resource_types[i].head.n), true, &ret->glob);
			return;
		}
	doc_error(r->check,
	        "must be \"*\", or begin with \"client/\", \"topic/\" or \"topicfilter/\", alone "
	        "or "
	        "behind \"arn:aws:iot:{region}:{account}:\"");
}

static void read_resources(struct doc_reader *r, struct statement *s, const json_t *value)
{
	size_t n = doc_reader_count(r, value, STATEMENT_RESOURCES_MAX);
	struct resource *list = arena_alloc(&r->doc->arena, (n + 1) * sizeof(*list));
	r->nomem |= !list;
	for (size_t i = 0; i < n && list; i++) {
		size_t mark;
		struct slice text = doc_reader_item(r, value, i, &mark);
		if (text.p)
			read_resource(r, text, &list[i]);
		doc_leave(r->check, mark);
	}
	s->resources = list;
	s->n_resources = list ? (unsigned)n : 0;
}

static void read_effect(struct doc_reader *r, struct statement *s, const json_t *value)
{
	const char *effect = json_string_value(value);
	if (!effect || (strcmp(effect, "Allow") != 0 && strcmp(effect, "Deny") != 0))
		doc_error(r->check, "must be \"Allow\" or \"Deny\"");
	else
		s->deny = effect[0] == 'D';
}

static void read_sid(struct doc_reader *r, struct statement *s, const json_t *value)
{
	if (!json_is_string(value) || json_string_length(value) > SID_MAX) {
		doc_error(r->check, "must be a string of at most 128 bytes");
		return;
	}
	s->sid = arena_copy(
	        &r->doc->arena, slice_make(json_string_value(value), json_string_length(value)));
	r->nomem |= !s->sid.p;
}

static void read_conditions(struct doc_reader *r, struct statement *s, const json_t *value)
{
	condition_read(r, value, &s->conditions, &s->n_conditions);
}

static void read_refused(
        struct doc_reader *r, struct statement *s HF_UNUSED, const json_t *value HF_UNUSED)
{
	doc_error(r->check, "is not part of the language of AWS IoT policies");
}

static const struct {
	const char *name;
	bool required;
	void (*read)(struct doc_reader *r, struct statement *s, const json_t *value);
} members[] = {
        {"Effect", true, read_effect},
        {"Action", true, read_action},
        {"Resource", true, read_resources},
        {"Condition", false, read_conditions},
        {"Sid", false, read_sid},
        {"NotAction", false, read_refused},
        {"NotResource", false, read_refused},
        {"Principal", false, read_refused},
        {"NotPrincipal", false, read_refused},
};

static void read_member(
        struct doc_reader *r, struct statement *s, const char *name, const json_t *value)
{
	for (size_t i = 0; i < ARRAY_LEN(members); i++)
		if (strcmp(members[i].name, name) == 0) {
			members[i].read(r, s, value);
			return;
		}
	doc_error(r->check, "unknown member");
}

static void read_statement(struct doc_reader *r, struct statement *s, const json_t *value)
{
	const char *name;
	json_t *member;
	if (!json_is_object(value)) {
		doc_error(r->check, "must be an object");
		return;
	}
	json_object_foreach((json_t *)value, name, member)
	{
		size_t mark = doc_enter(r->check, slice_str(name));
		read_member(r, s, name, member);
		doc_leave(r->check, mark);
	}
	for (size_t i = 0; i < ARRAY_LEN(members); i++)
		if (members[i].required && !json_object_get(value, members[i].name))
			doc_member_error(r->check, members[i].name, "is required");
	if (s->deny)
		r->doc->denies |= s->actions;
	else
		r->doc->allows |= s->actions;
}

static void read_statements(struct doc_reader *r, const json_t *value)
{
	bool many = json_is_array(value);
	size_t n = many ? json_array_size(value) : 1;
	if (n < 1 || n > STATEMENTS_MAX) {
		doc_error(r->check, "must be one statement or an array of 1 to 100");
		return;
	}
	struct statement *list = arena_alloc(&r->doc->arena, n * sizeof(*list));
	r->nomem |= !list;
	for (size_t i = 0; i < n && list; i++) {
		size_t mark = many ? doc_enter_index(r->check, i) : r->check->len;
		read_statement(r, &list[i], many ? json_array_get(value, i) : value);
		doc_leave(r->check, mark);
	}
	r->doc->statements = list;
	r->doc->n_statements = list ? (unsigned)n : 0;
}

/* ---- the whole ---- */

static void read_document(struct doc_reader *r, const json_t *json)
{
	const char *name;
	json_t *value;
	if (!json_is_object(json)) {
		doc_error(r->check, "must be an object");
		return;
	}
	json_object_foreach((json_t *)json, name, value)
	{
		size_t mark = doc_enter(r->check, slice_str(name));
		const char *text = json_string_value(value);
		if (strcmp(name, "Statement") == 0)
			read_statements(r, value);
		else if (strcmp(name, "Version") == 0 && (!text || strcmp(text, "2012-10-17") != 0))
			doc_error(r->check, "must be \"2012-10-17\"");
		else if (strcmp(name, "Id") == 0 && !text)
			doc_error(r->check, "must be a string");
		else if (strcmp(name, "Version") != 0 && strcmp(name, "Id") != 0)
			doc_error(r->check, "unknown member");
		doc_leave(r->check, mark);
	}
	static const char *const required[] = {"Version", "Statement"};
	for (size_t i = 0; i < ARRAY_LEN(required); i++)
		if (!json_object_get(json, required[i]))
			doc_member_error(r->check, required[i], "is required");
}

/* The REST body's own limits are wider. */
static bool within_bounds(struct doc_reader *r, const json_t *json)
{
	size_t n = json_dumpb(json, NULL, 0, JSON_COMPACT | JSON_ENCODE_ANY);
	if (n > DOCUMENT_BYTES_MAX)
		doc_error(r->check, "is longer than 16,384 bytes");
	return n <= DOCUMENT_BYTES_MAX;
}

int policy_doc_read(
        const json_t *json, struct doc_check *check, struct slice name, struct policy_doc **ret)
{
	struct policy_doc *doc = calloc(1, sizeof(*doc));
	struct doc_reader r = {.check = check, .doc = doc};
	bool before = check->failed;
	if (!doc)
		return ERR_NOMEM;
	check->failed = false;
	if (within_bounds(&r, json))
		read_document(&r, json);
	struct var *vars = arena_alloc(&doc->arena, (doc->n_vars + 1) * sizeof(*vars));
	doc->name = arena_copy(&doc->arena, name);
	int err = check->failed ? ERR_INVALID : 0;
	if (r.nomem || !vars || !doc->name.p)
		err = ERR_NOMEM;
	check->failed |= before;
	if (err < 0) {
		policy_doc_free(doc);
		return err;
	}
	memcpy(vars, r.vars, doc->n_vars * sizeof(*vars));
	doc->vars = vars;
	*ret = doc;
	return 0;
}

struct policy_doc *policy_doc_free(struct policy_doc *d)
{
	if (d)
		arena_free(&d->arena);
	free(d);
	return NULL;
}
