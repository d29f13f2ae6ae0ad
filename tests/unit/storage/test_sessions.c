/* Sessions, subscriptions, retained messages: written, restored, ended; what upkeep clears. */
#include "tests/unit/storage/session_fixture.h"

#include "server/base/metrics.h"

#define ID1 0x1100
#define ID2 0x2201

static struct session_row row_of(uint64_t id, const char *key, struct principal *p)
{
	return (struct session_row){.id = id,
	        .key = slice_str(key),
	        .client_id_off = 2,
	        .principal = p,
	        .expiry = 3600};
}

static void free_will(struct session_row *row)
{
	row->will.msg = msg_unref(row->will.msg);
}

START_TEST(restores_what_was_written)
{
	struct device_record d;

	sx_start();
	fx_device(&sx.f, "d1", &d);
	struct principal *p = sx_principal("d1", d.device_key), *q = sx_principal("backend", 0);
	struct session_row one = row_of(ID1, "D/d1", p), two = row_of(ID2, "K/b\xff\x01", q);
	one.will = (struct session_will){sx_msg(d.device_key, "will/d1", "gone"), 30, true, 60};
	two.expiry = UINT32_MAX;
	two.offline_us = clock_wall_us();
	ck_assert_int_eq(sx_session(SESSION_PUT, &one), 0);
	ck_assert_int_eq(sx_session(SESSION_PUT, &two), 0);
	ck_assert_int_eq(sx_sub(ID1, "a/#", 1, false), 0);
	ck_assert_int_eq(sx_sub(ID1, "$share/g/b", 2, false), 0);
	ck_assert_int_eq(sx_sub(ID2, "c", 0, false), 0);
	ck_assert_int_eq(sx_sub(ID2, "d", 0, false), 0);
	ck_assert_int_eq(sx_sub(ID2, "c", 0, true), 0);
	ck_assert_int_eq(sx_sub(0x9999, "of nobody", 0, false), 0);
	ck_assert_int_eq(sx_append(ID1, 4, 0, "x"), 0);
	ck_assert_int_eq(sx_append(ID1, 9, d.device_key, "y"), 0);
	ck_assert_int_eq(sx_append(COMMAND_QUEUE(d.device_key), 3, 0, "z"), 0);
	ck_assert_int_eq(sx_retain(d.device_key, "r/1", "kept"), 0);
	ck_assert_int_eq(sx_retain(0, "r/2", "first"), 0);
	ck_assert_int_eq(sx_retain(0, "r/2", "second"), 0);
	ck_assert_int_eq(sx_retain(0, "r/3", "cleared"), 0);
	ck_assert_int_eq(sx_retain(0, "r/3", ""), 0);
	char expected[1000];
	snprintf(expected, sizeof(expected),
	        "S D/d1+2 device d1/device d%d p4 e1 tc v1 expiry=3600 off=0"
	        " will=will/d1:gone,30,1,60 q=2,1,9\n"
	        "S K/b\xff\x01+2 key backend/device d0 p4 e1 tc v1 expiry=4294967295 off=1"
	        " q=0,0,0\n"
	        "F $share/g/b 2 rap 5\nF a/# 1 nl 5\nF d 0 5\nC d1 1,3\n",
	        (int)d.device_key);
	sx_restart();
	const char *text = sx_restore();
	ck_assert_msg(strncmp(text, expected, strlen(expected)) == 0, "%s", text);
	ck_assert_ptr_nonnull(strstr(text, "R r/1=kept 110 d1\n"));
	ck_assert_ptr_nonnull(strstr(text, "R r/2=second 110\n"));
	ck_assert_ptr_null(strstr(text, "r/3"));
	/* A callee's error ends it. */
	ck_assert_int_eq(sx_restore_err(1), ERR_CLOSED);
	ck_assert_uint_eq(told.sessions, 1);
	free_will(&one);
	principal_unref(p);
	principal_unref(q);
	device_record_done(&d);
	fx_close(&sx.f);
}
END_TEST

