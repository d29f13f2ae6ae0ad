/* Queues: what is appended, marked, released, removed and read back; what is refused. */
#include "tests/unit/storage/session_fixture.h"

#include "server/base/metrics.h"

#define Q1 0x1100
#define Q2 0x1101
#define Q3 0x1102

static void start(void)
{
	sx_start();
	sx_sessions(Q1, 3);
}

START_TEST(keeps_messages_in_order_with_all_they_carry)
{
	struct device_record d;
	struct queue_append a;
	struct queue_load l;
	const uint32_t ids[2] = {7, 268435455};

	start();
	fx_device(&sx.f, "d1", &d);
	struct msg *m = sx_msg(d.device_key, "devices/d1/x", "full");
	m->qos = 2;
	m->retain = true;
	m->packet_id = 9;
	m->expires = true;
	m->expires_ms = clock_ms() + 60000;
	a = (struct queue_append){.req = sx_request(),
	        .queue = Q1,
	        .n = 1,
	        .msg = m,
	        .qos = 1,
	        .retain = true,
	        .packet_id = 300,
	        .group = SLICE_LIT("$share/g/x"),
	        .ids = ids,
	        .n_ids = 2};
	sx.port.queue_append(sx.port.ctx, &a);
	sx_wait();
	ck_assert_int_eq(a.req.err, 0);
	ck_assert(a.written);
	ck_assert_int_eq(sx_append(Q1, 2, 0, "hub"), 0);
	ck_assert_int_eq(sx_append(Q2, 1, d.device_key, "other"), 0);
	sx_send_load(&l, Q1, 0, 10);
	sx_wait();
	ck_assert_str_eq(sx_text(&l), "1:full 2:hub");
	const struct queue_entry *e = &l.entries[0];
	ck_assert(slice_eq(msg_topic(e->msg), SLICE_LIT("devices/d1/x")));
	ck_assert(slice_eq(msg_props(e->msg), SLICE_LIT("\x01\x01")));
	ck_assert_uint_eq(e->msg->qos, 2);
	ck_assert(e->msg->retain && e->retain && !e->released);
	ck_assert_uint_eq(e->msg->device_key, d.device_key);
	ck_assert_int_eq(e->msg->received_us, m->received_us);
	ck_assert(e->msg->expires);
	ck_assert_uint_ge(e->msg->expires_ms + 2000, m->expires_ms);
	ck_assert_uint_le(e->msg->expires_ms, m->expires_ms + 2000);
	ck_assert_uint_eq(e->packet_id, 300);
	ck_assert_str_eq(e->group, "$share/g/x");
	ck_assert_uint_eq(e->n_ids, 2);
	ck_assert_uint_eq(e->ids[0], 7);
	ck_assert_uint_eq(e->ids[1], 268435455);
	ck_assert(!l.entries[1].group && !l.entries[1].ids && !l.entries[1].msg->expires);
	ck_assert_uint_eq(l.entries[1].packet_id, 0);
	queue_entries_free(l.entries, l.n);
	ck_assert_uint_eq(sx.f.telemetry.backlog_bytes(sx.f.telemetry.ctx), 0);
	/* Nothing of it is in clear. */
	ck_assert_str_eq(fx_sql(sx.f.admin_url,
	                         "SELECT count(*) FROM holdfast.queue q WHERE"
	                         " position('\\x66756c6c'::bytea in sealed) > 0 OR"
	                         " position('\\x6465766963'::bytea in sealed) > 0"),
	        "0");
	msg_unref(m);
	device_record_done(&d);
	fx_close(&sx.f);
}
END_TEST

