#include "broker/share.h"

#include "broker/client.h"
#include "broker/mem.h"
#include "broker/receive.h"
#include "broker/topic.h"
#include "server/base/metrics.h"

struct group {
	uint8_t kind; /* ROUTE_GROUP */
	unsigned n, size, next;
	struct share_as *members; /* with references */
	struct slice filter;      /* in text */
	uint16_t len;
	char text[]; /* "$share/{group}/{filter}" */
};

struct shard *share_home(struct broker *b, struct slice text)
{
	return broker_home(b, text);
}

/* ---- groups, on their home ---- */

static struct group *group_find(const struct shard *sh, struct slice text)
{
	return map_get(&sh->groups, text);
}

static struct group *group_new(struct shard *sh, struct slice text)
{
	struct slice name, filter;
	struct group *g = mem_new(sizeof(*g) + text.n);
	g->kind = ROUTE_GROUP;
	g->len = (uint16_t)text.n;
	memcpy(g->text, text.p, text.n);
	topic_share_split(slice_make(g->text, text.n), &name, &filter);
	g->filter = filter;
	if (index_put(sh->subs, filter, g, NULL, NULL) != 0 ||
	        map_put(&sh->groups, slice_make(g->text, g->len), g, NULL) != 0)
		abort(); /* a few nodes */
	return g;
}

static void member_clear(struct share_as *m)
{
	share_member_unref(m->is);
	principal_unref(m->who);
}

static void group_free(struct shard *sh, struct group *g)
{
	index_remove(sh->subs, g->filter, g, NULL);
	map_remove(&sh->groups, slice_make(g->text, g->len));
	for (unsigned i = 0; i < g->n; i++)
		member_clear(&g->members[i]);
	free(g->members);
	free(g);
}

void share_groups_free(struct shard *sh)
{
	struct group *g;
	size_t pos = 0;
	while ((g = map_next(&sh->groups, &pos)) != NULL)
		group_free(sh, g);
}

static struct share_as *member_find(struct group *g, unsigned shard, uint64_t number)
{
	for (unsigned i = 0; i < g->n; i++) {
		if (g->members[i].number == number && g->members[i].shard == shard)
			return &g->members[i];
	}
	return NULL;
}

struct share_member *share_member_ref(struct share_member *m)
{
	atomic_fetch_add_explicit(&m->refs, 1, memory_order_relaxed);
	return m;
}

void share_member_unref(struct share_member *m)
{
	if (m && atomic_fetch_sub_explicit(&m->refs, 1, memory_order_acq_rel) == 1)
		free(m);
}

void share_join(struct shard *sh, struct slice text, const struct share_as *as)
{
	struct group *g = group_find(sh, text);
	if (!g)
		g = group_new(sh, text);
	struct share_as *m = member_find(g, as->shard, as->number);
	if (m) {
		principal_unref(m->who);
		m->who = as->who ? principal_ref(as->who) : NULL;
		return;
	}
	if (g->n == g->size) {
		unsigned size = g->size ? g->size * 2 : 4;
		struct share_as *more = reallocarray(g->members, size, sizeof(*more));
		if (!more)
			abort();
		g->members = more;
		g->size = size;
	}
	m = &g->members[g->n++];
	*m = *as;
	share_member_ref(m->is);
	if (m->who)
		principal_ref(m->who);
}

static void leave_here(struct shard *sh, struct slice text, unsigned shard, uint64_t number)
{
	struct group *g = group_find(sh, text);
	struct share_as *m = g ? member_find(g, shard, number) : NULL;
	if (!m)
		return;
	member_clear(m);
	*m = g->members[--g->n];
	if (g->n == 0)
		group_free(sh, g);
}

static bool may_have(const struct shard *sh, const struct share_as *m, const struct msg *msg)
{
	const struct broker_hooks *hooks = &sh->b->hooks;
	return !m->who || hooks->may_receive(hooks->ctx, m->who, msg_topic(msg), msg->from);
}

/* Round robin over those who can take a message at once, else over those who are connected, else
 * (what QoS 0 does not want) over all; but only over those who may have it. *denied: somebody may
 * not. */
