#include "broker/client.h"

#include <assert.h>

#include "broker/mem.h"
#include "broker/rate.h"
#include "server/base/clock.h"
#include "server/base/log.h"
#include "server/base/metrics.h"

/* The wall clock may be set: an expiry that depends on it is looked at again this often. */
#define EXPIRY_LOOK_MS 60000
#define STARVED_LOOK_MS 50
#define CONNECT_MAX 98304

/* ---- reading, or not ---- */

void client_pause(struct broker_client *c, uint8_t why)
{
	if (c->state == CLIENT_ENDING || (c->pauses & why))
		return;
	if (!c->pauses)
		c->ops->pause(c->link);
	c->pauses |= why;
	if (why & (PAUSE_WINDOW | PAUSE_STORE | PAUSE_OUTPUT | PAUSE_RATE))
		metric_inc(METRIC_READ_PAUSES);
}

void client_resume(struct broker_client *c, uint8_t why)
{
	if (c->state == CLIENT_ENDING || !(c->pauses & why))
		return;
	c->pauses &= (uint8_t)~why;
	if (c->pauses)
		return;
	c->last_rx_ms = shard_now(c->shard); /* what it sent meanwhile could not be seen */
	c->ops->resume(c->link);
}

static void on_starved(struct loop_timer *t, HF_UNUSED struct loop *loop)
{
	clients_feed(container_of(t, struct shard, starved_timer));
}

void client_starve(struct broker_client *c)
{
	struct shard *sh = c->shard;
	if (c->is_starved || c->state == CLIENT_ENDING)
		return;
	client_pause(c, PAUSE_STORE);
	c->is_starved = true;
	LIST_INSERT_HEAD(&sh->starved, c, starved);
	if (!loop_timer_armed(&sh->starved_timer)) {
		sh->starved_timer.fire = on_starved;
		loop_timer_set(sh->loop, &sh->starved_timer, STARVED_LOOK_MS);
	}
}

static void unstarve(struct broker_client *c)
{
	if (!c->is_starved)
		return;
	c->is_starved = false;
	LIST_REMOVE(c, starved);
}

void clients_feed(struct shard *sh)
{
	struct broker_client *c;
	if (shard_store_caught_up(sh) && route_caught_up(sh->b)) {
		while ((c = LIST_FIRST(&sh->starved)) != NULL) {
			unstarve(c);
			client_resume(c, PAUSE_STORE);
		}
	}
	if (!LIST_EMPTY(&sh->starved) && !loop_timer_armed(&sh->starved_timer))
		loop_timer_set(sh->loop, &sh->starved_timer, STARVED_LOOK_MS);
}

/* Past its rate it is not read until it has paid for what it took, or it ends. */
static void charge(struct broker_client *c, const struct mqtt_frame *f)
{
	if (c->state != CLIENT_ON || !rate_note(c->shard, c->rate, f))
		return;
	metric_inc(METRIC_RATE_EXCEEDED);
	if (shard_limits(c->shard)->end_over_rate) {
		client_end(c, END_RATE);
		return;
	}
	client_pause(c, PAUSE_RATE);
	client_watch(c);
}

void clients_rate(struct shard *sh)
{
	struct broker_client *c;
	LIST_FOREACH (c, &sh->clients, all) {
		if (c->state == CLIENT_ON && !c->rate)
			c->rate = rate_get(sh, c->session->principal);
	}
}

/* ---- writing ---- */

void client_sent(struct broker_client *c)
{
	const struct broker_limits *limits = shard_limits(c->shard);
	size_t unsent = c->ops->unsent(c->link);
	metric_inc(METRIC_MQTT_PACKETS_OUT);
	if (unsent > limits->output_hard_bytes) {
		client_end(c, END_SLOW_READER);
	} else if (unsent > limits->output_soft_bytes / 4 && c->state == CLIENT_ON &&
	        !(c->pauses & PAUSE_OUTPUT)) {
		/* What it asks for next would only make more of it. */
		client_pause(c, PAUSE_OUTPUT);
		c->slow_unsent = (uint32_t)(unsent < UINT32_MAX ? unsent : UINT32_MAX);
		c->slow_by = shard_now(c->shard) + limits->slow_reader_ms;
		client_watch(c);
	}
}

void client_send(struct broker_client *c, const struct buf *b)
{
	struct slice s = buf_slice(b);
	if (s.n == 0 || c->state == CLIENT_ENDING)
		return;
	if (c->state == CLIENT_ON && s.n > c->max_packet)
		return; /* [MQTT-3.1.2-24] */
	c->ops->send(c->link, s.p, s.n);
	client_sent(c);
}