START_TEST(reads_page_by_page)
{
	struct queue_load l;

	start();
	for (unsigned i = 1; i <= 7; i++) {
		char payload[8];

		snprintf(payload, sizeof(payload), "%c", 'a' + i - 1);
		ck_assert_int_eq(sx_append(Q1, i, 0, payload), 0);
	}
	sx_send_load(&l, Q1, 0, 3);
	sx_wait();
	ck_assert_str_eq(sx_text(&l), "1:a 2:b 3:c...");
	queue_entries_free(l.entries, l.n);
	sx_send_load(&l, Q1, 3, 4);
	sx_wait();
	ck_assert_str_eq(sx_text(&l), "4:d 5:e 6:f 7:g");
	queue_entries_free(l.entries, l.n);
	sx_send_load(&l, Q1, 7, 4);
	sx_wait();
	ck_assert_str_eq(sx_text(&l), "");
	ck_assert(!l.entries && !l.more);
	/* The first one comes however large it is, the others as bytes allow. */
	l = (struct queue_load){
	        .req = sx_request(), .queue = Q1, .after = 1, .max_rows = 10, .max_bytes = 1};
	sx.port.queue_load(sx.port.ctx, &l);
	sx_wait();
	ck_assert_str_eq(sx_text(&l), "2:b...");
	queue_entries_free(l.entries, l.n);
	fx_close(&sx.f);
}
END_TEST

/* In one turn, so likely in one batch: the load sees what was asked before it. */
START_TEST(does_what_was_asked_in_order)
{
	struct msg *m;
	struct queue_append a[4];
	struct queue_write w[4];
	struct queue_load l[2];

	start();
	m = sx_msg(0, "t", "m");
	m->qos = 2;
	m->packet_id = 3;
	for (unsigned i = 0; i < 4; i++)
		sx_send_append(&a[i], Q1, i + 1, m);
	sx_send_change(&w[0], QUEUE_REMOVE, Q1, 1);
	sx_send_change(&w[1], QUEUE_MARK, Q1, 2);
	sx_send_change(&w[2], QUEUE_MARK, Q1, 3);
	sx_send_change(&w[3], QUEUE_RELEASE, Q1, 3);
	sx_send_load(&l[0], Q1, 0, 10);
	sx_wait();
	ck_assert_str_eq(sx_text(&l[0]), "2:m 3:- 4:m");
	ck_assert_uint_eq(l[0].entries[0].packet_id, 77);
	ck_assert_uint_eq(l[0].entries[1].packet_id, 77);
	ck_assert_uint_eq(l[0].entries[1].qos, 2);
	ck_assert_uint_eq(l[0].entries[2].packet_id, 0);
	queue_entries_free(l[0].entries, l[0].n);
	for (unsigned i = 0; i < 4; i++) {
		ck_assert_int_eq(a[i].req.err, 0);
		ck_assert_int_eq(w[i].req.err, 0);
	}
	/* A mark that is followed by another of the same message. */
	sx_send_change(&w[0], QUEUE_MARK, Q1, 4);
	w[1] = (struct queue_write){
	        .req = sx_request(), .op = QUEUE_MARK, .queue = Q1, .n = 4, .packet_id = 78};
	sx.port.queue_write(sx.port.ctx, &w[1]);
	sx_send_load(&l[1], Q1, 3, 10);
	sx_wait();
	ck_assert_uint_eq(l[1].entries[0].packet_id, 78);
	queue_entries_free(l[1].entries, l[1].n);
	msg_unref(m);
	fx_close(&sx.f);
}
END_TEST

START_TEST(writes_no_row_for_what_is_settled)
{
	struct msg *m;
	struct queue_append a[3];

	start();
	m = sx_msg(0, "t", "m");
	for (unsigned i = 0; i < 3; i++) {
		sx_send_append(&a[i], Q1, i + 1, m);
		if (i != 1)
			atomic_store(&a[i].settled, true);
	}
	sx_wait();
	for (unsigned i = 0; i < 3; i++) {
		ck_assert_int_eq(a[i].req.err, 0);
		ck_assert_int_eq(a[i].written, i == 1);
	}
	ck_assert_str_eq(sx_queue(Q1), "2:m");
	msg_unref(m);
	fx_close(&sx.f);
}
END_TEST

