/* What somebody may receive, and what becomes of a session and of what is retained when rules
 * change. */
#include "tests/unit/broker/kept.h"

static struct peer *lasting(struct rig *rig, const char *id, const char *user)
{
	struct peer *p = connect_with(rig, 0,
	        &(struct connect_opts){
	                .v = 5, .id = id, .user = user, .keep = true, .expiry = 1000});
	ck_assert_int_eq(p->connack, 0);
	return p;
}

/* The rules change for everybody. */
static void rules(struct rig *rig, const char *denied, const char *denied_to)
{
	rig->denied = denied;
	rig->denied_to = denied_to;
	broker_recheck_all(rig->broker);
	rig_step(rig);
}

static unsigned received(struct peer *p)
{
	struct got g;
	unsigned n = 0;
	while (next(p, &g)) {
		ck_assert_int_eq(g.type, MQTT_PUBLISH);
		if (g.qos == 1)
			send_ack(p, MQTT_PUBACK, g.packet_id);
		n++;
	}
	return n;
}

/* ---- deliveries ---- */

START_TEST(a_wildcard_reaches_only_what_it_may)
{
	struct rig *rig = rig_new(3);
	int64_t denied = metric_read(METRIC_RECEIVE_DENIED);
	struct got g;
	rig->filters = true;
	struct peer *s = backend(rig, 5, "s"), *p = device(rig, 5, "d");
	subscribe(s, "#", 1);
	for (unsigned qos = 0; qos < 2; qos++) {
		send_publish(p, "a/secret", "no", qos, 7, 0);
		if (qos)
			expect_ack(p, MQTT_PUBACK, 7, 0);
		send_publish(p, "a/open", "yes", qos, 8, 0);
		if (qos)
			expect_ack(p, MQTT_PUBACK, 8, 0);
		expect_publish(s, "a/open", "yes", qos, &g);
		if (qos)
			send_ack(s, MQTT_PUBACK, g.packet_id);
		expect_quiet(s);
	}
	ck_assert_int_eq(metric_read(METRIC_RECEIVE_DENIED), denied + 2);
	/* what was dropped takes nothing of the window */
	for (unsigned i = 1; i <= 200; i++) {
		send_publish(p, "a/secret", "no", 1, i, 0);
		expect_ack(p, MQTT_PUBACK, i, 0);
	}
	send_publish(p, "a/open", "yes", 1, 201, 0);
	expect_publish(s, "a/open", "yes", 1, &g);
	rig_free(rig);
}
END_TEST

START_TEST(answers_are_kept)
{
	struct rig *rig = rig_new(1);
	rig->filters = true;
	struct peer *s = backend(rig, 5, "s"), *p = device(rig, 5, "d"), *q = device(rig, 5, "e");
	subscribe(s, "#", 0);
	for (unsigned i = 0; i < 50; i++) {
		send_publish(p, "a", "x", 0, 0, 0);
		send_publish(p, "b", "x", 0, 0, 0);
		send_publish(q, "a", "x", 0, 0, 0); /* another publisher is another question */
	}
	ck_assert_uint_eq(received(s), 150);
	ck_assert_uint_eq(rig->n_receive_asked, 3);
	rules(rig, NULL, NULL); /* all is asked anew */
	send_publish(p, "a", "x", 0, 0, 0);
	ck_assert_uint_eq(rig->n_receive_asked, 4);
	/* who does not filter is not asked about */
	struct rig *plain = rig_new(1);
	s = backend(plain, 5, "s");
	subscribe(s, "#", 0);
	send_publish(device(plain, 5, "d"), "a", "x", 0, 0, 0);
	ck_assert_uint_eq(received(s), 1);
	ck_assert_uint_eq(plain->n_receive_asked, 0);
	rig_free(plain);
	rig_free(rig);
}
END_TEST

/* Some answers depend on the time of day, and no change of rules tells when they end. */
START_TEST(answers_are_kept_for_a_moment)
{
	struct rig *rig = rig_new(1);
	rig->filters = true;
	struct peer *s = backend(rig, 5, "s"), *p = device(rig, 5, "d");
	subscribe(s, "#", 0);
	send_publish(p, "a/timed", "x", 1, 1, 0);
	expect_ack(p, MQTT_PUBACK, 1, 0);
	ck_assert_uint_eq(received(s), 1);
	rig->only_from = "nobody"; /* and no session is told */
	unsigned before = rig->n_receive_asked;
	for (uint64_t end = clock_ms() + 20000; rig->n_receive_asked == before;) {
		ck_assert_msg(clock_ms() < end, "it is not asked again");
		usleep(20000);
		rig_step(rig);
		send_publish(p, "a/timed", "x", 0, 0, 0);
		received(s);
	}
	send_publish(p, "a/timed", "x", 0, 0, 0);
	ck_assert_uint_eq(received(s), 0);
	rig_free(rig);
}
END_TEST

