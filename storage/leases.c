/*
 * Several hubs on one database. Each renews its lease every second and watches the beats of the
 * others: time passes by its own clock, and only while it is connected itself, so that neither a
 * clock that jumps nor a database that was away makes a living hub look dead. One whose beat stood
 * still for LEASE_MS is: its incarnation is raised, so that its lanes do not come back, its
 * connections end (fence.c), and only then its sessions change hands.
 *
 * Hubs that live tell each other by NOTIFY: "w owner asker id key" (the asker wants a session), "y
 * hub key" (it is yours), "c hub key" (a client came to that hub), "m hub number n id" (that hub
 * has put command n of a device). Whoever may connect to the database may say such things: at worst
 * a session moves to a hub that does not want it.
 */
#include <stdlib.h>

#include "server/base/clock.h"
#include "server/base/err.h"
#include "server/base/log.h"
#include "storage/private.h"

#define GAP_MS (3 * LEASE_BEAT_MS) /* between two looks: nothing is known of the others */
#define PAGE_ROWS "500"
#define KEY_MAX 1024

bool leases_shared(const struct storage *s)
{
	return atomic_load_explicit(&s->leases.shared, memory_order_relaxed);
}

void leases_lost(struct storage *s)
{
	log_error("another hub took this one for dead and has its sessions");
	if (s->changes.lost)
		s->changes.lost(s->changes.ctx);
}

int leases_begin(struct storage *s)
{
	_cleanup_result_ PGresult *r = NULL;
	struct pg_params p = {0};

	pg_put_text(&p, s->hub_id);
	int err = pool_call(s,
	        "INSERT INTO holdfast.hubs AS h (hub_id, seen_at, beat, incarnation)"
	        " VALUES ($1, now(), 1, 1) ON CONFLICT (hub_id) DO UPDATE SET seen_at = now(),"
	        " beat = h.beat + 1, incarnation = h.incarnation + 1 RETURNING incarnation",
	        &p, &r);
	if (err < 0)
		return ERR_UNAVAILABLE;
	s->leases.incarnation = pg_get_i64(r, 0, 0);
	err = fence_raise(s, s->hub_id);
	if (err == 0)
		err = pool_call(s,
		        "UPDATE holdfast.sessions SET owner = $1, fence = fence + 1 WHERE owner = "
		        "''",
		        &p, NULL);
	return err < 0 ? ERR_UNAVAILABLE : 0;
}

/* ---- the lease, and those of the others ---- */

static struct other_hub *other_find(struct leases *l, const char *id)
{
	for (unsigned i = 0; i < l->n; i++)
		if (strcmp(l->others[i].id, id) == 0)
			return &l->others[i];
	return NULL;
}

/* What was seen of it before, or of now. */
static struct other_hub other_seen(
        struct leases *l, const PGresult *r, int row, uint64_t now, bool gap)
{
	struct other_hub fresh = {.beat = pg_get_i64(r, row, 2), .since_ms = now};

	if (!pg_get_text(r, row, 1, fresh.id, sizeof(fresh.id)))
		fresh.id[0] = '\0';
	const struct other_hub *before = other_find(l, fresh.id);
	if (before && before->beat == fresh.beat && !gap)
		fresh.since_ms = before->since_ms;
	/* Of one that is seen first its last time tells. */
	if (before ? before->beat != fresh.beat : pg_get_bool(r, row, 3))
		atomic_store(&l->shared, true);
	return fresh;
}

static void look_at_others(struct leases *l, const PGresult *r)
{
	struct other_hub fresh[LEASE_HUBS];
	uint64_t now = clock_ms();
	unsigned n = 0;

	pthread_mutex_lock(&l->mutex);
	bool gap = now - l->looked_ms > GAP_MS;
	for (int i = 0; i < PQntuples(r) && n < LEASE_HUBS; i++)
		if (!PQgetisnull(r, i, 1))
			fresh[n++] = other_seen(l, r, i, now, gap);
	memcpy(l->others, fresh, n * sizeof(fresh[0]));
	l->n = n;
	l->looked_ms = now;
	pthread_mutex_unlock(&l->mutex);
}

