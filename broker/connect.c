/*
 * CONNECT, from the packet to CONNACK: where the session's home is, who the client is (the registry
 * is asked), what the store remembers of it, and whose place it takes.
 */
#include "broker/client.h"
#include "broker/command.h"
#include "broker/denied.h"
#include "broker/mem.h"
#include "broker/quota.h"
#include "broker/rate.h"
#include "broker/topic.h"
#include "server/base/crypto.h"
#include "server/base/err.h"
#include "server/base/log.h"
#include "server/base/metrics.h"

#define ASSIGNED_MAX (2 * DEVICE_ID_MAX + 2)

/* A CONNECT that waits for answers. It outlives its connection until they are there. */
struct connecting {
	LIST_ENTRY(connecting) entry; /* of the shard */
	struct auth_request auth;
	struct qos2_load load;
	char name[QOS2_NAME_MAX]; /* under which that is asked for */
	struct mqtt_connect con;  /* slices into bytes */
	struct shard *shard;
	struct broker_client *client; /* NULL: it has closed meanwhile */
	struct http_opening *opening; /* of its WebSocket; may be NULL */
	struct session *session;      /* made for it, and on its way to the store */
	struct loop_timer timer;      /* which does not answer for ever */
	bool joined;                  /* session was set: no other answer will come */
	bool changed;                 /* ask for its identity again when it is connected */
	uint16_t assigned_len;        /* a client id that the hub chose, 0: the client's own */
	uint8_t assigned[ASSIGNED_MAX];
	size_t n;
	uint8_t bytes[]; /* the packet's body, with the password: wiped; the server's name */
};

static void connecting_free(struct connecting *k)
{
	LIST_REMOVE(k, entry);
	loop_timer_cancel(&k->timer);
	if (k->client)
		k->client->connecting = NULL;
	principal_unref(k->auth.principal);
	cert_chain_unref(k->auth.certificate);
	http_opening_free(k->opening);
	free(k->load.ids);
	crypto_wipe(k->bytes, k->n);
	free(k);
}

/* Nobody heard of the session that was made for it. */
static void undo_join(struct connecting *k)
{
	struct session *s = TAKE_PTR(k->session);
	if (s) {
		s->joining = NULL;
		s->will = will_free(s->shard, s->will);
		session_end(s);
	}
	connecting_free(k);
}

void connect_abandon(struct broker_client *c)
{
	struct connecting *k = TAKE_PTR(c->connecting);
	if (!k)
		return;
	k->client = NULL;
	if (k->joined)
		undo_join(k);
}

void connect_note_change(struct shard *sh)
{
	struct connecting *k;
	LIST_FOREACH (k, &sh->connecting, entry)
		k->changed = true;
}

void connect_refuse(struct broker_client *c, uint8_t code, enum end_reason why)
{
	struct buf *b = shard_scratch(c->shard);
	struct mqtt_connack ack = {.code = code};
	if (mqtt_encode_connack(b, c->version ? c->version : MQTT_V311, &ack) == 0)
		client_send(c, b);
	client_end(c, why);
}

/* ---- the last step: the session ---- */

static struct broker_client *connecting_client(const struct connecting *k)
{
	return k->client;
}

static void take_over(struct session *s)
{
	struct broker_client *old = s->client;
	old->taken_over = true;
	client_end(old, END_TAKEN_OVER);
	client_detach(old);
}

/* Whether both are the same generation of the same device or module; which one of a module a
 * restored session was is not known. */
static bool same_generation(const struct principal *a, const struct principal *b)
{
	return a->device_key == b->device_key &&
	        (a->module_key == b->module_key || !a->module_key || !b->module_key);
}

/* The session that the client goes on with, or NULL; one that it replaces ends. */
static struct session *known_session(const struct connecting *k)
{
	const struct principal *p = k->auth.principal;
	struct session *s = session_find(k->shard, p, k->auth.client_id);
	bool same = s && same_generation(s->principal, p);
	if (s && s->joining) { /* a CONNECT before this one waits still: its session goes with it */
		struct broker_client *old = connecting_client(s->joining);
		client_end(old, END_TAKEN_OVER);
		client_detach(old);
		return NULL;
	}
	if (s && s->client) {
		/* A will without delay goes out now, and with it a session that expires at once. */
		take_over(s);
		s = session_find(k->shard, p, k->auth.client_id);
	}
	if (!s)
		return NULL;
	if (same && !k->con.clean_start)
		return s;
	if (same)
		session_end(s);
	else
		session_forget(s); /* it belongs to an earlier device of this name */
	return NULL;
}