START_TEST(keeps_nothing_of_a_device_that_is_gone)
{
	struct device_record d;
	struct store_match any = {0};

	start();
	fx_device(&sx.f, "d1", &d);
	ck_assert_int_eq(sx_append(Q1, 1, d.device_key, "shredded"), 0);
	ck_assert_int_eq(sx_append(Q2, 1, d.device_key, "another lane"), 0);
	ck_assert_int_eq(sx_append(Q1, 2, 0, "kept"), 0);
	ck_assert_int_eq(sx_append(COMMAND_QUEUE(d.device_key), 1, 0, "command"), 0);
	ck_assert_int_eq(sx.f.registry.device_delete(sx.f.registry.ctx, "d1", any), 0);
	ck_assert_int_eq(sx_append(Q1, 3, d.device_key, "late"), ERR_NOT_FOUND);
	ck_assert_int_eq(sx_append(Q2, 2, d.device_key, "late"), ERR_NOT_FOUND);
	ck_assert_int_eq(sx_retain(d.device_key, "t", "late"), ERR_NOT_FOUND);
	/* There, but nobody can read it. */
	ck_assert_str_eq(sx_queue(Q1), "1:! 2:kept");
	ck_assert_str_eq(sx_queue(COMMAND_QUEUE(d.device_key)), "");
	device_record_done(&d);
	fx_close(&sx.f);
}
END_TEST

START_TEST(refuses_rows_that_were_moved_or_edited)
{
	struct device_record d;

	start();
	fx_device(&sx.f, "d1", &d);
	for (unsigned i = 1; i <= 4; i++)
		ck_assert_int_eq(sx_append(Q1, i, i % 2 ? d.device_key : 0, "x"), 0);
	ck_assert_int_eq(sx_append(Q2, 1, d.device_key, "y"), 0);
	int64_t corrupt = metric_read(METRIC_TELEMETRY_CORRUPT);
	fx_sql(sx.f.admin_url,
	        "UPDATE holdfast.queue SET queue = 4354, n = 3 WHERE queue = 4352 AND n = 3;"
	        /* swapped */
	        "UPDATE holdfast.queue a SET sealed = b.sealed FROM holdfast.queue b"
	        " WHERE a.queue = 4352 AND b.queue = 4352 AND a.n = 6 - b.n AND a.n IN (2, 4);"
	        "UPDATE holdfast.queue SET received_at = received_at + interval '1 s'"
	        " WHERE queue = 4352 AND n = 1");
	ck_assert_str_eq(sx_queue(Q1), "1:! 2:! 4:!");
	ck_assert_str_eq(sx_queue(Q3), "3:!");
	ck_assert_str_eq(sx_queue(Q2), "1:y");
	ck_assert_int_eq(metric_read(METRIC_TELEMETRY_CORRUPT), corrupt + 4);
	device_record_done(&d);
	fx_close(&sx.f);
}
END_TEST

START_TEST(refuses_a_poison_row_alone)
{
	struct queue_append a[9];
	struct msg *small, *large;
	char big[3000];

	start();
	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	fx_sql(sx.f.owner_url,
	        "ALTER TABLE holdfast.queue ADD CONSTRAINT small"
	        " CHECK (octet_length(sealed) < 2000)");
	small = sx_msg(0, "t", "s");
	large = sx_msg(0, "t", big);
	int64_t refused = metric_read(METRIC_STORE_REFUSED);
	for (unsigned i = 0; i < 9; i++)
		sx_send_append(&a[i], Q1, i + 1, i == 4 || i == 8 ? large : small);
	sx_wait();
	for (unsigned i = 0; i < 9; i++) {
		ck_assert_int_eq(a[i].req.err, i == 4 || i == 8 ? ERR_POISON : 0);
		ck_assert_int_eq(a[i].written, i != 4 && i != 8);
	}
	ck_assert_str_eq(sx_queue(Q1), "1:s 2:s 3:s 4:s 6:s 7:s 8:s");
	ck_assert_int_eq(metric_read(METRIC_STORE_REFUSED), refused + 2);
	msg_unref(small);
	msg_unref(large);
	fx_close(&sx.f);
}
END_TEST