START_TEST(touches_and_ends)
{
	sx_start();
	struct principal *p = sx_principal("backend", 0);
	struct session_row row = row_of(ID1, "K/a", p), touch = row, other = row_of(ID2, "K/b", p);
	row.will = (struct session_will){sx_msg(0, "w", "still"), 1, false, 0};
	ck_assert_int_eq(sx_session(SESSION_PUT, &row), 0);
	touch.expiry = 5;
	touch.offline_us = clock_wall_us();
	touch.will = row.will;
	ck_assert_int_eq(sx_session(SESSION_TOUCH, &touch), 0);
	ck_assert_ptr_nonnull(strstr(sx_restore(), "expiry=5 off=1 will=w:still,1,0,0 "));
	touch.will.msg = NULL;
	touch.offline_us = 0;
	ck_assert_int_eq(sx_session(SESSION_TOUCH, &touch), 0);
	ck_assert_ptr_nonnull(strstr(sx_restore(), "expiry=5 off=0 q="));
	/* Of one that is not there: nothing. */
	ck_assert_int_eq(sx_session(SESSION_TOUCH, &other), 0);
	ck_assert_int_eq(sx_session(SESSION_PUT, &other), 0);
	ck_assert_int_eq(sx_sub(ID1, "a", 0, false), 0);
	ck_assert_int_eq(sx_sub(ID2, "b", 0, false), 0);
	ck_assert_int_eq(sx_append(ID1, 1, 0, "x"), 0);
	ck_assert_int_eq(sx_append(ID2, 1, 0, "x"), 0);
	struct session_row end = {.id = ID1};
	ck_assert_int_eq(sx_session(SESSION_END, &end), 0);
	ck_assert_str_eq(sx_restore(),
	        "S K/b+2 key backend/device d0 p4 e1 tc v1 expiry=3600 off=0 q=1,1,1\nF b 0 5\n");
	ck_assert_str_eq(sx_queue(ID1), "");
	free_will(&row);
	principal_unref(p);
	fx_close(&sx.f);
}
END_TEST

/* All in one turn, so likely in one batch: what comes of it is what comes of one after the other.
 */
START_TEST(does_in_order_what_names_the_same)
{
	struct session_write w[8];
	struct sub_write b[6];
	struct queue_append a[2];
	struct retained_write r[4];
	struct msg *m, *kept, *clear;

	sx_start();
	struct principal *p = sx_principal("backend", 0);
	struct session_row one = row_of(ID1, "K/a", p), two = row_of(0x4400, "K/a", p);
	struct session_row end = row_of(0x5500, "K/e", p), touch = one;
	m = sx_msg(0, "t", "m");
	kept = sx_msg(0, "t", "kept");
	clear = sx_msg(0, "t", "");
	sx_send_session(&w[0], SESSION_PUT, &one);
	sx_send_append(&a[0], ID1, 1, m);
	sx_send_sub(&b[0], ID1, "x", 0, false);
	touch.expiry = 1;
	sx_send_session(&w[1], SESSION_TOUCH, &touch);
	one.expiry = 2;
	sx_send_session(&w[2], SESSION_PUT, &one); /* after the touch: its own expiry */
	sx_send_session(&w[3], SESSION_PUT, &two); /* the same key: the first one ends */
	sx_send_session(&w[4], SESSION_PUT, &end);
	sx_send_session(&w[5], SESSION_END, &end);
	touch = two;
	touch.expiry = 7;
	sx_send_session(&w[6], SESSION_TOUCH, &touch);
	touch.expiry = 8;
	sx_send_session(&w[7], SESSION_TOUCH, &touch);
	sx_send_append(&a[1], 0x4400, 1, m);
	sx_send_sub(&b[1], 0x4400, "y", 0, false);
	sx_send_sub(&b[2], 0x4400, "y", 0, true);
	sx_send_sub(&b[3], 0x4400, "z", 0, true);
	sx_send_sub(&b[4], 0x4400, "z", 0, false);
	sx_send_sub(&b[5], 0x4400, "z", 1, false);
	for (unsigned i = 0; i < 4; i++) {
		r[i] = (struct retained_write){.req = sx_request(),
		        .msg = i == 1    ? clear
		                : i == 2 ? kept
		                         : m};
		if (i < 3)
			sx.port.retained_write(sx.port.ctx, &r[i]);
	}
	sx.asked--;
	sx_wait();
	ck_assert_str_eq(sx_restore(),
	        "S K/a+2 key backend/device d0 p4 e1 tc v1 expiry=8 off=0 q=1,1,1\n"
	        "F z 1 nl 5\nR t=kept 100\n");
	ck_assert_str_eq(sx_queue(ID1), "");
	for (unsigned i = 0; i < 8; i++)
		ck_assert_int_eq(w[i].req.err, 0);
	msg_unref(m);
	msg_unref(kept);
	msg_unref(clear);
	principal_unref(p);
	fx_close(&sx.f);
}
END_TEST