static const struct share_as *pick(
        const struct shard *sh, struct group *g, const struct msg *msg, bool *denied)
{
	int least = msg->qos == 0 ? SHARE_BUSY : SHARE_OFFLINE;
	for (int want = SHARE_READY; want >= least; want--) {
		for (unsigned i = 0; i < g->n; i++) {
			const struct share_as *m = &g->members[(g->next + i) % g->n];
			if (atomic_load_explicit(&m->is->state, memory_order_relaxed) < want)
				continue;
			if (!may_have(sh, m, msg)) {
				*denied = true;
				continue;
			}
			g->next = (unsigned)(m - g->members) + 1;
			return m;
		}
	}
	return NULL;
}

/* ---- mail between a member's shard and a group's home ---- */

/* Which member of which group gets a message. */
struct share_to {
	struct slice text;
	uint64_t number;
	struct receipt *waits;
	bool refused; /* a member that was chosen might not have it: its group knew too little */
};

enum share_what { SHARE_LEAVE, SHARE_JOIN, SHARE_RETURN, SHARE_DELIVER };

struct share_mail {
	struct carried carried; /* SHARE_LEAVE, SHARE_JOIN: without a message, the mail alone */
	uint64_t number;
	struct share_as as; /* SHARE_JOIN: with references */
	enum share_what what;
	bool refused;
	uint16_t len;
	char text[];
};

static void give_back(struct shard *sh, const struct share_to *to, struct msg *m);

static void deliver_here(struct shard *sh, const struct share_to *to, struct msg *m)
{
	struct session *s = map_get(&sh->members, slice_make(&to->number, sizeof(to->number)));
	const struct sub *sub = s ? session_sub(s, to->text) : NULL;
	if (!sub) { /* it left while the message was on its way */
		share_return(sh, to->text, m, to->waits);
		return;
	}
	if (s->filters && !receive_may(s, m, m->from)) {
		if (to->refused)
			metric_inc(METRIC_RECEIVE_DENIED);
		else
			give_back(sh, to, m);
		return;
	}
	struct out_spec d = {
	        .msg = m,
	        .ids = &sub->id,
	        .n_ids = sub->id != 0,
	        .qos = m->qos < sub->qos ? m->qos : sub->qos,
	        .retain = m->retain && sub->retain_as_published,
	        .group = sub->of.filter,
	        .waits = to->waits,
	};
	out_deliver(s, &d);
}

static struct slice share_text(const struct share_mail *m)
{
	return slice_make(m->text, m->len);
}

static void left(struct mail *mail)
{
	struct share_mail *m = container_of(mail, struct share_mail, carried.mail);
	leave_here(m->carried.to, share_text(m), m->carried.from->index, m->number);
	free(m);
}

static void joined(struct mail *mail)
{
	struct share_mail *m = container_of(mail, struct share_mail, carried.mail);
	share_join(m->carried.to, share_text(m), &m->as);
	member_clear(&m->as);
	free(m);
}

static void dispatch(struct shard *sh, struct group *g, struct msg *m, struct share_to *to);

static void share_arrived(struct carried *c, struct receipt *waits)
{
	struct share_mail *m = container_of(c, struct share_mail, carried);
	struct share_to to = {share_text(m), m->number, waits, m->refused};
	if (m->what == SHARE_DELIVER) {
		deliver_here(c->to, &to, c->msg);
		return;
	}
	struct group *g = group_find(c->to, share_text(m));
	if (g)
		dispatch(c->to, g, c->msg, &to);
	else
		metric_inc(METRIC_DROPPED_QUEUE);
}

static struct share_mail *share_mail_new(
        struct shard *from, enum share_what what, struct slice text)
{
	struct share_mail *m = mem_new(sizeof(*m) + text.n);
	m->carried.from = from;
	m->carried.arrived = share_arrived;
	m->what = what;
	m->len = (uint16_t)text.n;
	memcpy(m->text, text.p, text.n);
	return m;
}

