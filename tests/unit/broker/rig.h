/*
 * The broker room on a bench: bytes in, bytes out. Several loops that do not run: rig_step delivers
 * their mail in this thread until nothing moves any more, so every test is repeatable. The
 * transport, the registry, policy and the store are fakes that answer at once or when told to.
 * With a ram_store (rig_new_kept) that is the store of everything, and sessions are durable.
 */
#ifndef HF_TESTS_BROKER_RIG_H
#define HF_TESTS_BROKER_RIG_H

#ifndef RIG_WITHOUT_CHECK
#include <check.h>
#endif
#include <event2/event.h>
#include <stdlib.h>

#include "broker/broker.h"
#include "broker/codec/mqtt.h"
#include "server/base/clock.h"
#include "server/base/crypto.h"
#include "server/base/err.h"
#include "server/base/log.h"
#include "server/base/loop.h"
#include "server/base/map.h"
#include "server/base/metrics.h"
#include "server/base/props.h"
#include "storage/ram/ram.h"

#define RIG_LOOPS_MAX 4

/* ---- the store ---- */

enum op_kind { OP_ROW, OP_RELEASE, OP_LOAD };
struct op {
	struct op *next;
	enum op_kind kind;
	void *request;
};
struct kept_id {
	uint64_t device_key;
	char session[64];
	struct qos2_id id;
};
struct stored {
	uint64_t device_key;
	char topic[128], payload[128], module[64];
	uint8_t qos;
};

struct peer {
	struct peer *next;
	struct rig *rig;
	struct broker_client *client;
	struct loop *loop, *moving_to;
	uint8_t *in, *out;
	size_t in_n, out_n, in_size, out_size;
	int paused;
	bool closing, closed, hard, told,
	        stuck; /* told: the broker closed it; stuck: it reads nothing */
	enum end_reason why;
	bool moved;
	int version;
	uint8_t connack;
	bool present;
};

struct rig {
	struct loop *loops[RIG_LOOPS_MAX];
	unsigned n;
	struct broker *broker;
	struct broker_limits limits;
	struct peer *peers;
	/* registry */
	bool hold_auth;
	struct auth_request *auths;
	int auth_err; /* for the next ones, 0: by the rules */
	unsigned generation;
	int64_t expires_at;
	struct recheck_request *rechecks;
	bool hold_recheck;
	int recheck_err;
	enum end_reason recheck_end;
	unsigned n_rechecks, n_present, n_absent;
	/* policy; see rig_denies */
	bool deny_all, filters;
	const char *denied, *denied_to, *only_from;
	unsigned n_receive_asked;
	struct ram_store *kept; /* NULL: the store is the one below, and sessions are not kept */
	/* store */
	bool hold_store;
	struct op *ops, **ops_end;
	unsigned n_ops;
	size_t backlog;
	int row_err;
	struct stored rows[64]; /* the last of them */
	unsigned n_rows;
	struct kept_id ids[64];
	unsigned n_ids;
	int load_err, release_err;
	unsigned n_loads, n_releases;
};

static uint64_t rig_device_key(const struct rig *rig, struct slice id)
{
	const uint8_t *slash = memchr(id.p, '/', id.n);
	if (slash)
		id.n = (size_t)(slash - id.p);
	return (rig->generation + 1) * 1000000 + hash_stable(id.p, id.n) % 1000000;
}

/* What is known of a device: its name. */
struct rig_access {
	struct access is;
	char id[32];
};

static void rig_access_free(struct access *a)
{
	free(a);
}

static struct access *rig_access_new(struct slice id)
{
	struct rig_access *a = calloc(1, sizeof(*a));
	a->is.refs = 1;
	a->is.free = rig_access_free;
	snprintf(a->id, sizeof(a->id), "%.*s", SLICE_ARG(id));
	return &a->is;
}

/* ---- the fakes' hooks ---- */

