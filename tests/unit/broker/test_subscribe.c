/* Subscriptions, retained messages and how they cross loops. */
#include "tests/unit/broker/rig.h"

START_TEST(across_loops)
{
	struct rig *rig = rig_new(4);
	struct peer *subs[12], *p[12];
	struct got g;
	for (unsigned i = 0; i < 12; i++) {
		char id[16];
		snprintf(id, sizeof(id), "s%u", i);
		subs[i] = backend(rig, i & 1 ? 4 : 5, id);
		subscribe(subs[i], "a/+/c", 1);
		snprintf(id, sizeof(id), "p%u", i);
		p[i] = device(rig, 5, id);
	}
	for (unsigned k = 0; k < 12; k++) {
		send_publish(p[k], "a/b/c", "x", 1, 1, 0);
		for (unsigned i = 0; i < 12; i++) {
			expect_publish(subs[i], "a/b/c", "x", 1, &g);
			expect_quiet(subs[i]);
		}
	}
	for (unsigned i = 0; i < 11; i++) {
		send_unsubscribe(subs[i], 5, "a/+/c");
		ck_assert(next(subs[i], &g));
		ck_assert_int_eq(g.type, MQTT_UNSUBACK);
	}
	send_publish(p[0], "a/b/c", "y", 1, 2, 0);
	for (unsigned i = 0; i < 11; i++)
		expect_quiet(subs[i]);
	expect_publish(subs[11], "a/b/c", "y", 1, &g);
	rig_free(rig);
}
END_TEST

START_TEST(codes)
{
	struct broker_limits l = {.max_subscriptions = 3, .max_topic_levels = 4};
	struct rig *rig = rig_new_with(2, &l);
	struct peer *p = device(rig, 5, "d");
	static const struct {
		const char *filter;
		unsigned qos;
		int code;
	} cases[] = {
	        {"ok", 1, 1},
	        {"a/#/b", 1, 0x8f},
	        {"a+", 1, 0x8f},
	        {"forbidden/x", 1, 0x87},
	        {"1/2/3/4/5", 1, 0x8f},
	        {"$share", 1, 0x8f},
	        {"$share/g+/x", 1, 0x8f},
	        {"$share/g/x/+", 2, 2},
	        {"two", 0, 0},
	        {"three", 0, 0x97},
	        {"ok", 2, 2},
	};
	for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
		struct got g;
		send_subscribe(p, i + 1, cases[i].filter, cases[i].qos, 0);
		ck_assert_msg(next(p, &g), "case %u", i);
		ck_assert_msg(g.type == MQTT_SUBACK && g.packet_id == i + 1 && g.n_codes == 1 &&
		                g.codes[0] == cases[i].code,
		        "case %u: %#x", i, g.codes[0]);
	}
	send_unsubscribe(p, 50, "ok");
	expect_code(p, MQTT_UNSUBACK, 50, 0);
	send_unsubscribe(p, 51, "ok");
	expect_code(p, MQTT_UNSUBACK, 51, 0x11);
	send_unsubscribe(p, 52, "$share/g/x/+");
	expect_code(p, MQTT_UNSUBACK, 52, 0);
	/* 3.1.1 */
	struct peer *old = device(rig, 4, "old");
	send_subscribe(old, 1, "forbidden", 1, 0);
	expect_code(old, MQTT_SUBACK, 1, 0x80);
	send_subscribe(old, 2, "a/#/b", 1, 0);
	expect_quiet(old);
	expect_closed(old, END_TOPIC_FILTER);
	rig_free(rig);
}
END_TEST

START_TEST(several_filters_at_once)
{
	struct rig *rig = rig_new(3);
	struct peer *p = device(rig, 5, "d");
	struct got g;
	struct pk *k = pk_new();
	pk_u16(k, 3);
	pk_u8(k, 0);
	static const char *const filters[] = {"a", "forbidden", "b/#", "a/#b"};
	for (unsigned i = 0; i < 4; i++) {
		pk_str(k, filters[i]);
		pk_u8(k, i % 3);
	}
	pk_send(p, 0x82, k);
	ck_assert(next(p, &g));
	ck_assert_uint_eq(g.n_codes, 4);
	ck_assert_mem_eq(g.codes, "\x00\x87\x02\x8f", 4);
	rig_free(rig);
}
END_TEST

