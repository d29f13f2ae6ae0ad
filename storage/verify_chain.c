/* Chains, place by place, against what was signed of them; rows of telemetry, day by day, against
 * the rows of the chains. */
#include <stdlib.h>
#include <time.h>

#include "server/base/clock.h"
#include "server/base/err.h"
#include "storage/private.h"
#include "storage/verify.h"

#define ROWS_MAX 1000000 /* of telemetry in a row of a chain: many times the largest batch */

/* ---- places ---- */

static const char *chain_name(int64_t chain, char out[static 48])
{
	if (chain == AUDIT_CHAIN)
		return "the audit log";
	snprintf(out, 48, "chain %lld", (long long)chain);
	return out;
}

static const struct anchor *next_anchor(const struct verify *v)
{
	const struct anchor *a = &v->anchors[v->next_anchor];

	return v->next_anchor < v->n_anchors && a->chain == v->chain ? a : NULL;
}

static const struct head_span *next_span(const struct verify *v)
{
	const struct head_span *s = &v->spans[v->next_span];

	return v->next_span < v->n_spans && s->chain == v->chain ? s : NULL;
}

/* Heads that tell of where the chain is now have to agree; those of places that are gone (dropped,
 * or missing and told so) have nothing to agree with. */
static void pass_anchors(struct verify *v, bool there)
{
	char name[48];

	for (const struct anchor *a; (a = next_anchor(v)) && a->position <= v->at.position;
	        v->next_anchor++) {
		v->anchored = a->position;
		if (there && a->position == v->at.position &&
		        memcmp(a->hash, v->at.hash, CRYPTO_HASH_LEN) != 0)
			verify_found(v, "%s, position %lld is not what head %lld signed: altered",
			        chain_name(v->chain, name), (long long)a->position,
			        (long long)a->head);
	}
}

static void missing(struct verify *v, int64_t first, int64_t last)
{
	char name[48];

	verify_found(v, "%s, positions %lld to %lld: removed", chain_name(v->chain, name),
	        (long long)first, (long long)last);
}

static void pass_span(struct verify *v, const struct head_span *s)
{
	char name[48];

	if (s->first > v->at.position + 1)
		missing(v, v->at.position + 1, s->first - 1);
	else if (memcmp(s->prev, v->at.hash, CRYPTO_HASH_LEN) != 0)
		verify_found(v,
		        "%s, position %lld: what retention dropped does not follow the row "
		        "before it",
		        chain_name(v->chain, name), (long long)s->first);
	v->at.position = s->last;
	memcpy(v->at.hash, s->hash, CRYPTO_HASH_LEN);
	pass_anchors(v, true);
}

/* Goes over what retention dropped, as far as it lies before position. */
static void pass_spans(struct verify *v, int64_t position)
{
	for (const struct head_span *s; (s = next_span(v)) && s->first < position; v->next_span++)
		if (s->first > v->at.position)
			pass_span(v, s);
}

static void begin_chain(struct verify *v, int64_t chain)
{
	v->chain = chain;
	v->at = (struct chain_head){0};
	v->anchored = 0;
	while (v->next_anchor < v->n_anchors && v->anchors[v->next_anchor].chain < chain)
		v->next_anchor++;
	while (v->next_span < v->n_spans && v->spans[v->next_span].chain < chain)
		v->next_span++;
}

static void end_chain(struct verify *v)
{
	const struct anchor *a, *last = NULL;
	char name[48];

	pass_spans(v, INT64_MAX);
	for (; (a = next_anchor(v)); v->next_anchor++)
		last = a;
	if (last)
		verify_found(v,
		        "%s ends at position %lld, head %lld signed position %lld: cut off the "
		        "end, or restored to an earlier state",
		        chain_name(v->chain, name), (long long)v->at.position,
		        (long long)last->head, (long long)last->position);
	else
		v->unproved += (uint64_t)(v->at.position - v->anchored);
}

