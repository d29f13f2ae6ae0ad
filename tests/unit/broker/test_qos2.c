/* QoS 2 from clients: what is committed with the row, read back, and told from a new message. */
#include "tests/unit/broker/rig.h"

static struct peer *again(struct rig *rig, int v, const char *id, bool *present)
{
	struct peer *p = connect_with(rig, 1,
	        &(struct connect_opts){.v = v, .id = id, .user = id, .keep = true, .expiry = 100});
	ck_assert_int_eq(p->connack, 0);
	if (present)
		*present = p->present;
	return p;
}

START_TEST(whole_exchange)
{
	struct rig *rig = rig_new(2);
	struct peer *p = device(rig, 5, "d");
	rig->hold_store = true;
	send_publish(p, "t", "x", 2, 9, 0);
	expect_quiet(p);
	rig_commit(rig, 2); /* the clean start's release, the row */
	expect_ack(p, MQTT_PUBREC, 9, 0);
	ck_assert_uint_eq(rig->n_ids, 1);
	send_ack(p, MQTT_PUBREL, 9);
	expect_quiet(p); /* PUBCOMP waits for the store */
	send_ack(p, MQTT_PUBREL, 9);
	ck_assert_uint_eq(rig->n_ops, 1);
	rig_commit(rig, 1);
	expect_ack(p, MQTT_PUBCOMP, 9, 0);
	expect_quiet(p);
	ck_assert_uint_eq(rig->n_ids, 0);
	send_ack(p, MQTT_PUBREL, 9);
	expect_ack(p, MQTT_PUBCOMP, 9, 0x92);
	rig_free(rig);
}
END_TEST

START_TEST(not_stored_needs_no_store)
{
	struct rig *rig = rig_new(2);
	struct peer *p = backend(rig, 4, "b");
	rig->hold_store = true;
	send_publish(p, "t", "x", 2, 9, 0);
	expect_ack(p, MQTT_PUBREC, 9, 0);
	send_ack(p, MQTT_PUBREL, 9);
	expect_ack(p, MQTT_PUBCOMP, 9, 0);
	send_ack(p, MQTT_PUBREL, 9);
	expect_ack(p, MQTT_PUBCOMP, 9, 0);
	ck_assert_uint_eq(rig->n_ops, 0);
	rig_free(rig);
}
END_TEST

START_TEST(pubrel_before_pubrec)
{
	struct rig *rig = rig_new(1);
	struct peer *p = device(rig, 5, "d");
	rig->hold_store = true;
	send_publish(p, "t", "x", 2, 9, 0);
	send_ack(p, MQTT_PUBREL, 9);
	expect_disconnect(p, 0x82);
	rig_free(rig);
}
END_TEST

START_TEST(resend_on_a_new_connection)
{
	struct rig *rig = rig_new(2);
	struct peer *s = backend(rig, 4, "s");
	struct got g;
	bool present;
	subscribe(s, "t", 0);
	struct peer *p = again(rig, 5, "d", NULL);
	rig->hold_store = true;
	send_publish(p, "t", "x", 2, 9, 0);
	peer_close(p);
	p = again(rig, 5, "d", &present);
	ck_assert(present);
	send_publish(p, "t", "x", 2, 9, DUP); /* the first is still on its way */
	expect_quiet(p);
	ck_assert_uint_eq(rig->n_ops, 1);
	rig_commit(rig, 1);
	expect_ack(p, MQTT_PUBREC, 9, 0);
	peer_close(p);
	p = again(rig, 5, "d", NULL);
	send_publish(p, "t", "x", 2, 9, DUP);
	expect_ack(p, MQTT_PUBREC, 9, 0);
	send_ack(p, MQTT_PUBREL, 9);
	peer_close(p);
	p = again(rig, 5, "d", NULL);
	send_ack(p, MQTT_PUBREL, 9);
	rig_commit(rig, 10);
	expect_ack(p, MQTT_PUBCOMP, 9, 0);
	expect_quiet(p);
	ck_assert_uint_eq(rig->n_rows, 1);
	expect_publish(s, "t", "x", 0, &g);
	expect_quiet(s);
	rig_free(rig);
}
END_TEST

/* The hub is killed and starts anew; the store remembers. */
static struct rig *restart(struct rig *rig)
{
	struct rig *fresh = rig_new(rig->n);
	memcpy(fresh->ids, rig->ids, sizeof(rig->ids));
	fresh->n_ids = rig->n_ids;
	rig_free(rig);
	return fresh;
}

START_TEST(restored_after_a_kill)
{
	struct rig *rig = rig_new(2);
	struct got g;
	bool present;
	struct peer *p = again(rig, 5, "d", NULL);
	send_publish(p, "t", "x", 2, 9, 0);
	send_publish(p, "t", "y", 2, 10, 0);
	send_publish(p, "t", "z", 2, 11, 0);
	expect_ack(p, MQTT_PUBREC, 9, 0);
	ck_assert_uint_eq(rig->n_ids, 3);
	rig = restart(rig);
	struct peer *s = backend(rig, 4, "s");
	subscribe(s, "t", 0);
	p = again(rig, 5, "d", &present);
	ck_assert(!present);
	ck_assert_uint_eq(rig->n_loads, 1);
	send_publish(p, "t", "x", 2, 9, DUP);      /* the same: stored already */
	send_publish(p, "t", "other", 2, 10, DUP); /* another content */
	send_publish(p, "t", "z", 2, 11, 0);       /* a new message that looks the same */
	expect_ack(p, MQTT_PUBREC, 9, 0);
	expect_ack(p, MQTT_PUBREC, 10, 0);
	expect_ack(p, MQTT_PUBREC, 11, 0);
	ck_assert_uint_eq(rig->n_rows, 2);
	expect_publish(s, "t", "other", 0, &g);
	expect_publish(s, "t", "z", 0, &g);
	expect_quiet(s);
	for (unsigned id = 9; id <= 11; id++) {
		send_ack(p, MQTT_PUBREL, id);
		expect_ack(p, MQTT_PUBCOMP, id, 0);
	}
	ck_assert_uint_eq(rig->n_ids, 0);
	/* PUBREL alone, of an id that only the store knows */
	send_publish(p, "t", "w", 2, 12, 0);
	rig = restart(rig);
	p = again(rig, 4, "d", NULL);
	send_ack(p, MQTT_PUBREL, 12);
	expect_ack(p, MQTT_PUBCOMP, 12, 0);
	ck_assert_uint_eq(rig->n_ids, 0);
	rig_free(rig);
}
END_TEST

