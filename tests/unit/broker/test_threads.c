/*
 * The broker room on loops that run, each in its thread, with a lane thread as its store: a storm
 * of takeovers, publishers, shared subscriptions, retained messages and wills, while the main
 * thread asks and orders as the API does. For ThreadSanitizer, and for what only shows under load.
 */
#include <check.h>
#include <pthread.h>
#include <stdlib.h>

#include "broker/broker.h"
#include "broker/codec/mqtt.h"
#include "server/base/clock.h"
#include "server/base/crypto.h"
#include "server/base/err.h"
#include "server/base/log.h"
#include "server/base/loop.h"
#include "server/base/metrics.h"
#include "storage/ram/ram.h"

#define LOOPS 3
#define ACTORS 24
#define NAMES 18 /* fewer names than actors: they take each other's sessions over */

struct storm {
	struct loop *loops[LOOPS];
	pthread_t threads[LOOPS], lane_thread;
	struct ram_store
	        *kept; /* with it sessions are durable, and the lane does what it is asked */
	struct mailbox lane;
	atomic_bool lane_stops, stop;
	struct broker *broker;
	atomic_uint running, commits, delivered, ended, connected;
};

/* ---- hooks ---- */

static void authenticate(void *ctx HF_UNUSED, struct auth_request *r)
{
	bool key = slice_has_prefix(r->client_id, SLICE_LIT("k"));
	r->principal = principal_new(
	        key ? PRINCIPAL_KEY : PRINCIPAL_DEVICE, r->client_id, SLICE_LIT(""));
	r->principal->device_key = key ? 0 : r->client_id.p[1];
	r->done(r);
}
static void recheck(void *ctx HF_UNUSED, struct recheck_request *r)
{
	const struct principal *p = r->principal;
	r->err = clock_us() % 16 ? 0 : ERR_UNAUTHENTICATED;
	r->end = END_DISABLED;
	if (!r->err && clock_us() % 2) {
		r->fresh = principal_new(p->kind, principal_id(p), SLICE_LIT(""));
		r->fresh->device_key = p->device_key;
	}
	r->done(r);
}
static bool claimed(void *ctx HF_UNUSED, struct slice u HF_UNUSED, struct slice *ret HF_UNUSED)
{
	return false;
}
static bool may_subscribe(
        void *ctx HF_UNUSED, const struct principal *p HF_UNUSED, struct slice t HF_UNUSED)
{
	return clock_us() % 32 != 0;
}
static bool may_publish(void *ctx HF_UNUSED, const struct principal *p HF_UNUSED,
        struct slice t HF_UNUSED, bool retain)
{
	return !retain || clock_us() % 32 != 0;
}
static bool may_receive(void *ctx HF_UNUSED, const struct principal *p HF_UNUSED,
        struct slice t HF_UNUSED, const struct access *from HF_UNUSED)
{
	return clock_us() % 8 != 0;
}
static bool filters(void *ctx HF_UNUSED, const struct principal *p)
{
	return ((uint8_t)p->text[p->id_len - 1] + clock_us() / 1000) % 2 == 0;
}
static void presence(void *ctx HF_UNUSED, const struct principal *p HF_UNUSED, bool on HF_UNUSED,
        int64_t when HF_UNUSED)
{
}

/* ---- the store: every kind of request begins with a mail and where its answer goes ---- */

struct request {
	struct mail mail;
	struct mailbox *reply_to;
};

static void ask_lane(void *ctx, void *request)
{
	mail_post(&((struct storm *)ctx)->lane, &((struct request *)request)->mail);
}
static void append(void *ctx, struct telemetry_row *row)
{
	ask_lane(ctx, row);
}
static void forget(void *ctx, struct qos2_release *r)
{
	ask_lane(ctx, r);
}
static void load(void *ctx, struct qos2_load *l)
{
	ask_lane(ctx, l);
}
static void tag(void *ctx HF_UNUSED, const struct msg *m HF_UNUSED, uint8_t out[8])
{
	memset(out, 0, 8);
}
static size_t backlog(void *ctx HF_UNUSED)
{
	return clock_us() % 64 ? 0 : 1000000;
}

/* What the loops have asked the store for is done here, as by a lane. */
static void commit_kept(struct storm *st)
{
	if (!st->kept)
		return;
	st->commits += (unsigned)ram_count(st->kept).waiting;
	ram_set_hold(st->kept, false);
	ram_set_hold(st->kept, !st->lane_stops);
	mail_flush();
}