START_TEST(retained_and_queued)
{
	struct rig *rig = rig_new_kept(2, NULL, kept);
	struct got g;
	rig->filters = true;
	struct peer *p = device(rig, 5, "d");
	send_publish(p, "r/secret", "no", 1, 1, RETAIN);
	expect_ack(p, MQTT_PUBACK, 1, 0);
	send_publish(p, "r/open", "yes", 1, 2, RETAIN);
	expect_ack(p, MQTT_PUBACK, 2, 0);
	struct peer *s = lasting(rig, "s", "key/ops");
	subscribe(s, "#", 1);
	expect_publish(s, "r/open", "yes", 1, &g);
	send_ack(s, MQTT_PUBACK, g.packet_id);
	expect_quiet(s);
	peer_close(s);
	for (unsigned i = 3; i < 9; i++) {
		send_publish(p, i & 1 ? "q/secret" : "q/open", "x", 1, i, 0);
		expect_ack(p, MQTT_PUBACK, i, 0);
	}
	ck_assert_uint_eq(ram_count(kept).queued, 3);
	s = lasting(rig, "s", "key/ops");
	ck_assert_uint_eq(received(s), 3);
	rig_free(rig);
}
END_TEST

/* A queue that was filled under other rules, in memory and in the store. */
START_TEST(queued_before_the_rules_changed)
{
	struct rig *rig = rig_new_kept(2, NULL, kept);
	rig->filters = true;
	struct peer *p = device(rig, 5, "d"), *s = lasting(rig, "s", "key/ops");
	subscribe(s, "#", _i == 2 ? 2 : 1);
	peer_close(s);
	for (unsigned i = 1; i <= 10; i++) {
		send_publish(p, i & 1 ? "q/later" : "q/open", "x", 1, i, 0);
		expect_ack(p, MQTT_PUBACK, i, 0);
	}
	if (_i == 1) { /* and under another hub */
		rig = rig_kill(rig);
		rig->filters = true;
	}
	rules(rig, "later", "ops");
	s = lasting(rig, "s", "key/ops");
	ck_assert(s->present);
	ck_assert_uint_eq(received(s), 5);
	ck_assert_uint_eq(ram_count(kept).queued, 0);
	rig_free(rig);
}
END_TEST

START_TEST(of_its_group_alone)
{
	struct rig *rig = rig_new(3);
	struct got g;
	rig->filters = true;
	rig->only_from = "d1";
	struct peer *d1 = device(rig, 5, "d1"), *d2 = device(rig, 5, "d2");
	send_publish(d1, "r/1", "kept", 0, 0, RETAIN);
	send_publish(d2, "r/2", "kept", 0, 0, RETAIN);
	struct peer *s = backend(rig, 5, "s");
	subscribe(s, "#", 0);
	expect_publish(s, "r/1", "kept", 0, &g);
	expect_quiet(s);
	send_publish(d2, "t", "no", 0, 0, 0);
	send_publish(d1, "t", "yes", 0, 0, 0);
	expect_publish(s, "t", "yes", 0, &g);
	expect_quiet(s);
	rig_free(rig);
}
END_TEST

/* ---- shared groups ---- */

