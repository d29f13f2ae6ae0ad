/* What is asked of lanes: how each kind of request comes in, counts, and is answered. */
#include "server/base/clock.h"
#include "server/base/err.h"
#include "server/base/map.h"
#include "server/base/metrics.h"
#include "storage/lane.h"

#define SMALL_BYTES 64 /* what a request without a message counts for in a batch */
/* What a SUBSCRIBE holds beside its filters until they are stored: its part for each loop. */
#define SUBSCRIBE_BYTES 1024

/* ---- which lane ---- */

static struct lane *lane_of(struct storage *s, uint64_t device_key)
{
	return s->lanes[hash_stable(&device_key, sizeof(device_key)) % s->n_lanes];
}

/* Of a session, and of a queue: the sessions of one key have one lane (session_id_new). */
static struct lane *lane_of_queue(struct storage *s, uint64_t queue)
{
	uint64_t low = queue & ((UINT64_C(1) << SESSION_ID_KEY_BITS) - 1);

	return s->lanes[low % s->n_lanes];
}

/* Of packet ids: a device's with its rows, others by session. */
static struct lane *lane_of_ids(struct storage *s, uint64_t device_key, struct slice session)
{
	return device_key != 0 ? lane_of(s, device_key)
	                       : s->lanes[hash_stable(session.p, session.n) % s->n_lanes];
}

/* ---- coming in ---- */

static void take(struct lane *l, struct mail *m)
{
	m->next = NULL;
	*l->end = m;
	l->end = &m->next;
	l->taken++;
}

/* What the lane's mailbox delivers; which of them also tells what a waiting mail is. */
static void take_row(struct mail *m)
{
	take(container_of(m, struct telemetry_row, mail)->store.owner, m);
}

static void take_release(struct mail *m)
{
	take(container_of(m, struct qos2_release, mail)->store.owner, m);
}

static void take_request(struct mail *m)
{
	struct store_request *req = container_of(m, struct store_request, mail);
	struct lane *l = req->store.owner;

	if (req->store.kind == KIND_LOAD) {
		if (l->loads++ == 0 || req->store.deadline_ms < l->loads_due_ms)
			l->loads_due_ms = req->store.deadline_ms;
	}
	take(l, m);
}

enum kind kind_of(const struct mail *m)
{
	if (m->deliver == take_row)
		return KIND_ROW;
	if (m->deliver == take_release)
		return KIND_RELEASE;
	return (enum kind)container_of(m, const struct store_request, mail)->store.kind;
}

static void count_on(struct lane *l, size_t bytes)
{
	atomic_fetch_add_explicit(&l->s->backlog_bytes, bytes, memory_order_relaxed);
	metric_add(METRIC_STORE_BACKLOG, 1);
	metric_add(METRIC_STORE_BACKLOG_BYTES, (int64_t)bytes);
}

void lane_count_off(struct lane *l, unsigned requests, size_t bytes)
{
	atomic_fetch_sub_explicit(&l->s->backlog_bytes, bytes, memory_order_relaxed);
	metric_add(METRIC_STORE_BACKLOG, -(int64_t)requests);
	metric_add(METRIC_STORE_BACKLOG_BYTES, -(int64_t)bytes);
}

static size_t row_bytes(const struct mail *m)
{
	const struct telemetry_row *row = container_of(m, const struct telemetry_row, mail);

	return sizeof(*row) + msg_size(row->msg);
}

void lanes_append(void *ctx, struct telemetry_row *row)
{
	struct lane *l = lane_of(ctx, row->device_key);

	row->store.deliver = row->mail.deliver;
	row->store.owner = l;
	row->mail.deliver = take_row;
	count_on(l, row_bytes(&row->mail));
	mail_post(&l->box, &row->mail);
}

void lanes_release(void *ctx, struct qos2_release *r)
{
	struct lane *l = lane_of_ids(ctx, r->device_key, r->session);

	r->store.deliver = r->mail.deliver;
	r->store.owner = l;
	r->mail.deliver = take_release;
	count_on(l, SMALL_BYTES);
	mail_post(&l->box, &r->mail);
}

static void hand_over(struct lane *l, enum kind kind, struct store_request *req)
{
	req->err = 0;
	req->store.deliver = req->mail.deliver;
	req->store.owner = l;
	req->store.kind = kind;
	req->mail.deliver = take_request;
	count_on(l, kinds[kind].bytes(&req->mail));
	mail_post(&l->box, &req->mail);
}

static void session_write(void *ctx, struct session_write *w)
{
	hand_over(lane_of_queue(ctx, w->row.id), KIND_SESSION, &w->req);
}

static void sub_write(void *ctx, struct sub_write *w)
{
	hand_over(lane_of_queue(ctx, w->session_id), KIND_SUB, &w->req);
}

static void queue_append(void *ctx, struct queue_append *a)
{
	a->written = false;
	hand_over(lane_of_queue(ctx, a->queue), KIND_APPEND, &a->req);
}

static void queue_write(void *ctx, struct queue_write *w)
{
	hand_over(lane_of_queue(ctx, w->queue), KIND_QUEUE, &w->req);
}

static void queue_load(void *ctx, struct queue_load *q)
{
	struct storage *s = ctx;

	q->entries = NULL;
	q->n = 0;
	q->more = false;
	q->count = 0;
	q->bytes = 0;
	q->req.store.deadline_ms = clock_ms() + s->lookup_ms;
	hand_over(lane_of_queue(s, q->queue), KIND_LOAD, &q->req);
}

