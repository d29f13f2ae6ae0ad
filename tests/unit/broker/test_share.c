#include "tests/unit/broker/rig.h"

#define N 6

static unsigned count(struct peer *p, bool ack)
{
	struct got g;
	unsigned n = 0;
	for (; next(p, &g); n++) {
		ck_assert_int_eq(g.type, MQTT_PUBLISH);
		if (ack && g.qos)
			send_ack(p, MQTT_PUBACK, g.packet_id);
	}
	return n;
}

static void pubs(struct peer *p, unsigned n, unsigned qos)
{
	for (unsigned i = 1; i <= n; i++) {
		struct got g;
		send_publish(p, "jobs/1", "x", qos, i, 0);
		if (qos)
			ck_assert(next(p, &g));
	}
}

static struct peer *member(struct rig *rig, unsigned i, const struct connect_opts *base)
{
	char id[16];
	struct connect_opts o = base ? *base : (struct connect_opts){0};
	snprintf(id, sizeof(id), "m%u", i);
	o.v = i & 1 && !base ? 4 : 5;
	o.id = id;
	o.user = "key/ops";
	struct peer *p = connect_with(rig, 0, &o);
	ck_assert_int_eq(p->connack, 0);
	return p;
}

START_TEST(round_robin)
{
	struct rig *rig = rig_new(4);
	struct peer *m[N], *plain = backend(rig, 5, "plain"), *p = device(rig, 5, "d");
	for (unsigned i = 0; i < N; i++) {
		m[i] = member(rig, i, NULL);
		subscribe(m[i], "$share/g/jobs/+", 1);
	}
	subscribe(plain, "jobs/#", 0);
	for (unsigned qos = 0; qos <= 1; qos++) {
		pubs(p, 10 * N, qos);
		for (unsigned i = 0; i < N; i++)
			ck_assert_uint_eq(count(m[i], true), 10);
		ck_assert_uint_eq(count(plain, false), 10 * N);
	}
	/* a second group gets its own copy */
	struct peer *other = backend(rig, 5, "other");
	subscribe(other, "$share/h/jobs/+", 0);
	pubs(p, N, 0);
	ck_assert_uint_eq(count(other, false), N);
	/* those who leave get nothing */
	for (unsigned i = 1; i < N; i++) {
		struct got g;
		count(m[i], true);
		send_unsubscribe(m[i], 1, "$share/g/jobs/+");
		ck_assert(next(m[i], &g));
	}
	count(m[0], true);
	pubs(p, 5, 1);
	ck_assert_uint_eq(count(m[0], true), 5);
	rig_free(rig);
}
END_TEST

START_TEST(the_dead_members_messages_move_on)
{
	struct rig *rig = rig_new(3);
	struct peer *p = device(rig, 5, "d");
	struct connect_opts o = {.receive_maximum = 2};
	struct peer *a = member(rig, 1, &o), *b = member(rig, 2, &o);
	subscribe(a, "$share/g/jobs/+", 1);
	subscribe(b, "$share/g/jobs/+", 1);
	pubs(p, 20, 1);
	ck_assert_uint_eq(count(a, false), 2);
	unsigned seen = count(b, true);
	while (seen < 10) {
		unsigned more = count(b, true);
		ck_assert_uint_gt(more, 0);
		seen += more;
	}
	peer_close(a); /* with 2 in flight and 8 queued */
	for (unsigned more; (more = count(b, true)) > 0;)
		seen += more;
	ck_assert_uint_eq(seen, 20);
	rig_free(rig);
}
END_TEST

START_TEST(qos2_stays_with_its_member)
{
	struct rig *rig = rig_new(3);
	struct peer *p = device(rig, 5, "d");
	struct connect_opts o = {.receive_maximum = 2};
	struct peer *a = member(rig, 1, &o), *b = member(rig, 2, NULL);
	struct got g;
	subscribe(a, "$share/g/jobs/+", 2);
	for (unsigned i = 1; i <= 5; i++) {
		send_publish(p, "jobs/1", "x", 2, i, 0);
		ck_assert(next(p, &g));
	}
	subscribe(b, "$share/g/jobs/+", 2);
	peer_close(a); /* 2 were sent to it, 3 were not */
	ck_assert_uint_eq(count(b, false), 3);
	rig_free(rig);
}
END_TEST

