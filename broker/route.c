#include "broker/route.h"

#include "broker/mem.h"
#include "broker/session.h"
#include "broker/share.h"
#include "broker/topic.h"
#include "server/base/metrics.h"

struct route {
	struct shard *shard;
	const struct session *from;
	const struct msg *msg;
};

/* Makes room for one more element; fails only without memory. */
static bool scratch_grow(void *array, unsigned *size, unsigned used, size_t each)
{
	if (used < *size)
		return true;
	unsigned bigger = *size ? *size * 2 : 16;
	void *p = reallocarray(*(void **)array, bigger, each);
	if (!p)
		return false;
	*(void **)array = p;
	*size = bigger;
	return true;
}

static struct match *match_of(struct route_scratch *r, struct session *s)
{
	if (s->match < r->n_matches && r->matches[s->match].session == s)
		return &r->matches[s->match];
	if (!scratch_grow(&r->matches, &r->matches_size, r->n_matches, sizeof(*r->matches)))
		return NULL;
	s->match = r->n_matches++;
	struct match *m = &r->matches[s->match];
	*m = (struct match){.session = s};
	return m;
}

static void match_add_id(struct route_scratch *r, struct match *m, uint32_t id)
{
	if (!m->first_id) {
		m->first_id = id;
		return;
	}
	if (!scratch_grow(&r->ids, &r->ids_size, r->n_ids, sizeof(*r->ids)))
		return;
	r->ids[r->n_ids] = (struct match_id){id, m->more_ids};
	m->more_ids = ++r->n_ids;
}

static void found_local(const struct route *route, const struct sub *sub)
{
	struct route_scratch *r = &route->shard->route;
	if (sub->no_local && sub->of.session == route->from)
		return;
	struct match *m = match_of(r, sub->of.session);
	if (!m)
		return;
	if (sub->qos > m->qos)
		m->qos = sub->qos; /* [MQTT-3.3.4-2]: the highest of those that overlap */
	m->retain_as_published |= sub->retain_as_published;
	if (sub->id)
		match_add_id(r, m, sub->id);
}

static uint8_t kind_of(const void *value)
{
	return *(const uint8_t *)value;
}

static void found(void *value, void *arg)
{
	const struct route *route = arg;
	struct route_scratch *r = &route->shard->route;
	switch ((enum route_kind)kind_of(value)) {
	case ROUTE_LOCAL: found_local(route, value); break;
	case ROUTE_REMOTE:
	case ROUTE_REMOTE_GROUP: r->remote |= 1ull << ((const struct remote *)value)->shard; break;
	case ROUTE_GROUP:
		if (scratch_grow(&r->groups, &r->groups_size, r->n_groups, sizeof(void *)))
			r->groups[r->n_groups++] = value;
		break;
	}
}

/* The identifiers of a match as an array that lives until the next call. */
static unsigned match_ids(struct route_scratch *r, const struct match *m, const uint32_t **ret)
{
	unsigned n = 0;
	*ret = &m->first_id;
	if (!m->more_ids)
		return m->first_id ? 1 : 0;
	if (!scratch_grow(&r->flat, &r->flat_size, 0, sizeof(*r->flat)))
		return 1;
	r->flat[n++] = m->first_id;
	for (uint32_t i = m->more_ids; i; i = r->ids[i - 1].next) {
		if (!scratch_grow(&r->flat, &r->flat_size, n, sizeof(*r->flat)))
			break;
		r->flat[n++] = r->ids[i - 1].id;
	}
	*ret = r->flat;
	return n;
}

/* Finds everybody in this loop's index and serves those who live here. */
static bool route_here(
        struct shard *sh, struct msg *m, const struct session *from, struct receipt *waits)
{
	struct route_scratch *r = &sh->route;
	struct route route = {.shard = sh, .from = from, .msg = m};
	r->n_matches = r->n_ids = r->n_groups = 0;
	r->remote = 0;
	index_match(sh->subs, msg_topic(m), found, &route);
	for (unsigned i = 0; i < r->n_matches; i++) {
		const struct match *match = &r->matches[i];
		struct out_spec d = {
		        .msg = m,
		        .qos = m->qos < match->qos ? m->qos : match->qos,
		        .retain = m->retain && match->retain_as_published,
		        .waits = waits,
		};
		d.n_ids = match_ids(r, match, &d.ids);
		out_deliver(match->session, &d);
	}
	bool any = r->n_matches > 0 || r->n_groups > 0 || r->remote != 0;
	for (unsigned i = 0; i < r->n_groups; i++)
		share_dispatch(sh, r->groups[i], m, waits);
	return any;
}

/* ---- between loops ---- */

#define INBOX_MAX (8u << 20)

bool route_inbox_enter(struct shard *to, const struct msg *m)
{
	size_t size = msg_size(m);
	size_t before = atomic_fetch_add_explicit(&to->inbox, size, memory_order_relaxed);
	if (m->qos > 0 || before <= INBOX_MAX)
		return true;
	atomic_fetch_sub_explicit(&to->inbox, size, memory_order_relaxed);
	metric_inc(METRIC_DROPPED_QOS0);
	return false;
}

void route_inbox_leave(struct shard *to, const struct msg *m)
{
	atomic_fetch_sub_explicit(&to->inbox, msg_size(m), memory_order_relaxed);
}

static size_t inbox_bytes(const struct shard *sh)
{
	return atomic_load_explicit(&sh->inbox, memory_order_relaxed);
}

bool route_full(const struct shard *sh)
{
	for (uint64_t left = sh->route.remote; left; left &= left - 1) {
		if (inbox_bytes(&sh->b->shards[__builtin_ctzll(left)]) > INBOX_MAX)
			return true;
	}
	return false;
}

