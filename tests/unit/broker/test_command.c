/* Commands: kept until the device has them, in order, within limits. */
#include "tests/unit/broker/kept.h"

struct order {
	struct broker_command command;
	char id[16];
	bool done;
};

static void order_done(struct broker_command *p)
{
	((struct order *)p->user)->done = true;
}

static void order_send(
        struct rig *rig, unsigned loop, struct order *o, const char *id, const char *text)
{
	char topic[64];
	*o = (struct order){0};
	snprintf(o->id, sizeof(o->id), "%s", id);
	snprintf(topic, sizeof(topic), "devices/%s/messages/devicebound/%%24.mid=1", id);
	struct msg *m = msg_new(slice_str(topic), slice_make(NULL, 0), slice_str(text));
	m->qos = 1;
	m->received_us = clock_wall_us();
	o->command = (struct broker_command){
	        .device_key = rig_device_key(rig, slice_str(o->id)),
	        .device_id = slice_str(o->id),
	        .msg = m,
	        .done = order_done,
	        .user = o,
	};
	broker_command(rig->broker, rig->loops[loop], &o->command);
	rig_step(rig);
}

/* What became of it. */
static int order_end(struct order *o)
{
	ck_assert(o->done);
	msg_unref(o->command.msg);
	return o->command.err;
}

static int order_now(struct rig *rig, const char *id, const char *text)
{
	struct order o;
	order_send(rig, 0, &o, id, text);
	return order_end(&o);
}

#define BOUND(id) "devices/" id "/messages/devicebound/#"
#define TOPIC(id) "devices/" id "/messages/devicebound/%24.mid=1"

START_TEST(waits_for_the_device)
{
	struct rig *rig = rig_new_kept(4, NULL, kept);
	struct got g;
	struct order o;
	ram_set_hold(kept, true);
	order_send(rig, 3, &o, "d", "one");
	ck_assert(!o.done);
	ram_set_hold(kept, false);
	rig_step(rig);
	ck_assert_int_eq(order_end(&o), 0);
	ck_assert_int_eq(order_now(rig, "d", "two"), 0);
	ck_assert_int_eq(order_now(rig, "another", "x"), 0);
	struct peer *d = device(rig, 4, "d"); /* a clean session */
	expect_quiet(d);
	subscribe(d, "other", 1);
	expect_quiet(d);
	subscribe(d, BOUND("d"), 1);
	expect_publish(d, TOPIC("d"), "one", 1, &g);
	ck_assert(!g.dup);
	send_ack(d, MQTT_PUBACK, g.packet_id);
	expect_publish(d, TOPIC("d"), "two", 1, &g);
	ck_assert_uint_eq(ram_count(kept).queued, 2);
	send_ack(d, MQTT_PUBACK, g.packet_id);
	ck_assert_uint_eq(ram_count(kept).queued, 1);
	/* and at once when it is there */
	ck_assert_int_eq(order_now(rig, "d", "three"), 0);
	expect_publish(d, TOPIC("d"), "three", 1, &g);
	expect_quiet(d);
	send_ack(d, MQTT_PUBACK, g.packet_id);
	ck_assert_uint_eq(ram_count(kept).queued, 1);
	rig_free(rig);
}
END_TEST

START_TEST(for_the_device_alone)
{
	struct rig *rig = rig_new_kept(2, NULL, kept);
	struct got g;
	struct peer *b = backend(rig, 5, "b"), *m = device(rig, 5, "d");
	subscribe(b, "devices/#", 1);
	send_subscribe(m, 9, BOUND("d"), 0, 5);
	expect_code(m, MQTT_SUBACK, 9, 0);
	ck_assert_int_eq(order_now(rig, "d", "x"), 0);
	expect_quiet(b);
	expect_publish(m, TOPIC("d"), "x", 0, &g); /* handed over: that is all with QoS 0 */
	ck_assert_uint_eq(g.ids[0], 5);
	ck_assert_uint_eq(ram_count(kept).queued, 0);
	/* plain publishing goes on beside it */
	send_publish(b, "devices/d/messages/devicebound/y", "y", 1, 1, 0);
	expect_publish(m, "devices/d/messages/devicebound/y", "y", 0, &g);
	rig_free(rig);
}
END_TEST

