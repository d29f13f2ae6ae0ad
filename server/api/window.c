#include "server/api/window.h"

#include "server/base/clock.h"

static bool read_time(struct api_call *c, const char *name, int64_t *to)
{
	struct slice text;
	if (!api_query_get(&c->query, name, &text) ||
	        clock_parse_rfc3339((const char *)text.p, text.n, to) == 0)
		return true;
	api_call_bad_param(c, name, "must be a time as in RFC 3339, such as 2026-11-22T18:40:26Z");
	return false;
}

static bool read_order(struct api_call *c, bool *ret_ascending)
{
	struct slice text;
	if (!api_query_get(&c->query, "order", &text))
		return true;
	*ret_ascending = slice_eq_str(text, "asc");
	if (*ret_ascending || slice_eq_str(text, "desc"))
		return true;
	api_call_bad_param(c, "order", "must be asc or desc");
	return false;
}

bool api_window_read(
        struct api_call *c, int64_t *ret_from_us, int64_t *ret_to_us, bool *ret_ascending)
{
	return read_time(c, "from", ret_from_us) && read_time(c, "to", ret_to_us) &&
	        read_order(c, ret_ascending);
}

static void put_i64(uint8_t *to, int64_t v)
{
	for (int i = 7; i >= 0; i--, v = (int64_t)((uint64_t)v >> 8))
		to[i] = (uint8_t)v;
}

static int64_t get_i64(const uint8_t *from)
{
	uint64_t v = 0;
	for (int i = 0; i < 8; i++)
		v = v << 8 | from[i];
	return (int64_t)v;
}

void api_window_put(uint8_t to[static API_WINDOW_POSITION_LEN], int64_t us, int64_t number)
{
	put_i64(to, us);
	put_i64(to + 8, number);
}

void api_window_get(
        const uint8_t from[static API_WINDOW_POSITION_LEN], int64_t *ret_us, int64_t *ret_number)
{
	*ret_us = get_i64(from);
	*ret_number = get_i64(from + 8);
}
