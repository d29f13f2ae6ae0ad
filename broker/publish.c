/*
 * PUBLISH from a client, and PUBREL. What is accepted is stored, retained and routed at once; the
 * acknowledgement waits in a ticket until everything that must be durable is.
 */
#include "broker/client.h"
#include "broker/denied.h"
#include "broker/mem.h"
#include "broker/receive.h"
#include "broker/topic.h"
#include "server/base/err.h"
#include "server/base/metrics.h"
#include "server/base/utf8.h"

#define CACHED_TOPIC_MAX 1024 /* what is decided for a longer one is not kept */

/* ---- what may happen to a topic ---- */

static const struct slice ingest_prefix = {(const uint8_t *)"$aws/rules/", 11};

/* "$aws/rules/{rule}/T": judged and stored as T, and seen by nobody but the store. */
static struct topic_rule judge_ingest(
        const struct shard *sh, const struct principal *who, struct slice topic, bool retain)
{
	const struct broker_hooks *hooks = &sh->b->hooks;
	const size_t prefix = ingest_prefix.n;
	struct topic_rule rule = {.stored_off = NOT_STORED};
	struct slice rest = slice_from(topic, prefix);
	const uint8_t *slash = rest.n ? memchr(rest.p, '/', rest.n) : NULL;
	if (!slash || slash == rest.p)
		return rule;
	struct slice real = slice_from(rest, (size_t)(slash - rest.p) + 1);
	if (real.n == 0 || real.p[0] == '$')
		return rule;
	rule.allowed = hooks->may_publish(hooks->ctx, who, real, retain);
	if (rule.allowed && shard_stores(sh, real))
		rule.stored_off = (uint32_t)(real.p - topic.p);
	return rule;
}

struct topic_rule publish_judge(
        const struct shard *sh, const struct principal *who, struct slice topic, bool retain)
{
	const struct broker_hooks *hooks = &sh->b->hooks;
	bool device = who->kind == PRINCIPAL_DEVICE;
	if (device && slice_has_prefix(topic, ingest_prefix))
		return judge_ingest(sh, who, topic, retain);
	struct topic_rule rule = {.stored_off = NOT_STORED};
	if (slice_has_prefix(topic, SLICE_LIT("$SYS/")))
		return rule;
	rule.allowed = hooks->may_publish(hooks->ctx, who, topic, retain);
	/* What devices say to "$iothub/…" is for the hub itself, never for other clients. */
	rule.routed = rule.allowed && !slice_has_prefix(topic, SLICE_LIT("$iothub/"));
	if (rule.routed)
		rule.home = route_private_home(sh->b, topic);
	if (rule.allowed && device && topic.p[0] != '$' && shard_stores(sh, topic))
		rule.stored_off = 0;
	return rule;
}

/* What was decided for the last topic, if this is it and still stands. */
static struct topic_cache *cached(const struct broker_client *c, struct slice topic, bool retain)
{
	struct topic_cache *cache = c->cache;
	if (cache && cache->retain == retain && cache->limits_version == c->shard->limits_version &&
	        shard_now(c->shard) < cache->decided_ms + DECISION_MS &&
	        slice_eq(slice_make(cache->topic, cache->len), topic))
		return cache;
	return NULL;
}

/* Most clients publish to one topic: what was decided for the last one is kept. */
static struct topic_rule client_rule(struct broker_client *c, struct slice topic, bool retain)
{
	struct topic_cache *cache = cached(c, topic, retain);
	if (cache)
		return cache->rule;
	cache = c->cache;
	struct topic_rule rule = publish_judge(c->shard, c->session->principal, topic, retain);
	if (topic.n > CACHED_TOPIC_MAX)
		return rule;
	if (!cache || cache->len < topic.n) {
		free(cache);
		cache = c->cache = malloc(sizeof(*cache) + topic.n);
	}
	if (cache) {
		cache->rule = rule;
		cache->decided_ms = shard_now(c->shard);
		cache->retain = retain;
		cache->limits_version = c->shard->limits_version;
		cache->index_version = 0;
		cache->len = (uint16_t)topic.n;
		memcpy(cache->topic, topic.p, topic.n);
	}
	return rule;
}

/*
 * Whether nothing is to be done with a message but to answer: nobody subscribed, here or on another
 * loop, and it is neither stored nor retained. Asked for each message of a client that talks to
 * nobody, so the answer is kept with the topic until a subscription comes or goes on this loop.
 */
