/* Conditions: whatever is read can be evaluated, and its bounds hold. */
#include <assert.h>

#include "server/base/err.h"
#include "server/base/where.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_paths(const struct where *w, size_t size)
{
	struct where_path path;
	for (unsigned pos = 0; where_next_path(w, &pos, &path);) {
		assert(path.n >= 1 && path.n <= WHERE_PATH_MAX);
		assert(path.position <= size);
	}
}

/* Input: the condition. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct where *w = NULL;
	struct where_error e = {.position = SIZE_MAX};
	int err = where_parse(slice_make(data, size), &w, &e);
	assert(err == 0 || err == ERR_INVALID || err == ERR_TOO_BIG);
	if (err < 0) {
		assert(!w && e.position <= size && e.text[0] && strlen(e.text) < WHERE_ERROR_LEN);
		return 0;
	}
	_cleanup_json_ json_t *doc = json_loads(
	        "{\"a\": 1, \"b\": \"x\", \"tags\": {\"a\": [1, {\"b\": null}], \"s\": true}}", 0,
	        NULL);
	assert(doc);
	where_matches(w, doc);
	where_matches(w, NULL);
	check_paths(w, size);
	where_free(w);
	return 0;
}