void client_send_ack(
        struct broker_client *c, enum mqtt_type type, uint16_t packet_id, uint8_t reason)
{
	struct buf *b = shard_scratch(c->shard);
	if (mqtt_encode_ack(b, type, c->version, packet_id, reason) == 0)
		client_send(c, b);
}

/* ---- the end ---- */

static void reap(struct mail *mail)
{
	struct shard *sh = container_of(mail, struct shard, reap);
	struct broker_client *c;
	sh->reap_posted = false;
	while ((c = LIST_FIRST(&sh->ending)) != NULL)
		client_detach(c);
}

static void log_end(const struct broker_client *c, enum end_reason why)
{
	struct slice id = c->session ? session_client_id(c->session) : SLICE_LIT("");
	if (end_is_error(why))
		log_info("mqtt connection ended", F_U64("conn", c->conn_id), F_SLICE("client", id),
		        F_STR("reason", end_name(why)));
	else
		log_debug("mqtt connection ended", F_U64("conn", c->conn_id), F_SLICE("client", id),
		        F_STR("reason", end_name(why)));
}

void client_end(struct broker_client *c, enum end_reason why)
{
	struct shard *sh = c->shard;
	if (c->state == CLIENT_ENDING)
		return;
	/* Who does not read gets no farewell either. */
	bool hard = why == END_SLOW_READER;
	if (c->state == CLIENT_ON && c->version == MQTT_V5 && end_mqtt(why) != 0 && !hard) {
		struct buf *b = shard_scratch(sh);
		if (mqtt_encode_disconnect(b, end_mqtt(why), NULL) == 0)
			client_send(c, b);
	}
	if (c->state == CLIENT_ENDING) /* that was the drop too much */
		return;
	log_end(c, why);
	c->state = CLIENT_ENDING;
	loop_timer_cancel(&c->timer);
	/* Not now: this may be in the middle of routing a message, and a session that ends changes
	 * the index. */
	c->is_ending_listed = true;
	LIST_INSERT_HEAD(&sh->ending, c, ending);
	if (!sh->reap_posted) {
		sh->reap_posted = true;
		sh->reap.deliver = reap;
		mail_post(sh->box, &sh->reap);
	}
	c->ops->close(c->link, why, hard);
}

static void tell_presence(struct broker_client *c, struct session *s)
{
	const struct broker_hooks *hooks = &c->shard->b->hooks;
	if (s->principal->kind != PRINCIPAL_DEVICE || c->taken_over)
		return;
	hooks->presence(hooks->ctx, s->principal, false, loop_wall_us(c->shard->loop));
}

void client_detach(struct broker_client *c)
{
	struct session *s = c->session;
	if (c->is_ending_listed) {
		c->is_ending_listed = false;
		LIST_REMOVE(c, ending);
	}
	unstarve(c);
	connect_abandon(c);
	subscribe_abandon(c);
	tickets_detach(c);
	loop_timer_cancel(&c->timer);
	if (!s)
		return;
	metric_add(METRIC_MQTT_CLIENTS, -1);
	tell_presence(c, s);
	c->session = NULL;
	session_detach(s);
}

void broker_client_end(struct broker_client *c, enum end_reason why)
{
	client_end(c, why);
}

void broker_client_closed(struct broker_client *c, enum end_reason why)
{
	struct broker *b = c->shard->b;
	if (c->state != CLIENT_ENDING) {
		log_end(c, why);
		if (c->state != CLIENT_MOVING)
			client_detach(c);
	} else if (c->is_ending_listed) {
		client_detach(c);
	}
	if (c->is_listed)
		LIST_REMOVE(c, all);
	rate_unref(c->shard, c->rate);
	free(c->cache);
	alias_in_free(c->aliases_in);
	alias_out_free(c->aliases_out);
	free(c);
	atomic_fetch_sub(&b->clients, 1);
}

/* ---- time ---- */

static uint64_t keep_alive_left(const struct broker_client *c, uint64_t now)
{
	uint64_t allowed = c->keep_alive * 1500ull;
	if (!c->keep_alive || c->pauses) /* while we do not read, silence is ours */
		return allowed ? allowed : UINT64_MAX;
	uint64_t silent = now - c->last_rx_ms;
	return silent < allowed ? allowed - silent : 0;
}

/* A client that takes nothing of what waits for it for mqtt.slow_reader_timeout ends; one that is
 * merely slow goes on. */
static uint64_t slow_left(struct broker_client *c, uint64_t now)
{
	if (!(c->pauses & PAUSE_OUTPUT))
		return UINT64_MAX;
	if (now < c->slow_by)
		return c->slow_by - now;
	size_t unsent = c->ops->unsent(c->link);
	if (unsent >= c->slow_unsent)
		return 0;
	c->slow_unsent = (uint32_t)unsent;
	c->slow_by = now + shard_limits(c->shard)->slow_reader_ms;
	return shard_limits(c->shard)->slow_reader_ms;
}

