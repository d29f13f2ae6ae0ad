#include "server/config.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "server/base/cleanup.h"
#include "server/base/err.h"
#include "server/base/role.h"
#include "server/config_table.h"
#include "server/gate.h"
#include "server/net/net.h"

#define THREADS_MAX 16
#define HOST_CHARS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._"

/* ---- one setting from one source ---- */

struct loader {
	struct ini_reader ini;
	struct config *c;
	char host[65];
};

/* The text with "@home@" and "@host@" replaced; malloc'ed, NULL when out of memory. */
static char *expand(const struct loader *l, const char *text)
{
	char *out = NULL;
	size_t size;
	FILE *f = open_memstream(&out, &size);
	if (!f)
		return NULL;
	while (*text) {
		bool home = strncmp(text, "@home@", 6) == 0;
		if (home || strncmp(text, "@host@", 6) == 0) {
			fputs(home ? l->c->home : l->host, f);
			text += 6;
		} else {
			fputc(*text++, f);
		}
	}
	if (fclose(f) != 0)
		free(TAKE_PTR(out));
	return out;
}

static int apply(struct loader *l, unsigned index, const char *text, const char *origin, char *why)
{
	char **slot = &l->c->origins[index];
	_cleanup_free_ char *expanded = expand(l, text), *copy = strdup(origin);
	if (!expanded || !copy) {
		snprintf(why, SETTING_WHY_LEN, "out of memory");
		return ERR_NOMEM;
	}
	int r = setting_set(&settings[index], l->c, expanded, why);
	if (r < 0)
		return r;
	free(*slot);
	*slot = TAKE_PTR(copy);
	return 0;
}

static int apply_defaults(struct loader *l)
{
	char why[SETTING_WHY_LEN];
	for (unsigned i = 0; i < settings_count; i++) {
		int r = apply(l, i, settings[i].def, "default", why);
		if (r < 0) {
			snprintf(l->ini.error, CONFIG_ERROR_LEN, "%s.%s: default: %s",
			        settings[i].section, settings[i].key, why);
			return r;
		}
	}
	return 0;
}

/* The names of the section's keys, or of the sections where section is NULL. */
static void list_names(const char *section, char *out, size_t size)
{
	size_t n = 0;
	out[0] = '\0';
	for (unsigned i = 0; i < settings_count && n < size; i++) {
		const struct setting *s = &settings[i];
		bool again = i > 0 && strcmp(s->section, settings[i - 1].section) == 0;
		if (section ? strcmp(s->section, section) != 0 : again)
			continue;
		n += (size_t)snprintf(
		        out + n, size - n, "%s%s", n ? ", " : "", section ? s->key : s->section);
	}
}

static int entry(struct ini_reader *r, unsigned line, const char *section, const char *key,
        const char *value)
{
	struct loader *l = container_of(r, struct loader, ini);
	char quoted[CONFIG_QUOTE_LEN], names[600], why[SETTING_WHY_LEN];
	unsigned i = 0;
	while (i < settings_count &&
	        (strcmp(settings[i].section, section) != 0 || strcmp(settings[i].key, key) != 0))
		i++;
	if (i == settings_count) {
		list_names(section, names, sizeof(names));
		if (names[0] != '\0')
			return ini_fail(r, line, "[%s] has no setting %s; allowed: %s", section,
			        config_quote(key, quoted), names);
		list_names(NULL, names, sizeof(names));
		return ini_fail(r, line, "no section [%s]; allowed: %s",
		        config_quote(section, quoted), names);
	}
	if (strcmp(l->c->origins[i], "default") != 0)
		return ini_fail(r, line, "%s.%s is set twice, first at %.300s", section, key,
		        l->c->origins[i]);
	_cleanup_free_ char *origin = NULL;
	if (asprintf(&origin, "%s:%u", r->path, line) < 0) {
		origin = NULL;
		return ERR_NOMEM;
	}
	int err = apply(l, i, value, origin, why);
	if (err < 0)
		ini_fail(r, line, "%s.%s: %s", section, key, why);
	return err;
}

static int apply_file(struct loader *l, const char *file)
{
	_cleanup_free_ char *path = NULL;
	if (file)
		path = strdup(file);
	else if (asprintf(&path, "%s/holdfast.ini", l->c->home) < 0)
		path = NULL;
	if (!path)
		return ERR_NOMEM;
	l->ini.path = path;
	l->ini.entry = entry;
	int r = ini_read(&l->ini);
	if (r == ERR_NOT_FOUND) {
		if (!file)
			return 0;
		ini_fail(&l->ini, 0, "no such file");
		return ERR_IO;
	}
	if (r == 0)
		l->c->file = TAKE_PTR(path);
	return r;
}

