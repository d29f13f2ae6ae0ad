/* The port of durable sessions: what a hub leaves when it stops, and another finds. */
#include <stdio.h>
#include <stdlib.h>

#include "server/base/clock.h"
#include "server/base/err.h"
#include "storage/ram/private.h"

struct ram_session {
	uint64_t id;
	uint8_t *key;
	size_t key_len;
	struct session_row row; /* its key is the one above; holds references */
};

struct ram_sub {
	uint64_t session;
	char *filter;
	struct sub_write is;
};

struct ram_queued {
	uint64_t queue;
	struct queue_entry is;
	struct ram_origin origin;
	bool done; /* delivered: nobody reads it any more, see ram_queues_tidy */
};

static void *at(const struct ram_array *a, size_t i, size_t size)
{
	return (uint8_t *)a->items + i * size;
}
#define AT(array, type, i) ((struct type *)at(&s->array, (i), sizeof(struct type)))

/* ---- sessions ---- */

static void session_drop(struct ram_store *s, size_t i)
{
	struct ram_session *x = AT(sessions, ram_session, i);

	principal_unref(x->row.principal);
	msg_unref(x->row.will.msg);
	free(x->key);
	ram_array_remove(&s->sessions, i, sizeof(*x));
}

static void queued_drop(struct ram_store *s, size_t i)
{
	struct ram_queued *q = AT(queued, ram_queued, i);

	s->n_done -= q->done;
	msg_unref(q->is.msg);
	free(q->is.group);
	free(q->is.ids);
	ram_array_remove(&s->queued, i, sizeof(*q));
}

static void sub_drop(struct ram_store *s, size_t i)
{
	free(AT(subs, ram_sub, i)->filter);
	ram_array_remove(&s->subs, i, sizeof(struct ram_sub));
}

static struct ram_session *session_find(struct ram_store *s, uint64_t id)
{
	for (size_t i = 0; i < s->sessions.n; i++)
		if (AT(sessions, ram_session, i)->id == id)
			return AT(sessions, ram_session, i);
	return NULL;
}

static void session_forget(struct ram_store *s, uint64_t id)
{
	for (size_t i = s->sessions.n; i-- > 0;)
		if (AT(sessions, ram_session, i)->id == id)
			session_drop(s, i);
	for (size_t i = s->subs.n; i-- > 0;)
		if (AT(subs, ram_sub, i)->session == id)
			sub_drop(s, i);
	for (size_t i = s->queued.n; i-- > 0;)
		if (AT(queued, ram_queued, i)->queue == id)
			queued_drop(s, i);
}

static void session_put(struct ram_store *s, const struct session_row *row)
{
	for (size_t i = s->sessions.n; i-- > 0;) {
		const struct ram_session *x = AT(sessions, ram_session, i);

		if (x->id != row->id && slice_eq(slice_make(x->key, x->key_len), row->key))
			session_forget(s, x->id);
	}
	struct ram_session *x = session_find(s, row->id);
	if (!x) {
		x = ram_array_add(&s->sessions, sizeof(*x));
		if (!x)
			abort();
		x->id = row->id;
		x->key = malloc(row->key.n);
		if (!x->key)
			abort();
		memcpy(x->key, row->key.p, row->key.n);
		x->key_len = row->key.n;
	}
	principal_unref(x->row.principal);
	msg_unref(x->row.will.msg);
	x->row = *row;
	x->row.key = slice_make(x->key, x->key_len);
	principal_ref(row->principal);
	if (row->will.msg)
		msg_ref(row->will.msg);
}

static void session_answer(struct ram_store *s, struct session_write *w)
{
	struct ram_session *x = session_find(s, w->row.id);

	if (w->op == SESSION_END) {
		session_forget(s, w->row.id);
	} else if (w->op == SESSION_PUT) {
		session_put(s, &w->row);
	} else if (x) {
		x->row.expiry = w->row.expiry;
		x->row.offline_us = w->row.offline_us;
		if (!w->row.will.msg)
			x->row.will.msg = msg_unref(x->row.will.msg);
	}
}

/* ---- subscriptions ---- */

static void sub_answer(struct ram_store *s, const struct sub_write *w)
{
	for (size_t i = s->subs.n; i-- > 0;) {
		const struct ram_sub *x = AT(subs, ram_sub, i);

		if (x->session == w->session_id && slice_eq_str(w->filter, x->filter))
			sub_drop(s, i);
	}
	if (w->remove || !session_find(s, w->session_id))
		return;
	struct ram_sub *x = ram_array_add(&s->subs, sizeof(*x));
	if (!x)
		abort();
	x->session = w->session_id;
	x->filter = strndup((const char *)w->filter.p, w->filter.n);
	x->is = *w;
}