/* ms until a client that sends too fast is read again, which is done here when it is time. */
static uint64_t rate_left(struct broker_client *c)
{
	if (!(c->pauses & PAUSE_RATE))
		return UINT64_MAX;
	uint64_t wait = rate_wait(c->shard, c->rate);
	if (wait > 0)
		return wait;
	client_resume(c, PAUSE_RATE);
	return UINT64_MAX;
}

static uint64_t expiry_left(const struct broker_client *c)
{
	int64_t at = c->session ? c->session->principal->expires_at : 0;
	if (at == 0)
		return UINT64_MAX;
	int64_t now = loop_wall_us(c->shard->loop) / 1000;
	if (at > INT64_MAX / 1000)
		return UINT64_MAX;
	int64_t left = at * 1000 - now;
	return left <= 0 ? 0 : left < EXPIRY_LOOK_MS ? (uint64_t)left : EXPIRY_LOOK_MS;
}

void client_watch(struct broker_client *c)
{
	uint64_t now = shard_now(c->shard), expiry = expiry_left(c), left;
	if (c->state == CLIENT_NEW) {
		left = c->connect_by > now ? c->connect_by - now : 0;
		if (left == 0) {
			client_end(c, END_CONNECT_TIMEOUT);
			return;
		}
	} else {
		left = keep_alive_left(c, now);
		if (expiry == 0 || left == 0) {
			client_end(c, expiry == 0 ? END_EXPIRED : END_KEEP_ALIVE);
			return;
		}
		left = expiry < left ? expiry : left;
		uint64_t slow = slow_left(c, now);
		if (slow == 0) {
			client_end(c, END_SLOW_READER);
			return;
		}
		left = slow < left ? slow : left;
		uint64_t wait = rate_left(c);
		left = wait < left ? wait : left;
	}
	if (left != UINT64_MAX)
		loop_timer_set(c->shard->loop, &c->timer, left);
}

/* Packets do not touch the timer: when it fires, the last one is looked at. */
static void on_timer(struct loop_timer *t, HF_UNUSED struct loop *loop)
{
	client_watch(container_of(t, struct broker_client, timer));
}

int64_t client_activity_us(const struct broker_client *c)
{
	uint64_t silent = shard_now(c->shard) - c->last_rx_ms;
	return loop_wall_us(c->shard->loop) - (int64_t)silent * 1000;
}

/* ---- packets ---- */

static void disconnect_received(struct broker_client *c, const struct mqtt_frame *f)
{
	struct mqtt_disconnect d = {0};
	int err = mqtt_decode_disconnect(f, c->version, &d);
	if (err) {
		client_end(c, err == ERR_PROTOCOL ? END_PROTOCOL : END_MALFORMED);
		return;
	}
	if (d.has_session_expiry) {
		if (c->session->expiry == 0 &&
		        d.session_expiry != 0) { /* [MQTT-3.14.2-2]'s error */
			client_end(c, END_PROTOCOL);
			return;
		}
		uint32_t most = shard_limits(c->shard)->max_session_expiry;
		c->session->expiry = d.session_expiry < most ? d.session_expiry : most;
	}
	c->keep_will = d.reason != MQTT_SUCCESS; /* [MQTT-3.14.4-3]; others than 0x04 keep it too */
	client_end(c, END_NORMAL);
}

static void ack_received(struct broker_client *c, const struct mqtt_frame *f)
{
	struct mqtt_ack a;
	int err = mqtt_decode_ack(f, c->version, &a);
	if (err) {
		client_end(c, err == ERR_PROTOCOL ? END_PROTOCOL : END_MALFORMED);
		return;
	}
	switch (f->type) {
	case MQTT_PUBACK: out_acked(c->session, a.packet_id, a.reason); break;
	case MQTT_PUBREC: out_received(c->session, a.packet_id, a.reason); break;
	default: out_completed(c->session, a.packet_id); break;
	}
}

static void ping_received(struct broker_client *c)
{
	struct buf *b = shard_scratch(c->shard);
	if (mqtt_encode_pingresp(b) == 0)
		client_send(c, b);
}

static void packet_received(struct broker_client *c, const struct mqtt_frame *f)
{
	switch (f->type) {
	case MQTT_PUBLISH: publish_received(c, f); break;
	case MQTT_PUBREL: publish_released(c, f); break;
	case MQTT_PUBACK:
	case MQTT_PUBREC:
	case MQTT_PUBCOMP: ack_received(c, f); break;
	case MQTT_SUBSCRIBE: subscribe_received(c, f); break;
	case MQTT_UNSUBSCRIBE: unsubscribe_received(c, f); break;
	case MQTT_PINGREQ: ping_received(c); break;
	case MQTT_DISCONNECT: disconnect_received(c, f); break;
	default: client_end(c, END_PROTOCOL); break; /* CONNECT again, AUTH, what servers send */
	}
}