static bool unwanted(struct broker_client *c, const struct mqtt_publish *p)
{
	struct shard *sh = c->shard;
	struct topic_cache *cache = cached(c, p->topic, false);
	if (!cache || p->retain || !cache->rule.routed || cache->rule.stored_off != NOT_STORED)
		return false;
	if (cache->rule.home && cache->rule.home != sh)
		return false;
	uint64_t version = index_version(sh->subs) + 1;
	if (cache->index_version != version) {
		cache->index_version = version;
		cache->unwanted = index_empty_for(sh->subs, p->topic);
	}
	return cache->unwanted;
}

bool publish_accept(struct shard *sh, struct msg *m, const struct topic_rule *rule,
        const struct session *from, struct ticket *t)
{
	if (t && rule->stored_off != NOT_STORED)
		ticket_store(t, m, slice_from(msg_topic(m), rule->stored_off));
	if (!rule->routed)
		return rule->stored_off != NOT_STORED;
	if (m->retain)
		retained_set(sh, m, from ? from->principal : t->principal, t ? &t->receipt : NULL);
	return route_publish(sh, m, from, rule->home, t ? &t->receipt : NULL) ||
	        rule->stored_off != NOT_STORED;
}

/* ---- one PUBLISH ---- */

/* The topic, by name or alias. False: the connection ends. */
static bool resolve_topic(struct broker_client *c, struct mqtt_publish *p)
{
	if (p->alias > c->alias_in_max) {
		client_end(c, END_TOPIC_ALIAS); /* [MQTT-3.3.2-9] */
		return false;
	}
	if (p->topic.n == 0) {
		p->topic = alias_in_get(c->aliases_in, p->alias);
		if (p->topic.n > 0)
			return true;
		client_end(c, END_PROTOCOL); /* section 3.3.4: an alias that stands for nothing */
		return false;
	}
	if (!topic_name_valid(p->topic, shard_limits(c->shard)->max_topic_levels)) {
		client_end(c, END_TOPIC_NAME);
		return false;
	}
	if (p->alias && alias_in_set(&c->aliases_in, c->alias_in_max, p->alias, p->topic) != 0) {
		client_end(c, END_QUOTA);
		return false;
	}
	return true;
}

static struct msg *make_msg(struct broker_client *c, const struct mqtt_publish *p)
{
	struct shard *sh = c->shard;
	struct slice props = p->props;
	if (!p->props_travel) {
		struct buf *b = shard_scratch(sh);
		if (mqtt_publish_travelling(p, b) != 0)
			return NULL;
		props = buf_slice(b);
	}
	struct msg *m = msg_new(p->topic, props, p->payload);
	if (!m)
		return NULL;
	m->qos = p->qos;
	m->retain = p->retain;
	m->expires = p->has_expiry;
	m->expires_ms = p->has_expiry ? shard_now(sh) + p->expiry * 1000ull : MSG_NO_EXPIRY;
	m->received_us = loop_wall_us(sh->loop);
	m->device_key = c->session->principal->device_key;
	m->packet_id = p->qos == 2 ? p->packet_id : 0;
	receive_sign(sh, m, c->session->principal);
	return m;
}

static void take_qos0(
        struct broker_client *c, const struct mqtt_publish *p, const struct topic_rule *rule)
{
	struct shard *sh = c->shard;
	struct topic_rule now = *rule;
	if (now.stored_off != NOT_STORED && shard_store_full(sh)) {
		metric_inc(METRIC_DROPPED_QOS0); /* best effort: subscribers still get it */
		now.stored_off = NOT_STORED;
	}
	struct msg *m = make_msg(c, p);
	if (!m) {
		metric_inc(METRIC_DROPPED_QOS0);
		return;
	}
	struct ticket *t = NULL;
	if (now.stored_off != NOT_STORED)
		t = ticket_new(sh, c->session->principal, true);
	if (t) /* nobody waits for it; but it counts for the window */
		ticket_queue(c, t);
	publish_accept(sh, m, &now, c->session, t);
	if (t)
		ticket_settle(t, 0);
	msg_unref(m);
	if (route_full(sh))
		client_starve(c);
}

/* An acknowledgement that waits for nothing but its turn. */
static void answer(struct broker_client *c, const struct mqtt_publish *p, uint8_t reason)
{
	struct ticket *t = ticket_new(c->shard, c->session->principal, false);
	t->packet_id = p->packet_id;
	t->ack = p->qos == 1 ? MQTT_PUBACK : MQTT_PUBREC;
	t->reason = reason;
	ticket_queue(c, t);
	ticket_settle(t, 0);
}

