#include "tests/unit/broker/rig.h"

static struct peer *mortal(struct rig *rig, int v, struct connect_opts o)
{
	o.v = v;
	o.id = o.id ? o.id : "d";
	o.user = o.user ? o.user : o.id;
	o.will_topic = o.will_topic ? o.will_topic : "wills/d";
	return connect_with(rig, 1, &o);
}

START_TEST(goes_out_when_the_connection_breaks)
{
	struct rig *rig = rig_new(3);
	struct peer *s = backend(rig, 5, "s");
	struct got g;
	subscribe(s, "wills/#", 2);
	for (int v = 4; v <= 5; v++) {
		struct peer *p = mortal(
		        rig, v, (struct connect_opts){.will_qos = 2, .will_retain = true});
		unsigned rows = rig->n_rows;
		peer_close(p);
		expect_publish(s, "wills/d", "gone", 2, &g);
		ck_assert(!g.retain);
		ck_assert_uint_eq(rig->n_rows, rows + 1); /* stored like any message */
		ck_assert_str_eq(rig->rows[rows].topic, "wills/d");
		struct peer *t = backend(rig, 5, "t");
		subscribe(t, "wills/d", 0);
		expect_publish(t, "wills/d", "gone", 0, &g);
		ck_assert(g.retain);
	}
	/* a protocol error is no goodbye either */
	struct peer *p = mortal(rig, 5, (struct connect_opts){0});
	peer_hex(p, "d0 00");
	expect_publish(s, "wills/d", "gone", 0, &g);
	rig_free(rig);
}
END_TEST

START_TEST(goodbye_cancels_it)
{
	struct rig *rig = rig_new(2);
	struct peer *s = backend(rig, 5, "s");
	struct got g;
	subscribe(s, "#", 0);
	for (int v = 4; v <= 5; v++) {
		peer_hex(mortal(rig, v, (struct connect_opts){.keep = true}), "e0 00");
		expect_quiet(s);
	}
	struct peer *p = mortal(rig, 5, (struct connect_opts){0});
	peer_hex(p, "e0 01 04"); /* but this one asks for it */
	expect_closed(p, END_NORMAL);
	expect_publish(s, "wills/d", "gone", 0, &g);
	rig_free(rig);
}
END_TEST

START_TEST(refused)
{
	struct rig *rig = rig_new(2);
	struct connect_opts o = {.will_topic = "forbidden"};
	ck_assert_int_eq(mortal(rig, 5, o)->connack, 0x87);
	ck_assert_int_eq(mortal(rig, 4, o)->connack, 5);
	/* a right that is lost before it goes out */
	struct peer *s = backend(rig, 5, "s");
	subscribe(s, "#", 0);
	struct peer *p = mortal(rig, 5, (struct connect_opts){0});
	rig->deny_all = true;
	peer_close(p);
	expect_quiet(s);
	ck_assert_uint_eq(rig->n_rows, 0);
	rig_free(rig);
}
END_TEST

static bool has_output(void *arg)
{
	return ((struct peer *)arg)->out_n > 0;
}
static bool after(void *arg)
{
	return clock_ms() >= *(uint64_t *)arg;
}

START_TEST(delay)
{
	struct rig *rig = rig_new(2);
	struct peer *s = backend(rig, 5, "s");
	struct got g;
	subscribe(s, "#", 0);
	const struct connect_opts o = {.will_delay = 1, .expiry = 100, .keep = true};
	struct peer *p = mortal(rig, 5, o);
	uint64_t begin = clock_ms();
	peer_close(p);
	expect_quiet(s);
	rig_until(rig, has_output, s);
	ck_assert_uint_ge(clock_ms() - begin, 1000);
	expect_publish(s, "wills/d", "gone", 0, &g);
	/* a client that comes back in time takes it back, with or without a new one */
	p = mortal(rig, 5, o);
	peer_close(p);
	p = connect_with(rig, 0,
	        &(struct connect_opts){
	                .v = 5, .id = "d", .user = "d", .keep = true, .expiry = 100});
	ck_assert(p->present);
	begin = clock_ms() + 1300;
	rig_until(rig, after, &begin);
	expect_quiet(s);
	rig_free(rig);
}
END_TEST

