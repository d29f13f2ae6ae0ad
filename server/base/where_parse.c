/* Reading a condition: a lexer that looks one token ahead, and recursive descent with a bound. */
#include <math.h>
#include <stdlib.h>
#include <strings.h>

#include "server/base/cleanup.h"
#include "server/base/err.h"
#include "server/base/utf8.h"
#include "server/base/where_node.h"

enum token {
	T_END,
	T_NAME,
	T_NUMBER,
	T_TEXT,
	T_SIGN, /* operators and punctuation: text has it */
};

struct parser {
	struct where *w;
	struct where_error *error;
	int err;
	unsigned depth;
	char *at, *end; /* of what is not read; names and texts are unescaped where they lie */
	/* the token ahead */
	enum token token;
	char *begin;
	struct slice text; /* of NAME, TEXT and SIGN */
	double number;
};

static int fail(struct parser *p, int err, const char *text)
{
	if (p->err == 0) {
		p->err = err;
		p->error->position = (size_t)(p->begin - p->w->text);
		snprintf(p->error->text, sizeof(p->error->text), "%s", text);
	}
	p->token = T_END;
	p->at = p->end;
	return -1;
}

/* ---- tokens ---- */

static bool is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '$' ||
	        (uint8_t)c >= 0x80;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static void read_name(struct parser *p)
{
	while (p->at < p->end && (is_letter(*p->at) || is_digit(*p->at)))
		p->at++;
	p->token = T_NAME;
	p->text = slice_make(p->begin, (size_t)(p->at - p->begin));
}

static void read_number(struct parser *p)
{
	char *end;
	bool hex = p->at + 1 < p->end && p->at[0] == '0' && (p->at[1] == 'x' || p->at[1] == 'X');
	/* The text ends with a NUL; strtod would also take "inf" and the like, but not behind a
	 * digit. */
	p->number = hex ? (double)strtoull(p->at + 2, &end, 16) : strtod(p->at, &end);
	if ((hex && end == p->at + 2) || (end < p->end && (is_letter(*end) || *end == '.'))) {
		fail(p, ERR_INVALID, "is no number");
		return;
	}
	p->at = end;
	p->token = T_NUMBER;
}

static char unescaped(char c)
{
	switch (c) {
	case 'n': return '\n';
	case 't': return '\t';
	case 'r': return '\r';
	default: return c;
	}
}

/* A quote inside stands doubled or behind a backslash. */
static void read_text(struct parser *p)
{
	char quote = *p->at++, *to = p->begin;
	while (p->at < p->end) {
		char c = *p->at++;
		if (c == '\\' && p->at < p->end) {
			c = unescaped(*p->at++);
		} else if (c == quote) {
			if (p->at == p->end || *p->at != quote) {
				p->token = T_TEXT;
				p->text = slice_make(p->begin, (size_t)(to - p->begin));
				return;
			}
			p->at++;
		}
		*to++ = c;
	}
	fail(p, ERR_INVALID, "a text that is not closed");
}

static void read_sign(struct parser *p)
{
	static const char *const signs[] = {"<=", ">=", "<>", "!=", "=", "<", ">", "(", ")", "[",
	        "]", "{", "}", ",", ".", ":", "+", "-", "*", "/", "%"};
	size_t left = (size_t)(p->end - p->at);
	for (size_t i = 0; i < ARRAY_LEN(signs); i++) {
		size_t n = strlen(signs[i]);
		if (n <= left && memcmp(p->at, signs[i], n) == 0) {
			p->token = T_SIGN;
			p->text = slice_str(signs[i]);
			p->at += n;
			return;
		}
	}
	fail(p, ERR_INVALID, "a character that means nothing here");
}

static void advance(struct parser *p)
{
	while (p->at < p->end && strchr(" \t\r\n", *p->at))
		p->at++;
	p->begin = p->at;
	if (p->at == p->end)
		p->token = T_END;
	else if (is_letter(*p->at))
		read_name(p);
	else if (is_digit(*p->at))
		read_number(p);
	else if (*p->at == '\'' || *p->at == '"')
		read_text(p);
	else
		read_sign(p);
}

static bool ahead(const struct parser *p, const char *sign)
{
	return p->token == T_SIGN && slice_eq_str(p->text, sign);
}

static bool take(struct parser *p, const char *sign)
{
	bool there = ahead(p, sign);
	if (there)
		advance(p);
	return there;
}

static bool word_ahead(const struct parser *p, const char *word)
{
	return p->token == T_NAME && p->text.n == strlen(word) &&
	        strncasecmp((const char *)p->text.p, word, p->text.n) == 0;
}

