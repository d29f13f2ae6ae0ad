/*
 * PUBREL of a stored message: the store forgets the packet id, and only then PUBCOMP leaves. If the
 * hub died before, the client sends PUBREL again and finds the id restored.
 */
#include "broker/client.h"
#include "broker/mem.h"

struct release {
	struct qos2_release ask;
	struct shard *shard;
	struct principal *principal; /* keeps ask.session alive */
	struct tether session;
	uint16_t turn;
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
	if (q && q->state == QOS2_RELEASING && q->turn == r->turn) {
		if (q->answer_due && session_writable(s))
			publish_completed(s->client, q);
		qos2_remove(&s->qos2, r->ask.packet_id);
	}
	release_free(r);
}

static struct release *release_new(struct shard *sh, struct principal *p)
{
	struct release *r = mem_new(sizeof(*r));
	r->shard = sh;
	r->principal = principal_ref(p);
	r->ask.mail.deliver = released;
	r->ask.reply_to = sh->box;
	r->ask.device_key = p->device_key;
	r->ask.session = principal_id(r->principal);
	return r;
}

void qos2_release_one(struct session *s, struct qos2_slot *q)
{
	const struct telemetry_store *store = &s->shard->b->store;
	struct release *r = release_new(s->shard, s->principal);
	q->state = QOS2_RELEASING;
	r->turn = ++q->turn;
	r->ask.packet_id = q->packet_id;
	session_tie(s, &r->session, TETHER_RELEASE);
	store->qos2_release(store->ctx, &r->ask);
}

void qos2_release_all(struct shard *sh, struct principal *p)
{
	const struct telemetry_store *store = &sh->b->store;
	struct release *r = release_new(sh, p);
	r->ask.all = true;
	store->qos2_release(store->ctx, &r->ask);
}