START_TEST(back_when_the_session_ends)
{
	struct rig *rig = rig_new_kept(2, NULL, kept);
	struct got g;
	struct peer *d = device(rig, 5, "d");
	subscribe(d, BOUND("d"), 1);
	ck_assert_int_eq(order_now(rig, "d", "one"), 0);
	ck_assert_int_eq(order_now(rig, "d", "two"), 0);
	expect_publish(d, TOPIC("d"), "one", 1, &g);
	expect_publish(d, TOPIC("d"), "two", 1, &g);
	peer_close(d);
	ck_assert_int_eq(order_now(rig, "d", "three"), 0);
	d = device(rig, 5, "d");
	subscribe(d, BOUND("d"), 1);
	expect_publish(d, TOPIC("d"), "one", 1, &g);
	ck_assert(g.dup);
	send_ack(d, MQTT_PUBACK, g.packet_id);
	expect_publish(d, TOPIC("d"), "two", 1, &g);
	ck_assert(g.dup);
	expect_publish(d, TOPIC("d"), "three", 1, &g);
	ck_assert(!g.dup);
	expect_quiet(d);
	ck_assert_uint_eq(ram_count(kept).queued, 2);
	rig_free(rig);
}
END_TEST

static struct peer *lasting(struct rig *rig, const char *id)
{
	return connect_with(rig, 0,
	        &(struct connect_opts){.v = 5, .id = id, .user = id, .keep = true, .expiry = 1000});
}

START_TEST(over_a_kill)
{
	struct rig *rig = rig_new_kept(3, NULL, kept);
	struct got g;
	struct peer *d = lasting(rig, "d");
	subscribe(d, BOUND("d"), 1);
	ck_assert_int_eq(order_now(rig, "d", "one"), 0);
	ck_assert_int_eq(order_now(rig, "e", "for e"), 0);
	expect_publish(d, TOPIC("d"), "one", 1, &g);
	/* the connection breaks: the session keeps it in flight, under its packet id */
	uint16_t id = g.packet_id;
	peer_close(d);
	d = lasting(rig, "d");
	expect_publish(d, TOPIC("d"), "one", 1, &g);
	ck_assert(g.dup && g.packet_id == id);
	expect_quiet(d);
	rig = rig_kill(rig);
	d = lasting(rig, "d");
	ck_assert(d->present);
	expect_publish(d, TOPIC("d"), "one", 1, &g);
	ck_assert(g.dup);
	send_ack(d, MQTT_PUBACK, g.packet_id);
	expect_quiet(d);
	ck_assert_int_eq(order_now(rig, "d", "two"), 0);
	expect_publish(d, TOPIC("d"), "two", 1, &g);
	struct peer *e = device(rig, 5, "e");
	subscribe(e, BOUND("e"), 1);
	expect_publish(e, TOPIC("e"), "for e", 1, &g);
	ck_assert(!g.dup); /* nobody was there before */
	rig_free(rig);
}
END_TEST

/* DUP after a stop in good order: on what was sent, also when its client left before, and to a
 * session that was not kept. */
START_TEST(over_a_stop)
{
	struct rig *rig = rig_new_kept(2, NULL, kept);
	struct broker_limits limits = rig->limits;
	struct got g;
	struct peer *d = lasting(rig, "d"), *e = device(rig, 5, "e");
	subscribe(d, BOUND("d"), 1);
	subscribe(e, BOUND("e"), 1);
	ck_assert_int_eq(order_now(rig, "d", "one"), 0);
	ck_assert_int_eq(order_now(rig, "e", "for e"), 0);
	expect_publish(d, TOPIC("d"), "one", 1, &g);
	expect_publish(e, TOPIC("e"), "for e", 1, &g);
	peer_close(d);
	peer_close(e);
	ck_assert_int_eq(order_now(rig, "d", "two"), 0);
	for (unsigned i = 0; i < 2; i++) {
		rig_free(rig);
		rig = rig_new_kept(2, &limits, kept);
		d = lasting(rig, "d");
		expect_publish(d, TOPIC("d"), "one", 1, &g);
		ck_assert(g.dup);
		expect_publish(d, TOPIC("d"), "two", 1, &g);
		ck_assert(g.dup == (i > 0));
	}
	e = device(rig, 5, "e");
	subscribe(e, BOUND("e"), 1);
	expect_publish(e, TOPIC("e"), "for e", 1, &g);
	ck_assert(g.dup);
	rig_free(rig);
}
END_TEST

static bool has_come(void *arg)
{
	return ((const struct peer *)arg)->out_n > 0;
}