static void rig_auth_answer(struct rig *rig, struct auth_request *r)
{
	enum principal_kind kind = PRINCIPAL_DEVICE;
	struct slice id = r->client_id;
	r->err = rig->auth_err;
	if (slice_eq_str(r->password, "wrong"))
		r->err = ERR_UNAUTHENTICATED;
	if (!r->has_username) {
		kind = PRINCIPAL_ANONYMOUS;
		id = slice_make(NULL, 0);
	} else if (slice_has_prefix(r->username, SLICE_LIT("key/"))) {
		kind = PRINCIPAL_KEY;
		id = slice_from(r->username, 4);
	} else if (!slice_eq(r->username, r->client_id) && !r->err) {
		r->err = ERR_INVALID;
	}
	if (!r->err) {
		r->principal = principal_new(kind, id, SLICE_LIT(""));
		r->principal->expires_at = rig->expires_at;
		r->principal->resolved = true;
		r->principal->access[0] = rig_access_new(id);
		if (kind == PRINCIPAL_DEVICE)
			r->principal->device_key = rig_device_key(rig, id);
	} else {
		r->reason = DENY_SECRET;
	}
	r->done(r);
}

static void rig_authenticate(void *ctx, struct auth_request *r)
{
	struct rig *rig = ctx;
	if (!rig->hold_auth) {
		rig_auth_answer(rig, r);
		return;
	}
	r->next = rig->auths;
	rig->auths = r;
}

static HF_UNUSED void rig_release_auths(struct rig *rig)
{
	struct auth_request *r, *next;
	rig->hold_auth = false;
	for (r = rig->auths; r; r = next) {
		next = r->next;
		rig_auth_answer(rig, r);
	}
	rig->auths = NULL;
}

/* Somebody who stands does so as a new principal, as after a change of rules. */
static void rig_recheck_answer(struct rig *rig, struct recheck_request *r)
{
	const struct principal *p = r->principal;
	r->err = rig->recheck_err;
	r->end = rig->recheck_end;
	if (r->err == 0 && p->kind != PRINCIPAL_ANONYMOUS) {
		r->fresh = principal_new(p->kind, principal_id(p), SLICE_LIT(""));
		r->fresh->resolved = true;
		r->fresh->device_key = p->device_key;
		r->fresh->module_key = p->module_key;
		r->fresh->expires_at = p->expires_at;
		r->fresh->access[0] = rig_access_new(principal_id(p));
	}
	r->done(r);
}

static void rig_recheck(void *ctx, struct recheck_request *r)
{
	struct rig *rig = ctx;
	rig->n_rechecks++;
	if (rig->hold_recheck) {
		r->next = rig->rechecks;
		rig->rechecks = r;
		return;
	}
	rig_recheck_answer(rig, r);
}

static HF_UNUSED void rig_release_rechecks(struct rig *rig)
{
	struct recheck_request *r, *next;
	rig->hold_recheck = false;
	for (r = rig->rechecks; r; r = next) {
		next = r->next;
		rig_recheck_answer(rig, r);
	}
	rig->rechecks = NULL;
}

static bool rig_claimed(void *ctx HF_UNUSED, struct slice user, struct slice *ret)
{
	if (user.n == 0 || memchr(user.p, '/', user.n))
		return false;
	*ret = user;
	return true;
}

/* Topics and filters with rig->denied in them are not for rig->denied_to (NULL: for nobody). */
static bool rig_denies(const struct rig *rig, const struct principal *p, struct slice text)
{
	if (rig->denied_to && !slice_eq_str(principal_id(p), rig->denied_to))
		return false;
	return rig->denied && memmem(text.p, text.n, rig->denied, strlen(rig->denied));
}

/* Topics with "forbidden" in them are nobody's; those with "fleeting" may not be retained. */
static bool rig_may_publish(void *ctx, const struct principal *p, struct slice topic, bool retain)
{
	const struct rig *rig = ctx;
	if (rig_denies(rig, p, topic) || (retain && memmem(topic.p, topic.n, "fleeting", 8)))
		return false;
	if (rig->deny_all || memmem(topic.p, topic.n, "forbidden", 9))
		return false;
	return p->kind == PRINCIPAL_DEVICE || topic.p[0] != '$';
}