/* ---- the environment ---- */

/* The setting of a variable's name; settings_count where there is none. */
static unsigned find_env(const char *name, size_t n)
{
	char env[SETTING_ENV_LEN];
	unsigned i = 0;
	for (; i < settings_count; i++) {
		setting_env_name(&settings[i], env);
		if (strlen(env) == n && memcmp(env, name, n) == 0)
			break;
	}
	return i;
}

static int apply_env(struct loader *l)
{
	char why[SETTING_WHY_LEN], quoted[CONFIG_QUOTE_LEN];
	for (char **e = environ; e && *e; e++) {
		const char *equals = strchr(*e, '=');
		if (!equals || strncmp(*e, "HOLDFAST_", 9) != 0)
			continue;
		_cleanup_free_ char *name = strndup(*e, (size_t)(equals - *e));
		if (!name)
			return ERR_NOMEM;
		if (strcmp(name, "HOLDFAST_HOME") == 0)
			continue;
		unsigned i = find_env(name, strlen(name));
		if (i == settings_count) {
			snprintf(l->ini.error, CONFIG_ERROR_LEN,
			        "the environment variable %s names no setting; allowed: "
			        "HOLDFAST_HOME and HOLDFAST_SECTION_KEY for each setting that "
			        "`holdfast config` prints",
			        config_quote(name, quoted));
			return ERR_INVALID;
		}
		int r = apply(l, i, equals + 1, name, why);
		if (r < 0) {
			snprintf(l->ini.error, CONFIG_ERROR_LEN, "%s: %s", name, why);
			return r;
		}
	}
	return 0;
}

/* ---- what a setting's type does not say ---- */

static int refuse(const struct loader *l, const char *name, const char *value, const char *problem)
{
	char quoted[CONFIG_QUOTE_LEN], full[64];
	const char *origin = "default";
	for (unsigned i = 0; i < settings_count; i++) {
		snprintf(full, sizeof(full), "%s.%s", settings[i].section, settings[i].key);
		if (strcmp(full, name) == 0)
			origin = l->c->origins[i];
	}
	snprintf(l->ini.error, CONFIG_ERROR_LEN, "%.300s: %s: %s %s", origin, name,
	        config_quote(value, quoted), problem);
	return ERR_INVALID;
}

static int check_listen(const struct loader *l, const char *name, const struct config_list *list,
        bool loopback_only)
{
	for (unsigned i = 0; i < list->n; i++) {
		const char *problem = config_listen_problem(list->items[i], loopback_only);
		if (problem)
			return refuse(l, name, list->items[i], problem);
	}
	return 0;
}

bool config_list_has(const struct config_list *list, const char *item)
{
	for (unsigned i = 0; i < list->n; i++)
		if (strcmp(list->items[i], item) == 0)
			return true;
	return false;
}

static int check_proxies(const struct loader *l)
{
	const struct config *c = l->c;
	const struct config_list *at = &c->net_proxy_protocol, *from = &c->net_proxy_trusted;
	for (unsigned i = 0; i < at->n; i++)
		if (!config_list_has(&c->mqtt_tls_listen, at->items[i]) &&
		        !config_list_has(&c->mqtt_plain_listen, at->items[i]) &&
		        !config_list_has(&c->https_listen, at->items[i]))
			return refuse(l, "net.proxy_protocol", at->items[i],
			        "is none of the listen addresses; allowed: one that is listened "
			        "on, written the same way");
	for (unsigned i = 0; i < from->n; i++)
		if (!net_network_valid(from->items[i]))
			return refuse(l, "net.proxy_trusted", from->items[i],
			        "is no network; allowed: 10.0.0.0/8, 192.0.2.1, fd00::/8, with no "
			        "bits set behind the prefix");
	if (at->n > 0 && from->n == 0)
		return refuse(l, "net.proxy_trusted", "",
		        "is not allowed with net.proxy_protocol; allowed: the balancers' "
		        "networks");
	return 0;
}