/* A client that takes its own place again and again: each session ends as the next is made. They go
 * in few batches, because everybody else's messages wait for those. */
START_TEST(takes_its_own_place)
{
	enum { TIMES = 100 };
	struct session_write made[TIMES], ended[TIMES];
	struct sub_write subs[TIMES];

	sx_start();
	struct principal *p = sx_principal("backend", 0);
	int64_t before = metric_read(METRIC_BATCHES);
	for (unsigned i = 0; i < TIMES; i++) {
		uint64_t id = (uint64_t)(i + 1) << SESSION_ID_KEY_BITS;
		struct session_row row = row_of(id, "K/a", p);
		sx_send_session(&made[i], SESSION_PUT, &row);
		sx_send_sub(&subs[i], row.id, "f", 1, false);
		if (i + 1 < TIMES)
			sx_send_session(&ended[i], SESSION_END, &row);
	}
	sx_wait();
	ck_assert_int_lt(metric_read(METRIC_BATCHES) - before, TIMES / 10);
	ck_assert_str_eq(sx_restore(),
	        "S K/a+2 key backend/device d0 p4 e1 tc v1 expiry=3600 off=0 q=0,0,0\nF f 1 nl "
	        "5\n");
	for (unsigned i = 0; i < TIMES; i++)
		ck_assert_int_eq(made[i].req.err, 0);
	principal_unref(p);
	fx_close(&sx.f);
}
END_TEST

/* A later write that the database refuses does not take the earlier one with it. */
START_TEST(undoes_nothing_for_a_write_that_is_refused)
{
	struct sub_write b[3];

	sx_start();
	struct principal *p = sx_principal("backend", 0);
	struct session_row one = row_of(ID1, "K/a", p);
	ck_assert_int_eq(sx_session(SESSION_PUT, &one), 0);
	fx_sql(sx.f.owner_url,
	        "ALTER TABLE holdfast.subscriptions ADD CONSTRAINT no_two CHECK (options & 3 <> "
	        "2)");
	sx_send_sub(&b[0], ID1, "f", 1, false);
	sx_send_sub(&b[1], ID1, "g", 0, false);
	sx_send_sub(&b[2], ID1, "f", 2, false);
	sx_wait();
	ck_assert_int_eq(b[0].req.err, 0);
	ck_assert_int_eq(b[1].req.err, 0);
	ck_assert_int_eq(b[2].req.err, ERR_POISON);
	ck_assert_ptr_nonnull(strstr(sx_restore(), "F f 1 nl 5\nF g 0 5\n"));
	principal_unref(p);
	fx_close(&sx.f);
}
END_TEST

