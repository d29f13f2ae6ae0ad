/* Sessions that outlive the hub: their rows, subscriptions, wills, and what is retained. */
#include "tests/unit/broker/kept.h"

/* A client that comes (back) to its session. */
static struct peer *lasting(struct rig *rig, const char *id, const char *user)
{
	return connect_with(rig, 0,
	        &(struct connect_opts){
	                .v = 5, .id = id, .user = user, .keep = true, .expiry = 1000});
}

static void time_passes(uint64_t ms)
{
	uint64_t end = clock_ms() + ms;
	while (clock_ms() < end)
		;
}

START_TEST(one_without_expiry_asks_nothing)
{
	struct rig *rig = rig_new_kept(2, NULL, kept);
	ram_set_hold(kept, true);
	struct peer *p = backend(rig, 5, "b");
	subscribe(p, "t", 2);
	send_unsubscribe(p, 7, "t");
	expect_code(p, MQTT_UNSUBACK, 7, 0);
	peer_close(p);
	ck_assert_uint_eq(ram_count(kept).waiting, 0);
	rig_free(rig);
}
END_TEST

START_TEST(connack_waits_for_the_row)
{
	struct rig *rig = rig_new_kept(2, NULL, kept);
	ram_set_hold(kept, true);
	struct peer *p = lasting(rig, "b", "key/ops");
	ck_assert_int_eq(p->connack, 0xff);
	ram_commit(kept, 1);
	rig_step(rig);
	struct got g;
	ck_assert(next(p, &g));
	ck_assert_int_eq(g.type, MQTT_CONNACK);
	ck_assert_int_eq(g.reason, 0);
	ck_assert_uint_eq(ram_count(kept).sessions, 1);
	/* and goes on at once with one that is known */
	struct peer *q = lasting(rig, "b", "key/ops");
	ck_assert_int_eq(q->connack, 0);
	ck_assert(q->present);
	rig_free(rig);
}
END_TEST

static bool is_closed(void *arg)
{
	return ((struct peer *)arg)->closed;
}

START_TEST(refused_while_the_store_is_away)
{
	struct rig *rig = rig_new_kept(2, NULL, kept);
	ram_set_available(kept, false);
	struct peer *p = lasting(rig, "b", "key/ops");
	struct got g;
	rig_until(rig, is_closed, p);
	ck_assert(next(p, &g));
	ck_assert_int_eq(g.type, MQTT_CONNACK);
	ck_assert_int_eq(g.reason, 0x88);
	ram_set_available(kept, true);
	rig_step(rig);
	ck_assert_uint_eq(ram_count(kept).sessions, 0); /* its row went after it had come */
	ram_refuse_kept(kept, 1, ERR_POISON);
	p = lasting(rig, "b", "key/ops");
	ck_assert_int_eq(p->connack, 0x88);
	p = lasting(rig, "b", "key/ops");
	ck_assert_int_eq(p->connack, 0);
	ck_assert(!p->present);
	ck_assert_uint_eq(ram_count(kept).sessions, 1);
	rig_free(rig);
}
END_TEST

START_TEST(clean_start_ends_what_was_kept)
{
	struct rig *rig = rig_new_kept(2, NULL, kept);
	peer_close(lasting(rig, "b", "key/ops"));
	ck_assert_uint_eq(ram_count(kept).sessions, 1);
	ram_set_hold(kept, true);
	struct peer *p = connect_with(
	        rig, 0, &(struct connect_opts){.v = 5, .id = "b", .user = "key/ops"});
	ck_assert_int_eq(p->connack, 0xff);
	ram_set_hold(kept, false);
	rig_step(rig);
	struct got g;
	ck_assert(next(p, &g));
	ck_assert_int_eq(g.type, MQTT_CONNACK);
	ck_assert_int_eq(g.reason, 0);
	ck_assert_uint_eq(ram_count(kept).sessions, 0);
	/* and has nothing to do with the store any more */
	ram_set_hold(kept, true);
	subscribe(p, "t", 1);
	peer_close(p);
	ck_assert_uint_eq(ram_count(kept).waiting, 0);
	rig_free(rig);
}
END_TEST