static int check_abuse(const struct loader *l)
{
	const struct config *c = l->c;
	unsigned seconds[POLICY_BAN_STEPS], n;
	for (unsigned i = 0; i < c->abuse_exempt.n; i++)
		if (!net_network_valid(c->abuse_exempt.items[i]))
			return refuse(l, "abuse.exempt", c->abuse_exempt.items[i],
			        "is no network; allowed: 10.0.0.0/8, 192.0.2.1, fd00::/8, with no "
			        "bits behind the prefix");
	if (gate_ban_seconds(&c->abuse_ban_seconds, seconds, &n) < 0)
		return refuse(l, "abuse.ban_seconds",
		        c->abuse_ban_seconds.n ? c->abuse_ban_seconds.items[0] : "",
		        "allowed: 1 to 8 numbers of seconds, each from 1 to 31536000");
	return 0;
}

static int check_names(const struct loader *l)
{
	const struct config_list *names = &l->c->hub_name;
	if (names->n == 0)
		return refuse(l, "hub.name", "", "is not allowed; allowed: one name or more");
	for (unsigned i = 0; i < names->n; i++) {
		const char *name = names->items[i];
		if (strlen(name) > 253 || name[strspn(name, HOST_CHARS ":")] != '\0')
			return refuse(l, "hub.name", name,
			        "is no host name; allowed: names and addresses without port");
	}
	return 0;
}

/* MQTT 5.0 section 4.7: '#' only as the whole last level, '+' only as a whole level. */
static bool filter_valid(const char *filter)
{
	for (;;) {
		size_t n = strcspn(filter, "/");
		const char *wild = memchr(filter, '#', n);
		if (wild && (n > 1 || filter[n] == '/'))
			return false;
		if (memchr(filter, '+', n) && n > 1)
			return false;
		if (filter[n] == '\0')
			return true;
		filter += n + 1;
	}
}

static int check_filters(const struct loader *l)
{
	const struct config_list *filters = &l->c->telemetry_store;
	for (unsigned i = 0; i < filters->n; i++)
		if (!filter_valid(filters->items[i]))
			return refuse(l, "telemetry.store", filters->items[i],
			        "is no topic filter; allowed: '#' alone in the last level, '+' "
			        "alone in a level");
	return 0;
}

static int check_oidc(const struct loader *l)
{
	const struct config *c = l->c;
	if (c->oidc_issuer[0] == '\0')
		return 0;
	if (c->oidc_audience[0] == '\0')
		return refuse(l, "oidc.audience", "", "is not allowed with oidc.issuer");
	if (strncmp(c->oidc_jwks_url, "https://", strlen("https://")) != 0)
		return refuse(l, "oidc.jwks_url", c->oidc_jwks_url,
		        "is not allowed with oidc.issuer; allowed: https://…");
	for (unsigned i = 0; i < c->oidc_roles.n; i++) {
		const char *equals = strrchr(c->oidc_roles.items[i], '=');
		if (!equals || equals == c->oidc_roles.items[i] ||
		        !role_by_name(slice_str(equals + 1)))
			return refuse(l, "oidc.roles", c->oidc_roles.items[i],
			        "is not allowed; allowed: claim value=role, with a role of the "
			        "hub");
	}
	return 0;
}

static int check_files(const struct loader *l)
{
	const struct {
		const char *name, *value;
	} files[] = {
	        {"tls.certificate", l->c->tls_certificate},
	        {"tls.key", l->c->tls_key},
	        {"secrets.master_key", l->c->secrets_master_key},
	        {"secrets.owner_token", l->c->secrets_owner_token},
	        {"secrets.owner_connection", l->c->secrets_owner_connection},
	};
	for (size_t i = 0; i < ARRAY_LEN(files); i++)
		if (files[i].value[0] == '\0')
			return refuse(l, files[i].name, "",
			        "is not allowed; allowed: the path of a file");
	return 0;
}

static int check(const struct loader *l)
{
	const struct config *c = l->c;
	int r = check_names(l);
	if (r == 0)
		r = check_listen(l, "mqtt.tls_listen", &c->mqtt_tls_listen, false);
	if (r == 0)
		r = check_listen(l, "mqtt.plain_listen", &c->mqtt_plain_listen, true);
	if (r == 0)
		r = check_listen(l, "https.listen", &c->https_listen, false);
	if (r == 0)
		r = check_proxies(l);
	if (r == 0)
		r = check_abuse(l);
	if (r == 0)
		r = check_oidc(l);
	if (r == 0)
		r = check_filters(l);
	if (r == 0)
		r = check_files(l);
	if (r == 0 && c->mqtt_output_soft_bytes > c->mqtt_output_hard_bytes) {
		char value[24];
		snprintf(value, sizeof(value), "%lld", (long long)c->mqtt_output_soft_bytes);
		r = refuse(l, "mqtt.output_soft_bytes", value,
		        "is not allowed; allowed: at most mqtt.output_hard_bytes");
	}
	return r;
}