static bool rig_may_subscribe(void *ctx, const struct principal *p, struct slice filter)
{
	return !rig_denies(ctx, p, filter) && !memmem(filter.p, filter.n, "forbidden", 9);
}

/* With rig->filters: nothing with "secret" in its topic, and nothing but what rig->only_from
 * published. */
static bool rig_may_receive(
        void *ctx, const struct principal *p, struct slice topic, const struct access *from)
{
	struct rig *rig = ctx;
	const struct rig_access *a = (const struct rig_access *)from;
	rig->n_receive_asked++;
	if (rig->only_from && !(a && strcmp(a->id, rig->only_from) == 0))
		return false;
	return !rig_denies(rig, p, topic) && !memmem(topic.p, topic.n, "secret", 6);
}

static bool rig_filters_receive(void *ctx, const struct principal *p HF_UNUSED)
{
	return ((struct rig *)ctx)->filters;
}

static void rig_presence(
        void *ctx, const struct principal *p HF_UNUSED, bool connected, int64_t when HF_UNUSED)
{
	struct rig *rig = ctx;
	*(connected ? &rig->n_present : &rig->n_absent) += 1;
}

#include "tests/unit/broker/rig_store.h"

/* ---- the transport ---- */

static void bytes_add(uint8_t **p, size_t *n, size_t *size, const void *from, size_t len)
{
	if (*n + len > *size) {
		*size = (*n + len) * 2;
		*p = realloc(*p, *size);
	}
	if (len)
		memcpy(*p + *n, from, len);
	*n += len;
}

static void link_send(void *link, const void *p, size_t n)
{
	struct peer *peer = link;
	ck_assert(!peer->told);
	bytes_add(&peer->out, &peer->out_n, &peer->out_size, p, n);
}
static void link_send_msg(void *link, struct slice head, struct msg *m, struct slice body)
{
	ck_assert(body.p >= m->bytes && body.p + body.n <= m->bytes + (msg_size(m) - sizeof(*m)));
	link_send(link, head.p, head.n);
	link_send(link, body.p, body.n);
}
static size_t link_unsent(void *link)
{
	const struct peer *peer = link;
	return peer->stuck ? peer->out_n : 0;
}
static void link_pause(void *link)
{
	((struct peer *)link)->paused++;
}
static void link_resume(void *link)
{
	struct peer *peer = link;
	ck_assert_int_gt(peer->paused, 0);
	peer->paused--;
}
static void link_close(void *link, enum end_reason why, bool hard)
{
	struct peer *peer = link;
	ck_assert(!peer->told);
	peer->told = true;
	if (peer->closing) /* the other side was first */
		return;
	peer->closing = true;
	peer->why = why;
	peer->hard = hard;
}
static void link_move(void *link, struct loop *to)
{
	struct peer *peer = link;
	ck_assert(!peer->moving_to && peer->out_n == 0);
	peer->moving_to = to;
}

static const struct broker_link rig_link = {
        .send = link_send,
        .send_msg = link_send_msg,
        .unsent = link_unsent,
        .pause = link_pause,
        .resume = link_resume,
        .close = link_close,
        .move = link_move,
};

/* What the transport does between two turns. Whether anything happened. */
static bool peer_turn(struct peer *p)
{
	if (p->closed)
		return false;
	if (p->closing) {
		p->closed = true;
		broker_client_closed(p->client, p->why);
		return true;
	}
	if (p->moving_to) {
		struct loop *to = p->moving_to;
		p->moving_to = NULL;
		p->loop = to;
		p->moved = true;
		broker_client_moved(p->client, to);
		return true;
	}
	if (p->in_n == 0 || p->paused)
		return false;
	/* A copy of exactly the unread bytes, so that a read past them is seen. */
	uint8_t *copy = malloc(p->in_n);
	memcpy(copy, p->in, p->in_n);
	size_t need = p->in_n + 1;
	ssize_t used = broker_client_data(p->client, slice_make(copy, p->in_n), &need);
	free(copy);
	if (used <= 0)
		return p->closing || p->moving_to;
	ck_assert_int_le(used, (ssize_t)p->in_n);
	p->in_n -= (size_t)used;
	memmove(p->in, p->in + used, p->in_n);
	return true;
}

