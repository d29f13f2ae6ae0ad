#include "policy/keeper.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "policy/abuse.h"
#include "policy/ip_rules.h"
#include "server/base/clock.h"
#include "server/base/crypto.h"
#include "server/base/err.h"
#include "server/base/log.h"

#define NOTES_MAX 256
#define LOOK_MS 30000 /* at least so often */
#define REST_MS 1000  /* between two rounds of writing: each makes every hub read all bans */
#define IN_FORCE_MS 2000

struct note {
	struct ban ban;
	uint64_t whom;
};

struct keeper {
	struct policy *policy;
	pthread_t thread;
	bool running;
	pthread_mutex_t mutex; /* of what follows */
	pthread_cond_t wake;
	bool stopping, poked;
	unsigned n;
	struct note notes[NOTES_MAX];
};

struct keeper *keeper_new(struct policy *p)
{
	struct keeper *k = calloc(1, sizeof(*k));
	pthread_condattr_t attr;
	if (!k)
		return NULL;
	k->policy = p;
	pthread_mutex_init(&k->mutex, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&k->wake, &attr);
	pthread_condattr_destroy(&attr);
	return k;
}

void keeper_note(struct keeper *k, const struct ban *b, uint64_t whom)
{
	pthread_mutex_lock(&k->mutex);
	bool room = k->n < NOTES_MAX;
	if (room)
		k->notes[k->n++] = (struct note){*b, whom};
	pthread_cond_signal(&k->wake);
	pthread_mutex_unlock(&k->mutex);
	if (!room)
		log_warn("too many bans at once: one holds on this hub alone");
}

void keeper_poke(struct keeper *k)
{
	pthread_mutex_lock(&k->mutex);
	k->poked = true;
	pthread_cond_signal(&k->wake);
	pthread_mutex_unlock(&k->mutex);
}

/* ---- bans to the store ---- */

/* The same ban is there: it is renewed, unless an administrator made it. */
static int renew(struct keeper *k, struct document *d)
{
	const struct document_store *store = &k->policy->store.documents;
	_cleanup_(document_done) struct document old = {0};
	_cleanup_json_ json_t *doc = NULL;
	struct doc_check c = {0};
	struct ban b;
	char error[JSON_ERROR_LEN];
	int r = store->get(store->ctx, ENTITY_BAN, d->name, &old);
	if (r < 0)
		return r;
	if (json_read(slice_str(old.text), &json_limits_body, &doc, error) < 0 ||
	        ban_read(&c, doc, true, &b) < 0 || b.by_hand)
		return 0;
	return store->update(store->ctx, d, (struct store_match){.etag = old.etag});
}

static int write_ban(struct keeper *k, const struct ban *b)
{
	const struct document_store *store = &k->policy->store.documents;
	_cleanup_json_ json_t *body = ban_body(b);
	_cleanup_(document_done) struct document d = {
	        .kind = ENTITY_BAN, .text = body ? json_dumps(body, JSON_COMPACT) : NULL};
	char id[BAN_ID_LEN + 1];
	if (!d.text)
		return ERR_NOMEM;
	ban_id(b, id);
	snprintf(d.name, sizeof(d.name), "%s", id);
	int r = store->insert(store->ctx, &d);
	return r == ERR_EXISTS ? renew(k, &d) : r;
}

static size_t bans_there(struct policy *p)
{
	struct rules *rules = replica_take(p->rules);
	size_t n = bans_of(rules) ? bans_of(rules)->n : 0;
	rules_unref(rules);
	return n;
}

static void write_notes(struct keeper *k, struct note *notes, unsigned n)
{
	size_t room = abuse_max_bans(k->policy->abuse), there = bans_there(k->policy);
	unsigned written = 0;
	for (unsigned i = 0; i < n && k->policy->store.documents.insert; i++) {
		if (there + written >= room) {
			log_warn("the store has as many bans as it may: more hold on this hub "
			         "alone");
			break;
		}
		int r = write_ban(k, &notes[i].ban);
		if (r < 0)
			log_warn("a ban holds on this hub alone", F_STR("error", err_text(r)));
		else
			notes[written++] = notes[i];
	}
	if (written == 0)
		return;
	policy_changed(k->policy, ENTITY_BAN);
	/* From here on the store has the word: who is let off there is let off here. */
	if (policy_settled(k->policy, IN_FORCE_MS))
		for (unsigned i = 0; i < written; i++)
			ban_slots_release(abuse_slots(k->policy->abuse), notes[i].whom, clock_ms());
}

