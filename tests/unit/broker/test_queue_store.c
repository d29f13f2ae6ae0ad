/* The queues of durable sessions: acknowledged when they are kept, read back page by page. */
#include "tests/unit/broker/kept.h"

static struct peer *lasting(struct rig *rig, const char *id)
{
	struct peer *p = connect_with(rig, 0,
	        &(struct connect_opts){
	                .v = 5, .id = id, .user = "key/ops", .keep = true, .expiry = 1000});
	ck_assert_int_eq(p->connack, 0);
	return p;
}

/* A session with a subscription, and its client gone. */
static void leave_session(struct rig *rig, const char *id, const char *filter, unsigned qos)
{
	struct peer *p = lasting(rig, id);
	subscribe(p, filter, qos);
	peer_close(p);
}

static void hold(struct rig *rig)
{
	rig_step(rig);
	ram_set_hold(kept, true);
}
static void let_go(struct rig *rig)
{
	ram_set_hold(kept, false);
	rig_step(rig);
}

static void publish_n(struct peer *p, const char *topic, unsigned from, unsigned n)
{
	for (unsigned i = from; i < from + n; i++) {
		char text[16];
		struct got g;
		snprintf(text, sizeof(text), "%u", i);
		send_publish(p, topic, text, 1, i % 60000 + 1, 0);
		ck_assert(next(p, &g));
		ck_assert_int_eq(g.type, MQTT_PUBACK);
		ck_assert_int_eq(g.reason, 0);
	}
}

/* Takes what has come, in order, and acknowledges it. How many. */
static unsigned take_in_order(struct peer *p, unsigned from, bool again)
{
	struct got g;
	unsigned n = 0;
	while (next(p, &g)) {
		ck_assert_int_eq(g.type, MQTT_PUBLISH);
		ck_assert_int_eq(atoi(g.payload), (int)(from + n));
		ck_assert(!g.dup || again);
		n++;
		send_ack(p, MQTT_PUBACK, g.packet_id);
	}
	return n;
}

START_TEST(offline_queue)
{
	struct rig *rig = rig_new_kept(3, NULL, kept);
	struct got g;
	leave_session(rig, "s", "t", 1);
	leave_session(rig, "another", "t", 2);
	struct peer *p = backend(rig, 5, "p");
	int64_t bytes = metric_read(METRIC_MESSAGE_BYTES);
	hold(rig);
	send_publish(p, "t", "one", 1, 1, 0);
	send_publish(p, "nobody", "x", 1, 2, 0);
	expect_quiet(p);
	ram_commit(kept, 1);
	rig_step(rig);
	expect_quiet(p); /* the other one has it not yet */
	let_go(rig);
	expect_ack(p, MQTT_PUBACK, 1, 0);
	expect_ack(p, MQTT_PUBACK, 2, 0x10);
	ck_assert_uint_eq(ram_count(kept).queued, 2);
	ck_assert_int_gt(metric_read(METRIC_MESSAGE_BYTES), bytes); /* the store's own */
	struct peer *s = lasting(rig, "s");
	ck_assert(s->present);
	expect_publish(s, "t", "one", 1, &g);
	ck_assert(!g.dup);
	send_ack(s, MQTT_PUBACK, g.packet_id);
	ck_assert_uint_eq(ram_count(kept).queued, 1);
	rig_free(rig);
}
END_TEST

START_TEST(acknowledged_before_it_is_written)
{
	struct rig *rig = rig_new_kept(2, NULL, kept);
	struct got g;
	struct peer *s = lasting(rig, "s"), *p = backend(rig, 5, "p");
	subscribe(s, "t", 1);
	hold(rig);
	send_publish(p, "t", "one", 1, 1, 0);
	expect_publish(s, "t", "one", 1, &g);
	expect_quiet(p);
	send_ack(s, MQTT_PUBACK, g.packet_id);
	expect_ack(p, MQTT_PUBACK, 1, 0);
	let_go(rig);
	ck_assert_uint_eq(ram_count(kept).appends, 1);
	ck_assert_uint_eq(ram_count(kept).written, 0);
	/* and after */
	send_publish(p, "t", "two", 1, 2, 0);
	expect_ack(p, MQTT_PUBACK, 2, 0);
	ck_assert_uint_eq(ram_count(kept).queued, 1);
	expect_publish(s, "t", "two", 1, &g);
	send_ack(s, MQTT_PUBACK, g.packet_id);
	ck_assert_uint_eq(ram_count(kept).queued, 0);
	/* the row is written while the acknowledgement is on its way */
	hold(rig);
	send_publish(p, "t", "three", 1, 3, 0);
	expect_publish(s, "t", "three", 1, &g);
	ram_commit(kept, 1);
	send_ack(s, MQTT_PUBACK, g.packet_id);
	let_go(rig);
	expect_ack(p, MQTT_PUBACK, 3, 0);
	ck_assert_uint_eq(ram_count(kept).queued, 0);
	rig_free(rig);
}
END_TEST