static bool none_is_kept(HF_UNUSED void *arg)
{
	return ram_count(kept).sessions == 0;
}

/* Whatever the store has committed when CONNACK leaves: the session before is not among it. */
START_TEST(connack_behind_the_end)
{
	for (unsigned connected = 0; connected < 2; connected++) {
		struct rig *rig = rig_new_kept(2, NULL, kept);
		struct peer *p = lasting(rig, "b", "key/ops");
		subscribe(p, "t", 1);
		if (!connected)
			peer_close(p);
		ram_set_hold(kept, true);
		p = connect_with(
		        rig, 0, &(struct connect_opts){.v = 5, .id = "b", .user = "key/ops"});
		ck_assert_int_eq(p->connack, 0xff);
		while (p->out_n == 0) {
			ck_assert_uint_gt(ram_count(kept).waiting, 0);
			ram_commit(kept, 1);
			rig_step(rig);
		}
		rig = rig_kill(rig);
		ck_assert_uint_eq(ram_count(kept).subs, 0);
		rig_until(rig, none_is_kept, NULL);
		p = lasting(rig, "b", "key/ops");
		ck_assert(!p->present);
		peer_close(connect_with(
		        rig, 0, &(struct connect_opts){.v = 5, .id = "b", .user = "key/ops"}));
		ck_assert_uint_eq(ram_count(kept).sessions, 0);
		rig_free(rig);
	}
}
END_TEST

/* While the store is away nothing that would wait for it without a bound is begun. */
START_TEST(refused_while_the_store_is_full)
{
	struct broker_limits l = {.store_queue_bytes = 20000, .lookup_ms = 10000};
	struct rig *rig = rig_new_kept(2, &l, kept);
	struct peer *s = lasting(rig, "s", "key/ops");
	ram_set_available(kept, false);
	unsigned n = 0;
	for (struct peer *p = NULL; n < 1000; n++) {
		p = lasting(rig, "n", "key/ops");
		if (p->connack == 0x88)
			break;
		ck_assert_int_eq(p->connack, 0xff);
		peer_close(p);
	}
	ck_assert_uint_gt(n, 10);
	ck_assert_uint_lt(n, 200);
	size_t waiting = ram_count(kept).waiting;
	send_subscribe(s, 1, "a", 1, 0);
	expect_code(s, MQTT_SUBACK, 1, 0x97);
	ck_assert_uint_eq(ram_count(kept).waiting, waiting);
	/* who needs nothing of the store comes in, and one whose session is known */
	s = lasting(rig, "s", "key/ops");
	ck_assert_int_eq(s->connack, 0);
	s = backend(rig, 5, "not kept");
	subscribe(s, "t", 1);
	ck_assert_uint_le(ram_count(kept).waiting, waiting + 1);
	/* but a clean start that would end what is kept */
	s = connect_with(rig, 0, &(struct connect_opts){.v = 5, .id = "s", .user = "key/ops"});
	ck_assert_int_eq(s->connack, 0x88);
	ram_set_available(kept, true);
	rig_step(rig);
	ck_assert_uint_eq(ram_count(kept).sessions, 1);
	s = lasting(rig, "s", "key/ops");
	ck_assert(s->present);
	subscribe(s, "a", 1);
	rig_free(rig);
}
END_TEST

