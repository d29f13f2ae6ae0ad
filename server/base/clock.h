/*
 * Time. Sessions, wills, keep alive and every time-out use the monotonic clock; the wall clock is
 * for token expiry and for what people read.
 */
#ifndef HF_BASE_CLOCK_H
#define HF_BASE_CLOCK_H

#include <stddef.h>
#include <stdint.h>

uint64_t clock_ms(void); /* monotonic */
uint64_t clock_us(void); /* monotonic */
int64_t clock_wall_us(void);
/* The wall clock as it was when the process began, and what the monotonic clock has counted since:
 * it does not jump. For times that must outlast the process and that no step of the wall clock may
 * move while it runs. */
int64_t clock_steady_us(void);

#define CLOCK_RFC3339_LEN 25 /* "2026-11-22T18:40:26.123Z" and NUL */
/* Writes RFC 3339 in UTC with milliseconds. us: wall-clock microseconds since 1970, years 1 to
 * 9999; outside of them the nearest. Returns out. */
const char *clock_rfc3339(int64_t us, char out[static CLOCK_RFC3339_LEN]);
/* Parses RFC 3339 (any offset, fraction of 0 to 9 digits, 'T' or 't'). 0 or ERR_INVALID. */
int clock_parse_rfc3339(const char *s, size_t n, int64_t *ret_us);

#endif