int leases_beat(struct storage *s, struct pg *pg)
{
	static const char sql[] =
	        "WITH me AS (UPDATE holdfast.hubs SET seen_at = now(), beat = beat + 1"
	        " WHERE hub_id = $1 AND incarnation = $2 RETURNING 1)"
	        " SELECT (SELECT count(*) FROM me), h.hub_id, h.beat,"
	        " h.seen_at > now() - interval '1 minute' FROM (VALUES (1)) one"
	        " LEFT JOIN (SELECT * FROM holdfast.hubs o WHERE hub_id <> $1"
	        " AND (seen_at > now() - interval '1 minute' OR EXISTS"
	        " (SELECT FROM holdfast.sessions x WHERE x.owner = o.hub_id))"
	        " ORDER BY seen_at LIMIT 64) h ON true";
	_cleanup_result_ PGresult *r = NULL;
	struct pg_params p = {0};

	pg_put_text(&p, s->hub_id);
	pg_put_i64(&p, s->leases.incarnation);
	int err = pg_exec(pg, sql, &p, clock_ms() + LEASE_MS / 2, &r);
	if (err < 0)
		return err;
	if (pg_get_i64(r, 0, 0) == 0)
		leases_lost(s);
	look_at_others(&s->leases, r);
	return 0;
}

/* ---- taking over ---- */

static unsigned find_dead(struct leases *l, struct other_hub ret[LEASE_HUBS])
{
	uint64_t now = clock_ms();
	unsigned n = 0;

	pthread_mutex_lock(&l->mutex);
	for (unsigned i = 0; i < l->n && now - l->looked_ms <= GAP_MS; i++)
		if (l->others[i].id[0] && now - l->others[i].since_ms >= LEASE_MS)
			ret[n++] = l->others[i];
	pthread_mutex_unlock(&l->mutex);
	return n;
}

/* A hub that starts has not watched anybody yet: those that were away for long by the database's
 * clock, as one whose container got another name. */
static int find_long_dead(
        struct storage *s, struct pg *pg, struct other_hub ret[LEASE_HUBS], unsigned *ret_n)
{
	_cleanup_result_ PGresult *r = NULL;
	struct pg_params p = {0};

	pg_put_text(&p, s->hub_id);
	int err = pg_exec(pg,
	        "SELECT hub_id, beat FROM holdfast.hubs h WHERE hub_id <> $1"
	        " AND seen_at < now() - interval '1 minute' AND EXISTS"
	        " (SELECT FROM holdfast.sessions x WHERE x.owner = h.hub_id) LIMIT 64",
	        &p, clock_ms() + ROUND_TRIP_MS, &r);
	*ret_n = 0;
	for (int i = 0; err == 0 && i < PQntuples(r); i++) {
		struct other_hub *o = &ret[*ret_n];

		o->beat = pg_get_i64(r, i, 1);
		*ret_n += pg_get_text(r, i, 0, o->id, sizeof(o->id));
	}
	return err;
}

/* Its lanes cannot come back from here on. ERR_STALE: it lives, or another hub was first. */
static int depose(struct storage *s, struct pg *pg, const struct other_hub *dead, int64_t *ret)
{
	_cleanup_result_ PGresult *r = NULL;
	struct pg_params p = {0};

	pg_put_text(&p, dead->id);
	pg_put_i64(&p, dead->beat);
	int err = pg_exec(pg,
	        "UPDATE holdfast.hubs SET incarnation = incarnation + 1, beat = beat + 1"
	        " WHERE hub_id = $1 AND beat = $2 RETURNING incarnation",
	        &p, clock_ms() + ROUND_TRIP_MS, &r);
	if (err < 0)
		return err;
	if (PQntuples(r) == 0)
		return ERR_STALE;
	*ret = pg_get_i64(r, 0, 0);
	return fence_raise(s, dead->id);
}