/* Of those who have not said who they are less is taken: user name, password and will, each at the
 * most that its length can say, do not come together. */
static size_t packet_max(const struct broker_client *c)
{
	size_t most = shard_limits(c->shard)->max_packet_size;
	return c->state == CLIENT_NEW && most > CONNECT_MAX ? CONNECT_MAX : most;
}

/* Takes packet after packet until nothing whole is left or reading was paused. */
static size_t take_packets(struct broker_client *c, struct slice in, size_t *ret_need)
{
	size_t used = 0;
	while (!c->pauses && (c->state == CLIENT_NEW || c->state == CLIENT_ON) && used < in.n) {
		struct mqtt_frame f;
		struct slice rest = slice_from(in, used);
		if (c->state == CLIENT_NEW && rest.p[0] >> 4 != MQTT_CONNECT) {
			client_end(c, END_PROTOCOL); /* [MQTT-3.1.0-1], before it is whole */
			break;
		}
		int r = mqtt_frame_next(rest, packet_max(c), &f, ret_need);
		if (r < 0)
			client_end(c, r == ERR_TOO_BIG ? END_TOO_LARGE : END_MALFORMED);
		if (r <= 0)
			break;
		metric_inc(METRIC_MQTT_PACKETS_IN);
		if (c->state == CLIENT_NEW) {
			if (!connect_received(c, &f))
				break;
		} else {
			packet_received(c, &f);
			if (c->rate)
				charge(c, &f);
		}
		used += f.size;
	}
	return used;
}

ssize_t broker_client_data(struct broker_client *c, struct slice in, size_t *ret_need)
{
	if (c->state == CLIENT_ENDING)
		return -1;
	if (c->in_data || c->state == CLIENT_MOVING)
		return 0;
	c->in_data = true;
	c->last_rx_ms = shard_now(c->shard);
	size_t used = take_packets(c, in, ret_need);
	c->in_data = false;
	return c->state == CLIENT_ENDING ? -1 : (ssize_t)used;
}

void broker_client_drained(struct broker_client *c)
{
	client_resume(c, PAUSE_OUTPUT);
	if (c->state == CLIENT_ON)
		out_pump(c->session);
}

/* ---- the beginning ---- */

static void client_enlist(struct broker_client *c, struct shard *sh)
{
	c->shard = sh;
	c->is_listed = true;
	LIST_INSERT_HEAD(&sh->clients, c, all);
	/* Its handshake was under way when the drain began: it gets a moment for its CONNECT. */
	if (sh->draining && !loop_timer_armed(&sh->drain_timer))
		loop_timer_set(sh->loop, &sh->drain_timer, DRAIN_STEP_MS);
	client_watch(c);
}

struct broker_client *broker_client_new(struct broker *b, struct loop *here,
        const struct broker_link *ops, void *link, const struct broker_peer *peer)
{
	size_t n = strnlen(peer->address, sizeof(peer->address) - 1);
	struct broker_client *c = calloc(1, sizeof(*c) + n + 1);
	if (!c)
		return NULL;
	struct shard *sh = broker_shard(b, here);
	c->ops = ops;
	c->link = link;
	c->conn_id = peer->conn_id;
	c->protocol = peer->protocol;
	c->tls_version = peer->tls_version;
	c->anonymous_allowed = peer->anonymous_allowed;
	memcpy(c->address, peer->address, n);
	c->tickets_end = &c->tickets;
	c->timer.fire = on_timer;
	c->keep_will = true;
	c->max_packet = UINT32_MAX;
	c->last_rx_ms = shard_now(sh);
	c->connect_by = c->last_rx_ms + shard_limits(sh)->connect_ms;
	atomic_fetch_add(&b->clients, 1);
	client_enlist(c, sh);
	return c;
}

void client_move(struct broker_client *c, struct shard *to)
{
	c->state = CLIENT_MOVING;
	LIST_REMOVE(c, all);
	c->is_listed = false;
	loop_timer_cancel(&c->timer);
	c->ops->move(c->link, to->loop);
}

void broker_client_moved(struct broker_client *c, struct loop *here)
{
	struct shard *sh = broker_shard(c->shard->b, here);
	c->state = CLIENT_NEW;
	client_enlist(c, sh);
	if (sh->draining && c->state == CLIENT_NEW)
		connect_refuse(c, MQTT_UNAVAILABLE, END_SHUTDOWN);
}
