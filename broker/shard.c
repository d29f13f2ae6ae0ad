#include "broker/shard.h"

#include <assert.h>

#include "broker/client.h"
#include "broker/command.h"
#include "broker/mem.h"
#include "broker/rate.h"
#include "broker/share.h"
#include "broker/topic.h"
#include "server/base/err.h"
#include "server/base/metrics.h"

#define TICK_MS 1000
#define DEVICE_SLOTS 16384 /* of the tallies of what devices retain */
#define PACKET_MAX (268435455u + 5)

/* ---- limits ---- */

struct limits *limits_new(const struct broker_limits *from)
{
	size_t text = 0;
	for (unsigned i = 0; i < from->n_store_filters; i++)
		text += strlen(from->store_filters[i]) + 1;
	struct limits *l = calloc(1, sizeof(*l) + text);
	if (!l)
		return NULL;
	l->filters = calloc(from->n_store_filters + 1u, sizeof(*l->filters));
	if (!l->filters) {
		free(l);
		return NULL;
	}
	l->refs = 1;
	l->v = *from;
	l->v.store_filters = NULL;
	l->n_filters = from->n_store_filters;
	char *at = l->text;
	for (unsigned i = 0; i < l->n_filters; i++) {
		size_t n = strlen(from->store_filters[i]);
		memcpy(at, from->store_filters[i], n + 1);
		l->filters[i] = slice_make(at, n);
		at += n + 1;
	}
	return l;
}

struct limits *limits_unref(struct limits *l)
{
	if (l && atomic_fetch_sub(&l->refs, 1) == 1) {
		free(l->filters);
		free(l);
	}
	return NULL;
}

struct limits_mail {
	struct mail mail;
	struct shard *shard;
	struct limits *limits;
};

static void limits_arrived(struct mail *mail)
{
	struct limits_mail *m = container_of(mail, struct limits_mail, mail);
	struct shard *sh = m->shard;
	limits_unref(sh->limits);
	sh->limits = m->limits;
	sh->limits_version++;
	clients_rate(sh);
	clients_feed(sh);
	free(m);
}

int broker_set_limits(struct broker *b, const struct broker_limits *limits)
{
	struct limits *l = limits_new(limits);
	if (!l)
		return ERR_NOMEM;
	atomic_fetch_add(&l->refs, b->n - 1);
	for (unsigned i = 0; i < b->n; i++) {
		struct limits_mail *m = mem_new(sizeof(*m));
		m->mail.deliver = limits_arrived;
		m->shard = &b->shards[i];
		m->limits = l;
		mail_send(b->shards[i].box, &m->mail);
	}
	return 0;
}

/* ---- life ---- */

static void on_tick(struct loop_timer *t, struct loop *loop)
{
	struct shard *sh = container_of(t, struct shard, tick);
	retained_expire(sh);
	rates_sweep(sh);
	loop_timer_set(loop, t, TICK_MS);
}

static bool shard_init(struct shard *sh, struct broker *b, struct loop *loop, unsigned index)
{
	sh->b = b;
	sh->loop = loop;
	sh->box = loop_mailbox(loop);
	sh->index = index;
	LIST_INIT(&sh->clients);
	LIST_INIT(&sh->ending);
	LIST_INIT(&sh->connecting);
	LIST_INIT(&sh->starved);
	LIST_INIT(&sh->session_list);
	TAILQ_INIT(&sh->replays);
	LIST_INIT(&sh->remote_groups);
	for (unsigned i = 0; i < SHARDS_MAX; i++)
		sh->others[i] = (struct remote){ROUTE_REMOTE, i};
	map_init(&sh->sessions);
	map_init(&sh->commands);
	map_init(&sh->farewells);
	map_init(&sh->members);
	map_init(&sh->filters);
	map_init(&sh->held);
	map_init(&sh->groups);
	map_init(&sh->rates);
	publishers_init(&sh->publishers);
	TAILQ_INIT(&sh->rate_list);
	buf_init(&sh->scratch, PACKET_MAX);
	sh->subs = index_new(&route_values);
	sh->retain = retain_new();
	if (!sh->subs || !sh->retain)
		return false;
	retain_tell(sh->retain, b->device_count, b->device_bytes);
	return true;
}

