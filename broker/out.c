#include "broker/out.h"

#include "broker/client.h"
#include "broker/command.h"
#include "broker/mem.h"
#include "broker/queue_store.h"
#include "broker/receive.h"
#include "broker/share.h"
#include "server/base/clock.h"
#include "server/base/metrics.h"

/* A client that leaves one message unacknowledged while it acknowledges others leaves holes behind
 * it; the flight is never longer than this many places, and never meets its own tail. */
#define FLIGHT_MAX 4096
/* Bytes in flight to one client: past them nothing is added, so that a window of the largest
 * messages that is never acknowledged does not hold more than a queue may. */
#define FLIGHT_BYTES_MAX (1u << 20)
/* What a session may queue while the hub holds too many messages in all. */
#define CROWDED_BYTES 65536

static uint16_t id_at(const struct out_box *box, uint32_t place)
{
	return (uint16_t)((box->first_id - 1u + place) % ID_COUNT + 1);
}

static struct out *flight_find(const struct out_box *box, uint16_t packet_id, uint32_t *ret_place)
{
	if (packet_id == 0)
		return NULL;
	uint32_t place = (packet_id + ID_COUNT - box->first_id) % ID_COUNT;
	if (place >= box->flight.count)
		return NULL;
	struct out *o = out_ring_at(&box->flight, place);
	*ret_place = place;
	return o->qos ? o : NULL;
}

void out_clear(struct shard *sh, struct out *o)
{
	msg_unref(o->msg);
	free(o->ids);
	if (o->group)
		filter_unref(sh, o->group);
	if (o->append)
		append_drop(o->append);
	*o = (struct out){0};
}

/* The same for a message that is done with: the store forgets it too. */
static void out_done(struct session *s, struct out *o)
{
	if (o->n)
		queue_settle(s, o);
	out_clear(s->shard, o);
}

bool out_fill(struct out *o, const struct out_spec *d)
{
	if (d->n_ids > 1) {
		o->ids = malloc(sizeof(*o->ids) + d->n_ids * sizeof(o->ids->ids[0]));
		if (!o->ids)
			return false;
		o->ids->n = d->n_ids;
		memcpy(o->ids->ids, d->ids, d->n_ids * sizeof(o->ids->ids[0]));
	}
	o->id = d->n_ids == 1 ? d->ids[0] : 0;
	o->msg = msg_ref(d->msg);
	o->group = d->group ? filter_ref(d->group) : NULL;
	o->qos = d->qos;
	o->flags = (uint8_t)(OUT_UNSENT | OUT_JUDGED | (d->retain ? OUT_RETAIN : 0));
	return true;
}

bool out_too_late(const struct shard *sh, const struct msg *m)
{
	int64_t age = (int64_t)shard_limits(sh)->max_queued_age * 1000000;
	return msg_expired(m, shard_now(sh)) ||
	        (age > 0 && clock_steady_us() - m->received_us > age);
}

/* It is not this session's any more: to another member of its group, or back to the commands. */
static void hand_back(struct session *s, struct out *o)
{
	if (o->group && o->msg)
		share_return(s->shard, filter_text(o->group), o->msg, NULL);
	if (o->flags & OUT_COMMAND) {
		command_back(s, o->n);
		o->n = 0; /* it stays in the store */
	}
}

/* What was judged when it came was perhaps judged by what the session might then. */
static bool still_may(struct session *s, struct out *o)
{
	if (!s->filters || (o->flags & OUT_JUDGED) || receive_may(s, o->msg, o->msg->from))
		return true;
	metric_inc(METRIC_RECEIVE_DENIED);
	hand_back(s, o);
	return false;
}

/* After subscriptions were taken away. */
static bool still_wanted(struct session *s, struct out *o)
{
	struct slice group = o->group ? filter_text(o->group) : slice_make(NULL, 0);
	if (!o->msg || receive_wanted(s, o->msg, group))
		return true;
	metric_inc(METRIC_RECEIVE_DENIED);
	hand_back(s, o);
	return false;
}

static bool wire_out(struct broker_client *c, struct out *o, uint16_t packet_id, bool dup)
{
	if (!still_may(c->session, o))
		return false;
	struct wire w = {
	        .msg = o->msg,
	        .ids = o->ids ? o->ids->ids : &o->id,
	        .n_ids = o->ids ? o->ids->n : o->id != 0,
	        .packet_id = packet_id,
	        .qos = o->qos,
	        .retain = o->flags & OUT_RETAIN,
	        .dup = dup,
	};
	return wire_publish(c, &w);
}

/* ---- the flight ---- */

