#include "server/base/json_scan.h"

#include "server/base/utf8.h"

struct scan {
	const uint8_t *p, *end;
	unsigned depth, depth_max;
	unsigned values, values_max;
	/* One bit per open level: is it an object? */
	uint8_t objects[JSON_SCAN_DEPTH_MAX / 8];
};

static void skip_space(struct scan *s)
{
	while (s->p < s->end && (*s->p == ' ' || *s->p == '\t' || *s->p == '\n' || *s->p == '\r'))
		s->p++;
}

static bool take(struct scan *s, uint8_t c)
{
	if (s->p == s->end || *s->p != c)
		return false;
	s->p++;
	return true;
}

static bool take_word(struct scan *s, struct slice word)
{
	if (!slice_has_prefix(slice_make(s->p, (size_t)(s->end - s->p)), word))
		return false;
	s->p += word.n;
	return true;
}

static bool take_digits(struct scan *s)
{
	const uint8_t *from = s->p;
	while (s->p < s->end && *s->p >= '0' && *s->p <= '9')
		s->p++;
	return s->p > from;
}

static bool take_number(struct scan *s)
{
	take(s, '-');
	if (!take(s, '0') && !take_digits(s))
		return false;
	if (take(s, '.') && !take_digits(s))
		return false;
	if (take(s, 'e') || take(s, 'E')) {
		if (!take(s, '+'))
			take(s, '-');
		return take_digits(s);
	}
	return true;
}

static bool take_escape(struct scan *s)
{
	if (s->p == s->end)
		return false;
	uint8_t c = *s->p++;
	if (c != 'u')
		return c != 0 && strchr("\"\\/bfnrt", c) != NULL;
	for (int i = 0; i < 4; i++, s->p++) {
		if (s->p == s->end)
			return false;
		uint8_t d = *s->p | 0x20;
		if (!(*s->p >= '0' && *s->p <= '9') && !(d >= 'a' && d <= 'f'))
			return false;
	}
	return true;
}

static bool take_string(struct scan *s)
{
	if (!take(s, '"'))
		return false;
	while (s->p < s->end) {
		uint8_t c = *s->p;
		if (c == '"') {
			s->p++;
			return true;
		}
		if (c < 0x20)
			return false;
		if (c == '\\') {
			s->p++;
			if (!take_escape(s))
				return false;
		} else if (c < 0x80) {
			s->p++;
		} else {
			uint32_t code;
			size_t len = utf8_next(s->p, (size_t)(s->end - s->p), &code);
			if (len == 0)
				return false;
			s->p += len;
		}
	}
	return false;
}

static bool take_scalar(struct scan *s)
{
	if (s->p == s->end)
		return false;
	switch (*s->p) {
	case '"': return take_string(s);
	case 't': return take_word(s, SLICE_LIT("true"));
	case 'f': return take_word(s, SLICE_LIT("false"));
	case 'n': return take_word(s, SLICE_LIT("null"));
	default: return take_number(s);
	}
}

static bool in_object(const struct scan *s)
{
	unsigned level = s->depth - 1;
	return s->objects[level / 8] >> (level % 8) & 1;
}

static bool take_name(struct scan *s)
{
	skip_space(s);
	if (!take_string(s))
		return false;
	skip_space(s);
	return take(s, ':');
}

/* Enters the array or object at s->p. 1: its first value follows; 0: it was empty, and is done. */
static int open_level(struct scan *s, enum json_scan_result *ret)
{
	bool object = *s->p++ == '{';
	if (s->depth == s->depth_max) {
		*ret = JSON_SCAN_DEPTH;
		return -1;
	}
	unsigned level = s->depth++;
	uint8_t bit = (uint8_t)(1 << level % 8);
	if (object)
		s->objects[level / 8] |= bit;
	else
		s->objects[level / 8] &= (uint8_t)~bit;
	skip_space(s);
	if (take(s, object ? '}' : ']')) {
		s->depth--;
		return 0;
	}
	if (object && !take_name(s)) {
		*ret = JSON_SCAN_SYNTAX;
		return -1;
	}
	return 1;
}

/* Behind a value: closes levels. 1: a comma said that another value follows; 0: all is closed. */
static int close_levels(struct scan *s)
{
	while (s->depth > 0) {
		skip_space(s);
		if (take(s, ','))
			return !in_object(s) || take_name(s) ? 1 : -1;
		if (!take(s, in_object(s) ? '}' : ']'))
			return -1;
		s->depth--;
	}
	return 0;
}

static enum json_scan_result scan_all(struct scan *s)
{
	enum json_scan_result result = JSON_SCAN_SYNTAX;
	for (;;) {
		skip_space(s);
		if (s->values++ == s->values_max)
			return JSON_SCAN_VALUES;
		bool opens = s->p < s->end && (*s->p == '{' || *s->p == '[');
		int r = opens ? open_level(s, &result) : take_scalar(s) ? 0 : -1;
		if (r == 0)
			r = close_levels(s);
		if (r < 0)
			return result;
		if (r == 0)
			break;
	}
	skip_space(s);
	return s->p == s->end ? JSON_SCAN_OK : JSON_SCAN_SYNTAX;
}

enum json_scan_result json_scan(struct slice text, unsigned depth, unsigned values, size_t *ret_at)
{
	struct scan s = {.p = text.p,
	        .end = text.n ? text.p + text.n : text.p,
	        .depth_max = depth < JSON_SCAN_DEPTH_MAX ? depth : JSON_SCAN_DEPTH_MAX,
	        .values_max = values};
	enum json_scan_result result = scan_all(&s);
	*ret_at = text.n ? (size_t)(s.p - text.p) : 0;
	return result;
}