/* What the session has in flight comes from the store late; a command takes no packet id of it. */
START_TEST(behind_what_was_in_flight)
{
	const struct connect_opts opts = {
	        .v = 5, .id = "d", .user = "d", .keep = true, .expiry = 1000};
	struct rig *rig = rig_new_kept(1, NULL, kept);
	struct got g;
	struct peer *d = lasting(rig, "d"), *p = backend(rig, 5, "p");
	subscribe(d, "t", 2);
	subscribe(d, BOUND("d"), 1);
	send_publish(p, "t", "x", 2, 1, 0);
	expect_ack(p, MQTT_PUBREC, 1, 0);
	expect_publish(d, "t", "x", 2, &g);
	uint16_t id = g.packet_id;
	send_ack(d, MQTT_PUBREC, id);
	expect_ack(d, MQTT_PUBREL, id, 0);
	rig = rig_kill(rig);
	ram_set_hold(kept, true);
	d = peer_open(rig, 0);
	send_connect(d, &opts);
	while (d->out_n == 0) {
		ck_assert_uint_gt(ram_count(kept).waiting, 0);
		ram_commit(kept, 1);
		rig_step(rig);
	}
	ck_assert(next(d, &g));
	ck_assert_int_eq(g.type, MQTT_CONNACK);
	ram_set_available(kept, false); /* for what was asked of the queue */
	ram_commit(kept, 9);
	rig_step(rig);
	ram_set_available(kept, true);
	ram_set_hold(kept, false);
	rig_step(rig);
	ck_assert_int_eq(order_now(rig, "d", "one"), 0);
	rig_until(rig, has_come, d);
	expect_ack(d, MQTT_PUBREL, id, 0);
	expect_publish(d, TOPIC("d"), "one", 1, &g);
	ck_assert_uint_ne(g.packet_id, id);
	expect_quiet(d);
	rig_free(rig);
}
END_TEST

START_TEST(a_full_queue)
{
	struct broker_limits l = {.command_depth = 3, .max_inflight = 2, .command_ttl = 2};
	struct rig *rig = rig_new_kept(2, &l, kept);
	struct got g;
	for (unsigned i = 0; i < 3; i++)
		ck_assert_int_eq(order_now(rig, "d", "x"), 0);
	ck_assert_int_eq(order_now(rig, "d", "x"), ERR_QUOTA);
	ck_assert_int_eq(order_now(rig, "d", "x"), ERR_QUOTA);
	ck_assert_int_eq(order_now(rig, "e", "x"), 0);
	struct peer *d = device(rig, 5, "d");
	subscribe(d, BOUND("d"), 1);
	for (unsigned i = 0; i < 3; i++) { /* two at a time */
		expect_publish(d, TOPIC("d"), "x", 1, &g);
		ck_assert(g.has_expiry);
		send_ack(d, MQTT_PUBACK, g.packet_id);
	}
	expect_quiet(d);
	ck_assert_uint_eq(ram_count(kept).queued, 1);
	peer_close(d);
	/* what expires makes room */
	for (unsigned i = 0; i < 3; i++)
		ck_assert_int_eq(order_now(rig, "d", "old"), 0);
	for (uint64_t end = clock_ms() + 2300; clock_ms() < end;) {
		event_base_loop(loop_event_base(rig->loops[0]), EVLOOP_ONCE);
		event_base_loop(loop_event_base(rig->loops[1]), EVLOOP_NONBLOCK);
	}
	ck_assert_int_eq(order_now(rig, "d", "new"), 0);
	d = device(rig, 5, "d");
	subscribe(d, BOUND("d"), 1);
	expect_publish(d, TOPIC("d"), "new", 1, &g);
	expect_quiet(d);
	rig_free(rig);
}
END_TEST

/* A command is kept between a count's reading and its answer. */
START_TEST(kept_while_they_are_counted)
{
	struct broker_limits l = {.command_depth = 3};
	struct rig *rig = rig_new_kept(1, &l, kept);
	struct order o;
	struct got g;
	struct peer *d = device(rig, 5, "d");
	subscribe(d, BOUND("d"), 1);
	uint16_t ids[4];
	for (unsigned i = 0; i < 3; i++) {
		ck_assert_int_eq(order_now(rig, "d", "x"), 0);
		expect_publish(d, TOPIC("d"), "x", 1, &g);
		ids[i] = g.packet_id;
	}
	ram_reads_apart(kept, true);
	order_send(rig, 0, &o, "d", "too many");
	ck_assert(!o.done);
	send_ack(d, MQTT_PUBACK, ids[0]);
	ram_read(kept);
	ck_assert_int_eq(order_now(rig, "d", "kept"), 0);
	expect_publish(d, TOPIC("d"), "kept", 1, &g);
	ids[3] = g.packet_id;
	ram_reads_apart(kept, false);
	rig_step(rig);
	ck_assert_int_eq(order_end(&o), ERR_QUOTA);
	for (unsigned i = 1; i < 4; i++)
		send_ack(d, MQTT_PUBACK, ids[i]);
	expect_quiet(d);
	ck_assert_uint_eq(ram_count(kept).queued, 0);
	rig_free(rig);
}
END_TEST

