/*
 * The settings: one INI file, the environment over it, checked against config.def. A struct config
 * is immutable once loaded and counted by references; threads get a new one by mail after SIGHUP.
 */
#ifndef HF_SERVER_CONFIG_H
#define HF_SERVER_CONFIG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct config_list {
	char **items;
	unsigned n;
};

struct config {
	atomic_uint refs;
	char *home; /* absolute */
	char *file; /* the INI file that was read, NULL if there was none */
	            /* one member per setting: hub_name, mqtt_tls_listen, … */
#define STR(section, key, def, reload, text) char *section##_##key;
#define LIST(section, key, def, reload, text) struct config_list section##_##key;
#define INT(section, key, def, min, max, unit, reload, text) int64_t section##_##key;
#define BOOL(section, key, def, reload, text) bool section##_##key;
#define ENUM(section, key, def, reload, words, text) int section##_##key; /* index into words */
#include "server/config.def"
#undef STR
#undef LIST
#undef INT
#undef BOOL
#undef ENUM
	/* where each value came from: "default", the file's path and line, or the variable's name
	 */
	char **origins; /* in the order of config.def */
};

#define CONFIG_ERROR_LEN 1024
/*
 * Reads file (NULL: $home/holdfast.ini if it exists), then the environment. home NULL: from
 * HOLDFAST_HOME, else "./var". Unknown keys and sections, values out of range and rules between
 * settings (plain listener on loopback only, …) are errors. HOLDFAST_HOME is not a setting; other
 * variables that begin with HOLDFAST_ and name none are errors. 0 or ERR_INVALID / ERR_IO with one
 * line in error that names what is wrong and says what is allowed. Main thread or a worker.
 */
int config_load(const char *home, const char *file, struct config **ret,
        char error[static CONFIG_ERROR_LEN]);
bool config_list_has(const struct config_list *list, const char *item);
struct config *config_ref(struct config *c);
struct config *config_unref(struct config *c); /* returns NULL */

/* Prints every setting: name, value, unit, range, default, origin, reload or restart, text.
 * Passwords inside database URLs are masked. */
void config_print(const struct config *c, FILE *out);
/* Writes the commented INI file that `holdfast init` makes: every setting, commented out. */
void config_print_template(FILE *out);
/* Calls changed(name, needs_restart, arg) for every setting that differs. */
void config_diff(const struct config *a, const struct config *b,
        void (*changed)(const char *name, bool needs_restart, void *arg), void *arg);

#endif