static void *lane_main(void *arg)
{
	struct storm *st = arg;
	while (!st->lane_stops) {
		commit_kept(st);
		if (st->kept) {
			mailbox_wait(&st->lane, 1);
			continue;
		}
		mailbox_wait(&st->lane, 20);
		for (struct mail *m = mailbox_take(&st->lane), *next; m; m = next) {
			next = m->next;
			mail_post(container_of(m, struct request, mail)->reply_to, m);
			st->commits++;
		}
		mail_flush();
	}
	crypto_thread_done();
	return NULL;
}

/* ---- commands ---- */

struct order {
	struct broker_command command;
	char id[3];
};

static void order_done(struct broker_command *p)
{
	struct order *o = container_of(p, struct order, command);
	ck_assert(p->err == 0 || p->err == ERR_QUOTA || p->err == ERR_NOT_FOUND ||
	        p->err == ERR_CLOSED || p->err == ERR_UNAVAILABLE);
	msg_unref(p->msg);
	free(o);
}

static void order_send(struct storm *st, struct loop *here, unsigned name)
{
	char topic[32];
	struct order *o = calloc(1, sizeof(*o));
	snprintf(o->id, sizeof(o->id), "d%c", 'a' + (int)(name % NAMES));
	snprintf(topic, sizeof(topic), "t/%c", 'a' + (int)(name % NAMES));
	o->command.device_key = (uint8_t)o->id[1];
	o->command.device_id = slice_str(o->id);
	o->command.msg = msg_new(slice_str(topic), slice_make(NULL, 0), SLICE_LIT("go"));
	o->command.msg->qos = 1;
	o->command.done = order_done;
	broker_command(st->broker, here, &o->command);
}

/* ---- actors: clients that do everything, over a transport without sockets ---- */

struct actor {
	struct storm *storm;
	struct mail step; /* on the loop where the connection is */
	struct loop *loop, *moving_to;
	struct broker_client *client;
	unsigned number, seed, packets;
	uint16_t next_id, ack_id;
	uint8_t version;
	bool closing, paused_reading;
	int paused;
	enum end_reason why;
	uint8_t in[512];
	size_t in_n;
};

static unsigned dice(struct actor *a, unsigned sides)
{
	a->seed = a->seed * 1103515245u + 12345u;
	return (a->seed >> 16) % sides;
}

static void link_send(void *link HF_UNUSED, const void *p HF_UNUSED, size_t n HF_UNUSED)
{
}
static void link_send_msg(void *link, struct slice head, struct msg *m HF_UNUSED, struct slice body)
{
	struct actor *a = link;
	uint32_t len;
	size_t used;
	a->storm->delivered++;
	ck_assert_int_eq(mqtt_varint_get(slice_from(head, 1), &len, &used), 1);
	ck_assert_uint_eq(1 + used + len, head.n + body.n);
	if (!(head.p[0] & 6))
		return;
	size_t at = 1 + used, topic = (size_t)(head.p[at] << 8 | head.p[at + 1]);
	a->ack_id = (uint16_t)(head.p[at + 2 + topic] << 8 | head.p[at + 3 + topic]);
}
static size_t link_unsent(void *link HF_UNUSED)
{
	return 0;
}
static void link_pause(void *link)
{
	((struct actor *)link)->paused++;
}
static void link_resume(void *link)
{
	((struct actor *)link)->paused--;
}
static void link_close(void *link, enum end_reason why, bool hard HF_UNUSED)
{
	struct actor *a = link;
	a->closing = true;
	a->why = why;
}
static void link_move(void *link, struct loop *to)
{
	((struct actor *)link)->moving_to = to;
}
static const struct broker_link ops = {
        .send = link_send,
        .send_msg = link_send_msg,
        .unsent = link_unsent,
        .pause = link_pause,
        .resume = link_resume,
        .close = link_close,
        .move = link_move,
};

static void put(struct actor *a, const void *p, size_t n)
{
	ck_assert_uint_le(a->in_n + n, sizeof(a->in));
	memcpy(a->in + a->in_n, p, n);
	a->in_n += n;
}

/* first, then a body whose length fits a byte */
static void put_packet(struct actor *a, unsigned first, const uint8_t *body, size_t n)
{
	const uint8_t head[2] = {(uint8_t)first, (uint8_t)n};
	put(a, head, 2);
	put(a, body, n);
}