/* A QoS 1 or 2 message that was not here before. */
static void take(struct broker_client *c, const struct mqtt_publish *p,
        const struct topic_rule *rule, struct qos2_slot *q)
{
	struct shard *sh = c->shard;
	bool stored = rule->stored_off != NOT_STORED;
	struct msg *m = make_msg(c, p);
	if (!m) {
		client_end(c, END_QUOTA);
		return;
	}
	struct ticket *t = ticket_new(sh, c->session->principal, stored);
	t->packet_id = p->packet_id;
	t->ack = p->qos == 1 ? MQTT_PUBACK : MQTT_PUBREC;
	bool wait = q && qos2_must_wait(c->session, stored);
	if (q) {
		/* What an earlier message left of the id in the store goes with this one. */
		q->stored = stored || wait || (q->state == QOS2_RESTORED && q->stored);
		q->state = QOS2_PENDING;
		session_tie(c->session, &t->session, TETHER_TICKET);
	}
	ticket_queue(c, t);
	if (wait)
		qos2_hold_back(c->session, m, rule, t);
	else if (!publish_accept(sh, m, rule, c->session, t))
		t->reason = MQTT_NO_MATCHING_SUBSCRIBERS;
	bool kept = t->receipt.waiting > 1;
	ticket_settle(t, 0);
	msg_unref(m);
	if ((kept && shard_store_full(sh)) || route_full(sh))
		client_starve(c);
}

/* It was taken before the hub stopped, but may not have come to all queues that it was for. */
static void route_again(
        struct broker_client *c, struct msg *m, const struct topic_rule *rule, struct qos2_slot *q)
{
	struct topic_rule again = *rule;
	struct ticket *t = ticket_new(c->shard, c->session->principal, false);
	m->again = true;
	/* By that its copies are known, should the hub stop once more. */
	if (c->session->qos2.restored[q->restored].received_us)
		m->received_us = c->session->qos2.restored[q->restored].received_us;
	again.stored_off = NOT_STORED;
	t->packet_id = q->packet_id;
	t->ack = MQTT_PUBREC;
	q->state = QOS2_PENDING;
	session_tie(c->session, &t->session, TETHER_TICKET);
	ticket_queue(c, t);
	publish_accept(c->shard, m, &again, c->session, t);
	ticket_settle(t, 0);
}

/* Whether a restored packet id means this very message again (then it is stored already). */
static bool is_resend(struct broker_client *c, const struct mqtt_publish *p,
        const struct topic_rule *rule, struct qos2_slot *q)
{
	const struct telemetry_store *store = &c->shard->b->store;
	const struct qos2_id *known = &c->session->qos2.restored[q->restored];
	uint8_t tag[sizeof(known->tag)];
	if (!p->dup)
		return false;
	struct msg *m = make_msg(c, p);
	if (!m)
		return false;
	store->qos2_tag(store->ctx, m, tag);
	bool same = memcmp(tag, known->tag, sizeof(tag)) == 0;
	if (same)
		route_again(c, m, rule, q);
	msg_unref(m);
	return same;
}

/* A packet id that is in use: true when the message was here before and only wants its PUBREC. */
static bool is_duplicate(struct broker_client *c, const struct mqtt_publish *p,
        const struct topic_rule *rule, struct qos2_slot *q)
{
	switch (q->state) {
	case QOS2_PENDING: {
		struct ticket *t = ticket_find_qos2(c->session, p->packet_id);
		if (t && !t->client) { /* sent on an earlier connection: this one gets the answer */
			ticket_queue(c, t);
			return true;
		}
		return t != NULL;
	}
	case QOS2_HELD: answer(c, p, MQTT_SUCCESS); return true;
	case QOS2_RESTORED: return is_resend(c, p, rule, q);
	default: return false; /* released: the id means a new message */
	}
}

/* Counts the message against the receive maximum. False: one too many. */
static bool take_quota(struct broker_client *c)
{
	if (c->version == MQTT_V5 && c->quota_used >= c->receive_maximum) {
		client_end(c, END_RECEIVE_MAXIMUM); /* [MQTT-3.3.4-7] */
		return false;
	}
	c->quota_used++;
	return true;
}

static void take_qos2(
        struct broker_client *c, const struct mqtt_publish *p, const struct topic_rule *rule)
{
	struct qos2_slot *q = qos2_find(&c->session->qos2, p->packet_id);
	if (!(q && q->counted) && !take_quota(c))
		return;
	if (q) {
		q->counted = true;
		if (is_duplicate(c, p, rule, q))
			return;
	}
	if (!q)
		q = qos2_add(&c->session->qos2, p->packet_id);
	if (!q) {
		client_end(c, END_QUOTA);
		return;
	}
	q->counted = true;
	take(c, p, rule, q);
}

/* Nobody wants it: nothing is copied or allocated, and without others before it the answer leaves
 * at once. */