/* ---- queues ---- */

static bool is_gone(const struct ram_store *s, uint64_t device_key)
{
	const uint64_t *gone = s->gone.items;

	for (size_t i = 0; device_key && i < s->gone.n; i++)
		if (gone[i] == device_key)
			return true;
	return false;
}

static struct ram_queued *queued_find(struct ram_store *s, uint64_t queue, uint64_t n)
{
	for (size_t i = 0; i < s->queued.n; i++) {
		struct ram_queued *q = AT(queued, ram_queued, i);

		if (q->queue == queue && q->is.n == n)
			return q;
	}
	return NULL;
}

static bool has_origin(struct ram_store *s, const struct queue_append *a, const uint8_t tag[8])
{
	for (size_t i = 0; i < s->queued.n; i++) {
		const struct ram_queued *q = AT(queued, ram_queued, i);

		if (q->queue == a->queue && q->origin.packet_id == a->msg->packet_id &&
		        q->origin.device_key == a->msg->device_key &&
		        memcmp(q->origin.tag, tag, 8) == 0 && ram_qos2_noted(s, &q->origin))
			return true;
	}
	return false;
}

static int append_answer(struct ram_store *s, struct queue_append *a)
{
	uint8_t tag[8];

	a->written = false;
	s->appends++;
	if (is_gone(s, a->msg->device_key) || is_gone(s, a->queue & ~COMMAND_QUEUE(0)))
		return ERR_NOT_FOUND;
	if (atomic_load(&a->settled))
		return 0;
	if (!(a->queue & COMMAND_QUEUE(0)) && !session_find(s, a->queue))
		return 0;
	ram_qos2_tag(s, a->msg, tag);
	a->written = true;
	if (a->msg->again && has_origin(s, a, tag))
		return 0;
	struct ram_queued *q = ram_array_add(&s->queued, sizeof(*q));
	if (!q)
		abort();
	q->queue = a->queue;
	q->origin = (struct ram_origin){.device_key = a->msg->device_key,
	        .packet_id = a->msg->packet_id,
	        .received_us = a->msg->received_us};
	memcpy(q->origin.tag, tag, 8);
	q->is = (struct queue_entry){
	        .n = a->n,
	        .msg = msg_ref(a->msg),
	        .qos = a->qos,
	        .retain = a->retain,
	        .packet_id = a->packet_id,
	        .group = a->group.n ? strndup((const char *)a->group.p, a->group.n) : NULL,
	        .ids = a->n_ids ? malloc(a->n_ids * sizeof(*a->ids)) : NULL,
	        .n_ids = a->n_ids,
	};
	if (q->is.ids)
		memcpy(q->is.ids, a->ids, a->n_ids * sizeof(*a->ids));
	s->written++;
	return 0;
}

void ram_queues_tidy(struct ram_store *s)
{
	for (size_t i = s->queued.n; s->n_done > 0 && i-- > 0;) {
		const struct ram_queued *q = AT(queued, ram_queued, i);

		if (q->done && !ram_qos2_noted(s, &q->origin))
			queued_drop(s, i);
	}
}

static void queue_answer(struct ram_store *s, const struct queue_write *w)
{
	struct ram_queued *q = queued_find(s, w->queue, w->n);

	if (!q)
		return;
	switch (w->op) {
	case QUEUE_COMPLETE:
		q->is.msg = msg_unref(q->is.msg);
		s->n_done += !q->done;
		q->done = true;
		ram_queues_tidy(s);
		break;
	case QUEUE_REMOVE:
		queued_drop(s, (size_t)(q - (struct ram_queued *)s->queued.items));
		break;
	case QUEUE_MARK: q->is.packet_id = w->packet_id; break;
	case QUEUE_RELEASE:
		q->is.msg = msg_unref(q->is.msg);
		q->is.released = true;
		break;
	}
}

static void entry_copy(const struct queue_entry *from, struct queue_entry *to)
{
	*to = *from;
	if (from->msg)
		msg_ref(from->msg);
	to->group = from->group ? strdup(from->group) : NULL;
	if (!from->n_ids)
		return;
	to->ids = malloc(from->n_ids * sizeof(*from->ids));
	if (!to->ids)
		abort();
	memcpy(to->ids, from->ids, from->n_ids * sizeof(*from->ids));
}