static int hand_over(struct storage *s, struct pg *pg, const PGresult *r)
{
	struct session_left *all = NULL;
	struct buf ids;
	int n = PQntuples(r);

	buf_init(&ids, PG_ARRAY_HEAD + 12 * (size_t)n);
	int err = pg_array_start(&ids);
	for (int i = 0; err == 0 && i < n; i++)
		err = pg_array_i64(&ids, pg_get_i64(r, i, 0));
	if (err == 0) {
		pg_array_finish(&ids, PG_INT8, (uint32_t)n);
		err = sessions_left(s, pg, &ids, &all);
	}
	buf_free(&ids);
	while (all) {
		struct session_left *l = all;

		all = l->next;
		if (s->changes.left)
			s->changes.left(s->changes.ctx, l);
		else
			session_left_free(l);
	}
	mail_flush();
	return err;
}

/* Page by page. The row of the hub that they were of stays locked meanwhile: should it start anew,
 * it waits, and finds what was taken gone. */
static int take_sessions(
        struct storage *s, struct pg *pg, const char *from, int64_t incarnation, bool starting)
{
	static const char sql[] =
	        "WITH h AS (SELECT hub_id FROM holdfast.hubs WHERE hub_id = $2 AND incarnation = $3"
	        " FOR UPDATE) UPDATE holdfast.sessions s SET owner = $1, fence = fence + 1"
	        " WHERE s.session_id IN (SELECT x.session_id FROM h JOIN holdfast.sessions x"
	        " ON x.owner = h.hub_id LIMIT " PAGE_ROWS ") RETURNING s.session_id";
	uint64_t total = 0;
	int err = 0, n = 1;

	while (err == 0 && n > 0) {
		_cleanup_result_ PGresult *r = NULL;
		struct pg_params p = {0};

		pg_put_text(&p, s->hub_id);
		pg_put_text(&p, from);
		pg_put_i64(&p, incarnation);
		err = pg_exec(pg, sql, &p, clock_ms() + POOL_STATEMENT_MS, &r);
		n = err == 0 ? PQntuples(r) : 0;
		total += (uint64_t)n;
		if (n > 0 && !starting)
			err = hand_over(s, pg, r);
	}
	log_info("took over from a hub that is gone", F_STR("hub", from), F_U64("sessions", total));
	return err;
}

static int take_one(struct storage *s, struct pg *pg, const struct other_hub *dead, bool starting)
{
	int64_t incarnation = 0;
	int err = depose(s, pg, dead, &incarnation);

	if (err < 0)
		return err == ERR_STALE ? 0 : err;
	/* Claims have to wait for what is under way: leases_claim. */
	atomic_fetch_add(&s->leases.taken, 1);
	err = take_sessions(s, pg, dead->id, incarnation, starting);
	atomic_fetch_add(&s->leases.taken, 1);
	return err;
}

int leases_take(struct storage *s, bool starting)
{
	struct other_hub dead[LEASE_HUBS];
	struct pg pg = {0};
	unsigned n = starting ? 0 : find_dead(&s->leases, dead);

	if (n == 0 && !starting)
		return 0;
	int err = pool_take(s, &pg);
	if (err == 0 && starting)
		err = find_long_dead(s, &pg, dead, &n);
	for (unsigned i = 0; err == 0 && i < n; i++)
		err = take_one(s, &pg, &dead[i], starting);
	pool_give(s, &pg);
	return err;
}

/* ---- one session ---- */

static int ask_for(struct storage *s, struct pg *pg, struct slice key, PGresult **ret)
{
	static const char sql[] =
	        "WITH c AS (SELECT session_id, owner FROM holdfast.sessions WHERE key = $1),"
	        " t AS MATERIALIZED (SELECT pg_notify('" HUBS_CHANNEL
	        "', 'w ' || owner || ' ' || $2"
	        " || ' ' || session_id || ' ' || encode($1, 'hex')) FROM c WHERE owner <> $2),"
	        " u AS MATERIALIZED (SELECT pg_notify('" HUBS_CHANNEL "', 'c ' || $2 || ' '"
	        " || encode($1, 'hex')) WHERE NOT EXISTS (SELECT FROM c))"
	        " SELECT c.session_id, c.owner = $2, (SELECT count(*) FROM t), (SELECT count(*) "
	        "FROM u)"
	        " FROM (VALUES (1)) one LEFT JOIN c ON true";
	struct pg_params p = {0};

	pg_put_bytes(&p, key);
	pg_put_text(&p, s->hub_id);
	return pg_exec(pg, sql, &p, clock_ms() + s->lookup_ms, ret);
}

