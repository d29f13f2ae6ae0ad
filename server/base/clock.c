#include "server/base/clock.h"

#include <ctype.h>
#include <stdbool.h>
#include <time.h>

#include "server/base/err.h"

#define US 1000000LL
#define YEAR_1_S (-62135596800LL)   /* 0001-01-01T00:00:00Z */
#define YEAR_10000_S 253402300800LL /* 10000-01-01T00:00:00Z */

static uint64_t monotonic_ns(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ULL + (uint64_t)ts.tv_nsec;
}

uint64_t clock_ms(void)
{
	return monotonic_ns() / 1000000;
}

uint64_t clock_us(void)
{
	return monotonic_ns() / 1000;
}

int64_t clock_wall_us(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * US + ts.tv_nsec / 1000;
}

static int64_t steady_base; /* wall clock minus monotonic clock, us */

__attribute__((constructor)) static void steady_begin(void)
{
	steady_base = clock_wall_us() - (int64_t)clock_us();
}

int64_t clock_steady_us(void)
{
	return steady_base + (int64_t)clock_us();
}

static int64_t floor_div(int64_t a, int64_t b)
{
	return a / b - (a % b < 0);
}

static void put_digits(char *out, int value, int digits)
{
	while (digits-- > 0) {
		out[digits] = (char)('0' + value % 10);
		value /= 10;
	}
}

const char *clock_rfc3339(int64_t us, char out[static CLOCK_RFC3339_LEN])
{
	us = us < YEAR_1_S * US ? YEAR_1_S * US : us;
	us = us >= YEAR_10000_S * US ? YEAR_10000_S * US - 1 : us;
	time_t s = floor_div(us, US);
	struct tm tm;
	gmtime_r(&s, &tm);
	put_digits(out, tm.tm_year + 1900, 4);
	put_digits(out + 5, tm.tm_mon + 1, 2);
	put_digits(out + 8, tm.tm_mday, 2);
	put_digits(out + 11, tm.tm_hour, 2);
	put_digits(out + 14, tm.tm_min, 2);
	put_digits(out + 17, tm.tm_sec, 2);
	put_digits(out + 20, (int)((us - s * US) / 1000), 3);
	out[4] = out[7] = '-';
	out[10] = 'T';
	out[13] = out[16] = ':';
	out[19] = '.';
	out[23] = 'Z';
	out[24] = '\0';
	return out;
}

struct reader {
	const char *p, *end;
};

/* Exactly that many digits, of a value between min and max. */
static bool take_number(struct reader *r, int digits, int min, int max, int *ret)
{
	int v = 0;
	for (; digits > 0; digits--, r->p++) {
		if (r->p == r->end || !isdigit((unsigned char)*r->p))
			return false;
		v = v * 10 + (*r->p - '0');
	}
	*ret = v;
	return v >= min && v <= max;
}

static bool take_any(struct reader *r, const char *chars)
{
	if (r->p == r->end)
		return false;
	for (; *chars; chars++)
		if (*r->p == *chars) {
			r->p++;
			return true;
		}
	return false;
}

static bool take_fraction(struct reader *r, int64_t *ret_us)
{
	int64_t us = 0;
	if (take_any(r, ".")) {
		int digits = 0;
		for (; r->p < r->end && isdigit((unsigned char)*r->p); r->p++, digits++)
			if (digits < 6)
				us = us * 10 + (*r->p - '0');
		if (digits < 1 || digits > 9)
			return false;
		for (; digits < 6; digits++)
			us *= 10;
	}
	*ret_us = us;
	return true;
}

static bool take_offset(struct reader *r, int *ret_s)
{
	*ret_s = 0;
	if (take_any(r, "Zz"))
		return true;
	int sign = take_any(r, "-") ? -1 : 1, hours, minutes;
	if (sign > 0 && !take_any(r, "+"))
		return false;
	if (!take_number(r, 2, 0, 23, &hours) || !take_any(r, ":") ||
	        !take_number(r, 2, 0, 59, &minutes))
		return false;
	*ret_s = sign * (hours * 3600 + minutes * 60);
	return true;
}

/* "YYYY-MM-DD" into tm; a day that the month does not have is refused. */
static bool take_date(struct reader *r, struct tm *tm)
{
	int year, month, day;
	if (!take_number(r, 4, 1, 9999, &year) || !take_any(r, "-") ||
	        !take_number(r, 2, 1, 12, &month) || !take_any(r, "-") ||
	        !take_number(r, 2, 1, 31, &day))
		return false;
	*tm = (struct tm){.tm_year = year - 1900, .tm_mon = month - 1, .tm_mday = day};
	timegm(tm); /* normalises: February 30th becomes March */
	return tm->tm_mday == day;
}

/* "HH:MM:SS" into tm. Second 60 is a leap second (RFC 3339 section 5.6); it counts as the first of
 * the next minute. */
static bool take_time(struct reader *r, struct tm *tm)
{
	return take_number(r, 2, 0, 23, &tm->tm_hour) && take_any(r, ":") &&
	        take_number(r, 2, 0, 59, &tm->tm_min) && take_any(r, ":") &&
	        take_number(r, 2, 0, 60, &tm->tm_sec);
}

int clock_parse_rfc3339(const char *s, size_t n, int64_t *ret_us)
{
	struct reader r = {s, s + n};
	struct tm tm;
	int64_t us;
	int offset;
	if (!take_date(&r, &tm) || !take_any(&r, "Tt") || !take_time(&r, &tm) ||
	        !take_fraction(&r, &us) || !take_offset(&r, &offset) || r.p != r.end)
		return ERR_INVALID;
	*ret_us = ((int64_t)timegm(&tm) - offset) * US + us;
	return 0;
}
