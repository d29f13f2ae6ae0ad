/* What a session delivers: flight, queue, windows, resends, expiry, aliases. */
#include "tests/unit/broker/rig.h"

static struct peer *stay(struct rig *rig, int v, const char *id, struct connect_opts o)
{
	o.v = v;
	o.id = id;
	o.user = "key/ops";
	o.keep = true;
	if (!o.expiry)
		o.expiry = 100;
	struct peer *p = connect_with(rig, 1, &o);
	ck_assert_int_eq(p->connack, 0);
	return p;
}

static void pubs(struct peer *p, const char *topic, unsigned from, unsigned to, unsigned qos)
{
	for (unsigned i = from; i <= to; i++) {
		char text[16];
		struct got g;
		snprintf(text, sizeof(text), "%u", i);
		send_publish(p, topic, text, qos, i, 0);
		if (qos)
			ck_assert(next(p, &g));
		if (qos == 2) {
			send_ack(p, MQTT_PUBREL, i);
			ck_assert(next(p, &g));
		}
	}
}

START_TEST(qos_is_the_lower_of_both)
{
	struct rig *rig = rig_new(3);
	struct peer *p = device(rig, 5, "d");
	for (unsigned sub = 0; sub <= 2; sub++) {
		struct peer *s = backend(rig, sub == 1 ? 4 : 5, "s");
		subscribe(s, "t/+", sub);
		for (unsigned qos = 0; qos <= 2; qos++) {
			struct got g;
			pubs(p, "t/1", 1, 1, qos);
			expect_publish(s, "t/1", "1", (int)(qos < sub ? qos : sub), &g);
		}
		peer_close(s);
	}
	rig_free(rig);
}
END_TEST

START_TEST(exchanges)
{
	struct rig *rig = rig_new(2);
	struct peer *p = device(rig, 5, "d"), *s = backend(rig, 5, "s");
	struct got g;
	subscribe(s, "#", 2);
	pubs(p, "t", 1, 1, 1);
	expect_publish(s, "t", "1", 1, &g);
	ck_assert_int_eq(g.packet_id, 1);
	send_ack(s, MQTT_PUBACK, g.packet_id);
	pubs(p, "t", 2, 2, 2);
	expect_publish(s, "t", "2", 2, &g);
	ck_assert_int_eq(g.packet_id, 2);
	send_ack(s, MQTT_PUBREC, 2);
	expect_ack(s, MQTT_PUBREL, 2, 0);
	send_ack(s, MQTT_PUBREC, 2);
	expect_ack(s, MQTT_PUBREL, 2, 0);
	send_ack(s, MQTT_PUBCOMP, 2);
	send_ack(s, MQTT_PUBREC, 2); /* unknown now */
	expect_ack(s, MQTT_PUBREL, 2, 0x92);
	send_ack(s, MQTT_PUBACK, 77);
	send_ack(s, MQTT_PUBCOMP, 77);
	expect_quiet(s);
	expect_open(s);
	/* answers of the wrong kind */
	pubs(p, "t", 3, 3, 1);
	expect_publish(s, "t", "3", 1, &g);
	send_ack(s, MQTT_PUBREC, g.packet_id);
	expect_disconnect(s, 0x82);
	rig_free(rig);
}
END_TEST

START_TEST(window)
{
	struct broker_limits l = {.max_inflight = 5, .max_queued_messages = 10};
	struct rig *rig = rig_new_with(2, &l);
	struct peer *p = device(rig, 5, "d");
	struct peer *narrow = stay(rig, 5, "n", (struct connect_opts){.receive_maximum = 2});
	struct peer *wide = stay(rig, 4, "w", (struct connect_opts){0});
	struct got g;
	int64_t dropped = metric_read(METRIC_DROPPED_QUEUE);
	subscribe(narrow, "t", 2);
	subscribe(wide, "t", 2);
	pubs(p, "t", 1, 16, 2);
	/* narrow: 2 in flight, 10 queued, 4 dropped; wide: 5 and 10, 1 dropped; the newest go */
	ck_assert_int_eq(metric_read(METRIC_DROPPED_QUEUE) - dropped, 5);
	for (unsigned i = 1; i <= 5; i++) {
		char text[16];
		snprintf(text, sizeof(text), "%u", i);
		expect_publish(wide, "t", text, 2, &g);
	}
	expect_quiet(wide);
	for (unsigned i = 1; i <= 12; i++) {
		char text[16];
		snprintf(text, sizeof(text), "%u", i);
		expect_publish(narrow, "t", text, 2, &g);
		if (i == 1)
			continue;
		/* one more in flight than settled; room comes only with PUBCOMP */
		expect_quiet(narrow);
		send_ack(narrow, MQTT_PUBREC, i - 1);
		expect_ack(narrow, MQTT_PUBREL, i - 1, 0);
		expect_quiet(narrow);
		send_ack(narrow, MQTT_PUBCOMP, i - 1);
	}
	/* a refusal gives the room back too */
	send_ack_reason(narrow, MQTT_PUBREC, 12, 0x97);
	pubs(p, "t", 20, 21, 2);
	expect_publish(narrow, "t", "20", 2, &g);
	expect_publish(narrow, "t", "21", 2, &g);
	rig_free(rig);
}
END_TEST