static void rig_step(struct rig *rig)
{
	for (bool busy = true; busy;) {
		busy = false;
		mail_flush();
		for (unsigned i = 0; i < rig->n; i++)
			busy |= mailbox_run(loop_mailbox(rig->loops[i])) > 0;
		for (struct peer *p = rig->peers; p; p = p->next)
			busy |= peer_turn(p);
	}
	mail_flush();
}

/* Does the first n things that the store was asked for. */
static HF_UNUSED void rig_commit(struct rig *rig, unsigned n)
{
	for (; n > 0 && rig->ops; n--) {
		struct op *op = rig->ops;
		rig->ops = op->next;
		if (!rig->ops)
			rig->ops_end = &rig->ops;
		rig->n_ops--;
		run_op(rig, op->kind, op->request);
		free(op);
	}
	rig_step(rig);
}

/* Real time passes (timers run) until done says so, at most 10 s. */
static HF_UNUSED void rig_until(struct rig *rig, bool (*done)(void *arg), void *arg)
{
	uint64_t end = clock_ms() + 10000;
	rig_step(rig);
	while (!done(arg)) {
		ck_assert_msg(clock_ms() < end, "it did not happen");
		for (unsigned i = 0; i < rig->n; i++)
			event_base_loop(loop_event_base(rig->loops[i]),
			        EVLOOP_ONCE | (i > 0 ? EVLOOP_NONBLOCK : 0));
		rig_step(rig);
	}
}

static struct rig *rig_new_kept(
        unsigned n, const struct broker_limits *limits, struct ram_store *kept)
{
	static char all[] = "#";
	static char *filters[] = {all};
	struct rig *rig = calloc(1, sizeof(*rig));
	rig->n = n;
	rig->ops_end = &rig->ops;
	for (unsigned i = 0; i < n; i++)
		rig->loops[i] = loop_new(i);
	const struct broker_hooks hooks = {
	        .ctx = rig,
	        .authenticate = rig_authenticate,
	        .recheck = rig_recheck,
	        .claimed_id = rig_claimed,
	        .may_publish = rig_may_publish,
	        .may_subscribe = rig_may_subscribe,
	        .may_receive = rig_may_receive,
	        .filters_receive = rig_filters_receive,
	        .presence = rig_presence,
	};
	const struct telemetry_store store = {
	        .ctx = rig,
	        .append = rig_append,
	        .qos2_release = rig_forget,
	        .qos2_load = rig_load,
	        .qos2_tag = rig_tag,
	        .backlog_bytes = rig_backlog,
	};
	rig->limits = limits ? *limits : (struct broker_limits){0};
	struct broker_limits *l = &rig->limits;
#define DEFAULT(field, value) l->field = l->field ? l->field : (value)
	DEFAULT(connect_ms, 10000);
	DEFAULT(slow_reader_ms, 30000);
	DEFAULT(max_packet_size, 278528);
	DEFAULT(max_payload, 262144);
	DEFAULT(receive_maximum, 256);
	DEFAULT(max_inflight, 64);
	DEFAULT(topic_alias_maximum, 16);
	DEFAULT(max_topic_levels, 64);
	DEFAULT(max_subscriptions, 1000);
	DEFAULT(max_queued_messages, 1000);
	DEFAULT(max_queued_bytes, 8388608);
	DEFAULT(max_session_expiry, 604800);
	DEFAULT(max_sessions, 200000);
	DEFAULT(max_retained, 100000);
	DEFAULT(max_retained_bytes, 268435456);
	DEFAULT(output_soft_bytes, 1048576);
	DEFAULT(output_hard_bytes, 8388608);
	DEFAULT(store_queue_bytes, 1000000);
	DEFAULT(lookup_ms, 300);
	DEFAULT(command_depth, 50);
#undef DEFAULT
	if (!l->store_filters) {
		l->store_filters = filters;
		l->n_store_filters = 1;
	}
	rig->kept = kept;
	const struct telemetry_store ram = kept ? ram_telemetry(kept) : store;
	const struct session_store sessions = kept ? ram_sessions(kept) : (struct session_store){0};
	rig->broker = broker_new(
	        rig->loops, n, &hooks, &(struct broker_stores){&ram, kept ? &sessions : NULL}, l);
	ck_assert_ptr_nonnull(rig->broker);
	ck_assert_int_eq(broker_restore(rig->broker), 0);
	return rig;
}