/* The next chain that anything signed tells of. */
static int64_t next_named(const struct verify *v)
{
	int64_t next = INT64_MAX;

	if (v->next_anchor < v->n_anchors)
		next = v->anchors[v->next_anchor].chain;
	if (v->next_span < v->n_spans && v->spans[v->next_span].chain < next)
		next = v->spans[v->next_span].chain;
	return next;
}

void verify_links_end(struct verify *v, int64_t chain)
{
	if (v->chain >= 0)
		end_chain(v);
	for (int64_t next; (next = next_named(v)) < chain;) {
		begin_chain(v, next);
		end_chain(v);
	}
	v->chain = -1;
}

void verify_link(struct verify *v, const struct link *l)
{
	char name[48];

	if (l->chain != v->chain) {
		verify_links_end(v, l->chain);
		begin_chain(v, l->chain);
	}
	pass_spans(v, l->position);
	if (l->position <= v->at.position) {
		verify_found(v, "%s, position %lld is there twice: inserted",
		        chain_name(v->chain, name), (long long)l->position);
		return;
	}
	if (l->position > v->at.position + 1) {
		missing(v, v->at.position + 1, l->position - 1);
		v->at.position = l->position - 1;
		pass_anchors(v, false);
	} else if (memcmp(l->prev, v->at.hash, CRYPTO_HASH_LEN) != 0) {
		verify_found(v,
		        "%s, position %lld does not follow the one before it: altered, or from "
		        "another place",
		        chain_name(v->chain, name), (long long)l->position);
	}
	v->at.position = l->position;
	memcpy(v->at.hash, l->hash, CRYPTO_HASH_LEN);
	pass_anchors(v, true);
}

int verify_chains(struct verify *v)
{
	struct copy c;
	bool bad = false;
	int r = verify_open(v, &c, 0, "chain",
	        "SELECT chain, position, prev, hash FROM holdfast.chain ORDER BY chain, position");

	if (r < 0)
		return r;
	while ((r = verify_next(v, &c, 4)) > 0) {
		struct link l = {.chain = copy_i64(&c, 0, &bad), .position = copy_i64(&c, 1, &bad)};

		copy_fixed(&c, 2, l.prev, CRYPTO_HASH_LEN, &bad);
		copy_fixed(&c, 3, l.hash, CRYPTO_HASH_LEN, &bad);
		if (bad || l.chain <= AUDIT_CHAIN || l.chain < v->chain) {
			verify_found(v, "chain %lld, position %lld: altered", (long long)l.chain,
			        (long long)l.position);
			bad = false;
			continue;
		}
		verify_link(v, &l);
		v->links++;
	}
	if (r == 0)
		verify_links_end(v, INT64_MAX);
	int closed = verify_close(v, &c);
	return r < 0 ? r : closed;
}

/* ---- a day: rows of telemetry and rows of chains, both by number ---- */

struct day {
	struct verify *v;
	struct copy rows, links;
	bool more; /* there is a row at hand */
	struct record_place place;
	struct slice sealed;
	int64_t covered; /* numbers below it were told of by rows of chains */
	uint8_t (*digests)[CRYPTO_HASH_LEN];
	uint32_t room;
};

static int next_row(struct day *d)
{
	bool bad = false;
	int r = verify_next(d->v, &d->rows, 5);

	d->more = r > 0;
	if (r <= 0)
		return r;
	d->place.device_key = (uint64_t)copy_i64(&d->rows, 0, &bad);
	d->place.received_us = copy_i64(&d->rows, 1, &bad) + PG_EPOCH_US;
	d->place.seq = copy_i64(&d->rows, 2, &bad);
	d->place.key_id = copy_i64(&d->rows, 3, &bad);
	d->sealed = d->rows.fields[4];
	d->v->rows++;
	return bad ? verify_bad(d->v, "a row of telemetry") : 0;
}

