#include "registry/tags.h"

static void check_value(struct doc_check *c, const json_t *value, unsigned depth);

/* '$' and '.' have a meaning in queries and in the clouds' twins; control characters have none. */
static const char *name_error(struct slice name)
{
	for (size_t i = 0; i < name.n; i++) {
		if (name.p[i] < ' ' || name.p[i] == 0x7f)
			return "the name holds a control character";
		if (name.p[i] == '$' || name.p[i] == '.')
			return "the name holds '$' or '.'";
	}
	return NULL;
}

static void check_object(struct doc_check *c, const json_t *object, unsigned depth)
{
	const char *name;
	json_t *value;
	json_object_foreach((json_t *)object, name, value)
	{
		size_t mark = doc_enter(c, slice_str(name));
		const char *wrong = name_error(slice_str(name));
		if (wrong)
			doc_error(c, wrong);
		check_value(c, value, depth);
		doc_leave(c, mark);
	}
}

/* Recursion ends at TAGS_DEPTH_MAX, whatever the document. */
static void check_value(struct doc_check *c, const json_t *value, unsigned depth)
{
	bool nests = json_is_object(value) || json_is_array(value);
	if (nests && depth >= TAGS_DEPTH_MAX) {
		doc_error(c, "nested deeper than 10 levels");
		return;
	}
	if (json_is_object(value))
		check_object(c, value, depth + 1);
	for (size_t i = 0; json_is_array(value) && i < json_array_size(value); i++) {
		size_t mark = doc_enter_index(c, i);
		check_value(c, json_array_get(value, i), depth + 1);
		doc_leave(c, mark);
	}
	if (json_is_string(value) && strlen(json_string_value(value)) != json_string_length(value))
		doc_error(c, "the text holds a NUL");
}

char *tags_read(struct doc_check *c, const json_t *value)
{
	if (!json_is_object(value)) {
		doc_error(c, "must be an object");
		return NULL;
	}
	bool failed_before = c->failed;
	c->failed = false;
	check_value(c, value, 0);
	/* A fresh jansson number text has up to 17 digits, so that every double comes back as it
	 * is. */
	char *text = c->failed ? NULL : json_dumps(value, JSON_COMPACT);
	if (text && strlen(text) > TAGS_BYTES_MAX) {
		doc_error(c, "larger than 8192 bytes");
		free(text);
		text = NULL;
	}
	c->failed |= failed_before;
	return text;
}
