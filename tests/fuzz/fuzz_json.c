/* JSON from outside: what the scan lets pass the parser reads or refuses; what it refuses, the
 * parser would have refused too. */
#include <assert.h>

#include "server/base/err.h"
#include "server/base/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice text = slice_make(data, size);
	_cleanup_json_ json_t *j = NULL;
	char error[JSON_ERROR_LEN] = "";
	bool valid = json_is_valid(text);
	int r = json_read(text, &json_limits_body, &j, error);
	assert((r == 0) == (j != NULL));
	assert((r == 0) == (error[0] == '\0'));
	assert(r != 0 || valid);
	if (!valid && size > 0 && !memchr(data, '\0', size)) {
		_cleanup_json_ json_t *theirs = json_loadb(
		        (const char *)data, size, JSON_DECODE_ANY, NULL);
		/* jansson takes more levels, and ends at a NUL. */
		assert(!theirs || size > 256);
	}
	if (j) {
		_cleanup_json_ json_t *patched = json_merge_patch(j, j);
		assert(patched);
	}
	struct buf out;
	buf_init(&out, 6 * size + 2);
	r = json_append_string(&out, text);
	assert(r == 0 && json_is_valid(buf_slice(&out)));
	buf_free(&out);
	return 0;
}