static uint32_t session_expiry(const struct broker_client *c, const struct mqtt_connect *con)
{
	uint32_t most = shard_limits(c->shard)->max_session_expiry;
	if (c->version != MQTT_V5)
		return con->clean_start ? 0 : most;
	return con->session_expiry < most ? con->session_expiry : most;
}

static uint16_t keep_alive(const struct broker_client *c, uint16_t asked)
{
	unsigned most = shard_limits(c->shard)->max_keep_alive;
	return most && (asked == 0 || asked > most) ? (uint16_t)most : asked;
}

static void set_will(struct session *s, const struct mqtt_will *from, struct msg *msg)
{
	if (!from->present) {
		s->will = will_free(s->shard, s->will);
		return;
	}
	msg->qos = from->qos;
	msg->retain = from->retain;
	will_set(s, &(struct session_will){msg, from->delay, from->has_expiry, from->expiry});
}

static void settle_terms(struct broker_client *c, const struct mqtt_connect *con)
{
	const struct broker_limits *lim = shard_limits(c->shard);
	bool v5 = c->version == MQTT_V5;
	unsigned window = v5 && con->receive_maximum < lim->max_inflight ? con->receive_maximum
	                                                                 : lim->max_inflight;
	c->window = (uint16_t)window;
	c->receive_maximum = (uint16_t)lim->receive_maximum;
	c->alias_in_max = v5 ? (uint16_t)lim->topic_alias_maximum : 0;
	c->alias_out_max = v5 ? con->topic_alias_maximum : 0;
	c->max_packet = v5 ? con->maximum_packet_size : UINT32_MAX;
	c->keep_alive = keep_alive(c, con->keep_alive);
	c->clean_start = con->clean_start;
	c->connected_us = loop_wall_us(c->shard->loop);
}

static void send_connack(struct broker_client *c, const struct connecting *k, bool present)
{
	const struct broker_limits *lim = shard_limits(c->shard);
	struct buf *b = shard_scratch(c->shard);
	struct mqtt_connack ack = {
	        .session_present = present,
	        .assigned_client_id = slice_make(k->assigned, k->assigned_len),
	        .has_server_keep_alive = c->keep_alive != k->con.keep_alive,
	        .server_keep_alive = c->keep_alive,
	        .receive_maximum = c->receive_maximum,
	        .maximum_packet_size = (uint32_t)lim->max_packet_size,
	        .topic_alias_maximum = c->alias_in_max,
	        .has_session_expiry = c->session->expiry != k->con.session_expiry,
	        .session_expiry = c->session->expiry,
	};
	if (mqtt_encode_connack(b, c->version, &ack) != 0)
		return;
	if (buf_slice(b).n > c->max_packet) /* [MQTT-3.1.2-24]: no way to answer this client */
		client_end(c, END_TOO_LARGE);
	else
		client_send(c, b);
}

/* Takes over what the store knows of the session's QoS 2 messages. */
static bool take_ids(struct connecting *k, struct session *s)
{
	if (s->durable)
		s->durable->cold = false;
	return k->load.n == 0 || qos2_restore(&s->qos2, TAKE_PTR(k->load.ids), k->load.n) == 0;
}

/* A session of its own for a client that has none: what the store remembers is taken over or
 * forgotten. NULL: no room. */
static struct session *new_session(struct connecting *k, bool forget)
{
	struct principal *p = k->auth.principal;
	struct session *s = session_new(k->shard, p, k->auth.client_id);
	if (!s)
		return NULL;
	if (!take_ids(k, s)) {
		session_discard(s);
		return NULL;
	}
	if (forget && p->kind == PRINCIPAL_DEVICE)
		qos2_release_all(s);
	return s;
}