#define MANY 2000

/* Connections die in the middle of batches: every message is there once. */
START_TEST(replays_without_duplicates)
{
	static struct queue_append a[MANY];
	static struct queue_write w[MANY];
	struct msg *m;

	start();
	m = sx_msg(0, "t", "m");
	fx_sql(sx.f.admin_url,
	        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
	        " PERFORM pg_sleep(0.05); RETURN NULL; END $$;"
	        "CREATE TRIGGER slow AFTER INSERT ON holdfast.queue"
	        " FOR EACH STATEMENT EXECUTE FUNCTION slow()");
	for (unsigned i = 0; i < MANY; i++) {
		sx_send_append(&a[i], Q1 + i % 3, i + 1, m);
		if (i >= 21 && i % 2 == 0)
			sx_send_change(&w[i], QUEUE_REMOVE, Q1 + (i - 21) % 3, i - 20);
		if (i % 50 == 0)
			mail_flush();
	}
	int64_t replays = metric_read(METRIC_TELEMETRY_REPLAYS);
	for (unsigned i = 0; sx.answered < sx.asked && i < 8; i++) {
		fx_wait(&sx.f, &sx.answered, sx.asked, 60);
		fx_sql(sx.f.admin_url,
		        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
		        " WHERE application_name = 'holdfast lane'");
	}
	ck_assert_int_gt(metric_read(METRIC_TELEMETRY_REPLAYS), replays);
	sx_wait();
	for (unsigned i = 0; i < MANY; i++)
		ck_assert(a[i].req.err == 0 && a[i].written);
	ck_assert_str_eq(fx_sql(sx.f.admin_url,
	                         "SELECT count(*) || ' ' || count(*) FILTER (WHERE n % 2 = 0"
	                         " AND n <= 1978) FROM holdfast.queue"),
	        "1011 0");
	msg_unref(m);
	fx_close(&sx.f);
}
END_TEST

/* The message of a noted packet id, sent again after a crash, is kept where it is missing and left
 * out where it is; one that only looks the same is kept. */
START_TEST(keeps_what_is_sent_again_once)
{
	struct device_record d;
	struct queue_append a;
	struct qos2_note note;
	struct msg *first, *old;

	start();
	fx_device(&sx.f, "d1", &d);
	old = sx_msg(d.device_key, "t", "on");
	old->qos = 2;
	old->packet_id = 1;
	old->received_us -= 5000000;
	first = sx_msg(d.device_key, "t", "on");
	first->qos = 2;
	first->packet_id = 1;
	/* An earlier message with the same packet id and content, released long ago. */
	sx_send_append(&a, Q1, 1, old);
	sx_wait();
	sx_send_append(&a, Q2, 1, old);
	sx_wait();
	note = (struct qos2_note){.req = sx_request(),
	        .device_key = d.device_key,
	        .session = SLICE_LIT("d1"),
	        .msg = first};
	sx.port.qos2_note(sx.port.ctx, &note);
	sx_wait();
	ck_assert_int_eq(note.req.err, 0);
	sx_send_append(&a, Q1, 2, first);
	sx_wait();
	/* The crash; the client sends again. */
	sx_restart();
	struct msg *again = sx_msg(d.device_key, "t", "on");
	again->qos = 2;
	again->packet_id = 1;
	again->again = true;
	sx_send_append(&a, Q1, 3, again);
	sx_wait();
	ck_assert_int_eq(a.req.err, 0);
	ck_assert(a.written);
	ck_assert_str_eq(sx_queue(Q1), "1:on 2:on");
	sx_send_append(&a, Q2, 2, again);
	sx_wait();
	ck_assert_str_eq(sx_queue(Q2), "1:on 2:on");
	msg_unref(first);
	msg_unref(again);
	msg_unref(old);
	device_record_done(&d);
	fx_close(&sx.f);
}
END_TEST

