/* Takeover, changes of identities, drain. Queries by other threads are in test_threads.c. */
#include "tests/unit/broker/rig.h"

START_TEST(the_newest_connection_wins)
{
	struct rig *rig = rig_new(3);
	struct peer *last = NULL;
	for (unsigned i = 0; i < 12; i++) {
		struct peer *p = connect_with(rig, i % 3,
		        &(struct connect_opts){.v = i & 1 ? 4 : 5, .id = "d", .user = "d"});
		ck_assert_int_eq(p->connack, 0);
		if (last && last->version == 5)
			expect_disconnect(last, 0x8e);
		if (last)
			expect_closed(last, END_TAKEN_OVER);
		last = p;
	}
	ck_assert_uint_eq(rig->n_present, 12);
	ck_assert_uint_eq(rig->n_absent, 0);
	peer_close(last);
	ck_assert_uint_eq(rig->n_absent, 1);
	rig_free(rig);
}
END_TEST

START_TEST(takeover_while_the_old_one_publishes)
{
	struct rig *rig = rig_new(2);
	rig->hold_store = true;
	const struct connect_opts o = {.v = 5, .id = "d", .user = "d", .keep = true, .expiry = 9};
	struct peer *a = connect_with(rig, 0, &o);
	rig_commit(rig, 1); /* what is known of its ids */
	expect_ack(a, MQTT_CONNACK, 0, 0);
	for (unsigned id = 1; id < 10; id++)
		send_publish(a, "t", "x", 1 + id % 2, id, 0);
	struct peer *b = connect_with(rig, 1, &o);
	ck_assert(a->closed && b->present);
	send_publish(b, "t", "x", 2, 1, DUP); /* as the first of a's, which is still on its way */
	rig_commit(rig, 100);
	expect_ack(b, MQTT_PUBREC, 1, 0);
	expect_quiet(b);
	ck_assert_uint_eq(rig->n_rows, 9);
	rig_free(rig);
}
END_TEST

START_TEST(two_that_connect_at_once)
{
	struct rig *rig = rig_new(3);
	rig->hold_store = true;
	struct peer *a = peer_open(rig, 0), *b = peer_open(rig, 1);
	const struct connect_opts o = {.v = 5, .id = "d", .user = "d", .keep = true, .expiry = 9};
	send_connect(a, &o);
	send_connect(b, &o);
	ck_assert_uint_eq(rig->n_ops, 2);
	rig_commit(rig, 1);
	expect_ack(a, MQTT_CONNACK, 0, 0);
	rig_commit(rig, 1);
	struct got g;
	ck_assert(next(b, &g));
	ck_assert_int_eq(g.raw[2], 1); /* the first one's session */
	expect_disconnect(a, 0x8e);
	expect_open(b);
	rig_free(rig);
}
END_TEST

START_TEST(identity_changed)
{
	struct rig *rig = rig_new(3);
	struct peer *d = device(rig, 5, "d"), *m = device(rig, 5, "d/mod"),
	            *e = device(rig, 5, "e"), *b = backend(rig, 5, "b"),
	            *old = device(rig, 4, "d2");
	broker_identity_changed(rig->broker, ENTITY_DEVICE, SLICE_LIT("d"));
	rig_step(rig);
	ck_assert_uint_ge(rig->n_rechecks, 2);
	expect_open(d);
	rig->recheck_err = ERR_UNAVAILABLE;
	broker_identity_changed(rig->broker, ENTITY_DEVICE, SLICE_LIT("d"));
	rig_step(rig);
	expect_open(d);
	rig->recheck_err = ERR_UNAUTHENTICATED;
	rig->recheck_end = END_CREDENTIAL_REVOKED;
	broker_identity_changed(rig->broker, ENTITY_DEVICE, SLICE_LIT("d"));
	rig_step(rig);
	expect_disconnect(d, 0x87);
	expect_closed(d, END_CREDENTIAL_REVOKED);
	expect_closed(m, END_CREDENTIAL_REVOKED);
	expect_open(e);
	expect_open(b);
	broker_identity_changed(rig->broker, ENTITY_KEY, SLICE_LIT("ops"));
	rig_step(rig);
	expect_closed(b, END_CREDENTIAL_REVOKED);
	expect_open(e);
	rig->recheck_end = END_DISABLED;
	broker_recheck_all(rig->broker);
	rig_step(rig);
	expect_closed(e, END_DISABLED);
	expect_closed(old, END_DISABLED);
	expect_quiet(old);
	rig_free(rig);
}
END_TEST