static void admit(struct broker_client *c, struct connecting *k, struct session *s, bool present)
{
	const struct broker_hooks *hooks = &k->shard->b->hooks;
	struct principal *p = k->auth.principal;
	if (c->ops->known)
		c->ops->known(c->link);
	session_take(s, p);
	session_attach(s, c, session_expiry(c, &k->con));
	c->rate = rate_get(k->shard, p);
	if (present)
		durable_write(s);
	metric_inc(METRIC_MQTT_CLIENTS);
	send_connack(c, k, present);
	if (c->state == CLIENT_CONNECTING)
		c->state = CLIENT_ON;
	if (p->kind == PRINCIPAL_DEVICE)
		hooks->presence(hooks->ctx, p, true, c->connected_us);
	bool changed = k->changed;
	connecting_free(k);
	if (changed)
		recheck_session(s);
	client_resume(c, PAUSE_CONNECT);
	client_watch(c);
	out_pump(s);
	commands_pump(s);
}

/* The will's message: delay and expiry, which may stand between the other properties, stay behind.
 */
static struct msg *make_will(struct connecting *k)
{
	const struct mqtt_will *w = &k->con.will;
	struct slice props = w->props;
	if (!w->props_travel) {
		struct buf *b = shard_scratch(k->shard);
		if (mqtt_will_travelling(w, b) != 0)
			return NULL;
		props = buf_slice(b);
	}
	return msg_new(w->topic, props, w->payload);
}

/* Whether Azure's restrictions hold (CONTRACT section 5): 3.1.1 with an api-version in the user
 * name. */
static bool speaks_azure(const struct broker_client *c, const struct connecting *k)
{
	struct slice mark = SLICE_LIT("api-version="), user = k->con.username;
	return c->version == MQTT_V311 && k->auth.principal->kind == PRINCIPAL_DEVICE &&
	        k->con.has_username && user.n > 0 && memmem(user.p, user.n, mark.p, mark.n);
}

/* ---- a session that is to be kept: CONNACK waits until it is ---- */

static void join_late(struct loop_timer *t, HF_UNUSED struct loop *loop)
{
	struct connecting *k = container_of(t, struct connecting, timer);
	connect_refuse(k->client, MQTT_UNAVAILABLE, END_REFUSED);
}

static void join(struct connecting *k, struct session *s)
{
	k->session = s;
	k->joined = true;
	s->joining = k;
	k->timer.fire = join_late;
	loop_timer_set(k->shard->loop, &k->timer, shard_limits(k->shard)->lookup_ms);
	durable_begin(s);
}

void connect_kept(struct session *s, int err)
{
	struct connecting *k = s->joining;
	struct broker_client *c = k->client;
	if (c->state != CLIENT_CONNECTING)
		return; /* it is ending, and its session with it */
	if (err) {
		connect_refuse(c, MQTT_UNAVAILABLE, END_REFUSED);
		return;
	}
	s->joining = NULL;
	k->session = NULL;
	if (s->expiry == 0) /* its row was for ending the one before */
		durable_end(s);
	admit(c, k, s, false);
}

void connect_orphan(struct session *s)
{
	struct connecting *k = TAKE_PTR(s->joining);
	if (!k)
		return;
	k->session = NULL;
	if (k->client)
		connect_refuse(k->client, MQTT_NOT_AUTHORIZED, END_REFUSED);
}

/* Rows of sessions wait for the store, and with them wills: while it has no room for more, nothing
 * begins that would need one. A session that is known has one write under way at most. */
static bool must_be_refused(const struct connecting *k, const struct session *before)
{
	const struct principal *p = k->auth.principal;
	bool lasting = session_expiry(k->client, &k->con) > 0;
	bool known = before && !before->joining && !k->con.clean_start &&
	        same_generation(before->principal, p);
	if (!k->shard->b->keeps || (known && !k->con.will.present))
		return false;
	return (lasting || (before && before->durable)) && shard_store_full(k->shard);
}

