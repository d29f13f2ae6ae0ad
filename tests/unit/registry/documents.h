/* Reading and asserting JSON documents. */
#ifndef HF_TESTS_UNIT_REGISTRY_DOCUMENTS_H
#define HF_TESTS_UNIT_REGISTRY_DOCUMENTS_H

#include "server/base/json.h"
#include "tests/unit/registry/rig.h"

/* Single quotes for double ones: documents read better so. NULs are let in, whoever else refuses
 * them: the checks must not rely on it. */
static inline json_t *doc(const char *text)
{
	json_error_t error;
	char *quoted = strdup(text);
	for (char *c = quoted; *c; c++)
		if (*c == '\'')
			*c = '"';
	json_t *j = json_loads(quoted, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
	ck_assert_msg(j != NULL, "%s: %s", text, error.text);
	free(quoted);
	return j;
}

/* "/auth/primaryKey" of a document; NULL if it is not there. */
static inline const json_t *at(const json_t *j, const char *pointer)
{
	char name[64];
	while (j && *pointer == '/') {
		size_t n = strcspn(++pointer, "/");
		snprintf(name, sizeof(name), "%.*s", (int)n, pointer);
		j = json_object_get(j, name);
		pointer += n;
	}
	return j;
}

static inline const char *text_at(const json_t *j, const char *pointer)
{
	const char *text = json_string_value(at(j, pointer));
	ck_assert_msg(text != NULL, "no text at %s", pointer);
	return text;
}

static inline void assert_json_at(const json_t *j, const char *pointer, const char *want)
{
	_cleanup_json_ json_t *wanted = doc(want);
	char *got = json_dumps(at(j, pointer), JSON_COMPACT | JSON_ENCODE_ANY);
	ck_assert_msg(json_equal((json_t *)at(j, pointer), wanted), "%s is %s", pointer, got);
	free(got);
}

/* The pointers of the errors, joined by blanks, in the order of the document. */
static inline const char *pointers(const json_t *errors)
{
	static char out[8192];
	size_t n = 0;
	out[0] = '\0';
	for (size_t i = 0; i < json_array_size(errors); i++) {
		const json_t *e = json_array_get(errors, i);
		ck_assert_uint_gt(strlen(text_at(e, "/detail")), 0);
		n += (size_t)snprintf(
		        out + n, sizeof(out) - n, "%s%s", i ? " " : "", text_at(e, "/pointer"));
	}
	return out;
}

#endif
