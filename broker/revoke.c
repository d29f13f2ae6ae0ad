/*
 * Retained messages whose publisher may not retain them any more go (CVE-2018-12546). When rules or
 * an identity change, the publishers of this loop's messages are asked about, some each turn; then
 * their messages are looked at, some each turn.
 */
#include "broker/client.h"
#include "broker/mem.h"
#include "broker/publisher.h"
#include "server/base/err.h"
#include "server/base/log.h"
#include "server/base/metrics.h"

#define ASKED_MAX 200  /* questions that one turn puts */
#define LOOKED_MAX 500 /* messages that one turn looks at, and then those of one more answer */
#define UNDER_WAY_MAX 2000

struct question {
	struct recheck_request ask;
	struct shard *shard;
	struct publisher *by;
	struct principal *who;
};

/* ---- what is not allowed any more ---- */

static void cleared(struct mail *mail)
{
	struct retained_write *w = container_of(mail, struct retained_write, req.mail);
	if (w->req.err)
		log_error("a retained message that was taken away stays in the store",
		        F_STR("error", err_text(w->req.err)));
	msg_unref(w->msg);
	free(w);
}

static void clear_row(struct shard *sh, struct slice topic)
{
	const struct session_store *store = &sh->b->sessions_store;
	struct msg *empty = sh->b->keeps ? msg_new(topic, (struct slice){0}, (struct slice){0})
	                                 : NULL;
	if (!empty)
		return;
	struct retained_write *w = mem_new(sizeof(*w));
	empty->retain = true;
	empty->received_us = loop_wall_us(sh->loop);
	w->msg = empty;
	w->req.mail.deliver = cleared;
	w->req.reply_to = sh->box;
	store->retained_write(store->ctx, w);
}

static void take_away(struct shard *sh, struct retained *r)
{
	struct msg *m = msg_ref(r->msg);
	metric_inc(METRIC_RETAINED_REVOKED);
	clear_row(sh, msg_topic(m));
	retained_drop(sh, msg_topic(m));
	msg_unref(m);
}

/* Looks at the next of a publisher's messages; it stays as long as any are left. */
static unsigned look(struct shard *sh, struct publisher *by)
{
	unsigned n = 0;
	by->asked++; /* it stays */
	for (; by->left > 0 && n < LOOKED_MAX; by->left--, n++) {
		struct retained *r = TAILQ_FIRST(&by->list);
		if (!r)
			break;
		TAILQ_REMOVE(&by->list, r, of_publisher);
		TAILQ_INSERT_TAIL(&by->list, r, of_publisher);
		if (by->gone || !publish_judge(sh, by->who, msg_topic(r->msg), true).allowed)
			take_away(sh, r);
	}
	by->left = by->n > 0 ? by->left : 0;
	by->asked--;
	return n;
}

/* ---- questions ---- */

static void go_on(struct mail *mail);

static void wake(struct shard *sh)
{
	if (sh->revoking)
		return;
	sh->revoking = true;
	sh->revoke_mail.deliver = go_on;
	mail_post(sh->box, &sh->revoke_mail);
}

static void make_due(struct shard *sh, struct publisher *by)
{
	if (by->asked > 0) {
		by->again = true;
		return;
	}
	by->left = 0; /* what was answered may be out of date */
	by->unsure = false;
	if (!by->is_due)
		TAILQ_INSERT_TAIL(&sh->publishers.due, by, due);
	by->is_due = true;
}

static void answered(struct recheck_request *r)
{
	struct question *q = container_of(r, struct question, ask);
	struct publisher *by = q->by;
	struct shard *sh = q->shard;
	by->asked--;
	sh->n_questions--;
	/* He may have been here anew meanwhile: then there is another question. */
	by->again |= by->who != q->who;
	if (r->fresh && !by->again) {
		r->fresh->resolved = q->who->resolved;
		publisher_set(by, r->fresh);
	} else {
		principal_unref(r->fresh);
	}
	if (by->again) {
		by->again = false;
		make_due(sh, by);
	} else if (r->err == 0 || r->err == ERR_NOT_FOUND || r->err == ERR_UNAUTHENTICATED) {
		by->left = by->n;
		by->gone = r->err != 0;
		if (by->left > 0 && !by->is_due) {
			TAILQ_INSERT_HEAD(&sh->publishers.due, by, due);
			by->is_due = true;
		}
	}
	principal_unref(q->who);
	free(q);
	publisher_tidy(by);
	if (!TAILQ_EMPTY(&sh->publishers.due))
		wake(sh);
}

static void ask(struct shard *sh, struct publisher *by)
{
	const struct broker_hooks *hooks = &sh->b->hooks;
	struct question *q = mem_new(sizeof(*q));
	q->shard = sh;
	q->by = by;
	q->who = principal_ref(by->who);
	q->ask.loop = sh->loop;
	q->ask.principal = q->who;
	q->ask.identity_alone = true;
	q->ask.done = answered;
	by->asked++;
	sh->n_questions++;
	hooks->recheck(hooks->ctx, &q->ask);
}

static void go_on(struct mail *mail)
{
	struct shard *sh = container_of(mail, struct shard, revoke_mail);
	unsigned asked = 0, looked = 0;
	struct publisher *by;
	while (asked < ASKED_MAX && looked < LOOKED_MAX && sh->n_questions < UNDER_WAY_MAX &&
	        (by = TAILQ_FIRST(&sh->publishers.due)) != NULL) {
		bool is_known = by->left > 0;
		if (is_known)
			looked += look(sh, by);
		if (by->left > 0)
			continue;
		TAILQ_REMOVE(&sh->publishers.due, by, due);
		by->is_due = false;
		if (is_known) {
			publisher_tidy(by);
		} else {
			asked++;
			ask(sh, by);
		}
	}
	sh->revoking = false;
	/* With too many questions under way their answers wake it. */
	if (!TAILQ_EMPTY(&sh->publishers.due) && sh->n_questions < UNDER_WAY_MAX)
		wake(sh);
}

/* ---- the door ---- */

void revoke_ask(struct shard *sh, struct publisher *by)
{
	make_due(sh, by);
	wake(sh);
}

void revoke_all(struct shard *sh)
{
	struct publisher *by;
	map_for_each (&sh->publishers.by_key, pos, by)
		make_due(sh, by);
	if (!TAILQ_EMPTY(&sh->publishers.due))
		wake(sh);
}

static bool is_module_of(const struct publisher *by, struct slice device)
{
	struct slice id = principal_id(by->who);
	return by->who->kind == PRINCIPAL_DEVICE && id.n > device.n && id.p[device.n] == '/' &&
	        slice_has_prefix(id, device);
}

void revoke_of(struct shard *sh, enum entity kind, struct slice id)
{
	struct publisher *by = NULL;
	if (kind == ENTITY_DEVICE || kind == ENTITY_KEY)
		by = publisher_find(&sh->publishers,
		        kind == ENTITY_DEVICE ? PRINCIPAL_DEVICE : PRINCIPAL_KEY, id);
	if (by)
		make_due(sh, by);
	if (kind == ENTITY_DEVICE && sh->publishers.n_modules > 0) {
		map_for_each (&sh->publishers.by_key, pos, by) {
			if (is_module_of(by, id))
				make_due(sh, by);
		}
	}
	if (!TAILQ_EMPTY(&sh->publishers.due))
		wake(sh);
}