START_TEST(overlapping_subscriptions_give_one_copy)
{
	struct rig *rig = rig_new(2);
	struct peer *p = device(rig, 5, "d"), *s = backend(rig, 5, "s"),
	            *old = backend(rig, 4, "o");
	struct got g;
	send_subscribe(s, 1, "a/b", 0, 7);
	send_subscribe(s, 2, "a/+", 2, 8);
	send_subscribe(s, 3, "#", 1, 0);
	send_subscribe(s, 4, "+/b", 1, 300);
	for (unsigned i = 0; i < 4; i++)
		ck_assert(next(s, &g));
	subscribe(old, "a/b", 0);
	subscribe(old, "a/+", 2);
	send_publish(p, "a/b", "x", 2, 1, 0);
	expect_publish(s, "a/b", "x", 2, &g);
	ck_assert_uint_eq(g.n_ids, 3);
	ck_assert_uint_eq(g.ids[0] + g.ids[1] + g.ids[2], 315);
	expect_quiet(s);
	expect_publish(old, "a/b", "x", 2, &g);
	expect_quiet(old);
	rig_free(rig);
}
END_TEST

START_TEST(no_local_and_retain_as_published)
{
	struct rig *rig = rig_new(2);
	struct peer *a = backend(rig, 5, "a"), *b = backend(rig, 5, "b");
	struct got g;
	subscribe(a, "t", 1 | 4);
	subscribe(b, "t", 1 | 8);
	send_publish(a, "t", "x", 0, 0, RETAIN);
	expect_quiet(a);
	expect_publish(b, "t", "x", 0, &g);
	ck_assert(g.retain);
	send_publish(b, "t", "y", 0, 0, RETAIN);
	expect_publish(b, "t", "y", 0, &g);
	expect_publish(a, "t", "y", 0, &g);
	ck_assert(!g.retain);
	rig_free(rig);
}
END_TEST

START_TEST(private_topics)
{
	struct rig *rig = rig_new(2);
	struct peer *a = device(rig, 4, "a"), *b = device(rig, 4, "b");
	subscribe(a, "$iothub/methods/POST/#", 0);
	subscribe(a, "#", 0);
	send_publish(b, "$iothub/methods/POST/x", "x", 0, 0, 0);
	expect_quiet(a);
	send_unsubscribe(a, 1, "$iothub/methods/POST/#");
	expect_ack(a, MQTT_UNSUBACK, 1, 0);
	rig_free(rig);
}
END_TEST

START_TEST(retained)
{
	struct rig *rig = rig_new(4);
	struct peer *p = device(rig, 5, "d");
	struct got g;
	for (unsigned i = 0; i < 20; i++) {
		char topic[16];
		snprintf(topic, sizeof(topic), "r/%u", i);
		send_publish(p, topic, "old", 1, 1, RETAIN);
		send_publish(p, topic, topic, 1, 2, RETAIN);
		expect_ack(p, MQTT_PUBACK, 1, 0);
		expect_ack(p, MQTT_PUBACK, 2, 0);
	}
	struct peer *s = backend(rig, 4, "s");
	subscribe(s, "r/7", 0);
	expect_publish(s, "r/7", "r/7", 0, &g);
	ck_assert(g.retain);
	expect_quiet(s);
	subscribe(s, "r/+", 1);
	unsigned n = 0;
	for (; next(s, &g); n++) {
		ck_assert(g.retain);
		ck_assert_int_eq(g.qos, 1);
		ck_assert_str_eq(g.topic, g.payload);
		send_ack(s, MQTT_PUBACK, g.packet_id);
	}
	ck_assert_uint_eq(n, 20);
	/* a live one has no RETAIN; an empty one clears and goes to those who listen */
	send_publish(p, "r/7", "", 1, 3, RETAIN);
	expect_ack(p, MQTT_PUBACK, 3, 0);
	expect_publish(s, "r/7", "", 1, &g);
	ck_assert(!g.retain);
	struct peer *t = backend(rig, 5, "t");
	subscribe(t, "r/7", 0);
	expect_quiet(t);
	rig_free(rig);
}
END_TEST

START_TEST(retain_handling)
{
	struct rig *rig = rig_new(2);
	struct peer *p = device(rig, 5, "d"), *s = backend(rig, 5, "s");
	struct got g;
	send_publish(p, "t", "x", 0, 0, RETAIN);
	subscribe(s, "t", 0x20);
	expect_quiet(s);
	send_unsubscribe(s, 1, "t");
	ck_assert(next(s, &g));
	subscribe(s, "t", 0x10);
	expect_publish(s, "t", "x", 0, &g);
	subscribe(s, "t", 0x10);
	expect_quiet(s);
	subscribe(s, "t", 0);
	expect_publish(s, "t", "x", 0, &g);
	subscribe(s, "$share/g/t", 0);
	expect_quiet(s);
	rig_free(rig);
}
END_TEST

