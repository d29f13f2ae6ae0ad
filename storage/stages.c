/*
 * The statements of a lane's transaction behind that of the telemetry rows, in the order in which
 * they are done: packet ids; sessions made and touched; subscriptions; queues: appended, marked,
 * released, removed; sessions ended; retained messages. One statement takes all of a batch.
 */
#include "server/base/err.h"
#include "storage/lane.h"
#include "storage/session_record.h"

#define BIT(kind) (1u << (kind))
#define ORIGIN_LEN (2 + 8)

/* ---- elements, one column after the other ---- */

struct filling {
	struct buf *next;
	int err; /* the first one */
};

static void add_i64(struct filling *f, int64_t v)
{
	if (f->err == 0)
		f->err = pg_array_i64(f->next++, v);
}

static void add_i32(struct filling *f, int32_t v)
{
	if (f->err == 0)
		f->err = pg_array_i32(f->next++, v);
}

static void add_bool(struct filling *f, bool v)
{
	if (f->err == 0)
		f->err = pg_array_bool(f->next++, v);
}

static void add_bytes(struct filling *f, struct slice s)
{
	if (f->err == 0)
		f->err = pg_array_bytes(f->next++, s);
}

static void add_null(struct filling *f)
{
	if (f->err == 0)
		f->err = pg_array_null(f->next++);
}

static void add_time(struct filling *f, int64_t us)
{
	add_i64(f, session_time(us) - PG_EPOCH_US);
}

static void add_expiry(struct filling *f, const struct msg *m)
{
	if (m->expires)
		add_time(f, message_expires_us(m));
	else
		add_null(f);
}

static struct slice sealed_of(const struct lane *l, const struct item *item)
{
	return slice_make(
	        l->batch.sealed.data + l->batch.sealed.start + item->sealed_at, item->sealed_n);
}

/* ---- packet ids ---- */

/* Packet id 0, which no message has, stands for all of a session. */
static bool fill_forget(struct lane *l HF_UNUSED, const struct item *item, struct filling *f)
{
	const struct qos2_release *r = container_of(item->mail, struct qos2_release, mail);

	add_i64(f, (int64_t)r->device_key);
	add_bytes(f, r->session);
	add_i32(f, r->all ? 0 : r->packet_id);
	return true;
}

static void fill_id(const struct lane *l, uint64_t device_key, struct slice session,
        const struct msg *m, struct filling *f)
{
	uint8_t tag[8];

	keyring_qos2_tag(l->s->keyring, msg_topic(m), msg_payload(m), tag);
	add_bytes(f, slice_make(tag, sizeof(tag)));
	add_time(f, m->received_us);
	add_i64(f, (int64_t)device_key);
	add_bytes(f, session);
}

static bool fill_note(struct lane *l, const struct item *item, struct filling *f)
{
	if (item->kind == KIND_NOTE) {
		const struct qos2_note *n = item_request(item, struct qos2_note);

		fill_id(l, n->device_key, n->session, n->msg, f);
		add_i32(f, n->msg->packet_id);
		return true;
	}
	const struct telemetry_row *row = item_row(item);
	if (!item->sealed || !row->qos2)
		return false;
	fill_id(l, row->device_key, row->session, row->msg, f);
	add_i32(f, row->packet_id);
	return true;
}

/* ---- sessions ---- */

static const struct session_write *session_of(const struct item *item, enum session_op op)
{
	const struct session_write *w = item_request(item, struct session_write);

	return w->op == op ? w : NULL;
}

static bool fill_displace(struct lane *l HF_UNUSED, const struct item *item, struct filling *f)
{
	const struct session_write *w = session_of(item, SESSION_PUT);

	if (!w)
		return false;
	add_i64(f, (int64_t)w->row.id);
	add_bytes(f, w->row.key);
	return true;
}

static void add_offline(struct filling *f, int64_t offline_us)
{
	if (offline_us != 0)
		add_time(f, offline_us);
	else
		add_null(f);
}