/* ---- what follows from the machine ---- */

static int64_t threads_of_machine(void)
{
	cpu_set_t cpus;
	int n = sched_getaffinity(0, sizeof(cpus), &cpus) == 0 ? CPU_COUNT(&cpus) : 1;
	return n < 1 ? 1 : n > THREADS_MAX ? THREADS_MAX : n;
}

/* The host name stands in lists: one that is no name is left out. */
static void host_of_machine(char *out, size_t size)
{
	if (gethostname(out, size) < 0)
		out[0] = '\0';
	out[size - 1] = '\0';
	if (out[0] == '\0' || out[strspn(out, HOST_CHARS)] != '\0')
		snprintf(out, size, "localhost");
}

/* "localhost" may stand there already, and so may the machine's own name. */
static void drop_doubles(struct config_list *list)
{
	unsigned n = 0;
	for (unsigned i = 0; i < list->n; i++) {
		unsigned j = 0;
		while (j < n && strcasecmp(list->items[j], list->items[i]) != 0)
			j++;
		if (j < n)
			free(list->items[i]);
		else
			list->items[n++] = list->items[i];
	}
	list->n = n;
}

static int home_absolute(const char *home, char **ret, char *error)
{
	if (!home)
		home = getenv("HOLDFAST_HOME");
	if (home && *home == '\0') {
		snprintf(error, CONFIG_ERROR_LEN,
		        "HOLDFAST_HOME is empty; allowed: the path of a folder");
		return ERR_INVALID;
	}
	if (!home)
		home = "./var";
	if (*home == '/') {
		*ret = strdup(home);
		return *ret ? 0 : ERR_NOMEM;
	}
	while (strncmp(home, "./", 2) == 0)
		home += 2 + strspn(home + 2, "/");
	_cleanup_free_ char *here = getcwd(NULL, 0);
	if (!here) {
		snprintf(error, CONFIG_ERROR_LEN, "the working folder: %s", strerror(errno));
		return ERR_IO;
	}
	if (asprintf(ret, "%s/%s", strcmp(here, "/") == 0 ? "" : here, home) < 0) {
		*ret = NULL;
		return ERR_NOMEM;
	}
	return 0;
}

/* ---- the door ---- */

static int load(struct loader *l, const char *home, const char *file)
{
	struct config *c = l->c;
	c->origins = calloc(settings_count, sizeof(*c->origins));
	if (!c->origins)
		return ERR_NOMEM;
	int r = home_absolute(home, &c->home, l->ini.error);
	if (r == 0)
		r = apply_defaults(l);
	if (r == 0)
		r = apply_file(l, file);
	if (r == 0)
		r = apply_env(l);
	if (r == 0)
		r = check(l);
	if (r < 0)
		return r;
	drop_doubles(&c->hub_name);
	if (c->hub_threads == 0)
		c->hub_threads = threads_of_machine();
	/* A lane keeps about one core of PostgreSQL busy; fewer lanes make larger batches. */
	if (c->storage_lanes == 0)
		c->storage_lanes = c->hub_threads > 2 ? c->hub_threads / 2 : 1;
	return 0;
}

int config_load(const char *home, const char *file, struct config **ret,
        char error[static CONFIG_ERROR_LEN])
{
	struct loader l = {.c = calloc(1, sizeof(*l.c)), .ini.error = error};
	snprintf(error, CONFIG_ERROR_LEN, "out of memory");
	if (!l.c)
		return ERR_NOMEM;
	l.c->refs = 1;
	host_of_machine(l.host, sizeof(l.host));
	int r = load(&l, home, file);
	if (r < 0) {
		config_unref(l.c);
		return r;
	}
	error[0] = '\0';
	*ret = l.c;
	return 0;
}

struct config *config_ref(struct config *c)
{
	atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
	return c;
}

struct config *config_unref(struct config *c)
{
	if (!c || atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1)
		return NULL;
	for (unsigned i = 0; i < settings_count; i++) {
		setting_clear(&settings[i], c);
		if (c->origins)
			free(c->origins[i]);
	}
	free(c->origins);
	free(c->home);
	free(c->file);
	free(c);
	return NULL;
}