static int next_is_inserted(struct day *d)
{
	char when[CLOCK_RFC3339_LEN];

	verify_found(d->v, "row %lld of device %llu, received %s, is in no chain: inserted",
	        (long long)d->place.seq, (unsigned long long)d->place.device_key,
	        clock_rfc3339(d->place.received_us, when));
	return next_row(d);
}

/* The digest of the row with that number. *whole: false where it is not what the chain says. */
static int check_row(struct day *d, int64_t seq, const uint8_t *mark, uint8_t *digest, bool *whole)
{
	char when[CLOCK_RFC3339_LEN];

	if (!d->more || d->place.seq != seq) {
		verify_found(d->v, "row %lld of telemetry: removed", (long long)seq);
		*whole = false;
		return 0;
	}
	chain_row_digest(&d->place, d->sealed, digest);
	if (memcmp(mark, digest, CHAIN_MARK_LEN) != 0) {
		verify_found(d->v, "row %lld of device %llu, received %s: altered", (long long)seq,
		        (unsigned long long)d->place.device_key,
		        clock_rfc3339(d->place.received_us, when));
		*whole = false;
	}
	int err = next_row(d);
	while (err == 0 && d->more && d->place.seq == seq)
		err = next_is_inserted(d);
	return err;
}

static int make_room(struct day *d, uint32_t n)
{
	if (n <= d->room)
		return 0;
	void *more = realloc(d->digests, (size_t)n * CRYPTO_HASH_LEN);
	if (!more) {
		snprintf(d->v->error, STORAGE_ERROR_LEN, "out of memory");
		return ERR_NOMEM;
	}
	d->digests = more;
	d->room = n;
	return 0;
}

static int check_rows(struct day *d, const struct chain_row *row, struct slice marks,
        const uint8_t hash[static CRYPTO_HASH_LEN])
{
	uint8_t now[CRYPTO_HASH_LEN];
	bool whole = true;
	int err = make_room(d, row->n);

	while (err == 0 && d->more && d->place.seq < row->first_seq)
		err = next_is_inserted(d);
	for (uint32_t i = 0; err == 0 && i < row->n; i++)
		err = check_row(d, row->first_seq + i, marks.p + (size_t)i * CHAIN_MARK_LEN,
		        d->digests[i], &whole);
	if (err < 0 || !whole)
		return err;
	chain_row_hash(row, (const uint8_t(*)[CRYPTO_HASH_LEN])d->digests, now);
	if (memcmp(now, hash, CRYPTO_HASH_LEN) != 0)
		verify_found(d->v, "chain %lld, position %lld: altered", (long long)row->chain,
		        (long long)row->position);
	return 0;
}

/* A row of a chain as it is at hand in the copy. */
static int check_link(struct day *d)
{
	const struct copy *c = &d->links;
	struct slice marks = c->fields[7];
	uint8_t hash[CRYPTO_HASH_LEN];
	bool bad = false;
	struct chain_row row = {
	        .chain = copy_i64(c, 0, &bad),
	        .position = copy_i64(c, 1, &bad),
	        .day = copy_i32(c, 2, &bad),
	        .first_seq = copy_i64(c, 3, &bad),
	        .n = (uint32_t)copy_i32(c, 4, &bad),
	};

	copy_fixed(c, 5, row.prev, CRYPTO_HASH_LEN, &bad);
	copy_fixed(c, 6, hash, CRYPTO_HASH_LEN, &bad);
	if (bad || row.n == 0 || row.n > ROWS_MAX || row.first_seq > INT64_MAX - ROWS_MAX ||
	        !marks.p || marks.n != (size_t)row.n * CHAIN_MARK_LEN) {
		verify_found(d->v, "chain %lld, position %lld: altered", (long long)row.chain,
		        (long long)row.position);
		return 0;
	}
	if (row.first_seq < d->covered) {
		verify_found(d->v,
		        "chain %lld, position %lld tells of rows that another one tells of: "
		        "inserted, or altered",
		        (long long)row.chain, (long long)row.position);
		return 0;
	}
	d->covered = row.first_seq + row.n;
	return check_rows(d, &row, marks, hash);
}