START_TEST(taken_over_before_it_is_kept)
{
	struct rig *rig = rig_new_kept(2, NULL, kept);
	ram_set_hold(kept, true);
	struct peer *p = lasting(rig, "b", "key/ops");
	struct peer *q = lasting(rig, "b", "key/ops");
	expect_closed(p, END_TAKEN_OVER);
	expect_quiet(p);
	ram_set_hold(kept, false);
	rig_step(rig);
	struct got g;
	ck_assert(next(q, &g));
	ck_assert_int_eq(g.reason, 0);
	ck_assert_uint_eq(ram_count(kept).sessions, 1);
	peer_close(q);
	/* one that goes away meanwhile leaves nothing */
	ram_set_hold(kept, true);
	p = lasting(rig, "c", "key/ops");
	peer_close(p);
	ram_set_hold(kept, false);
	rig_step(rig);
	ck_assert_uint_eq(ram_count(kept).sessions, 1);
	/* nor does a device that is deleted meanwhile */
	ram_set_hold(kept, true);
	p = lasting(rig, "d", "d");
	ram_commit(kept, 1); /* its packet ids were read */
	rig_step(rig);
	broker_device_gone(rig->broker, SLICE_LIT("d"), rig_device_key(rig, SLICE_LIT("d")));
	rig_step(rig);
	ck_assert(next(p, &g));
	ck_assert_int_eq(g.reason, 0x87);
	ck_assert(p->closed);
	ram_set_hold(kept, false);
	rig_step(rig);
	ck_assert_uint_eq(ram_count(kept).sessions, 1);
	rig_free(rig);
}
END_TEST

START_TEST(there_after_a_kill)
{
	struct rig *rig = rig_new_kept(3, NULL, kept);
	struct got g;
	struct peer *p = lasting(rig, "b", "key/ops");
	ck_assert_int_eq(p->connack, 0);
	send_subscribe(p, 5, "one/+", 1 | 8, 77);
	expect_code(p, MQTT_SUBACK, 5, 1);
	subscribe(p, "two", 2);
	subscribe(p, "three", 2);
	send_unsubscribe(p, 6, "three");
	expect_code(p, MQTT_UNSUBACK, 6, 0);
	struct peer *d = lasting(rig, "d", "d");
	subscribe(d, "devices/d/x", 0);
	ck_assert_uint_eq(ram_count(kept).subs, 3);
	rig = rig_kill(rig);
	rig_step(rig);
	ck_assert_uint_eq(rig->n_rechecks, 2);
	p = lasting(rig, "b", "key/ops");
	ck_assert(p->present);
	d = lasting(rig, "d", "d");
	ck_assert(d->present);
	struct peer *s = backend(rig, 5, "s");
	send_publish(s, "one/x", "1", 0, 0, 0);
	send_publish(s, "two", "2", 0, 0, 0);
	send_publish(s, "three", "3", 0, 0, 0);
	send_publish(s, "devices/d/x", "4", 0, 0, 0);
	expect_publish(p, "one/x", "1", 0, &g);
	ck_assert_uint_eq(g.ids[0], 77);
	expect_publish(p, "two", "2", 0, &g);
	expect_quiet(p);
	expect_publish(d, "devices/d/x", "4", 0, &g);
	/* clean start: another row, no subscriptions */
	p = connect_with(rig, 1,
	        &(struct connect_opts){.v = 5, .id = "b", .user = "key/ops", .expiry = 1000});
	ck_assert(!p->present);
	ck_assert_uint_eq(ram_count(kept).sessions, 2);
	ck_assert_uint_eq(ram_count(kept).subs, 1);
	/* and one that ends with its connection leaves the store */
	p = connect_with(rig, 1, &(struct connect_opts){.v = 5, .id = "b", .user = "key/ops"});
	ck_assert_uint_eq(ram_count(kept).sessions, 1);
	rig_free(rig);
}
END_TEST