static void add_will(struct lane *l, const struct item *item, struct filling *f)
{
	if (item->will_n == 0) {
		add_null(f);
		add_null(f);
		add_null(f);
		return;
	}
	add_i64(f, (int64_t)item->device_key);
	add_i64(f, item->key_id);
	add_bytes(f, slice_make(sealed_of(l, item).p + item->sealed_n, item->will_n));
}

static bool fill_put(struct lane *l, const struct item *item, struct filling *f)
{
	const struct session_write *w = session_of(item, SESSION_PUT);

	if (!w)
		return false;
	const struct principal *p = w->row.principal;
	add_i64(f, (int64_t)w->row.id);
	add_bytes(f, w->row.key);
	add_i64(f, p->kind == PRINCIPAL_DEVICE ? (int64_t)p->device_key : 0);
	add_i64(f, w->row.expiry);
	add_offline(f, w->row.offline_us);
	add_bytes(f, sealed_of(l, item));
	add_will(l, item, f);
	return true;
}

static bool fill_touch(struct lane *l HF_UNUSED, const struct item *item, struct filling *f)
{
	const struct session_write *w = session_of(item, SESSION_TOUCH);

	if (!w)
		return false;
	add_i64(f, (int64_t)w->row.id);
	add_i64(f, w->row.expiry);
	add_offline(f, w->row.offline_us);
	add_bool(f, w->row.will.msg != NULL);
	return true;
}

static bool fill_end(struct lane *l HF_UNUSED, const struct item *item, struct filling *f)
{
	const struct session_write *w = session_of(item, SESSION_END);

	if (w)
		add_i64(f, (int64_t)w->row.id);
	return w;
}

static bool fill_unsub(struct lane *l HF_UNUSED, const struct item *item, struct filling *f)
{
	const struct sub_write *w = item_request(item, struct sub_write);

	if (!w->remove)
		return false;
	add_i64(f, (int64_t)w->session_id);
	add_bytes(f, w->filter);
	return true;
}

static bool fill_sub(struct lane *l HF_UNUSED, const struct item *item, struct filling *f)
{
	const struct sub_write *w = item_request(item, struct sub_write);

	if (w->remove)
		return false;
	add_i64(f, (int64_t)w->session_id);
	add_bytes(f, w->filter);
	add_i32(f,
	        w->qos | (w->no_local ? SUB_NO_LOCAL : 0) |
	                (w->retain_as_published ? SUB_RETAIN_AS_PUBLISHED : 0));
	add_i64(f, w->id);
	return true;
}

/* ---- queues ---- */

/* Most messages have none of the columns that may be NULL: theirs is a narrower statement. */
static bool is_plain(const struct queue_append *a)
{
	return a->packet_id == 0 && !a->msg->expires && a->msg->qos < 2;
}

static void add_message(
        struct lane *l, const struct item *item, const struct queue_append *a, struct filling *f)
{
	add_i64(f, (int64_t)a->queue);
	add_i64(f, (int64_t)a->n);
	add_i64(f, (int64_t)item->device_key);
	add_i64(f, item->key_id);
	add_time(f, a->msg->received_us);
	add_bytes(f, sealed_of(l, item));
}

static bool fill_append(struct lane *l, const struct item *item, struct filling *f)
{
	const struct queue_append *a = item_request(item, struct queue_append);

	if (!is_plain(a))
		return false;
	add_message(l, item, a, f);
	return true;
}

static void add_origin(struct lane *l, const struct msg *m, struct filling *f)
{
	uint8_t origin[ORIGIN_LEN] = {(uint8_t)(m->packet_id >> 8), (uint8_t)m->packet_id};

	if (m->qos < 2) {
		add_null(f);
		return;
	}
	keyring_qos2_tag(l->s->keyring, msg_topic(m), msg_payload(m), origin + 2);
	add_bytes(f, slice_make(origin, sizeof(origin)));
}