START_TEST(resends_in_order)
{
	struct broker_limits l = {.max_inflight = 4};
	struct rig *rig = rig_new_with(2, &l);
	struct peer *p = device(rig, 5, "d");
	for (int v = 4; v <= 5; v++) {
		struct peer *s = stay(rig, v, "s", (struct connect_opts){0});
		struct got g;
		subscribe(s, "t", 2);
		pubs(p, "t", 1, 6, 2);
		for (unsigned i = 1; i <= 4; i++)
			ck_assert(next(s, &g));
		unsigned first = g.packet_id - 3u;
		send_ack(s, MQTT_PUBREC, first + 1);
		expect_ack(s, MQTT_PUBREL, first + 1, 0);
		peer_close(s);
		pubs(p, "t", 7, 7, 1);
		pubs(p, "t", 8, 8, 0); /* not for those who are away */
		s = stay(rig, v, "s", (struct connect_opts){.receive_maximum = v == 5 ? 3 : 0});
		ck_assert(s->present);
		expect_publish(s, "t", "1", 2, &g);
		ck_assert(g.dup);
		ck_assert_int_eq(g.packet_id, first);
		expect_ack(s, MQTT_PUBREL, first + 1, 0);
		expect_publish(s, "t", "3", 2, &g);
		ck_assert(g.dup);
		if (v == 4) {
			expect_publish(s, "t", "4", 2, &g);
			ck_assert(g.dup);
		}
		expect_quiet(s); /* the smaller window holds for resends too */
		send_ack(s, MQTT_PUBCOMP, first + 1);
		if (v == 5) {
			expect_publish(s, "t", "4", 2, &g);
			ck_assert(g.dup);
		} else {
			expect_publish(s, "t", "5", 2, &g);
			ck_assert(!g.dup);
		}
		send_ack(s, MQTT_PUBREC, first);
		expect_ack(s, MQTT_PUBREL, first, 0);
		send_ack(s, MQTT_PUBCOMP, first);
		expect_publish(s, "t", v == 5 ? "5" : "6", 2, &g);
		ck_assert(!g.dup);
		peer_hex(s, v == 5 ? "e0 07 00 05 11 00 00 00 00" : "e0 00");
		peer_close(connect_with(
		        rig, 0, &(struct connect_opts){.v = v, .id = "s", .user = "key/ops"}));
	}
	rig_free(rig);
}
END_TEST

START_TEST(session_present)
{
	struct rig *rig = rig_new(3);
	struct peer *s = stay(rig, 5, "s", (struct connect_opts){0});
	ck_assert(!s->present);
	subscribe(s, "t", 1);
	peer_close(s);
	s = stay(rig, 5, "s", (struct connect_opts){0});
	ck_assert(s->present);
	peer_close(s);
	/* another principal with that client id has a session of its own */
	s = connect_with(rig, 0,
	        &(struct connect_opts){.v = 5, .id = "s", .user = "key/other", .keep = true});
	ck_assert(!s->present);
	s = connect_with(
	        rig, 0, &(struct connect_opts){.v = 5, .id = "s", .user = "s", .keep = true});
	ck_assert(!s->present);
	/* a clean start forgets */
	s = connect_with(rig, 0,
	        &(struct connect_opts){.v = 5, .id = "s", .user = "key/ops", .expiry = 100});
	ck_assert(!s->present);
	struct peer *p = device(rig, 5, "d");
	pubs(p, "t", 1, 1, 1);
	expect_quiet(s);
	/* DISCONNECT that sets the expiry to 0 ends it */
	peer_hex(s, "e0 07 00 05 11 00 00 00 00");
	s = stay(rig, 5, "s", (struct connect_opts){0});
	ck_assert(!s->present);
	rig_free(rig);
}
END_TEST