static bool take_word(struct parser *p, const char *word)
{
	bool there = word_ahead(p, word);
	if (there)
		advance(p);
	return there;
}

static bool need(struct parser *p, const char *sign)
{
	char why[64];
	if (take(p, sign))
		return true;
	snprintf(why, sizeof(why), "\"%s\" is missing here", sign);
	fail(p, ERR_INVALID, why);
	return false;
}

/* ---- nodes; a number of a node, or -1 after fail ---- */

static int add(struct parser *p, struct where_node node)
{
	if (p->err < 0)
		return -1;
	if (p->w->n == WHERE_NODES_MAX)
		return fail(p, ERR_TOO_BIG, "the condition has too many parts");
	p->w->nodes[p->w->n] = node;
	return p->w->n++;
}

static int add_two(struct parser *p, enum where_kind kind, int a, int b, size_t position)
{
	if (a < 0 || b < 0)
		return -1;
	return add(p,
	        (struct where_node){
	                .kind = kind, .a = (uint16_t)a, .b = (uint16_t)b, .position = position});
}

static int add_one(struct parser *p, enum where_kind kind, int a)
{
	return a < 0 ? -1 : add(p, (struct where_node){.kind = kind, .a = (uint16_t)a});
}

static bool enter(struct parser *p)
{
	if (p->depth == WHERE_DEPTH_MAX) {
		fail(p, ERR_TOO_BIG, "the condition is nested too deeply");
		return false;
	}
	p->depth++;
	return true;
}

/* ---- constants ---- */

static const struct {
	const char *word;
	enum where_kind kind;
} words[] = {
        {"true", WHERE_TRUE},
        {"false", WHERE_FALSE},
        {"null", WHERE_NULL},
        {"undefined", WHERE_UNDEFINED},
};

static json_t *read_json(struct parser *p);

static json_t *read_array(struct parser *p)
{
	json_t *list = json_array();
	while (list && !ahead(p, "]") && p->err == 0) {
		json_t *item = read_json(p);
		if (!item || json_array_append_new(list, item) < 0)
			break;
		if (!take(p, ","))
			break;
	}
	need(p, "]");
	return list;
}

static json_t *read_object(struct parser *p)
{
	json_t *object = json_object();
	while (object && !ahead(p, "}") && p->err == 0) {
		struct slice name = p->text;
		if (p->token != T_TEXT && p->token != T_NAME) {
			fail(p, ERR_INVALID, "a name is missing here");
			break;
		}
		advance(p);
		need(p, ":");
		json_t *item = read_json(p);
		if (!item || json_object_setn_new(object, (const char *)name.p, name.n, item) < 0)
			break;
		if (!take(p, ","))
			break;
	}
	need(p, "}");
	return object;
}

static json_t *read_plain(struct parser *p)
{
	bool minus = take(p, "-");
	json_t *json = NULL;
	double n = minus ? -p->number : p->number;
	if (p->token == T_NUMBER)
		json = n == floor(n) && fabs(n) < 1e15 ? json_integer((json_int_t)n) : json_real(n);
	else if (p->token == T_TEXT && !minus)
		json = json_stringn((const char *)p->text.p, p->text.n);
	else if (!minus && word_ahead(p, "true"))
		json = json_true();
	else if (!minus && word_ahead(p, "false"))
		json = json_false();
	else if (!minus && word_ahead(p, "null"))
		json = json_null();
	else
		fail(p, ERR_INVALID, "a constant is missing here");
	if (json)
		advance(p);
	return json;
}

static json_t *read_json(struct parser *p)
{
	json_t *json;
	if (!enter(p))
		return NULL;
	if (take(p, "["))
		json = read_array(p);
	else if (take(p, "{"))
		json = read_object(p);
	else
		json = read_plain(p);
	p->depth--;
	if (!json)
		fail(p, ERR_INVALID, "a constant that cannot be read");
	return json;
}

static int read_json_node(struct parser *p)
{
	if (!ahead(p, "[") && !ahead(p, "{"))
		return fail(p, ERR_INVALID, "a list in brackets is missing here");
	json_t *json = read_json(p);
	int node = p->err == 0 ? add(p, (struct where_node){.kind = WHERE_JSON, .json = json}) : -1;
	if (node < 0)
		json_decref(json);
	return node;
}

/* ---- paths ---- */

static bool add_step(struct parser *p, struct where_node *path, struct where_step step)
{
	if (path->path.n == WHERE_PATH_MAX || p->w->n_steps == WHERE_NODES_MAX) {
		fail(p, ERR_TOO_BIG, "the path has too many steps");
		return false;
	}
	p->w->steps[p->w->n_steps++] = step;
	path->path.n++;
	return true;
}

