/* What one device, and all of them together, may take: rates, memory, patience. */
#include "rig.h"

static bool is_closed(void *arg)
{
	return ((struct peer *)arg)->closed;
}
static bool is_read(void *arg)
{
	const struct peer *p = arg;
	return p->in_n == 0 && !p->paused;
}

/* Sends n QoS 0 publishes in one read. */
static void burst(struct peer *p, unsigned n)
{
	struct pk *k = pk_new();
	for (unsigned i = 0; i < n; i++)
		pk_raw(k, p->version == 5 ? "\x30\x05\0\1t\0x" : "\x30\x04\0\1tx",
		        p->version == 5 ? 7 : 6);
	peer_bytes(p, k->b, k->n);
	free(k);
}

START_TEST(too_many_messages_wait)
{
	struct broker_limits l = {.max_message_rate = 20};
	struct rig *rig = rig_new_with(2, &l);
	struct peer *p = device(rig, 4, "d"), *other = device(rig, 5, "e");
	int64_t taken = metric_read(METRIC_PUBLISH_IN), over = metric_read(METRIC_RATE_EXCEEDED);
	burst(p, 25);
	expect_open(p);
	ck_assert_int_eq(p->paused, 1);
	ck_assert_int_eq(metric_read(METRIC_PUBLISH_IN) - taken, 21); /* the last one in debt */
	ck_assert_int_eq(metric_read(METRIC_RATE_EXCEEDED) - over, 1);
	burst(other, 20); /* nobody else feels it */
	ck_assert_int_eq(other->paused, 0);
	uint64_t begin = clock_ms();
	rig_until(rig, is_read, p);
	ck_assert_uint_ge(clock_ms() - begin, 4 * 50 - 10);
	ck_assert_int_eq(metric_read(METRIC_PUBLISH_IN) - taken, 45);
	rig_free(rig);
}
END_TEST

START_TEST(too_many_messages_end)
{
	struct broker_limits l = {.max_message_rate = 20, .end_over_rate = true};
	struct rig *rig = rig_new_with(2, &l);
	struct peer *five = device(rig, 5, "five"), *three = device(rig, 4, "three");
	burst(five, 20);
	expect_open(five);
	burst(five, 2);
	expect_disconnect(five, 0x96);
	expect_closed(five, END_RATE);
	burst(three, 21);
	expect_closed(three, END_RATE);
	/* Coming back does not begin it anew. */
	five = device(rig, 5, "five");
	burst(five, 5);
	expect_closed(five, END_RATE);
	rig_free(rig);
}
END_TEST

/* Modules are the device; back ends of one key are each their own. */
START_TEST(who_shares_a_rate)
{
	struct broker_limits l = {.max_message_rate = 10, .end_over_rate = true};
	struct rig *rig = rig_new_with(3, &l);
	struct peer *d = device(rig, 5, "d"), *m = device(rig, 5, "d/m");
	burst(d, 8);
	expect_open(d);
	burst(m, 8);
	expect_closed(m, END_RATE);
	struct peer *a = backend(rig, 5, "a"), *b = backend(rig, 5, "b");
	burst(a, 9);
	burst(b, 9);
	expect_open(a);
	expect_open(b);
	rig_free(rig);
}
END_TEST

START_TEST(too_many_bytes)
{
	struct broker_limits l = {.max_byte_rate = 2000};
	struct rig *rig = rig_new_with(2, &l);
	struct peer *p = device(rig, 5, "d");
	char text[2401];
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	send_publish(p, "t", text, 0, 0, 0);
	ck_assert_int_eq(p->paused, 1);
	peer_hex(p, "c0 00");
	ck_assert_uint_gt(p->in_n, 0);
	rig_until(rig, is_read, p);
	expect_ack(p, MQTT_PINGRESP, 0, 0);
	/* A limit that is taken away lets everybody go on; one that is set holds for those that are
	 * connected. */
	send_publish(p, "t", text, 0, 0, 0);
	ck_assert_int_eq(p->paused, 1);
	rig->limits.max_byte_rate = 0;
	broker_set_limits(rig->broker, &rig->limits);
	rig_until(rig, is_read, p);
	rig->limits.max_message_rate = 5;
	broker_set_limits(rig->broker, &rig->limits);
	rig_step(rig);
	burst(p, 6);
	ck_assert_int_eq(p->paused, 1);
	rig_free(rig);
}
END_TEST