START_TEST(a_device_made_anew_starts_empty)
{
	struct rig *rig = rig_new(2);
	struct connect_opts o = {.v = 5, .id = "d", .user = "d", .keep = true, .expiry = 100};
	struct peer *old = connect_with(rig, 0, &o);
	subscribe(old, "t", 1);
	rig->generation++;
	struct peer *p = connect_with(rig, 0, &o);
	ck_assert_int_eq(p->connack, 0);
	ck_assert(!p->present);
	expect_disconnect(old, 0x8e);
	expect_closed(old, END_TAKEN_OVER);
	/* and the earlier one does not come back */
	rig->generation--;
	p = connect_with(rig, 0, &o);
	ck_assert_int_eq(p->connack, 0x87);
	rig_free(rig);
}
END_TEST

START_TEST(disconnect_may_not_revive_a_session)
{
	struct rig *rig = rig_new(1);
	struct peer *p = device(rig, 5, "d");
	peer_hex(p, "e0 07 00 05 11 00 00 00 09");
	expect_disconnect(p, 0x82);
	expect_closed(p, END_PROTOCOL);
	rig_free(rig);
}
END_TEST

static bool no_sessions(void *arg HF_UNUSED)
{
	return metric_read(METRIC_SESSIONS) == 1;
}

START_TEST(sessions_expire)
{
	struct rig *rig = rig_new(2);
	struct peer *p = device(rig, 5, "d");
	struct peer *s = stay(rig, 5, "s", (struct connect_opts){.expiry = 1});
	subscribe(s, "t", 1);
	uint64_t begin = clock_ms();
	peer_close(s);
	pubs(p, "t", 1, 3, 1);
	rig_until(rig, no_sessions, NULL);
	ck_assert_uint_ge(clock_ms() - begin, 1000);
	s = stay(rig, 5, "s", (struct connect_opts){0});
	ck_assert(!s->present);
	expect_quiet(s);
	rig_free(rig);
}
END_TEST

static bool after(void *arg)
{
	return clock_ms() >= *(uint64_t *)arg;
}

START_TEST(messages_expire)
{
	struct rig *rig = rig_new(2);
	struct peer *p = device(rig, 5, "d");
	struct peer *s = stay(rig, 5, "s", (struct connect_opts){0});
	struct got g;
	subscribe(s, "t", 1);
	peer_close(s);
	struct pk *props = pk_new();
	pk_u8(props, PROP_MESSAGE_EXPIRY);
	pk_u32(props, 1);
	send_publish_props(p, "t", "short", 1, 1, 0, props);
	props->n = 1;
	pk_u32(props, 100);
	send_publish_props(p, "t", "long", 1, 2, 0, props);
	free(props);
	uint64_t until = clock_ms() + 1600;
	int64_t before = metric_read(METRIC_DROPPED_EXPIRED);
	rig_until(rig, after, &until);
	s = stay(rig, 5, "s", (struct connect_opts){0});
	expect_publish(s, "t", "long", 1, &g);
	ck_assert(g.has_expiry);
	ck_assert_uint_le(g.expiry, 99);
	ck_assert_uint_ge(g.expiry, 97);
	expect_quiet(s);
	ck_assert_int_eq(metric_read(METRIC_DROPPED_EXPIRED) - before, 1);
	rig_free(rig);
}
END_TEST

