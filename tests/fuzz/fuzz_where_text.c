/* Conditions on a payload's text: the same comes out as of the built document. */
#include <assert.h>

#include "server/base/err.h"
#include "server/base/where.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct json_limits limits = {.bytes = 1 << 20, .depth = 32, .values = 65536};

static unsigned count_paths(const struct where *w)
{
	struct where_path path;
	unsigned n = 0;
	for (unsigned pos = 0; where_next_path(w, &pos, &path); n++)
		;
	return n;
}

/* Input: the condition, a zero, the payload. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *zero = size ? memchr(data, 0, size) : NULL;
	struct where *w = NULL;
	struct where_error e;
	char error[JSON_ERROR_LEN];
	double value;
	if (!zero || where_parse(slice_make(data, (size_t)(zero - data)), &w, &e) < 0)
		return 0;
	struct slice text = slice_make(zero + 1, size - (size_t)(zero + 1 - data));
	bool matches = where_matches_text(w, text);
	assert(!where_number_text(w, text, &value) || value == value);
	json_t *doc = NULL;
	if (count_paths(w) <= 16 && json_read(text, &limits, &doc, error) == 0) {
		_cleanup_json_ json_t *root = json_pack("{s:o}", "$", doc);
		assert(root);
		assert(matches == where_matches(w, root));
	}
	where_free(w);
	return 0;
}