START_TEST(flapping)
{
	struct broker_limits l = {.max_connect_rate = 5};
	struct rig *rig = rig_new_with(2, &l);
	for (unsigned v = 4; v <= 5; v++) {
		struct connect_opts o = {.v = (int)v, .id = v == 5 ? "d5" : "d4"};
		o.user = o.id;
		for (unsigned i = 0; i < 5; i++)
			ck_assert_int_eq(connect_with(rig, 0, &o)->connack, 0);
		struct peer *p = connect_with(rig, 0, &o);
		ck_assert_int_eq(p->connack, v == 5 ? 0x9f : 3);
		expect_closed(p, END_CONNECT_RATE);
	}
	/* Who is refused for its credential counts for nobody: else strangers could lock out a
	 * device. Nor are back ends counted. */
	struct connect_opts wrong = {.v = 5, .id = "e", .user = "e", .pass = "wrong"};
	for (unsigned i = 0; i < 20; i++)
		ck_assert_int_eq(connect_with(rig, 0, &wrong)->connack, 0x87);
	device(rig, 5, "e");
	for (unsigned i = 0; i < 20; i++)
		backend(rig, 5, "app");
	rig_free(rig);
}
END_TEST

START_TEST(memory_of_subscriptions)
{
	struct broker_limits l = {.subscription_memory = 64 * 850};
	struct rig *rig = rig_new_with(3, &l);
	struct peer *p = device(rig, 5, "d");
	char filter[900];
	memset(filter, 'f', sizeof(filter) - 1);
	filter[sizeof(filter) - 1] = '\0';
	send_subscribe(p, 1, filter, 0, 0); /* more than a 64th */
	expect_code(p, MQTT_SUBACK, 1, 0x97);
	subscribe(p, "a/b", 0);
	subscribe(p, "a/c", 0);
	send_subscribe(p, 2, "a/d", 0, 0);
	expect_code(p, MQTT_SUBACK, 2, 0x97);
	send_unsubscribe(p, 3, "a/b");
	expect_code(p, MQTT_UNSUBACK, 3, 0);
	subscribe(p, "a/d", 0);
	/* All together. */
	unsigned granted = 0;
	for (unsigned i = 0; i < 80; i++) {
		char id[16];
		struct got g;
		snprintf(id, sizeof(id), "d%u", i);
		struct peer *one = device(rig, 5, id);
		send_subscribe(one, 1, filter + sizeof(filter) - 1 - 150, 0, 0);
		ck_assert(next(one, &g) && g.type == MQTT_SUBACK);
		granted += g.codes[0] == 0;
	}
	ck_assert_uint_ge(granted, 60);
	ck_assert_uint_lt(granted, 70);
	ck_assert_int_gt(metric_read(METRIC_SUBSCRIPTION_BYTES), 50000);
	rig_free(rig);
	ck_assert_int_eq(metric_read(METRIC_SUBSCRIPTION_BYTES), 0);
}
END_TEST

