/*
 * PUBREL of a stored message: the store forgets the packet id, and only then PUBCOMP leaves. If the
 * hub died before, the client sends PUBREL again and finds the id restored.
 */
#include "broker/client.h"
#include "broker/mem.h"
#include "server/base/err.h"
#include "server/base/log.h"

struct release {
	struct qos2_release ask;
	struct principal *principal; /* keeps ask.session alive */
	struct tether session;
	uint16_t turn;
	char name[QOS2_NAME_MAX];
};

static void release_free(struct release *r)
{
	session_untie(&r->session);
	principal_unref(r->principal);
	free(r);
}

static void released(struct mail *mail)
{
	struct release *r = container_of(mail, struct release, ask.mail);
	struct session *s = r->session.session;
	struct qos2_slot *q = s ? qos2_find(&s->qos2, r->ask.packet_id) : NULL;
	if (r->ask.err)
		log_error("packet ids cannot be forgotten", F_STR("error", err_text(r->ask.err)));
	if (q && q->state == QOS2_RELEASING && q->turn == r->turn) {
		struct broker_client *c = session_writable(s);
		bool due = c && q->answer_due;
		if (r->ask.err) {
			/* The store knows it still: no PUBCOMP, the client asks once more. */
			q->state = QOS2_HELD;
			if (due)
				client_end(c, END_STORE_FAILED);
		} else {
			if (due)
				publish_completed(c, q);
			qos2_remove(&s->qos2, r->ask.packet_id);
		}
	}
	release_free(r);
}

static struct release *release_new(struct session *s)
{
	struct release *r = mem_new(sizeof(*r));
	r->principal = principal_ref(s->principal);
	const struct qos2_owner owner = qos2_owner(s, r->name);
	r->ask.mail.deliver = released;
	r->ask.reply_to = s->shard->box;
	r->ask.device_key = owner.device_key;
	r->ask.session = owner.session;
	return r;
}

void qos2_release_one(struct session *s, struct qos2_slot *q)
{
	const struct telemetry_store *store = &s->shard->b->store;
	struct release *r = release_new(s);
	q->state = QOS2_RELEASING;
	r->turn = ++q->turn;
	r->ask.packet_id = q->packet_id;
	session_tie(s, &r->session, TETHER_RELEASE);
	store->qos2_release(store->ctx, &r->ask);
}

void qos2_release_all(struct session *s)
{
	const struct telemetry_store *store = &s->shard->b->store;
	struct release *r = release_new(s);
	r->ask.all = true;
	if (r->ask.session.n > 0)
		store->qos2_release(store->ctx, &r->ask);
	else
		release_free(r);
}