static int count_answer(struct ram_store *s, struct queue_load *l)
{
	uint64_t now = clock_ms();

	l->count = 0;
	l->bytes = 0;
	s->tallies++;
	for (size_t i = 0; i < s->queued.n && l->count < l->max_rows; i++) {
		const struct ram_queued *q = AT(queued, ram_queued, i);
		const struct msg *m = q->is.msg;
		bool expired = m && msg_expired(m, now) && !q->is.packet_id;

		if (q->queue != l->queue || q->is.n <= l->after || q->done || expired)
			continue;
		l->count++;
		l->bytes += m ? msg_size(m) : 0;
	}
	return 0;
}

/* Rows lie in the order of their appends, which is that of n in each queue. */
static int load_answer(struct ram_store *s, struct queue_load *l)
{
	size_t bytes = 0;

	l->n = 0;
	l->more = false;
	if (l->count_only)
		return count_answer(s, l);
	l->entries = calloc(l->max_rows, sizeof(*l->entries));
	if (!l->entries)
		return ERR_NOMEM;
	s->loads++;
	for (size_t i = 0; i < s->queued.n; i++) {
		const struct ram_queued *q = AT(queued, ram_queued, i);

		if (q->queue != l->queue || q->is.n <= l->after || q->done)
			continue;
		bytes += q->is.msg ? msg_size(q->is.msg) : 0;
		if (l->n == l->max_rows || (l->n > 0 && bytes > l->max_bytes)) {
			l->more = true;
			break;
		}
		entry_copy(&q->is, &l->entries[l->n++]);
	}
	return 0;
}

/* ---- retained messages ---- */

static int retained_answer(struct ram_store *s, const struct retained_write *w)
{
	struct msg **all = s->retained.items;

	if (is_gone(s, w->msg->device_key))
		return ERR_NOT_FOUND;
	for (size_t i = s->retained.n; i-- > 0;) {
		if (!slice_eq(msg_topic(all[i]), msg_topic(w->msg)))
			continue;
		msg_unref(all[i]);
		ram_array_remove(&s->retained, i, sizeof(struct msg *));
	}
	if (w->msg->payload_len == 0)
		return 0;
	struct msg **slot = ram_array_add(&s->retained, sizeof(struct msg *));
	if (!slot)
		abort();
	*slot = msg_ref(w->msg);
	return 0;
}

/* ---- answers ---- */

size_t ram_kept_bytes(struct ram_waiting w)
{
	const struct session_write *session = w.request;
	const struct queue_append *append = w.request;
	const struct retained_write *retained = w.request;

	switch (w.kind) {
	case RAM_SESSION:
		return sizeof(*session) +
		        (session->row.will.msg ? msg_size(session->row.will.msg) : 0);
	case RAM_SUB: return sizeof(struct sub_write);
	case RAM_APPEND: return sizeof(*append) + msg_size(append->msg);
	case RAM_RETAINED: return sizeof(*retained) + msg_size(retained->msg);
	default: return 0;
	}
}

static int take_effect(struct ram_store *s, struct ram_waiting w)
{
	switch (w.kind) {
	case RAM_SESSION: session_answer(s, w.request); return 0;
	case RAM_SUB: sub_answer(s, w.request); return 0;
	case RAM_APPEND: return append_answer(s, w.request);
	case RAM_QUEUE: queue_answer(s, w.request); return 0;
	case RAM_QUEUE_LOAD: return s->available ? load_answer(s, w.request) : ERR_UNAVAILABLE;
	case RAM_RETAINED: return retained_answer(s, w.request);
	case RAM_NOTE: {
		const struct qos2_note *n = w.request;
		return ram_qos2_note(s, n->device_key, n->session, n->msg);
	}
	default: return ERR_INTERNAL;
	}
}

static void stand_apart(struct ram_store *s, struct queue_load *l)
{
	struct ram_apart *slot = ram_array_add(&s->reads, sizeof(*slot));

	if (!slot)
		abort();
	*slot = (struct ram_apart){.load = l};
}

static void read_apart(struct ram_store *s)
{
	struct ram_apart *all = s->reads.items;

	for (size_t i = 0; i < s->reads.n; i++) {
		if (!all[i].done)
			all[i].load->req.err = s->available ? load_answer(s, all[i].load)
			                                    : ERR_UNAVAILABLE;
		all[i].done = true;
	}
}