START_TEST(suback_waits_for_the_store)
{
	struct rig *rig = rig_new_kept(2, NULL, kept);
	struct peer *p = lasting(rig, "b", "key/ops");
	ram_set_hold(kept, true);
	send_subscribe(p, 5, "a", 1, 0);
	expect_quiet(p);
	ck_assert_int_eq(p->paused, 1);
	ram_commit(kept, 1);
	rig_step(rig);
	expect_code(p, MQTT_SUBACK, 5, 1);
	ck_assert_int_eq(p->paused, 0);
	send_unsubscribe(p, 6, "a");
	expect_quiet(p);
	ram_commit(kept, 1);
	rig_step(rig);
	expect_code(p, MQTT_UNSUBACK, 6, 0);
	send_unsubscribe(p, 7, "a");
	expect_code(p, MQTT_UNSUBACK, 7, 0x11); /* nothing to write */
	/* it goes away meanwhile, and comes back */
	send_subscribe(p, 8, "a", 1, 0);
	peer_close(p);
	p = lasting(rig, "b", "key/ops");
	ck_assert(p->present);
	ram_set_hold(kept, false);
	rig_step(rig);
	expect_quiet(p);
	ck_assert_uint_eq(ram_count(kept).subs, 1);
	ram_refuse_kept(kept, 1, ERR_POISON);
	send_subscribe(p, 9, "c", 1, 0);
	expect_code(p, MQTT_SUBACK, 9, 0x80);
	rig_free(rig);
}
END_TEST

static bool none_left(void *arg HF_UNUSED)
{
	return ram_count(kept).sessions == 0;
}

START_TEST(expires_over_a_kill)
{
	struct rig *rig = rig_new_kept(1, NULL, kept);
	/* At a start everybody has a minute, but for those that ended with their connection. */
	struct peer *p = connect_with(rig, 0,
	        &(struct connect_opts){
	                .v = 5, .id = "a", .user = "key/ops", .keep = true, .expiry = 1});
	struct peer *q = lasting(rig, "b", "key/ops");
	peer_close(q);
	q = connect_with(rig, 0, /* goes on, but not beyond this connection */
	        &(struct connect_opts){.v = 5, .id = "b", .user = "key/ops", .keep = true});
	ck_assert(q->present);
	ck_assert_uint_eq(ram_count(kept).sessions, 2);
	peer_close(p);
	time_passes(1100);
	rig = rig_kill(rig);
	bool b_gone = false;
	for (uint64_t end = clock_ms() + 5000; !b_gone && clock_ms() < end;) {
		event_base_loop(loop_event_base(rig->loops[0]), EVLOOP_ONCE);
		rig_step(rig);
		b_gone = ram_count(kept).sessions == 1;
	}
	ck_assert(b_gone);
	p = connect_with(rig, 0,
	        &(struct connect_opts){
	                .v = 5, .id = "a", .user = "key/ops", .keep = true, .expiry = 1});
	ck_assert(p->present);
	peer_close(p);
	rig_until(rig, none_left, NULL);
	rig_free(rig);
}
END_TEST

static int its_id(
        void *ctx, const struct session_row *row, const struct queue_stats *queue HF_UNUSED)
{
	*(uint64_t *)ctx = row->id;
	return 0;
}
static int its_sub(void *ctx HF_UNUSED, const struct sub_write *sub HF_UNUSED)
{
	return 0;
}
static void written(struct mail *m HF_UNUSED)
{
}

/* Whoever can write to the database does not subscribe to what his session may not have. */
START_TEST(subscriptions_are_judged_again)
{
	struct rig *rig = rig_new_kept(2, NULL, kept);
	const struct session_store store = ram_sessions(kept);
	uint64_t id = 0;
	struct got g;
	struct peer *s = lasting(rig, "s", "key/ops");
	subscribe(s, "fine", 1);
	ck_assert_int_eq(
	        store.restore(store.ctx,
	                &(struct session_restore){.ctx = &id, .session = its_id, .sub = its_sub}),
	        0);
	ck_assert_uint_ne(id, 0);
	struct sub_write w = {
	        .req = {.mail = {.deliver = written}, .reply_to = loop_mailbox(rig->loops[0])},
	        .session_id = id,
	        .filter = SLICE_LIT("forbidden/#"),
	        .qos = 1,
	};
	store.sub_write(store.ctx, &w);
	rig_step(rig);
	ck_assert_uint_eq(ram_count(kept).subs, 2);
	rig = rig_kill(rig);
	s = lasting(rig, "s", "key/ops");
	ck_assert(s->present);
	ck_assert_int_eq(metric_read(METRIC_SUBSCRIPTIONS), 1);
	struct peer *b = backend(rig, 5, "b");
	send_publish(b, "fine", "y", 1, 1, 0);
	expect_ack(b, MQTT_PUBACK, 1, 0);
	expect_publish(s, "fine", "y", 1, &g);
	rig_free(rig);
}
END_TEST