static void read_subscript(struct parser *p, struct where_node *path)
{
	struct where_step step = {0};
	if (p->token == T_TEXT) {
		step.name = (const char *)p->text.p;
		step.len = p->text.n;
	} else if (p->token == T_NUMBER && p->number >= 0 && p->number < 1e6 &&
	        p->number == (double)(size_t)p->number) {
		step.index = (size_t)p->number;
	} else {
		fail(p, ERR_INVALID, "must be an index or a name in quotes");
		return;
	}
	advance(p);
	if (add_step(p, path, step))
		need(p, "]");
}

static int read_path(struct parser *p)
{
	struct where_node path = {.kind = WHERE_PATH,
	        .position = (size_t)(p->begin - p->w->text),
	        .path = {.first = p->w->n_steps}};
	do {
		if (p->token != T_NAME)
			return fail(p, ERR_INVALID, "a name is missing here");
		if (!add_step(p, &path, (struct where_step){(const char *)p->text.p, p->text.n, 0}))
			return -1;
		advance(p);
		while (take(p, "["))
			read_subscript(p, &path);
	} while (take(p, "."));
	return add(p, path);
}

/* ---- expressions, the loosest last ---- */

/* Words that name nothing. */
static bool reserved(const struct parser *p)
{
	static const char *const list[] = {"AND", "OR", "NOT", "IN", "NIN", "WHERE", "FROM"};
	for (size_t i = 0; i < ARRAY_LEN(list); i++)
		if (word_ahead(p, list[i]))
			return true;
	return false;
}

static int read_or(struct parser *p);

static int read_is_defined(struct parser *p)
{
	if (!need(p, "("))
		return -1;
	int path = read_path(p);
	return need(p, ")") ? add_one(p, WHERE_IS_DEFINED, path) : -1;
}

static int read_primary(struct parser *p)
{
	struct where_node node = {.position = (size_t)(p->begin - p->w->text)};
	int inner;
	if (ahead(p, "[") || ahead(p, "{"))
		return read_json_node(p);
	if (take(p, "(")) {
		inner = read_or(p);
		return need(p, ")") ? inner : -1;
	}
	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		if (take_word(p, words[i].word)) {
			node.kind = words[i].kind;
			return add(p, node);
		}
	if (p->token == T_NUMBER) {
		node.kind = WHERE_NUMBER;
		node.number = p->number;
	} else if (p->token == T_TEXT) {
		node.kind = WHERE_TEXT;
		node.text = p->text;
	} else if (take_word(p, "IS_DEFINED")) {
		return read_is_defined(p);
	} else if (p->token == T_NAME && !reserved(p)) {
		return read_path(p);
	} else {
		return fail(p, ERR_INVALID, "a value is missing here");
	}
	advance(p);
	return add(p, node);
}

static int read_unary(struct parser *p)
{
	if (!take(p, "-"))
		return read_primary(p);
	if (!enter(p))
		return -1;
	int a = read_unary(p);
	p->depth--;
	return add_one(p, WHERE_MINUS, a);
}

struct binary {
	const char *sign;
	enum where_kind kind;
};

static enum where_kind take_binary(struct parser *p, const struct binary *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (take(p, list[i].sign))
			return list[i].kind;
	return WHERE_UNDEFINED;
}

/* A chain leans to the left, so that it deepens the tree: each link counts. */
static int read_chain(
        struct parser *p, int (*operand)(struct parser *p), const struct binary *list, size_t n)
{
	unsigned depth = p->depth;
	int a = operand(p);
	while (a >= 0) {
		size_t position = (size_t)(p->begin - p->w->text);
		enum where_kind kind = take_binary(p, list, n);
		if (kind == WHERE_UNDEFINED || !enter(p))
			break;
		a = add_two(p, kind, a, operand(p), position);
	}
	p->depth = depth;
	return p->err < 0 ? -1 : a;
}

static int read_product(struct parser *p)
{
	static const struct binary signs[] = {{"*", WHERE_MUL}, {"/", WHERE_DIV}, {"%", WHERE_MOD}};
	return read_chain(p, read_unary, signs, ARRAY_LEN(signs));
}

static int read_sum(struct parser *p)
{
	static const struct binary signs[] = {{"+", WHERE_ADD}, {"-", WHERE_SUB}};
	return read_chain(p, read_product, signs, ARRAY_LEN(signs));
}

