#include "storage/heads.h"

#include <stdlib.h>

#include "server/base/clock.h"
#include "server/base/err.h"
#include "server/base/log.h"
#include "storage/heads_file.h"

#define COPIED_AT_ONCE 64

/* ---- what the chains have come to ---- */

/* One statement is one moment. A chain whose rows retention took stands where the last one was. */
static const char state_sql[] =
        "SELECT 0::bigint, position, hash FROM holdfast.audit_head UNION ALL"
        " SELECT h.chain, coalesce(c.position, h.base_position), coalesce(c.hash, h.base_hash)"
        " FROM holdfast.chains h LEFT JOIN LATERAL (SELECT position, hash FROM holdfast.chain"
        " WHERE chain = h.chain ORDER BY position DESC LIMIT 1) c ON true"
        " WHERE c.position IS NOT NULL OR h.base_position > 0 ORDER BY 1";

static bool copy_hash(const PGresult *r, int row, int col, uint8_t to[static CRYPTO_HASH_LEN])
{
	struct slice hash = pg_get_bytes(r, row, col);

	if (hash.n != CRYPTO_HASH_LEN)
		return false;
	memcpy(to, hash.p, CRYPTO_HASH_LEN);
	return true;
}

static int read_state(struct pg *pg, struct head *ret)
{
	_cleanup_result_ PGresult *r = NULL;
	int err = pg_exec(pg, state_sql, NULL, clock_ms() + ROUND_TRIP_MS, &r);
	int n = err == 0 ? PQntuples(r) : 0;

	if (n > HEAD_CHAINS_MAX)
		return ERR_TOO_BIG;
	ret->chains = calloc((size_t)n + 1, sizeof(*ret->chains));
	if (!ret->chains)
		return ERR_NOMEM;
	for (int i = 0; i < n; i++) {
		struct head_chain c = {pg_get_i64(r, i, 0), pg_get_i64(r, i, 1), {0}};

		if (!copy_hash(r, i, 2, c.hash))
			return ERR_CORRUPT;
		if (c.chain > 0) {
			ret->chains[ret->n_chains++] = c;
			continue;
		}
		ret->audit_position = c.position;
		memcpy(ret->audit_hash, c.hash, sizeof(c.hash));
	}
	return err;
}

/* ---- one more head ---- */

struct last_head {
	PGresult *r;
	int64_t number; /* 0: there is none */
	struct slice body;
	bool recent;
};

static void last_head_done(struct last_head *last)
{
	PQclear(last->r);
}

/* By the database's clock: the hubs need not agree on the time. */
static int read_last(struct pg *pg, unsigned interval_s, struct last_head *ret, int64_t *ret_now)
{
	static const char sql[] =
	        "SELECT h.head_id, h.body, h.at > n.now - $1 * interval '1 second', n.now"
	        " FROM (SELECT clock_timestamp() AS now) n LEFT JOIN LATERAL"
	        " (SELECT * FROM holdfast.heads ORDER BY head_id DESC LIMIT 1) h ON true";
	struct pg_params p = {0};

	pg_put_i32(&p, (int32_t)interval_s);
	int err = pg_exec(pg, sql, &p, clock_ms() + ROUND_TRIP_MS, &ret->r);
	if (err < 0)
		return err;
	*ret_now = pg_get_time(ret->r, 0, 3);
	if (!PQgetisnull(ret->r, 0, 0)) {
		ret->number = pg_get_i64(ret->r, 0, 0);
		ret->body = pg_get_bytes(ret->r, 0, 1);
		ret->recent = pg_get_bool(ret->r, 0, 2);
	}
	return 0;
}

/* From its line of the audit log on a text tells the state and nothing of its time. */
static struct slice state_of(struct slice body)
{
	static const char line[] = "\naudit ";
	const uint8_t *at = body.n ? memmem(body.p, body.n, line, sizeof(line) - 1) : NULL;

	return at ? slice_from(body, (size_t)(at - body.p)) : slice_make(NULL, 0);
}

static int insert_head(struct storage *s, struct pg *pg, const struct head *h, struct slice body)
{
	static const char sql[] = "INSERT INTO holdfast.heads (head_id, at, body, signature)"
	                          " VALUES ($1, $2, convert_from($3, 'UTF8'), $4)";
	uint8_t signature[CRYPTO_SIGNATURE_LEN];
	struct pg_params p = {0};
	int err = keyring_sign(s->keyring, HEAD_PURPOSE, body, signature);

	pg_put_i64(&p, h->number);
	pg_put_time(&p, h->at_us);
	pg_put_bytes(&p, body);
	pg_put_bytes(&p, slice_make(signature, sizeof(signature)));
	return err < 0 ? err : pg_exec(pg, sql, &p, clock_ms() + ROUND_TRIP_MS, NULL);
}

static int add_head(struct storage *s, struct pg *pg, const struct last_head *last, int64_t now_us)
{
	_cleanup_(head_done) struct head h = {.number = last->number + 1, .at_us = now_us};
	struct buf _cleanup_(buf_free) text;

	buf_init(&text, HEAD_TEXT_MAX);
	if (last->number)
		crypto_sha256(last->body, h.previous);
	int err = read_state(pg, &h);
	if (err == 0)
		err = head_encode(&h, &text);
	if (err == 0 && last->number && slice_eq(state_of(buf_slice(&text)), state_of(last->body)))
		return 0;
	return err < 0 ? err : insert_head(s, pg, &h, buf_slice(&text));
}