START_TEST(too_large_for_the_client)
{
	struct rig *rig = rig_new(2);
	struct peer *p = device(rig, 5, "d");
	struct peer *s = stay(
	        rig, 5, "s", (struct connect_opts){.receive_maximum = 1, .max_packet = 60});
	struct got g;
	subscribe(s, "t", 1);
	int64_t before = metric_read(METRIC_DROPPED_TOO_LARGE);
	char big[100] = "";
	memset(big, 'x', 80);
	for (unsigned i = 1; i <= 5; i++) {
		send_publish(p, "t", big, i & 1, i, 0);
		expect_quiet(s);
	}
	ck_assert_int_eq(metric_read(METRIC_DROPPED_TOO_LARGE) - before, 5);
	send_publish(p, "t", "small", 1, 9, 0); /* the only place in its window is free */
	expect_publish(s, "t", "small", 1, &g);
	/* from the queue, too */
	send_publish(p, "t", big, 1, 10, 0);
	send_publish(p, "t", "next", 1, 11, 0);
	expect_quiet(s);
	send_ack(s, MQTT_PUBACK, g.packet_id);
	expect_publish(s, "t", "next", 1, &g);
	rig_free(rig);
}
END_TEST

START_TEST(queue_bytes_are_bounded)
{
	struct broker_limits l = {.max_queued_bytes = 1000};
	struct rig *rig = rig_new_with(2, &l);
	struct peer *p = device(rig, 5, "d");
	struct peer *s = stay(rig, 5, "s", (struct connect_opts){0});
	struct got g;
	subscribe(s, "t", 1);
	peer_close(s);
	char big[500] = "";
	memset(big, 'x', 400);
	int64_t before = metric_read(METRIC_DROPPED_QUEUE);
	for (unsigned i = 1; i <= 5; i++)
		send_publish(p, "t", big, 1, i, 0);
	ck_assert_int_eq(metric_read(METRIC_DROPPED_QUEUE) - before, 3);
	s = stay(rig, 5, "s", (struct connect_opts){0});
	ck_assert(next(s, &g) && next(s, &g));
	expect_quiet(s);
	rig_free(rig);
}
END_TEST

static void send_big(struct peer *p, const char *topic, unsigned n)
{
	static char big[100001];
	memset(big, 'x', sizeof(big) - 1);
	for (unsigned i = 1; i <= n; i++) {
		uint64_t now = clock_ms();
		send_publish(p, topic, big, 1, i, 0);
		while (clock_ms() == now) /* a turn of the loop */
			;
	}
}

/* Acknowledges and counts what comes, so long as something does. */
static unsigned drink(struct peer *s)
{
	struct got g;
	unsigned n = 0;
	for (; next(s, &g); n++)
		send_ack(s, MQTT_PUBACK, g.packet_id);
	return n;
}

START_TEST(a_window_of_large_messages)
{
	struct rig *rig = rig_new(1);
	struct peer *p = device(rig, 5, "d"), *s = backend(rig, 5, "s");
	struct got g;
	unsigned n = 0;
	subscribe(s, "t", 1);
	send_big(p, "t", 40);
	while (next(s, &g))
		n++;
	ck_assert_uint_le(n, 12); /* a MiB and one more */
	for (unsigned i = 1; i <= n; i++)
		send_ack(s, MQTT_PUBACK, i);
	ck_assert_uint_eq(drink(s) + n, 40);
	rig_free(rig);
}
END_TEST

START_TEST(a_hub_full_of_messages)
{
	struct broker_limits l = {.queue_memory = 1000000};
	struct rig *rig = rig_new_with(2, &l);
	struct peer *p = device(rig, 5, "d");
	for (unsigned i = 0; i < 2; i++) {
		struct peer *s = stay(rig, 5, i ? "s2" : "s1", (struct connect_opts){0});
		subscribe(s, i ? "small" : "big", 1);
		peer_close(s);
	}
	int64_t before = metric_read(METRIC_DROPPED_QUEUE);
	send_big(p, "big", 30);
	ck_assert_int_ge(metric_read(METRIC_DROPPED_QUEUE) - before, 18);
	ck_assert_int_lt(metric_read(METRIC_MESSAGE_BYTES), 1300000);
	send_publish(p, "small", "x", 1, 1, 0); /* whoever has little may still get some */
	ck_assert_uint_eq(drink(stay(rig, 5, "s2", (struct connect_opts){0})), 1);
	struct peer *s = stay(rig, 5, "s1", (struct connect_opts){0});
	unsigned n = drink(s);
	ck_assert_uint_ge(n, 9);
	ck_assert_uint_le(n, 12);
	send_big(p, "big", 5); /* there is room again */
	ck_assert_uint_eq(drink(s), 5);
	rig_free(rig);
	ck_assert_int_eq(metric_read(METRIC_MESSAGE_BYTES), 0);
}
END_TEST

