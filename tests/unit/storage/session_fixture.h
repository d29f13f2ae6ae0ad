/* Requests of the sessions' port for tests: made, sent, waited for; queues read back; what restore
 * tells, as text. */
#ifndef HF_TESTS_SESSION_FIXTURE_H
#define HF_TESTS_SESSION_FIXTURE_H

#include <stdarg.h>

#include "tests/unit/storage/pg_fixture.h"

#include "server/base/principal.h"

struct sx {
	struct fx_store f;
	struct session_store port;
	unsigned asked, answered;
};

static struct sx sx;

static void sx_answered(struct mail *m HF_UNUSED)
{
	sx.answered++;
}

HF_UNUSED static void sx_start(void)
{
	memset(&sx, 0, sizeof(sx));
	fx_store_start(&sx.f, NULL);
	sx.port = storage_sessions(sx.f.storage);
}

/* The hub is killed and starts anew on the same database. */
HF_UNUSED static void sx_restart(void)
{
	static const struct storage_changes none;

	storage_stop(sx.f.storage, clock_ms() + 5000);
	storage_free(sx.f.storage);
	fx_open(&sx.f);
	ck_assert_int_eq(storage_start(sx.f.storage, &none), 0);
	sx.port = storage_sessions(sx.f.storage);
}

static struct store_request sx_request(void)
{
	sx.asked++;
	return (struct store_request){
	        .mail = {.deliver = sx_answered}, .reply_to = &sx.f.box, .err = 1};
}

/* Until everything that was asked has its answer. */
HF_UNUSED static void sx_wait(void)
{
	ck_assert(fx_wait(&sx.f, &sx.answered, sx.asked, 15000));
}

/* ---- messages, queues ---- */

HF_UNUSED static struct msg *sx_msg(uint64_t device_key, const char *topic, const char *payload)
{
	struct msg *m = msg_new(slice_str(topic), SLICE_LIT("\x01\x01"), slice_str(payload));

	m->qos = 1;
	m->received_us = clock_wall_us();
	m->device_key = device_key;
	return m;
}

HF_UNUSED static void sx_send_append(
        struct queue_append *a, uint64_t queue, uint64_t n, struct msg *m)
{
	*a = (struct queue_append){
	        .req = sx_request(), .queue = queue, .n = n, .msg = m, .qos = m->qos};
	sx.port.queue_append(sx.port.ctx, a);
}

HF_UNUSED static int sx_append(uint64_t queue, uint64_t n, uint64_t device_key, const char *payload)
{
	struct msg *m = sx_msg(device_key, "t/1", payload);
	struct queue_append a;

	sx_send_append(&a, queue, n, m);
	sx_wait();
	msg_unref(m);
	return a.req.err;
}

HF_UNUSED static void sx_send_change(
        struct queue_write *w, enum queue_op op, uint64_t queue, uint64_t n)
{
	*w = (struct queue_write){
	        .req = sx_request(), .op = op, .queue = queue, .n = n, .packet_id = 77};
	sx.port.queue_write(sx.port.ctx, w);
}

HF_UNUSED static void sx_change(enum queue_op op, uint64_t queue, uint64_t n)
{
	struct queue_write w;

	sx_send_change(&w, op, queue, n);
	sx_wait();
	ck_assert_int_eq(w.req.err, 0);
}

HF_UNUSED static void sx_send_load(
        struct queue_load *l, uint64_t queue, uint64_t after, unsigned rows)
{
	*l = (struct queue_load){.req = sx_request(),
	        .queue = queue,
	        .after = after,
	        .max_rows = rows,
	        .max_bytes = 1 << 20};
	sx.port.queue_load(sx.port.ctx, l);
}

/* "n:payload …"; "n:!" not readable, "n:-" released; "…" at the end: there are more. */
HF_UNUSED static const char *sx_text(const struct queue_load *l)
{
	static char text[8192];
	size_t at = 0;

	text[0] = '\0';
	for (unsigned i = 0; i < l->n; i++) {
		const struct queue_entry *e = &l->entries[i];
		struct slice payload = e->msg ? msg_payload(e->msg)
		                              : slice_str(e->released ? "-" : "!");

		at += (size_t)snprintf(text + at, sizeof(text) - at, "%s%d:%.*s", i ? " " : "",
		        (int)e->n, SLICE_ARG(payload));
	}
	if (l->more)
		snprintf(text + at, sizeof(text) - at, "...");
	return text;
}

HF_UNUSED static const char *sx_queue(uint64_t queue)
{
	struct queue_load l;

	sx_send_load(&l, queue, 0, 100);
	sx_wait();
	ck_assert_int_eq(l.req.err, 0);
	const char *text = sx_text(&l);
	queue_entries_free(l.entries, l.n);
	return text;
}

/* ---- sessions ---- */

HF_UNUSED static struct principal *sx_principal(const char *id, uint64_t device_key)
{
	struct principal *p = principal_new(
	        device_key ? PRINCIPAL_DEVICE : PRINCIPAL_KEY, slice_str(id), SLICE_LIT("device"));

	p->device_key = device_key;
	p->perms = PERM_SERVICE_CONNECT;
	p->expires_at = 4000000000;
	p->via_key = true;
	memset(p->credential_tag, 'c', sizeof(p->credential_tag));
	return p;
}