/* What was delivered before its sender heard of it is known until the sender cannot send it again,
 * and to nobody else; then the sweep takes it. */
START_TEST(remembers_what_was_delivered)
{
	struct qos2_note note;
	struct qos2_release release;
	struct queue_append a;
	struct queue_write w;
	struct msg *m;

	start();
	m = sx_msg(0, "t", "once");
	m->qos = 2;
	m->packet_id = 5;
	note = (struct qos2_note){.req = sx_request(), .session = SLICE_LIT("p"), .msg = m};
	sx.port.qos2_note(sx.port.ctx, &note);
	sx_wait();
	sx_send_append(&a, Q1, 1, m);
	sx_send_change(&w, QUEUE_MARK, Q1, 1);
	sx_wait();
	sx_change(QUEUE_RELEASE, Q1, 1);
	sx_change(QUEUE_COMPLETE, Q1, 1);
	ck_assert_str_eq(sx_queue(Q1), "");
	ck_assert_str_eq(fx_sql(sx.f.admin_url, "SELECT count(*) FROM holdfast.queue"), "1");
	ck_assert_ptr_nonnull(strstr(sx_restore(), " q=0,0,1\n")); /* its number stays taken */
	sx_restart();
	m->again = true;
	sx_send_append(&a, Q1, 2, m);
	sx_wait();
	ck_assert_int_eq(a.req.err, 0);
	ck_assert_str_eq(sx_queue(Q1), "");
	ck_assert_str_eq(fx_sql(sx.f.admin_url, "SELECT count(*) FROM holdfast.queue"), "1");
	/* PUBREL: the next walk of the sweep, which a start begins with, takes it. */
	release = (struct qos2_release){.mail = {.deliver = sx_answered},
	        .reply_to = &sx.f.box,
	        .session = SLICE_LIT("p"),
	        .packet_id = 5};
	sx.asked++;
	sx.f.telemetry.qos2_release(sx.f.telemetry.ctx, &release);
	sx_wait();
	sx_restart();
	ck_assert(fx_eventually(sx.f.admin_url, "SELECT count(*) = 0 FROM holdfast.queue", 10000));
	/* Without the packet id nothing of it stays at all. */
	sx_send_append(&a, Q1, 3, m);
	sx_wait();
	ck_assert_str_eq(sx_queue(Q1), "3:once");
	sx_change(QUEUE_COMPLETE, Q1, 3);
	ck_assert_str_eq(fx_sql(sx.f.admin_url, "SELECT count(*) FROM holdfast.queue"), "0");
	msg_unref(m);
	fx_close(&sx.f);
}
END_TEST

/* How long a queue is, without what nobody will get. */
START_TEST(counts_what_is_wanted_still)
{
	struct queue_append a[2];
	struct queue_load l[4];
	struct msg *brief;

	start();
	brief = sx_msg(0, "t", "brief");
	brief->expires = true;
	brief->expires_ms = clock_ms();
	for (unsigned i = 1; i <= 5; i++)
		ck_assert_int_eq(sx_append(Q1, i, 0, "kept"), 0);
	ck_assert_int_eq(sx_append(Q2, 1, 0, "another"), 0);
	sx_send_append(&a[0], Q1, 6, brief);
	sx_send_append(&a[1], Q1, 7, brief);
	for (unsigned i = 0; i < 3; i++) {
		l[i] = (struct queue_load){.req = sx_request(),
		        .queue = i == 2 ? Q2 : Q1,
		        .after = i,
		        .max_rows = i == 1 ? 3 : 100,
		        .count_only = true};
		if (i == 2)
			l[i].after = 0;
		sx.port.queue_load(sx.port.ctx, &l[i]);
	}
	sx_send_load(&l[3], Q1, 4, 10); /* beside them */
	sx_wait();
	static const unsigned count[3] = {5, 3, 1};
	for (unsigned i = 0; i < 3; i++) {
		ck_assert_int_eq(l[i].req.err, 0);
		ck_assert_uint_eq(l[i].count, count[i]);
		ck_assert_uint_ge(l[i].bytes, 4 * count[i]);
		ck_assert_ptr_null(l[i].entries);
	}
	/* A load gives what is there; the sweep may have been faster with what has expired. */
	ck_assert_uint_ge(l[3].n, 1);
	ck_assert_uint_eq(l[3].entries[0].n, 5);
	queue_entries_free(l[3].entries, l[3].n);
	msg_unref(brief);
	fx_close(&sx.f);
}
END_TEST