START_TEST(deletes_a_device_with_what_is_its)
{
	struct device_record d, e;
	struct store_match any = {0};

	sx_start();
	fx_device(&sx.f, "d1", &d);
	fx_device(&sx.f, "d2", &e);
	struct principal *p = sx_principal("d1", d.device_key),
	                 *q = sx_principal("d2", e.device_key);
	struct session_row one = row_of(ID1, "D/d1", p), two = row_of(ID2, "D/d2", q);
	two.will = (struct session_will){sx_msg(e.device_key, "w", "w"), 1, false, 0};
	ck_assert_int_eq(sx_session(SESSION_PUT, &one), 0);
	ck_assert_int_eq(sx_session(SESSION_PUT, &two), 0);
	for (unsigned i = 0; i < 2; i++) {
		uint64_t id = i ? ID2 : ID1, key = i ? e.device_key : d.device_key;

		ck_assert_int_eq(sx_sub(id, i ? "two" : "one", 0, false), 0);
		ck_assert_int_eq(sx_append(id, 1, e.device_key, "m"), 0);
		ck_assert_int_eq(sx_append(COMMAND_QUEUE(key), 1, 0, "c"), 0);
		ck_assert_int_eq(sx_retain(key, i ? "r/2" : "r/1", "r"), 0);
	}
	ck_assert_int_eq(sx.f.registry.device_delete(sx.f.registry.ctx, "d1", any), 0);
	ck_assert_str_eq(fx_sql(sx.f.admin_url,
	                         "SELECT (SELECT count(*) FROM holdfast.sessions) ||"
	                         " '/' || (SELECT count(*) FROM holdfast.subscriptions) || '/' ||"
	                         " (SELECT count(*) FROM holdfast.queue) || '/' ||"
	                         " (SELECT count(*) FROM holdfast.retained)"),
	        "1/1/2/1");
	const char *text = sx_restore();
	ck_assert_ptr_nonnull(strstr(text, "will=w:w"));
	ck_assert_ptr_nonnull(strstr(text, "F two 0 5\nC d2 1,1\nR r/2=r 110 d2\n"));
	/* Without its data key what is left of it cannot be read: left out. */
	fx_sql(sx.f.admin_url, "DELETE FROM holdfast.data_keys");
	text = sx_restore();
	ck_assert_ptr_nonnull(strstr(text, "S D/d2"));
	ck_assert_ptr_null(strstr(text, "will="));
	ck_assert_ptr_null(strstr(text, "R r/2"));
	free_will(&two);
	principal_unref(p);
	principal_unref(q);
	device_record_done(&d);
	device_record_done(&e);
	fx_close(&sx.f);
}
END_TEST

START_TEST(leaves_out_what_was_altered)
{
	sx_start();
	struct principal *p = sx_principal("backend", 0);
	for (unsigned i = 0; i < 4; i++) {
		char key[8];

		snprintf(key, sizeof(key), "K/%u", i);
		struct session_row row = row_of(0x1000 + i, key, p);
		row.will = (struct session_will){sx_msg(0, "w", key), 1, false, 0};
		ck_assert_int_eq(sx_session(SESSION_PUT, &row), 0);
		ck_assert_int_eq(sx_sub(row.id, key, 0, false), 0);
		ck_assert_int_eq(sx_retain(0, key, key), 0);
		free_will(&row);
	}
	fx_sql(sx.f.admin_url,
	        /* a session under another's key; a principal, a will, a retained message moved */
	        "UPDATE holdfast.sessions SET key = 'K/9' WHERE session_id = 4096;"
	        "UPDATE holdfast.sessions a SET sealed = b.sealed FROM holdfast.sessions b"
	        " WHERE a.session_id = 4097 AND b.session_id = 4098;"
	        "UPDATE holdfast.sessions a SET will = b.will FROM holdfast.sessions b"
	        " WHERE a.session_id = 4098 AND b.session_id = 4099;"
	        "UPDATE holdfast.retained a SET sealed = b.sealed, received_at = b.received_at"
	        " FROM holdfast.retained b WHERE a.topic_mac < b.topic_mac");
	const char *text = sx_restore();
	ck_assert_ptr_null(strstr(text, "K/9"));
	ck_assert_ptr_null(strstr(text, "S K/1"));
	ck_assert_ptr_nonnull(strstr(text,
	        "S K/2+2 key backend/device d0 p4 e1 tc v1"
	        " expiry=3600 off=0 q="));
	ck_assert_ptr_nonnull(strstr(text,
	        "S K/3+2 key backend/device d0 p4 e1 tc v1"
	        " expiry=3600 off=0 will=w:K/3,1,0,0 q="));
	/* Subscriptions go with their sessions. */
	ck_assert_uint_eq(told.sessions, 2);
	ck_assert_uint_eq(told.subs, 2);
	ck_assert_ptr_nonnull(strstr(text, "F K/2 0 5\nF K/3 0 5\n"));
	ck_assert_ptr_nonnull(strstr(text, "R "));
	ck_assert_ptr_null(strstr(strstr(text, "R ") + 1, "R "));
	principal_unref(p);
	fx_close(&sx.f);
}
END_TEST

