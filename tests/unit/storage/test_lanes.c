/* Lanes: order, numbers, batches, lost connections, rows that the database refuses, the stop. */
#include "tests/unit/storage/pg_fixture.h"

#include "server/base/metrics.h"

#define MANY 3000

START_TEST(stores_and_reads)
{
	struct fx_store f;
	struct device_record d;
	struct fx_read rd;

	fx_store_start(&f, NULL);
	fx_device(&f, "d1", &d);
	ck_assert_int_eq(fx_store_one(&f, d.device_key, "{\"t\":1}"), 0);
	ck_assert_int_eq(fx_store_one(&f, d.device_key, "{\"t\":2}"), 0);
	ck_assert_str_eq(fx_read(&f, d.device_key, true, &rd), "{\"t\":1}|{\"t\":2}");
	ck_assert(rd.rising);
	ck_assert_str_eq(fx_read(&f, d.device_key, false, &rd), "{\"t\":2}|{\"t\":1}");
	ck_assert_uint_eq(f.telemetry.backlog_bytes(f.telemetry.ctx), 0);
	device_record_done(&d);
	fx_close(&f);
}
END_TEST

static struct fx_row many[MANY];

static void append_many(struct fx_store *f, const uint64_t *devices, unsigned n_devices)
{
	for (unsigned i = 0; i < MANY; i++) {
		char payload[32];

		snprintf(payload, sizeof(payload), "%u", i);
		fx_row_init(f, &many[i], devices[i % n_devices], payload);
		f->telemetry.append(f->telemetry.ctx, &many[i].row);
		if (i % 100 == 0)
			mail_flush();
	}
}

static void check_many(struct fx_store *f, const uint64_t *devices, unsigned n_devices)
{
	struct fx_read rd;

	for (unsigned i = 0; i < MANY; i++) {
		ck_assert_int_eq(many[i].row.err, 0);
		fx_row_done(&many[i]);
	}
	for (unsigned d = 0; d < n_devices; d++) {
		const char *at = fx_read(f, devices[d], true, &rd);

		ck_assert_uint_eq(rd.n, MANY / n_devices);
		ck_assert(rd.rising);
		for (unsigned i = d; i < MANY; i += n_devices) {
			char *end;

			ck_assert_uint_eq(strtoul(at, &end, 10), i);
			at = end + 1;
		}
	}
}

START_TEST(keeps_order_and_loses_nothing_when_connections_die)
{
	struct fx_store f;
	uint64_t devices[10];

	fx_store_start(&f, NULL);
	f.answered = 0;
	for (unsigned i = 0; i < 10; i++) {
		struct device_record d;
		char id[8];

		snprintf(id, sizeof(id), "d%u", i);
		fx_device(&f, id, &d);
		devices[i] = d.device_key;
		device_record_done(&d);
	}
	/* Batches slow enough to be cut in the middle. */
	fx_sql(f.admin_url,
	        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
	        " PERFORM pg_sleep(0.05); RETURN NULL; END $$;"
	        "CREATE TRIGGER slow AFTER INSERT ON holdfast.telemetry"
	        " FOR EACH STATEMENT EXECUTE FUNCTION slow()");
	append_many(&f, devices, 10);
	for (unsigned i = 0; f.answered < MANY && i < 8; i++) {
		fx_wait(&f, &f.answered, MANY, 60);
		fx_sql(f.admin_url,
		        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
		        " WHERE application_name = 'holdfast lane'");
	}
	ck_assert_int_gt(metric_read(METRIC_TELEMETRY_REPLAYS), 0);
	ck_assert(fx_wait(&f, &f.answered, MANY, 15000));
	check_many(&f, devices, 10);
	fx_close(&f);
}
END_TEST

/* A COMMIT that was done and whose answer was lost: the batch is sent again, the rows are there
 * once. The trigger cuts the connection at the end of the transaction. */
START_TEST(replays_without_duplicates)
{
	struct fx_store f;
	struct device_record d;
	struct fx_read rd;

	fx_store_start(&f, NULL);
	fx_device(&f, "d1", &d);
	ck_assert_int_eq(fx_store_one(&f, d.device_key, "before"), 0);
	fx_hold_commits(&f);

	struct fx_row r;
	unsigned before = f.answered;
	int64_t replays = metric_read(METRIC_TELEMETRY_REPLAYS);
	fx_row_init(&f, &r, d.device_key, "uncertain");
	f.telemetry.append(f.telemetry.ctx, &r.row);
	mail_flush();
	fx_cut_commits(&f);
	ck_assert(fx_wait(&f, &f.answered, before + 1, 10000));
	ck_assert_int_eq(r.row.err, 0);
	ck_assert_int_gt(metric_read(METRIC_TELEMETRY_REPLAYS), replays);
	ck_assert_str_eq(fx_read(&f, d.device_key, true, &rd), "before|uncertain");
	fx_row_done(&r);
	device_record_done(&d);
	fx_close(&f);
}
END_TEST