START_TEST(revoked_meanwhile)
{
	struct rig *rig = rig_new_kept(2, NULL, kept);
	struct peer *p = lasting(rig, "d", "d");
	subscribe(p, "t", 1);
	struct peer *k = lasting(rig, "k", "key/ops");
	subscribe(k, "t", 1);
	mail_flush();
	ram_crash(kept);
	struct broker_limits limits = rig->limits;
	rig_free(rig);
	ram_revive(kept);
	rig = rig_new_kept(2, &limits, kept);
	rig->recheck_err = ERR_NOT_FOUND; /* neither the device nor the key exist any more */
	rig_step(rig);
	ck_assert_uint_eq(ram_count(kept).sessions, 0);
	ck_assert_uint_eq(ram_count(kept).subs, 0);
	ck_assert_int_eq(metric_read(METRIC_SESSIONS), 0);
	rig_free(rig);
}
END_TEST

/* ---- wills ---- */

static struct peer *with_will(struct rig *rig, unsigned delay)
{
	return connect_with(rig, 0,
	        &(struct connect_opts){.v = 5,
	                .id = "w",
	                .user = "key/ops",
	                .keep = true,
	                .expiry = 1000,
	                .will_topic = "last",
	                .will_qos = 1,
	                .will_delay = delay});
}

START_TEST(will_in_the_row)
{
	struct rig *rig = rig_new_kept(2, NULL, kept);
	struct got g;
	struct peer *p = with_will(rig, 0);
	struct peer *s = backend(rig, 5, "s");
	subscribe(s, "last", 0);
	ck_assert_uint_eq(ram_count(kept).wills, 1);
	peer_hex(p, "e0 00"); /* goodbye */
	ck_assert_uint_eq(ram_count(kept).wills, 0);
	p = with_will(rig, 0);
	ck_assert(p->present);
	ck_assert_uint_eq(ram_count(kept).wills, 1);
	peer_close(p);
	expect_publish(s, "last", "gone", 0, &g);
	ck_assert_uint_eq(ram_count(kept).wills, 0);
	p = lasting(rig, "w", "key/ops");
	ck_assert(p->present);
	ck_assert_uint_eq(ram_count(kept).wills, 0);
	rig_free(rig);
}
END_TEST

START_TEST(delayed_will_outlives_a_kill)
{
	struct rig *rig = rig_new_kept(2, NULL, kept);
	struct got g;
	struct peer *p = with_will(rig, 5);
	peer_close(p);
	ck_assert_uint_eq(ram_count(kept).wills, 1);
	rig = rig_kill(rig);
	uint64_t start = clock_ms();
	struct peer *s = backend(rig, 5, "s");
	subscribe(s, "last", 0);
	while (s->out_n == 0 && clock_ms() < start + 15000) {
		event_base_loop(loop_event_base(rig->loops[0]), EVLOOP_ONCE);
		event_base_loop(loop_event_base(rig->loops[1]), EVLOOP_NONBLOCK);
		rig_step(rig);
	}
	expect_publish(s, "last", "gone", 0, &g);
	ck_assert_uint_ge(clock_ms() - start, 9000); /* a fleet comes back first */
	ck_assert_uint_eq(ram_count(kept).wills, 0);
	ck_assert_uint_eq(ram_count(kept).sessions, 1);
	rig_free(rig);
}
END_TEST

