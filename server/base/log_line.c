#include "server/base/log_line.h"

#include <stdio.h>

#include "server/base/clock.h"
#include "server/base/utf8.h"

/* Kept free for what closes a value and the line. */
#define LINE_RESERVE 8
/* The longest number with its unit; a text is worth beginning with as much. */
#define VALUE_MIN 24
#define ESCAPE_MAX 12

static size_t room(const struct log_line *l)
{
	const size_t limit = LOG_LINE_MAX - LINE_RESERVE;
	return l->full || l->n > limit ? 0 : limit - l->n;
}

static void put(struct log_line *l, const char *s, size_t n)
{
	if (n > room(l)) {
		l->full = true;
		return;
	}
	memcpy(l->text + l->n, s, n);
	l->n += n;
}

/* What closes: there is always room for it. */
static void put_closing(struct log_line *l, char c)
{
	l->text[l->n++] = c;
}

/* Control characters of ASCII and Latin-1, DEL, and Unicode's line ends and direction marks: what
 * could forge a line, or fool the eye of who reads it in a terminal. */
static bool deceives(uint32_t code)
{
	return code < 0x20 || (code >= 0x7f && code < 0xa0) || code == 0x200e || code == 0x200f ||
	        (code >= 0x2028 && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069) ||
	        code == 0xfeff;
}

/* The escape of a code point or, where len is 0, of a byte that is no UTF-8. 0: none is needed. */
static size_t escape(const struct log_line *l, uint32_t code, size_t len, char out[ESCAPE_MAX])
{
	if (len == 0 && l->json)
		return (size_t)snprintf(out, ESCAPE_MAX, "\\ufffd");
	if (len == 0)
		return (size_t)snprintf(out, ESCAPE_MAX, "\\x%02x", (unsigned)code & 0xff);
	if (code == '"' || code == '\\')
		return (size_t)snprintf(out, ESCAPE_MAX, "\\%c", (char)code);
	if (code == '\n')
		return (size_t)snprintf(out, ESCAPE_MAX, "\\n");
	if (deceives(code))
		return (size_t)snprintf(out, ESCAPE_MAX, "\\u%04x", (unsigned)code & 0xffff);
	return 0;
}

static void put_quoted(struct log_line *l, struct slice s)
{
	put(l, "\"", 1);
	bool opened = !l->full;
	for (size_t i = 0; i < s.n && !l->full;) {
		uint32_t code = s.p[i];
		size_t len = utf8_next(s.p + i, s.n - i, &code);
		char out[ESCAPE_MAX];
		size_t n = escape(l, len ? code : s.p[i], len, out);
		if (n > 0)
			put(l, out, n);
		else
			put(l, (const char *)s.p + i, len);
		i += len ? len : 1;
	}
	if (opened)
		put_closing(l, '"');
}

static bool is_bare(struct slice s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] <= ' ' || s.p[i] >= 0x7f || s.p[i] == '"' || s.p[i] == '\\' ||
		        s.p[i] == '=')
			return false;
	return s.n > 0;
}

static void put_string(struct log_line *l, struct slice s)
{
	if (!l->json && is_bare(s) && s.n <= room(l))
		put(l, (const char *)s.p, s.n);
	else
		put_quoted(l, s);
}

/* The separator and the name; false, and nothing written, where there is no room for them and the
 * beginning of a value. */
static bool put_name(struct log_line *l, const char *name)
{
	size_t len = strlen(name);
	if (len + 4 + VALUE_MIN > room(l)) {
		l->full = true;
		return false;
	}
	bool first = l->n == (l->json ? 1 : 0);
	if (!first)
		put(l, l->json ? "," : " ", 1);
	if (l->json)
		put(l, "\"", 1);
	put(l, name, len);
	put(l, l->json ? "\":" : "=", l->json ? 2 : 1);
	return true;
}

void log_line_begin(
        struct log_line *l, bool json, int64_t wall_us, enum log_level level, const char *event)
{
	static const char *const levels[] = {"error", "warn", "info", "debug"};
	char time[CLOCK_RFC3339_LEN];
	l->json = json;
	l->full = false;
	l->n = 0;
	if (json)
		put(l, "{", 1);
	put_name(l, "ts");
	put_string(l, slice_str(clock_rfc3339(wall_us, time)));
	put_name(l, "level");
	put_string(l, slice_str(levels[level]));
	put_name(l, "msg");
	put_quoted(l, slice_str(event));
}

void log_line_add(struct log_line *l, const struct log_field *f)
{
	if (l->full || !put_name(l, f->name))
		return;
	char number[24];
	switch (f->kind) {
	case LOG_FIELD_STR: put_string(l, slice_str(f->str ? f->str : "")); return;
	case LOG_FIELD_SLICE: put_string(l, f->slice); return;
	case LOG_FIELD_I64: snprintf(number, sizeof(number), "%lld", (long long)f->i64); break;
	case LOG_FIELD_U64:
	case LOG_FIELD_MS:
		snprintf(number, sizeof(number), "%llu", (unsigned long long)f->u64);
		break;
	}
	put(l, number, strlen(number));
	if (f->kind == LOG_FIELD_MS && !l->json)
		put(l, "ms", 2);
}

void log_line_end(struct log_line *l)
{
	if (l->json)
		put_closing(l, '}');
	put_closing(l, '\n');
}