START_TEST(a_group_finds_who_may)
{
	struct rig *rig = rig_new(4);
	rig->filters = true;
	rig->denied = "secret-free"; /* of nobody's interest */
	struct peer *m[4], *p = device(rig, 5, "d");
	for (unsigned i = 0; i < 4; i++) {
		char user[16], id[8];
		snprintf(user, sizeof(user), "key/k%u", i);
		snprintf(id, sizeof(id), "m%u", i);
		m[i] = connect_with(rig, i, &(struct connect_opts){.v = 5, .id = id, .user = user});
		subscribe(m[i], "$share/g/jobs/#", 1);
	}
	/* one of them may not have it any more: the others do */
	rig->denied = "jobs/x";
	rig->denied_to = "k2";
	broker_recheck_all(rig->broker);
	rig_step(rig);
	for (unsigned i = 1; i <= 12; i++) {
		send_publish(p, "jobs/x", "x", 1, i, 0);
		expect_ack(p, MQTT_PUBACK, i, 0);
	}
	ck_assert_uint_eq(received(m[2]), 0);
	ck_assert_uint_eq(received(m[0]) + received(m[1]) + received(m[3]), 12);
	/* nobody may: nobody gets it, and its publisher is answered */
	int64_t denied = metric_read(METRIC_RECEIVE_DENIED);
	send_publish(p, "jobs/secret", "x", 1, 20, 0);
	expect_ack(p, MQTT_PUBACK, 20, 0);
	for (unsigned i = 0; i < 4; i++)
		expect_quiet(m[i]);
	ck_assert_int_eq(metric_read(METRIC_RECEIVE_DENIED), denied + 1);
	rig_free(rig);
}
END_TEST

/* ---- a session that may less ---- */

START_TEST(subscriptions_go)
{
	struct rig *rig = rig_new_kept(3, NULL, kept);
	struct got g;
	struct peer *s = lasting(rig, "s", "key/ops"), *p = device(rig, 5, "d");
	subscribe(s, "a/#", 1);
	subscribe(s, "b/#", 1);
	subscribe(s, "$share/g/b/c", 1);
	ck_assert_uint_eq(ram_count(kept).subs, 3);
	int64_t revoked = metric_read(METRIC_SUBSCRIPTIONS_REVOKED);
	rules(rig, "b/", "ops");
	expect_open(s);
	ck_assert_int_eq(metric_read(METRIC_SUBSCRIPTIONS), 1);
	ck_assert_int_eq(metric_read(METRIC_SUBSCRIPTIONS_REVOKED), revoked + 2);
	ck_assert_uint_eq(ram_count(kept).subs, 1);
	send_publish(p, "b/c", "no", 1, 1, 0);
	expect_ack(p, MQTT_PUBACK, 1, 0);
	send_publish(p, "a/c", "yes", 1, 2, 0);
	expect_publish(s, "a/c", "yes", 1, &g);
	expect_quiet(s);
	/* what was taken away does not come back by itself */
	rules(rig, NULL, NULL);
	send_publish(p, "b/c", "no", 1, 3, 0);
	expect_quiet(s);
	send_subscribe(s, 5, "b/c", 0, 0);
	expect_code(s, MQTT_SUBACK, 5, 0);
	rig_free(rig);
}
END_TEST

/* What came by a subscription that is taken away while nobody is there is not delivered later. */
START_TEST(what_came_by_them_goes)
{
	struct rig *rig = rig_new_kept(2, NULL, kept);
	struct peer *s = lasting(rig, "s", "key/ops"), *p = device(rig, 5, "d");
	subscribe(s, "a/#", 1);
	subscribe(s, "b/#", 1);
	if (_i == 0)
		peer_close(s);
	else
		s->stuck = true;
	for (unsigned i = 1; i <= 200; i++) {
		send_publish(p, i & 1 ? "a/x" : "b/x", "x", 1, i, 0);
		expect_ack(p, MQTT_PUBACK, i, 0);
	}
	rules(rig, "b/", "ops");
	if (_i == 1)
		peer_close(s);
	s = lasting(rig, "s", "key/ops");
	unsigned n = 0;
	struct got g;
	while (next(s, &g)) {
		ck_assert_str_eq(g.topic, "a/x");
		send_ack(s, MQTT_PUBACK, g.packet_id);
		n++;
	}
	ck_assert_uint_eq(n, 100);
	ck_assert_uint_eq(ram_count(kept).queued, 0);
	rig_free(rig);
}
END_TEST

START_TEST(less_with_the_next_connection)
{
	struct rig *rig = rig_new_kept(2, NULL, kept);
	struct peer *s = lasting(rig, "s", "key/ops"), *p = device(rig, 5, "d");
	subscribe(s, "b/#", 1);
	peer_close(s);
	send_publish(p, "b/x", "x", 1, 1, 0);
	rig->denied = "b/"; /* nobody has told the broker yet */
	s = lasting(rig, "s", "key/ops");
	ck_assert(s->present);
	expect_quiet(s);
	ck_assert_int_eq(metric_read(METRIC_SUBSCRIPTIONS), 0);
	ck_assert_uint_eq(ram_count(kept).subs, 0);
	rig_free(rig);
}
END_TEST