static void retained_write(void *ctx, struct retained_write *w)
{
	struct storage *s = ctx;
	struct slice topic = msg_topic(w->msg);

	hand_over(s->lanes[hash_stable(topic.p, topic.n) % s->n_lanes], KIND_RETAINED, &w->req);
}

static void qos2_note(void *ctx, struct qos2_note *n)
{
	hand_over(lane_of_ids(ctx, n->device_key, n->session), KIND_NOTE, &n->req);
}

void lanes_port(struct session_store *port)
{
	port->session_write = session_write;
	port->sub_write = sub_write;
	port->queue_append = queue_append;
	port->queue_write = queue_write;
	port->queue_load = queue_load;
	port->retained_write = retained_write;
	port->qos2_note = qos2_note;
}

/* ---- how many bytes ---- */

#define REQUEST(m, type) container_of(m, const type, req.mail)

static size_t small_bytes(const struct mail *m HF_UNUSED)
{
	return SMALL_BYTES;
}

static size_t append_bytes(const struct mail *m)
{
	const struct queue_append *a = REQUEST(m, struct queue_append);

	return sizeof(*a) + msg_size(a->msg) + a->group.n + a->n_ids * sizeof(*a->ids);
}

static size_t session_bytes(const struct mail *m)
{
	const struct session_write *w = REQUEST(m, struct session_write);
	const struct msg *will = w->op == SESSION_PUT ? w->row.will.msg : NULL;

	size_t who = w->row.principal ? sizeof(*w->row.principal) + w->row.principal->id_len : 0;

	return sizeof(*w) + w->row.key.n + who + (will ? msg_size(will) : 0);
}

static size_t sub_bytes(const struct mail *m)
{
	const struct sub_write *w = REQUEST(m, struct sub_write);

	return sizeof(*w) + w->filter.n + SUBSCRIBE_BYTES;
}

static size_t retained_bytes(const struct mail *m)
{
	const struct retained_write *w = REQUEST(m, struct retained_write);

	return sizeof(*w) + msg_size(w->msg);
}

/* ---- whose key ---- */

static uint64_t row_device(const struct mail *m)
{
	return container_of(m, const struct telemetry_row, mail)->device_key;
}

static uint64_t append_device(const struct mail *m)
{
	return REQUEST(m, struct queue_append)->msg->device_key;
}

static uint64_t session_device(const struct mail *m)
{
	const struct session_write *w = REQUEST(m, struct session_write);

	if (w->op != SESSION_PUT)
		return NO_KEY;
	/* The principal alone: the hub's. */
	return w->row.will.msg ? w->row.will.msg->device_key : 0;
}

static uint64_t retained_device(const struct mail *m)
{
	const struct msg *msg = REQUEST(m, struct retained_write)->msg;

	return msg->payload_len > 0 ? msg->device_key : NO_KEY;
}

/* ---- answers ---- */

static void answer_row(struct lane *l HF_UNUSED, struct item *item)
{
	struct telemetry_row *row = item_row(item);

	row->err = item->err;
	row->mail.deliver = row->store.deliver;
	mail_post(row->reply_to, &row->mail);
}

static void answer_release(struct lane *l HF_UNUSED, struct item *item)
{
	struct qos2_release *r = container_of(item->mail, struct qos2_release, mail);

	r->err = item->err;
	r->mail.deliver = r->store.deliver;
	mail_post(r->reply_to, &r->mail);
}

static void answer_request(struct lane *l HF_UNUSED, struct item *item)
{
	struct store_request *req = container_of(item->mail, struct store_request, mail);

	req->err = item->err;
	req->mail.deliver = req->store.deliver;
	mail_post(req->reply_to, &req->mail);
}

static void answer_append(struct lane *l, struct item *item)
{
	item_request(item, struct queue_append)->written = item->err == 0 && !item->skip;
	answer_request(l, item);
}

/* All that was asked before it is committed: a reader goes on with it. */
static void pass_load(struct lane *l, struct item *item)
{
	l->loads--;
	readers_queue_load(l->s, item_request(item, struct queue_load));
}

const struct kind_info kinds[KINDS] = {
        [KIND_ROW] = {"telemetry row", row_bytes, row_device, claim_row, NULL, answer_row, false},
        [KIND_RELEASE] = {"packet id released", small_bytes, NULL, claim_release, NULL,
                answer_release, false},
        [KIND_APPEND] = {"queued message", append_bytes, append_device, NULL, seal_append,
                answer_append, false},
        [KIND_QUEUE] = {"change of a queue", small_bytes, NULL, claim_queue, NULL, answer_request,
                false},
        [KIND_LOAD] = {"read of a queue", small_bytes, NULL, NULL, NULL, pass_load, false},
        [KIND_SESSION] = {"session", session_bytes, session_device, claim_session, seal_session,
                answer_request, true},
        [KIND_SUB] = {"subscription", sub_bytes, NULL, claim_sub, NULL, answer_request, false},
        [KIND_RETAINED] = {"retained message", retained_bytes, retained_device, claim_retained,
                seal_retained, answer_request, false},
        [KIND_NOTE] = {"packet id", small_bytes, NULL, claim_note, NULL, answer_request, false},
};