static HF_UNUSED struct rig *rig_new_with(unsigned n, const struct broker_limits *limits)
{
	return rig_new_kept(n, limits, NULL);
}

static HF_UNUSED struct rig *rig_new(unsigned n)
{
	return rig_new_with(n, NULL);
}

static void peer_close(struct peer *p)
{
	if (!p->closing && !p->closed) {
		p->closing = true;
		p->why = END_PEER_CLOSED;
	}
	rig_step(p->rig);
}

static void rig_free(struct rig *rig)
{
	struct peer *p;
	rig->hold_store = false;
	if (rig->kept)
		ram_set_hold(rig->kept, false);
	rig_release_auths(rig);
	rig_release_rechecks(rig);
	while (rig->ops)
		rig_commit(rig, 1);
	while ((p = rig->peers) != NULL) {
		peer_close(p);
		rig->peers = p->next;
		free(p->in);
		free(p->out);
		free(p);
	}
	rig_step(rig);
	ck_assert_uint_eq(broker_busy(rig->broker), 0);
	broker_free(rig->broker);
	for (unsigned i = 0; i < rig->n; i++)
		loop_free(rig->loops[i]);
	free(rig);
}

/* ---- a client ---- */

static HF_UNUSED struct peer *peer_open(struct rig *rig, unsigned loop)
{
	struct peer *p = calloc(1, sizeof(*p));
	struct broker_peer who = {.conn_id = 7,
	        .address = "[::1]:4711",
	        .protocol = "mqtt",
	        .anonymous_allowed = true};
	p->rig = rig;
	p->loop = rig->loops[loop];
	p->next = rig->peers;
	rig->peers = p;
	p->client = broker_client_new(rig->broker, p->loop, &rig_link, p, &who);
	return p;
}

static HF_UNUSED void peer_bytes(struct peer *p, const void *bytes, size_t n)
{
	bytes_add(&p->in, &p->in_n, &p->in_size, bytes, n);
	rig_step(p->rig);
}

static HF_UNUSED void peer_hex(struct peer *p, const char *hex)
{
	uint8_t bytes[4096];
	size_t n = 0;
	for (const char *at = hex; *at;) {
		unsigned byte;
		int used;
		if (sscanf(at, "%2x%n", &byte, &used) != 1)
			break;
		bytes[n++] = (uint8_t)byte;
		at += used;
		while (*at == ' ')
			at++;
	}
	peer_bytes(p, bytes, n);
}

/* ---- packets out of parts ---- */

#ifndef PK_MAX
#define PK_MAX 300000
#endif

struct pk {
	uint8_t b[PK_MAX];
	size_t n;
};
static struct pk *pk_new(void)
{
	struct pk *k = malloc(sizeof(*k));
	k->n = 0;
	return k;
}
static void pk_u8(struct pk *k, unsigned v)
{
	k->b[k->n++] = (uint8_t)v;
}
static void pk_u16(struct pk *k, unsigned v)
{
	pk_u8(k, v >> 8);
	pk_u8(k, v & 0xff);
}
static void pk_u32(struct pk *k, uint32_t v)
{
	pk_u16(k, v >> 16);
	pk_u16(k, v & 0xffff);
}
static void pk_raw(struct pk *k, const void *p, size_t n)
{
	if (n)
		memcpy(k->b + k->n, p, n);
	k->n += n;
}
static void pk_str(struct pk *k, const char *s)
{
	pk_u16(k, (unsigned)strlen(s));
	pk_raw(k, s, strlen(s));
}
static void pk_varint(struct pk *k, uint32_t v)
{
	k->n += mqtt_varint_put(k->b + k->n, v);
}
/* Sends it behind its fixed header, and frees it. */
static void pk_send(struct peer *p, unsigned first, struct pk *k)
{
	uint8_t head[5] = {(uint8_t)first};
	size_t n = 1 + mqtt_varint_put(head + 1, (uint32_t)k->n);
	bytes_add(&p->in, &p->in_n, &p->in_size, head, n);
	bytes_add(&p->in, &p->in_n, &p->in_size, k->b, k->n);
	free(k);
	rig_step(p->rig);
}
/* A properties block made of raw bytes. */
static void pk_props(struct pk *k, int version, const struct pk *props)
{
	if (version != 5)
		return;
	pk_varint(k, props ? (uint32_t)props->n : 0);
	if (props)
		pk_raw(k, props->b, props->n);
}