bool route_caught_up(const struct broker *b)
{
	for (unsigned i = 0; i < b->n; i++) {
		if (inbox_bytes(&b->shards[i]) > INBOX_MAX / 2)
			return false;
	}
	return true;
}

static void carried_returned(struct mail *mail)
{
	struct carried *c = container_of(mail, struct carried, mail);
	receipt_give(c->waits, c->here.err);
	free(c);
}

static void carried_done(struct receipt *r)
{
	struct carried *c = container_of(r, struct carried, here);
	msg_unref(c->msg);
	if (!c->waits) {
		free(c);
		return;
	}
	c->mail.deliver = carried_returned;
	mail_post(c->from->box, &c->mail);
}

static void carried_arrived(struct mail *mail)
{
	struct carried *c = container_of(mail, struct carried, mail);
	route_inbox_leave(c->to, c->msg);
	c->here.waiting = 1;
	c->here.done = carried_done;
	c->arrived(c, c->waits ? &c->here : NULL);
	receipt_give(&c->here, 0);
}

bool carried_send(struct carried *c, struct shard *to, struct msg *m, struct receipt *waits)
{
	const struct broker *b = to->b;
	if (!route_inbox_enter(to, m))
		return false;
	bool durable = m->qos > 0 &&
	        (atomic_load_explicit(&to->keepers, memory_order_relaxed) > 0 ||
	                atomic_load_explicit(&b->durable_members, memory_order_relaxed) > 0);
	if (waits && durable) {
		c->waits = waits;
		waits->waiting++;
	}
	c->to = to;
	c->msg = msg_ref(m);
	c->mail.deliver = carried_arrived;
	mail_post(to->box, &c->mail);
	return true;
}

static void route_arrived(struct carried *c, struct receipt *waits)
{
	route_here(c->to, c->msg, NULL, waits);
}

struct shard *route_private_home(struct broker *b, struct slice text)
{
	static const char *const prefixes[] = {"devices/", "$aws/things/"};
	if (text.n == 0 || (text.p[0] != 'd' && text.p[0] != '$'))
		return NULL;
	for (size_t i = 0; i < ARRAY_LEN(prefixes); i++) {
		struct slice prefix = slice_str(prefixes[i]);
		if (!slice_has_prefix(text, prefix))
			continue;
		struct slice id = slice_from(text, prefix.n);
		const uint8_t *slash = id.n ? memchr(id.p, '/', id.n) : NULL;
		if (!slash)
			return NULL;
		id.n = (size_t)(slash - id.p);
		if (id.n == 0 || topic_has_wildcard(id))
			return NULL;
		return broker_home(b, id);
	}
	return NULL;
}

bool route_publish(struct shard *sh, struct msg *m, const struct session *from,
        const struct shard *private_home, struct receipt *waits)
{
	bool any = route_here(sh, m, from, waits);
	if (private_home && private_home != sh) {
		sh->route.remote |= 1ull << private_home->index;
		any = true;
	}
	for (uint64_t left = sh->route.remote; left; left &= left - 1) {
		struct carried *c = mem_new(sizeof(*c));
		c->from = sh;
		c->arrived = route_arrived;
		if (!carried_send(c, &sh->b->shards[__builtin_ctzll(left)], m, waits))
			free(c);
	}
	return any;
}

/* ---- what other loops want ---- */

/* Keys of the notes: no session and no group has so low an address. */
static const void *remote_key(unsigned target, bool group)
{
	return (const void *)(uintptr_t)(2 * target + 1 + group);
}

static const void *value_key(const void *value)
{
	switch ((enum route_kind)kind_of(value)) {
	case ROUTE_LOCAL: return ((const struct sub *)value)->of.session;
	case ROUTE_REMOTE: return remote_key(((const struct remote *)value)->shard, false);
	case ROUTE_REMOTE_GROUP: return remote_key(((const struct remote *)value)->shard, true);
	case ROUTE_GROUP: break;
	}
	return value;
}

static bool value_counts(const void *value)
{
	return kind_of(value) == ROUTE_LOCAL;
}

const struct index_values route_values = {value_key, value_counts};

static void note_group(struct shard *sh, struct slice filter, unsigned target, bool add)
{
	struct remote_group *g = index_remove(sh->subs, filter, remote_key(target, true), NULL);
	if (!g && !add)
		return;
	if (!g) {
		g = mem_new(sizeof(*g));
		g->remote = (struct remote){ROUTE_REMOTE_GROUP, target};
		LIST_INSERT_HEAD(&sh->remote_groups, g, entry);
	}
	g->count += add ? 1u : -1u;
	if (g->count > 0 && index_put(sh->subs, filter, g, NULL, NULL) == 0)
		return;
	LIST_REMOVE(g, entry);
	free(g);
}

void route_note(struct shard *sh, struct slice filter, unsigned target, bool group, bool add)
{
	if (target == sh->index)
		return;
	if (group)
		note_group(sh, filter, target, add);
	else if (add)
		index_put(sh->subs, filter, &sh->others[target], NULL, NULL);
	else
		index_remove(sh->subs, filter, remote_key(target, false), NULL);
}

void route_notes_free(struct shard *sh)
{
	struct remote_group *g;
	while ((g = LIST_FIRST(&sh->remote_groups)) != NULL) {
		LIST_REMOVE(g, entry);
		free(g);
	}
}

void route_scratch_free(struct route_scratch *r)
{
	free(r->matches);
	free(r->ids);
	free(r->groups);
	free(r->flat);
	*r = (struct route_scratch){0};
}