START_TEST(again_after_a_kill)
{
	struct rig *rig = rig_new_kept(2, NULL, kept);
	struct got g;
	struct peer *s = lasting(rig, "s"), *p = backend(rig, 5, "p");
	send_subscribe(s, 9, "t", 1, 7);
	expect_code(s, MQTT_SUBACK, 9, 1);
	send_subscribe(s, 9, "+", 1, 8);
	expect_code(s, MQTT_SUBACK, 9, 1);
	send_publish(p, "t", "sent", 1, 1, 0);
	expect_ack(p, MQTT_PUBACK, 1, 0);
	expect_publish(s, "t", "sent", 1, &g);
	peer_close(s);
	send_publish(p, "t", "queued", 1, 2, 0);
	expect_ack(p, MQTT_PUBACK, 2, 0);
	hold(rig);
	send_publish(p, "t", "never acknowledged", 1, 3, 0);
	rig = rig_kill(rig);
	s = lasting(rig, "s");
	expect_publish(s, "t", "sent", 1, &g);
	ck_assert(g.dup);
	ck_assert_uint_eq(g.n_ids, 2);
	send_ack(s, MQTT_PUBACK, g.packet_id);
	expect_publish(s, "t", "queued", 1, &g);
	send_ack(s, MQTT_PUBACK, g.packet_id);
	expect_quiet(s);
	ck_assert_uint_eq(ram_count(kept).queued, 0);
	/* numbers go on where they were */
	p = backend(rig, 5, "p");
	send_publish(p, "t", "new", 1, 1, 0);
	expect_publish(s, "t", "new", 1, &g);
	rig_free(rig);
}
END_TEST

START_TEST(more_than_memory_has)
{
	struct broker_limits l = {.max_inflight = 5, .max_queued_messages = 2000};
	struct rig *rig = rig_new_kept(2, &l, kept);
	leave_session(rig, "s", "t", 1);
	struct peer *p = backend(rig, 5, "p");
	publish_n(p, "t", 0, 300);
	struct peer *s = lasting(rig, "s");
	ck_assert_uint_eq(take_in_order(s, 0, false), 300);
	ck_assert_uint_ge(ram_count(kept).loads, 30); /* pages of two windows */
	ck_assert_uint_eq(ram_count(kept).queued, 0);
	/* what comes while it is behind goes to the end */
	struct got g;
	publish_n(p, "t", 0, 40); /* 5 in flight, 10 in memory, 25 in the store alone */
	ck_assert_uint_eq(take_in_order(s, 0, false), 40);
	/* it goes and comes back in the middle */
	publish_n(p, "t", 0, 40);
	ck_assert(next(s, &g));
	send_ack(s, MQTT_PUBACK, g.packet_id);
	peer_close(s);
	publish_n(p, "t", 40, 5);
	s = lasting(rig, "s");
	ck_assert_uint_eq(take_in_order(s, 1, true), 44);
	ck_assert_uint_eq(ram_count(kept).queued, 0);
	/* over a kill */
	publish_n(p, "t", 0, 40);
	rig = rig_kill(rig);
	s = lasting(rig, "s");
	ck_assert_uint_eq(take_in_order(s, 0, true), 40);
	ck_assert_uint_eq(ram_count(kept).queued, 0);
	rig_free(rig);
}
END_TEST

START_TEST(taken_over_while_a_page_is_read)
{
	struct broker_limits l = {.max_inflight = 5};
	struct rig *rig = rig_new_kept(2, &l, kept);
	leave_session(rig, "s", "t", 1);
	struct peer *p = backend(rig, 5, "p");
	publish_n(p, "t", 0, 50);
	hold(rig);
	struct peer *s = lasting(rig, "s"), *next_one = lasting(rig, "s");
	expect_closed(s, END_TAKEN_OVER);
	expect_quiet(next_one);
	send_publish(p, "t", "50", 1, 1, 0);
	let_go(rig);
	ck_assert_uint_eq(take_in_order(next_one, 0, false), 51);
	ck_assert_uint_eq(ram_count(kept).queued, 0);
	/* and it ends meanwhile */
	peer_close(next_one);
	send_publish(p, "t", "x", 1, 2, 0);
	hold(rig);
	next_one = lasting(rig, "s");
	next_one = connect_with(
	        rig, 0, &(struct connect_opts){.v = 5, .id = "s", .user = "key/ops"});
	ck_assert(!next_one->present);
	let_go(rig);
	ck_assert_uint_eq(ram_count(kept).queued, 0);
	ck_assert_uint_eq(ram_count(kept).sessions, 0);
	rig_free(rig);
}
END_TEST

START_TEST(session_ends_during_an_append)
{
	struct rig *rig = rig_new_kept(3, NULL, kept);
	leave_session(rig, "s", "t", 1);
	struct peer *p = backend(rig, 5, "p");
	hold(rig);
	send_publish(p, "t", "x", 1, 1, 0);
	struct peer *s = connect_with(
	        rig, 0, &(struct connect_opts){.v = 5, .id = "s", .user = "key/ops"});
	ck_assert_int_eq(s->connack, 0xff); /* until the end of the one before is committed */
	expect_quiet(p);
	let_go(rig);
	expect_ack(p, MQTT_PUBACK, 1, 0);
	ck_assert_uint_eq(ram_count(kept).queued, 0);
	/* the same for one that is connected and ends by itself */
	s = lasting(rig, "s");
	subscribe(s, "t", 2);
	hold(rig);
	send_publish(p, "t", "x", 2, 2, 0);
	send_publish(p, "t", "x", 1, 3, 0);
	peer_hex(s, "e0 07 00 05 11 00 00 00 00"); /* with expiry 0 */
	let_go(rig);
	expect_ack(p, MQTT_PUBREC, 2, 0);
	expect_ack(p, MQTT_PUBACK, 3, 0);
	ck_assert_uint_eq(ram_count(kept).sessions, 0);
	rig_free(rig);
}
END_TEST