static void connect_finish(struct connecting *k)
{
	struct broker_client *c = k->client;
	struct principal *p = k->auth.principal;
	const struct session *before = session_find(k->shard, p, k->auth.client_id);
	if (must_be_refused(k, before)) {
		connecting_free(k);
		connect_refuse(c, MQTT_UNAVAILABLE, END_REFUSED);
		return;
	}
	struct msg *will = k->con.will.present ? make_will(k) : NULL;
	/* The identity was deleted and made again while an old credential was being looked up. */
	bool stale = before &&
	        (before->principal->device_key > p->device_key ||
	                before->principal->module_key > p->module_key);
	/* A kept session that a clean start ends is not to come back after a crash. */
	bool replaces = before && before->durable;
	struct session *s = stale ? NULL : known_session(k);
	bool present = s != NULL;
	if (present && s->durable && s->durable->cold && !take_ids(k, s)) {
		msg_unref(will);
		connecting_free(k);
		connect_refuse(c, MQTT_QUOTA, END_REFUSED);
		return;
	}
	if (!s && !stale)
		s = new_session(k, !before && k->con.clean_start);
	if (!s || (k->con.will.present && !(will && quota_will_fits(k->shard, will)))) {
		msg_unref(will);
		if (s && !present)
			session_discard(s);
		connecting_free(k);
		connect_refuse(c, stale ? MQTT_NOT_AUTHORIZED : MQTT_QUOTA, END_REFUSED);
		return;
	}
	settle_terms(c, &k->con);
	c->azure = speaks_azure(c, k);
	set_will(s, &k->con.will, will);
	s->expiry = session_expiry(c, &k->con);
	if (k->shard->b->keeps && !present && (s->expiry > 0 || replaces))
		join(k, s);
	else
		admit(c, k, s, present);
}

/* ---- answers ---- */

static void loaded(struct mail *mail)
{
	struct connecting *k = container_of(mail, struct connecting, load.mail);
	struct broker_client *c = k->client;
	if (!c || c->state != CLIENT_CONNECTING) {
		connecting_free(k);
	} else if (k->load.err) {
		connecting_free(k);
		connect_refuse(c, MQTT_UNAVAILABLE, END_REFUSED);
	} else {
		connect_finish(k);
	}
}

/* Whether the store may know QoS 2 messages of the session that the client goes on with, which this
 * process does not. */
static bool must_load(struct connecting *k)
{
	const struct principal *p = k->auth.principal;
	const struct session *s = session_find(k->shard, p, k->auth.client_id);
	struct qos2_owner owner = {p->device_key, k->auth.client_id};
	if (k->con.clean_start || (s && !(s->durable && s->durable->cold)))
		return false;
	if (p->kind != PRINCIPAL_DEVICE && !s)
		return false;
	if (p->kind != PRINCIPAL_DEVICE)
		owner = qos2_owner(s, k->name);
	k->load.device_key = owner.device_key;
	k->load.session = owner.session;
	return true;
}

static void load(struct connecting *k)
{
	const struct telemetry_store *store = &k->shard->b->store;
	k->load.mail.deliver = loaded;
	k->load.reply_to = k->shard->box;
	store->qos2_load(store->ctx, &k->load);
}

static uint8_t refusal_code(int err)
{
	switch (err) {
	case ERR_INVALID: return MQTT_CLIENT_ID_INVALID;
	case ERR_UNAVAILABLE: return MQTT_UNAVAILABLE;
	default: return MQTT_NOT_AUTHORIZED; /* whatever was wrong, it looks the same */
	}
}

