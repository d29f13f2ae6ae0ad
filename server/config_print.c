#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/cleanup.h"
#include "server/config_table.h"

#define MASK "***"

/* Where the value of a "password=" begins (URL parameters and libpq's key words alike), or NULL. */
static const char *password_value(const char *text)
{
	const char *p = strstr(text, "password");
	for (; p; p = strstr(p + 1, "password")) {
		const char *v = p + strlen("password");
		v += strspn(v, " \t");
		if (*v == '=')
			return v + 1 + strspn(v + 1, " \t");
	}
	return NULL;
}

static const char *password_end(const char *v)
{
	if (*v != '\'')
		return v + strcspn(v, "& \t");
	for (v++; *v && *v != '\''; v++)
		if (*v == '\\' && v[1])
			v++;
	return *v ? v + 1 : v;
}

/* Prints a database URL without its passwords. Where it is unclear what belongs to a password (an
 * '@' that should have been encoded), more is masked rather than less. */
static void print_masked(const char *url, FILE *out)
{
	const char *user = strstr(url, "://");
	const char *colon = user ? strchr(user + 3, ':') : NULL;
	const char *at = user ? strrchr(user + 3, '@') : NULL;
	if (colon && at && colon < at) {
		fprintf(out, "%.*s" MASK, (int)(colon + 1 - url), url);
		url = at;
	}
	for (const char *v; (v = password_value(url)); url = password_end(v))
		fprintf(out, "%.*s" MASK, (int)(v - url), url);
	fputs(url, out);
}

static void print_details(const struct setting *s, const char *origin, FILE *out)
{
	char allowed[SETTING_WHY_LEN], env[SETTING_ENV_LEN];
	setting_env_name(s, env);
	fprintf(out, "    %s\n    from: %s; allowed: %s; default: %s; %s; %s\n", s->text, origin,
	        setting_allowed(s, allowed), *s->def ? s->def : "empty",
	        s->live ? "SIGHUP reloads it" : "a change needs a restart", env);
}

void config_print(const struct config *c, FILE *out)
{
	fprintf(out, "# home: %s\n# file: %s\n", c->home, c->file ? c->file : "none");
	for (unsigned i = 0; i < settings_count; i++) {
		const struct setting *s = &settings[i];
		_cleanup_free_ char *value = setting_value(s, c);
		fprintf(out, "\n%s.%s = ", s->section, s->key);
		if (value && strcmp(s->section, "database") == 0)
			print_masked(value, out);
		else
			fputs(value ? value : "(out of memory)", out);
		fputc('\n', out);
		print_details(s, c->origins[i], out);
	}
}

void config_print_template(FILE *out)
{
	char allowed[SETTING_WHY_LEN];
	fputs("# Holdfast's settings. Each stands here with its default; take the # off to change "
	      "it.\n"
	      "# The environment wins: [mqtt] tls_listen is HOLDFAST_MQTT_TLS_LISTEN.\n"
	      "# @home@ is the home folder, @host@ this machine's host name.\n"
	      "# SIGHUP reloads what can be reloaded; `holdfast config` prints what is in force.\n",
	        out);
	for (unsigned i = 0; i < settings_count; i++) {
		const struct setting *s = &settings[i];
		if (i == 0 || strcmp(settings[i - 1].section, s->section) != 0)
			fprintf(out, "\n[%s]\n", s->section);
		fprintf(out, "# %s\n# (%s; %s)\n#%s =%s%s\n", s->text, setting_allowed(s, allowed),
		        s->live ? "SIGHUP reloads it" : "a change needs a restart", s->key,
		        *s->def ? " " : "", s->def);
	}
}

void config_diff(const struct config *a, const struct config *b,
        void (*changed)(const char *name, bool needs_restart, void *arg), void *arg)
{
	for (unsigned i = 0; i < settings_count; i++) {
		const struct setting *s = &settings[i];
		_cleanup_free_ char *before = setting_value(s, a), *after = setting_value(s, b);
		if (before && after && strcmp(before, after) == 0)
			continue;
		char name[64];
		snprintf(name, sizeof(name), "%s.%s", s->section, s->key);
		changed(name, !s->live, arg);
	}
}