START_TEST(sets_a_poison_row_aside)
{
	struct fx_store f;
	struct device_record d;
	struct fx_row rows[9];
	struct fx_read rd;
	char big[3000];

	fx_store_start(&f, NULL);
	fx_device(&f, "d1", &d);
	fx_sql(f.owner_url,
	        "ALTER TABLE holdfast.telemetry ADD CONSTRAINT small"
	        " CHECK (octet_length(sealed) < 2000)");
	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	for (unsigned i = 0; i < 9; i++) {
		char payload[8];

		snprintf(payload, sizeof(payload), "%u", i);
		fx_row_init(&f, &rows[i], d.device_key, i == 4 || i == 8 ? big : payload);
		f.telemetry.append(f.telemetry.ctx, &rows[i].row);
	}
	ck_assert(fx_wait(&f, &f.answered, 9, 10000));
	for (unsigned i = 0; i < 9; i++) {
		ck_assert_int_eq(rows[i].row.err, i == 4 || i == 8 ? ERR_POISON : 0);
		fx_row_done(&rows[i]);
	}
	ck_assert_str_eq(fx_read(&f, d.device_key, true, &rd), "0|1|2|3|5|6|7");
	ck_assert_str_eq(fx_sql(f.admin_url,
	                         "SELECT count(*) || ' ' || min(sqlstate) FROM"
	                         " holdfast.dead_letters WHERE octet_length(sealed) > 3000"),
	        "2 23514");
	device_record_done(&d);
	fx_close(&f);
}
END_TEST

/* An error that is not the row's: nobody is answered until it goes. */
START_TEST(waits_while_the_disk_is_full)
{
	struct fx_store f;
	struct device_record d;
	struct fx_row r;
	struct fx_read rd;

	fx_store_start(&f, NULL);
	fx_device(&f, "d1", &d);
	fx_sql(f.admin_url,
	        "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
	        " RAISE EXCEPTION 'no space' USING ERRCODE = '53100'; END $$;"
	        "CREATE TRIGGER full_disk BEFORE INSERT ON holdfast.telemetry"
	        " FOR EACH ROW EXECUTE FUNCTION full_disk()");
	fx_row_init(&f, &r, d.device_key, "patient");
	f.telemetry.append(f.telemetry.ctx, &r.row);
	ck_assert(!fx_wait(&f, &f.answered, 1, 600));
	ck_assert_uint_gt(f.telemetry.backlog_bytes(f.telemetry.ctx), 0);
	fx_sql(f.admin_url, "DROP TRIGGER full_disk ON holdfast.telemetry");
	ck_assert(fx_wait(&f, &f.answered, 1, 5000));
	ck_assert_int_eq(r.row.err, 0);
	ck_assert_str_eq(fx_read(&f, d.device_key, true, &rd), "patient");
	fx_row_done(&r);
	device_record_done(&d);
	fx_close(&f);
}
END_TEST

START_TEST(makes_the_partition_of_a_day_far_off)
{
	struct fx_store f;
	struct device_record d;
	struct fx_row r;
	struct fx_read rd;

	fx_store_start(&f, NULL);
	fx_device(&f, "d1", &d);
	fx_row_init(&f, &r, d.device_key, "later");
	r.row.msg->received_us += 400LL * 86400 * 1000000;
	f.telemetry.append(f.telemetry.ctx, &r.row);
	ck_assert(fx_wait(&f, &f.answered, 1, 10000));
	ck_assert_int_eq(r.row.err, 0);
	ck_assert_str_eq(fx_read(&f, d.device_key, true, &rd), "later");
	ck_assert_int_eq(rd.last_us, r.row.msg->received_us);
	fx_row_done(&r);
	device_record_done(&d);
	fx_close(&f);
}
END_TEST