void ram_read(struct ram_store *s)
{
	pthread_mutex_lock(&s->mutex);
	read_apart(s);
	pthread_mutex_unlock(&s->mutex);
}

void ram_reads_apart(struct ram_store *s, bool apart)
{
	pthread_mutex_lock(&s->mutex);
	s->reads_apart = apart;
	read_apart(s);
	for (size_t i = 0; i < s->reads.n; i++) {
		struct store_request *r = &((struct ram_apart *)s->reads.items)[i].load->req;
		mail_post(r->reply_to, &r->mail);
	}
	s->reads.n = 0;
	pthread_mutex_unlock(&s->mutex);
}

void ram_kept_answer(struct ram_store *s, struct ram_waiting w)
{
	struct store_request *r = w.request; /* every one begins with it */

	if (s->reads_apart && !s->crashed && w.kind == RAM_QUEUE_LOAD) {
		stand_apart(s, w.request);
		return;
	}
	if (s->crashed) {
		r->err = ERR_CLOSED;
	} else if (s->refuse_kept > 0 && w.kind != RAM_QUEUE_LOAD) {
		s->refuse_kept--;
		r->err = s->refuse_kept_err;
	} else {
		r->err = take_effect(s, w);
	}
	mail_post(r->reply_to, &r->mail);
}

/* ---- start ---- */

static struct queue_stats stats_of(struct ram_store *s, uint64_t queue)
{
	struct queue_stats stats = {0};

	for (size_t i = 0; i < s->queued.n; i++) {
		const struct ram_queued *q = AT(queued, ram_queued, i);

		if (q->queue != queue)
			continue;
		stats.count += !q->done;
		stats.bytes += q->is.msg ? msg_size(q->is.msg) : 0;
		stats.last = q->is.n;
	}
	return stats;
}

static int restore_sessions(struct ram_store *s, const struct session_restore *to)
{
	int err = 0;

	for (size_t i = 0; err == 0 && i < s->sessions.n; i++) {
		const struct ram_session *x = AT(sessions, ram_session, i);
		struct queue_stats stats = stats_of(s, x->id);

		err = to->session(to->ctx, &x->row, &stats);
	}
	for (size_t i = 0; err == 0 && i < s->subs.n; i++) {
		struct ram_sub *sub = AT(subs, ram_sub, i);

		sub->is.filter = slice_str(sub->filter);
		err = to->sub(to->ctx, &sub->is);
	}
	return err;
}

/* A command's topic names its device. */
static struct slice command_device(const struct msg *m)
{
	struct slice rest = slice_from(msg_topic(m), sizeof("devices/") - 1);
	const uint8_t *slash = memchr(rest.p, '/', rest.n);

	rest.n = slash ? (size_t)(slash - rest.p) : rest.n;
	return rest;
}

static int restore_commands(struct ram_store *s, const struct session_restore *to)
{
	int err = 0;

	for (size_t i = 0; err == 0 && i < s->queued.n; i++) {
		const struct ram_queued *q = AT(queued, ram_queued, i);
		bool first = (q->queue & COMMAND_QUEUE(0)) != 0;

		for (size_t k = 0; k < i; k++)
			first = first && AT(queued, ram_queued, k)->queue != q->queue;
		if (!first || !q->is.msg)
			continue;
		struct queue_stats stats = stats_of(s, q->queue);
		err = to->commands(
		        to->ctx, q->queue & ~COMMAND_QUEUE(0), command_device(q->is.msg), &stats);
	}
	return err;
}

static int restore(void *ctx, const struct session_restore *to)
{
	struct ram_store *s = ctx;
	int err;

	pthread_mutex_lock(&s->mutex);
	err = s->available ? 0 : ERR_UNAVAILABLE;
	if (err == 0)
		err = restore_sessions(s, to);
	if (err == 0)
		err = restore_commands(s, to);
	for (size_t i = 0; err == 0 && i < s->retained.n; i++) {
		struct msg *m = ((struct msg **)s->retained.items)[i];
		const struct device_record *d = ram_device_of(s, m->device_key);

		err = to->retained(to->ctx, m, slice_str(d ? d->id : NULL));
	}
	pthread_mutex_unlock(&s->mutex);
	return err;
}

/* ---- the port ---- */

