#include "registry/query.h"

#include "registry/authorizer_grant.h"

#include <assert.h>

#include "server/base/err.h"
#include "server/base/log.h"
#include "server/base/metrics.h"
#include "server/base/replica.h"

#define FEED_POLL_MS 50
/* How soon a look-up is tried again while the database is away: quickly at first, since somebody
 * has a deadline; then slowly, since thousands of live connections may be waiting to be rechecked.
 */
#define RETRY_MS 100
#define RETRY_QUICK 20
#define RETRY_SLOW_MS 1000

/* One look-up for everybody on this loop who wants that identity. */
struct flight {
	struct identity_lookup lookup;
	struct shard *shard;
	struct want *waiters;
	struct loop_timer retry;
	unsigned retries;
	uint64_t epoch; /* of the change feed when it was asked */
	bool out;       /* the store has it: it cannot be freed */
	bool again;     /* the identity changed meanwhile: the answer may be older than that */
	char name[IDENTITY_NAME_MAX];
	uint16_t name_len;
};

static const struct registry_store *store_of(const struct shard *s)
{
	return &s->registry->store;
}

static const struct registry_hooks *hooks_of(const struct shard *s)
{
	return &s->registry->hooks;
}

/* ---- flights ---- */

static void flight_answered(struct mail *m);

static void flight_launch(struct flight *f)
{
	const struct registry_store *store = store_of(f->shard);
	f->again = false;
	f->out = true;
	f->epoch = store->feed_epoch(store->ctx);
	f->lookup.err = 0;
	store->lookup(store->ctx, &f->lookup);
}

static void flight_retry(struct loop_timer *t, HF_UNUSED struct loop *loop)
{
	flight_launch(container_of(t, struct flight, retry));
}

static struct flight *flight_new(struct shard *s, enum entity kind, struct slice id)
{
	struct flight *f = calloc(1, sizeof(*f));
	if (!f)
		return NULL;
	f->shard = s;
	f->name_len = (uint16_t)identity_name_write(kind, id, f->name).n;
	f->retry.fire = flight_retry;
	f->lookup.mail.deliver = flight_answered;
	f->lookup.reply_to = loop_mailbox(s->loop);
	f->lookup.kind = kind;
	memcpy(f->lookup.id, id.p, id.n);
	if (map_put(&s->flights, slice_make(f->name, f->name_len), f, NULL) < 0) {
		free(f);
		return NULL;
	}
	return f;
}

static void flight_free(struct flight *f)
{
	assert(!f->out && !f->waiters);
	map_remove(&f->shard->flights, slice_make(f->name, f->name_len));
	loop_timer_cancel(&f->retry);
	free(f);
}

static void want_join(struct want *w, struct flight *f)
{
	w->flight = f;
	w->next = f->waiters;
	w->prev = &f->waiters;
	if (w->next)
		w->next->prev = &w->next;
	f->waiters = w;
}

static void want_leave(struct want *w)
{
	if (!w->flight)
		return;
	*w->prev = w->next;
	if (w->next)
		w->next->prev = w->prev;
	w->next = NULL;
	w->prev = NULL;
	w->flight = NULL;
}

static void want_reset(struct want *w)
{
	want_leave(w);
	w->identity = identity_unref(w->identity);
	w->cached = false;
	w->state = WANT_UNKNOWN;
}

/* Ends the flight and tells everybody who waited for it. What they do then may start other
 * flights, end other queries of this list, or free themselves. */
static void flight_land(struct flight *f, enum want_state state, struct identity *found)
{
	struct want *list = TAKE_PTR(f->waiters);
	if (list)
		list->prev = &list;
	flight_free(f);
	while (list) {
		struct want *w = list;
		want_leave(w);
		w->state = state;
		w->identity = found ? identity_ref(found) : NULL;
		query_run(w->query);
	}
}

static void flight_found(struct flight *f, struct identity *found)
{
	struct shard *s = f->shard;
	if (found && found->epoch == store_of(s)->feed_epoch(store_of(s)->ctx))
		cache_put(&s->cache, found);
	flight_land(f, found ? WANT_FOUND : WANT_UNUSABLE, found);
	identity_unref(found);
}