START_TEST(clean_start_forgets)
{
	struct rig *rig = rig_new(2);
	struct peer *p = again(rig, 5, "d", NULL);
	send_publish(p, "t", "x", 2, 9, 0);
	rig = restart(rig);
	ck_assert_uint_eq(rig->n_ids, 1);
	p = device(rig, 5, "d");
	ck_assert_uint_eq(rig->n_ids, 0);
	ck_assert_uint_eq(rig->n_loads, 0);
	send_publish(p, "t", "x", 2, 9, DUP);
	ck_assert_uint_eq(rig->n_rows, 1);
	/* the end of a session forgets too */
	ck_assert_uint_eq(rig->n_ids, 1);
	peer_hex(p, "e0 00");
	ck_assert_uint_eq(rig->n_ids, 0);
	rig_free(rig);
}
END_TEST

START_TEST(id_reused_while_it_is_released)
{
	struct rig *rig = rig_new(1);
	struct peer *p = device(rig, 5, "d");
	send_publish(p, "t", "x", 2, 1, 0);
	expect_ack(p, MQTT_PUBREC, 1, 0);
	rig->hold_store = true;
	send_ack(p, MQTT_PUBREL, 1);
	send_publish(p, "t", "y", 2, 1, 0);
	rig_commit(rig, 2);
	expect_ack(p, MQTT_PUBREC, 1, 0);
	ck_assert_uint_eq(rig->n_rows, 2);
	ck_assert_uint_eq(rig->n_ids, 1);
	send_ack(p, MQTT_PUBREL, 1);
	rig_commit(rig, 1);
	expect_ack(p, MQTT_PUBCOMP, 1, 0);
	rig_free(rig);
}
END_TEST

/* What the store has not forgotten is not completed: the client asks again. */
START_TEST(release_fails)
{
	struct rig *rig = rig_new(2);
	struct peer *p = again(rig, 5, "d", NULL);
	send_publish(p, "t", "x", 2, 1, 0);
	expect_ack(p, MQTT_PUBREC, 1, 0);
	rig->release_err = ERR_POISON;
	send_ack(p, MQTT_PUBREL, 1);
	expect_disconnect(p, end_mqtt(END_STORE_FAILED));
	expect_closed(p, END_STORE_FAILED);
	rig->release_err = 0;
	p = again(rig, 5, "d", NULL);
	send_ack(p, MQTT_PUBREL, 1);
	expect_ack(p, MQTT_PUBCOMP, 1, 0);
	ck_assert_uint_eq(rig->n_ids, 0);
	rig_free(rig);
}
END_TEST

START_TEST(never_released)
{
	struct rig *rig = rig_new(1);
	struct peer *p = device(rig, 4, "d");
	for (unsigned round = 0; round < 2; round++) {
		for (unsigned id = 1; id <= 65535; id += 7) {
			struct got g;
			send_publish(p, "$iothub/x", "", 2, id, round ? DUP : 0);
			ck_assert(next(p, &g));
		}
	}
	for (unsigned id = 1; id <= 65535; id += 7) {
		send_ack(p, MQTT_PUBREL, id);
		expect_ack(p, MQTT_PUBCOMP, id, 0);
	}
	rig_free(rig);
}
END_TEST

/* Each answer waits behind a message that the store has: it is not read on for ever. */
START_TEST(resent_without_end)
{
	struct broker_limits l = {.receive_maximum = 8};
	struct rig *rig = rig_new_with(1, &l);
	struct peer *p = device(rig, 5, "d");
	send_publish(p, "t", "x", 2, 9, 0);
	expect_ack(p, MQTT_PUBREC, 9, 0);
	rig->hold_store = true;
	send_publish(p, "t", "y", 1, 10, 0);
	for (unsigned i = 0; i < 20; i++)
		send_publish(p, "t", "x", 2, 9, DUP);
	ck_assert_int_eq(p->paused, 1);
	ck_assert_uint_le(broker_busy(rig->broker), 1 + 9);
	rig_commit(rig, 1);
	expect_ack(p, MQTT_PUBACK, 10, 0);
	for (unsigned i = 0; i < 20; i++)
		expect_ack(p, MQTT_PUBREC, 9, 0);
	ck_assert_int_eq(p->paused, 0);
	rig_free(rig);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("broker/qos2");
	TCase *t = tcase_create("qos2");
	suite_add_tcase(s, t);
	tcase_set_timeout(t, 120);
	tcase_add_test(t, whole_exchange);
	tcase_add_test(t, not_stored_needs_no_store);
	tcase_add_test(t, pubrel_before_pubrec);
	tcase_add_test(t, resend_on_a_new_connection);
	tcase_add_test(t, restored_after_a_kill);
	tcase_add_test(t, clean_start_forgets);
	tcase_add_test(t, id_reused_while_it_is_released);
	tcase_add_test(t, release_fails);
	tcase_add_test(t, never_released);
	tcase_add_test(t, resent_without_end);
	return run_suite(s);
}
