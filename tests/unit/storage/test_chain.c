/* Chains of lanes: what they hash, as the database's own SHA-256 computes it; that they stay whole
 * when connections die, rows are refused and the store is opened again. The form of heads. */
#include "tests/unit/storage/pg_fixture.h"

#include "storage/chain.h"
#include "storage/head.h"

#define ROWS 2000

/* Rows of chains whose hash is that of what is stored, by what storage/chain.h says. */
static const char good_sql[] =
        "SELECT count(*) FROM holdfast.chain c WHERE c.hash = sha256('holdfast chain 1'::bytea"
        " || int8send(c.chain) || int8send(c.position) || int8send((c.day - '1970-01-01'::date))"
        " || int8send(c.first_seq) || int8send(c.n) || c.prev || (SELECT string_agg(sha256("
        "int8send(t.device_key) || int8send((extract(epoch FROM t.received_at) * 1000000)::int8)"
        " || int8send(t.seq) || int8send(t.key_id) || t.sealed), ''::bytea ORDER BY t.seq)"
        " FROM holdfast.telemetry t WHERE t.seq >= c.first_seq AND t.seq < c.first_seq + c.n))";
/* Rows of telemetry that no row of a chain counts. */
static const char loose_sql[] =
        "SELECT (SELECT count(*) FROM holdfast.telemetry) - (SELECT coalesce(sum(n), 0)"
        " FROM holdfast.chain)";
/* Rows that do not follow the one before. */
static const char broken_sql[] =
        "SELECT count(*) FROM (SELECT prev, lag(hash, 1, decode(repeat('00', 32), 'hex'))"
        " OVER w AS before, position, row_number() OVER w AS n FROM holdfast.chain"
        " WINDOW w AS (PARTITION BY chain ORDER BY position)) x"
        " WHERE prev <> before OR position <> n";

static struct fx_row rows[ROWS];

static void append_rows(struct fx_store *f, uint64_t device, unsigned n)
{
	f->answered = 0;
	for (unsigned i = 0; i < n; i++) {
		fx_row_init(f, &rows[i], device, "{\"v\":1}");
		f->telemetry.append(f->telemetry.ctx, &rows[i].row);
		if (i % 50 == 0)
			mail_flush();
	}
}

static void settle_rows(struct fx_store *f, unsigned n, int err_of_odd)
{
	ck_assert(fx_wait(f, &f->answered, n, 20000));
	for (unsigned i = 0; i < n; i++) {
		ck_assert_int_eq(rows[i].row.err, i & 1 ? err_of_odd : 0);
		fx_row_done(&rows[i]);
	}
}

static void check_chains(const struct fx_store *f)
{
	char all[32];

	snprintf(all, sizeof(all), "%s",
	        fx_sql(f->admin_url, "SELECT count(*) FROM holdfast.chain"));
	ck_assert_str_ne(all, "0");
	ck_assert_str_eq(fx_sql(f->admin_url, good_sql), all);
	ck_assert_str_eq(fx_sql(f->admin_url, loose_sql), "0");
	ck_assert_str_eq(fx_sql(f->admin_url, broken_sql), "0");
}

START_TEST(every_row_is_in_a_chain)
{
	struct fx_store f;
	struct device_record d;

	fx_store_start(&f, NULL);
	fx_device(&f, "d1", &d);
	append_rows(&f, d.device_key, ROWS);
	settle_rows(&f, ROWS, 0);
	check_chains(&f);
	device_record_done(&d);
	fx_close(&f);
}
END_TEST

START_TEST(goes_on_after_connections_die_and_a_new_start)
{
	struct fx_store f;
	struct device_record d;
	static const struct storage_changes none;

	fx_store_start(&f, NULL);
	fx_device(&f, "d1", &d);
	for (unsigned i = 0; i < 5; i++) {
		append_rows(&f, d.device_key, 400);
		mail_flush();
		fx_sql(f.admin_url,
		        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
		        " WHERE application_name = 'holdfast lane'"
		        " AND datname = current_database()");
		settle_rows(&f, 400, 0);
	}
	storage_stop(f.storage, clock_ms() + 5000);
	storage_free(f.storage);
	fx_open(&f);
	ck_assert_int_eq(storage_start(f.storage, &none), 0);
	append_rows(&f, d.device_key, 400);
	settle_rows(&f, 400, 0);
	check_chains(&f);
	ck_assert_str_eq(fx_sql(f.admin_url, "SELECT count(*) FROM holdfast.telemetry"), "2400");
	ck_assert_str_eq(fx_sql(f.admin_url, "SELECT count(*) FROM holdfast.chains"), "2");
	device_record_done(&d);
	fx_close(&f);
}
END_TEST

START_TEST(refused_rows_leave_no_hole)
{
	struct fx_store f;
	struct device_record d, odd;

	fx_store_start(&f, NULL);
	fx_device(&f, "d1", &d);
	fx_device(&f, "d2", &odd);
	char sql[200];
	snprintf(sql, sizeof(sql), "ALTER TABLE holdfast.telemetry ADD CHECK (device_key <> %llu)",
	        (unsigned long long)odd.device_key);
	ck_assert_str_ne(fx_sql(f.admin_url, sql), "error");
	f.answered = 0;
	for (unsigned i = 0; i < 40; i++) {
		fx_row_init(&f, &rows[i], i & 1 ? odd.device_key : d.device_key, "{}");
		f.telemetry.append(f.telemetry.ctx, &rows[i].row);
	}
	settle_rows(&f, 40, ERR_POISON);
	check_chains(&f);
	device_record_done(&d);
	device_record_done(&odd);
	fx_close(&f);
}
END_TEST

