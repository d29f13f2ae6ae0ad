/* The settings as a table, made from config.def. Private to config*.c. */
#ifndef HF_SERVER_CONFIG_TABLE_H
#define HF_SERVER_CONFIG_TABLE_H

#include <stddef.h>

#include "server/config.h"

enum setting_type { SETTING_STR, SETTING_LIST, SETTING_INT, SETTING_BOOL, SETTING_ENUM };

struct setting {
	enum setting_type type;
	bool live; /* applied on SIGHUP */
	const char *section, *key, *def, *text;
	int64_t min, max;
	const char *unit, *words;
	size_t offset; /* of its member in struct config */
};

extern const struct setting settings[];
extern const unsigned settings_count;

#define CONFIG_VALUE_MAX 4096 /* bytes of one value */

/* "HOLDFAST_MQTT_TLS_LISTEN" into out. */
#define SETTING_ENV_LEN 64
void setting_env_name(const struct setting *s, char out[static SETTING_ENV_LEN]);

/* Sets the member from text and frees what it held. 0, ERR_NOMEM, or ERR_INVALID with what is
 * wrong and what is allowed in why, behind the setting's name. */
#define SETTING_WHY_LEN 512
int setting_set(const struct setting *s, struct config *c, const char *text,
        char why[static SETTING_WHY_LEN]);
void setting_clear(const struct setting *s, struct config *c);
/* The value as text that setting_set would take; malloc'ed, NULL when out of memory. */
char *setting_value(const struct setting *s, const struct config *c);
/* What values are allowed: "1 to 300 s", "yes or no", … */
const char *setting_allowed(const struct setting *s, char out[static SETTING_WHY_LEN]);

/* Checks an address to listen on: host:port, name:port or [v6]:port. NULL, or what is wrong with
 * it. */
const char *config_listen_problem(const char *address, bool loopback_only);

/* Reads an INI file: calls entry for each "key = value", with the line's number. Stops at the first
 * error. error: one line that begins with the file's name. */
struct ini_reader {
	const char *path;
	int (*entry)(struct ini_reader *r, unsigned line, const char *section, const char *key,
	        const char *value);
	char *error;
};
/* 0; ERR_NOT_FOUND where there is no such file; ERR_IO; ERR_INVALID; what entry returned. */
int ini_read(struct ini_reader *r);
/* Writes the error of one line. */
int ini_fail(struct ini_reader *r, unsigned line, const char *format, ...)
        __attribute__((format(printf, 3, 4)));

/* Text from outside as a message may show it: printable ASCII, at most 64 bytes of it. */
#define CONFIG_QUOTE_LEN 72
const char *config_quote(const char *s, char out[static CONFIG_QUOTE_LEN]);

#endif