static int read_comparison(struct parser *p)
{
	static const struct binary signs[] = {{"=", WHERE_EQ}, {"!=", WHERE_NE}, {"<>", WHERE_NE},
	        {"<=", WHERE_LE}, {"<", WHERE_LT}, {">=", WHERE_GE}, {">", WHERE_GT}};
	int a = read_sum(p);
	size_t position = (size_t)(p->begin - p->w->text);
	enum where_kind kind = take_binary(p, signs, ARRAY_LEN(signs));
	if (kind != WHERE_UNDEFINED)
		return add_two(p, kind, a, read_sum(p), position);
	if (take_word(p, "NIN"))
		return add_two(p, WHERE_NOT_IN, a, read_json_node(p), position);
	bool not_in = take_word(p, "NOT");
	if (take_word(p, "IN"))
		return add_two(p, not_in ? WHERE_NOT_IN : WHERE_IN, a, read_json_node(p), position);
	return not_in ? fail(p, ERR_INVALID, "\"IN\" is missing here") : a;
}

static int read_not(struct parser *p)
{
	if (!take_word(p, "NOT"))
		return read_comparison(p);
	if (!enter(p))
		return -1;
	int a = read_not(p);
	p->depth--;
	return add_one(p, WHERE_NOT, a);
}

/* AND and OR in a row become a tree that leans to the right and is as deep as it is long: enough
 * for conditions that people write. */
static int read_and(struct parser *p)
{
	int a = read_not(p);
	if (a < 0 || !take_word(p, "AND") || !enter(p))
		return p->err < 0 ? -1 : a;
	int b = read_and(p);
	p->depth--;
	return add_two(p, WHERE_AND, a, b, 0);
}

static int read_or(struct parser *p)
{
	if (!enter(p))
		return -1;
	int a = read_and(p);
	if (a >= 0 && take_word(p, "OR"))
		a = add_two(p, WHERE_OR, a, read_or(p), 0);
	p->depth--;
	return p->err < 0 ? -1 : a;
}

/* "SELECT * FROM devices [WHERE …]"; false: nothing follows it. */
static bool read_head(struct parser *p)
{
	if (!take_word(p, "SELECT"))
		return true;
	if (!need(p, "*"))
		return true;
	if (!take_word(p, "FROM"))
		fail(p, ERR_INVALID, "\"FROM\" is missing here");
	else if (!take_word(p, "devices") || ahead(p, "."))
		fail(p, ERR_INVALID, "only \"devices\" can be asked here");
	else if (p->token == T_END)
		return false;
	else if (!take_word(p, "WHERE"))
		fail(p, ERR_INVALID, "\"WHERE\" is missing here");
	return true;
}

static int parse(struct parser *p, struct slice text)
{
	int root;
	p->begin = p->at = p->w->text;
	p->end = p->at + text.n;
	if (text.n > WHERE_BYTES_MAX)
		return fail(p, ERR_TOO_BIG, "the condition is longer than 4,096 bytes");
	if (!utf8_valid_mqtt(text))
		return fail(p, ERR_INVALID, "is not valid UTF-8, or holds the character 0");
	advance(p);
	root = read_head(p) ? read_or(p) : add(p, (struct where_node){.kind = WHERE_TRUE});
	if (root >= 0 && p->token != T_END)
		return fail(p, ERR_INVALID, "nothing more can stand here");
	return root;
}

static struct where *where_new(struct slice text)
{
	struct where *w = calloc(1, sizeof(*w));
	if (!w)
		return NULL;
	w->nodes = malloc(WHERE_NODES_MAX * sizeof(*w->nodes));
	w->steps = malloc(WHERE_NODES_MAX * sizeof(*w->steps));
	w->text = malloc(text.n + 1);
	if (!w->nodes || !w->steps || !w->text)
		return where_free(w);
	if (text.n > 0)
		memcpy(w->text, text.p, text.n);
	w->text[text.n] = '\0';
	return w;
}

/* Gives back what was not needed. */
static void trim(struct where *w)
{
	void *nodes = realloc(w->nodes, w->n * sizeof(*w->nodes));
	void *steps = realloc(w->steps, (w->n_steps + 1u) * sizeof(*w->steps));
	if (nodes)
		w->nodes = nodes;
	if (steps)
		w->steps = steps;
}

int where_parse(struct slice text, struct where **ret, struct where_error *ret_error)
{
	struct where *w = where_new(text);
	struct parser p = {.w = w, .error = ret_error};
	if (!w)
		return ERR_NOMEM;
	int root = parse(&p, text);
	if (root < 0 || p.err < 0) {
		where_free(w);
		return p.err;
	}
	w->root = (uint16_t)root;
	trim(w);
	*ret = w;
	return 0;
}