static bool congested(const struct broker_client *c)
{
	return c->ops->unsent(c->link) > shard_limits(c->shard)->output_soft_bytes;
}

static uint32_t flight_max(const struct broker_client *c)
{
	uint32_t wide = c->window * 4u;
	return wide > ID_COUNT - 1 ? ID_COUNT - 1 : wide > FLIGHT_MAX ? wide : FLIGHT_MAX;
}

static bool flight_has_room(const struct broker_client *c, const struct out_box *box)
{
	return box->unsettled < c->window && box->flight.count < flight_max(c) &&
	        box->flight_bytes <= FLIGHT_BYTES_MAX && !congested(c);
}

bool out_has_room(const struct session *s)
{
	const struct broker_client *c = session_writable(s);
	return c && s->out.queue.count == 0 && flight_has_room(c, &s->out);
}

/* Takes a place out of the flight; holes at its front go. */
static void flight_drop(struct session *s, uint32_t place)
{
	struct out_box *box = &s->out;
	struct out *o = out_ring_at(&box->flight, place);
	if (!(o->flags & OUT_UNSENT))
		box->unsettled--;
	box->live--;
	box->flight_bytes -= o->msg ? msg_size(o->msg) : 0;
	out_done(s, o);
	while (box->flight.count > 0 && out_ring_at(&box->flight, 0)->qos == 0) {
		out_ring_pop(&box->flight);
		box->first_id = id_at(box, 1);
		if (box->resend > 0)
			box->resend--;
	}
}

/* Sends *o as the flight's next message. Takes what it holds, whether it could be sent or not. */
static void flight_take(struct session *s, struct out *o)
{
	struct out_box *box = &s->out;
	struct broker_client *c = s->client;
	if (box->flight.count == 0 && box->first_id == 0)
		box->first_id = 1;
	uint16_t id = id_at(box, box->flight.count);
	if (o->qos == 2 && o->n) {
		/* Its packet id is committed first, in the append if it is there already. */
		if (!(o->flags & OUT_COMMIT))
			queue_note(s, QUEUE_MARK, o->n, id);
		o->flags |= OUT_COMMIT;
	} else if (!wire_out(c, o, id, o->flags & OUT_AGAIN)) {
		out_done(s, o); /* its share of the window was never taken */
		return;
	}
	struct out *place = out_ring_push(&box->flight);
	if (!place) { /* nobody will settle it: the connection ends, the session keeps its state */
		out_clear(s->shard, o);
		client_end(c, END_QUOTA);
		return;
	}
	*place = *o;
	place->flags &= (uint8_t)~OUT_UNSENT;
	box->live++;
	box->unsettled++;
	box->flight_bytes += msg_size(o->msg);
	box->resend = box->flight.count;
}

/* ---- the queue ---- */

static void queue_pop(struct session *s, struct out *ret)
{
	*ret = *out_ring_at(&s->out.queue, 0);
	s->out.queued_bytes -= msg_size(ret->msg);
	out_ring_pop(&s->out.queue);
}

static void queue_drop_expired(struct session *s)
{
	uint64_t now = shard_now(s->shard);
	struct out o;
	while (s->out.queue.count > 0 && msg_expired(out_ring_at(&s->out.queue, 0)->msg, now)) {
		queue_pop(s, &o);
		out_done(s, &o);
		metric_inc(METRIC_DROPPED_EXPIRED);
	}
}

/* Messages that wait for clients, over all sessions: those of all kinds without the retained ones,
 * wills and those that the store has. */
static size_t waiting_bytes(const struct shard *sh)
{
	const struct telemetry_store *store = &sh->b->store;
	int64_t all = metric_read(METRIC_MESSAGE_BYTES);
	size_t others = atomic_load_explicit(&sh->b->retained_bytes, memory_order_relaxed) +
	        atomic_load_explicit(&sh->b->will_bytes, memory_order_relaxed) +
	        store->backlog_bytes(store->ctx);
	return all > 0 && (size_t)all > others ? (size_t)all - others : 0;
}

/* The hub's memory for what waits is used up: long queues do not grow any more, and at twice as
 * much none does. Looked at once a turn. */
static bool crowded(struct shard *sh, size_t queued)
{
	uint64_t now = shard_now(sh);
	size_t most = shard_limits(sh)->queue_memory;
	if (most == 0)
		return false;
	if (now != sh->waiting_ms) {
		sh->waiting_ms = now;
		sh->waiting_bytes = waiting_bytes(sh);
	}
	return sh->waiting_bytes > most && (queued > CROWDED_BYTES || sh->waiting_bytes / 2 > most);
}