START_TEST(the_hub_cannot_alter_it)
{
	struct fx_store f;

	fx_store_start(&f, NULL);
	ck_assert(fx_refused(f.hub_url, "UPDATE holdfast.chain SET n = 1"));
	ck_assert(fx_refused(f.hub_url, "DELETE FROM holdfast.chain"));
	ck_assert(fx_refused(f.hub_url, "UPDATE holdfast.chains SET base_position = 1"));
	ck_assert(fx_refused(f.hub_url, "TRUNCATE holdfast.chain"));
	fx_close(&f);
}
END_TEST

/* ---- heads ---- */

#define HASH1 "0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20"
#define HASH0 "0000000000000000000000000000000000000000000000000000000000000000"
#define HEAD "holdfast head 1\nnumber 7\nat 1700000000000000\nprevious " HASH1 "\n"
#define AUDIT "audit 12 " HASH1 "\n"

static const char *const good_heads[] = {
        HEAD AUDIT,
        HEAD "audit 0 " HASH0 "\n",
        HEAD AUDIT "chain 1 9 " HASH1 "\nchain 2 10 " HASH0 "\nchain 900 1 " HASH1 "\n",
};
static const char *const bad_heads[] = {
        "",
        HEAD,
        HEAD "audit 12 " HASH1,
        HEAD AUDIT "\n",
        HEAD AUDIT "chain 2 9 " HASH1 "\nchain 2 10 " HASH1 "\n",
        HEAD AUDIT "chain 02 9 " HASH1 "\n",
        HEAD AUDIT "chain -2 9 " HASH1 "\n",
        HEAD AUDIT "chain 99999999999999999999 9 " HASH1 "\n",
        HEAD AUDIT "chain 2 9 0102\n",
        HEAD "audit 12 0102030405060708090A0b0c0d0e0f101112131415161718191a1b1c1d1e1f20\n",
        " " HEAD AUDIT,
};

START_TEST(heads_are_read_as_written)
{
	struct buf out;
	struct head h;

	buf_init(&out, 1 << 20);
	for (size_t i = 0; i < ARRAY_LEN(good_heads); i++) {
		buf_truncate(&out, 0);
		ck_assert_int_eq(head_decode(slice_str(good_heads[i]), &h), 0);
		ck_assert_int_eq(head_encode(&h, &out), 0);
		ck_assert(slice_eq_str(buf_slice(&out), good_heads[i]));
		head_done(&h);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad_heads); i++)
		ck_assert_int_eq(head_decode(slice_str(bad_heads[i]), &h), ERR_INVALID);
	buf_free(&out);
}
END_TEST

#define RETENTION "holdfast retention 1\nnumber 3\nat 17\n"

static const char *const good_records[] = {
        RETENTION "partition 20260101\n",
        RETENTION "partition 20260101\nspan 1 5 9 " HASH1 " " HASH0 "\nspan 1 11 12 " HASH0
                  " " HASH1 "\n",
        RETENTION "audit 1 100 " HASH0 " " HASH1 "\n",
};
static const char *const bad_records[] = {
        RETENTION,
        RETENTION "partition 1\n",
        RETENTION "partition 20260101\naudit 1 2 " HASH0 " " HASH1 "\n",
        RETENTION "partition 20260101\nspan 1 9 5 " HASH1 " " HASH0 "\n",
        RETENTION "audit 1 100 " HASH0 " " HASH1 "\nspan 1 5 9 " HASH1 " " HASH0 "\n",
};

START_TEST(records_of_retention_are_read_as_written)
{
	struct buf out;
	struct retention r;

	buf_init(&out, 1 << 20);
	for (size_t i = 0; i < ARRAY_LEN(good_records); i++) {
		buf_truncate(&out, 0);
		ck_assert_int_eq(retention_decode(slice_str(good_records[i]), &r), 0);
		ck_assert_int_eq(retention_encode(&r, &out), 0);
		ck_assert(slice_eq_str(buf_slice(&out), good_records[i]));
		retention_done(&r);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad_records); i++)
		ck_assert_int_eq(retention_decode(slice_str(bad_records[i]), &r), ERR_INVALID);
	buf_free(&out);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("chain");
	TCase *t = tcase_create("chain");

	tcase_set_timeout(t, 120);
	tcase_add_test(t, every_row_is_in_a_chain);
	tcase_add_test(t, goes_on_after_connections_die_and_a_new_start);
	tcase_add_test(t, refused_rows_leave_no_hole);
	tcase_add_test(t, the_hub_cannot_alter_it);
	tcase_add_test(t, heads_are_read_as_written);
	tcase_add_test(t, records_of_retention_are_read_as_written);
	suite_add_tcase(s, t);
	return fx_main(s);
}
