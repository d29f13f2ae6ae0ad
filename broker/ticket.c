#include "broker/ticket.h"

#include "broker/client.h"
#include "broker/mem.h"
#include "server/base/err.h"

#define CLIENT_PART 16 /* the part of the store's queue that one client may fill */

static void ticket_ready(struct receipt *r);

struct ticket *ticket_new(struct shard *sh, struct principal *who, bool row)
{
	struct ticket *t = mem_new(row ? sizeof(*t) : offsetof(struct ticket, row));
	t->shard = sh;
	t->principal = principal_ref(who);
	t->receipt.waiting = 1;
	t->receipt.done = ticket_ready;
	shard_busy(sh, 1);
	return t;
}

static void ticket_free(struct ticket *t)
{
	struct shard *sh = t->shard;
	session_untie(&t->session);
	principal_unref(t->principal);
	free(t);
	shard_busy(sh, -1);
}

/* ---- what follows from the answers ---- */

static uint8_t ticket_reason(const struct ticket *t)
{
	return t->receipt.err ? err_mqtt(t->receipt.err) : t->reason;
}

/* PUBREC may leave (or has nobody to go to): from now on the id is held until PUBREL. A refusal
 * ends the exchange, the id is free. */
static void settle_qos2(struct ticket *t, bool refused)
{
	struct session *s = t->session.session;
	struct qos2_slot *q = s ? qos2_find(&s->qos2, t->packet_id) : NULL;
	session_untie(&t->session);
	if (!q || q->state != QOS2_PENDING)
		return;
	if (!refused)
		q->state = QOS2_HELD;
	else if (q->stored && t->receipt.err == ERR_QUOTA)
		qos2_release_one(s, q); /* its row was committed, but it could not be retained */
	else
		qos2_remove(&s->qos2, t->packet_id);
}

static void acknowledge(struct ticket *t, struct broker_client *c)
{
	uint8_t reason = ticket_reason(t);
	/* 3.1.1 has no way to say no. A message that could not be retained was taken all the same.
	 */
	if (reason >= 0x80 && c->version != MQTT_V5 && t->receipt.err != ERR_QUOTA) {
		client_end(c, t->receipt.err ? END_STORE_FAILED : END_NOT_AUTHORIZED);
		return;
	}
	if ((t->ack == MQTT_PUBACK || reason >= 0x80) && c->quota_used > 0)
		c->quota_used--;
	client_send_ack(c, t->ack, t->packet_id, reason);
}

/* The store does not know the device (generation) any more. A QoS 0 message or a will has nobody
 * who waits, so the connection is looked for. */
static void end_gone(const struct ticket *t)
{
	struct session *s = session_find(t->shard, t->principal, principal_id(t->principal));
	if (s && s->client && s->principal->device_key == t->principal->device_key)
		client_end(s->client, END_DISABLED);
}

/* Everything is known: tells whoever waits, and frees the ticket. */
static void ticket_finish(struct ticket *t)
{
	struct broker_client *c = t->client;
	if (t->ack == MQTT_PUBREC)
		settle_qos2(t, ticket_reason(t) >= 0x80);
	if (t->receipt.err == ERR_NOT_FOUND)
		end_gone(t);
	else if (c && t->ack && c->state == CLIENT_ON)
		acknowledge(t, c);
	if (t->call) {
		t->call->err = t->receipt.err;
		t->call->done(t->call);
	}
	ticket_free(t);
}

/* All wait behind what one client hands to the store: past this it is not read. */
static size_t stored_max(const struct broker_client *c)
{
	return shard_limits(c->shard)->store_queue_bytes / CLIENT_PART;
}

/* Acknowledgements leave in the order in which the messages came ([MQTT-4.6.0-2]). */
static void fifo_advance(struct broker_client *c)
{
	struct ticket *t;
	while ((t = c->tickets) != NULL && t->receipt.waiting == 0) {
		c->tickets = t->next;
		if (!c->tickets)
			c->tickets_end = &c->tickets;
		c->n_tickets--;
		c->tickets_stored -= t->stored;
		ticket_finish(t);
	}
	/* A quarter of the window free: not every answer switches reading on and off. */
	if (c->n_tickets <= c->receive_maximum - (c->receive_maximum + 3u) / 4u &&
	        c->tickets_stored <= stored_max(c) - stored_max(c) / 4)
		client_resume(c, PAUSE_WINDOW);
	if (c->shard->draining && !c->tickets)
		drain_client(c);
}

void ticket_queue(struct broker_client *c, struct ticket *t)
{
	t->client = c;
	t->next = NULL;
	*c->tickets_end = t;
	c->tickets_end = &t->next;
	c->n_tickets++;
	/* MQTT 5 clients know the window and end where they pass it; but a message of QoS 2 that
	 * they send again and again gets an answer each time. */
	unsigned most = c->receive_maximum + (c->version == MQTT_V5 ? 1u : 0u);
	if (c->n_tickets >= most)
		client_pause(c, PAUSE_WINDOW);
}

static void ticket_ready(struct receipt *r)
{
	struct ticket *t = container_of(r, struct ticket, receipt);
	if (t->client)
		fifo_advance(t->client);
	else
		ticket_finish(t);
}

void tickets_detach(struct broker_client *c)
{
	struct ticket *t = c->tickets, *next;
	c->tickets = NULL;
	c->tickets_end = &c->tickets;
	c->n_tickets = 0;
	c->tickets_stored = 0;
	for (; t; t = next) {
		next = t->next;
		t->client = NULL;
		if (t->receipt.waiting == 0)
			ticket_finish(t);
	}
}

/* ---- the store ---- */

static void row_answered(struct mail *mail)
{
	struct telemetry_row *row = container_of(mail, struct telemetry_row, mail);
	struct ticket *t = container_of(row, struct ticket, row);
	struct shard *sh = t->shard;
	msg_unref(row->msg);
	if (t->held_back)
		held_back_row(TAKE_PTR(t->held_back), row->err);
	else
		ticket_settle(t, row->err);
	if (!LIST_EMPTY(&sh->starved))
		clients_feed(sh);
}

void ticket_store(struct ticket *t, struct msg *m, struct slice topic)
{
	const struct telemetry_store *store = &t->shard->b->store;
	struct slice id = principal_id(t->principal);
	const uint8_t *slash = id.n ? memchr(id.p, '/', id.n) : NULL;
	struct telemetry_row *row = &t->row;
	row->mail.deliver = row_answered;
	row->reply_to = t->shard->box;
	row->msg = msg_ref(m);
	row->topic = topic;
	row->device_key = t->principal->device_key;
	row->module = slash ? slice_from(id, (size_t)(slash - id.p) + 1) : slice_make(NULL, 0);
	row->qos2 = t->ack == MQTT_PUBREC;
	row->packet_id = t->packet_id;
	row->session = id; /* a device's client id is its id */
	if (t->client) {
		t->stored = (uint32_t)msg_size(m);
		t->client->tickets_stored += t->stored;
		if (t->client->tickets_stored > stored_max(t->client))
			client_pause(t->client, PAUSE_WINDOW);
	}
	t->receipt.waiting++;
	store->append(store->ctx, row);
}

struct ticket *ticket_find_qos2(const struct session *s, uint16_t packet_id)
{
	struct tether *tie = NULL;
	LIST_FOREACH (tie, &s->tethers, entry) {
		if (tie->kind != TETHER_TICKET)
			continue;
		struct ticket *t = container_of(tie, struct ticket, session);
		if (t->packet_id == packet_id)
			return t;
	}
	return NULL;
}