START_TEST(store_away)
{
	struct rig *rig = rig_new_kept(2, NULL, kept);
	struct got g;
	leave_session(rig, "off", "t", 1);
	struct peer *s = lasting(rig, "s"), *p = backend(rig, 5, "p");
	subscribe(s, "t", 1);
	ram_set_available(kept, false);
	send_publish(p, "t", "x", 1, 1, 0);
	expect_quiet(p);
	expect_publish(s, "t", "x", 1, &g); /* at once, whatever the database does */
	send_ack(s, MQTT_PUBACK, g.packet_id);
	struct peer *back = lasting(rig, "off"); /* known, so it may come back */
	expect_quiet(back);
	ram_set_available(kept, true);
	rig_step(rig);
	expect_ack(p, MQTT_PUBACK, 1, 0);
	for (uint64_t end = clock_ms() + 5000; back->out_n == 0 && clock_ms() < end;) {
		event_base_loop(loop_event_base(rig->loops[0]), EVLOOP_ONCE);
		event_base_loop(loop_event_base(rig->loops[1]), EVLOOP_NONBLOCK);
		rig_step(rig);
	}
	expect_publish(back, "t", "x", 1, &g);
	rig_free(rig);
}
END_TEST

START_TEST(refused_by_the_store)
{
	struct rig *rig = rig_new_kept(2, NULL, kept);
	leave_session(rig, "s", "t", 1);
	struct peer *p = backend(rig, 5, "p"), *d = device(rig, 5, "d");
	int64_t dropped = metric_read(METRIC_DROPPED_QUEUE);
	ram_refuse_kept(kept, 1, ERR_POISON);
	send_publish(p, "t", "x", 1, 1, 0);
	expect_ack(p, MQTT_PUBACK, 1, 0); /* counted as dropped */
	ck_assert_int_eq(metric_read(METRIC_DROPPED_QUEUE), dropped + 1);
	ram_device_gone(kept, rig_device_key(rig, SLICE_LIT("d")));
	send_publish(d, "t", "x", 1, 1, 0);
	expect_closed(d, END_DISABLED);
	ck_assert_uint_eq(ram_count(kept).queued, 0);
	rig_free(rig);
}
END_TEST

START_TEST(limits_hold_for_all_of_it)
{
	struct broker_limits l = {.max_inflight = 2, .max_queued_messages = 20};
	struct rig *rig = rig_new_kept(2, &l, kept);
	leave_session(rig, "s", "t", 1);
	struct peer *p = backend(rig, 5, "p");
	int64_t dropped = metric_read(METRIC_DROPPED_QUEUE);
	publish_n(p, "t", 0, 25); /* acknowledged all the same */
	ck_assert_int_eq(metric_read(METRIC_DROPPED_QUEUE), dropped + 5);
	ck_assert_uint_eq(ram_count(kept).queued, 20);
	rig = rig_kill(rig);
	p = backend(rig, 5, "p");
	publish_n(p, "t", 20, 3);
	ck_assert_uint_eq(ram_count(kept).queued, 20);
	struct peer *s = lasting(rig, "s");
	ck_assert_uint_eq(take_in_order(s, 0, true), 20);
	publish_n(p, "t", 0, 25); /* 2 in flight, 20 wait */
	ck_assert_uint_eq(take_in_order(s, 0, false), 22);
	ck_assert_uint_eq(ram_count(kept).queued, 0);
	rig_free(rig);
}
END_TEST

static void publish_brief(struct peer *p, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct pk *props = pk_new();
		pk_u8(props, PROP_MESSAGE_EXPIRY);
		pk_u32(props, 1);
		send_publish_props(p, "t", "brief", 1, 7, 0, props);
		free(props);
		expect_ack(p, MQTT_PUBACK, 7, 0);
	}
}

static bool time_is_up(void *arg)
{
	return clock_ms() >= *(uint64_t *)arg;
}

/* What expires in the store makes room there, and nobody says so. */
START_TEST(full_of_what_has_expired)
{
	struct broker_limits l = {.max_queued_messages = 20};
	struct rig *rig = rig_new_kept(2, &l, kept);
	struct got g;
	leave_session(rig, "s", "t", 1);
	struct peer *p = backend(rig, 5, "p");
	publish_n(p, "t", 0, 3);
	publish_brief(p, 20); /* three of them are dropped */
	ck_assert_uint_eq(ram_count(kept).queued, 20);
	ck_assert_uint_eq(ram_count(kept).tallies, 1); /* once in a while */
	uint64_t until = clock_ms() + 3100;
	rig_until(rig, time_is_up, &until);
	publish_n(p, "t", 3, 1); /* dropped, but the queue is counted */
	ck_assert_uint_eq(ram_count(kept).tallies, 2);
	ck_assert_uint_eq(ram_count(kept).queued, 20);
	publish_n(p, "t", 3, 20); /* three are there: 17 more */
	ck_assert_uint_eq(ram_count(kept).queued, 37);
	struct peer *s = lasting(rig, "s");
	ck_assert_uint_eq(take_in_order(s, 0, true), 20);
	ck_assert_uint_eq(ram_count(kept).queued, 0);
	ck_assert(!next(s, &g));
	rig_free(rig);
}
END_TEST