static bool queue_full(const struct session *s, const struct out_spec *d)
{
	const struct broker_limits *lim = shard_limits(s->shard);
	size_t count = s->out.queue.count, bytes = s->out.queued_bytes + msg_size(d->msg);
	if (s->durable) { /* the store has its queue */
		count += s->durable->tail_count;
		bytes += s->durable->tail_bytes;
	} else if (crowded(s->shard, bytes)) {
		return true;
	}
	/* What a SUBSCRIBE asked for comes at once: only the bytes bound it. */
	if (!d->replay && count >= lim->max_queued_messages)
		return true;
	return bytes > lim->max_queued_bytes;
}

static void queue_add(struct session *s, const struct out_spec *d)
{
	if (queue_full(s, d))
		queue_drop_expired(s);
	struct out *o = queue_full(s, d) ? NULL : out_ring_push(&s->out.queue);
	if (!o) {
		metric_inc(METRIC_DROPPED_QUEUE);
		return;
	}
	if (!out_fill(o, d)) {
		s->out.queue.count--;
		metric_inc(METRIC_DROPPED_QUEUE);
		return;
	}
	s->out.queued_bytes += msg_size(d->msg);
}

/* ---- a durable session ---- */

/* Of its queue memory has no more than this; the rest is in the store alone. */
#define HEAD_WINDOWS 2
#define HEAD_BYTES (256u << 10)

static bool head_has_room(const struct session *s, const struct out_spec *d)
{
	const struct broker_client *c = session_writable(s);
	size_t bytes = s->out.queued_bytes + msg_size(d->msg);
	return c && s->out.queue.count < c->window * HEAD_WINDOWS && bytes <= HEAD_BYTES &&
	        !crowded(s->shard, bytes);
}

static void deliver_durable(struct session *s, const struct out_spec *d)
{
	struct out_box *box = &s->out;
	struct durable *k = s->durable;
	/* Of what is sent again only the store knows whether the queue has (or had) it. */
	bool tail = k->loaded_to < k->stored_to || d->msg->again;
	bool now = !tail && out_has_room(s) && box->resend == box->flight.count;
	bool here = now || (!tail && head_has_room(s, d));
	struct out o = {0};
	if (!now && queue_full(s, d))
		queue_drop_expired(s);
	if ((!now && queue_full(s, d)) || (here && !out_fill(&o, d))) {
		metric_inc(METRIC_DROPPED_QUEUE);
		tail_recount(s);
		return;
	}
	if (box->flight.count == 0 && box->first_id == 0)
		box->first_id = 1;
	o.n = ++k->stored_to;
	append_send(s, d, o.n, now && d->qos == 2 ? id_at(box, box->flight.count) : 0,
	        here ? &o : NULL);
	if (!here) {
		tail_grown(s, msg_size(d->msg));
		return;
	}
	k->loaded_to = o.n;
	if (now) {
		o.flags |= d->qos == 2 ? OUT_COMMIT : 0;
		flight_take(s, &o);
		return;
	}
	struct out *place = out_ring_push(&box->queue);
	if (place) {
		*place = o;
		box->queued_bytes += msg_size(d->msg);
	} else { /* the store has it */
		out_clear(s->shard, &o);
		k->loaded_to = o.n - 1;
	}
}

/* ---- the door ---- */

static void deliver_qos0(struct session *s, const struct out_spec *d)
{
	struct broker_client *c = session_writable(s);
	if (!c)
		return;
	const struct broker_limits *lim = shard_limits(s->shard);
	size_t most = d->replay ? lim->output_hard_bytes / 2 : lim->output_soft_bytes;
	if (c->ops->unsent(c->link) > most) {
		metric_inc(METRIC_DROPPED_QOS0);
		return;
	}
	struct wire w = {.msg = d->msg, .ids = d->ids, .n_ids = d->n_ids, .retain = d->retain};
	wire_publish(c, &w);
}

void out_deliver(struct session *s, const struct out_spec *d)
{
	if (msg_expired(d->msg, shard_now(s->shard))) {
		metric_inc(METRIC_DROPPED_EXPIRED);
		return;
	}
	if (s->filters && !receive_may(s, d->msg, d->replay ? d->from : d->msg->from)) {
		metric_inc(METRIC_RECEIVE_DENIED);
		return;
	}
	if (d->msg->retain && !d->replay && s->client && s->client->sub_job)
		subscribe_saw(s->client->sub_job, d->msg);
	if (d->msg->again && (!s->durable || d->qos == 0))
		return; /* it had it from the hub that was before */
	if (d->qos == 0) {
		deliver_qos0(s, d);
		return;
	}
	if (s->durable) {
		deliver_durable(s, d);
	} else if (out_has_room(s) && s->out.resend == s->out.flight.count) {
		struct out o = {0};
		if (out_fill(&o, d))
			flight_take(s, &o);
		else
			metric_inc(METRIC_DROPPED_QUEUE);
	} else {
		queue_add(s, d);
	}
	share_tell(s);
}