START_TEST(memory_of_wills)
{
	struct broker_limits l = {.will_memory = 4000};
	struct rig *rig = rig_new_with(2, &l);
	char text[1501];
	memset(text, 'w', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	struct peer *held[3];
	for (unsigned i = 0; i < 3; i++) {
		char id[8];
		snprintf(id, sizeof(id), "d%u", i);
		held[i] = connect_with(rig, 0,
		        &(struct connect_opts){.v = 5,
		                .id = id,
		                .user = id,
		                .will_topic = "w",
		                .will_payload = text});
		ck_assert_int_eq(held[i]->connack, i < 2 ? 0 : 0x97);
	}
	expect_closed(held[2], END_REFUSED);
	ck_assert_int_gt(metric_read(METRIC_WILL_BYTES), 3000);
	peer_hex(held[0], "e0 00"); /* its will is forgotten */
	struct peer *p = connect_with(rig, 0,
	        &(struct connect_opts){
	                .v = 5, .id = "d2", .user = "d2", .will_topic = "w", .will_payload = text});
	ck_assert_int_eq(p->connack, 0);
	rig_free(rig);
	ck_assert_int_eq(metric_read(METRIC_WILL_BYTES), 0);
}
END_TEST

static uint8_t retain(struct peer *p, unsigned topic, const char *text)
{
	char name[16];
	struct got g;
	snprintf(name, sizeof(name), "t/%u", topic);
	send_publish(p, name, text, 1, 1, RETAIN);
	ck_assert(next(p, &g) && g.type == MQTT_PUBACK);
	return g.reason;
}

START_TEST(retained_of_one_device)
{
	struct broker_limits l = {.device_retained = 10, .device_retained_bytes = 100000};
	struct rig *rig = rig_new_with(4, &l);
	struct peer *p = device(rig, 5, "d"), *other = device(rig, 5, "e");
	for (unsigned i = 0; i < 10; i++)
		ck_assert_int_eq(retain(p, i, "x"), 0);
	ck_assert_int_eq(retain(p, 10, "x"), 0x97);
	ck_assert_int_eq(retain(p, 3, "y"), 0); /* in its place */
	ck_assert_int_eq(retain(other, 10, "x"), 0);
	ck_assert_int_eq(retain(other, 3, "z"), 0); /* takes over what the device paid for */
	ck_assert_int_eq(retain(p, 11, "x"), 0);
	ck_assert_int_eq(retain(p, 12, "x"), 0x97);
	ck_assert_int_eq(retain(p, 11, ""), 0); /* cleared */
	ck_assert_int_eq(retain(p, 12, "x"), 0);
	broker_device_gone(rig->broker, SLICE_LIT("d"), rig_device_key(rig, SLICE_LIT("d")));
	rig_step(rig);
	p = device(rig, 5, "d");
	for (unsigned i = 20; i < 30; i++)
		ck_assert_int_eq(retain(p, i, "x"), 0);
	ck_assert_int_eq(retain(p, 30, "x"), 0x97);
	struct peer *bytes = device(rig, 5, "bytes");
	char *text = calloc(1, 60001);
	memset(text, 'x', 60000);
	ck_assert_int_eq(retain(bytes, 40, text), 0);
	ck_assert_int_eq(retain(bytes, 41, text), 0x97);
	ck_assert_int_eq(retain(bytes, 40, text), 0);
	free(text);
	rig_free(rig);
}
END_TEST

START_TEST(who_takes_nothing_ends)
{
	struct broker_limits l = {.output_soft_bytes = 4000, .slow_reader_ms = 300};
	struct rig *rig = rig_new_with(2, &l);
	struct peer *s = backend(rig, 5, "s");
	s->stuck = true;
	for (unsigned i = 0; i < 1000; i++)
		peer_hex(s, "c0 00");
	ck_assert_int_gt(s->paused, 0);
	expect_open(s);
	rig_until(rig, is_closed, s);
	expect_closed(s, END_SLOW_READER);
	ck_assert(s->hard);
	rig_free(rig);
}
END_TEST

static bool after(void *arg)
{
	return clock_ms() >= *(uint64_t *)arg;
}

/* Slow is not stuck: whoever takes something at each look goes on. The looks are ten times as far
 * apart as the takes, so that a busy machine does not miss one. */
START_TEST(who_takes_a_little_stays)
{
	struct broker_limits l = {.output_soft_bytes = 4000, .slow_reader_ms = 1000};
	struct rig *rig = rig_new_with(2, &l);
	struct peer *s = backend(rig, 5, "s");
	s->stuck = true;
	for (unsigned i = 0; i < 1000; i++)
		peer_hex(s, "c0 00");
	for (unsigned i = 0; i < 14; i++) {
		uint64_t then = clock_ms() + 100;
		s->out_n -= 2;
		rig_until(rig, after, &then);
		expect_open(s);
	}
	s->stuck = false;
	broker_client_drained(s->client);
	rig_step(rig);
	ck_assert_int_eq(s->paused, 0);
	ck_assert_uint_eq(s->in_n, 0);
	rig_free(rig);
}
END_TEST

/* What one client hands to the store, others wait behind: it stops being read before that is much,
 * at any QoS. */
START_TEST(a_part_of_the_store)
{
	struct rig *rig = rig_new(2);
	struct peer *zero = device(rig, 5, "zero"), *one = device(rig, 5, "one");
	char *text = calloc(1, 40001);
	memset(text, 'x', 40000);
	rig->hold_store = true;
	burst(zero, 300);
	ck_assert_int_eq(zero->paused, 1);
	ck_assert_uint_eq(rig->n_ops, 257);
	send_publish(one, "t", text, 1, 1, 0);
	ck_assert_int_eq(one->paused, 0);
	send_publish(one, "t", text, 1, 2, 0);
	ck_assert_int_eq(one->paused, 1);
	expect_open(zero);
	expect_open(one);
	rig->hold_store = false;
	rig_commit(rig, 1000);
	ck_assert_int_eq(zero->paused, 0);
	ck_assert_uint_eq(zero->in_n, 0);
	ck_assert_uint_eq(rig->n_rows, 302);
	expect_ack(one, MQTT_PUBACK, 1, 0);
	expect_ack(one, MQTT_PUBACK, 2, 0);
	ck_assert_int_eq(one->paused, 0);
	free(text);
	rig_free(rig);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("broker/limits");
	TCase *t = tcase_create("limits");
	tcase_set_timeout(t, 60);
	tcase_add_test(t, too_many_messages_wait);
	tcase_add_test(t, too_many_messages_end);
	tcase_add_test(t, who_shares_a_rate);
	tcase_add_test(t, too_many_bytes);
	tcase_add_test(t, flapping);
	tcase_add_test(t, memory_of_subscriptions);
	tcase_add_test(t, memory_of_wills);
	tcase_add_test(t, retained_of_one_device);
	tcase_add_test(t, a_part_of_the_store);
	tcase_add_test(t, who_takes_nothing_ends);
	tcase_add_test(t, who_takes_a_little_stays);
	suite_add_tcase(s, t);
	return run_suite(s);
}