static void session_write(void *ctx, struct session_write *w)
{
	ram_request(ctx, (struct ram_waiting){RAM_SESSION, w});
}
static void sub_write(void *ctx, struct sub_write *w)
{
	ram_request(ctx, (struct ram_waiting){RAM_SUB, w});
}
static void queue_append(void *ctx, struct queue_append *a)
{
	ram_request(ctx, (struct ram_waiting){RAM_APPEND, a});
}
static void queue_write(void *ctx, struct queue_write *w)
{
	ram_request(ctx, (struct ram_waiting){RAM_QUEUE, w});
}
static void queue_load(void *ctx, struct queue_load *l)
{
	ram_request(ctx, (struct ram_waiting){RAM_QUEUE_LOAD, l});
}
static void retained_write(void *ctx, struct retained_write *w)
{
	ram_request(ctx, (struct ram_waiting){RAM_RETAINED, w});
}
static void qos2_note(void *ctx, struct qos2_note *n)
{
	ram_request(ctx, (struct ram_waiting){RAM_NOTE, n});
}

struct session_store ram_sessions(struct ram_store *s)
{
	return (struct session_store){
	        .ctx = s,
	        .session_write = session_write,
	        .sub_write = sub_write,
	        .queue_append = queue_append,
	        .queue_write = queue_write,
	        .queue_load = queue_load,
	        .retained_write = retained_write,
	        .qos2_note = qos2_note,
	        .restore = restore,
	};
}

void ram_device_gone(struct ram_store *s, uint64_t device_key)
{
	pthread_mutex_lock(&s->mutex);
	uint64_t *slot = ram_array_add(&s->gone, sizeof(*slot));
	if (!slot)
		abort();
	*slot = device_key;
	for (size_t i = s->sessions.n; i-- > 0;) {
		const struct ram_session *x = AT(sessions, ram_session, i);

		if (x->row.principal->device_key == device_key)
			session_forget(s, x->id);
	}
	for (size_t i = s->queued.n; i-- > 0;) {
		struct ram_queued *q = AT(queued, ram_queued, i);

		if (q->queue == COMMAND_QUEUE(device_key))
			queued_drop(s, i);
		else if (q->origin.device_key ==
		        device_key) /* its key is gone: not readable any more */
			q->is.msg = msg_unref(q->is.msg);
	}
	pthread_mutex_unlock(&s->mutex);
}

struct ram_counts ram_count(struct ram_store *s)
{
	pthread_mutex_lock(&s->mutex);
	struct ram_counts c = {
	        .sessions = s->sessions.n,
	        .subs = s->subs.n,
	        .queued = s->queued.n - s->n_done,
	        .done = s->n_done,
	        .retained = s->retained.n,
	        .appends = s->appends,
	        .written = s->written,
	        .loads = s->loads,
	        .tallies = s->tallies,
	        .waiting = s->waiting.n,
	};
	for (size_t i = 0; i < s->sessions.n; i++)
		c.wills += AT(sessions, ram_session, i)->row.will.msg != NULL;
	for (size_t i = 0; i < s->queued.n; i++) {
		c.marked += AT(queued, ram_queued, i)->is.packet_id != 0 &&
		        !AT(queued, ram_queued, i)->done;
		c.released += AT(queued, ram_queued, i)->is.released &&
		        !AT(queued, ram_queued, i)->done;
	}
	pthread_mutex_unlock(&s->mutex);
	return c;
}

const char *ram_will(struct ram_store *s, const char *client_id)
{
	static _Thread_local char text[64];

	text[0] = '\0';
	pthread_mutex_lock(&s->mutex);
	for (size_t i = 0; i < s->sessions.n; i++) {
		const struct session_row *row = &AT(sessions, ram_session, i)->row;

		if (row->will.msg &&
		        slice_eq_str(slice_from(row->key, row->client_id_off), client_id))
			snprintf(text, sizeof(text), "%.*s", SLICE_ARG(msg_payload(row->will.msg)));
	}
	pthread_mutex_unlock(&s->mutex);
	return text;
}

void ram_sessions_free(struct ram_store *s)
{
	while (s->sessions.n > 0)
		session_drop(s, s->sessions.n - 1);
	while (s->subs.n > 0)
		sub_drop(s, s->subs.n - 1);
	while (s->queued.n > 0)
		queued_drop(s, s->queued.n - 1);
	for (size_t i = 0; i < s->retained.n; i++)
		msg_unref(((struct msg **)s->retained.items)[i]);
	free(s->sessions.items);
	free(s->subs.items);
	free(s->queued.items);
	free(s->retained.items);
	free(s->gone.items);
	free(s->reads.items);
}