START_TEST(a_slow_reader)
{
	struct broker_limits l = {.output_soft_bytes = 1000, .output_hard_bytes = 3000};
	struct rig *rig = rig_new_with(2, &l);
	struct peer *p = device(rig, 5, "d"), *s = backend(rig, 5, "s");
	struct got g;
	subscribe(s, "q0", 0);
	subscribe(s, "q1", 1);
	s->stuck = true;
	int64_t before = metric_read(METRIC_DROPPED_QOS0);
	pubs(p, "q0", 1, 300, 0); /* 8 bytes or so each: most are dropped */
	ck_assert_int_gt(metric_read(METRIC_DROPPED_QOS0) - before, 100);
	expect_open(s);
	pubs(p, "q1", 1, 20, 1); /* these wait */
	expect_open(s);
	s->stuck = false;
	broker_client_drained(s->client);
	unsigned n = 0;
	while (next(s, &g))
		n += g.qos == 1;
	ck_assert_uint_eq(n, 20);
	/* pings that nobody reads the answers of */
	s->stuck = true;
	for (unsigned i = 0; i < 2000; i++)
		peer_hex(s, "c0 00");
	expect_open(s);
	ck_assert_int_gt(s->paused, 0);
	ck_assert_uint_lt(link_unsent(s), 300); /* it is not read until it reads */
	s->stuck = false;
	broker_client_drained(s->client);
	ck_assert_int_eq(s->paused, 0);
	rig_free(rig);
}
END_TEST

START_TEST(aliases_to_clients)
{
	struct rig *rig = rig_new(2);
	struct peer *p = device(rig, 5, "d");
	struct peer *s = stay(rig, 5, "s", (struct connect_opts){.alias_maximum = 2});
	struct got g;
	subscribe(s, "#", 0);
	static const char *const topics[] = {"devices/one", "devices/two", "devices/three"};
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < 3; i++) {
			pubs(p, topics[i], 1, 1, 0);
			expect_publish(s, round && i < 2 ? "" : topics[i], "1", 0, &g);
			ck_assert_int_eq(g.alias, i < 2 ? i + 1 : 0);
		}
	}
	/* a new connection knows none */
	peer_close(s);
	s = stay(rig, 5, "s", (struct connect_opts){.alias_maximum = 2});
	pubs(p, topics[0], 1, 1, 0);
	expect_publish(s, topics[0], "1", 0, &g);
	rig_free(rig);
}
END_TEST

START_TEST(ids_go_round)
{
	struct rig *rig = rig_new(1);
	struct peer *p = backend(rig, 4, "p"), *s = backend(rig, 4, "s");
	struct got g;
	subscribe(s, "t", 1);
	for (unsigned i = 0; i < 66000; i++) {
		send_publish(p, "t", "", 1, 1, 0);
		ck_assert(next(p, &g));
		ck_assert(next(s, &g));
		ck_assert_int_eq(g.packet_id, i % 65535 + 1);
		/* one stays behind for a while */
		if (i != 65500)
			send_ack(s, MQTT_PUBACK, g.packet_id);
	}
	send_ack(s, MQTT_PUBACK, 65501);
	rig_free(rig);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("broker/session");
	TCase *t = tcase_create("session");
	suite_add_tcase(s, t);
	tcase_set_timeout(t, 120);
	tcase_add_test(t, qos_is_the_lower_of_both);
	tcase_add_test(t, exchanges);
	tcase_add_test(t, window);
	tcase_add_test(t, resends_in_order);
	tcase_add_test(t, session_present);
	tcase_add_test(t, a_device_made_anew_starts_empty);
	tcase_add_test(t, disconnect_may_not_revive_a_session);
	tcase_add_test(t, sessions_expire);
	tcase_add_test(t, messages_expire);
	tcase_add_test(t, too_large_for_the_client);
	tcase_add_test(t, queue_bytes_are_bounded);
	tcase_add_test(t, a_window_of_large_messages);
	tcase_add_test(t, a_hub_full_of_messages);
	tcase_add_test(t, a_slow_reader);
	tcase_add_test(t, aliases_to_clients);
	tcase_add_test(t, ids_go_round);
	return run_suite(s);
}