static int check_day(struct day *d)
{
	int err = next_row(d), r;

	if (err < 0)
		return err;
	while ((r = verify_next(d->v, &d->links, 8)) > 0) {
		err = check_link(d);
		if (err < 0)
			return err;
	}
	while (r == 0 && d->more)
		r = next_is_inserted(d);
	return r;
}

static void day_number(int32_t day, char out[static 16])
{
	time_t t = (time_t)day * 86400;
	struct tm tm;

	gmtime_r(&t, &tm);
	strftime(out, 16, "%Y%m%d", &tm);
}

static bool was_dropped(const struct verify *v, const char *number)
{
	long wanted = strtol(number, NULL, 10);

	for (size_t i = 0; i < v->n_dropped; i++)
		if (v->dropped[i] == wanted)
			return true;
	return false;
}

static int verify_day(struct verify *v, int32_t day)
{
	struct day d = {.v = v, .covered = INT64_MIN};
	char number[16], name[32], sql[600];

	day_number(day, number);
	snprintf(name, sizeof(name), "rows-%s", number);
	snprintf(sql, sizeof(sql),
	        "SELECT device_key, received_at, seq, key_id, sealed FROM holdfast.telemetry"
	        " WHERE received_at >= TIMESTAMPTZ 'epoch' + %d * INTERVAL '24 hours'"
	        " AND received_at < TIMESTAMPTZ 'epoch' + %d * INTERVAL '24 hours' ORDER BY seq",
	        day, day + 1);
	int err = verify_open(v, &d.rows, 0, name, sql);
	if (err < 0)
		return err;
	snprintf(name, sizeof(name), "links-%s", number);
	snprintf(sql, sizeof(sql),
	        "SELECT chain, position, day - DATE '1970-01-01', first_seq, n, prev, hash, marks"
	        " FROM holdfast.chain WHERE day = DATE '1970-01-01' + %d"
	        " ORDER BY first_seq, chain, position",
	        day);
	err = verify_open(v, &d.links, 1, name, sql);
	if (err == 0)
		err = check_day(&d);
	int closed = verify_close(v, &d.rows);
	if (err == 0)
		err = closed;
	closed = verify_close(v, &d.links);
	free(d.digests);
	return err < 0 ? err : closed;
}

/* Every day that a chain or a partition tells of. */
static const char days_sql[] =
        "SELECT DISTINCT day - DATE '1970-01-01' FROM holdfast.chain UNION"
        " SELECT to_date(right(c.relname::text, 8), 'YYYYMMDD') - DATE '1970-01-01'"
        " FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE"
        " i.inhparent = 'holdfast.telemetry'::regclass"
        " AND c.relname ~ '^telemetry_[0-9]{8}$' ORDER BY 1";

int verify_days(struct verify *v)
{
	_cleanup_free_ int32_t *days = NULL;
	size_t n = 0;
	struct copy c;
	bool bad = false;
	int r = verify_open(v, &c, 0, "days", days_sql);

	if (r < 0)
		return r;
	while ((r = verify_next(v, &c, 1)) > 0) {
		int32_t *more = reallocarray(days, n + 1, sizeof(*days));
		if (!more)
			return ERR_NOMEM;
		days = more;
		days[n++] = copy_i32(&c, 0, &bad);
		if (bad || days[n - 1] < 0 || days[n - 1] > 2932896)
			return verify_bad(v, "a day");
	}
	int closed = verify_close(v, &c);
	if (r == 0)
		r = closed;
	for (size_t i = 0; r == 0 && i < n; i++) {
		char number[16];

		day_number(days[i], number);
		if (!was_dropped(v, number))
			r = verify_day(v, days[i]);
	}
	return r;
}