START_TEST(counted_while_more_comes)
{
	struct broker_limits l = {.max_queued_messages = 4};
	struct rig *rig = rig_new_kept(1, &l, kept);
	leave_session(rig, "s", "t", 1);
	leave_session(rig, "gone", "t", 1);
	struct peer *p = backend(rig, 5, "p");
	publish_n(p, "t", 0, 3);
	hold(rig);
	send_publish(p, "t", "3", 1, 1, 0); /* fills it: it is counted */
	send_publish(p, "t", "4", 1, 2, 0); /* dropped, and not counted again */
	ck_assert_uint_eq(ram_count(kept).waiting, 4);
	struct peer *q = connect_with(
	        rig, 0, &(struct connect_opts){.v = 5, .id = "gone", .user = "key/ops"});
	ck_assert_int_eq(q->connack, 0xff); /* its session ended during the count */
	let_go(rig);
	ck_assert_uint_eq(ram_count(kept).queued, 4);
	publish_n(p, "t", 5, 1);
	ck_assert_uint_eq(ram_count(kept).queued, 4);
	struct peer *s = lasting(rig, "s");
	ck_assert_uint_eq(take_in_order(s, 0, true), 4);
	rig_free(rig);
}
END_TEST

START_TEST(too_old)
{
	struct broker_limits l = {.max_queued_age = 1};
	struct rig *rig = rig_new_kept(1, &l, kept);
	struct got g;
	leave_session(rig, "s", "t", 1);
	struct peer *p = backend(rig, 5, "p");
	publish_n(p, "t", 0, 3);
	int64_t expired = metric_read(METRIC_DROPPED_EXPIRED);
	for (uint64_t end = clock_ms() + 1200; clock_ms() < end;)
		event_base_loop(loop_event_base(rig->loops[0]), EVLOOP_ONCE);
	send_publish(p, "t", "new", 1, 1, 0);
	struct peer *s = lasting(rig, "s");
	expect_publish(s, "t", "new", 1, &g);
	ck_assert_int_eq(metric_read(METRIC_DROPPED_EXPIRED), expired + 3);
	ck_assert_uint_eq(ram_count(kept).queued, 1);
	rig_free(rig);
}
END_TEST

START_TEST(of_a_deleted_publisher)
{
	struct rig *rig = rig_new_kept(1, NULL, kept);
	struct got g;
	leave_session(rig, "s", "t", 1);
	struct peer *d = device(rig, 5, "d"), *p = backend(rig, 5, "p");
	publish_n(d, "t", 0, 2);
	publish_n(p, "t", 2, 1);
	ram_device_gone(kept, rig_device_key(rig, SLICE_LIT("d")));
	struct peer *s = lasting(rig, "s");
	expect_publish(s, "t", "2", 1, &g);
	expect_quiet(s);
	ck_assert_uint_eq(ram_count(kept).queued, 1);
	rig_free(rig);
}
END_TEST

/* ---- shared subscriptions ---- */

START_TEST(shared_over_the_loops)
{
	struct rig *rig = rig_new_kept(4, NULL, kept);
	struct got g;
	char id[8];
	struct peer *p = backend(rig, 5, "p");
	for (unsigned i = 0; i < 8; i++) {
		snprintf(id, sizeof(id), "m%u", i);
		leave_session(rig, id, "$share/g/t", 1);
	}
	hold(rig);
	for (unsigned i = 0; i < 16; i++)
		send_publish(p, "t", "x", 1, i + 1, 0);
	expect_quiet(p);
	let_go(rig);
	for (unsigned i = 0; i < 16; i++)
		expect_ack(p, MQTT_PUBACK, i + 1, 0);
	ck_assert_uint_eq(ram_count(kept).queued, 16);
	rig = rig_kill(rig);
	p = backend(rig, 5, "p");
	unsigned n = 0;
	for (unsigned i = 0; i < 8; i++) {
		snprintf(id, sizeof(id), "m%u", i);
		struct peer *m = lasting(rig, id);
		while (next(m, &g)) {
			send_ack(m, MQTT_PUBACK, g.packet_id);
			n++;
		}
		peer_close(m);
	}
	ck_assert_uint_eq(n, 16);
	ck_assert_uint_eq(ram_count(kept).queued, 0);
	send_publish(p, "t", "y", 1, 1, 0); /* members still */
	expect_ack(p, MQTT_PUBACK, 1, 0);
	ck_assert_uint_eq(ram_count(kept).queued, 1);
	rig_free(rig);
}
END_TEST

