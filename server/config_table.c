#include "server/config_table.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/cleanup.h"
#include "server/base/err.h"

#define LIVE true
#define RESTART false
#define ROW(type_, section_, key_, reload_, text_)                                               \
	.type = (type_), .live = (reload_), .section = #section_, .key = #key_, .text = (text_), \
	.offset = offsetof(struct config, section_##_##key_)

const struct setting settings[] = {
#define STR(section, key, def_, reload, text) \
	{ROW(SETTING_STR, section, key, reload, text), .def = (def_)},
#define LIST(section, key, def_, reload, text) \
	{ROW(SETTING_LIST, section, key, reload, text), .def = (def_)},
#define INT(section, key, def_, min_, max_, unit_, reload, text)                                   \
	{ROW(SETTING_INT, section, key, reload, text), .def = #def_, .min = (min_), .max = (max_), \
	        .unit = (unit_)},
#define BOOL(section, key, def_, reload, text) \
	{ROW(SETTING_BOOL, section, key, reload, text), .def = (def_)},
#define ENUM(section, key, def_, reload, words_, text) \
	{ROW(SETTING_ENUM, section, key, reload, text), .def = (def_), .words = (words_)},
#include "server/config.def"
};

const unsigned settings_count = ARRAY_LEN(settings);

void setting_env_name(const struct setting *s, char out[static SETTING_ENV_LEN])
{
	snprintf(out, SETTING_ENV_LEN, "HOLDFAST_%s_%s", s->section, s->key);
	for (char *c = out; *c; c++)
		*c = (char)toupper((unsigned char)*c);
}

const char *config_quote(const char *s, char out[static CONFIG_QUOTE_LEN])
{
	size_t n = 0;
	out[n++] = '"';
	for (; *s && n < CONFIG_QUOTE_LEN - 6; s++)
		out[n++] = *s < ' ' || *s > '~' ? '?' : *s;
	for (int i = 0; *s && i < 3; i++)
		out[n++] = '.';
	out[n++] = '"';
	out[n] = '\0';
	return out;
}

static void *member(const struct setting *s, struct config *c)
{
	return (char *)c + s->offset;
}

static void list_clear(struct config_list *list)
{
	for (unsigned i = 0; i < list->n; i++)
		free(list->items[i]);
	free(list->items);
	*list = (struct config_list){0};
}

void setting_clear(const struct setting *s, struct config *c)
{
	if (s->type == SETTING_STR) {
		char **str = member(s, c);
		free(TAKE_PTR(*str));
	} else if (s->type == SETTING_LIST) {
		list_clear(member(s, c));
	}
}

const char *setting_allowed(const struct setting *s, char out[static SETTING_WHY_LEN])
{
	switch (s->type) {
	case SETTING_STR: return "a text";
	case SETTING_LIST: return "a list separated by commas";
	case SETTING_BOOL: return "yes or no";
	case SETTING_INT:
		snprintf(out, SETTING_WHY_LEN, "%" PRId64 " to %" PRId64 " %s", s->min, s->max,
		        s->unit);
		return out;
	case SETTING_ENUM: {
		size_t n = 0;
		for (const char *w = s->words; *w && n < SETTING_WHY_LEN - 8; w++) {
			if (*w == '|')
				n += (size_t)snprintf(out + n, SETTING_WHY_LEN - n, " or ");
			else
				out[n++] = *w;
		}
		out[n] = '\0';
		return out;
	}
	}
	return "";
}

static int refuse(const struct setting *s, const char *text, char why[static SETTING_WHY_LEN])
{
	char quoted[CONFIG_QUOTE_LEN], allowed[SETTING_WHY_LEN];
	snprintf(why, SETTING_WHY_LEN, "%s is not allowed; allowed: %.300s",
	        config_quote(text, quoted), setting_allowed(s, allowed));
	return ERR_INVALID;
}

static int set_int(const struct setting *s, struct config *c, const char *text, char *why)
{
	char *end;
	errno = 0;
	long long v = strtoll(text, &end, 10);
	/* strtoll would skip blanks and take a plus. */
	bool number = isdigit((unsigned char)text[0]) ||
	        (text[0] == '-' && isdigit((unsigned char)text[1]));
	if (!number || *end != '\0' || errno != 0 || v < s->min || v > s->max)
		return refuse(s, text, why);
	*(int64_t *)member(s, c) = v;
	return 0;
}

static int set_bool(const struct setting *s, struct config *c, const char *text, char *why)
{
	bool yes = strcmp(text, "yes") == 0;
	if (!yes && strcmp(text, "no") != 0)
		return refuse(s, text, why);
	*(bool *)member(s, c) = yes;
	return 0;
}

static int set_enum(const struct setting *s, struct config *c, const char *text, char *why)
{
	size_t len = strlen(text);
	int index = 0;
	for (const char *w = s->words; len > 0; w += strcspn(w, "|") + 1, index++) {
		size_t n = strcspn(w, "|");
		if (n == len && memcmp(w, text, n) == 0) {
			*(int *)member(s, c) = index;
			return 0;
		}
		if (w[n] == '\0')
			break;
	}
	return refuse(s, text, why);
}

static int set_str(const struct setting *s, struct config *c, const char *text)
{
	char *copy = strdup(text);
	if (!copy)
		return ERR_NOMEM;
	setting_clear(s, c);
	*(char **)member(s, c) = copy;
	return 0;
}

static int list_add(struct config_list *list, const char *item, size_t n)
{
	char **items = realloc(list->items, (list->n + 1) * sizeof(*items));
	if (!items)
		return ERR_NOMEM;
	list->items = items;
	items[list->n] = strndup(item, n);
	if (!items[list->n])
		return ERR_NOMEM;
	list->n++;
	return 0;
}

static int set_list(const struct setting *s, struct config *c, const char *text, char *why)
{
	_cleanup_(list_clear) struct config_list list = {0};
	for (const char *p = text; *text; p++) {
		p += strspn(p, " \t");
		size_t n = strcspn(p, ","), trimmed = n;
		while (trimmed > 0 && (p[trimmed - 1] == ' ' || p[trimmed - 1] == '\t'))
			trimmed--;
		if (trimmed == 0) {
			snprintf(why, SETTING_WHY_LEN,
			        "an item of the list is empty; allowed: items separated by single "
			        "commas, or nothing at all");
			return ERR_INVALID;
		}
		if (list_add(&list, p, trimmed) < 0)
			return ERR_NOMEM;
		p += n;
		if (*p == '\0')
			break;
	}
	setting_clear(s, c);
	*(struct config_list *)member(s, c) = list;
	list = (struct config_list){0};
	return 0;
}

int setting_set(const struct setting *s, struct config *c, const char *text,
        char why[static SETTING_WHY_LEN])
{
	if (strlen(text) > CONFIG_VALUE_MAX) {
		snprintf(why, SETTING_WHY_LEN, "too long; allowed: at most %d bytes",
		        CONFIG_VALUE_MAX);
		return ERR_INVALID;
	}
	for (const char *p = text; *p; p++)
		if (iscntrl((unsigned char)*p) && *p != '\t') {
			snprintf(why, SETTING_WHY_LEN, "control characters are not allowed");
			return ERR_INVALID;
		}
	switch (s->type) {
	case SETTING_STR: return set_str(s, c, text);
	case SETTING_LIST: return set_list(s, c, text, why);
	case SETTING_INT: return set_int(s, c, text, why);
	case SETTING_BOOL: return set_bool(s, c, text, why);
	case SETTING_ENUM: return set_enum(s, c, text, why);
	}
	return ERR_INTERNAL;
}

static char *list_text(const struct config_list *list)
{
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);
	if (!f)
		return NULL;
	for (unsigned i = 0; i < list->n; i++)
		fprintf(f, "%s%s", i ? ", " : "", list->items[i]);
	if (fclose(f) != 0)
		free(TAKE_PTR(text));
	return text;
}

char *setting_value(const struct setting *s, const struct config *c)
{
	const void *v = (const char *)c + s->offset;
	char number[24];
	switch (s->type) {
	case SETTING_STR: return strdup(*(char *const *)v);
	case SETTING_LIST: return list_text(v);
	case SETTING_BOOL: return strdup(*(const bool *)v ? "yes" : "no");
	case SETTING_INT:
		snprintf(number, sizeof(number), "%" PRId64, *(const int64_t *)v);
		return strdup(number);
	case SETTING_ENUM: {
		const char *w = s->words;
		for (int i = *(const int *)v; i > 0; i--)
			w += strcspn(w, "|") + 1;
		return strndup(w, strcspn(w, "|"));
	}
	}
	return NULL;
}
