#include "broker/queue_store.h"

#include "broker/client.h"
#include "broker/command.h"
#include "broker/mem.h"
#include "server/base/log.h"
#include "server/base/metrics.h"

struct append {
	struct queue_append ask;
	struct shard *shard;
	struct receipt *waits; /* NULL: nobody (any more) */
	struct filter *group;
	struct tether session; /* of a QoS 2 message that is sent when it is committed */
	bool held;             /* an entry in memory refers to it */
	bool answered;
	uint32_t ids[];
};

static void append_answered(struct mail *mail)
{
	struct append *a = container_of(mail, struct append, ask.req.mail);
	struct session *s = a->session.session;
	int err = a->ask.req.err;
	a->answered = true;
	session_untie(&a->session);
	if (a->group)
		filter_unref(a->shard, TAKE_PTR(a->group));
	msg_unref(a->ask.msg);
	if (err && err != ERR_NOT_FOUND) {
		/* As a queue that is full: its other subscribers have the message. */
		log_error("a message cannot be queued", F_U64("queue", a->ask.queue),
		        F_STR("error", err_text(err)));
		metric_inc(METRIC_DROPPED_QUEUE);
		err = 0;
	}
	if (a->waits)
		receipt_give(TAKE_PTR(a->waits), err);
	if (atomic_load_explicit(&a->ask.settled, memory_order_relaxed) && a->ask.written)
		queue_remove(a->shard, a->ask.queue, a->ask.n);
	struct shard *sh = a->shard;
	uint64_t n = a->ask.n;
	uint16_t packet_id = a->ask.packet_id;
	bool written = a->ask.written;
	if (!a->held)
		free(a);
	if (s)
		out_committed(s, packet_id, n, written);
	if (!LIST_EMPTY(&sh->starved))
		clients_feed(sh);
}

void append_send(struct session *s, const struct out_spec *d, uint64_t n, uint16_t packet_id,
        struct out *held)
{
	const struct session_store *store = &s->shard->b->sessions_store;
	struct append *a = mem_new(sizeof(*a) + d->n_ids * sizeof(a->ids[0]));
	a->shard = s->shard;
	a->ask.req.mail.deliver = append_answered;
	a->ask.req.reply_to = s->shard->box;
	a->ask.queue = s->durable->id;
	a->ask.n = n;
	a->ask.msg = msg_ref(d->msg);
	a->ask.qos = d->qos;
	a->ask.retain = d->retain;
	a->ask.packet_id = packet_id;
	if (d->group) {
		a->group = filter_ref(d->group);
		a->ask.group = filter_text(d->group);
	}
	if (d->n_ids > 0)
		memcpy(a->ids, d->ids, d->n_ids * sizeof(a->ids[0]));
	a->ask.ids = a->ids;
	a->ask.n_ids = d->n_ids;
	a->waits = d->waits;
	if (a->waits)
		a->waits->waiting++;
	if (packet_id)
		session_tie(s, &a->session, TETHER_STORE);
	if (held) {
		held->append = a;
		a->held = true;
	}
	store->queue_append(store->ctx, &a->ask);
}

void append_drop(struct append *a)
{
	a->held = false;
	if (a->answered)
		free(a);
}

struct receipt *append_waits(const struct append *a)
{
	return a->waits;
}

/* ---- what is noted about a message that the store has ---- */

struct note {
	struct queue_write ask;
	struct tether session;
};

static void note_answered(struct mail *mail)
{
	struct note *k = container_of(mail, struct note, ask.req.mail);
	struct session *s = k->session.session;
	session_untie(&k->session);
	if (s)
		out_committed(s, k->ask.packet_id, k->ask.n, k->ask.req.err == 0);
	free(k);
}

static struct note *note_new(struct shard *sh, enum queue_op op, uint64_t queue, uint64_t n)
{
	struct note *k = mem_new(sizeof(*k));
	k->ask.req.mail.deliver = note_answered;
	k->ask.req.reply_to = sh->box;
	k->ask.op = op;
	k->ask.queue = queue;
	k->ask.n = n;
	return k;
}

static void change(struct shard *sh, enum queue_op op, uint64_t queue, uint64_t n)
{
	const struct session_store *store = &sh->b->sessions_store;
	store->queue_write(store->ctx, &note_new(sh, op, queue, n)->ask);
}

void queue_sent(struct shard *sh, uint64_t queue, uint64_t n)
{
	const struct session_store *store = &sh->b->sessions_store;
	struct note *k = note_new(sh, QUEUE_MARK, queue, n);
	k->ask.packet_id = 1; /* any: the next session has packet ids of its own */
	store->queue_write(store->ctx, &k->ask);
}

void queue_remove(struct shard *sh, uint64_t queue, uint64_t n)
{
	change(sh, QUEUE_REMOVE, queue, n);
}

void queue_note(struct session *s, enum queue_op op, uint64_t n, uint16_t packet_id)
{
	const struct session_store *store = &s->shard->b->sessions_store;
	struct note *k = note_new(s->shard, op, s->durable->id, n);
	k->ask.packet_id = packet_id;
	session_tie(s, &k->session, TETHER_STORE);
	store->queue_write(store->ctx, &k->ask);
}

void queue_settle(struct session *s, struct out *o)
{
	struct append *a = o->append;
	if (o->flags & OUT_COMMAND) {
		command_settled(s, o->n);
	} else if (!a || (a->answered && a->ask.written)) {
		change(s->shard, o->qos == 2 ? QUEUE_COMPLETE : QUEUE_REMOVE, s->durable->id, o->n);
	} else if (!a->answered) {
		atomic_store_explicit(&a->ask.settled, true, memory_order_release);
		if (a->waits)
			receipt_give(TAKE_PTR(a->waits), 0);
	}
}