static void add_full(
        struct lane *l, const struct item *item, const struct queue_append *a, struct filling *f)
{
	add_message(l, item, a, f);
	add_expiry(f, a->msg);
	if (a->packet_id != 0)
		add_i32(f, a->packet_id);
	else
		add_null(f);
	add_origin(l, a->msg, f);
}

static bool is_again(const struct msg *m)
{
	return m->again && m->qos == 2;
}

static bool fill_append_full(struct lane *l, const struct item *item, struct filling *f)
{
	const struct queue_append *a = item_request(item, struct queue_append);

	if (is_plain(a) || is_again(a->msg))
		return false;
	add_full(l, item, a, f);
	return true;
}

static bool fill_append_again(struct lane *l, const struct item *item, struct filling *f)
{
	const struct queue_append *a = item_request(item, struct queue_append);

	if (!is_again(a->msg))
		return false;
	add_full(l, item, a, f);
	return true;
}

static const struct queue_write *change_of(
        const struct item *item, enum queue_op op, struct filling *f)
{
	const struct queue_write *w = item_request(item, struct queue_write);

	if (w->op != op)
		return NULL;
	add_i64(f, (int64_t)w->queue);
	add_i64(f, (int64_t)w->n);
	return w;
}

static bool fill_mark(struct lane *l HF_UNUSED, const struct item *item, struct filling *f)
{
	const struct queue_write *w = change_of(item, QUEUE_MARK, f);

	if (w)
		add_i32(f, w->packet_id);
	return w;
}

static bool fill_release(struct lane *l HF_UNUSED, const struct item *item, struct filling *f)
{
	return change_of(item, QUEUE_RELEASE, f);
}

static bool fill_remove(struct lane *l HF_UNUSED, const struct item *item, struct filling *f)
{
	return change_of(item, QUEUE_REMOVE, f);
}

static bool fill_complete(struct lane *l HF_UNUSED, const struct item *item, struct filling *f)
{
	return change_of(item, QUEUE_COMPLETE, f);
}

/* ---- retained messages ---- */

static bool fill_clear(struct lane *l, const struct item *item, struct filling *f)
{
	const struct msg *m = item_request(item, struct retained_write)->msg;
	uint8_t mac[TOPIC_MAC_LEN];

	if (m->payload_len > 0)
		return false;
	topic_mac(l, msg_topic(m), mac);
	add_bytes(f, slice_make(mac, sizeof(mac)));
	return true;
}

static bool fill_retain(struct lane *l, const struct item *item, struct filling *f)
{
	const struct msg *m = item_request(item, struct retained_write)->msg;
	uint8_t mac[TOPIC_MAC_LEN];

	if (m->payload_len == 0)
		return false;
	topic_mac(l, msg_topic(m), mac);
	add_bytes(f, slice_make(mac, sizeof(mac)));
	add_i64(f, (int64_t)item->device_key);
	add_i64(f, item->key_id);
	add_time(f, m->received_us);
	add_expiry(f, m);
	add_bytes(f, sealed_of(l, item));
	return true;
}

/* ---- the table ---- */

/* unnest in select lists, not in FROM: there each array is first spooled into a table of its own.
 */
#define MESSAGE_COLUMNS "queue, n, device_key, key_id, received_at, sealed"
#define MESSAGE_VALUES                                                      \
	"unnest($1::bigint[]), unnest($2::bigint[]), unnest($3::bigint[])," \
	" unnest($4::bigint[]), unnest($5::timestamptz[]), unnest($6::bytea[])"
#define APPEND "INSERT INTO holdfast.queue (" MESSAGE_COLUMNS ") SELECT " MESSAGE_VALUES
#define APPEND_FULL                                                                       \
	"INSERT INTO holdfast.queue (" MESSAGE_COLUMNS ", expires_at, packet_id, origin)" \
	" SELECT " MESSAGE_VALUES                                                         \
	", unnest($7::timestamptz[]), unnest($8::integer[]), unnest($9::bytea[])"
