/* One line of the log, written into a buffer of fixed size. Private to log.c and tests. */
#ifndef HF_BASE_LOG_LINE_H
#define HF_BASE_LOG_LINE_H

#include "server/base/log.h"

#define LOG_LINE_MAX 1024

struct log_line {
	bool json, full;
	size_t n;
	char text[LOG_LINE_MAX];
};

/* Begins a line with time, level and event; adds a field; ends it with a newline. What does not fit
 * is cut: a long value ends early, further fields are left out, the line stays well-formed. */
void log_line_begin(
        struct log_line *l, bool json, int64_t wall_us, enum log_level level, const char *event);
void log_line_add(struct log_line *l, const struct log_field *f);
void log_line_end(struct log_line *l);

#endif
