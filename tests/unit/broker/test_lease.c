/* Sessions that come from another hub and go there: the store in memory plays it. */
#include "tests/unit/broker/rig.h"

static struct ram_store *kept;

static void setup(void)
{
	kept = ram_new();
}

static void teardown(void)
{
	ram_free(kept);
}

/* A back end whose session lasts. */
static struct peer *lasting(struct rig *rig)
{
	return connect_with(rig, 0,
	        &(struct connect_opts){
	                .v = 5, .id = "b", .user = "key/ops", .keep = true, .expiry = 3600});
}

static bool is_elsewhere(void *arg)
{
	(void)arg;
	/* True, and undone at once, when it was there. */
	if (ram_session_move(kept, "b", true)) {
		ram_session_move(kept, "b", false);
		return false;
	}
	return true;
}

static void want(struct rig *rig)
{
	struct slice key = {0};
	uint64_t id = ram_session_of(kept, "b", &key);
	ck_assert_uint_ne(id, 0);
	broker_session_wanted(rig->broker, slice_str("0123456789abcdef"), id, key);
}

START_TEST(alone_nobody_is_asked)
{
	struct rig *rig = rig_new_kept(1, NULL, kept);
	struct peer *p = lasting(rig);
	ck_assert_int_eq(p->connack, 0);
	ck_assert_uint_eq(ram_count(kept).claims, 0);
	rig_free(rig);
}
END_TEST

START_TEST(given_when_it_is_wanted)
{
	struct rig *rig = rig_new_kept(1, NULL, kept);
	ram_share(kept);
	struct peer *p = lasting(rig);
	ck_assert_int_eq(p->connack, 0);
	subscribe(p, "t", 1);
	want(rig);
	rig_until(rig, is_elsewhere, NULL);
	expect_closed(p, END_TAKEN_OVER);
	/* Nothing of it is here: what is published has no subscriber. */
	struct peer *s = backend(rig, 5, "s");
	send_publish(s, "t", "x", 1, 1, 0);
	ck_assert_uint_eq(ram_count(kept).queued, 0);
	rig_free(rig);
}
END_TEST

static struct got connack;

static bool has_connack(void *arg)
{
	return connack.type == MQTT_CONNACK || next(arg, &connack);
}

START_TEST(comes_back_with_its_subscriptions)
{
	struct rig *rig = rig_new_kept(1, NULL, kept);
	ram_share(kept);
	struct peer *p = lasting(rig);
	subscribe(p, "t", 1);
	want(rig);
	rig_until(rig, is_elsewhere, NULL);
	/* The other hub has it still: the CONNECT waits until it has given it. */
	p = lasting(rig);
	ck_assert_int_eq(p->connack, 0xff);
	ck_assert(ram_session_move(kept, "b", false));
	struct slice key = {0};
	ram_session_of(kept, "b", &key);
	broker_session_given(rig->broker, key);
	rig_until(rig, has_connack, p);
	ck_assert_int_eq(connack.type, MQTT_CONNACK);
	ck_assert_int_eq(connack.reason, 0);
	ck_assert_int_eq(connack.raw[2], 1); /* session present */
	struct peer *s = backend(rig, 5, "s");
	send_publish(s, "t", "x", 1, 1, 0);
	struct got g;
	expect_publish(p, "t", "x", 1, &g);
	rig_free(rig);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("broker/lease");
	TCase *t = tcase_create("lease");
	suite_add_tcase(s, t);
	tcase_set_timeout(t, 60);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, alone_nobody_is_asked);
	tcase_add_test(t, given_when_it_is_wanted);
	tcase_add_test(t, comes_back_with_its_subscriptions);
	return run_suite(s);
}