struct connect_opts {
	int v; /* 4 or 5 */
	const char *id, *user, *pass;
	bool keep; /* not a clean start */
	unsigned keep_alive;
	uint32_t expiry;
	unsigned receive_maximum, alias_maximum;
	uint32_t max_packet;
	const char *will_topic, *will_payload;
	unsigned will_qos, will_delay;
	bool will_retain;
};

static void connect_props(struct pk *props, const struct connect_opts *o)
{
	if (o->expiry) {
		pk_u8(props, PROP_SESSION_EXPIRY);
		pk_u32(props, o->expiry);
	}
	if (o->receive_maximum) {
		pk_u8(props, PROP_RECEIVE_MAXIMUM);
		pk_u16(props, o->receive_maximum);
	}
	if (o->max_packet) {
		pk_u8(props, PROP_MAXIMUM_PACKET_SIZE);
		pk_u32(props, o->max_packet);
	}
	if (o->alias_maximum) {
		pk_u8(props, PROP_TOPIC_ALIAS_MAXIMUM);
		pk_u16(props, o->alias_maximum);
	}
}

static void send_connect(struct peer *p, const struct connect_opts *o)
{
	struct pk *k = pk_new(), *props = pk_new();
	p->version = o->v;
	pk_str(k, "MQTT");
	pk_u8(k, (unsigned)o->v);
	pk_u8(k,
	        (o->user ? 0x80u : 0) | (o->pass ? 0x40u : 0) |
	                (o->will_topic ? 0x04u | o->will_qos << 3 | (o->will_retain ? 0x20u : 0)
	                               : 0) |
	                (o->keep ? 0 : 0x02u));
	pk_u16(k, o->keep_alive);
	connect_props(props, o);
	pk_props(k, o->v, props);
	pk_str(k, o->id);
	if (o->will_topic) {
		props->n = 0;
		if (o->will_delay) {
			pk_u8(props, PROP_WILL_DELAY);
			pk_u32(props, o->will_delay);
		}
		pk_props(k, o->v, props);
		pk_str(k, o->will_topic);
		pk_str(k, o->will_payload ? o->will_payload : "gone");
	}
	if (o->user)
		pk_str(k, o->user);
	if (o->pass)
		pk_str(k, o->pass);
	free(props);
	pk_send(p, 0x10, k);
}

/* ---- what came back ---- */

struct got {
	uint8_t type, flags, reason;
	uint16_t packet_id;
	uint8_t qos;
	bool retain, dup, has_expiry;
	char topic[256];
	char payload[512];
	size_t payload_n;
	uint16_t alias;
	uint32_t expiry, ids[16];
	unsigned n_ids;
	uint8_t codes[64];
	unsigned n_codes;
	struct slice props;
	uint8_t raw[2048];
};

static void parse_publish_props(struct slice *at, struct got *g)
{
	uint32_t len = 0;
	size_t used = 0;
	struct prop prop;
	ck_assert_int_eq(mqtt_varint_get(*at, &len, &used), 1);
	struct slice props = slice_make(at->p + used, len);
	*at = slice_from(*at, used + len);
	while (prop_next(&props, &prop) == 1) {
		if (prop.id == PROP_TOPIC_ALIAS)
			g->alias = (uint16_t)prop.number;
		if (prop.id == PROP_MESSAGE_EXPIRY) {
			g->has_expiry = true;
			g->expiry = prop.number;
		}
		if (prop.id == PROP_SUBSCRIPTION_ID && g->n_ids < 16)
			g->ids[g->n_ids++] = prop.number;
	}
}