struct broker *broker_new(struct loop *const *loops, unsigned n, const struct broker_hooks *hooks,
        const struct broker_stores *stores, const struct broker_limits *limits)
{
	assert(n > 0 && n <= SHARDS_MAX);
	struct broker *b = calloc(1, sizeof(*b) + n * sizeof(b->shards[0]));
	struct limits *l = limits_new(limits);
	if (!b || !l)
		goto fail;
	b->hooks = *hooks;
	b->store = *stores->telemetry;
	b->keeps = stores->sessions != NULL;
	if (b->keeps)
		b->sessions_store = *stores->sessions;
	b->n = n;
	b->device_count = tally_new(DEVICE_SLOTS);
	b->device_bytes = tally_new(DEVICE_SLOTS);
	if (!b->device_count || !b->device_bytes)
		goto fail;
	for (unsigned i = 0; i < n; i++) {
		struct shard *sh = &b->shards[i];
		atomic_fetch_add(&l->refs, 1);
		sh->limits = l;
		if (!shard_init(sh, b, loops[i], i))
			goto fail;
	}
	for (unsigned i = 0; i < n; i++) {
		struct shard *sh = &b->shards[i];
		sh->tick.fire = on_tick;
		loop_timer_set(sh->loop, &sh->tick, TICK_MS);
	}
	limits_unref(l);
	return b;
fail:
	broker_free(b);
	limits_unref(l);
	return NULL;
}

static void shard_done(struct shard *sh)
{
	struct session *s;
	loop_timer_cancel(&sh->tick);
	loop_timer_cancel(&sh->starved_timer);
	loop_timer_cancel(&sh->drain_timer);
	/* First: groups leave the index, which asks the others in it for their keys. */
	share_groups_free(sh);
	while ((s = LIST_FIRST(&sh->session_list)) != NULL) {
		if (s->client)
			s->client->session = NULL;
		s->client = NULL;
		session_discard(s);
	}
	commands_free(sh);
	farewells_free(sh);
	route_notes_free(sh);
	index_free(sh->subs);
	retain_free(sh->retain);
	publishers_free(&sh->publishers);
	map_free(&sh->sessions);
	map_free(&sh->members);
	map_free(&sh->filters);
	map_free(&sh->held);
	map_free(&sh->groups);
	rates_free(sh);
	buf_free(&sh->scratch);
	route_scratch_free(&sh->route);
	limits_unref(sh->limits);
}

void broker_free(struct broker *b)
{
	if (!b)
		return;
	for (unsigned i = 0; i < b->n; i++) {
		if (b->shards[i].b)
			shard_done(&b->shards[i]);
		else
			limits_unref(b->shards[i].limits);
	}
	tally_free(b->device_count);
	tally_free(b->device_bytes);
	free(b);
}

/* ---- small things that every part needs ---- */

struct shard *broker_home(struct broker *b, struct slice text)
{
	if (b->n == 1)
		return &b->shards[0];
	return &b->shards[hash_stable(text.p, text.n) % b->n];
}

struct shard *broker_home_client(struct broker *b, struct slice client_id)
{
	const uint8_t *slash = client_id.n ? memchr(client_id.p, '/', client_id.n) : NULL;
	if (slash)
		client_id.n = (size_t)(slash - client_id.p);
	return broker_home(b, client_id);
}

struct shard *broker_shard(struct broker *b, const struct loop *loop)
{
	for (unsigned i = 0; i < b->n; i++) {
		if (b->shards[i].loop == loop)
			return &b->shards[i];
	}
	assert(!"a loop that the broker was not made with");
	return NULL;
}

struct buf *shard_scratch(struct shard *sh)
{
	/* Not buf_consume: that would give the memory back. One huge packet does not keep it. */
	if (sh->scratch.size > 65536)
		buf_free(&sh->scratch);
	sh->scratch.start = sh->scratch.end = 0;
	return &sh->scratch;
}

bool shard_stores(const struct shard *sh, struct slice topic)
{
	const struct limits *l = sh->limits;
	for (unsigned i = 0; i < l->n_filters; i++) {
		if (topic_matches(l->filters[i], topic))
			return true;
	}
	return false;
}

/* Loops feed the store together: a margin of a quarter, so that reading does not stutter. */
bool shard_store_caught_up(const struct shard *sh)
{
	const struct telemetry_store *store = &sh->b->store;
	size_t most = shard_limits(sh)->store_queue_bytes;
	return store->backlog_bytes(store->ctx) <= most - most / 4;
}

bool shard_store_full(const struct shard *sh)
{
	const struct telemetry_store *store = &sh->b->store;
	return store->backlog_bytes(store->ctx) > shard_limits(sh)->store_queue_bytes;
}