/* What was in flight when the connection began, again and in order; stops where the window ends. */
static void resend(struct session *s)
{
	struct out_box *box = &s->out;
	struct broker_client *c = s->client;
	while (box->resend < box->flight.count && session_writable(s)) {
		struct out *o = out_ring_at(&box->flight, box->resend);
		uint16_t id = id_at(box, box->resend);
		if (o->qos == 0 || !(o->flags & OUT_UNSENT)) {
			box->resend++;
			continue;
		}
		if (s->narrowed && !still_wanted(s, o)) {
			flight_drop(s, box->resend);
			continue;
		}
		if (!(o->flags & OUT_RELEASED) && !(box->unsettled < c->window && !congested(c)))
			return;
		o->flags &= (uint8_t)~OUT_UNSENT;
		box->unsettled++;
		uint32_t place = box->resend++;
		if (o->flags & OUT_COMMIT)
			continue; /* it is sent when the store has answered */
		if (o->flags & OUT_RELEASED)
			client_send_ack(c, MQTT_PUBREL, id, MQTT_SUCCESS);
		else if (!wire_out(c, o, id, true))
			flight_drop(s, place);
	}
}

void out_pump(struct session *s)
{
	struct out_box *box = &s->out;
	if (box->resend < box->flight.count && session_writable(s))
		resend(s);
	while (box->queue.count > 0 && box->resend == box->flight.count) {
		struct broker_client *c = session_writable(s);
		if (!c || !flight_has_room(c, box))
			break;
		struct out o;
		queue_pop(s, &o);
		if (out_too_late(s->shard, o.msg)) {
			metric_inc(METRIC_DROPPED_EXPIRED);
			out_done(s, &o);
			continue;
		}
		flight_take(s, &o);
	}
	if (s->durable)
		tail_pump(s);
	if (s->commands_wait)
		commands_pump(s);
	share_tell(s);
}

void out_restart(struct session *s)
{
	struct out_box *box = &s->out;
	box->resend = 0;
	box->unsettled = 0;
	for (uint32_t i = 0; i < box->flight.count; i++)
		out_ring_at(&box->flight, i)->flags |= OUT_UNSENT;
}

/* ---- commands ---- */

bool out_command_room(const struct session *s)
{
	const struct broker_client *c = session_writable(s);
	const struct durable *d = s->durable;
	/* What an earlier hub had in flight takes its packet ids again before others get one. */
	if (d && d->fresh && d->loaded_to < d->stored_to)
		return false;
	return c && flight_has_room(c, &s->out) && s->out.resend == s->out.flight.count;
}

bool out_command(struct session *s, const struct out_spec *d, uint64_t n, bool again)
{
	struct out o = {0};
	if (!out_command_room(s))
		return false;
	if (d->qos == 0) {
		deliver_qos0(s, d);
		return true;
	}
	if (!out_fill(&o, d))
		return false;
	o.n = n;
	o.flags |= (uint8_t)(OUT_COMMAND | (again ? OUT_AGAIN : 0));
	flight_take(s, &o);
	return true;
}

/* ---- what the client answers ---- */

void out_acked(struct session *s, uint16_t packet_id, uint8_t reason)
{
	uint32_t place;
	struct out *o = flight_find(&s->out, packet_id, &place);
	(void)reason; /* any PUBACK settles the message ([MQTT-4.3.2-4]) */
	if (!o)
		return;
	if (o->qos != 1) {
		client_end(s->client, END_PROTOCOL);
		return;
	}
	flight_drop(s, place);
	out_pump(s);
}

/* PUBREC: what was to be sent is not needed any more. True: PUBREL waits for the store. */
static bool release(struct session *s, struct out *o, uint16_t packet_id)
{
	bool first = !(o->flags & OUT_RELEASED);
	s->out.flight_bytes -= o->msg ? msg_size(o->msg) : 0;
	msg_unref(TAKE_PTR(o->msg));
	if (o->group)
		filter_unref(s->shard, TAKE_PTR(o->group));
	o->flags |= OUT_RELEASED;
	if (o->flags & OUT_UNSENT) { /* answered from before the connection broke */
		o->flags &= (uint8_t)~OUT_UNSENT;
		s->out.unsettled++;
	}
	if (!o->n || !first)
		return false;
	o->flags |= OUT_COMMIT;
	queue_note(s, QUEUE_RELEASE, o->n, packet_id);
	return true;
}

