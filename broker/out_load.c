/* What the store had of a session's queue, on its way into memory. */
#include "broker/client.h"
#include "broker/out.h"
#include "broker/receive.h"
#include "server/base/metrics.h"

/* A message that is in flight by an earlier hub keeps its place there. NULL: it cannot. */
static struct out *flight_place(struct out_box *box, uint16_t packet_id)
{
	if (box->flight.count == 0)
		box->first_id = packet_id;
	uint32_t place = (packet_id + ID_COUNT - box->first_id) % ID_COUNT;
	if (place < box->flight.count || place >= ID_COUNT / 2)
		return NULL;
	struct out *o = NULL;
	while (box->flight.count <= place) {
		o = out_ring_push(&box->flight);
		if (!o)
			return NULL;
	}
	return o;
}

static bool fill_loaded(struct shard *sh, struct out *o, struct queue_entry *e)
{
	const struct out_spec d = {
	        .msg = e->msg,
	        .ids = e->ids,
	        .n_ids = e->n_ids,
	        .qos = e->qos,
	        .retain = e->retain,
	};
	if (e->msg && !out_fill(o, &d))
		return false;
	if (e->msg && e->group)
		o->group = filter_get(sh, slice_str(e->group));
	o->qos = e->qos;
	o->n = e->n;
	o->flags |= OUT_UNSENT;
	if (e->released)
		o->flags |= OUT_RELEASED;
	return true;
}

bool out_loaded(struct session *s, struct queue_entry *e, bool again)
{
	struct out_box *box = &s->out;
	struct durable *k = s->durable;
	struct out o = {0};
	bool begun = e->qos == 2 && e->packet_id;
	if (!e->msg && !(begun && e->released)) {
		metric_inc(
		        METRIC_DROPPED_QUEUE); /* its publisher was deleted, and its key with him */
		return false;
	}
	if (e->msg && e->n <= k->narrowed_to && !receive_wanted(s, e->msg, slice_str(e->group))) {
		metric_inc(METRIC_RECEIVE_DENIED);
		return false;
	}
	/* What was begun is brought to its end. */
	if (!begun && out_too_late(s->shard, e->msg)) {
		metric_inc(METRIC_DROPPED_EXPIRED);
		return false;
	}
	if (e->qos == 0 || e->qos > 2 || !fill_loaded(s->shard, &o, e))
		return false;
	if (e->n <= k->unjudged_to)
		o.flags &= (uint8_t)~OUT_JUDGED;
	struct out *place = begun ? flight_place(box, e->packet_id) : NULL;
	if (place) {
		*place = o;
		box->live++;
		box->flight_bytes += o.msg ? msg_size(o.msg) : 0;
		k->begun_to = e->n;
		return true;
	}
	place = o.msg ? out_ring_push(&box->queue) : NULL;
	if (!place) {
		out_clear(s->shard, &o);
		return false;
	}
	o.flags |= again && e->qos == 1 ? OUT_AGAIN : 0;
	*place = o;
	box->queued_bytes += msg_size(o.msg);
	return true;
}
