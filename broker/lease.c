#include "broker/lease.h"

#include <assert.h>

#include "broker/client.h"
#include "broker/command.h"
#include "broker/mem.h"
#include "server/base/err.h"
#include "server/base/log.h"

#define CLAIM_MS 50 /* until the store is asked again for a session that another hub has */
#define QUIET_MS 5  /* until what a session has under way is looked at again */
#define HUB_MAX 64

/* What is under way about one key: a session is asked for, or given away. */
struct lease {
	struct session_claim claim;
	struct queue_load barrier; /* of the device's commands */
	struct session_write give;
	struct shard *shard;
	struct loop_timer timer;
	uint64_t until_ms;
	uint64_t session_id; /* given away; 0: it is asked for */
	bool given;          /* meanwhile: it is to be asked for afterwards */
	LIST_HEAD(lease_wait_list, lease_wait) waits;
	char to[HUB_MAX];
	uint8_t to_len;
	uint16_t key_len;
	char key[];
};

static struct slice lease_key(const struct lease *l)
{
	return slice_make(l->key, l->key_len);
}

static struct lease *lease_new(struct shard *sh, struct slice key)
{
	struct lease *l = mem_new(sizeof(*l) + key.n);
	l->shard = sh;
	l->key_len = (uint16_t)key.n;
	memcpy(l->key, key.p, key.n);
	l->until_ms = shard_now(sh) + shard_limits(sh)->lookup_ms;
	LIST_INIT(&l->waits);
	if (map_put(&sh->leases, lease_key(l), l, NULL) != 0)
		abort(); /* a few nodes */
	shard_busy(sh, 1);
	return l;
}

static void claim_begin(struct shard *sh, struct slice key);

static void lease_done(struct lease *l, int err)
{
	struct shard *sh = l->shard;
	struct lease_wait *w;
	map_remove(&sh->leases, lease_key(l));
	loop_timer_cancel(&l->timer);
	while ((w = LIST_FIRST(&l->waits)) != NULL) {
		lease_unwait(w);
		w->done(w, err);
	}
	if (l->given && !map_get(&sh->sessions, lease_key(l)))
		claim_begin(sh, lease_key(l));
	shard_busy(sh, -1);
	free(l);
}

void leases_free(struct shard *sh)
{
	struct lease *l;
	size_t pos = 0;
	while ((l = map_next(&sh->leases, &pos)) != NULL) {
		if (!loop_timer_armed(&l->timer))
			continue; /* its answer will not come, and nobody is there to free it */
		loop_timer_cancel(&l->timer);
		free(l);
	}
	map_free(&sh->leases);
}

/* ---- a session comes ---- */

/* As another hub left it; who it belongs to is asked again. */
static void take(struct shard *sh, const struct session_left *left)
{
	struct session *s = session_restored(sh, &left->row);
	unsigned lost = 0;
	if (!s) {
		log_warn("a session of another hub contradicts itself: left out",
		        F_U64("session", left->row.id));
		return;
	}
	durable_restored(s, &left->row, &left->queue);
	if (left->row.will.msg) {
		msg_ref(left->row.will.msg);
		will_set(s, &left->row.will);
	}
	session_resume_times(s, &left->row);
	for (unsigned i = 0; i < left->n_subs; i++)
		lost += subscription_restored(s, &left->subs[i], true) != 0;
	if (lost > 0)
		log_warn("some subscriptions of another hub's session are left out",
		        F_U64("session", left->row.id), F_U64("subscriptions", lost));
}

/* Nobody has come for it yet. */
static void settle(struct shard *sh, struct slice key)
{
	struct session *s = map_get(&sh->sessions, key);
	if (!s || s->client)
		return;
	durable_write_due(s);
	recheck_session(s);
}

static void claim_ask(struct lease *l)
{
	const struct session_store *store = &l->shard->b->sessions_store;
	store->session_claim(store->ctx, &l->claim);
}

static void claim_again(struct loop_timer *t, struct loop *loop HF_UNUSED)
{
	claim_ask(container_of(t, struct lease, timer));
}