/* What waits in the store for a member whose session ends goes to another one. */
START_TEST(member_ends_with_a_queue)
{
	struct rig *rig = rig_new_kept(3, NULL, kept);
	struct got g;
	struct peer *p = backend(rig, 5, "p");
	leave_session(rig, "m1", "$share/g/t", 1);
	leave_session(rig, "m2", "$share/g/t", 1);
	leave_session(rig, "m1", "own", 1);
	publish_n(p, "t", 0, 20);
	publish_n(p, "own", 0, 1);
	rig = rig_kill(rig);
	hold(rig);
	struct peer *m1 = connect_with(
	        rig, 0, &(struct connect_opts){.v = 5, .id = "m1", .user = "key/ops"});
	ck_assert_int_eq(m1->connack, 0xff);
	ck_assert_uint_gt(broker_busy(rig->broker), 1); /* a stop waits for it */
	let_go(rig);
	ck_assert_uint_eq(ram_count(kept).sessions, 1);
	ck_assert_uint_eq(ram_count(kept).queued, 20);
	struct peer *m2 = lasting(rig, "m2");
	unsigned n = 0;
	for (; next(m2, &g); n++)
		send_ack(m2, MQTT_PUBACK, g.packet_id);
	ck_assert_uint_eq(n, 20);
	rig_free(rig);
}
END_TEST

static bool one_session_left(void *arg HF_UNUSED)
{
	return ram_count(kept).sessions == 1;
}

/* The database is away when a member ends: its messages go to another one when it is back. */
START_TEST(member_ends_without_the_database)
{
	struct rig *rig = rig_new_kept(2, NULL, kept);
	struct peer *p = backend(rig, 5, "p");
	leave_session(rig, "m1", "$share/g/t", 1);
	publish_n(p, "t", 0, 5);
	leave_session(rig, "m2", "$share/g/t", 1);
	ram_set_available(kept, false);
	struct peer *m1 = connect_with(
	        rig, 0, &(struct connect_opts){.v = 5, .id = "m1", .user = "key/ops"});
	ck_assert_int_eq(m1->connack, 0xff);
	ram_set_available(kept, true);
	rig_until(rig, one_session_left, NULL);
	ck_assert_uint_eq(take_in_order(lasting(rig, "m2"), 0, false), 5);
	rig_free(rig);
}
END_TEST

/* More than one page, and the client begins a new session that is to be kept as well. */
START_TEST(member_begins_anew_with_a_long_queue)
{
	struct broker_limits l = {.max_queued_messages = 2000};
	const struct connect_opts anew = {.v = 5, .id = "m1", .user = "key/ops", .expiry = 1000};
	struct rig *rig = rig_new_kept(2, &l, kept);
	struct peer *p = backend(rig, 5, "p");
	leave_session(rig, "m1", "$share/g/t", 1);
	publish_n(p, "t", 0, 1500);
	leave_session(rig, "m2", "$share/g/t", 1);
	hold(rig);
	struct peer *m1 = connect_with(rig, 0, &anew);
	ram_commit(kept, 1); /* the first page is read */
	rig_step(rig);
	ck_assert_int_eq(m1->connack, 0xff);
	expect_quiet(m1);
	let_go(rig);
	struct got g;
	ck_assert(next(m1, &g));
	ck_assert_int_eq(g.type, MQTT_CONNACK);
	ck_assert_int_eq(g.reason, 0);
	ck_assert_uint_eq(ram_count(kept).sessions, 2);
	ck_assert_uint_eq(ram_count(kept).queued, 1500);
	ck_assert_uint_eq(take_in_order(lasting(rig, "m2"), 0, false), 1500);
	rig_free(rig);
}
END_TEST

/* What the members of g have, each message counted once, and acknowledged. */
static unsigned take_from_members(struct rig *rig)
{
	static const char *const ids[] = {"m1", "m2"};
	bool seen[64] = {0};
	unsigned n = 0;
	struct got g;
	for (unsigned i = 0; i < ARRAY_LEN(ids); i++) {
		struct peer *m = lasting(rig, ids[i]);
		while (next(m, &g)) {
			if (g.type == MQTT_PUBLISH && strcmp(g.topic, "t") == 0) {
				n += !seen[atoi(g.payload)];
				seen[atoi(g.payload)] = true;
			}
			send_ack(m, MQTT_PUBACK, g.packet_id);
		}
		peer_close(m);
	}
	return n;
}

enum member_was { AWAY, THERE, THERE_WITH_A_WILL };

/* The member m1 begins anew, and the hub dies after so many steps of the store. How many of 12
 * acknowledged messages are left; *more: there are further steps. */
static unsigned left_after(enum member_was was, unsigned steps, bool *more)
{
	struct broker_limits l = {.max_inflight = 2};
	struct connect_opts o = {.v = 5, .id = "m1", .user = "key/ops", .expiry = 1000};
	struct rig *rig = rig_new_kept(2, &l, kept);
	struct peer *p = backend(rig, 5, "p");
	o.will_topic = was == THERE_WITH_A_WILL ? "w" : NULL;
	o.will_qos = 1;
	leave_session(rig, "w", "w", 1);
	struct peer *m1 = connect_with(rig, 0, &o);
	subscribe(m1, "$share/g/t", 1);
	if (was == AWAY)
		peer_close(m1);
	publish_n(p, "t", 0, 12); /* two in flight, four in memory, the others in the store */
	leave_session(rig, "m2", "$share/g/t", 1);
	hold(rig);
	connect_with(rig, 0, &o);
	for (; steps > 0; steps--) {
		ram_commit(kept, 1);
		rig_step(rig);
	}
	*more = ram_count(kept).waiting > 0;
	rig = rig_kill(rig);
	unsigned n = take_from_members(rig);
	rig_free(rig);
	return n;
}

