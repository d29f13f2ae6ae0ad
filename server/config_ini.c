#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/cleanup.h"
#include "server/base/err.h"
#include "server/config_table.h"

/*
 * The file's syntax, strictly: "[section]", "key = value", and whole lines of comment that begin
 * with '#' or ';'. No quotes, no continuation, no comment behind a value (a topic filter may be
 * "#").
 */

#define INI_FILE_MAX (1u << 20)

int ini_fail(struct ini_reader *r, unsigned line, const char *format, ...)
{
	int n = line ? snprintf(r->error, CONFIG_ERROR_LEN, "%.300s:%u: ", r->path, line)
	             : snprintf(r->error, CONFIG_ERROR_LEN, "%.300s: ", r->path);
	va_list ap;
	va_start(ap, format);
	vsnprintf(r->error + n, CONFIG_ERROR_LEN - (size_t)n, format, ap);
	va_end(ap);
	return ERR_INVALID;
}

/* Cuts the blanks off both ends, in place. */
static char *trim(char *s)
{
	s += strspn(s, " \t");
	size_t n = strlen(s);
	while (n > 0 && (s[n - 1] == ' ' || s[n - 1] == '\t'))
		n--;
	s[n] = '\0';
	return s;
}

static int ini_line(struct ini_reader *r, unsigned number, char *line, const char **section)
{
	char quoted[CONFIG_QUOTE_LEN];
	line = trim(line);
	if (*line == '\0' || *line == '#' || *line == ';')
		return 0;
	if (*line == '[') {
		char *close = strchr(line, ']');
		if (!close || close[1] != '\0')
			return ini_fail(r, number, "%s is no section; allowed: [name]",
			        config_quote(line, quoted));
		*close = '\0';
		*section = trim(line + 1);
		return 0;
	}
	char *equals = strchr(line, '=');
	if (!equals)
		/* Not quoted: it may be the rest of a secret. */
		return ini_fail(r, number,
		        "neither section, setting nor comment; allowed: [section], key = value, # "
		        "comment");
	*equals = '\0';
	const char *key = trim(line), *value = trim(equals + 1);
	if (!*section)
		return ini_fail(r, number, "%s stands before the first [section]",
		        config_quote(key, quoted));
	return r->entry(r, number, *section, key, value);
}

/* The whole file as a string, malloc'ed. */
static int ini_load(struct ini_reader *r, char **ret)
{
	_cleanup_fclose_ FILE *f = fopen(r->path, "re");
	if (!f && errno == ENOENT)
		return ERR_NOT_FOUND;
	_cleanup_free_ char *text = malloc(INI_FILE_MAX + 2);
	if (!text)
		return ERR_NOMEM;
	size_t n = f ? fread(text, 1, INI_FILE_MAX + 1, f) : 0;
	if (!f || ferror(f)) {
		ini_fail(r, 0, "cannot be read: %s", strerror(errno));
		return ERR_IO;
	}
	if (n > INI_FILE_MAX)
		return ini_fail(r, 0, "larger than %u bytes", INI_FILE_MAX);
	if (memchr(text, '\0', n))
		return ini_fail(r, 0, "holds a NUL byte; allowed: text");
	text[n] = '\0';
	*ret = TAKE_PTR(text);
	return 0;
}

int ini_read(struct ini_reader *r)
{
	_cleanup_free_ char *text = NULL;
	int err = ini_load(r, &text);
	const char *section = NULL;
	char *rest = text;
	for (unsigned number = 1; err == 0 && rest && *rest; number++) {
		char *line = strsep(&rest, "\n");
		size_t n = strlen(line);
		if (n > 0 && line[n - 1] == '\r')
			line[n - 1] = '\0';
		err = ini_line(r, number, line, &section);
	}
	return err;
}