#define HAD_BEFORE QUEUE_ORIGIN_NOTED("h", "i")
#define MAY_COME_AGAIN QUEUE_ORIGIN_NOTED("q", "i")
#define ONCE " ON CONFLICT (queue, n) DO NOTHING"
#define NUMBERS "(SELECT unnest($1::bigint[]) AS queue, unnest($2::bigint[]) AS n) r"

const struct stage stages[] = {
        {"forget_ids",
                "DELETE FROM holdfast.qos2_ids q"
                " USING unnest($1::bigint[], $2::text[], $3::integer[]) r(d, s, p)"
                " WHERE q.device_key = r.d AND q.session = r.s"
                " AND (r.p = 0 OR q.packet_id = r.p)",
                NULL, NULL, BIT(KIND_RELEASE), 3, {PG_INT8, PG_TEXT, PG_INT4}, fill_forget},
        {"note_ids",
                "INSERT INTO holdfast.qos2_ids (device_key, session, packet_id, tag, received_at)"
                " SELECT DISTINCT ON (d, s, p) d, s, p, t, r FROM unnest($1::bytea[],"
                " $2::timestamptz[], $3::bigint[], $4::text[], $5::integer[])"
                " WITH ORDINALITY u(t, r, d, s, p, o) ORDER BY d, s, p, o DESC"
                " ON CONFLICT (device_key, session, packet_id) DO UPDATE"
                " SET tag = excluded.tag, received_at = excluded.received_at",
                NULL, NULL, BIT(KIND_ROW) | BIT(KIND_NOTE), 5,
                {PG_BYTEA, PG_TIMESTAMPTZ, PG_INT8, PG_TEXT, PG_INT4}, fill_note},
        {"displace_sessions",
                "WITH s AS (DELETE FROM holdfast.sessions s"
                " USING unnest($1::bigint[], $2::bytea[]) r(i, k)"
                " WHERE s.key = r.k AND s.session_id <> r.i RETURNING s.session_id),"
                " b AS (DELETE FROM holdfast.subscriptions b USING s"
                " WHERE b.session_id = s.session_id)"
                " DELETE FROM holdfast.queue q USING s WHERE q.queue = s.session_id",
                NULL, NULL, BIT(KIND_SESSION), 2, {PG_INT8, PG_BYTEA}, fill_displace},
        {"put_sessions",
                "INSERT INTO holdfast.sessions (session_id, key, device_key, expiry, offline_at,"
                " sealed, will_device_key, will_key_id, will)"
                " SELECT unnest($1::bigint[]), unnest($2::bytea[]), unnest($3::bigint[]),"
                " unnest($4::bigint[]), unnest($5::timestamptz[]), unnest($6::bytea[]),"
                " unnest($7::bigint[]), unnest($8::bigint[]), unnest($9::bytea[])"
                " ON CONFLICT (session_id) DO UPDATE SET key = excluded.key,"
                " device_key = excluded.device_key, expiry = excluded.expiry,"
                " offline_at = excluded.offline_at, sealed = excluded.sealed,"
                " will_device_key = excluded.will_device_key,"
                " will_key_id = excluded.will_key_id, will = excluded.will",
                NULL, NULL, BIT(KIND_SESSION), 9,
                {PG_INT8, PG_BYTEA, PG_INT8, PG_INT8, PG_TIMESTAMPTZ, PG_BYTEA, PG_INT8, PG_INT8,
                        PG_BYTEA},
                fill_put},
        {"touch_sessions",
                "UPDATE holdfast.sessions s SET expiry = r.e, offline_at = r.o,"
                " will_device_key = CASE WHEN r.w THEN s.will_device_key END,"
                " will_key_id = CASE WHEN r.w THEN s.will_key_id END,"
                " will = CASE WHEN r.w THEN s.will END"
                " FROM unnest($1::bigint[], $2::bigint[], $3::timestamptz[], $4::boolean[])"
                " r(i, e, o, w) WHERE s.session_id = r.i",
                NULL, NULL, BIT(KIND_SESSION), 4, {PG_INT8, PG_INT8, PG_TIMESTAMPTZ, PG_BOOL},
                fill_touch},
        {"remove_subs",
                "DELETE FROM holdfast.subscriptions b"
                " USING unnest($1::bigint[], $2::text[]) r(i, f)"
                " WHERE b.session_id = r.i AND b.filter = r.f",
                NULL, NULL, BIT(KIND_SUB), 2, {PG_INT8, PG_TEXT}, fill_unsub},
        {"put_subs",
                "INSERT INTO holdfast.subscriptions (session_id, filter, options,"
                " subscription_id) SELECT r.* FROM unnest($1::bigint[], $2::text[],"
                " $3::integer[], $4::bigint[]) r(i, f, o, n) WHERE EXISTS"
                " (SELECT FROM holdfast.sessions s WHERE s.session_id = r.i)"
                " ON CONFLICT (session_id, filter) DO UPDATE SET options = excluded.options,"
                " subscription_id = excluded.subscription_id",
                NULL, NULL, BIT(KIND_SUB), 4, {PG_INT8, PG_TEXT, PG_INT4, PG_INT8}, fill_sub},
        {"append", APPEND, "append_replay", APPEND ONCE, BIT(KIND_APPEND), 6,
                {PG_INT8, PG_INT8, PG_INT8, PG_INT8, PG_TIMESTAMPTZ, PG_BYTEA}, fill_append},
        {"append_full", APPEND_FULL, "append_full_replay", APPEND_FULL ONCE, BIT(KIND_APPEND), 9,
                {PG_INT8, PG_INT8, PG_INT8, PG_INT8, PG_TIMESTAMPTZ, PG_BYTEA, PG_TIMESTAMPTZ,
                        PG_INT4, PG_BYTEA},
                fill_append_full},
        /* Not what the queue has of the same receipt: only its packet id tells which that was. */
        {"append_again",
                "INSERT INTO holdfast.queue (" MESSAGE_COLUMNS ", expires_at, packet_id, origin)"
                " SELECT u.* FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[],"
                " $5::timestamptz[], $6::bytea[], $7::timestamptz[], $8::integer[], $9::bytea[])"
                " u(q, n, d, k, r, s, e, p, o) WHERE NOT EXISTS (SELECT FROM holdfast.queue h"
                " JOIN holdfast.qos2_ids i ON " HAD_BEFORE
                " WHERE h.queue = u.q AND h.device_key = u.d AND h.origin = u.o)" ONCE,
                NULL, NULL, BIT(KIND_APPEND), 9,
                {PG_INT8, PG_INT8, PG_INT8, PG_INT8, PG_TIMESTAMPTZ, PG_BYTEA, PG_TIMESTAMPTZ,
                        PG_INT4, PG_BYTEA},
                fill_append_again},
        {"mark",
                "UPDATE holdfast.queue q SET packet_id = r.p FROM (SELECT unnest($1::bigint[])"
                " AS queue, unnest($2::bigint[]) AS n, unnest($3::integer[]) AS p) r"
                " WHERE q.queue = r.queue AND q.n = r.n",
                NULL, NULL, BIT(KIND_QUEUE), 3, {PG_INT8, PG_INT8, PG_INT4}, fill_mark},
        {"release",
                "UPDATE holdfast.queue q SET sealed = NULL FROM " NUMBERS
                " WHERE q.queue = r.queue AND q.n = r.n",
                NULL, NULL, BIT(KIND_QUEUE), 2, {PG_INT8, PG_INT8}, fill_release},
        {"remove",
                "DELETE FROM holdfast.queue q USING " NUMBERS
                " WHERE q.queue = r.queue AND q.n = r.n",
                NULL, NULL, BIT(KIND_QUEUE), 2, {PG_INT8, PG_INT8}, fill_remove},
        {"complete",
                "WITH r AS (SELECT unnest($1::bigint[]) AS queue, unnest($2::bigint[]) AS n),"
                " k AS (UPDATE holdfast.queue q SET sealed = NULL, packet_id = NULL"
                " FROM r, holdfast.qos2_ids i WHERE q.queue = r.queue AND q.n = r.n"
                " AND " MAY_COME_AGAIN " RETURNING q.queue, q.n)"
                " DELETE FROM holdfast.queue q USING r WHERE q.queue = r.queue AND q.n = r.n"
                " AND NOT EXISTS (SELECT FROM k WHERE k.queue = q.queue AND k.n = q.n)",
                NULL, NULL, BIT(KIND_QUEUE), 2, {PG_INT8, PG_INT8}, fill_complete},
        {"end_sessions",
                "WITH s AS (DELETE FROM holdfast.sessions WHERE session_id = ANY($1::bigint[])),"
                " b AS (DELETE FROM holdfast.subscriptions WHERE session_id = ANY($1::bigint[]))"
                " DELETE FROM holdfast.queue WHERE queue = ANY($1::bigint[])",
                NULL, NULL, BIT(KIND_SESSION), 1, {PG_INT8}, fill_end},
        {"clear_retained", "DELETE FROM holdfast.retained WHERE topic_mac = ANY($1::bytea[])", NULL,
                NULL, BIT(KIND_RETAINED), 1, {PG_BYTEA}, fill_clear},
        {"put_retained",
                "INSERT INTO holdfast.retained (topic_mac, device_key, key_id, received_at,"
                " expires_at, sealed) SELECT unnest($1::bytea[]), unnest($2::bigint[]),"
                " unnest($3::bigint[]), unnest($4::timestamptz[]), unnest($5::timestamptz[]),"
                " unnest($6::bytea[]) ON CONFLICT (topic_mac) DO UPDATE SET"
                " device_key = excluded.device_key, key_id = excluded.key_id,"
                " received_at = excluded.received_at, expires_at = excluded.expires_at,"
                " sealed = excluded.sealed",
                NULL, NULL, BIT(KIND_RETAINED), 6,
                {PG_BYTEA, PG_INT8, PG_INT8, PG_TIMESTAMPTZ, PG_TIMESTAMPTZ, PG_BYTEA},
                fill_retain},
};
const unsigned n_stages = ARRAY_LEN(stages);