void out_received(struct session *s, uint16_t packet_id, uint8_t reason)
{
	uint32_t place;
	struct out *o = flight_find(&s->out, packet_id, &place);
	if (o && o->qos != 2) {
		client_end(s->client, END_PROTOCOL);
		return;
	}
	if (reason >= 0x80) { /* section 4.3.3: the id is free again, and there is no PUBREL */
		if (o)
			flight_drop(s, place);
		out_pump(s);
		return;
	}
	if (o && (o->flags & OUT_COMMIT)) { /* PUBREL follows; before PUBLISH the id is not known */
		if (!(o->flags & OUT_RELEASED))
			client_send_ack(s->client, MQTT_PUBREL, packet_id, MQTT_ID_NOT_FOUND);
		return;
	}
	if (o && release(s, o, packet_id))
		return;
	client_send_ack(s->client, MQTT_PUBREL, packet_id, o ? MQTT_SUCCESS : MQTT_ID_NOT_FOUND);
}

void out_committed(struct session *s, uint16_t packet_id, uint64_t n, bool ok)
{
	struct broker_client *c = session_writable(s);
	uint32_t place;
	struct out *o = flight_find(&s->out, packet_id, &place);
	if (!o || o->n != n || !(o->flags & OUT_COMMIT))
		return;
	o->flags &= (uint8_t)~OUT_COMMIT;
	bool released = o->flags & OUT_RELEASED, refused = !ok && !released;
	if (!refused && (!c || (o->flags & OUT_UNSENT)))
		return; /* it is sent again in its turn */
	if (released) {
		client_send_ack(c, MQTT_PUBREL, packet_id, MQTT_SUCCESS);
	} else if (refused || !wire_out(c, o, packet_id, o->flags & OUT_AGAIN)) {
		flight_drop(s, place);
		out_pump(s);
	}
}

void out_completed(struct session *s, uint16_t packet_id)
{
	uint32_t place;
	struct out *o = flight_find(&s->out, packet_id, &place);
	if (!o)
		return;
	if (!(o->flags & OUT_RELEASED)) {
		client_end(s->client, END_PROTOCOL);
		return;
	}
	flight_drop(s, place);
	out_pump(s);
}

/* ---- the session may less than before ---- */

static void ring_judge_again(const struct out_ring *r)
{
	for (uint32_t i = 0; i < r->count; i++) {
		struct out *o = out_ring_at(r, i);
		o->flags &= (uint8_t)~OUT_JUDGED;
	}
}

void out_judge_again(struct session *s)
{
	ring_judge_again(&s->out.flight);
	ring_judge_again(&s->out.queue);
}

void out_narrowed(struct session *s)
{
	struct out_box *box = &s->out;
	/* From behind: the front of the flight moves up when it goes. What this connection has got
	 * already is acknowledged as ever; another one does not get it. */
	for (uint32_t i = box->flight.count; i-- > 0;) {
		struct out *o = out_ring_at(&box->flight, i);
		if (o->qos > 0 && (o->flags & (OUT_UNSENT | OUT_COMMIT)) && !still_wanted(s, o))
			flight_drop(s, i);
	}
	for (uint32_t left = box->queue.count; left > 0; left--) {
		struct out o;
		queue_pop(s, &o);
		if (!still_wanted(s, &o)) {
			out_done(s, &o);
			continue;
		}
		struct out *place = out_ring_push(&box->queue);
		if (!place)
			abort(); /* there were as many before, or a few */
		*place = o;
		box->queued_bytes += msg_size(o.msg);
	}
	s->narrowed = true;
	if (s->durable)
		s->durable->narrowed_to = s->durable->stored_to;
}

/* ---- the end ---- */

static void ring_clear(struct session *s, struct out_ring *r, uint8_t give_back)
{
	for (uint32_t i = 0; i < r->count; i++) {
		struct out *o = out_ring_at(r, i);
		if (o->group && o->msg && o->qos <= give_back)
			share_return(s->shard, filter_text(o->group), o->msg,
			        farewell_waits(s, o->append));
		if (o->flags & OUT_COMMAND)
			command_back(s, o->n);
		out_clear(s->shard, o);
	}
	out_ring_free(r);
}

void out_free(struct session *s, bool give_back)
{
	/* A QoS 2 message that was sent is its member's alone ([MQTT-4.8.2-5]). */
	ring_clear(s, &s->out.flight, give_back ? 1 : 0);
	ring_clear(s, &s->out.queue, give_back ? 2 : 0);
	s->out = (struct out_box){0};
}