START_TEST(refuses_what_is_gone)
{
	struct fx_store f;
	struct device_record d, again;
	struct fx_read rd;
	struct store_match any = {0};

	fx_store_start(&f, NULL);
	fx_device(&f, "d1", &d);
	ck_assert_int_eq(fx_store_one(&f, d.device_key, "old"), 0);
	ck_assert_int_eq(f.registry.device_delete(f.registry.ctx, "d1", any), 0);
	ck_assert_int_eq(fx_store_one(&f, d.device_key, "orphan"), ERR_NOT_FOUND);
	ck_assert_str_eq(fx_read(&f, d.device_key, true, &rd), "");
	fx_device(&f, "d1", &again);
	ck_assert_uint_ne(again.device_key, d.device_key);
	ck_assert_str_ne(again.generation_id, d.generation_id);
	ck_assert_str_eq(fx_read(&f, again.device_key, true, &rd), "");
	ck_assert_int_eq(fx_store_one(&f, 999999, "nobody"), ERR_NOT_FOUND);
	device_record_done(&d);
	device_record_done(&again);
	fx_close(&f);
}
END_TEST

/* ---- QoS 2 ---- */

struct release {
	struct qos2_release r;
	struct fx_store *f;
};

struct load {
	struct qos2_load l;
	struct fx_store *f;
};

static void release_answered(struct mail *m)
{
	container_of(m, struct release, r.mail)->f->answered++;
}

static void load_answered(struct mail *m)
{
	container_of(m, struct load, l.mail)->f->answered++;
}

static void send_qos2(struct fx_store *f, struct fx_row *r, uint64_t key, uint16_t packet_id)
{
	fx_row_init(f, r, key, "exactly");
	r->row.qos2 = true;
	r->row.packet_id = packet_id;
	r->row.session = SLICE_LIT("d1");
	f->telemetry.append(f->telemetry.ctx, &r->row);
}

static void send_release(struct fx_store *f, struct release *r, uint64_t key, uint16_t packet_id)
{
	*r = (struct release){.f = f,
	        .r = {.mail = {.deliver = release_answered},
	                .reply_to = &f->box,
	                .device_key = key,
	                .session = SLICE_LIT("d1"),
	                .all = packet_id == 0,
	                .packet_id = packet_id}};
	f->telemetry.qos2_release(f->telemetry.ctx, &r->r);
}

static unsigned load_ids(struct fx_store *f, uint64_t key, struct qos2_id *first)
{
	unsigned before = f->answered;
	struct load l = {.f = f,
	        .l = {.mail = {.deliver = load_answered},
	                .reply_to = &f->box,
	                .device_key = key,
	                .session = SLICE_LIT("d1")}};

	f->telemetry.qos2_load(f->telemetry.ctx, &l.l);
	ck_assert(fx_wait(f, &f->answered, before + 1, 5000));
	ck_assert_int_eq(l.l.err, 0);
	if (l.l.n > 0)
		*first = l.l.ids[0];
	free(l.l.ids);
	return l.l.n;
}

START_TEST(notes_and_forgets_packet_ids)
{
	struct fx_store f;
	struct device_record d;
	struct fx_row rows[6];
	struct release rel[3];
	struct qos2_id id = {0};
	uint8_t tag[8];

	fx_store_start(&f, NULL);
	fx_device(&f, "d1", &d);
	ck_assert_uint_eq(load_ids(&f, d.device_key, &id), 0);
	f.answered = 0;
	/* One turn, so likely one batch: 7 and 8 noted, 7 taken back, noted again, 8 noted twice.
	 */
	send_qos2(&f, &rows[0], d.device_key, 7);
	send_qos2(&f, &rows[1], d.device_key, 8);
	send_release(&f, &rel[0], d.device_key, 7);
	send_qos2(&f, &rows[2], d.device_key, 7);
	send_qos2(&f, &rows[3], d.device_key, 8);
	send_release(&f, &rel[1], d.device_key, 8);
	ck_assert(fx_wait(&f, &f.answered, 6, 5000));
	ck_assert_uint_eq(load_ids(&f, d.device_key, &id), 1);
	ck_assert_uint_eq(id.packet_id, 7);
	f.telemetry.qos2_tag(f.telemetry.ctx, rows[0].row.msg, tag);
	ck_assert_mem_eq(tag, id.tag, 8);
	ck_assert_int_eq(id.received_us, rows[2].row.msg->received_us);
	f.answered = 0;
	send_qos2(&f, &rows[4], d.device_key, 9);
	send_release(&f, &rel[2], d.device_key, 0);
	send_qos2(&f, &rows[5], d.device_key, 10);
	ck_assert(fx_wait(&f, &f.answered, 3, 5000));
	ck_assert_uint_eq(load_ids(&f, d.device_key, &id), 1);
	ck_assert_uint_eq(id.packet_id, 10);
	for (unsigned i = 0; i < 6; i++) {
		ck_assert_int_eq(rows[i].row.err, 0);
		fx_row_done(&rows[i]);
	}
	device_record_done(&d);
	fx_close(&f);
}
END_TEST

