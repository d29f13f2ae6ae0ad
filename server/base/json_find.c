#include "server/base/json_find.h"

#include <math.h>

#include "server/base/json.h"

#define NUMBER_MAX 400 /* digits of the longest double that is written out, and some */

static bool is_space(uint8_t c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static const uint8_t *skip_space(const uint8_t *p, const uint8_t *end)
{
	while (p < end && is_space(*p))
		p++;
	return p;
}

/* Behind the string that begins at p. */
static const uint8_t *skip_string(const uint8_t *p, const uint8_t *end)
{
	for (p++; p < end && *p != '"'; p++)
		if (*p == '\\')
			p++;
	return p < end ? p + 1 : end;
}

static const uint8_t *skip_levels(const uint8_t *p, const uint8_t *end)
{
	size_t depth = 0;
	while (p < end) {
		if (*p == '"') {
			p = skip_string(p, end);
			continue;
		}
		if (*p == '{' || *p == '[')
			depth++;
		else if ((*p == '}' || *p == ']') && --depth == 0)
			return p + 1;
		p++;
	}
	return end;
}

static const uint8_t *skip_value(const uint8_t *p, const uint8_t *end)
{
	if (p == end)
		return end;
	if (*p == '"')
		return skip_string(p, end);
	if (*p == '{' || *p == '[')
		return skip_levels(p, end);
	while (p < end && *p != ',' && *p != '}' && *p != ']' && !is_space(*p))
		p++;
	return p;
}

struct slice json_find_root(struct slice text)
{
	if (text.n == 0)
		return text;
	const uint8_t *end = text.p + text.n, *p = skip_space(text.p, end);
	return slice_make(p, (size_t)(skip_value(p, end) - p));
}

/* quoted: the name as it stands there. */
static bool is_name(struct slice quoted, struct slice name)
{
	if (!memchr(quoted.p, '\\', quoted.n))
		return slice_eq(slice_make(quoted.p + 1, quoted.n - 2), name);
	_cleanup_json_ json_t *text = json_loadb(
	        (const char *)quoted.p, quoted.n, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
	return text &&
	        slice_eq(slice_make(json_string_value(text), json_string_length(text)), name);
}

bool json_find_member(struct slice object, struct slice name, struct slice *ret)
{
	bool found = false;
	if (object.n < 2 || object.p[0] != '{')
		return false;
	const uint8_t *end = object.p + object.n, *p = skip_space(object.p + 1, end);
	while (p < end && *p == '"') {
		const uint8_t *behind = skip_string(p, end);
		const struct slice quoted = slice_make(p, (size_t)(behind - p));
		p = skip_space(behind, end); /* the colon */
		p = p < end ? skip_space(p + 1, end) : end;
		behind = skip_value(p, end);
		if (quoted.n >= 2 && is_name(quoted, name)) {
			*ret = slice_make(p, (size_t)(behind - p));
			found = true;
		}
		p = skip_space(behind, end); /* a comma, or the end */
		p = p < end ? skip_space(p + 1, end) : end;
	}
	return found;
}

bool json_find_item(struct slice array, size_t index, struct slice *ret)
{
	if (array.n < 2 || array.p[0] != '[')
		return false;
	const uint8_t *end = array.p + array.n, *p = skip_space(array.p + 1, end);
	while (p < end && *p != ']') {
		const uint8_t *behind = skip_value(p, end);
		if (index-- == 0) {
			*ret = slice_make(p, (size_t)(behind - p));
			return true;
		}
		p = skip_space(behind, end);
		p = p < end ? skip_space(p + 1, end) : end;
	}
	return false;
}

bool json_find_number(struct slice value, double *ret)
{
	char text[NUMBER_MAX + 1];
	if (value.n == 0 || value.n > NUMBER_MAX ||
	        !(value.p[0] == '-' || (value.p[0] >= '0' && value.p[0] <= '9')))
		return false;
	memcpy(text, value.p, value.n);
	text[value.n] = '\0';
	double n = strtod(text, NULL);
	if (!isfinite(n))
		return false;
	*ret = n;
	return true;
}
