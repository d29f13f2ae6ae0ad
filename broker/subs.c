/*
 * What sessions hold. A subscription stands in the index, which knows its session and its text. One
 * that the index does not have, because it is of a shared group or silent, stands apart: in a map,
 * with a filter of its own.
 */
#include "broker/mem.h"
#include "broker/quota.h"
#include "broker/share.h"
#include "broker/topic.h"
#include "server/base/metrics.h"

/* ---- filters of shared groups and silent ones, once for all sessions of a loop ---- */

struct filter *filter_get(struct shard *sh, struct slice text)
{
	struct filter *f = map_get(&sh->filters, text);
	if (f)
		return filter_ref(f);
	f = malloc(sizeof(*f) + text.n);
	if (!f)
		return NULL;
	*f = (struct filter){.refs = 1, .len = (uint16_t)text.n};
	memcpy(f->text, text.p, text.n);
	if (map_put(&sh->filters, filter_text(f), f, NULL) != 0) {
		free(f);
		return NULL;
	}
	return f;
}

struct filter *filter_ref(struct filter *f)
{
	f->refs++;
	return f;
}

void filter_unref(struct shard *sh, struct filter *f)
{
	if (--f->refs > 0)
		return;
	map_remove(&sh->filters, filter_text(f));
	free(f);
}

/* ---- what a session holds ---- */

static struct slice key_slice(const struct sub_key *k)
{
	return slice_make(k, sizeof(*k));
}

bool sub_is_silent(struct slice filter)
{
	return slice_has_prefix(filter, SLICE_LIT("$iothub/"));
}

static bool is_apart(const struct sub *sub)
{
	return sub->shared || sub->silent;
}

struct sub *session_sub(struct session *s, struct slice text)
{
	const struct shard *sh = s->shard;
	struct slice group, rest;
	if (topic_share_split(text, &group, &rest) == 0 && !sub_is_silent(text))
		return index_get(sh->subs, text, s);
	struct filter *f = map_get(&sh->filters, text);
	const struct sub_key key = {.session = s, .filter = f};
	return f ? map_get(&sh->held, key_slice(&key)) : NULL;
}

bool sub_hold_apart(struct sub *sub, struct slice text)
{
	struct shard *sh = sub->of.session->shard;
	struct filter *f = filter_get(sh, text);
	if (!f)
		return false;
	sub->of.filter = f;
	if (map_put(&sh->held, key_slice(&sub->of), sub, NULL) == 0)
		return true;
	filter_unref(sh, f);
	return false;
}

struct slice sub_text(const struct sub *sub)
{
	return is_apart(sub) ? filter_text(sub->of.filter)
	                     : index_text(sub->of.place, sub->of.session->shard->filter_text);
}

/* ---- the end of one ---- */

struct forget_mail {
	struct mail mail;
	struct shard *to;
	unsigned target;
	bool group;
	uint16_t len;
	char filter[];
};

static void forget_arrived(struct mail *mail)
{
	struct forget_mail *m = container_of(mail, struct forget_mail, mail);
	route_note(m->to, slice_make(m->filter, m->len), m->target, m->group, false);
	free(m);
}

/* Tells all shards that target has lost interest. */
static void forget_everywhere(struct shard *sh, struct slice filter, unsigned target, bool group)
{
	for (unsigned i = 0; i < sh->b->n; i++) {
		struct shard *to = &sh->b->shards[i];
		if (to == sh) {
			route_note(sh, filter, target, group, false);
			continue;
		}
		struct forget_mail *m = mem_new(sizeof(*m) + filter.n);
		m->mail.deliver = forget_arrived;
		m->to = to;
		m->target = target;
		m->group = group;
		m->len = (uint16_t)filter.n;
		memcpy(m->filter, filter.p, filter.n);
		mail_post(to->box, &m->mail);
	}
}

/* The session holds it no more; what text may be in goes as well. */
static void sub_drop(struct session *s, struct sub *sub, struct slice text)
{
	LIST_REMOVE(sub, entry);
	s->n_subs--;
	metric_add(METRIC_SUBSCRIPTIONS, -1);
	quota_sub_give(s, text, is_apart(sub));
	if (is_apart(sub)) {
		map_remove(&s->shard->held, key_slice(&sub->of));
		filter_unref(s->shard, sub->of.filter);
	}
	free(sub);
}

void sub_leave(struct session *s, struct sub *sub)
{
	struct shard *sh = s->shard;
	struct slice text = sub_text(sub), group, filter;
	bool last = false;
	if (sub->shared) {
		topic_share_split(text, &group, &filter);
		share_leave(sh, text, s->member);
		forget_everywhere(sh, filter, share_home(sh->b, text)->index, true);
		s->n_shared--;
	} else if (!sub->silent) {
		index_take(sh->subs, sub->of.place, s, &last);
		if (last && route_private_home(sh->b, text) != sh)
			forget_everywhere(sh, text, sh->index, false);
	}
	sub_drop(s, sub, text);
}

void session_unsubscribe_all(struct session *s)
{
	struct sub *sub;
	while ((sub = LIST_FIRST(&s->subs)) != NULL)
		sub_leave(s, sub);
}

void session_discard_subs(struct session *s)
{
	struct sub *sub;
	while ((sub = LIST_FIRST(&s->subs)) != NULL)
		sub_drop(s, sub, sub_text(sub));
}
