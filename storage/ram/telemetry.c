/* The broker's port: rows, and the packet ids of unreleased QoS 2 messages. */
#include <stdlib.h>

#include "server/base/crypto.h"
#include "server/base/err.h"
#include "storage/ram/private.h"

static size_t row_bytes(const struct telemetry_row *row)
{
	return sizeof(*row) + msg_size(row->msg);
}

static bool same_session(const struct ram_qos2 *q, uint64_t device_key, struct slice session)
{
	return q->device_key == device_key &&
	        slice_eq(slice_make(q->session, q->session_len), session);
}

static void qos2_forget(
        struct ram_store *s, uint64_t device_key, struct slice session, unsigned packet_id)
{
	for (size_t i = s->qos2.n; i-- > 0;) {
		struct ram_qos2 *q = (struct ram_qos2 *)s->qos2.items + i;

		if (same_session(q, device_key, session) &&
		        (packet_id == 0 || packet_id == q->id.packet_id)) {
			free(q->session);
			ram_array_remove(&s->qos2, i, sizeof(*q));
		}
	}
}

void ram_qos2_tag(void *ctx, const struct msg *m, uint8_t tag[8])
{
	uint8_t mac[32];
	struct ram_store *s = ctx;

	crypto_hmac_sha256(slice_make(s->mac_key, 32), msg_topic(m), msg_payload(m), mac);
	memcpy(tag, mac, 8);
}

int ram_qos2_note(
        struct ram_store *s, uint64_t device_key, struct slice session, const struct msg *m)
{
	qos2_forget(s, device_key, session, m->packet_id);

	struct ram_qos2 *q = ram_array_add(&s->qos2, sizeof(*q));
	if (!q)
		return ERR_NOMEM;
	q->device_key = device_key;
	q->session = strndup((const char *)session.p, session.n);
	q->session_len = session.n;
	q->id.packet_id = m->packet_id;
	q->id.received_us = m->received_us;
	ram_qos2_tag(s, m, q->id.tag);
	ram_queues_tidy(s);
	return q->session ? 0 : ERR_NOMEM;
}

static int keep(struct ram_store *s, const struct telemetry_row *row)
{
	struct ram_stored *r = ram_array_add(&s->rows, sizeof(*r));

	if (!r)
		return ERR_NOMEM;
	r->names = malloc(row->topic.n + row->module.n + 1);
	if (!r->names) {
		s->rows.n--;
		return ERR_NOMEM;
	}
	memcpy(r->names, row->topic.p, row->topic.n);
	if (row->module.n > 0)
		memcpy(r->names + row->topic.n, row->module.p, row->module.n);
	r->topic_len = row->topic.n;
	r->module_len = row->module.n;
	r->device_key = row->device_key;
	r->msg = msg_ref(row->msg);
	return row->qos2 ? ram_qos2_note(s, row->device_key, row->session, row->msg) : 0;
}

bool ram_qos2_noted(const struct ram_store *s, const struct ram_origin *o)
{
	const struct ram_qos2 *q = s->qos2.items;

	for (size_t i = 0; o->packet_id && i < s->qos2.n; i++)
		if (q[i].device_key == o->device_key && q[i].id.packet_id == o->packet_id &&
		        q[i].id.received_us <= o->received_us &&
		        memcmp(q[i].id.tag, o->tag, sizeof(o->tag)) == 0)
			return true;
	return false;
}

static void answer_row(struct ram_store *s, struct telemetry_row *row)
{
	if (s->crashed) {
		row->err = ERR_CLOSED;
	} else if (s->refuse > 0) {
		s->refuse--;
		row->err = s->refuse_err;
	} else {
		row->err = keep(s, row);
	}
	mail_post(row->reply_to, &row->mail);
}

static void answer_release(struct ram_store *s, struct qos2_release *r)
{
	if (!s->crashed)
		qos2_forget(s, r->device_key, r->session, r->all ? 0 : r->packet_id);
	ram_queues_tidy(s);
	r->err = s->crashed ? ERR_CLOSED : 0;
	mail_post(r->reply_to, &r->mail);
}

static void answer_load(struct ram_store *s, struct qos2_load *l)
{
	l->ids = NULL;
	l->n = 0;
	l->err = s->available ? 0 : ERR_UNAVAILABLE;
	if (s->available && s->qos2.n > 0) {
		const struct ram_qos2 *q = s->qos2.items;

		l->ids = calloc(s->qos2.n, sizeof(*l->ids));
		for (size_t i = 0; l->ids && i < s->qos2.n; i++)
			if (same_session(&q[i], l->device_key, l->session))
				l->ids[l->n++] = q[i].id;
		l->err = l->ids ? 0 : ERR_NOMEM;
	}
	mail_post(l->reply_to, &l->mail);
}

/* What a request counts for as long as it waits. */
static size_t bytes_of(struct ram_waiting w)
{
	return w.kind == RAM_ROW ? row_bytes(w.request) : ram_kept_bytes(w);
}