START_TEST(retained_limits)
{
	struct broker_limits l = {.max_retained = 3};
	struct rig *rig = rig_new_with(4, &l);
	struct peer *p = device(rig, 5, "d");
	static const char *const topics[] = {"a", "b", "c", "d"};
	for (unsigned i = 0; i < 4; i++) {
		send_publish(p, topics[i], "x", 1, i + 1, RETAIN);
		expect_ack(p, MQTT_PUBACK, (int)i + 1, i < 3 ? 0 : 0x97);
	}
	send_publish(p, "a", "y", 1, 9, RETAIN); /* in its place */
	expect_ack(p, MQTT_PUBACK, 9, 0);
	send_publish(p, "a", "", 1, 9, RETAIN);
	expect_ack(p, MQTT_PUBACK, 9, 0);
	send_publish(p, "d", "x", 1, 9, RETAIN);
	expect_ack(p, MQTT_PUBACK, 9, 0);
	rig_free(rig);
}
END_TEST

/* Sends without letting the loops turn. */
static void queue_bytes(struct peer *p, const char *hex)
{
	struct rig *rig = p->rig;
	struct peer *peers = rig->peers;
	unsigned n = rig->n;
	rig->peers = NULL;
	rig->n = 0;
	peer_hex(p, hex);
	rig->peers = peers;
	rig->n = n;
}

static struct peer *somewhere(struct rig *rig, const char *prefix, unsigned loop)
{
	for (unsigned i = 0;; i++) {
		char id[16];
		snprintf(id, sizeof(id), "%s%u", prefix, i);
		struct peer *p = backend(rig, 5, id);
		if (p->loop == rig->loops[loop])
			return p;
		peer_close(p);
	}
}

static void turn(struct rig *rig, unsigned loop)
{
	mail_flush();
	mailbox_run(loop_mailbox(rig->loops[loop]));
	mail_flush();
}

/* The home of a topic answers a SUBSCRIBE before it hears of a newer message, which the subscriber
 * has got already: the old one must not come last. */
START_TEST(no_retained_message_from_the_past)
{
	struct rig *rig = rig_new(3);
	struct peer *s = somewhere(rig, "s", 0), *p = somewhere(rig, "p", 1);
	struct got g;
	char topic[16];
	for (unsigned i = 0;; i++) {
		snprintf(topic, sizeof(topic), "t%u", i);
		if (hash_stable(topic, strlen(topic)) % 3 == 2)
			break;
	}
	send_publish(p, topic, "old", 0, 0, RETAIN);
	unsigned n = rig->n;
	struct peer *peers = rig->peers;
	rig->n = 0;
	rig->peers = NULL;
	send_subscribe(s, 1, topic, 0, 0);
	send_publish(p, topic, "new", 0, 0, RETAIN);
	peer_turn(s);
	turn(rig, 1); /* the publisher's loop notes the subscription */
	peer_turn(p);
	turn(rig, 0);
	expect_publish(s, topic, "new", 0, &g);
	rig->n = n;
	rig->peers = peers;
	rig_step(rig);
	expect_code(s, MQTT_SUBACK, 1, 0);
	expect_quiet(s);
	struct peer *t = backend(rig, 5, "t");
	subscribe(t, topic, 0);
	expect_publish(t, topic, "new", 0, &g);
	rig_free(rig);
}
END_TEST

static bool reads_again(void *arg)
{
	return ((struct peer *)arg)->paused == 0;
}

START_TEST(a_loop_that_is_behind)
{
	struct rig *rig = rig_new(2);
	struct peer *s = somewhere(rig, "s", 0), *p = somewhere(rig, "p", 1);
	struct peer *peers = rig->peers;
	static char big[200001];
	struct got g;
	subscribe(s, "t", 1);
	memset(big, 'x', sizeof(big) - 1);
	rig->n = 0; /* nobody takes mail */
	rig->peers = NULL;
	for (unsigned i = 1; i <= 60; i++) {
		send_publish(p, "t", big, 0, 0, 0);
		peer_turn(p);
	}
	ck_assert_int_eq(p->paused, 1);
	ck_assert_uint_gt(p->in_n, 15 * sizeof(big)); /* these wait in front of the hub */
	rig->n = 2;
	rig->peers = peers;
	rig_until(rig, reads_again, p);
	unsigned n = 0;
	for (; next(s, &g); n++)
		ck_assert_str_eq(g.topic, "t");
	ck_assert_uint_eq(n, 60);
	rig_free(rig);
}
END_TEST