/* What an earlier queue of the device asked for is nothing to the one that there is now. */
START_TEST(answers_of_an_earlier_queue)
{
	struct broker_limits l = {.command_depth = 1};
	struct rig *rig = rig_new_kept(1, &l, kept);
	struct order late, now;
	struct got g;
	uint64_t key = rig_device_key(rig, SLICE_LIT("d"));
	ck_assert_int_eq(order_now(rig, "d", "x"), 0);
	ram_reads_apart(kept, true);
	order_send(rig, 0, &late, "d", "late"); /* is counted */
	struct peer *d = device(rig, 5, "d");
	subscribe(d, BOUND("d"), 1); /* is read */
	broker_device_gone(rig->broker, SLICE_LIT("d"), key);
	rig_step(rig);
	ck_assert(d->closed);
	ram_set_hold(kept, true);
	order_send(rig, 0, &now, "d", "now");
	ram_reads_apart(kept, false);
	rig_step(rig);
	ck_assert_int_eq(order_end(&late), ERR_NOT_FOUND);
	ck_assert(!now.done);
	ram_set_hold(kept, false);
	rig_step(rig);
	ck_assert_int_eq(order_end(&now), 0);
	d = device(rig, 5, "d");
	subscribe(d, BOUND("d"), 1);
	expect_publish(d, TOPIC("d"), "now", 1, &g);
	send_ack(d, MQTT_PUBACK, g.packet_id);
	rig_free(rig);
}
END_TEST

static void nobody(struct mail *mail HF_UNUSED)
{
}

/* Somebody has edited the database: what no device can have is left out, and the hub starts. */
START_TEST(of_an_impossible_device)
{
	struct rig *rig = rig_new_kept(1, NULL, kept);
	struct session_store store = ram_sessions(kept);
	char topic[400] = "devices/";
	struct got g;
	memset(topic + strlen(topic), 'x', 256);
	strcat(topic, "/messages/devicebound/x");
	struct queue_append row = {
	        .req = {.mail.deliver = nobody, .reply_to = loop_mailbox(rig->loops[0])},
	        .queue = COMMAND_QUEUE(77),
	        .n = 1,
	        .msg = msg_new(slice_str(topic), slice_make(NULL, 0), SLICE_LIT("x")),
	        .qos = 1,
	};
	store.queue_append(store.ctx, &row);
	rig_step(rig);
	msg_unref(row.msg);
	ck_assert_int_eq(order_now(rig, "d", "one"), 0);
	ck_assert_uint_eq(ram_count(kept).queued, 2);
	rig = rig_kill(rig);
	struct peer *d = device(rig, 5, "d");
	subscribe(d, BOUND("d"), 1);
	expect_publish(d, TOPIC("d"), "one", 1, &g);
	rig_free(rig);
}
END_TEST

START_TEST(device_gone)
{
	struct rig *rig = rig_new_kept(2, NULL, kept);
	struct order o;
	uint64_t key = rig_device_key(rig, SLICE_LIT("d"));
	ck_assert_int_eq(order_now(rig, "d", "x"), 0);
	ram_set_hold(kept, true);
	order_send(rig, 1, &o, "d", "y");
	ram_device_gone(kept, key);
	broker_device_gone(rig->broker, SLICE_LIT("d"), key);
	ram_set_hold(kept, false);
	rig_step(rig);
	ck_assert_int_eq(order_end(&o), ERR_NOT_FOUND);
	ck_assert_int_eq(order_now(rig, "d", "z"), ERR_NOT_FOUND);
	rig_free(rig);
}
END_TEST

START_TEST(store_away)
{
	struct rig *rig = rig_new_kept(2, NULL, kept);
	struct got g;
	struct order o;
	struct peer *d = device(rig, 5, "d");
	subscribe(d, BOUND("d"), 1);
	ram_set_available(kept, false);
	order_send(rig, 0, &o, "d", "x");
	ck_assert(!o.done);
	expect_quiet(d); /* committed first */
	ram_set_available(kept, true);
	rig_step(rig);
	ck_assert_int_eq(order_end(&o), 0);
	expect_publish(d, TOPIC("d"), "x", 1, &g);
	rig_free(rig);
	rig = rig_new(2); /* a hub that keeps nothing */
	ck_assert_int_eq(order_now(rig, "d", "x"), ERR_UNAVAILABLE);
	rig_free(rig);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("broker/command");
	TCase *t = tcase_create("commands");
	suite_add_tcase(s, t);
	tcase_set_timeout(t, 120);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, waits_for_the_device);
	tcase_add_test(t, for_the_device_alone);
	tcase_add_test(t, back_when_the_session_ends);
	tcase_add_test(t, over_a_kill);
	tcase_add_test(t, over_a_stop);
	tcase_add_test(t, behind_what_was_in_flight);
	tcase_add_test(t, a_full_queue);
	tcase_add_test(t, kept_while_they_are_counted);
	tcase_add_test(t, answers_of_an_earlier_queue);
	tcase_add_test(t, of_an_impossible_device);
	tcase_add_test(t, device_gone);
	tcase_add_test(t, store_away);
	return run_suite(s);
}