static void take_unwanted(struct broker_client *c, const struct mqtt_publish *p)
{
	if (p->qos == 0 || !take_quota(c))
		return;
	if (c->tickets) {
		answer(c, p, MQTT_NO_MATCHING_SUBSCRIBERS);
		return;
	}
	c->quota_used--;
	client_send_ack(c, MQTT_PUBACK, p->packet_id, MQTT_NO_MATCHING_SUBSCRIBERS);
	if (c->shard->draining)
		drain_client(c);
}

static void refuse(struct broker_client *c, const struct mqtt_publish *p, uint8_t reason)
{
	if (c->version != MQTT_V5)
		client_end(c, END_NOT_AUTHORIZED);
	else if (p->qos > 0 && take_quota(c))
		answer(c, p, reason);
}

bool client_azure_topic(const struct broker_client *c, struct slice topic)
{
	const struct slice devices = SLICE_LIT("devices/");
	if (!c->azure)
		return false;
	if (slice_has_prefix(topic, SLICE_LIT("$iothub/")))
		return true;
	struct slice rest = slice_from(topic, devices.n);
	const uint8_t *slash = rest.n ? memchr(rest.p, '/', rest.n) : NULL;
	if (!slice_has_prefix(topic, devices) || !slash)
		return false;
	rest = slice_from(rest, (size_t)(slash - rest.p) + 1);
	return slice_has_prefix(rest, SLICE_LIT("messages/")) ||
	        slice_has_prefix(rest, SLICE_LIT("modules/"));
}

/* There QoS 2 ends the connection, and RETAIN is told as a property of the message, which is not
 * retained. False: the connection ends. */
static bool bow_to_azure(struct broker_client *c, struct mqtt_publish *p)
{
	static const uint8_t retained[] = "\x26\0\x0bmqtt-retain\0\x04true"; /* a user property */
	if (!client_azure_topic(c, p->topic))
		return true;
	if (p->qos == 2) {
		client_end(c, END_PROTOCOL);
		return false;
	}
	if (p->retain) {
		p->retain = false;
		p->props = slice_make(retained, sizeof(retained) - 1);
	}
	return true;
}

void publish_received(struct broker_client *c, const struct mqtt_frame *f)
{
	struct mqtt_publish p;
	enum end_reason end = END_MALFORMED;
	if (mqtt_decode_publish(f, c->version, &p, &end) != 0) {
		client_end(c, end);
		return;
	}
	if (!resolve_topic(c, &p))
		return;
	if (p.payload.n > shard_limits(c->shard)->max_payload) {
		client_end(c, END_TOO_LARGE);
		return;
	}
	/* What Azure's restrictions leave unretained needs no right to retain. */
	bool retain = p.retain && !client_azure_topic(c, p.topic);
	struct topic_rule rule = client_rule(c, p.topic, retain);
	if (!rule.allowed) {
		denied_publish(c->session->principal, p.topic);
		refuse(c, &p, MQTT_NOT_AUTHORIZED);
		return;
	}
	if (p.payload_is_utf8 && !utf8_valid(p.payload)) {
		refuse(c, &p, MQTT_PAYLOAD_FORMAT);
		return;
	}
	if (c->azure && !bow_to_azure(c, &p))
		return;
	metric_inc(METRIC_PUBLISH_IN);
	if (p.qos != 2 && unwanted(c, &p))
		take_unwanted(c, &p);
	else if (p.qos == 0)
		take_qos0(c, &p, &rule);
	else if (p.qos == 2)
		take_qos2(c, &p, &rule);
	else if (take_quota(c))
		take(c, &p, &rule, NULL);
}

/* ---- PUBREL ---- */

void publish_completed(struct broker_client *c, const struct qos2_slot *q)
{
	if (q->counted && c->quota_used > 0)
		c->quota_used--;
	client_send_ack(c, MQTT_PUBCOMP, q->packet_id, MQTT_SUCCESS);
}

void publish_released(struct broker_client *c, const struct mqtt_frame *f)
{
	struct mqtt_ack a;
	struct session *s = c->session;
	int err = mqtt_decode_ack(f, c->version, &a);
	if (err) {
		client_end(c, err == ERR_PROTOCOL ? END_PROTOCOL : END_MALFORMED);
		return;
	}
	struct qos2_slot *q = qos2_find(&s->qos2, a.packet_id);
	if (!q) {
		client_send_ack(c, MQTT_PUBCOMP, a.packet_id, MQTT_ID_NOT_FOUND);
	} else if (q->state == QOS2_PENDING) {
		client_end(c, END_PROTOCOL); /* PUBREL before PUBREC */
	} else if (q->state == QOS2_RELEASING) {
		q->answer_due = true;
	} else if (q->stored) {
		q->answer_due = true;
		qos2_release_one(s, q);
	} else {
		publish_completed(c, q);
		qos2_remove(&s->qos2, a.packet_id);
	}
}
