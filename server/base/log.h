/*
 * The structured log: an event name and fields, as logfmt text or JSON, one line each, to standard
 * error by a thread of its own (a bounded ring; what does not fit is counted and said, nobody
 * waits). Values are escaped, so hostile ids cannot forge lines. Payloads, tokens and keys have no
 * field type: they are never logged. Any thread.
 */
#ifndef HF_BASE_LOG_H
#define HF_BASE_LOG_H

#include "server/base/slice.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

struct log_field {
	const char *name;
	enum { LOG_FIELD_STR, LOG_FIELD_SLICE, LOG_FIELD_I64, LOG_FIELD_U64, LOG_FIELD_MS } kind;
	union {
		const char *str;
		struct slice slice;
		int64_t i64;
		uint64_t u64;
	};
};
#define F_STR(n, v) ((struct log_field){.name = (n), .kind = LOG_FIELD_STR, .str = (v)})
#define F_SLICE(n, v) ((struct log_field){.name = (n), .kind = LOG_FIELD_SLICE, .slice = (v)})
#define F_I64(n, v) ((struct log_field){.name = (n), .kind = LOG_FIELD_I64, .i64 = (int64_t)(v)})
#define F_U64(n, v) ((struct log_field){.name = (n), .kind = LOG_FIELD_U64, .u64 = (uint64_t)(v)})
#define F_MS(n, v) ((struct log_field){.name = (n), .kind = LOG_FIELD_MS, .u64 = (uint64_t)(v)})

/* log_info("device created", F_STR("device", id), F_U64("n", n)); the event is a constant. At most
 * 20 lines a second from one place in the code, the rest are counted in a "suppressed" field. */
#define log_error(event, ...) LOG_AT(LOG_ERROR, event, ##__VA_ARGS__)
#define log_warn(event, ...) LOG_AT(LOG_WARN, event, ##__VA_ARGS__)
#define log_info(event, ...) LOG_AT(LOG_INFO, event, ##__VA_ARGS__)
#define log_debug(event, ...) LOG_AT(LOG_DEBUG, event, ##__VA_ARGS__)

struct log_site {
	_Atomic uint64_t window; /* second << 20 | lines in it */
	_Atomic uint32_t suppressed;
};

#define LOG_AT(lvl, event, ...)                                            \
	do {                                                               \
		static struct log_site _site;                              \
		const struct log_field _fields[] = {{0}, ##__VA_ARGS__};   \
		if (log_enabled(lvl))                                      \
			log_write(&_site, lvl, event, _fields + 1,         \
			        sizeof(_fields) / sizeof(_fields[0]) - 1); \
	} while (0)

bool log_enabled(enum log_level level);
void log_write(struct log_site *site, enum log_level level, const char *event,
        const struct log_field *fields, size_t n);

/* Starts the log's thread: until then, and after log_stop, lines are written at once. */
int log_start(void);
void log_stop(void);
/* Changes level and format at run time (SIGHUP). */
void log_configure(enum log_level level, bool json);

#endif