Oid array_of(enum pg_type element)
{
	switch (element) {
	case PG_BOOL: return PG_BOOL_ARRAY;
	case PG_BYTEA: return PG_BYTEA_ARRAY;
	case PG_INT8: return PG_INT8_ARRAY;
	case PG_INT4: return PG_INT4_ARRAY;
	case PG_TEXT: return PG_TEXT_ARRAY;
	case PG_TIMESTAMPTZ: return PG_TIMESTAMPTZ_ARRAY;
	}
	return 0;
}

/* Whether what the item would write is undone by one that is in the same transaction. */
static bool is_undone(const struct batch *b, const struct item *item, unsigned to)
{
	return item->later < to && b->items[item->later].err == 0;
}

int stage_collect(
        struct lane *l, const struct stage *st, unsigned from, unsigned to, struct pg_params *p)
{
	const struct batch *b = &l->batch;
	struct filling f = {0};
	int n = 0;

	for (unsigned i = 0; f.err == 0 && i < st->n_columns; i++)
		f.err = pg_array_start(&l->stage[i]);
	for (unsigned i = from; f.err == 0 && i < to; i++) {
		const struct item *item = &b->items[i];

		if (!(st->kinds & BIT(item->kind)) || item->err < 0 || item->skip ||
		        is_undone(b, item, to))
			continue;
		f.next = l->stage;
		n += st->fill(l, item, &f);
	}
	if (f.err < 0 || n == 0)
		return f.err;
	for (unsigned i = 0; i < st->n_columns; i++) {
		pg_array_finish(&l->stage[i], st->columns[i], (uint32_t)n);
		pg_put_array(p, array_of(st->columns[i]), &l->stage[i]);
	}
	return n;
}