/* SUBACK tells of what was taken away while the loops were asked. */
START_TEST(in_the_middle_of_a_subscribe)
{
	struct rig *rig = rig_new_kept(3, NULL, kept);
	struct peer *s = lasting(rig, "s", "key/ops"), *p = device(rig, 5, "d");
	send_publish(p, "b/r", "x", 0, 0, RETAIN);
	ram_set_hold(kept, true);
	send_subscribe(s, 5, "b/#", 1, 0);
	expect_quiet(s);
	rules(rig, "b/", "ops");
	expect_quiet(s);
	ram_set_hold(kept, false);
	rig_step(rig);
	expect_code(s, MQTT_SUBACK, 5, 0x87);
	expect_quiet(s);
	ck_assert_uint_eq(ram_count(kept).subs, 0);
	rig_free(rig);
}
END_TEST

START_TEST(a_will_goes)
{
	struct rig *rig = rig_new(2);
	struct peer *s = backend(rig, 5, "s");
	subscribe(s, "#", 0);
	const struct connect_opts o = {.v = 5, .id = "w", .user = "w", .will_topic = "last/w"};
	struct peer *w = connect_with(rig, 0, &o);
	rules(rig, "last/", "w");
	peer_close(w);
	expect_quiet(s);
	/* and it is not taken with the next CONNECT, nor one that is to be retained where that is
	 * not allowed */
	ck_assert_int_eq(connect_with(rig, 0, &o)->connack, 0x87);
	struct connect_opts fleeting = o;
	fleeting.will_topic = "fleeting";
	fleeting.will_retain = true;
	ck_assert_int_eq(connect_with(rig, 0, &fleeting)->connack, 0x87);
	rig_free(rig);
}
END_TEST

START_TEST(what_was_decided_is_decided_again)
{
	struct rig *rig = rig_new(1);
	struct peer *p = device(rig, 5, "d");
	send_publish(p, "zz", "x", 1, 1, 0);
	expect_ack(p, MQTT_PUBACK, 1, 0);
	rules(rig, "zz", "d");
	send_publish(p, "zz", "x", 1, 2, 0);
	expect_ack(p, MQTT_PUBACK, 2, 0x87);
	send_publish(p, "fleeting", "x", 1, 3, 0);
	expect_ack(p, MQTT_PUBACK, 3, 0);
	send_publish(p, "fleeting", "x", 1, 4, RETAIN);
	expect_ack(p, MQTT_PUBACK, 4, 0x87);
	rig_free(rig);
}
END_TEST

/* A delayed will waits for what its owner may, and goes with it. */
START_TEST(a_restored_will)
{
	struct rig *rig = rig_new_kept(2, NULL, kept);
	peer_close(connect_with(rig, 0,
	        &(struct connect_opts){.v = 5,
	                .id = "w",
	                .user = "w",
	                .keep = true,
	                .expiry = 1000,
	                .will_topic = "last/w",
	                .will_delay = 500}));
	ck_assert_uint_eq(ram_count(kept).wills, 1);
	rig = rig_kill(rig);
	rig->recheck_err = _i == 0 ? ERR_UNAVAILABLE : _i == 1 ? ERR_UNAUTHENTICATED : 0;
	rig->denied = _i == 2 ? "last/" : NULL;
	rig_step(rig);
	ck_assert_uint_eq(ram_count(kept).wills, _i == 0 || _i == 3);
	ck_assert_uint_eq(ram_count(kept).sessions, 1);
	rig_free(rig);
}
END_TEST

/* ---- retained messages of who may not any more ---- */

static unsigned retained(struct rig *rig, const char *filter)
{
	struct peer *s = backend(rig, 5, "looker");
	struct got g;
	unsigned n = 0;
	subscribe(s, filter, 0);
	while (next(s, &g))
		n++;
	peer_close(s);
	return n;
}