/* With the database away a load is answered in time, writes wait. */
START_TEST(answers_loads_in_time_without_the_database)
{
	struct queue_append a;
	struct queue_load l[2];
	struct msg *m;

	memset(&sx, 0, sizeof(sx));
	fx_database(&sx.f);
	fx_migrate(&sx.f);
	sx.f.settings.lookup_ms = 400;
	static const struct storage_changes none;
	fx_open(&sx.f);
	ck_assert_int_eq(storage_start(sx.f.storage, &none), 0);
	sx.port = storage_sessions(sx.f.storage);
	sx_sessions(Q1, 1);
	ck_assert_int_eq(sx_append(Q1, 1, 0, "one"), 0);
	PGconn *lock = PQconnectdb(sx.f.admin_url);
	PQclear(PQexec(lock, "BEGIN; LOCK TABLE holdfast.queue IN ACCESS EXCLUSIVE MODE"));
	m = sx_msg(0, "t", "two");
	sx_send_append(&a, Q1, 2, m);
	sx_send_load(&l[0], Q1, 0, 10); /* in the batch, or behind it */
	mail_flush();
	(void)fx_wait(&sx.f, &sx.answered, sx.asked, 100);
	sx_send_load(&l[1], Q1, 0, 10); /* behind it */
	ck_assert(fx_wait(&sx.f, &sx.answered, sx.asked - 1, 3000));
	ck_assert_int_eq(l[0].req.err, ERR_UNAVAILABLE);
	ck_assert_int_eq(l[1].req.err, ERR_UNAVAILABLE);
	ck_assert_uint_gt(sx.f.telemetry.backlog_bytes(sx.f.telemetry.ctx), 0);
	PQfinish(lock);
	sx_wait();
	ck_assert_int_eq(a.req.err, 0);
	ck_assert_str_eq(sx_queue(Q1), "1:one 2:two");
	ck_assert_uint_eq(sx.f.telemetry.backlog_bytes(sx.f.telemetry.ctx), 0);
	msg_unref(m);
	fx_close(&sx.f);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("queues");
	TCase *tc = tcase_create("queues");

	tcase_set_timeout(tc, 30);
	tcase_add_test(tc, keeps_messages_in_order_with_all_they_carry);
	tcase_add_test(tc, reads_page_by_page);
	tcase_add_test(tc, does_what_was_asked_in_order);
	tcase_add_test(tc, writes_no_row_for_what_is_settled);
	tcase_add_test(tc, keeps_nothing_of_a_device_that_is_gone);
	tcase_add_test(tc, refuses_rows_that_were_moved_or_edited);
	tcase_add_test(tc, refuses_a_poison_row_alone);
	tcase_add_test(tc, replays_without_duplicates);
	tcase_add_test(tc, keeps_what_is_sent_again_once);
	tcase_add_test(tc, remembers_what_was_delivered);
	tcase_add_test(tc, counts_what_is_wanted_still);
	tcase_add_test(tc, answers_loads_in_time_without_the_database);
	suite_add_tcase(suite, tc);
	return fx_main(suite);
}
