/*
 * The addresses that were let in and that were not: counted in memory, written by upkeep, read by
 * policy for trying out IP rules.
 */
#include "storage/addresses.h"

#include <stdlib.h>

#include "server/base/clock.h"
#include "server/base/err.h"

#define SLOTS 16384
#define ROWS_A_TURN 2000
#define ARRAY_CAP (1u << 20)

/* What is counted: an address and whether it was let in. */
struct sighting {
	uint8_t allowed, v6, ip[16];
};

int addresses_init(struct merge *m)
{
	return merge_init(m, SLOTS, sizeof(struct sighting));
}

void storage_note_address(struct storage *s, const struct ip_addr *ip, bool allowed)
{
	struct sighting it = {.allowed = allowed, .v6 = ip->v6};

	memcpy(it.ip, ip->bytes, sizeof(it.ip));
	merge_note(&s->addresses, &it, sizeof(it));
}

/* ---- written ---- */

struct arrays {
	struct buf ip, allowed, denied;
	uint32_t n;
	int err;
};

static void arrays_done(struct arrays *a)
{
	buf_free(&a->ip);
	buf_free(&a->allowed);
	buf_free(&a->denied);
}

static void add(void *arg, const struct merged *m)
{
	struct arrays *a = arg;
	struct sighting it;
	struct ip_addr ip = {0};
	char text[IP_TEXT_LEN];

	memcpy(&it, m->thing, sizeof(it));
	ip.v6 = it.v6;
	memcpy(ip.bytes, it.ip, sizeof(ip.bytes));
	a->n++;
	if (a->err == 0)
		a->err = pg_array_bytes(&a->ip, slice_str(ip_text(&ip, text)));
	if (a->err == 0)
		a->err = pg_array_i64(&a->allowed, it.allowed ? m->count : 0);
	if (a->err == 0)
		a->err = pg_array_i64(&a->denied, it.allowed ? 0 : m->count);
}

/* Best effort: what cannot be written is forgotten. */
int addresses_write(struct storage *s, struct pg *pg)
{
	static const char sql[] =
	        "INSERT INTO holdfast.addresses AS a (ip, allowed, denied)"
	        " SELECT u.i::inet, sum(u.a), sum(u.d)"
	        " FROM unnest($1::text[], $2::bigint[], $3::bigint[]) u(i, a, d) GROUP BY 1"
	        " ON CONFLICT (ip) DO UPDATE SET last_seen_at = now(),"
	        " allowed = a.allowed + excluded.allowed, denied = a.denied + excluded.denied";
	_cleanup_(arrays_done) struct arrays a = {0};
	struct pg_params p = {0};

	buf_init(&a.ip, ARRAY_CAP);
	buf_init(&a.allowed, ARRAY_CAP);
	buf_init(&a.denied, ARRAY_CAP);
	a.err = pg_array_start(&a.ip);
	if (a.err == 0)
		a.err = pg_array_start(&a.allowed);
	if (a.err == 0)
		a.err = pg_array_start(&a.denied);
	if (a.err == 0)
		(void)merge_take(&s->addresses, ROWS_A_TURN, add, &a);
	if (a.err < 0 || a.n == 0)
		return a.err;
	pg_array_finish(&a.ip, PG_TEXT, a.n);
	pg_array_finish(&a.allowed, PG_INT8, a.n);
	pg_array_finish(&a.denied, PG_INT8, a.n);
	pg_put_array(&p, PG_TEXT_ARRAY, &a.ip);
	pg_put_array(&p, PG_INT8_ARRAY, &a.allowed);
	pg_put_array(&p, PG_INT8_ARRAY, &a.denied);
	return pg_exec(pg, sql, &p, clock_ms() + ROUND_TRIP_MS, NULL);
}

/* ---- read ---- */

static int each_address(
        void *ctx, int64_t since_us, int (*row)(void *arg, const struct seen_address *a), void *arg)
{
	_cleanup_result_ PGresult *res = NULL;
	struct pg_params p = {0};

	pg_put_time(&p, since_us);
	int err = pool_call(ctx,
	        "SELECT host(ip), first_seen_at, last_seen_at, allowed, denied"
	        " FROM holdfast.addresses WHERE last_seen_at >= $1"
	        " ORDER BY last_seen_at DESC, ip LIMIT " ADDRESSES_MOST,
	        &p, &res);

	for (int i = 0; err == 0 && i < PQntuples(res); i++) {
		struct seen_address a = {.first_seen_us = pg_get_time(res, i, 1),
		        .last_seen_us = pg_get_time(res, i, 2),
		        .allowed = (uint64_t)pg_get_i64(res, i, 3),
		        .denied = (uint64_t)pg_get_i64(res, i, 4)};

		if (ip_parse(pg_get_bytes(res, i, 0), &a.ip) == 0)
			err = row(arg, &a);
	}
	return err;
}

struct policy_store storage_policy(struct storage *s)
{
	return (struct policy_store){.documents = storage_registry(s).documents,
	        .each_address = each_address,
	        .addresses_ctx = s};
}
