#include "server/base/json.h"

#include <malloc.h>

#include "server/base/crypto.h"
#include "server/base/err.h"
#include "server/base/json_scan.h"
#include "server/base/utf8.h"

const struct json_limits json_limits_body = {.bytes = 1 << 20, .depth = 32, .values = 65536};

/* ---- memory ---- */

/* The whole block: what was asked for is not known here. */
static void free_wiped(void *p)
{
	if (p)
		crypto_wipe(p, malloc_usable_size(p));
	free(p);
}

/* Before main, because jansson wants it before the first document and before any thread. What it
 * hands out may still be freed by free(). */
__attribute__((constructor)) static void use_wiping_memory(void)
{
	json_set_alloc_funcs(malloc, free_wiped);
}

/* ---- reading ---- */

/* jansson's messages quote the input and are cut at a byte: what is shown must be whole UTF-8. */
static void error_trim(char *error)
{
	size_t n = strlen(error), i = 0, len;
	uint32_t code;
	while (i < n && (len = utf8_next((const uint8_t *)error + i, n - i, &code)) > 0)
		i += len;
	error[i] = '\0';
}

int json_read(struct slice text, const struct json_limits *limits, json_t **ret,
        char error[static JSON_ERROR_LEN])
{
	if (text.n > limits->bytes) {
		snprintf(error, JSON_ERROR_LEN, "the document is larger than %zu bytes",
		        limits->bytes);
		return ERR_TOO_BIG;
	}
	size_t at;
	switch (json_scan(text, limits->depth, limits->values, &at)) {
	case JSON_SCAN_OK: break;
	case JSON_SCAN_SYNTAX:
		snprintf(error, JSON_ERROR_LEN, "not valid JSON at byte %zu", at);
		return ERR_INVALID;
	case JSON_SCAN_DEPTH:
		snprintf(error, JSON_ERROR_LEN, "nested deeper than %u", limits->depth);
		return ERR_TOO_BIG;
	case JSON_SCAN_VALUES:
		snprintf(error, JSON_ERROR_LEN, "more than %u values", limits->values);
		return ERR_TOO_BIG;
	}
	json_error_t why;
	json_t *j = json_loadb(
	        (const char *)text.p, text.n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &why);
	if (!j) {
		snprintf(error, JSON_ERROR_LEN, "%.*s", JSON_ERROR_LEN - 1, why.text);
		error_trim(error);
		return ERR_INVALID;
	}
	*ret = j;
	return 0;
}

/* ---- text ---- */

bool json_is_valid(struct slice text)
{
	size_t at;
	return json_scan(text, JSON_SCAN_DEPTH_MAX, UINT32_MAX, &at) == JSON_SCAN_OK;
}

/* The escape of one code point, NULL where it stands for itself. */
static const char *escape_of(uint32_t code, char out[static 8])
{
	switch (code) {
	case '"': return "\\\"";
	case '\\': return "\\\\";
	case '\b': return "\\b";
	case '\f': return "\\f";
	case '\n': return "\\n";
	case '\r': return "\\r";
	case '\t': return "\\t";
	}
	if (code >= 0x20 && code != 0x7f)
		return NULL;
	snprintf(out, 8, "\\u%04x", (unsigned)code & 0xff);
	return out;
}

int json_append_string(struct buf *out, struct slice s)
{
	size_t before = buf_len(out);
	int r = buf_append_byte(out, '"');
	size_t from = 0; /* what is not copied yet starts here */
	for (size_t i = 0; r == 0 && i < s.n;) {
		uint32_t code = 0;
		size_t len = utf8_next(s.p + i, s.n - i, &code);
		char hex[8];
		const char *instead = len == 0 ? "\xef\xbf\xbd" : escape_of(code, hex);
		if (instead) {
			r = buf_append(out, s.p + from, i - from);
			if (r == 0)
				r = buf_append_str(out, instead);
			from = i + (len ? len : 1);
		}
		i += len ? len : 1;
	}
	if (r == 0 && from < s.n)
		r = buf_append(out, s.p + from, s.n - from);
	if (r == 0)
		r = buf_append_byte(out, '"');
	if (r < 0)
		buf_truncate(out, before);
	return r;
}

/* ---- documents ---- */

json_t *json_merge_patch(const json_t *target, const json_t *patch)
{
	if (!json_is_object(patch))
		return json_deep_copy(patch);
	_cleanup_json_ json_t *merged = json_is_object(target) ? json_deep_copy(target)
	                                                       : json_object();
	if (!merged)
		return NULL;
	const char *name;
	json_t *value;
	json_object_foreach((json_t *)patch, name, value)
	{
		if (json_is_null(value)) {
			json_object_del(merged, name);
			continue;
		}
		json_t *sub = json_merge_patch(json_object_get(merged, name), value);
		if (!sub || json_object_set_new(merged, name, sub) < 0)
			return NULL;
	}
	return TAKE_PTR(merged);
}