static void put_connect(struct actor *a)
{
	bool keep = dice(a, 2), key = a->number % 4 == 0;
	char name = (char)('a' + a->number % NAMES);
	uint8_t b[64] = {0, 4, 'M', 'Q', 'T', 'T'};
	size_t n = 6;
	a->version = dice(a, 2) ? MQTT_V5 : MQTT_V311;
	b[n++] = a->version;
	b[n++] = (uint8_t)(0x80 | 0x04 | (dice(a, 2) ? 0x20 : 0) | dice(a, 3) << 3 |
	        (keep ? 0 : 2));
	b[n++] = 0;
	b[n++] = 60;
	if (a->version == MQTT_V5) {
		const uint8_t props[] = {5, 0x11, 0, 0, 0, (uint8_t)dice(a, 3)};
		memcpy(b + n, props, sizeof(props));
		n += sizeof(props);
	}
	const uint8_t id[] = {0, 2, key ? 'k' : 'd', (uint8_t)name};
	memcpy(b + n, id, sizeof(id));
	n += sizeof(id);
	if (a->version == MQTT_V5)
		b[n++] = 0;
	const uint8_t will[] = {0, 3, 't', '/', (uint8_t)name, 0, 1, 'w', 0, 1, 'u'};
	memcpy(b + n, will, sizeof(will));
	put_packet(a, 0x10, b, n + sizeof(will));
	a->next_id = 0;
	a->ack_id = 0;
}

static void put_filter(struct actor *a, bool subscribe)
{
	static const char *const filters[] = {
	        "#", "t/+", "t/a", "$share/g/t/#", "$share/h/t/+", "$share/g/#", "+/b"};
	const char *filter = filters[dice(a, ARRAY_LEN(filters))];
	uint8_t b[64] = {0, 1};
	size_t n = 2;
	if (a->version == MQTT_V5)
		b[n++] = 0;
	b[n++] = 0;
	b[n++] = (uint8_t)strlen(filter);
	memcpy(b + n, filter, strlen(filter));
	n += strlen(filter);
	if (subscribe)
		b[n++] = (uint8_t)dice(a, 3);
	put_packet(a, subscribe ? 0x82 : 0xa2, b, n);
}

static void put_publish(struct actor *a)
{
	unsigned qos = dice(a, 3);
	uint8_t b[16] = {0, 3, 't', '/', (uint8_t)('a' + dice(a, NAMES))};
	size_t n = 5;
	a->next_id++;
	if (qos) {
		b[n++] = 0;
		b[n++] = (uint8_t)(a->next_id % 200 + 1);
	}
	if (a->version == MQTT_V5)
		b[n++] = 0;
	if (dice(a, 8))
		b[n++] = 'x';
	put_packet(a, 0x30 | qos << 1 | (dice(a, 4) == 0), b, n);
}

static void put_id(struct actor *a, unsigned first, uint16_t id)
{
	const uint8_t b[2] = {(uint8_t)(id >> 8), (uint8_t)id};
	put_packet(a, first, b, 2);
}

static void put_something(struct actor *a)
{
	switch (dice(a, 16)) {
	case 0: put_filter(a, true); break;
	case 1: put_filter(a, false); break;
	case 2: put_id(a, 0x62, (uint16_t)(a->next_id % 200 + 1)); break;
	case 3: put(a, "\xc0", 2); break;
	case 4:
	case 5:
	case 6: put_id(a, 0x40, a->ack_id ? a->ack_id : 1); break;
	default: put_publish(a); break;
	}
}

static void feed(struct actor *a)
{
	if (a->paused || a->in_n == 0)
		return;
	size_t need;
	ssize_t used = broker_client_data(a->client, slice_make(a->in, a->in_n), &need);
	if (used > 0) {
		a->in_n -= (size_t)used;
		memmove(a->in, a->in + used, a->in_n);
	}
}

static void act(struct actor *a)
{
	struct storm *st = a->storm;
	if (!a->client && dice(a, 100) > 0)
		return; /* so that those who are here get something done */
	if (!a->client) {
		struct broker_peer peer = {.conn_id = a->number, .protocol = "mqtt"};
		a->client = broker_client_new(st->broker, a->loop, &ops, a, &peer);
		a->in_n = 0;
		a->paused = 0;
		a->closing = false;
		a->packets = 5 + dice(a, 400);
		put_connect(a);
		st->connected++;
	} else if (a->closing || (a->packets == 0 && dice(a, 4) == 0)) {
		broker_client_closed(a->client, a->closing ? a->why : END_PEER_CLOSED);
		a->client = NULL;
		st->ended++;
		return;
	} else if (a->packets > 0 && a->in_n < 256) {
		put_something(a);
		a->packets--;
	}
	if (dice(a, 100) == 0)
		order_send(st, a->loop, dice(a, 100));
	feed(a);
}