static void claimed(struct mail *mail)
{
	struct lease *l = container_of(mail, struct lease, claim.req.mail);
	struct shard *sh = l->shard;
	int err = l->claim.req.err;
	bool here = map_get(&sh->sessions, lease_key(l)) != NULL;
	if (err == ERR_CONFLICT && !here && shard_now(sh) < l->until_ms) {
		l->timer.fire = claim_again;
		loop_timer_set(sh->loop, &l->timer, l->given ? 0 : CLAIM_MS);
		l->given = false;
		return;
	}
	struct session_left *left = TAKE_PTR(l->claim.left);
	if (left && !here)
		take(sh, left);
	/* One that was given meanwhile has come by this. */
	l->given = l->given && err == ERR_CONFLICT;
	uint8_t key[UINT16_MAX / 32];
	size_t n = l->key_len;
	assert(n <= sizeof(key));
	memcpy(key, l->key, n);
	lease_done(l, here || !err || err == ERR_NOT_FOUND ? 0 : ERR_UNAVAILABLE);
	if (left)
		settle(sh, slice_make(key, n));
	session_left_free(left);
}

static struct lease *claim_new(struct shard *sh, struct slice key)
{
	struct lease *l = lease_new(sh, key);
	l->claim.req.mail.deliver = claimed;
	l->claim.req.reply_to = sh->box;
	l->claim.key = lease_key(l);
	return l;
}

static void claim_begin(struct shard *sh, struct slice key)
{
	claim_ask(claim_new(sh, key));
}

bool lease_wait(
        struct shard *sh, const struct principal *p, struct slice client_id, struct lease_wait *w)
{
	const struct session_store *store = &sh->b->sessions_store;
	char text[SESSION_KEY_MAX];
	size_t off, n = session_key(p, client_id, text, &off);
	struct slice key = slice_make(text, n);
	if (!sh->b->keeps)
		return false;
	struct lease *l = map_get(&sh->leases, key);
	if (!l && (map_get(&sh->sessions, key) || !store->shared(store->ctx)))
		return false;
	bool fresh = !l;
	/* One that is ending here is this hub's still. */
	if (fresh && map_get(&sh->farewells, key))
		return false;
	l = fresh ? claim_new(sh, key) : l;
	LIST_INSERT_HEAD(&l->waits, w, entry);
	w->waits = true;
	if (fresh)
		claim_ask(l);
	return true;
}

void lease_unwait(struct lease_wait *w)
{
	if (w->waits)
		LIST_REMOVE(w, entry);
	w->waits = false;
}

/* ---- a session goes ---- */

static void give_step(struct lease *l);

static void give_again(struct loop_timer *t, struct loop *loop HF_UNUSED)
{
	give_step(container_of(t, struct lease, timer));
}

static void given_away(struct mail *mail)
{
	struct lease *l = container_of(mail, struct lease, give.req.mail);
	if (l->give.req.err)
		log_error("a session cannot be given to another hub",
		        F_U64("session", l->session_id), F_STR("error", err_text(l->give.req.err)));
	lease_done(l, 0);
}

static void give_send(struct lease *l)
{
	const struct session_store *store = &l->shard->b->sessions_store;
	l->give.req.mail.deliver = given_away;
	l->give.req.reply_to = l->shard->box;
	l->give.op = SESSION_GIVE;
	l->give.row.id = l->session_id;
	l->give.to = slice_make(l->to, l->to_len);
	store->session_write(store->ctx, &l->give);
}

/* Everything that was asked of the store for it is on its way there, and nothing follows. */
static bool is_quiet(const struct session *s)
{
	const struct durable *d = s->durable;
	return !s->client && !s->joining && TAILQ_EMPTY(&d->leaving) && !d->writing && !d->due;
}

/* What was done to the device's commands has taken effect, in another lane than that of its
 * session. */
static void commands_quiet(struct mail *mail)
{
	struct lease *l = container_of(mail, struct lease, barrier.req.mail);
	struct session *s = map_get(&l->shard->sessions, lease_key(l));
	if (!s || !s->durable || l->barrier.req.err || !is_quiet(s)) {
		give_step(l);
		return;
	}
	session_leave(s);
	give_send(l);
}

static void barrier_ask(struct lease *l, const struct session *s)
{
	const struct session_store *store = &l->shard->b->sessions_store;
	l->barrier.req.mail.deliver = commands_quiet;
	l->barrier.req.reply_to = l->shard->box;
	l->barrier.queue = COMMAND_QUEUE(s->principal->device_key);
	l->barrier.count_only = true;
	l->barrier.max_rows = 1;
	l->barrier.req.err = 0;
	store->queue_load(store->ctx, &l->barrier);
}