#define MANY 10000

START_TEST(restores_many)
{
	static struct session_write w[MANY];
	static struct sub_write b[MANY];
	static char keys[MANY][16];

	sx_start();
	struct principal *p = sx_principal("backend", 0);
	for (unsigned i = 0; i < MANY; i++) {
		snprintf(keys[i], sizeof(keys[i]), "K/%u", i);
		struct session_row row = row_of(0x10000 + i, keys[i], p);

		sx_send_session(&w[i], SESSION_PUT, &row);
		sx_send_sub(&b[i], row.id, keys[i], 1, false);
		if (i % 100 == 0)
			mail_flush();
	}
	ck_assert(fx_wait(&sx.f, &sx.answered, sx.asked, 25000));
	sx_restart();
	ck_assert_int_eq(sx_restore_err(0), 0);
	ck_assert_uint_eq(told.sessions, MANY);
	ck_assert_uint_eq(told.subs, MANY);
	principal_unref(p);
	fx_close(&sx.f);
}
END_TEST

/* A batch that was committed and whose answer was lost is sent again: nothing is there twice,
 * nothing is missing. */
START_TEST(replays_every_kind)
{
	struct session_write w;
	struct sub_write b;
	struct queue_append a;
	struct retained_write r;
	struct qos2_note n;

	sx_start();
	struct principal *p = sx_principal("backend", 0);
	struct msg *m = sx_msg(0, "t", "m");
	struct session_row row = row_of(0x3300, "K/a", p);
	fx_hold_commits(&sx.f);
	int64_t replays = metric_read(METRIC_TELEMETRY_REPLAYS);
	m->qos = 2;
	m->packet_id = 3;
	sx_send_session(&w, SESSION_PUT, &row);
	sx_send_sub(&b, 0x3300, "f", 0, false);
	sx_send_append(&a, 0x3300, 1, m);
	r = (struct retained_write){.req = sx_request(), .msg = m};
	sx.port.retained_write(sx.port.ctx, &r);
	n = (struct qos2_note){.req = sx_request(), .session = SLICE_LIT("c"), .msg = m};
	sx.port.qos2_note(sx.port.ctx, &n);
	mail_flush();
	fx_cut_commits(&sx.f);
	sx_wait();
	ck_assert_int_gt(metric_read(METRIC_TELEMETRY_REPLAYS), replays);
	ck_assert(a.req.err == 0 && a.written && w.req.err == 0 && b.req.err == 0);
	ck_assert(r.req.err == 0 && n.req.err == 0);
	ck_assert_str_eq(sx_restore(),
	        "S K/a+2 key backend/device d0 p4 e1 tc v1 expiry=3600 off=0 q=1,1,1\n"
	        "F f 0 5\nR t=m 200\n");
	msg_unref(m);
	principal_unref(p);
	fx_close(&sx.f);
}
END_TEST