START_TEST(no_step_of_an_end_loses_a_message)
{
	bool more = true;
	for (unsigned steps = 0; more; steps++) {
		teardown();
		setup();
		ck_assert_uint_eq(left_after((enum member_was)_i, steps, &more), 12);
	}
}
END_TEST

/* ---- QoS 2 to the client ---- */

START_TEST(qos2_step_by_step)
{
	struct rig *rig = rig_new_kept(2, NULL, kept);
	struct got g;
	struct peer *s = lasting(rig, "s"), *p = backend(rig, 5, "p");
	subscribe(s, "t", 2);
	hold(rig);
	send_publish(p, "t", "x", 2, 1, 0);
	expect_quiet(s); /* its packet id comes first */
	expect_quiet(p);
	let_go(rig);
	expect_ack(p, MQTT_PUBREC, 1, 0);
	ck_assert_uint_eq(ram_count(kept).marked, 1);
	expect_publish(s, "t", "x", 2, &g);
	ck_assert(!g.dup);
	hold(rig);
	send_ack(s, MQTT_PUBREC, g.packet_id);
	expect_quiet(s);
	let_go(rig);
	expect_ack(s, MQTT_PUBREL, g.packet_id, 0);
	ck_assert_uint_eq(ram_count(kept).released, 1);
	send_ack(s, MQTT_PUBCOMP, g.packet_id);
	ck_assert_uint_eq(ram_count(kept).queued, 0);
	/* refused by the client */
	send_publish(p, "t", "y", 2, 2, 0);
	expect_publish(s, "t", "y", 2, &g);
	send_ack_reason(s, MQTT_PUBREC, g.packet_id, 0x83);
	ck_assert_uint_eq(ram_count(kept).queued, 0);
	rig_free(rig);
}
END_TEST

START_TEST(qos2_over_kills)
{
	struct rig *rig = rig_new_kept(2, NULL, kept);
	struct got g;
	leave_session(rig, "s", "t", 2);
	struct peer *p = backend(rig, 5, "p");
	for (unsigned i = 1; i <= 4; i++) {
		char text[2] = {(char)('0' + i), 0};
		send_publish(p, "t", text, 2, i, 0);
		expect_ack(p, MQTT_PUBREC, i, 0);
	}
	struct peer *s = lasting(rig, "s");
	uint16_t ids[4];
	for (unsigned i = 0; i < 4; i++) {
		ck_assert(next(s, &g));
		ids[i] = g.packet_id;
	}
	send_ack(s, MQTT_PUBREC, ids[0]);
	expect_ack(s, MQTT_PUBREL, ids[0], 0);
	send_ack(s, MQTT_PUBREC, ids[2]);
	expect_ack(s, MQTT_PUBREL, ids[2], 0);
	send_ack(s, MQTT_PUBCOMP, ids[2]);
	ck_assert_uint_eq(ram_count(kept).queued, 3);
	rig = rig_kill(rig);
	s = lasting(rig, "s");
	expect_ack(s, MQTT_PUBREL, ids[0], 0);
	expect_publish(s, "t", "2", 2, &g);
	ck_assert(g.dup && g.packet_id == ids[1]);
	expect_publish(s, "t", "4", 2, &g);
	ck_assert(g.dup && g.packet_id == ids[3]);
	expect_quiet(s);
	/* a new one takes none of their ids */
	p = backend(rig, 5, "p");
	send_publish(p, "t", "5", 2, 9, 0);
	expect_publish(s, "t", "5", 2, &g);
	ck_assert(!g.dup);
	for (unsigned i = 0; i < 4; i++)
		ck_assert_uint_ne(g.packet_id, ids[i]);
	/* killed between PUBREC and its commit: PUBLISH again */
	hold(rig);
	send_ack(s, MQTT_PUBREC, ids[1]);
	rig = rig_kill(rig);
	s = lasting(rig, "s");
	expect_ack(s, MQTT_PUBREL, ids[0], 0);
	expect_publish(s, "t", "2", 2, &g);
	send_ack(s, MQTT_PUBREC, ids[1]);
	expect_publish(s, "t", "4", 2, &g);
	expect_publish(s, "t", "5", 2, &g);
	expect_ack(s, MQTT_PUBREL, ids[1], 0);
	send_ack(s, MQTT_PUBCOMP, ids[0]);
	send_ack(s, MQTT_PUBCOMP, ids[1]);
	ck_assert_uint_eq(ram_count(kept).queued, 2);
	rig_free(rig);
}
END_TEST

/* What was in flight when the hub was killed goes back there, what stood before it with QoS 1 waits
 * for room: both are there once, however often the client comes and goes. */