START_TEST(busy_members_are_spared)
{
	struct rig *rig = rig_new(3);
	struct peer *p = device(rig, 5, "d");
	struct connect_opts o = {.receive_maximum = 1};
	struct peer *slow = member(rig, 1, &o), *fast = member(rig, 2, NULL);
	subscribe(slow, "$share/g/jobs/+", 1);
	subscribe(fast, "$share/g/jobs/+", 1);
	for (unsigned i = 0; i < 20; i++) {
		pubs(p, 1, 1);
		count(fast, true);
	}
	ck_assert_uint_eq(count(slow, false), 1);
	/* and those who are away, while anybody is here */
	struct connect_opts stay = {.keep = true, .expiry = 100};
	struct peer *away = member(rig, 3, &stay);
	subscribe(away, "$share/g/jobs/+", 1);
	peer_close(away);
	pubs(p, 10, 1);
	ck_assert_uint_eq(count(fast, true), 10);
	away = member(rig, 3, &stay);
	ck_assert(away->present);
	ck_assert_uint_eq(count(away, true), 0);
	pubs(p, 2, 1);
	ck_assert_uint_eq(count(away, true), 1);
	rig_free(rig);
}
END_TEST

START_TEST(all_away)
{
	struct rig *rig = rig_new(3);
	struct peer *p = device(rig, 5, "d");
	struct connect_opts stay = {.keep = true, .expiry = 100};
	struct peer *a = member(rig, 1, &stay), *b = member(rig, 2, &stay);
	subscribe(a, "$share/g/jobs/+", 1);
	subscribe(b, "$share/g/jobs/+", 1);
	peer_close(a);
	peer_close(b);
	pubs(p, 10, 1);
	pubs(p, 10, 0);
	a = member(rig, 1, &stay);
	ck_assert_uint_eq(count(a, true), 5);
	/* b ends for good: its share goes to a */
	b = connect_with(rig, 0, &(struct connect_opts){.v = 5, .id = "m2", .user = "key/ops"});
	ck_assert_uint_eq(count(a, true), 5);
	peer_hex(a, "e0 07 00 05 11 00 00 00 00");
	pubs(p, 1, 1); /* nobody is left */
	rig_free(rig);
}
END_TEST

START_TEST(many_groups)
{
	struct rig *rig = rig_new(4);
	struct peer *p = device(rig, 5, "d"), *m[4];
	for (unsigned i = 0; i < 4; i++) {
		m[i] = member(rig, i, NULL);
		for (unsigned k = 0; k < 50; k++) {
			char filter[64];
			snprintf(filter, sizeof(filter), "$share/g%u/jobs/+", k);
			subscribe(m[i], filter, 0);
		}
	}
	pubs(p, 1, 0);
	unsigned n = 0;
	for (unsigned i = 0; i < 4; i++)
		n += count(m[i], false);
	ck_assert_uint_eq(n, 50);
	for (unsigned i = 0; i < 4; i++)
		peer_close(m[i]);
	pubs(p, 1, 1);
	rig_free(rig);
}
END_TEST

/* A hub that stops with groups and plain subscriptions of the same filter; and each of them is
 * found when it is taken back. */
START_TEST(beside_plain_ones)
{
	struct rig *rig = rig_new(1);
	struct peer *m[N], *p = device(rig, 5, "d");
	for (unsigned i = 0; i < N; i++) {
		char group[32];
		m[i] = member(rig, i, NULL);
		subscribe(m[i], "jobs/+", 0);
		snprintf(group, sizeof(group), "$share/g%u/jobs/+", i);
		subscribe(m[i], group, 0);
	}
	pubs(p, 5, 0);
	for (unsigned i = 0; i < N; i++)
		ck_assert_uint_eq(count(m[i], false), 10);
	send_unsubscribe(m[0], 9, "$share/g0/jobs/+");
	expect_code(m[0], MQTT_UNSUBACK, 9, 0);
	send_unsubscribe(m[2], 9, "jobs/+");
	expect_code(m[2], MQTT_UNSUBACK, 9, 0);
	send_unsubscribe(m[2], 10, "jobs/+");
	expect_code(m[2], MQTT_UNSUBACK, 10, 0x11);
	pubs(p, 5, 0);
	for (unsigned i = 0; i < N; i++)
		ck_assert_uint_eq(count(m[i], false), i == 0 || i == 2 ? 5 : 10);
	rig_free(rig);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("broker/share");
	TCase *t = tcase_create("share");
	suite_add_tcase(s, t);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, round_robin);
	tcase_add_test(t, the_dead_members_messages_move_on);
	tcase_add_test(t, qos2_stays_with_its_member);
	tcase_add_test(t, busy_members_are_spared);
	tcase_add_test(t, all_away);
	tcase_add_test(t, many_groups);
	tcase_add_test(t, beside_plain_ones);
	return run_suite(s);
}