START_TEST(retained_goes_with_the_right)
{
	struct rig *rig = rig_new_kept(3, NULL, kept);
	struct peer *d = device(rig, 5, "d"), *e = device(rig, 5, "e"), *b = backend(rig, 5, "b");
	for (unsigned i = 0; i < 20; i++) {
		char topic[32];
		snprintf(topic, sizeof(topic), "s/%u", i);
		send_publish(i % 3 == 0 ? d : i % 3 == 1 ? e : b, topic, "x", 0, 0, RETAIN);
	}
	send_publish(d, "other", "x", 0, 0, RETAIN);
	ck_assert_uint_eq(retained(rig, "#"), 21);
	peer_close(d); /* connected or not */
	rules(rig, "s/", "d");
	ck_assert_uint_eq(retained(rig, "#"), 14);
	ck_assert_uint_eq(ram_count(kept).retained, 14);
	rules(rig, "s/", "ops");
	ck_assert_uint_eq(retained(rig, "#"), 8);
	rules(rig, NULL, NULL);
	ck_assert_uint_eq(retained(rig, "#"), 8);
	rig_free(rig);
}
END_TEST

START_TEST(retained_of_one_identity)
{
	struct rig *rig = rig_new(3);
	struct peer *d = device(rig, 5, "d"), *m = device(rig, 5, "d/m"), *b = backend(rig, 5, "b");
	send_publish(d, "1", "x", 0, 0, RETAIN);
	send_publish(m, "2", "x", 0, 0, RETAIN);
	send_publish(b, "3", "x", 0, 0, RETAIN);
	rig->recheck_err = ERR_UNAUTHENTICATED;
	rig->recheck_end = END_DISABLED;
	/* of somebody else */
	broker_identity_changed(rig->broker, ENTITY_DEVICE, SLICE_LIT("dd"));
	broker_identity_changed(rig->broker, ENTITY_KEY, SLICE_LIT("d"));
	rig_step(rig);
	ck_assert_uint_eq(retained(rig, "#"), 3);
	broker_identity_changed(rig->broker, ENTITY_DEVICE, SLICE_LIT("d"));
	rig_step(rig);
	ck_assert_uint_eq(retained(rig, "#"), 1);
	broker_identity_changed(rig->broker, ENTITY_KEY, SLICE_LIT("ops"));
	rig_step(rig);
	rig->recheck_err = 0;
	ck_assert_uint_eq(retained(rig, "#"), 0);
	rig_free(rig);
}
END_TEST

START_TEST(retained_changes_while_it_is_asked)
{
	struct rig *rig = rig_new(2);
	struct peer *d = device(rig, 5, "d"), *b = backend(rig, 5, "b");
	send_publish(d, "t", "old", 0, 0, RETAIN);
	send_publish(d, "u", "old", 0, 0, RETAIN);
	rig->hold_recheck = true;
	rules(rig, "", "d"); /* all that it has */
	send_publish(b, "t", "new", 0, 0, RETAIN);
	send_publish(b, "u", "", 0, 0, RETAIN);
	rules(rig, "", "d"); /* and once more */
	rig_release_rechecks(rig);
	rig_step(rig);
	ck_assert_uint_eq(retained(rig, "#"), 1);
	/* many of one */
	for (unsigned i = 0; i < 3000; i++) {
		char topic[32];
		snprintf(topic, sizeof(topic), "many/%u", i);
		send_publish(b, topic, "x", 0, 0, RETAIN);
	}
	rules(rig, "many", "ops");
	ck_assert_uint_eq(retained(rig, "#"), 1);
	rig_free(rig);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("broker/receive");
	TCase *t = tcase_create("receive");
	suite_add_tcase(s, t);
	tcase_set_timeout(t, 120);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, a_wildcard_reaches_only_what_it_may);
	tcase_add_test(t, answers_are_kept);
	tcase_add_test(t, answers_are_kept_for_a_moment);
	tcase_add_test(t, retained_and_queued);
	tcase_add_loop_test(t, queued_before_the_rules_changed, 0, 3);
	tcase_add_test(t, of_its_group_alone);
	tcase_add_test(t, a_group_finds_who_may);
	tcase_add_test(t, subscriptions_go);
	tcase_add_loop_test(t, what_came_by_them_goes, 0, 2);
	tcase_add_test(t, less_with_the_next_connection);
	tcase_add_test(t, in_the_middle_of_a_subscribe);
	tcase_add_test(t, a_will_goes);
	tcase_add_loop_test(t, a_restored_will, 0, 4);
	tcase_add_test(t, what_was_decided_is_decided_again);
	tcase_add_test(t, retained_goes_with_the_right);
	tcase_add_test(t, retained_of_one_identity);
	tcase_add_test(t, retained_changes_while_it_is_asked);
	return run_suite(s);
}
