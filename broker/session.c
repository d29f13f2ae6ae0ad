#include "broker/session.h"

#include <assert.h>

#include "broker/client.h"
#include "broker/command.h"
#include "broker/mem.h"
#include "broker/queue_store.h"
#include "broker/quota.h"
#include "broker/receive.h"
#include "broker/share.h"
#include "server/base/err.h"
#include "server/base/metrics.h"

#define NEVER UINT64_MAX
/* A hub that starts gives clients this long to come back to their sessions, and before wills go
 * out. */
#define RETURN_MS 60000
#define WILL_MS 10000
#define JUDGE_MS 1000 /* who it is is asked again this often, before its will goes out */
#define KEY_MAX (2 + MODULE_ID_MAX + CLIENT_ID_MAX)

/* Kind, then (but for devices, whose client id it is) the principal's id with its length, then the
 * client id: a back end never meets a device's session, nor one back end another's. */
static size_t session_key(
        const struct principal *p, struct slice client_id, char out[static KEY_MAX], size_t *id_off)
{
	size_t n = 0;
	assert(client_id.n <= CLIENT_ID_MAX);
	out[n++] = (char)p->kind;
	if (p->kind != PRINCIPAL_DEVICE) {
		out[n++] = (char)p->id_len;
		memcpy(out + n, p->text, p->id_len);
		n += p->id_len;
	}
	*id_off = n;
	if (client_id.n > 0)
		memcpy(out + n, client_id.p, client_id.n);
	return n + client_id.n;
}

struct session *session_find(
        const struct shard *sh, const struct principal *p, struct slice client_id)
{
	char key[KEY_MAX];
	size_t id_off, n = session_key(p, client_id, key, &id_off);
	return map_get(&sh->sessions, slice_make(key, n));
}

struct session *session_find_device(const struct shard *sh, struct slice id)
{
	char key[1 + CLIENT_ID_MAX];
	if (id.n > CLIENT_ID_MAX)
		return NULL;
	key[0] = (char)PRINCIPAL_DEVICE;
	memcpy(key + 1, id.p, id.n);
	return map_get(&sh->sessions, slice_make(key, id.n + 1));
}

/* Arms the timer for what comes first: will or end. */
static void session_arm(struct session *s)
{
	uint64_t due = s->will_at < s->expire_at ? s->will_at : s->expire_at;
	uint64_t now = shard_now(s->shard);
	loop_timer_cancel(&s->timer);
	if (due != NEVER)
		loop_timer_set(s->shard->loop, &s->timer, due > now ? due - now : 0);
}

static void session_due(struct loop_timer *t, struct loop *loop HF_UNUSED)
{
	struct session *s = container_of(t, struct session, timer);
	uint64_t now = shard_now(s->shard);
	/* Whether it may have a will is not known yet. */
	if (s->unjudged && s->will) {
		recheck_session(s);
		loop_timer_set(s->shard->loop, &s->timer, JUDGE_MS);
		return;
	}
	if (s->expire_at <= now) {
		session_end(s);
		return;
	}
	if (s->will_at <= now) {
		s->will_at = NEVER;
		/* It may have been taken away meanwhile. */
		if (s->will && !will_publish(s))
			durable_write(s); /* it is not to come back with the row */
	}
	session_arm(s);
}

static bool is_module(const struct principal *p)
{
	return p->kind == PRINCIPAL_DEVICE && memchr(p->text, '/', p->id_len);
}

static struct session *session_make(struct shard *sh, struct principal *p, struct slice client_id)
{
	char key[KEY_MAX];
	size_t id_off, n = session_key(p, client_id, key, &id_off);
	struct session *s = mem_new(sizeof(*s) + n);
	memcpy(s->key, key, n);
	s->key_len = (uint16_t)n;
	s->id_off = (uint16_t)id_off;
	s->shard = sh;
	s->principal = principal_ref(p);
	s->will_at = s->expire_at = NEVER;
	s->timer.fire = session_due;
	LIST_INIT(&s->tethers);
	LIST_INIT(&s->subs);
	if (map_put(&sh->sessions, slice_make(s->key, n), s, NULL) != 0) {
		principal_unref(s->principal);
		free(s);
		return NULL;
	}
	LIST_INSERT_HEAD(&sh->session_list, s, all);
	sh->n_modules += is_module(p);
	atomic_fetch_add(&sh->b->sessions, 1);
	metric_inc(METRIC_SESSIONS);
	return s;
}

struct session *session_new(struct shard *sh, struct principal *p, struct slice client_id)
{
	if (atomic_load(&sh->b->sessions) >= shard_limits(sh)->max_sessions)
		return NULL;
	struct session *s = session_make(sh, p, client_id);
	if (s)
		receive_begin(s);
	return s;
}

/* ---- sessions that an earlier hub left ---- */