static void step(struct mail *mail)
{
	struct actor *a = container_of(mail, struct actor, step);
	if (a->moving_to) { /* this is the other loop already */
		a->loop = a->moving_to;
		a->moving_to = NULL;
		broker_client_moved(a->client, a->loop);
		feed(a);
	} else if (!a->storm->stop) {
		act(a);
	} else {
		if (a->client)
			broker_client_closed(a->client, END_PEER_CLOSED);
		a->client = NULL;
		a->storm->running--;
		return;
	}
	mail_post(loop_mailbox(a->moving_to ? a->moving_to : a->loop), &a->step);
}

/* ---- the API's side ---- */

static void bother(struct storm *st, unsigned round)
{
	struct broker_connection *list;
	unsigned n;
	ck_assert_int_eq(broker_connections(st->broker, round & 1 ? NULL : "dc", 5, &list, &n), 0);
	for (unsigned i = 1; i < n; i++)
		ck_assert_int_le(strcmp(list[i - 1].client_id, list[i].client_id), 0);
	broker_connections_free(list, n);
	struct broker_session *sessions;
	ck_assert_int_eq(broker_sessions(st->broker, SLICE_LIT("dd"), 5, &sessions, &n), 0);
	broker_sessions_free(sessions, n);
	struct broker_presence there[2];
	const struct slice ids[2] = {SLICE_LIT("db"), SLICE_LIT("nobody")};
	broker_presence(st->broker, ids, 2, there);
	ck_assert(!there[1].connected);
	switch (round % 6) {
	case 0: broker_disconnect(st->broker, SLICE_LIT("dc")); break;
	case 1: broker_identity_changed(st->broker, ENTITY_DEVICE, SLICE_LIT("dd")); break;
	case 2: broker_recheck_all(st->broker); break;
	case 3: broker_device_gone(st->broker, SLICE_LIT("de"), 'e'); break;
	case 4: broker_identity_changed(st->broker, ENTITY_KEY, SLICE_LIT("ka")); break;
	case 5: broker_sessions_delete(st->broker, SLICE_LIT("db"), &n); break;
	default: break;
	}
}

static void *loop_main(void *arg)
{
	loop_run(arg);
	crypto_thread_done();
	return NULL;
}

static struct broker_limits storm_limits(void)
{
	static char all[] = "#";
	static char *filters[] = {all};
	return (struct broker_limits){
	        .connect_ms = 10000,
	        .max_packet_size = 1000,
	        .max_payload = 1000,
	        .receive_maximum = 100,
	        .max_inflight = 8,
	        .topic_alias_maximum = 4,
	        .max_topic_levels = 16,
	        .max_subscriptions = 100,
	        .max_queued_messages = 50,
	        .max_queued_bytes = 100000,
	        .max_session_expiry = 100,
	        .max_sessions = 1000,
	        .max_retained = 100,
	        .max_retained_bytes = 100000,
	        .output_soft_bytes = 100000,
	        .output_hard_bytes = 200000,
	        .store_queue_bytes = 1000,
	        .lookup_ms = 2000,
	        .command_depth = 10,
	        .command_ttl = 60,
	        .store_filters = filters,
	        .n_store_filters = 1,
	};
}