static void flight_retry_later(struct flight *f)
{
	bool quick = f->retries < RETRY_QUICK;
	f->retries += quick;
	loop_timer_set(f->shard->loop, &f->retry, quick ? RETRY_MS : RETRY_SLOW_MS);
}

static void record_done(struct identity_lookup *l)
{
	if (l->kind == ENTITY_KEY)
		access_key_record_done(&l->key);
	else if (l->kind == ENTITY_CERTIFICATE)
		document_done(&l->certificate);
	else
		device_record_done(&l->device);
}

static void flight_answered(struct mail *m)
{
	struct flight *f = container_of(m, struct flight, lookup.mail);
	struct identity *found = NULL;
	int err = f->lookup.err;

	f->out = false;
	if (err == 0) {
		if (!f->again)
			found = identity_new(&f->lookup, f->epoch, hooks_of(f->shard));
		record_done(&f->lookup);
	}
	if (!f->waiters && !found) {
		flight_free(f);
	} else if (f->again) {
		flight_launch(f);
	} else if (err == 0) {
		flight_found(f, found);
	} else if (err == ERR_NOT_FOUND) {
		flight_land(f, WANT_ABSENT, NULL);
	} else if (err == ERR_CORRUPT) {
		log_error("identity cannot be read", F_STR("id", f->lookup.id),
		        F_STR("error", err_text(err)));
		flight_land(f, WANT_UNUSABLE, NULL);
	} else {
		flight_retry_later(f);
	}
}

/* ---- queries ---- */

void query_init(struct query *q, struct shard *s)
{
	q->shard = s;
	q->next = s->queries;
	q->prev = &s->queries;
	if (q->next)
		q->next->prev = &q->next;
	s->queries = q;
}

struct want *query_want(struct query *q, enum entity kind, struct slice id)
{
	assert(q->n < ARRAY_LEN(q->wants) && id.n <= MODULE_ID_MAX);
	struct want *w = &q->wants[q->n++];
	w->query = q;
	w->kind = kind;
	w->id_len = (uint16_t)id.n;
	memcpy(w->id, id.p, id.n);
	return w;
}

static void query_stall(struct query *q)
{
	struct shard *s = q->shard;
	if (q->prev_stalled)
		return;
	q->next_stalled = s->stalled;
	q->prev_stalled = &s->stalled;
	if (q->next_stalled)
		q->next_stalled->prev_stalled = &q->next_stalled;
	s->stalled = q;
	if (!loop_timer_armed(&s->feed_timer))
		loop_timer_set(s->loop, &s->feed_timer, FEED_POLL_MS);
}

static void query_unstall(struct query *q)
{
	if (!q->prev_stalled)
		return;
	*q->prev_stalled = q->next_stalled;
	if (q->next_stalled)
		q->next_stalled->prev_stalled = q->prev_stalled;
	q->next_stalled = NULL;
	q->prev_stalled = NULL;
}

static void feed_poll(struct loop_timer *t, HF_UNUSED struct loop *loop)
{
	struct shard *s = container_of(t, struct shard, feed_timer);
	struct query *list = TAKE_PTR(s->stalled);
	if (list)
		list->prev_stalled = &list;
	while (list) {
		struct query *q = list;
		query_unstall(q);
		query_run(q);
	}
}

/* Whether an identity says what is so now, its access made by the rules in force. Who cannot be
 * made to say so is forgotten, and read again. */
static bool identity_current(struct shard *s, struct identity *i)
{
	if (i->forgotten)
		return false;
	if (identity_refresh(i, hooks_of(s)))
		return true;
	i->forgotten = true;
	return false;
}

static struct identity *find_cached(struct shard *s, struct slice name, uint64_t epoch)
{
	struct identity *i = cache_get(&s->cache, name, epoch);
	if (!i || identity_current(s, i))
		return i;
	cache_forget(&s->cache, name);
	return NULL;
}