static void give_step(struct lease *l)
{
	struct session *s = map_get(&l->shard->sessions, lease_key(l));
	if (s && s->durable && s->client) {
		client_taken_over(s);
		s = map_get(&l->shard->sessions, lease_key(l));
	}
	if (!s || !s->durable || s->durable->id != l->session_id ||
	        shard_now(l->shard) >= l->until_ms) {
		lease_done(l, 0); /* it has ended, or who wants it asks again */
	} else if (!is_quiet(s)) {
		l->timer.fire = give_again;
		loop_timer_set(l->shard->loop, &l->timer, QUIET_MS);
	} else {
		barrier_ask(l, s);
	}
}

/* ---- mail from other threads ---- */

struct lease_mail {
	struct mail mail;
	struct shard *shard;
	void (*act)(struct shard *sh, const struct lease_mail *m);
	uint64_t session_id;
	char by[HUB_MAX];
	uint8_t by_len;
	size_t key_len;
	char key[];
};

static struct slice mail_key(const struct lease_mail *m)
{
	return slice_make(m->key, m->key_len);
}

static void lease_arrived(struct mail *mail)
{
	struct lease_mail *m = container_of(mail, struct lease_mail, mail);
	m->act(m->shard, m);
	free(m);
}

static void send(struct broker *b, struct slice key, const struct lease_mail *what)
{
	struct slice client_id;
	if (!b->keeps || !session_key_client(key, &client_id))
		return;
	struct lease_mail *m = mem_new(sizeof(*m) + key.n);
	*m = *what;
	m->mail.deliver = lease_arrived;
	m->shard = broker_home_client(b, client_id);
	m->key_len = key.n;
	memcpy(m->key, key.p, key.n);
	mail_send(m->shard->box, &m->mail);
}

static void act_wanted(struct shard *sh, const struct lease_mail *m)
{
	struct slice key = mail_key(m);
	const struct session *s = map_get(&sh->sessions, key);
	/* Its end is on the way to the store, or so is its beginning. */
	if (map_get(&sh->leases, key) || map_get(&sh->farewells, key) ||
	        (s && (!s->durable || s->joining || s->durable->id != m->session_id)))
		return;
	struct lease *l = lease_new(sh, key);
	l->session_id = m->session_id;
	l->to_len = m->by_len;
	memcpy(l->to, m->by, m->by_len);
	if (s)
		give_step(l);
	else
		give_send(l); /* one that could not be read */
}

void broker_session_wanted(struct broker *b, struct slice by, uint64_t session_id, struct slice key)
{
	struct lease_mail m = {.act = act_wanted, .session_id = session_id};
	if (by.n == 0 || by.n > sizeof(m.by))
		return;
	m.by_len = (uint8_t)by.n;
	memcpy(m.by, by.p, by.n);
	send(b, key, &m);
}

static void act_given(struct shard *sh, const struct lease_mail *m)
{
	struct lease *l = map_get(&sh->leases, mail_key(m));
	if (!l && !map_get(&sh->sessions, mail_key(m))) {
		claim_begin(sh, mail_key(m));
	} else if (l && l->session_id == 0 && loop_timer_armed(&l->timer)) {
		loop_timer_cancel(&l->timer);
		claim_ask(l);
	} else if (l) {
		l->given = true;
	}
}

void broker_session_given(struct broker *b, struct slice key)
{
	send(b, key, &(struct lease_mail){.act = act_given});
}

/* What is kept nowhere cannot go over: its client is there now. */
static void act_elsewhere(struct shard *sh, const struct lease_mail *m)
{
	struct session *s = map_get(&sh->sessions, mail_key(m));
	if (s && !s->durable && s->client)
		client_taken_over(s);
}

void broker_session_elsewhere(struct broker *b, struct slice key)
{
	send(b, key, &(struct lease_mail){.act = act_elsewhere});
}

static void left_arrived(struct mail *mail)
{
	struct session_left *left = container_of(mail, struct session_left, mail);
	struct shard *sh = left->taker;
	if (!map_get(&sh->sessions, left->row.key)) {
		take(sh, left);
		settle(sh, left->row.key);
	}
	session_left_free(left);
}

void broker_session_left(struct broker *b, struct session_left *left)
{
	struct slice client_id;
	if (!session_key_client(left->row.key, &client_id)) {
		session_left_free(left);
		return;
	}
	left->mail.deliver = left_arrived;
	left->taker = broker_home_client(b, client_id);
	mail_post(broker_home_client(b, client_id)->box, &left->mail);
}