/* A right is lost while a will waits: it is gone when its time comes. */
START_TEST(taken_away_while_it_waits)
{
	struct rig *rig = rig_new(2);
	struct peer *s = backend(rig, 5, "s");
	subscribe(s, "#", 0);
	peer_close(mortal(
	        rig, 5, (struct connect_opts){.will_delay = 1, .expiry = 100, .keep = true}));
	rig->deny_all = true;
	broker_recheck_all(rig->broker);
	uint64_t end = clock_ms() + 1300;
	rig_until(rig, after, &end);
	expect_quiet(s);
	rig_free(rig);
}
END_TEST

START_TEST(the_end_of_the_session_cuts_the_delay)
{
	struct rig *rig = rig_new(2);
	struct peer *s = backend(rig, 5, "s");
	struct got g;
	subscribe(s, "#", 0);
	/* a session that expires at once */
	peer_close(mortal(rig, 5, (struct connect_opts){.will_delay = 100}));
	expect_publish(s, "wills/d", "gone", 0, &g);
	/* one that expires before */
	peer_close(mortal(rig, 5, (struct connect_opts){.will_delay = 100, .expiry = 1}));
	expect_quiet(s);
	rig_until(rig, has_output, s);
	expect_publish(s, "wills/d", "gone", 0, &g);
	/* a clean start */
	peer_close(mortal(rig, 5, (struct connect_opts){.will_delay = 100, .expiry = 100}));
	expect_quiet(s);
	device(rig, 5, "d");
	expect_publish(s, "wills/d", "gone", 0, &g);
	expect_quiet(s);
	rig_free(rig);
}
END_TEST

START_TEST(takeover)
{
	struct rig *rig = rig_new(2);
	struct peer *s = backend(rig, 5, "s");
	struct got g;
	subscribe(s, "#", 0);
	struct connect_opts o = {.expiry = 100, .keep = true};
	struct peer *p = mortal(rig, 5, o), *q = mortal(rig, 5, o);
	expect_disconnect(p, 0x8e);
	expect_publish(s, "wills/d", "gone", 0, &g); /* no delay: it goes out */
	o.will_delay = 100;
	struct peer *r = mortal(rig, 5, o);
	ck_assert(r->present);
	expect_closed(q, END_TAKEN_OVER);
	expect_publish(s, "wills/d", "gone", 0, &g);
	p = mortal(rig, 5, o); /* a delay: it does not */
	expect_quiet(s);
	expect_open(p);
	ck_assert_uint_eq(rig->n_absent, 0); /* the device was never away */
	rig_free(rig);
}
END_TEST

START_TEST(to_itself)
{
	struct rig *rig = rig_new(2);
	struct got g;
	struct connect_opts o = {.expiry = 100, .keep = true, .will_qos = 1};
	struct peer *p = mortal(rig, 5, o);
	subscribe(p, "wills/#", 1);
	peer_close(p);
	p = mortal(rig, 5, o);
	expect_publish(p, "wills/d", "gone", 1, &g);
	/* and when the session ends with it */
	peer_hex(p, "e0 07 04 05 11 00 00 00 00");
	expect_quiet(p);
	rig_free(rig);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("broker/will");
	TCase *t = tcase_create("will");
	suite_add_tcase(s, t);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, goes_out_when_the_connection_breaks);
	tcase_add_test(t, goodbye_cancels_it);
	tcase_add_test(t, refused);
	tcase_add_test(t, delay);
	tcase_add_test(t, taken_away_while_it_waits);
	tcase_add_test(t, the_end_of_the_session_cuts_the_delay);
	tcase_add_test(t, takeover);
	tcase_add_test(t, to_itself);
	return run_suite(s);
}
