/*
 * QoS 2 messages from clients, where durable queues may take them. Exactly once over a crash needs
 * the packet id in the store before anything else of the message: otherwise a queue could have a
 * message that its sender, who never heard of it, sends again. So such a message is held back until
 * its id is committed, with its row or alone, and goes to its subscribers then.
 */
#include "broker/client.h"
#include "broker/mem.h"

struct held_back {
	struct qos2_note ask; /* where no row carries the id */
	struct ticket *ticket;
	struct topic_rule rule;
	struct tether from;
	char name[QOS2_NAME_MAX];
};

struct qos2_owner qos2_owner(const struct session *s, char name[static QOS2_NAME_MAX])
{
	const struct principal *p = s->principal;
	if (p->kind == PRINCIPAL_DEVICE) /* its client id is its id, in all its sessions */
		return (struct qos2_owner){p->device_key, principal_id(p)};
	if (!s->durable)
		return (struct qos2_owner){0};
	snprintf(name, QOS2_NAME_MAX, "%016llx", (unsigned long long)s->durable->id);
	return (struct qos2_owner){0, slice_str(name)};
}

/* Its id is committed (or cannot be): on to the subscribers. */
static void go_on(struct held_back *h, int err)
{
	struct ticket *t = h->ticket;
	struct msg *m = h->ask.msg;
	const struct session *from = h->from.session;
	session_untie(&h->from);
	if (!err) {
		h->rule.stored_off = NOT_STORED; /* that is done */
		publish_accept(t->shard, m, &h->rule, from, t);
	}
	msg_unref(m);
	free(h);
	ticket_settle(t, err);
}

static void noted(struct mail *mail)
{
	struct held_back *h = container_of(mail, struct held_back, ask.req.mail);
	go_on(h, h->ask.req.err);
}

void held_back_row(struct held_back *h, int err)
{
	go_on(h, err);
}

static bool any_durable(const struct broker *b)
{
	for (unsigned i = 0; i < b->n; i++) {
		if (atomic_load_explicit(&b->shards[i].keepers, memory_order_relaxed) > 0)
			return true;
	}
	return false;
}

bool qos2_must_wait(const struct session *s, bool stored)
{
	return s->durable || (stored && any_durable(s->shard->b));
}

void qos2_hold_back(
        struct session *s, struct msg *m, const struct topic_rule *rule, struct ticket *t)
{
	const struct session_store *store = &s->shard->b->sessions_store;
	struct held_back *h = mem_new(sizeof(*h));
	h->ticket = t;
	h->rule = *rule;
	h->ask.msg = msg_ref(m);
	session_tie(s, &h->from, TETHER_STORE);
	if (rule->stored_off != NOT_STORED) {
		t->held_back = h;
		ticket_store(t, m, slice_from(msg_topic(m), rule->stored_off));
		return;
	}
	const struct qos2_owner owner = qos2_owner(s, h->name);
	h->ask.req.mail.deliver = noted;
	h->ask.req.reply_to = s->shard->box;
	h->ask.device_key = owner.device_key;
	h->ask.session = owner.session;
	t->receipt.waiting++;
	store->qos2_note(store->ctx, &h->ask);
}