/* Finds the want in the cache or joins a flight. Whether it is known now. */
static bool want_ask(struct want *w, bool fresh, uint64_t epoch)
{
	struct shard *s = w->query->shard;
	struct slice id = slice_make(w->id, w->id_len);
	char text[IDENTITY_NAME_MAX];
	struct slice name = identity_name_write(w->kind, id, text);
	bool may_cache = fresh && !w->query->afresh;
	struct identity *cached = may_cache ? find_cached(s, name, epoch) : NULL;
	if (cached) {
		w->cached = true;
		metric_inc(METRIC_CACHE_HITS);
		w->identity = identity_ref(cached);
		w->state = WANT_FOUND;
		return true;
	}
	metric_inc(METRIC_CACHE_MISSES);
	struct flight *f = map_get(&s->flights, name);
	bool launch = !f;
	if (!f)
		f = flight_new(s, w->kind, id);
	if (!f) {
		w->state = WANT_UNUSABLE;
		return true;
	}
	want_join(w, f);
	if (launch)
		flight_launch(f);
	return false;
}

static bool want_settle(struct want *w, bool fresh, uint64_t epoch)
{
	if (w->flight)
		return false;
	if (w->state == WANT_FOUND &&
	        (!identity_current(w->query->shard, w->identity) ||
	                (w->query->needs_feed && w->identity->epoch != epoch)))
		want_reset(w);
	return w->state != WANT_UNKNOWN || want_ask(w, fresh, epoch);
}

void query_run(struct query *q)
{
	const struct registry_store *store = store_of(q->shard);
	/* Freshness first: whoever sees the feed fresh again also sees the epoch that came with it.
	 */
	bool fresh = store->feed_fresh_until_ms(store->ctx) > loop_now_ms(q->shard->loop);
	uint64_t epoch = store->feed_epoch(store->ctx);
	const struct registry_hooks *hooks = hooks_of(q->shard);
	bool rules_fresh = !hooks->access_fresh || hooks->access_fresh(hooks->ctx);
	bool trust_fresh = !q->needs_trust || replica_fresh(q->shard->registry->trust);
	if (!(fresh && rules_fresh && trust_fresh) && q->needs_feed) {
		query_stall(q);
		return;
	}
	query_unstall(q);
	bool known = true;
	for (unsigned i = 0; i < q->n; i++)
		known &= want_settle(&q->wants[i], fresh, epoch);
	if (known)
		q->ready(q);
}

bool query_run_afresh(struct query *q)
{
	bool any = false;
	for (unsigned i = 0; i < q->n; i++) {
		if (!q->wants[i].cached)
			continue;
		want_reset(&q->wants[i]);
		any = true;
	}
	if (!any)
		return false;
	q->afresh = true;
	query_run(q);
	return true;
}

void query_run_again(struct query *q)
{
	for (unsigned i = 0; i < q->n; i++)
		want_reset(&q->wants[i]);
	q->afresh = true;
	query_run(q);
}

void query_end(struct query *q)
{
	query_unstall(q);
	for (unsigned i = 0; i < q->n; i++)
		want_reset(&q->wants[i]);
	if (!q->prev)
		return;
	*q->prev = q->next;
	if (q->next)
		q->next->prev = q->prev;
	q->next = NULL;
	q->prev = NULL;
}

/* ---- the shard ---- */

void shard_init(struct shard *s, struct registry *r, struct loop *loop, struct settings *settings)
{
	s->registry = r;
	s->loop = loop;
	s->settings = settings;
	cache_init(&s->cache, settings->cache_entries);
	map_init(&s->flights);
	s->feed_timer.fire = feed_poll;
}

void shard_forget(struct shard *s, enum entity kind, struct slice id)
{
	char text[IDENTITY_NAME_MAX];
	struct slice name = identity_name_write(kind, id, text);
	cache_forget(&s->cache, name);
	struct flight *f = map_get(&s->flights, name);
	if (f)
		f->again = true;
}

void shard_forget_all(struct shard *s)
{
	struct flight *f;
	cache_forget_all(&s->cache);
	map_for_each (&s->flights, pos, f)
		f->again = true;
}

/* A look-up that the store still has cannot be freed: it stays as it is, and nobody hears of it. */
void shard_done(struct shard *s)
{
	struct flight *f;
	while (s->queries)
		s->queries->drop(s->queries);
	map_for_each (&s->flights, pos, f)
		if (!f->out)
			flight_free(f);
	grants_drop(s);
	desk_free(s->desk);
	map_free(&s->flights);
	cache_done(&s->cache);
	s->settings = settings_unref(s->settings);
}