static int read_one(struct storage *s, struct pg *pg, int64_t id, struct session_left **ret)
{
	struct buf ids;

	buf_init(&ids, PG_ARRAY_HEAD + 12);
	int err = pg_array_start(&ids);
	if (err == 0)
		err = pg_array_i64(&ids, id);
	if (err == 0) {
		pg_array_finish(&ids, PG_INT8, 1);
		err = sessions_left(s, pg, &ids, ret);
	}
	buf_free(&ids);
	return err;
}

int leases_claim(struct storage *s, struct pg *pg, struct session_claim *c)
{
	_cleanup_result_ PGresult *r = NULL;
	unsigned taken = atomic_load(&s->leases.taken);
	int err = ask_for(s, pg, c->key, &r);

	if (err < 0)
		return err;
	if (PQgetisnull(r, 0, 0)) {
		c->req.err = ERR_NOT_FOUND;
		return 0;
	}
	/* It comes to the broker by another way, or came while this was asked. */
	bool moving = (taken & 1) || atomic_load(&s->leases.taken) != taken;
	if (moving || !pg_get_bool(r, 0, 1)) {
		c->req.err = ERR_CONFLICT;
		return 0;
	}
	err = read_one(s, pg, pg_get_i64(r, 0, 0), &c->left);
	c->req.err = c->left ? 0 : ERR_NOT_FOUND;
	return err;
}

/* ---- what the others say ---- */

/* The next word; empty at the end. */
static struct slice next_word(struct slice *rest)
{
	const uint8_t *space = rest->n ? memchr(rest->p, ' ', rest->n) : NULL;
	struct slice word = *rest;

	if (space)
		word.n = (size_t)(space - rest->p);
	*rest = slice_from(*rest, space ? word.n + 1 : word.n);
	return word;
}

static bool read_number(struct slice word, uint64_t *ret)
{
	uint64_t v = 0;

	for (size_t i = 0; i < word.n; i++) {
		if (word.p[i] < '0' || word.p[i] > '9' || v > UINT64_MAX / 10 - 10)
			return false;
		v = v * 10 + (word.p[i] - '0');
	}
	*ret = v;
	return word.n > 0;
}

static bool read_key(struct slice hex, uint8_t key[KEY_MAX], struct slice *ret)
{
	size_t n = hex.n / 2;

	if (n == 0 || n > KEY_MAX || hex.n % 2 || crypto_hex_decode(hex, key, n) != 0)
		return false;
	*ret = slice_make(key, n);
	return true;
}

static void hear_wanted(struct storage *s, struct slice rest)
{
	uint8_t bytes[KEY_MAX];
	struct slice by = next_word(&rest), key;
	uint64_t id;

	if (by.n == HUB_ID_LEN && read_number(next_word(&rest), &id) &&
	        read_key(rest, bytes, &key) && s->changes.wanted)
		s->changes.wanted(s->changes.ctx, by, id, key);
}

static void hear_command(struct storage *s, struct slice rest)
{
	uint64_t device_key, n;

	if (read_number(next_word(&rest), &device_key) && read_number(next_word(&rest), &n) &&
	        rest.n > 0 && rest.n <= MODULE_ID_MAX && s->changes.command)
		s->changes.command(s->changes.ctx, rest, device_key, n);
}

void leases_hear(struct storage *s, const char *payload)
{
	uint8_t bytes[KEY_MAX];
	struct slice rest = slice_str(payload), key;
	struct slice what = next_word(&rest), hub = next_word(&rest);
	bool mine = slice_eq_str(hub, s->hub_id);

	if (what.n != 1)
		return;
	atomic_store(&s->leases.shared, true);
	if (what.p[0] == 'w' && mine)
		hear_wanted(s, rest);
	else if (what.p[0] == 'm' && !mine)
		hear_command(s, rest);
	else if (what.p[0] == 'y' && mine && read_key(rest, bytes, &key) && s->changes.given)
		s->changes.given(s->changes.ctx, key);
	else if (what.p[0] == 'c' && !mine && read_key(rest, bytes, &key) && s->changes.elsewhere)
		s->changes.elsewhere(s->changes.ctx, key);
}
