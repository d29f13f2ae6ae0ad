/*
 * The hub's side of a rotation of the master key: on the feed's thread, and once before any thread
 * runs. The hub does what the row of holdfast.rotation says, and notes what it holds in its own row
 * of holdfast.hubs, where the command waits for it.
 */
#include "storage/rotation.h"

#include <poll.h>

#include "server/base/clock.h"
#include "server/base/err.h"
#include "server/base/log.h"

#define FEED_MS 2000

/* ---- calls that wrap ---- */

/* A hub that was cut off may have missed that another key wraps by now: until the feed is back,
 * which follows first, nothing is wrapped. Where it does not come back the call has no database
 * either. */
static void await_feed(const struct storage *s)
{
	uint64_t until = clock_ms() + FEED_MS;

	if (!s->feed || !feed_runs(s->feed))
		return;
	for (uint64_t now = clock_ms();
	        feed_fresh_until(s->feed) <= now && now < until && !pg_stop_due(&s->hurry);
	        now = clock_ms())
		(void)poll(NULL, 0, 5);
}

/* A call counts from before it wraps until its write is over, in the turn that it began in. Once a
 * new turn has begun and the old one's count is 0, nothing that was wrapped before is on its way.
 */
struct wrap_turn wraps_enter(struct storage *s)
{
	struct wraps *w = &s->wraps;

	await_feed(s);
	for (;;) {
		unsigned turn = atomic_load(&w->turn);

		atomic_fetch_add(&w->inside[turn & 1], 1);
		if (atomic_load(&w->turn) == turn)
			return (struct wrap_turn){w, turn & 1};
		atomic_fetch_sub(&w->inside[turn & 1], 1);
	}
}

void wraps_leave(struct wrap_turn *t)
{
	atomic_fetch_sub(&t->wraps->inside[t->side], 1);
}

/* Whether nothing of the turn before is left. */
static bool settled(const struct storage *s)
{
	return atomic_load(&s->wraps.inside[!(atomic_load(&s->wraps.turn) & 1)]) == 0;
}

/* ---- how far it is ---- */

static bool take_id(const PGresult *r, int col, uint8_t ret[static KEYRING_ID_LEN])
{
	struct slice id = pg_get_bytes(r, 0, col);

	if (id.n != KEYRING_ID_LEN)
		return false;
	memcpy(ret, id.p, KEYRING_ID_LEN);
	return true;
}

int rotation_read(struct pg *pg, struct rotation *ret)
{
	static const char sql[] =
	        "SELECT coalesce(r.stage, 0), r.old_id, coalesce(r.new_id, h.master_id)"
	        " FROM holdfast.hub h LEFT JOIN holdfast.rotation r ON true";
	_cleanup_result_ PGresult *r = NULL;
	int err = pg_exec(pg, sql, NULL, clock_ms() + ROUND_TRIP_MS, &r);

	if (err < 0)
		return err;
	if (PQntuples(r) != 1)
		return ERR_CORRUPT;
	struct rotation got = {.stage = (enum rotation_stage)pg_get_i32(r, 0, 0)};
	got.known = !PQgetisnull(r, 0, 2);
	if (got.stage < ROTATION_NONE || got.stage > ROTATION_FINISH ||
	        (got.known && !take_id(r, 2, got.new_id)) ||
	        (got.stage != ROTATION_NONE && !take_id(r, 1, got.old_id)))
		return ERR_CORRUPT;
	*ret = got;
	return 0;
}

/* ---- doing what it says ---- */

static bool holds(const struct keyring_ids *ids, const uint8_t *id)
{
	return memcmp(ids->current, id, KEYRING_ID_LEN) == 0 ||
	        (ids->has_next && memcmp(ids->next, id, KEYRING_ID_LEN) == 0);
}

static bool lacks(const struct rotation *now, const struct keyring_ids *ids)
{
	return now->stage != ROTATION_NONE && !holds(ids, now->new_id);
}

/* The next one is there to be loaded, or to be let go. */
static void reload(struct storage *s, const struct rotation *now, struct keyring_ids *ids)
{
	char why[STORAGE_ERROR_LEN] = "";

	if (!lacks(now, ids) && (now->stage != ROTATION_NONE || !ids->has_next))
		return;
	int err = keyring_reload(s->keyring, why, sizeof(why));
	if (err == 0)
		err = keyring_ids(s->keyring, ids);
	if (!s->wraps.told && err < 0)
		log_error("the master keys cannot be read again", F_STR("error", why));
	else if (!s->wraps.told && lacks(now, ids))
		log_warn("the master key is being rotated and this hub lacks the next one: copy it "
		         "to where the current one is, with \"" NEXT_SUFFIX "\" behind its name");
	s->wraps.told = err < 0 || lacks(now, ids);
}