static void parse_publish(int version, struct slice at, struct got *g)
{
	g->qos = (g->flags >> 1) & 3;
	g->retain = g->flags & 1;
	g->dup = g->flags & 8;
	size_t n = (size_t)(at.p[0] << 8 | at.p[1]);
	copy_text(g->topic, sizeof(g->topic), slice_make(at.p + 2, n));
	at = slice_from(at, n + 2);
	if (g->qos) {
		g->packet_id = (uint16_t)(at.p[0] << 8 | at.p[1]);
		at = slice_from(at, 2);
	}
	if (version == 5)
		parse_publish_props(&at, g);
	g->payload_n = at.n;
	copy_text(g->payload, sizeof(g->payload), at);
}

static void parse_body(const struct peer *p, struct slice body, struct got *g)
{
	switch (g->type) {
	case MQTT_CONNACK: g->reason = body.p[1]; break;
	case MQTT_PUBLISH: parse_publish(p->version, body, g); break;
	case MQTT_DISCONNECT: g->reason = body.n ? body.p[0] : 0; break;
	case MQTT_SUBACK:
	case MQTT_UNSUBACK:
		g->packet_id = (uint16_t)(body.p[0] << 8 | body.p[1]);
		for (size_t i = p->version == 5 ? 3 : 2; i < body.n && g->n_codes < 64; i++)
			g->codes[g->n_codes++] = body.p[i];
		break;
	case MQTT_PINGRESP: break;
	default:
		g->packet_id = (uint16_t)(body.p[0] << 8 | body.p[1]);
		g->reason = body.n > 2 ? body.p[2] : 0;
	}
}

/* Takes the next packet that the hub sent; false: there is none. */
static bool next(struct peer *p, struct got *g)
{
	uint32_t len = 0;
	size_t used = 0;
	memset(g, 0, sizeof(*g));
	if (p->out_n == 0)
		return false;
	ck_assert_int_eq(mqtt_varint_get(slice_make(p->out + 1, p->out_n - 1), &len, &used), 1);
	ck_assert_uint_le(1 + used + len, p->out_n);
	g->type = p->out[0] >> 4;
	g->flags = p->out[0] & 15;
	memcpy(g->raw, p->out, 1 + used + len < sizeof(g->raw) ? 1 + used + len : sizeof(g->raw));
	parse_body(p, slice_make(p->out + 1 + used, len), g);
	p->out_n -= 1 + used + len;
	memmove(p->out, p->out + 1 + used + len, p->out_n);
	return true;
}

#define expect_quiet(p) ck_assert_uint_eq((p)->out_n, 0)
#define expect_open(p) ck_assert(!(p)->closed && !(p)->closing)
#define expect_closed(p, reason)                                        \
	do {                                                            \
		ck_assert((p)->closed);                                 \
		ck_assert_str_eq(end_name((p)->why), end_name(reason)); \
	} while (0)
#define expect_ack(p, t, id, r)                       \
	do {                                          \
		struct got g_;                        \
		ck_assert(next((p), &g_));            \
		ck_assert_int_eq(g_.type, (t));       \
		ck_assert_int_eq(g_.packet_id, (id)); \
		ck_assert_int_eq(g_.reason, (r));     \
	} while (0)
#define expect_publish(p, t, text, q, ret)                   \
	do {                                                 \
		ck_assert(next((p), (ret)));                 \
		ck_assert_int_eq((ret)->type, MQTT_PUBLISH); \
		ck_assert_str_eq((ret)->topic, (t));         \
		ck_assert_str_eq((ret)->payload, (text));    \
		ck_assert_int_eq((ret)->qos, (q));           \
	} while (0)
#define expect_code(p, t, id, code)                    \
	do {                                           \
		struct got g_;                         \
		ck_assert(next((p), &g_));             \
		ck_assert_int_eq(g_.type, (t));        \
		ck_assert_int_eq(g_.packet_id, (id));  \
		ck_assert_int_eq(g_.codes[0], (code)); \
	} while (0)