static void answer(struct ram_store *s, struct ram_waiting w)
{
	s->backlog -= bytes_of(w);
	switch (w.kind) {
	case RAM_ROW: answer_row(s, w.request); break;
	case RAM_RELEASE: answer_release(s, w.request); break;
	case RAM_LOAD: answer_load(s, w.request); break;
	case RAM_LOOKUP: ram_lookup_answer(s, w.request); break;
	default: ram_kept_answer(s, w); break;
	}
}

/* Writes wait for the database, reads are refused without it. */
static bool must_wait(const struct ram_store *s, const struct ram_waiting *w)
{
	bool read = w->kind == RAM_LOAD || w->kind == RAM_LOOKUP || w->kind == RAM_QUEUE_LOAD;

	return !s->crashed &&
	        (s->hold || (s->hold_appends && w->kind == RAM_APPEND) || (!s->available && !read));
}

void ram_request(struct ram_store *s, struct ram_waiting w)
{
	pthread_mutex_lock(&s->mutex);
	s->backlog += bytes_of(w);
	if (must_wait(s, &w)) {
		struct ram_waiting *slot = ram_array_add(&s->waiting, sizeof(*slot));

		if (!slot)
			abort();
		*slot = w;
	} else {
		answer(s, w);
	}
	pthread_mutex_unlock(&s->mutex);
}

static void let_go(struct ram_store *s)
{
	struct ram_waiting *all = s->waiting.items;
	size_t kept = 0;

	for (size_t i = 0; i < s->waiting.n; i++) {
		if (must_wait(s, &all[i]))
			all[kept++] = all[i];
		else
			answer(s, all[i]);
	}
	s->waiting.n = kept;
}

void ram_set_available(struct ram_store *s, bool available)
{
	pthread_mutex_lock(&s->mutex);
	s->available = available;
	let_go(s);
	pthread_mutex_unlock(&s->mutex);
}

void ram_set_hold(struct ram_store *s, bool hold)
{
	pthread_mutex_lock(&s->mutex);
	s->hold = hold;
	let_go(s);
	pthread_mutex_unlock(&s->mutex);
}

void ram_hold_appends(struct ram_store *s, bool hold)
{
	pthread_mutex_lock(&s->mutex);
	s->hold_appends = hold;
	let_go(s);
	pthread_mutex_unlock(&s->mutex);
}

void ram_commit(struct ram_store *s, unsigned n)
{
	pthread_mutex_lock(&s->mutex);
	for (; n > 0 && s->waiting.n > 0; n--) {
		struct ram_waiting first = *(struct ram_waiting *)s->waiting.items;

		ram_array_remove(&s->waiting, 0, sizeof(first));
		answer(s, first);
	}
	pthread_mutex_unlock(&s->mutex);
}

void ram_crash(struct ram_store *s)
{
	pthread_mutex_lock(&s->mutex);
	s->crashed = true;
	let_go(s);
	pthread_mutex_unlock(&s->mutex);
}

void ram_revive(struct ram_store *s)
{
	pthread_mutex_lock(&s->mutex);
	s->crashed = false;
	pthread_mutex_unlock(&s->mutex);
}

static void append(void *ctx, struct telemetry_row *row)
{
	ram_request(ctx, (struct ram_waiting){.kind = RAM_ROW, .request = row});
}

static void qos2_release(void *ctx, struct qos2_release *r)
{
	ram_request(ctx, (struct ram_waiting){.kind = RAM_RELEASE, .request = r});
}

static void qos2_load(void *ctx, struct qos2_load *l)
{
	ram_request(ctx, (struct ram_waiting){.kind = RAM_LOAD, .request = l});
}

static size_t backlog_bytes(void *ctx)
{
	struct ram_store *s = ctx;

	pthread_mutex_lock(&s->mutex);
	size_t n = s->backlog;
	pthread_mutex_unlock(&s->mutex);
	return n;
}

struct telemetry_store ram_telemetry(struct ram_store *s)
{
	return (struct telemetry_store){
	        .ctx = s,
	        .append = append,
	        .qos2_release = qos2_release,
	        .qos2_load = qos2_load,
	        .qos2_tag = ram_qos2_tag,
	        .backlog_bytes = backlog_bytes,
	};
}

size_t ram_row_count(struct ram_store *s)
{
	pthread_mutex_lock(&s->mutex);
	size_t n = s->rows.n;
	pthread_mutex_unlock(&s->mutex);
	return n;
}

bool ram_row_get(struct ram_store *s, size_t i, struct ram_row *ret)
{
	pthread_mutex_lock(&s->mutex);
	bool found = i < s->rows.n;
	if (found) {
		const struct ram_stored *r = (const struct ram_stored *)s->rows.items + i;

		*ret = (struct ram_row){
		        .device_key = r->device_key,
		        .qos = r->msg->qos,
		        .received_us = r->msg->received_us,
		        .topic = slice_make(r->names, r->topic_len),
		        .module = slice_make(r->names + r->topic_len, r->module_len),
		        .props = msg_props(r->msg),
		        .payload = msg_payload(r->msg),
		};
	}
	pthread_mutex_unlock(&s->mutex);
	return found;
}

size_t ram_qos2_count(struct ram_store *s)
{
	pthread_mutex_lock(&s->mutex);
	size_t n = s->qos2.n;
	pthread_mutex_unlock(&s->mutex);
	return n;
}