static void choose(struct storage *s, const struct rotation *now, struct keyring_ids *ids)
{
	const uint8_t *id = now->stage == ROTATION_LOAD ? now->old_id : now->new_id;
	bool next = now->known && ids->has_next && memcmp(ids->next, id, KEYRING_ID_LEN) == 0;

	if (next == ids->wraps_next)
		return;
	if (keyring_set_wrapping(s->keyring, next) < 0) {
		log_error("the next master key is gone");
		return;
	}
	ids->wraps_next = next;
	atomic_fetch_add(&s->wraps.turn, 1);
	log_info("another master key wraps from now on");
}

/* A key that is not in its place any more opens the database: whoever starts this hub in a year may
 * have cleared it away. */
static void warn_of_place(const struct rotation *now, const struct keyring_ids *ids)
{
	if (now->stage == ROTATION_NONE && ids->wraps_next)
		log_warn("the master key that is in use is still in the place of the next one: "
		         "rename its file, without \"" NEXT_SUFFIX "\"");
}

static int note(struct storage *s, struct pg *pg, const struct keyring_ids *ids, bool done)
{
	static const char sql[] =
	        "INSERT INTO holdfast.hubs (hub_id, seen_at, holds, wraps, fence)"
	        " VALUES ($1, now(), array_remove(ARRAY[$2, $3], NULL), $4, $5)"
	        " ON CONFLICT (hub_id) DO UPDATE SET seen_at = excluded.seen_at,"
	        " holds = excluded.holds, wraps = excluded.wraps, fence = excluded.fence";
	const struct slice none = {0}, current = slice_make(ids->current, KEYRING_ID_LEN),
	                   next = slice_make(ids->next, KEYRING_ID_LEN);
	struct pg_params p = {0};

	pg_put_text(&p, s->hub_id);
	pg_put_bytes(&p, current);
	pg_put_bytes(&p, ids->has_next ? next : none);
	pg_put_bytes(&p, !done ? none : ids->wraps_next ? next : current);
	pg_put_i64(&p, fence_key(s->hub_id));
	return pg_exec(pg, sql, &p, clock_ms() + ROUND_TRIP_MS, NULL);
}

static int follow(struct storage *s, struct pg *pg, bool *ret_done)
{
	struct pg_params lock = {0};
	struct keyring_ids ids;
	struct rotation now;

	pg_put_i64(&lock, LOCK_ROTATION);
	int err = pg_exec(pg, "SELECT pg_advisory_xact_lock_shared($1)", &lock,
	        clock_ms() + ROUND_TRIP_MS, NULL);
	if (err == 0)
		err = rotation_read(pg, &now);
	if (err == 0)
		err = keyring_ids(s->keyring, &ids);
	if (err < 0)
		return err;
	bool done = settled(s);
	if (done) { /* one turn at a time */
		reload(s, &now, &ids);
		choose(s, &now, &ids);
		warn_of_place(&now, &ids);
		done = settled(s) && !lacks(&now, &ids);
	}
	/* Others wrap with a key that this hub does not have. */
	if (now.stage >= ROTATION_WRAP && lacks(&now, &ids))
		return ERR_CONFLICT;
	err = note(s, pg, &ids, done);
	if (err == 0)
		*ret_done = done;
	return err;
}

int rotation_follow(struct storage *s, struct pg *pg, bool *ret_done)
{
	int err = pg_script(pg, "BEGIN", clock_ms() + ROUND_TRIP_MS);

	if (err == 0)
		err = follow(s, pg, ret_done);
	if (err == 0)
		return pg_script(pg, "COMMIT", clock_ms() + ROUND_TRIP_MS);
	if (pg->conn)
		(void)pg_script(pg, "ROLLBACK", clock_ms() + ROUND_TRIP_MS);
	return err;
}

void rotation_leave(struct storage *s, struct pg *pg)
{
	struct pg_params p = {0};

	pg_put_text(&p, s->hub_id);
	if (pg_exec(pg, "UPDATE holdfast.hubs SET holds = '{}' WHERE hub_id = $1", &p,
	            clock_ms() + ROUND_TRIP_MS, NULL) < 0)
		log_debug("this hub's row does not say that it ended");
}