/* ---- the stop ---- */

START_TEST(stops_at_the_deadline_when_the_database_hangs)
{
	struct fx_store f;
	struct device_record d;
	struct fx_row r;

	fx_store_start(&f, NULL);
	fx_device(&f, "d1", &d);
	ck_assert_int_eq(fx_store_one(&f, d.device_key, "first"), 0);
	PGconn *lock = PQconnectdb(f.admin_url);
	PQclear(PQexec(lock, "BEGIN; LOCK TABLE holdfast.telemetry IN ACCESS EXCLUSIVE MODE"));
	f.answered = 0;
	fx_row_init(&f, &r, d.device_key, "stuck");
	f.telemetry.append(f.telemetry.ctx, &r.row);
	mail_flush();
	ck_assert(!fx_wait(&f, &f.answered, 1, 300));
	uint64_t start = clock_ms();
	storage_stop(f.storage, start + 500);
	ck_assert_uint_lt(clock_ms() - start, 2500);
	ck_assert_uint_eq(f.answered, 0);
	PQfinish(lock);
	storage_free(f.storage);
	mailbox_done(&f.box);
	fx_row_done(&r);
	device_record_done(&d);
}
END_TEST

START_TEST(stores_what_was_appended_before_it_stops)
{
	struct fx_store f;
	struct device_record d;
	uint64_t key;

	fx_store_start(&f, NULL);
	fx_device(&f, "d1", &d);
	key = d.device_key;
	f.answered = 0;
	append_many(&f, &key, 1);
	mail_flush();
	storage_stop(f.storage, clock_ms() + 10000);
	ck_assert(fx_wait(&f, &f.answered, MANY, 100));
	check_many(&f, &key, 1);
	device_record_done(&d);
	fx_close(&f);
}
END_TEST

/* Bytes 2 to 13 of each sealed row: no two alike over lanes, connections and restarts. */
START_TEST(never_repeats_a_nonce)
{
	struct fx_store f;
	struct device_record d[4];

	fx_store_start(&f, NULL);
	for (unsigned i = 0; i < 4; i++) {
		char id[8];

		snprintf(id, sizeof(id), "d%u", i);
		fx_device(&f, id, &d[i]);
	}
	for (unsigned round = 0; round < 6; round++) {
		for (unsigned i = 0; i < 4; i++)
			ck_assert_int_eq(fx_store_one(&f, d[i].device_key, "n"), 0);
		fx_sql(f.admin_url,
		        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
		        " WHERE application_name = 'holdfast lane'");
		if (round == 3) {
			static const struct storage_changes none;

			storage_stop(f.storage, clock_ms() + 5000);
			storage_free(f.storage);
			fx_open(&f);
			ck_assert_int_eq(storage_start(f.storage, &none), 0);
		}
	}
	ck_assert_str_eq(fx_sql(f.admin_url,
	                         "SELECT count(*) || ' ' ||"
	                         " count(DISTINCT substr(sealed, 2, 12))"
	                         " FROM holdfast.telemetry"),
	        "24 24");
	for (unsigned i = 0; i < 4; i++)
		device_record_done(&d[i]);
	fx_close(&f);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("lanes");
	TCase *tc = tcase_create("lanes");

	tcase_set_timeout(tc, 30);
	tcase_add_test(tc, stores_and_reads);
	tcase_add_test(tc, keeps_order_and_loses_nothing_when_connections_die);
	tcase_add_test(tc, replays_without_duplicates);
	tcase_add_test(tc, sets_a_poison_row_aside);
	tcase_add_test(tc, waits_while_the_disk_is_full);
	tcase_add_test(tc, makes_the_partition_of_a_day_far_off);
	tcase_add_test(tc, refuses_what_is_gone);
	tcase_add_test(tc, notes_and_forgets_packet_ids);
	tcase_add_test(tc, stops_at_the_deadline_when_the_database_hangs);
	tcase_add_test(tc, stores_what_was_appended_before_it_stops);
	tcase_add_test(tc, never_repeats_a_nonce);
	suite_add_tcase(suite, tc);
	return fx_main(suite);
}