START_TEST(coming_back_cancels_the_will)
{
	struct rig *rig = rig_new_kept(2, NULL, kept);
	struct peer *p = with_will(rig, 0); /* it is connected when the hub is killed */
	ck_assert_int_eq(p->connack, 0);
	rig = rig_kill(rig);
	ck_assert_uint_eq(ram_count(kept).wills, 1);
	p = lasting(rig, "w", "key/ops");
	ck_assert(p->present);
	ck_assert_uint_eq(ram_count(kept).wills, 0);
	rig_free(rig);
}
END_TEST

START_TEST(will_is_out_before_its_row_goes)
{
	struct rig *rig = rig_new_kept(1, NULL, kept);
	struct peer *d = connect_with(rig, 0,
	        &(struct connect_opts){.v = 5,
	                .id = "d",
	                .user = "d",
	                .keep = true,
	                .expiry = 1,
	                .will_topic = "last",
	                .will_qos = 1,
	                .will_delay = 100});
	ram_set_hold(kept, true);
	peer_close(d);
	ram_commit(kept, 1); /* that it is offline */
	rig_step(rig);
	for (uint64_t end = clock_ms() + 5000; ram_count(kept).waiting == 0 && clock_ms() < end;) {
		event_base_loop(loop_event_base(rig->loops[0]), EVLOOP_ONCE);
		rig_step(rig);
	}
	ck_assert_uint_eq(ram_count(kept).waiting, 1); /* the will's row; not yet the end */
	ck_assert_uint_eq(ram_count(kept).sessions, 1);
	ram_set_hold(kept, false);
	rig_step(rig);
	ck_assert_uint_eq(ram_row_count(kept), 1);
	ck_assert_uint_eq(ram_count(kept).sessions, 0);
	rig_free(rig);
}
END_TEST

static bool will_is_due(void *arg)
{
	int64_t *denied = arg;
	return metric_read(METRIC_PUBLISH_DENIED) > *denied;
}

START_TEST(will_that_is_denied_goes_from_the_row)
{
	struct rig *rig = rig_new_kept(1, NULL, kept);
	peer_close(with_will(rig, 1));
	ck_assert_uint_eq(ram_count(kept).wills, 1);
	int64_t denied = metric_read(METRIC_PUBLISH_DENIED);
	rig->deny_all = true;
	rig_until(rig, will_is_due, &denied);
	ck_assert_uint_eq(ram_count(kept).wills, 0);
	ck_assert_uint_eq(ram_count(kept).sessions, 1);
	rig_free(rig);
}
END_TEST

static struct peer *with_will_saying(struct rig *rig, const char *text)
{
	return connect_with(rig, 0,
	        &(struct connect_opts){.v = 5,
	                .id = "w",
	                .user = "key/ops",
	                .keep = true,
	                .expiry = 1000,
	                .will_topic = "last",
	                .will_payload = text,
	                .will_qos = 1});
}

START_TEST(newer_will_waits_for_the_one_that_leaves)
{
	struct rig *rig = rig_new_kept(1, NULL, kept);
	struct got g;
	struct peer *s = lasting(rig, "s", "key/ops");
	subscribe(s, "last", 1);
	peer_close(s);
	struct peer *p = with_will_saying(rig, "first");
	ram_hold_appends(kept, true);
	peer_close(p); /* its append waits, its session's row does not */
	p = with_will_saying(rig, "second");
	ck_assert(p->present);
	ck_assert_str_eq(ram_will(kept, "w"), "first");
	peer_close(p);
	p = with_will_saying(rig, "third");
	ck_assert_str_eq(ram_will(kept, "w"), "first");
	ram_hold_appends(kept, false);
	rig_step(rig);
	ck_assert_str_eq(ram_will(kept, "w"), "third");
	ck_assert_uint_eq(ram_count(kept).queued, 2);
	s = lasting(rig, "s", "key/ops");
	expect_publish(s, "last", "first", 1, &g);
	expect_publish(s, "last", "second", 1, &g);
	expect_open(p);
	rig_free(rig);
}
END_TEST