START_TEST(changes_while_the_registry_thinks)
{
	struct rig *rig = rig_new(2);
	struct peer *d = device(rig, 5, "d");
	rig->hold_recheck = true;
	broker_identity_changed(rig->broker, ENTITY_DEVICE, SLICE_LIT("d"));
	broker_identity_changed(rig->broker, ENTITY_DEVICE, SLICE_LIT("d"));
	rig_step(rig);
	ck_assert_uint_eq(rig->n_rechecks, 1);
	rig_release_rechecks(rig); /* the second change is asked about now */
	rig_step(rig);
	ck_assert_uint_eq(rig->n_rechecks, 2);
	/* the session ends meanwhile */
	rig->hold_recheck = true;
	broker_identity_changed(rig->broker, ENTITY_DEVICE, SLICE_LIT("d"));
	rig_step(rig);
	peer_close(d);
	rig->recheck_err = ERR_NOT_FOUND;
	rig_release_rechecks(rig);
	rig_step(rig);
	/* a change while somebody connects */
	rig->recheck_err = ERR_UNAUTHENTICATED;
	rig->recheck_end = END_DISABLED;
	rig->hold_auth = true;
	struct peer *p = peer_open(rig, 0);
	send_connect(p, &(struct connect_opts){.v = 5, .id = "d", .user = "d"});
	broker_identity_changed(rig->broker, ENTITY_DEVICE, SLICE_LIT("d"));
	rig_step(rig);
	rig_release_auths(rig);
	rig_step(rig);
	expect_ack(p, MQTT_CONNACK, 0, 0);
	expect_disconnect(p, 0x87);
	rig_free(rig);
}
END_TEST

START_TEST(device_gone)
{
	struct rig *rig = rig_new(4);
	struct peer *s = backend(rig, 5, "s");
	struct connect_opts o = {
	        .v = 5, .id = "d", .user = "d", .keep = true, .expiry = 100, .will_topic = "w"};
	struct peer *d = connect_with(rig, 0, &o), *e = device(rig, 5, "e");
	o.id = o.user = "d/m";
	struct peer *m = connect_with(rig, 0, &o);
	peer_close(m);
	subscribe(d, "x", 1);
	for (unsigned i = 0; i < 8; i++) {
		char topic[8];
		snprintf(topic, sizeof(topic), "r%u", i);
		send_publish(i & 1 ? d : e, topic, "x", 1, 1, RETAIN);
	}
	struct got g;
	while (next(d, &g))
		;
	subscribe(s, "w", 0);
	broker_device_gone(rig->broker, SLICE_LIT("d"), rig_device_key(rig, SLICE_LIT("d")));
	rig_step(rig);
	expect_disconnect(d, 0x87);
	expect_closed(d, END_DISABLED);
	expect_open(e);
	expect_quiet(s); /* no will of the dead device */
	subscribe(s, "+", 0);
	unsigned n = 0;
	for (; next(s, &g); n++)
		ck_assert(strchr("0246", g.topic[1]) != NULL);
	ck_assert_uint_eq(n, 4);
	o.id = o.user = "d";
	d = connect_with(rig, 0, &o);
	ck_assert(!d->present);
	/* the registry finds out when it is asked */
	rig->recheck_err = ERR_NOT_FOUND;
	broker_identity_changed(rig->broker, ENTITY_DEVICE, SLICE_LIT("d"));
	rig_step(rig);
	expect_closed(d, END_DISABLED);
	ck_assert(!connect_with(rig, 0, &o)->present);
	rig_free(rig);
}
END_TEST