/* Picks a member and hands the message over. */
static void dispatch(struct shard *sh, struct group *g, struct msg *m, struct share_to *to)
{
	bool denied = false;
	const struct share_as *chosen = pick(sh, g, m, &denied);
	if (!chosen) {
		metric_inc(denied             ? METRIC_RECEIVE_DENIED
		                : m->qos == 0 ? METRIC_DROPPED_QOS0
		                              : METRIC_DROPPED_QUEUE);
		return;
	}
	to->number = chosen->number;
	if (chosen->shard == sh->index) {
		deliver_here(sh, to, m);
		return;
	}
	struct share_mail *mail = share_mail_new(sh, SHARE_DELIVER, to->text);
	mail->number = to->number;
	mail->refused = to->refused;
	if (!carried_send(&mail->carried, &sh->b->shards[chosen->shard], m, to->waits))
		free(mail);
}

void share_dispatch(struct shard *sh, struct group *g, struct msg *m, struct receipt *waits)
{
	dispatch(sh, g, m, &(struct share_to){slice_make(g->text, g->len), 0, waits, false});
}

void share_leave(struct shard *sh, struct slice text, uint64_t number)
{
	struct shard *home = share_home(sh->b, text);
	if (home == sh) {
		leave_here(sh, text, sh->index, number);
		return;
	}
	struct share_mail *mail = share_mail_new(sh, SHARE_LEAVE, text);
	mail->number = number;
	mail->carried.to = home;
	mail->carried.mail.deliver = left;
	mail_post(home->box, &mail->carried.mail);
}

/* By mail even where the home is here: a session that ends gives back many at once, and members
 * that end meanwhile must not make this recurse. */
static void send_back(struct shard *sh, const struct share_to *to, struct msg *m)
{
	struct share_mail *mail = share_mail_new(sh, SHARE_RETURN, to->text);
	mail->refused = to->refused;
	if (!carried_send(&mail->carried, share_home(sh->b, to->text), m, to->waits))
		free(mail);
}

static void give_back(struct shard *sh, const struct share_to *to, struct msg *m)
{
	struct share_to again = *to;
	again.refused = true;
	send_back(sh, &again, m);
}

void share_return(struct shard *sh, struct slice text, struct msg *m, struct receipt *waits)
{
	send_back(sh, &(struct share_to){text, 0, waits, false}, m);
}

/* ---- a session among its groups ---- */

static void share_number(struct session *s)
{
	struct shard *sh = s->shard;
	if (s->member)
		return;
	s->member = ++sh->next_member;
	s->share = mem_new(sizeof(*s->share));
	atomic_init(&s->share->refs, 1);
	if (map_put(&sh->members, slice_make(&s->member, sizeof(s->member)), s, NULL) != 0)
		abort();
	share_tell(s);
	if (s->durable)
		atomic_fetch_add_explicit(&sh->b->durable_members, 1, memory_order_relaxed);
}

struct share_as share_as(struct session *s)
{
	share_number(s);
	return (struct share_as){
	        s->shard->index, s->member, s->share, s->filters ? s->principal : NULL};
}

static void tell_one(struct session *s, struct slice text)
{
	struct shard *sh = s->shard, *home = share_home(sh->b, text);
	const struct share_as as = share_as(s);
	if (home == sh) {
		share_join(sh, text, &as);
		return;
	}
	struct share_mail *mail = share_mail_new(sh, SHARE_JOIN, text);
	mail->as = as;
	share_member_ref(as.is);
	if (as.who)
		principal_ref(as.who);
	mail->carried.to = home;
	mail->carried.mail.deliver = joined;
	mail_post(home->box, &mail->carried.mail);
}

void share_tell_who(struct session *s)
{
	const struct sub *sub = NULL;
	if (s->n_shared == 0)
		return;
	LIST_FOREACH (sub, &s->subs, entry) {
		if (sub->shared)
			tell_one(s, sub_text(sub));
	}
}

void share_tell(struct session *s)
{
	if (!s->share)
		return;
	enum share_state now = !session_writable(s) ? SHARE_OFFLINE
	        : out_has_room(s)                   ? SHARE_READY
	                                            : SHARE_BUSY;
	if (atomic_load_explicit(&s->share->state, memory_order_relaxed) != (int)now)
		atomic_store_explicit(&s->share->state, now, memory_order_relaxed);
}