/* ---- retained messages ---- */

START_TEST(retained_after_a_kill)
{
	struct rig *rig = rig_new_kept(3, NULL, kept);
	struct got g;
	struct peer *p = backend(rig, 5, "p");
	ram_set_hold(kept, true);
	send_publish(p, "r/1", "one", 1, 1, RETAIN);
	send_publish(p, "r/2", "two", 1, 2, RETAIN);
	send_publish(p, "r/3", "three", 1, 3, RETAIN);
	expect_quiet(p);
	ram_set_hold(kept, false);
	rig_step(rig);
	for (unsigned id = 1; id <= 3; id++)
		expect_ack(p, MQTT_PUBACK, id, 0x10);
	send_publish(p, "r/2", "", 0, 0, RETAIN);
	ck_assert_uint_eq(ram_count(kept).retained, 2);
	ram_set_hold(kept, true);
	send_publish(p, "r/4", "never acknowledged", 1, 4, RETAIN);
	rig = rig_kill(rig);
	p = backend(rig, 5, "p");
	send_subscribe(p, 9, "r/#", 0, 0);
	expect_code(p, MQTT_SUBACK, 9, 0);
	bool one = false, three = false;
	while (next(p, &g)) {
		ck_assert(g.retain);
		one |= strcmp(g.payload, "one") == 0;
		three |= strcmp(g.payload, "three") == 0;
	}
	ck_assert(one && three);
	rig_free(rig);
}
END_TEST

START_TEST(retained_of_a_deleted_device)
{
	struct rig *rig = rig_new_kept(1, NULL, kept);
	struct peer *d = device(rig, 5, "d");
	ram_device_gone(kept, rig_device_key(rig, SLICE_LIT("d")));
	send_publish(d, "$iothub/x", "", 0, 0, 0);
	send_publish(d, "t", "x", 1, 1, RETAIN);
	expect_closed(d, END_DISABLED);
	/* it was in the mail when the device went, and is not retained without it */
	struct peer *s = backend(rig, 5, "s");
	subscribe(s, "t", 1);
	expect_quiet(s);
	rig_free(rig);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("broker/durable");
	TCase *t = tcase_create("durable");
	suite_add_tcase(s, t);
	tcase_set_timeout(t, 120);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, one_without_expiry_asks_nothing);
	tcase_add_test(t, connack_waits_for_the_row);
	tcase_add_test(t, refused_while_the_store_is_away);
	tcase_add_test(t, clean_start_ends_what_was_kept);
	tcase_add_test(t, connack_behind_the_end);
	tcase_add_test(t, refused_while_the_store_is_full);
	tcase_add_test(t, taken_over_before_it_is_kept);
	tcase_add_test(t, there_after_a_kill);
	tcase_add_test(t, suback_waits_for_the_store);
	tcase_add_test(t, expires_over_a_kill);
	tcase_add_test(t, subscriptions_are_judged_again);
	tcase_add_test(t, revoked_meanwhile);
	tcase_add_test(t, will_in_the_row);
	tcase_add_test(t, delayed_will_outlives_a_kill);
	tcase_add_test(t, coming_back_cancels_the_will);
	tcase_add_test(t, will_is_out_before_its_row_goes);
	tcase_add_test(t, will_that_is_denied_goes_from_the_row);
	tcase_add_test(t, newer_will_waits_for_the_one_that_leaves);
	tcase_add_test(t, retained_after_a_kill);
	tcase_add_test(t, retained_of_a_deleted_device);
	return run_suite(s);
}