/* ---- what expires ---- */

static uint64_t earlier(uint64_t ms, int64_t at_us, int64_t now_us)
{
	uint64_t left = at_us > now_us ? (uint64_t)(at_us - now_us) / 1000 + 1 : 0;
	return at_us && left < ms ? left : ms;
}

static void remove_gone(struct keeper *k, const struct bans *b)
{
	const struct document_store *store = &k->policy->store.documents;
	unsigned removed = 0;
	for (unsigned i = 0; i < b->n_gone; i++)
		/* Another hub may have been first, or renewed it. */
		removed += store->remove(store->ctx, ENTITY_BAN, b->gone[i].id,
		                   (struct store_match){.etag = b->gone[i].etag}) == 0;
	if (removed > 0)
		policy_changed(k->policy, ENTITY_BAN);
}

/* Has what is over read anew. Returns when to look again. */
static uint64_t look(struct keeper *k)
{
	struct rules *rules = replica_take(k->policy->rules);
	const struct ip_rules *ip = ip_rules_of(rules);
	const struct bans *bans = bans_of(rules);
	int64_t now = clock_wall_us();
	uint64_t next = LOOK_MS;
	if (ip && ip->next_expiry_us) {
		if (ip->next_expiry_us <= now)
			policy_changed(k->policy, ENTITY_IP_RULE);
		next = earlier(next, ip->next_expiry_us, now);
	}
	if (bans && bans->next_expiry_us) {
		if (bans->next_expiry_us <= now)
			policy_changed(k->policy, ENTITY_BAN);
		next = earlier(next, bans->next_expiry_us, now);
	}
	if (bans && bans->n_gone > 0)
		remove_gone(k, bans);
	rules_unref(rules);
	return next > 0 ? next : REST_MS;
}

/* ---- the thread ---- */

/* Waits for ms, or until there is something to do (unless quiet) or to stop. With the mutex. */
static void rest(struct keeper *k, uint64_t ms, bool quiet)
{
	struct timespec at;
	uint64_t until = clock_ms() + ms;
	at.tv_sec = (time_t)(until / 1000);
	at.tv_nsec = (long)(until % 1000) * 1000000;
	while (!k->stopping && (quiet || (k->n == 0 && !k->poked)))
		if (pthread_cond_timedwait(&k->wake, &k->mutex, &at) != 0)
			return;
}

static void *keeper_main(void *arg)
{
	struct keeper *k = arg;
	struct note *notes = malloc(sizeof(k->notes));
	pthread_mutex_lock(&k->mutex);
	while (!k->stopping && notes) {
		unsigned n = k->n;
		memcpy(notes, k->notes, n * sizeof(*notes));
		k->n = 0;
		k->poked = false;
		pthread_mutex_unlock(&k->mutex);
		if (n > 0)
			write_notes(k, notes, n);
		uint64_t next = look(k);
		pthread_mutex_lock(&k->mutex);
		if (n > 0)
			rest(k, REST_MS, true);
		rest(k, next, false);
	}
	pthread_mutex_unlock(&k->mutex);
	free(notes);
	crypto_thread_done();
	return NULL;
}

int keeper_start(struct keeper *k)
{
	if (pthread_create(&k->thread, NULL, keeper_main, k) != 0)
		return ERR_NOMEM;
	k->running = true;
	return 0;
}

void keeper_hurry(struct keeper *k)
{
	pthread_mutex_lock(&k->mutex);
	k->stopping = true;
	pthread_cond_signal(&k->wake);
	pthread_mutex_unlock(&k->mutex);
}

void keeper_stop(struct keeper *k)
{
	keeper_hurry(k);
	if (k->running)
		pthread_join(k->thread, NULL);
	k->running = false;
}

struct keeper *keeper_free(struct keeper *k)
{
	if (!k)
		return NULL;
	keeper_stop(k);
	pthread_cond_destroy(&k->wake);
	pthread_mutex_destroy(&k->mutex);
	free(k);
	return NULL;
}