static void authenticated(struct auth_request *r)
{
	struct connecting *k = r->user;
	struct broker_client *c = k->client;
	if (r->err)
		r->principal = NULL;
	if (!c || c->state != CLIENT_CONNECTING) { /* it has gone meanwhile */
		connecting_free(k);
		return;
	}
	if (r->err) {
		log_info("mqtt connect refused", F_U64("conn", c->conn_id),
		        F_STR("peer", c->address), F_SLICE("client", r->client_id),
		        F_STR("reason", deny_name(r->reason)));
		int err = r->err;
		connecting_free(k);
		connect_refuse(c, refusal_code(err), END_REFUSED);
		return;
	}
	if (!rate_connect(k->shard, r->principal)) {
		log_info("mqtt client connects too often", F_U64("conn", c->conn_id),
		        F_SLICE("client", r->client_id));
		connecting_free(k);
		connect_refuse(c, MQTT_RATE_EXCEEDED, END_CONNECT_RATE);
		return;
	}
	const struct mqtt_will *w = &k->con.will;
	if (w->present && !publish_judge(k->shard, r->principal, w->topic, w->retain).allowed) {
		denied_publish(r->principal, w->topic);
		log_info("mqtt will refused", F_U64("conn", c->conn_id),
		        F_SLICE("client", r->client_id));
		connecting_free(k);
		connect_refuse(c, MQTT_NOT_AUTHORIZED, END_REFUSED);
		return;
	}
	if (must_load(k))
		load(k);
	else
		connect_finish(k);
}

/* ---- the packet ---- */

static struct cert_chain *certificate_of(const struct broker_client *c)
{
	return c->ops->certificate ? c->ops->certificate(c->link) : NULL;
}

/* The answer may come when the connection is gone: what belongs to that is copied behind the
 * packet.
 */
static void keep_tls(struct connecting *k, struct slice server_name)
{
	const struct broker_client *c = k->client;
	k->auth.protocol = c->protocol;
	k->auth.certificate = cert_chain_ref(certificate_of(c));
	k->auth.server_name = slice_make(k->bytes + k->n, server_name.n);
	if (server_name.n > 0)
		memcpy(k->bytes + k->n, server_name.p, server_name.n);
}

static void keep_opening(struct connecting *k)
{
	const struct broker_client *c = k->client;
	k->opening = c->ops->take_opening ? c->ops->take_opening(c->link) : NULL;
	if (!k->opening)
		return;
	k->auth.query = k->opening->query;
	k->auth.headers = k->opening->headers;
	k->auth.n_headers = k->opening->n_headers;
}

static void ask(struct broker_client *c, const struct mqtt_frame *f, struct slice assigned)
{
	const struct broker_hooks *hooks = &c->shard->b->hooks;
	struct slice server_name = {0};
	if (c->ops->server_name)
		server_name = c->ops->server_name(c->link);
	struct connecting *k = calloc(1, sizeof(*k) + f->body.n + server_name.n);
	uint8_t code;
	if (!k) {
		connect_refuse(c, MQTT_QUOTA, END_REFUSED);
		return;
	}
	k->n = f->body.n;
	memcpy(k->bytes, f->body.p, k->n);
	k->shard = c->shard;
	k->client = c;
	LIST_INSERT_HEAD(&c->shard->connecting, k, entry);
	struct mqtt_frame copy = *f;
	copy.body = slice_make(k->bytes, k->n);
	mqtt_decode_connect(&copy, &k->con, &code); /* as a moment ago */
	k->assigned_len = (uint16_t)assigned.n;
	if (assigned.n > 0)
		memcpy(k->assigned, assigned.p, assigned.n);
	k->auth = (struct auth_request){
	        .loop = c->shard->loop,
	        .anonymous_allowed = c->anonymous_allowed,
	        .client_id = assigned.n ? slice_make(k->assigned, assigned.n) : k->con.client_id,
	        .has_username = k->con.has_username,
	        .has_password = k->con.has_password,
	        .username = k->con.username,
	        .password = k->con.password,
	        .persistent = session_expiry(c, &k->con) > 0,
	        .has_will = k->con.will.present,
	        .will_topic = k->con.will.topic,
	        .done = authenticated,
	        .user = k,
	};
	snprintf(k->auth.peer, sizeof(k->auth.peer), "%s", c->address);
	keep_tls(k, server_name);
	keep_opening(k);
	c->connecting = k;
	c->state = CLIENT_CONNECTING;
	loop_timer_cancel(&c->timer); /* the registry and the store answer in bounded time */
	hooks->authenticate(hooks->ctx, &k->auth);
	if (c->state == CLIENT_CONNECTING)
		client_pause(c, PAUSE_CONNECT);
}