/* In a transaction: another hub that does the same now is left to it. */
static int write_locked(struct storage *s, struct pg *pg, unsigned interval_s)
{
	_cleanup_(last_head_done) struct last_head last = {0};
	_cleanup_result_ PGresult *r = NULL;
	struct pg_params p = {0};
	int64_t now_us = 0;

	pg_put_i64(&p, LOCK_HEADS);
	int err = pg_exec(
	        pg, "SELECT pg_try_advisory_xact_lock($1)", &p, clock_ms() + ROUND_TRIP_MS, &r);
	if (err < 0 || !pg_get_bool(r, 0, 0))
		return err;
	err = read_last(pg, interval_s, &last, &now_us);
	return err < 0 || last.recent ? err : add_head(s, pg, &last, now_us);
}

static int write_head(struct storage *s, struct pg *pg, unsigned interval_s)
{
	int err = pg_script(pg, "BEGIN", clock_ms() + ROUND_TRIP_MS);

	if (err == 0)
		err = write_locked(s, pg, interval_s);
	if (err == 0)
		return pg_script(pg, "COMMIT", clock_ms() + ROUND_TRIP_MS);
	if (!pg->conn || pg_script(pg, "ROLLBACK", clock_ms() + ROUND_TRIP_MS) < 0)
		pg_close(pg);
	return err;
}

/* ---- the copy in the home ---- */

static const char set_back_sql[] =
        "INSERT INTO holdfast.audit (actor, actor_kind, operation, outcome, kind, name)"
        " VALUES ('hub', 'hub', 'DatabaseSetBack', 'done', 'database', current_database())";

/* A database without a head that the file has was set back: the file keeps what it has, and what
 * comes now follows it. */
static int start_file(struct storage *s, struct pg *pg, struct heads *h)
{
	_cleanup_(head_done) struct head last = {0};
	_cleanup_result_ PGresult *r = NULL;
	int err = heads_file_last(s->proof_folder, &last);

	if (err < 0 && err != ERR_NOT_FOUND)
		return err;
	err = pg_exec(pg, "SELECT coalesce(max(head_id), 0) FROM holdfast.heads", NULL,
	        clock_ms() + ROUND_TRIP_MS, &r);
	if (err < 0)
		return err;
	h->in_file = last.number;
	if (pg_get_i64(r, 0, 0) < last.number) {
		h->in_file = pg_get_i64(r, 0, 0);
		log_error("the database lacks signed heads that this hub has seen: it was set back",
		        F_I64("last_seen", last.number), F_I64("last_there", h->in_file));
		atomic_store(&s->set_back, true);
		err = pg_exec(pg, set_back_sql, NULL, clock_ms() + ROUND_TRIP_MS, NULL);
	}
	h->file_read = true;
	return 0;
}

static int copy_some(struct storage *s, struct pg *pg, struct heads *h, int *ret_n)
{
	static const char sql[] = "SELECT head_id, at, body, signature FROM holdfast.heads"
	                          " WHERE head_id > $1 ORDER BY head_id LIMIT $2";
	_cleanup_result_ PGresult *r = NULL;
	struct pg_params p = {0};
	struct buf _cleanup_(buf_free) lines;

	buf_init(&lines, COPIED_AT_ONCE * (size_t)HEAD_LINE_MAX);
	pg_put_i64(&p, h->in_file);
	pg_put_i64(&p, COPIED_AT_ONCE);
	int err = pg_exec(pg, sql, &p, clock_ms() + ROUND_TRIP_MS, &r);
	int n = err == 0 ? PQntuples(r) : 0;

	for (int i = 0; err == 0 && i < n; i++)
		err = heads_file_line(&lines,
		        &(struct head_line){pg_get_i64(r, i, 0), pg_get_time(r, i, 1),
		                pg_get_bytes(r, i, 2), pg_get_bytes(r, i, 3)});
	if (err == 0 && n > 0)
		err = heads_file_append(s->proof_folder, buf_slice(&lines));
	if (err == 0 && n > 0)
		h->in_file = pg_get_i64(r, n - 1, 0);
	*ret_n = n;
	return err;
}

static int copy_to_file(struct storage *s, struct pg *pg, struct heads *h)
{
	int err = h->file_read ? 0 : start_file(s, pg, h);

	for (int n = COPIED_AT_ONCE; err == 0 && n == COPIED_AT_ONCE;)
		err = copy_some(s, pg, h, &n);
	return err;
}

int heads_turn(struct storage *s, struct pg *pg, struct heads *h, bool now)
{
	uint64_t ms = clock_ms();

	if (s->head_interval_s == 0 || (ms < h->due_ms && !now))
		return 0;
	h->due_ms = ms + s->head_interval_s * 1000ull;
	/* Before a new head takes the number of one that is lacking. */
	int err = s->proof_folder && !h->file_read ? start_file(s, pg, h) : 0;
	if (err == 0)
		err = write_head(s, pg, now ? 0 : s->head_interval_s / 2);
	return err < 0 || !s->proof_folder ? err : copy_to_file(s, pg, h);
}