START_TEST(both_kinds_in_flight_over_a_kill)
{
	struct rig *rig = rig_new_kept(1, NULL, kept);
	struct connect_opts o = {
	        .v = 5, .id = "s", .user = "key/ops", .keep = true, .expiry = 1000};
	struct got g;
	struct peer *s = lasting(rig, "s"), *p = backend(rig, 5, "p");
	subscribe(s, "t", 2);
	send_publish(p, "t", "one", 1, 1, 0);
	expect_ack(p, MQTT_PUBACK, 1, 0);
	send_publish(p, "t", "two", 2, 2, 0);
	expect_ack(p, MQTT_PUBREC, 2, 0);
	expect_publish(s, "t", "one", 1, &g);
	expect_publish(s, "t", "two", 2, &g);
	uint16_t id = g.packet_id;
	rig = rig_kill(rig);
	p = backend(rig, 5, "p");
	o.receive_maximum = 1;
	for (unsigned i = 0; i < 3; i++) {
		s = connect_with(rig, 0, &o);
		expect_publish(s, "t", "two", 2, &g);
		ck_assert_uint_eq(g.packet_id, id);
		expect_quiet(s);
		peer_close(s);
	}
	send_publish(p, "t", "three", 1, 3, 0);
	expect_ack(p, MQTT_PUBACK, 3, 0);
	s = lasting(rig, "s");
	expect_publish(s, "t", "two", 2, &g);
	expect_publish(s, "t", "one", 1, &g);
	send_ack(s, MQTT_PUBACK, g.packet_id);
	expect_publish(s, "t", "three", 1, &g);
	send_ack(s, MQTT_PUBACK, g.packet_id);
	send_ack(s, MQTT_PUBREC, id);
	expect_ack(s, MQTT_PUBREL, id, 0);
	send_ack(s, MQTT_PUBCOMP, id);
	expect_quiet(s);
	ck_assert_uint_eq(ram_count(kept).queued, 0);
	rig_free(rig);
}
END_TEST

START_TEST(qos2_connection_breaks_meanwhile)
{
	struct rig *rig = rig_new_kept(1, NULL, kept);
	struct got g;
	struct peer *s = lasting(rig, "s"), *p = backend(rig, 5, "p");
	subscribe(s, "t", 2);
	hold(rig);
	send_publish(p, "t", "x", 2, 1, 0);
	peer_close(s);
	s = lasting(rig, "s");
	expect_quiet(s);
	let_go(rig);
	expect_publish(s, "t", "x", 2, &g);
	ck_assert(!g.dup); /* it never left before */
	hold(rig);
	send_ack(s, MQTT_PUBREC, g.packet_id);
	peer_close(s);
	let_go(rig);
	s = lasting(rig, "s");
	expect_ack(s, MQTT_PUBREL, g.packet_id, 0);
	send_ack(s, MQTT_PUBCOMP, g.packet_id);
	expect_quiet(s);
	ck_assert_uint_eq(ram_count(kept).queued, 0);
	rig_free(rig);
}
END_TEST

/* ---- QoS 2 from the client ---- */

START_TEST(exactly_once_into_a_queue)
{
	struct rig *rig = rig_new_kept(3, NULL, kept);
	leave_session(rig, "s", "t", 2);
	struct peer *p = lasting(rig, "p");
	hold(rig);
	send_publish(p, "t", "x", 2, 5, 0);
	ck_assert_uint_eq(ram_count(kept).waiting, 1); /* its id, and nothing else */
	ram_commit(kept, 1);
	rig_step(rig);
	ck_assert_uint_eq(ram_count(kept).waiting, 1);
	ck_assert_uint_eq(ram_qos2_count(kept), 1);
	expect_quiet(p);
	/* killed between the two */
	rig = rig_kill(rig);
	ck_assert_uint_eq(ram_count(kept).queued, 0);
	p = lasting(rig, "p");
	ck_assert(p->present);
	send_publish(p, "t", "x", 2, 5, DUP);
	expect_ack(p, MQTT_PUBREC, 5, 0);
	ck_assert_uint_eq(ram_count(kept).queued, 1);
	/* killed before PUBREC was seen */
	rig = rig_kill(rig);
	p = lasting(rig, "p");
	send_publish(p, "t", "x", 2, 5, DUP);
	expect_ack(p, MQTT_PUBREC, 5, 0);
	ck_assert_uint_eq(ram_count(kept).queued, 1);
	/* killed before PUBREL */
	rig = rig_kill(rig);
	p = lasting(rig, "p");
	hold(rig);
	send_ack(p, MQTT_PUBREL, 5);
	expect_quiet(p);
	let_go(rig);
	expect_ack(p, MQTT_PUBCOMP, 5, 0);
	ck_assert_uint_eq(ram_qos2_count(kept), 0);
	/* the id means another message now */
	send_publish(p, "t", "y", 2, 5, 0);
	expect_ack(p, MQTT_PUBREC, 5, 0);
	ck_assert_uint_eq(ram_count(kept).queued, 2);
	/* and goes with the session */
	p = connect_with(rig, 0, &(struct connect_opts){.v = 5, .id = "p", .user = "key/ops"});
	ck_assert(!p->present);
	ck_assert_uint_eq(ram_qos2_count(kept), 0);
	rig_free(rig);
}
END_TEST