#define expect_disconnect(p, code)                          \
	do {                                                \
		struct got g_;                              \
		ck_assert(next((p), &g_));                  \
		ck_assert_int_eq(g_.type, MQTT_DISCONNECT); \
		ck_assert_int_eq(g_.reason, (code));        \
	} while (0)

static HF_UNUSED struct peer *connect_with(
        struct rig *rig, unsigned loop, const struct connect_opts *o)
{
	struct peer *p = peer_open(rig, loop);
	struct got g;
	send_connect(p, o);
	if (next(p, &g)) {
		ck_assert_int_eq(g.type, MQTT_CONNACK);
		p->connack = g.reason;
		p->present = g.raw[2] & 1;
	} else {
		p->connack = 0xff;
	}
	return p;
}

/* A device (user name is its id) with a clean session. */
static HF_UNUSED struct peer *device(struct rig *rig, int v, const char *id)
{
	struct peer *p = connect_with(rig, 0, &(struct connect_opts){.v = v, .id = id, .user = id});
	ck_assert_int_eq(p->connack, 0);
	return p;
}
/* A back end: what it publishes is not stored. */
static HF_UNUSED struct peer *backend(struct rig *rig, int v, const char *id)
{
	struct peer *p = connect_with(
	        rig, 0, &(struct connect_opts){.v = v, .id = id, .user = "key/ops"});
	ck_assert_int_eq(p->connack, 0);
	return p;
}

static HF_UNUSED void send_subscribe(
        struct peer *p, unsigned id, const char *filter, unsigned options, unsigned sub_id)
{
	struct pk *k = pk_new(), *props = pk_new();
	if (sub_id) {
		pk_u8(props, PROP_SUBSCRIPTION_ID);
		pk_varint(props, sub_id);
	}
	pk_u16(k, id);
	pk_props(k, p->version, props);
	pk_str(k, filter);
	pk_u8(k, options);
	free(props);
	pk_send(p, 0x82, k);
}
static HF_UNUSED void subscribe(struct peer *p, const char *filter, unsigned qos)
{
	send_subscribe(p, 99, filter, qos, 0);
	expect_code(p, MQTT_SUBACK, 99, (int)(qos & 3));
}
static HF_UNUSED void send_unsubscribe(struct peer *p, unsigned id, const char *filter)
{
	struct pk *k = pk_new();
	pk_u16(k, id);
	pk_props(k, p->version, NULL);
	pk_str(k, filter);
	pk_send(p, 0xa2, k);
}

enum { RETAIN = 1, DUP = 8 };
static HF_UNUSED void send_publish_props(struct peer *p, const char *topic, const char *payload,
        unsigned qos, unsigned id, unsigned flags, const struct pk *props)
{
	struct pk *k = pk_new();
	pk_str(k, topic);
	if (qos)
		pk_u16(k, id);
	pk_props(k, p->version, props);
	pk_raw(k, payload, strlen(payload));
	pk_send(p, 0x30 | qos << 1 | flags, k);
}
static HF_UNUSED void send_publish(struct peer *p, const char *topic, const char *payload,
        unsigned qos, unsigned id, unsigned flags)
{
	send_publish_props(p, topic, payload, qos, id, flags, NULL);
}
static HF_UNUSED void send_ack(struct peer *p, enum mqtt_type type, unsigned id)
{
	struct pk *k = pk_new();
	pk_u16(k, id);
	pk_send(p, (unsigned)type << 4 | (type == MQTT_PUBREL ? 2u : 0), k);
}
static HF_UNUSED void send_ack_reason(
        struct peer *p, enum mqtt_type type, unsigned id, unsigned reason)
{
	struct pk *k = pk_new();
	pk_u16(k, id);
	pk_u8(k, reason);
	pk_send(p, (unsigned)type << 4 | (type == MQTT_PUBREL ? 2u : 0), k);
}

#ifndef RIG_WITHOUT_CHECK
static HF_UNUSED int run_suite(Suite *s)
{
	if (crypto_init() != 0)
		return 1;
	log_configure(LOG_ERROR, false);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
#endif

#endif