HF_UNUSED static void sx_send_session(
        struct session_write *w, enum session_op op, const struct session_row *row)
{
	*w = (struct session_write){.req = sx_request(), .op = op, .row = *row};
	sx.port.session_write(sx.port.ctx, w);
}

HF_UNUSED static int sx_session(enum session_op op, const struct session_row *row)
{
	struct session_write w;

	sx_send_session(&w, op, row);
	sx_wait();
	return w.req.err;
}

HF_UNUSED static void sx_send_sub(
        struct sub_write *w, uint64_t session, const char *filter, uint8_t qos, bool remove)
{
	*w = (struct sub_write){.req = sx_request(),
	        .session_id = session,
	        .remove = remove,
	        .filter = slice_str(filter),
	        .qos = qos,
	        .no_local = qos == 1,
	        .retain_as_published = qos == 2,
	        .id = 5};
	sx.port.sub_write(sx.port.ctx, w);
}

HF_UNUSED static int sx_sub(uint64_t session, const char *filter, uint8_t qos, bool remove)
{
	struct sub_write w;

	sx_send_sub(&w, session, filter, qos, remove);
	sx_wait();
	return w.req.err;
}

HF_UNUSED static int sx_retain(uint64_t device_key, const char *topic, const char *payload)
{
	struct msg *m = sx_msg(device_key, topic, payload);
	struct retained_write w = {.req = sx_request(), .msg = m};

	m->retain = true;
	sx.port.retained_write(sx.port.ctx, &w);
	sx_wait();
	msg_unref(m);
	return w.req.err;
}

/* A session for each queue: what belongs to none is swept away. */
HF_UNUSED static void sx_sessions(uint64_t first, unsigned n)
{
	struct principal *p = sx_principal("backend", 0);

	for (unsigned i = 0; i < n; i++) {
		char key[32];

		snprintf(key, sizeof(key), "K/%d", (int)(first + i));
		struct session_row row = {
		        .id = first + i, .key = slice_str(key), .principal = p, .expiry = 60};
		ck_assert_int_eq(sx_session(SESSION_PUT, &row), 0);
	}
	principal_unref(p);
}

/* ---- restore, as text ---- */

static struct {
	char text[8192];
	size_t at;
	unsigned sessions, subs, stop_after;
} told;

__attribute__((format(printf, 1, 2))) static void tell(const char *fmt, ...)
{
	va_list args;

	if (told.at >= sizeof(told.text) - 1)
		return;
	va_start(args, fmt);
	told.at += (size_t)vsnprintf(told.text + told.at, sizeof(told.text) - told.at, fmt, args);
	va_end(args);
}

static int told_session(
        void *ctx HF_UNUSED, const struct session_row *r, const struct queue_stats *q)
{
	const struct principal *p = r->principal;

	told.sessions++;
	tell("S %.*s+%u %s %.*s/%.*s d%d p%x e%d t%c v%d expiry=%u off=%d", SLICE_ARG(r->key),
	        r->client_id_off, principal_kind_name(p->kind), SLICE_ARG(principal_id(p)),
	        SLICE_ARG(principal_key_name(p)), (int)p->device_key, p->perms,
	        (int)(p->expires_at == 4000000000), p->credential_tag[7], p->via_key, r->expiry,
	        r->offline_us != 0);
	if (r->will.msg)
		tell(" will=%.*s:%.*s,%u,%d,%u", SLICE_ARG(msg_topic(r->will.msg)),
		        SLICE_ARG(msg_payload(r->will.msg)), r->will.delay, r->will.has_expiry,
		        r->will.expiry);
	tell(" q=%u,%d,%d\n", q->count, q->bytes > 0, (int)q->last);
	return told.stop_after && told.sessions == told.stop_after ? ERR_CLOSED : 0;
}

static int told_sub(void *ctx HF_UNUSED, const struct sub_write *s)
{
	told.subs++;
	tell("F %.*s %u%s%s %u\n", SLICE_ARG(s->filter), s->qos, s->no_local ? " nl" : "",
	        s->retain_as_published ? " rap" : "", s->id);
	return 0;
}

static int told_commands(
        void *ctx HF_UNUSED, uint64_t key HF_UNUSED, struct slice id, const struct queue_stats *q)
{
	tell("C %.*s %u,%d\n", SLICE_ARG(id), q->count, (int)q->last);
	return 0;
}

static int told_retained(void *ctx HF_UNUSED, struct msg *m, struct slice device_id)
{
	tell("R %.*s=%.*s %u%d%d%s%.*s\n", SLICE_ARG(msg_topic(m)), SLICE_ARG(msg_payload(m)),
	        m->qos, m->retain, m->expires, device_id.n ? " " : "", SLICE_ARG(device_id));
	return 0;
}

HF_UNUSED static int sx_restore_err(unsigned stop_after)
{
	const struct session_restore to = {.session = told_session,
	        .sub = told_sub,
	        .commands = told_commands,
	        .retained = told_retained};

	memset(&told, 0, sizeof(told));
	told.stop_after = stop_after;
	return sx.port.restore(sx.port.ctx, &to);
}

HF_UNUSED static const char *sx_restore(void)
{
	ck_assert_int_eq(sx_restore_err(0), 0);
	return told.text;
}

#endif