/* PUBREC is lost; the subscriber has brought the message to its end before the hub stops. */
START_TEST(exactly_once_to_whom_has_it)
{
	struct rig *rig = rig_new_kept(3, NULL, kept);
	struct got g;
	leave_session(rig, "s", "t", 2);
	struct peer *s = lasting(rig, "s"), *p = lasting(rig, "p");
	send_publish(p, "t", "x", 2, 5, 0);
	expect_ack(p, MQTT_PUBREC, 5, 0);
	expect_publish(s, "t", "x", 2, &g);
	send_ack(s, MQTT_PUBREC, g.packet_id);
	expect_ack(s, MQTT_PUBREL, g.packet_id, 0);
	send_ack(s, MQTT_PUBCOMP, g.packet_id);
	ck_assert_uint_eq(ram_count(kept).queued, 0);
	ck_assert_uint_eq(ram_count(kept).done, 1);
	for (unsigned i = 0; i < 2; i++) {
		rig = rig_kill(rig);
		s = lasting(rig, "s");
		p = lasting(rig, "p");
		send_publish(p, "t", "x", 2, 5, DUP);
		expect_ack(p, MQTT_PUBREC, 5, 0);
		expect_quiet(s);
	}
	/* that it had it is forgotten with the packet id */
	send_ack(p, MQTT_PUBREL, 5);
	expect_ack(p, MQTT_PUBCOMP, 5, 0);
	ck_assert_uint_eq(ram_count(kept).done, 0);
	send_publish(p, "t", "x", 2, 5, 0);
	expect_ack(p, MQTT_PUBREC, 5, 0);
	expect_publish(s, "t", "x", 2, &g);
	rig_free(rig);
}
END_TEST

START_TEST(exactly_once_of_a_device)
{
	struct rig *rig = rig_new_kept(2, NULL, kept);
	struct got g;
	leave_session(rig, "s", "t", 2);
	struct peer *live = backend(rig, 5, "live");
	subscribe(live, "t", 0);
	struct peer *d = device(rig, 5, "d"); /* it has no session, but its rows have ids */
	hold(rig);
	send_publish(d, "t", "x", 2, 5, 0);
	ck_assert_uint_eq(ram_count(kept).waiting, 1);
	expect_quiet(live);
	let_go(rig);
	expect_ack(d, MQTT_PUBREC, 5, 0);
	expect_publish(live, "t", "x", 0, &g);
	ck_assert_uint_eq(ram_row_count(kept), 1);
	rig = rig_kill(rig);
	live = backend(rig, 5, "live");
	subscribe(live, "t", 0);
	d = connect_with(rig, 0,
	        &(struct connect_opts){
	                .v = 5, .id = "d", .user = "d", .keep = true, .expiry = 100});
	send_publish(d, "t", "x", 2, 5, DUP);
	expect_ack(d, MQTT_PUBREC, 5, 0);
	expect_quiet(live); /* whoever is not kept had it, or was not there */
	ck_assert_uint_eq(ram_row_count(kept), 1);
	ck_assert_uint_eq(ram_count(kept).queued, 1);
	/* refused: the id is free again, and nobody got it */
	ram_refuse_rows(kept, 1, ERR_POISON);
	send_publish(d, "t", "z", 2, 6, 0);
	expect_ack(d, MQTT_PUBREC, 6, 0x83);
	ck_assert_uint_eq(ram_count(kept).queued, 1);
	expect_quiet(live);
	rig_free(rig);
}
END_TEST

START_TEST(sender_leaves_while_its_message_is_held_back)
{
	struct rig *rig = rig_new_kept(2, NULL, kept);
	leave_session(rig, "s", "t", 2);
	struct peer *p = lasting(rig, "p");
	hold(rig);
	send_publish(p, "t", "x", 2, 5, 0);
	p = connect_with(rig, 0, &(struct connect_opts){.v = 5, .id = "p", .user = "key/ops"});
	ck_assert_int_eq(p->connack, 0xff);
	let_go(rig);
	ck_assert_uint_eq(ram_count(kept).queued, 1);
	ck_assert_uint_eq(ram_qos2_count(kept), 0);
	rig_free(rig);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("broker/queue_store");
	TCase *t = tcase_create("queues");
	suite_add_tcase(s, t);
	tcase_set_timeout(t, 120);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, offline_queue);
	tcase_add_test(t, acknowledged_before_it_is_written);
	tcase_add_test(t, again_after_a_kill);
	tcase_add_test(t, more_than_memory_has);
	tcase_add_test(t, taken_over_while_a_page_is_read);
	tcase_add_test(t, session_ends_during_an_append);
	tcase_add_test(t, store_away);
	tcase_add_test(t, refused_by_the_store);
	tcase_add_test(t, limits_hold_for_all_of_it);
	tcase_add_test(t, full_of_what_has_expired);
	tcase_add_test(t, counted_while_more_comes);
	tcase_add_test(t, too_old);
	tcase_add_test(t, of_a_deleted_publisher);
	tcase_add_test(t, shared_over_the_loops);
	tcase_add_test(t, member_ends_with_a_queue);
	tcase_add_test(t, member_ends_without_the_database);
	tcase_add_test(t, member_begins_anew_with_a_long_queue);
	tcase_add_loop_test(t, no_step_of_an_end_loses_a_message, AWAY, THERE_WITH_A_WILL + 1);
	tcase_add_test(t, qos2_step_by_step);
	tcase_add_test(t, qos2_over_kills);
	tcase_add_test(t, both_kinds_in_flight_over_a_kill);
	tcase_add_test(t, qos2_connection_breaks_meanwhile);
	tcase_add_test(t, exactly_once_into_a_queue);
	tcase_add_test(t, exactly_once_to_whom_has_it);
	tcase_add_test(t, exactly_once_of_a_device);
	tcase_add_test(t, sender_leaves_while_its_message_is_held_back);
	return run_suite(s);
}