/* Who a client without a client id claims to be: by its user name, else by its certificate. */
static struct slice claimed_id(
        struct broker_client *c, const struct mqtt_connect *con, uint8_t out[static ASSIGNED_MAX])
{
	const struct broker_hooks *hooks = &c->shard->b->hooks;
	const struct slice none = {0};
	struct slice claimed = none;
	char named[MODULE_ID_MAX + 1] = "";
	struct cert_chain *certificate = con->has_username ? NULL : certificate_of(c);
	if (con->has_username && !hooks->claimed_id(hooks->ctx, con->username, &claimed))
		return none;
	if (certificate && hooks->certificate_id &&
	        hooks->certificate_id(hooks->ctx, certificate, named))
		claimed = slice_str(named);
	if (claimed.n == 0 || claimed.n > ASSIGNED_MAX)
		return none;
	memcpy(out, claimed.p, claimed.n);
	return slice_make(out, claimed.n);
}

/* A client id for a client that gave none: the device that it claims to be, or a random one. The
 * random one is chosen so that its home is here: the client may come back with it. */
static struct slice assign_id(
        struct broker_client *c, const struct mqtt_connect *con, uint8_t out[static ASSIGNED_MAX])
{
	struct slice claimed = c->version == MQTT_V5 ? claimed_id(c, con, out) : (struct slice){0};
	if (claimed.n > 0)
		return claimed;
	static const uint8_t prefix[5] = {'a', 'u', 't', 'o', '-'};
	struct slice id;
	do {
		uint8_t random[16];
		char hex[2 * sizeof(random) + 1];
		crypto_random(random, sizeof(random));
		crypto_hex_encode(slice_make(random, sizeof(random)), hex);
		memcpy(out, prefix, sizeof(prefix));
		memcpy(out + sizeof(prefix), hex, 2 * sizeof(random));
		id = slice_make(out, sizeof(prefix) + 2 * sizeof(random));
	} while (broker_home_client(c->shard->b, id) != c->shard);
	return id;
}

/* What can be said before anybody is asked: 0 or the reason code of the refusal. */
static uint8_t judge(const struct broker_client *c, const struct mqtt_connect *con)
{
	const struct broker_limits *lim = shard_limits(c->shard);
	if (c->shard->draining)
		return MQTT_UNAVAILABLE;
	if (con->auth_method.p)
		return MQTT_BAD_AUTH_METHOD;
	if (con->client_id.n > CLIENT_ID_MAX ||
	        (con->client_id.n == 0 && c->version != MQTT_V5 && !con->clean_start))
		return MQTT_CLIENT_ID_INVALID; /* [MQTT-3.1.3-8] of 3.1.1 */
	if (!con->will.present)
		return 0;
	if (!topic_name_valid(con->will.topic, lim->max_topic_levels))
		return MQTT_TOPIC_INVALID;
	return con->will.payload.n > lim->max_payload ? MQTT_TOO_LARGE : 0;
}

bool connect_received(struct broker_client *c, const struct mqtt_frame *f)
{
	struct mqtt_connect con = {0};
	uint8_t code = MQTT_UNSPECIFIED, assigned[ASSIGNED_MAX];
	int err = mqtt_decode_connect(f, &con, &code);
	c->version = con.version == MQTT_V5 ? MQTT_V5 : MQTT_V311;
	if (err && con.version == 0) { /* not MQTT: nothing that it would understand */
		client_end(c, END_PROTOCOL);
		return true;
	}
	if (err) {
		connect_refuse(c, code,
		        err == ERR_MALFORMED          ? END_MALFORMED
		                : err == ERR_PROTOCOL ? END_PROTOCOL
		                                      : END_REFUSED);
		return true;
	}
	code = judge(c, &con);
	if (code) {
		connect_refuse(
		        c, code, code == MQTT_BAD_AUTH_METHOD ? END_BAD_METHOD : END_REFUSED);
		return true;
	}
	struct slice id = con.client_id;
	if (id.n == 0)
		id = assign_id(c, &con, assigned);
	struct shard *home = broker_home_client(c->shard->b, id);
	if (home != c->shard) {
		client_move(c, home);
		return false;
	}
	ask(c, f, con.client_id.n == 0 ? id : slice_make(NULL, 0));
	return true;
}