struct session *session_restored(struct shard *sh, const struct session_row *row)
{
	struct slice client_id = slice_from(row->key, row->client_id_off);
	char key[KEY_MAX];
	size_t id_off;
	if (client_id.n > CLIENT_ID_MAX)
		return NULL;
	size_t n = session_key(row->principal, client_id, key, &id_off);
	if (!slice_eq(slice_make(key, n), row->key) || map_get(&sh->sessions, row->key))
		return NULL;
	struct session *s = session_make(sh, row->principal, client_id);
	if (!s)
		return NULL;
	s->unjudged = row->principal->kind != PRINCIPAL_ANONYMOUS;
	receive_begin(s);
	return s;
}

/* What is left of a time that began when nobody was there any more: the only place where the wall
 * clock counts, because nothing else goes on while no hub runs. */
static uint64_t time_left(uint64_t ms, int64_t since_us, int64_t now_us, uint64_t least)
{
	uint64_t gone = since_us && now_us > since_us ? (uint64_t)(now_us - since_us) / 1000 : 0;
	uint64_t left = ms > gone ? ms - gone : 0;
	return left > least ? left : least;
}

void session_resume_times(struct session *s, const struct session_row *row)
{
	uint64_t now = shard_now(s->shard);
	int64_t wall = loop_wall_us(s->shard->loop);
	s->expiry = row->expiry;
	s->gone_us = row->offline_us ? row->offline_us : wall;
	if (row->expiry == 0) /* it ended with its connection, which ended with the hub */
		s->expire_at = now;
	else if (row->expiry != UINT32_MAX)
		s->expire_at = now +
		        time_left(row->expiry * 1000ull, row->offline_us, wall, RETURN_MS);
	if (s->will)
		s->will_at = now +
		        time_left(s->will->delay * 1000ull, row->offline_us, wall, WILL_MS);
	session_arm(s);
}

struct broker_client *session_writable(const struct session *s)
{
	return s->client && s->client->state == CLIENT_ON ? s->client : NULL;
}

/* ---- tethers ---- */

void session_tie(struct session *s, struct tether *t, enum tether_kind kind)
{
	t->session = s;
	t->kind = kind;
	LIST_INSERT_HEAD(&s->tethers, t, entry);
}

void session_untie(struct tether *t)
{
	if (!t->session)
		return;
	LIST_REMOVE(t, entry);
	t->session = NULL;
}

/* ---- the end ---- */

static void session_free(struct session *s)
{
	struct shard *sh = s->shard;
	struct tether *t;
	while ((t = LIST_FIRST(&s->tethers)) != NULL)
		session_untie(t);
	recheck_abandon(s);
	connect_orphan(s);
	receive_end(s);
	durable_discard(s);
	if (sh->recheck_next == s)
		sh->recheck_next = LIST_NEXT(s, all);
	share_member_unref(s->share);
	if (s->member)
		map_remove(&sh->members, slice_make(&s->member, sizeof(s->member)));
	map_remove(&sh->sessions, slice_make(s->key, s->key_len));
	LIST_REMOVE(s, all);
	loop_timer_cancel(&s->timer);
	qos2_free(&s->qos2);
	s->will = will_free(s->shard, s->will);
	sh->n_modules -= is_module(s->principal);
	principal_unref(s->principal);
	atomic_fetch_sub(&sh->b->sessions, 1);
	metric_add(METRIC_SESSIONS, -1);
	free(s);
}

void session_discard(struct session *s)
{
	session_discard_subs(s);
	out_free(s, false);
	session_free(s);
}

void session_end(struct session *s)
{
	assert(!s->client);
	session_unsubscribe_all(s); /* first: nothing comes back to it from here on */
	out_free(s, true);
	/* What the store knows of its QoS 2 messages would be mistaken for the next session's. */
	if (qos2_any_stored(&s->qos2) || (s->durable && s->durable->cold))
		qos2_release_all(s);
	if (s->will)
		will_publish(s);
	durable_end(s);
	session_free(s);
}

void session_forget(struct session *s)
{
	s->will = will_free(s->shard, s->will);
	qos2_free(&s->qos2);
	session_end(s);
}

/* ---- clients come and go ---- */

void session_attach(struct session *s, struct broker_client *c, uint32_t expiry)
{
	assert(!s->client);
	s->client = c;
	c->session = s;
	s->expiry = expiry;
	s->will_at = s->expire_at = NEVER;
	loop_timer_cancel(&s->timer);
	qos2_restart(&s->qos2);
	out_restart(s);
}

void session_detach(struct session *s)
{
	struct broker_client *c = s->client;
	uint64_t now = shard_now(s->shard);
	s->client = NULL;
	s->last_activity_us = client_activity_us(c);
	s->gone_us = loop_wall_us(s->shard->loop);
	out_restart(s);
	commands_left(s);
	share_tell(s);
	if (!c->keep_will)
		s->will = will_free(s->shard, s->will);
	if (s->expiry == 0) {
		session_end(s);
		return;
	}
	s->expire_at = s->expiry == UINT32_MAX ? NEVER : now + s->expiry * 1000ull;
	if (s->will && s->will->delay == 0)
		will_publish(s);
	else if (s->will)
		s->will_at = now + s->will->delay * 1000ull;
	if (s->durable)
		tail_leave(s);
	durable_write(s);
	session_arm(s);
}