START_TEST(topics_of_devices)
{
	struct rig *rig = rig_new(4);
	struct peer *p = somewhere(rig, "p", 3), *s = somewhere(rig, "s", 2), *d[8];
	struct got g;
	subscribe(s, "devices/+/messages/#", 0);
	subscribe(s, "devices/d5/#", 0);
	for (unsigned i = 0; i < 8; i++) {
		char id[16], filter[64];
		snprintf(id, sizeof(id), i < 6 ? "d%u" : "d%u/m", i % 6);
		d[i] = device(rig, i & 1 ? 4 : 5, id);
		snprintf(filter, sizeof(filter), "devices/d%u/messages/devicebound/#", i % 6);
		subscribe(d[i], filter, 1);
	}
	for (unsigned i = 0; i < 6; i++) {
		char topic[64];
		snprintf(topic, sizeof(topic), "devices/d%u/messages/devicebound/x", i);
		send_publish(p, topic, "do", 1, 1, 0);
		expect_ack(p, MQTT_PUBACK, 1, 0);
		expect_publish(d[i], topic, "do", 1, &g);
		if (i < 2)
			expect_publish(d[i + 6], topic, "do", 1, &g);
		expect_publish(s, topic, "do", 0, &g);
		expect_quiet(s);
		peer_close(d[i]);
		send_publish(p, topic, "do", 0, 1, 0);
		expect_publish(s, topic, "do", 0, &g);
	}
	rig_free(rig);
}
END_TEST

START_TEST(closes_while_loops_answer)
{
	for (unsigned how = 0; how < 3; how++) {
		struct rig *rig = rig_new(4);
		struct peer *p = connect_with(rig, 0,
		        &(struct connect_opts){.v = 5,
		                .id = "s",
		                .user = "key/a",
		                .keep = true,
		                .expiry = how ? 100 : 0});
		struct peer *d = device(rig, 5, "d");
		send_publish(d, "a/b", "x", 1, 1, RETAIN);
		queue_bytes(p,
		        "82 0d 00 01 00 00 07 24 73 68 61 72 65 2b 01"); /* bad filter, ignored */
		queue_bytes(p, "82 09 00 02 00 00 03 61 2f 23 01");
		peer_turn(p); /* the SUBSCRIBEs are on their way */
		if (how == 2) {
			rig_step(rig);
			expect_open(p);
		}
		peer_close(p);
		send_publish(d, "a/b", "y", 1, 2, 0);
		rig_free(rig);
	}
}
END_TEST

START_TEST(many_filters)
{
	struct rig *rig = rig_new(3);
	struct peer *p = device(rig, 5, "d"), *s = backend(rig, 5, "s");
	struct got g;
	for (unsigned i = 0; i < 1000; i++) {
		char filter[32];
		snprintf(filter, sizeof(filter), i % 2 ? "m/%u/+" : "m/+/%u", i);
		send_subscribe(s, i + 1, filter, 1, i + 1);
		ck_assert(next(s, &g));
		ck_assert_int_eq(g.codes[0], 1);
	}
	send_subscribe(s, 1, "one/more", 1, 0);
	expect_code(s, MQTT_SUBACK, 1, 0x97);
	send_publish(p, "m/3/4", "x", 1, 1, 0);
	expect_publish(s, "m/3/4", "x", 1, &g);
	ck_assert_uint_eq(g.n_ids, 2);
	peer_close(s);
	ck_assert_int_eq(metric_read(METRIC_SUBSCRIPTIONS), 0);
	rig_free(rig);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("broker/subscribe");
	TCase *t = tcase_create("subscribe");
	suite_add_tcase(s, t);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, across_loops);
	tcase_add_test(t, codes);
	tcase_add_test(t, several_filters_at_once);
	tcase_add_test(t, overlapping_subscriptions_give_one_copy);
	tcase_add_test(t, no_local_and_retain_as_published);
	tcase_add_test(t, private_topics);
	tcase_add_test(t, retained);
	tcase_add_test(t, retain_handling);
	tcase_add_test(t, retained_limits);
	tcase_add_test(t, no_retained_message_from_the_past);
	tcase_add_test(t, a_loop_that_is_behind);
	tcase_add_test(t, topics_of_devices);
	tcase_add_test(t, closes_while_loops_answer);
	tcase_add_test(t, many_filters);
	return run_suite(s);
}