/* Whoever makes a key of the same name anew inherits nothing. */
START_TEST(key_gone)
{
	struct rig *rig = rig_new(2);
	struct connect_opts o = {.v = 5,
	        .id = "on",
	        .user = "key/ops",
	        .keep = true,
	        .expiry = 100,
	        .will_topic = "w"};
	struct peer *watcher = device(rig, 5, "watcher");
	subscribe(watcher, "w", 0);
	struct peer *on = connect_with(rig, 0, &o);
	o.will_topic = NULL;
	o.id = "off";
	peer_close(connect_with(rig, 1, &o));
	o.user = "key/other";
	peer_close(connect_with(rig, 1, &o));
	rig_step(rig);
	rig->recheck_err = ERR_UNAUTHENTICATED; /* a key that was changed: what waits stays */
	broker_identity_changed(rig->broker, ENTITY_KEY, SLICE_LIT("other"));
	rig_step(rig);
	rig->recheck_err = ERR_NOT_FOUND;
	broker_identity_changed(rig->broker, ENTITY_KEY, SLICE_LIT("ops"));
	rig_step(rig);
	expect_disconnect(on, 0x87);
	expect_closed(on, END_DISABLED);
	expect_quiet(watcher); /* no will of the dead key */
	ck_assert(connect_with(rig, 1, &o)->present);
	o.user = "key/ops";
	ck_assert(!connect_with(rig, 1, &o)->present);
	o.id = "on";
	ck_assert(!connect_with(rig, 0, &o)->present);
	rig_free(rig);
}
END_TEST

START_TEST(drain)
{
	struct rig *rig = rig_new(3);
	struct peer *idle = device(rig, 5, "idle"), *old = device(rig, 4, "old");
	struct peer *fresh = peer_open(rig, 0), *asking = peer_open(rig, 1);
	rig->hold_auth = true;
	send_connect(asking, &(struct connect_opts){.v = 5, .id = "a", .user = "a"});
	rig->hold_auth = false;
	struct peer *busy = device(rig, 5, "busy");
	rig->hold_store = true;
	send_publish(busy, "t", "x", 1, 1, 0);
	broker_drain(rig->broker, clock_ms() + 100000);
	rig_step(rig);
	expect_disconnect(idle, 0x8b);
	expect_closed(idle, END_SHUTDOWN);
	expect_quiet(old);
	expect_closed(old, END_SHUTDOWN);
	expect_closed(fresh, END_SHUTDOWN);
	expect_ack(asking, MQTT_CONNACK, 0, 0x88);
	expect_closed(asking, END_SHUTDOWN);
	rig_release_auths(rig);
	expect_open(busy);
	send_publish(busy, "t", "y", 1, 2, 0); /* not read any more */
	ck_assert_uint_eq(rig->n_ops, 1);
	ck_assert_uint_eq(broker_busy(rig->broker), 2);
	rig_commit(rig, 1);
	expect_ack(busy, MQTT_PUBACK, 1, 0);
	expect_disconnect(busy, 0x8b);
	expect_closed(busy, END_SHUTDOWN);
	ck_assert_uint_eq(broker_busy(rig->broker), 0);
	struct peer *late = connect_with(
	        rig, 0, &(struct connect_opts){.v = 5, .id = "l", .user = "l"});
	ck_assert_int_eq(late->connack, 0x88);
	rig_free(rig);
}
END_TEST

static bool is_closed(void *arg)
{
	return ((struct peer *)arg)->closed;
}

START_TEST(drain_has_a_deadline)
{
	struct rig *rig = rig_new(1);
	struct peer *busy = device(rig, 5, "busy");
	rig->hold_store = true;
	send_publish(busy, "t", "x", 1, 1, 0);
	broker_drain(rig->broker, clock_ms() + 200);
	rig_until(rig, is_closed, busy);
	expect_disconnect(busy, 0x8b);
	ck_assert_uint_eq(broker_busy(rig->broker), 1); /* its ticket */
	rig_free(rig);
}
END_TEST

START_TEST(drain_does_not_wait_for_the_silent)
{
	struct rig *rig = rig_new(1);
	broker_drain(rig->broker, clock_ms() + 100000);
	rig_step(rig);
	struct peer *late = peer_open(rig, 0);
	expect_open(late);
	rig_until(rig, is_closed, late);
	expect_closed(late, END_SHUTDOWN);
	ck_assert_uint_eq(broker_busy(rig->broker), 0);
	rig_free(rig);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("broker/admin");
	TCase *t = tcase_create("admin");
	suite_add_tcase(s, t);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, the_newest_connection_wins);
	tcase_add_test(t, takeover_while_the_old_one_publishes);
	tcase_add_test(t, two_that_connect_at_once);
	tcase_add_test(t, identity_changed);
	tcase_add_test(t, changes_while_the_registry_thinks);
	tcase_add_test(t, device_gone);
	tcase_add_test(t, key_gone);
	tcase_add_test(t, drain);
	tcase_add_test(t, drain_has_a_deadline);
	tcase_add_test(t, drain_does_not_wait_for_the_silent);
	return run_suite(s);
}