START_TEST(upkeep_clears_queues)
{
	static const struct storage_changes none;

	memset(&sx, 0, sizeof(sx));
	fx_database(&sx.f);
	fx_migrate(&sx.f);
	sx.f.settings.max_queued_age_s = 3600;
	fx_open(&sx.f);
	sx.port = storage_sessions(sx.f.storage);
	struct principal *p = sx_principal("backend", 0);
	struct session_row row = row_of(ID1, "K/a", p);
	struct msg *old = sx_msg(0, "t", "old"), *expired = sx_msg(0, "t", "expired");
	struct queue_append a[4];
	struct device_record d;
	old->received_us -= 3601LL * 1000000;
	expired->expires = true;
	expired->expires_ms = clock_ms();
	ck_assert_int_eq(storage_start(sx.f.storage, &none), 0);
	ck_assert_int_eq(sx_session(SESSION_PUT, &row), 0);
	sx_send_append(&a[0], ID1, 1, old);
	sx_send_append(&a[1], ID1, 2, expired);
	a[2] = (struct queue_append){.req = sx_request(),
	        .queue = ID1,
	        .n = 4,
	        .msg = expired,
	        .qos = 2,
	        .packet_id = 7}; /* its client may have it already */
	sx.port.queue_append(sx.port.ctx, &a[2]);
	/* A command is over all the same: its device can have it once more, or not at all. */
	fx_device(&sx.f, "d1", &d);
	a[3] = (struct queue_append){.req = sx_request(),
	        .queue = COMMAND_QUEUE(d.device_key),
	        .n = 1,
	        .msg = expired,
	        .qos = 1,
	        .packet_id = 1};
	sx.port.queue_append(sx.port.ctx, &a[3]);
	sx_wait();
	ck_assert_int_eq(sx_append(ID1, 3, 0, "kept"), 0);
	ck_assert_int_eq(sx_append(ID2, 1, 0, "of no session"), 0);
	ck_assert_int_eq(sx_append(COMMAND_QUEUE(77), 1, 0, "of no device"), 0);
	sx_restart(); /* its upkeep begins with a walk */
	ck_assert(fx_eventually(
	        sx.f.admin_url, "SELECT count(*) = 2 AND min(n) = 3 FROM holdfast.queue", 10000));
	ck_assert_str_eq(sx_queue(ID1), "3:kept 4:expired");
	msg_unref(old);
	msg_unref(expired);
	principal_unref(p);
	fx_close(&sx.f);
}
END_TEST

/* The database may be full of queues that its statistics know nothing of: rows are found by key. */
START_TEST(finds_rows_by_key_whatever_the_statistics_say)
{
	sx_start();
	sx_sessions(256, 1);
	sx_sessions(ID1, 1);
	fx_sql(sx.f.owner_url, "ANALYZE holdfast.queue");
	fx_sql(sx.f.owner_url,
	        "ALTER TABLE holdfast.queue SET (autovacuum_enabled = off);"
	        "INSERT INTO holdfast.queue SELECT 256, g, 0, 0, now(), NULL, NULL, NULL, ''"
	        " FROM generate_series(10, 50000) g");
	for (unsigned i = 1; i <= 8; i++) {
		ck_assert_int_eq(sx_append(ID1, i, 0, "x"), 0);
		sx_change(QUEUE_REMOVE, ID1, i);
	}
	/* Connections that end tell what they did. */
	storage_stop(sx.f.storage, clock_ms() + 5000);
	ck_assert(fx_eventually(sx.f.admin_url,
	        "SELECT pg_stat_get_tuples_deleted('holdfast.queue'::regclass) = 8", 10000));
	ck_assert_str_eq(fx_sql(sx.f.admin_url,
	                         "SELECT pg_stat_get_tuples_returned('holdfast.queue'::regclass)"
	                         " < 1000"),
	        "t");
	fx_close(&sx.f);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("sessions");
	TCase *tc = tcase_create("sessions");

	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, restores_what_was_written);
	tcase_add_test(tc, touches_and_ends);
	tcase_add_test(tc, does_in_order_what_names_the_same);
	tcase_add_test(tc, takes_its_own_place);
	tcase_add_test(tc, undoes_nothing_for_a_write_that_is_refused);
	tcase_add_test(tc, deletes_a_device_with_what_is_its);
	tcase_add_test(tc, leaves_out_what_was_altered);
	tcase_add_test(tc, restores_many);
	tcase_add_test(tc, replays_every_kind);
	tcase_add_test(tc, upkeep_clears_queues);
	tcase_add_test(tc, finds_rows_by_key_whatever_the_statistics_say);
	suite_add_tcase(suite, tc);
	return fx_main(suite);
}