static void storm_start(struct storm *st, struct actor *actors)
{
	const struct broker_hooks hooks = {
	        .ctx = st,
	        .authenticate = authenticate,
	        .recheck = recheck,
	        .claimed_id = claimed,
	        .may_publish = may_publish,
	        .may_subscribe = may_subscribe,
	        .may_receive = may_receive,
	        .filters_receive = filters,
	        .presence = presence,
	};
	const struct telemetry_store store = {st, append, forget, load, tag, backlog};
	const struct broker_limits limits = storm_limits();
	for (unsigned i = 0; i < LOOPS; i++)
		st->loops[i] = loop_new(i);
	ck_assert_int_eq(mailbox_init(&st->lane), 0);
	struct telemetry_store ram = store;
	struct session_store sessions = {0};
	if (st->kept) {
		ram = ram_telemetry(st->kept);
		ram.backlog_bytes = backlog;
		sessions = ram_sessions(st->kept);
		ram_set_hold(st->kept, true);
	}
	st->broker = broker_new(st->loops, LOOPS, &hooks,
	        &(struct broker_stores){&ram, st->kept ? &sessions : NULL}, &limits);
	ck_assert_int_eq(broker_restore(st->broker), 0);
	for (unsigned i = 0; i < ACTORS; i++) {
		struct actor *a = &actors[i];
		*a = (struct actor){.storm = st, .number = i, .seed = i + 1};
		a->step.deliver = step;
		a->loop = st->loops[i % LOOPS];
		st->running++;
		mail_send(loop_mailbox(a->loop), &a->step);
	}
	pthread_create(&st->lane_thread, NULL, lane_main, st);
	for (unsigned i = 0; i < LOOPS; i++)
		pthread_create(&st->threads[i], NULL, loop_main, st->loops[i]);
}

static void storm_end(struct storm *st)
{
	struct broker_connection *list;
	unsigned n;
	st->stop = true;
	while (st->running > 0 || broker_busy(st->broker) > 0) {
		/* A question to every loop, so that this thread waits for them instead of spinning.
		 */
		ck_assert_int_eq(broker_connections(st->broker, NULL, 1, &list, &n), 0);
		broker_connections_free(list, n);
	}
	broker_drain(st->broker, clock_ms());
	for (unsigned i = 0; i < LOOPS; i++) {
		loop_stop(st->loops[i]);
		pthread_join(st->threads[i], NULL);
	}
	st->lane_stops = true;
	pthread_join(st->lane_thread, NULL);
	/* What is still on its way: answers of the store, messages between the loops. */
	for (bool busy = true; busy;) {
		mail_flush();
		busy = false;
		commit_kept(st);
		for (struct mail *m = mailbox_take(&st->lane), *next; m; m = next) {
			next = m->next;
			mail_post(container_of(m, struct request, mail)->reply_to, m);
			busy = true;
		}
		mail_flush();
		for (unsigned i = 0; i < LOOPS; i++)
			busy |= mailbox_run(loop_mailbox(st->loops[i])) > 0;
	}
	if (st->kept) /* the store has exactly the sessions that there are */
		ck_assert_int_eq(metric_read(METRIC_SESSIONS), (int)ram_count(st->kept).sessions);
	broker_free(st->broker);
	for (unsigned i = 0; i < LOOPS; i++)
		loop_free(st->loops[i]);
	mailbox_done(&st->lane);
}

static void run_storm(struct ram_store *kept)
{
	struct storm *st = calloc(1, sizeof(*st));
	st->kept = kept;
	struct actor *actors = calloc(ACTORS, sizeof(*actors));
	const char *seconds = getenv("STORM_SECONDS");
	storm_start(st, actors);
	uint64_t end = clock_ms() + (seconds ? (uint64_t)atoi(seconds) * 1000 : 1500);
	const struct broker_limits limits = storm_limits();
	for (unsigned round = 0; clock_ms() < end; round++) {
		bother(st, round);
		if (round % 50 == 0)
			broker_set_limits(st->broker, &limits);
	}
	storm_end(st);
	if (seconds)
		printf("%u connections, %u commits, %u deliveries\n", st->connected, st->commits,
		        st->delivered);
	ck_assert_uint_gt(st->connected, 100);
	ck_assert_uint_gt(st->commits, 100);
	ck_assert_uint_gt(st->delivered, 100);
	ck_assert_int_eq(metric_read(METRIC_MQTT_CLIENTS), 0);
	ck_assert_int_eq(metric_read(METRIC_SESSIONS), 0);
	free(actors);
	free(st);
}

START_TEST(storm)
{
	run_storm(NULL);
}
END_TEST

START_TEST(storm_of_durable_sessions)
{
	struct ram_store *kept = ram_new();
	run_storm(kept);
	ck_assert_uint_gt(ram_count(kept).written, 100);
	run_storm(kept); /* another hub goes on with what there is */
	ram_free(kept);
}
END_TEST

int main(void)
{
	if (crypto_init() != 0)
		return 1;
	log_configure(LOG_ERROR, false);
	Suite *s = suite_create("broker/threads");
	TCase *t = tcase_create("threads");
	suite_add_tcase(s, t);
	tcase_set_timeout(t, 900);
	tcase_add_test(t, storm);
	tcase_add_test(t, storm_of_durable_sessions);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
