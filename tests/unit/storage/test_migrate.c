/* Migrations, and what opening a database refuses. */
#include "tests/unit/storage/pg_fixture.h"

#include <pthread.h>

static int migrate_from(struct fx_store *f, const char *dir)
{
	return storage_migrate(f->owner_url, f->hub_url, dir, f->error);
}

static int try_open(struct fx_store *f)
{
	struct storage *s = NULL;
	int err = storage_open(&f->settings, &s, f->error);

	storage_free(s);
	return err;
}

START_TEST(brings_an_empty_database_up)
{
	struct fx_store f;

	fx_database(&f);
	ck_assert_int_eq(try_open(&f), ERR_CONFLICT);
	ck_assert_ptr_nonnull(strstr(f.error, "holdfast migrate"));
	fx_migrate(&f);
	fx_migrate(&f); /* again: nothing to do */
	ck_assert_str_eq(fx_sql(f.admin_url, "SELECT count(*) FROM holdfast.migrations"), "3");
	/* Yesterday to a week from now. */
	ck_assert_str_eq(fx_sql(f.admin_url,
	                         "SELECT count(*) FROM pg_inherits"
	                         " WHERE inhparent = 'holdfast.telemetry'::regclass"),
	        "9");
	ck_assert_int_eq(try_open(&f), 0);
	ck_assert_int_eq(try_open(&f), 0);
	ck_assert_str_eq(fx_sql(f.admin_url, "SELECT count(*) FROM holdfast.access_keys"), "5");
	mailbox_done(&f.box);
}
END_TEST

struct race {
	pthread_t thread;
	struct fx_store *f;
	bool open;
	int err;
	char error[STORAGE_ERROR_LEN];
};

static void *race_main(void *arg)
{
	struct race *r = arg;
	struct storage *s = NULL;

	if (r->open) {
		r->err = storage_open(&r->f->settings, &s, r->error);
		storage_free(s);
	} else {
		r->err = storage_migrate(r->f->owner_url, r->f->hub_url, FX_MIGRATIONS, r->error);
	}
	crypto_thread_done();
	return NULL;
}

static void run_race(struct fx_store *f, bool open)
{
	struct race racers[4];

	for (unsigned i = 0; i < 4; i++) {
		racers[i] = (struct race){.f = f, .open = open};
		ck_assert_int_eq(pthread_create(&racers[i].thread, NULL, race_main, &racers[i]), 0);
	}
	for (unsigned i = 0; i < 4; i++) {
		pthread_join(racers[i].thread, NULL);
		ck_assert_msg(racers[i].err == 0, "%s", racers[i].error);
	}
}

START_TEST(lets_several_start_at_once)
{
	struct fx_store f;

	fx_database(&f);
	run_race(&f, false);
	ck_assert_str_eq(fx_sql(f.admin_url, "SELECT count(*) FROM holdfast.migrations"), "3");
	run_race(&f, true);
	ck_assert_str_eq(fx_sql(f.admin_url, "SELECT count(*) FROM holdfast.hub"), "1");
	ck_assert_str_eq(fx_sql(f.admin_url, "SELECT count(*) FROM holdfast.access_keys"), "5");
	mailbox_done(&f.box);
}
END_TEST

START_TEST(refuses_other_checksums_and_newer_databases)
{
	struct fx_store f;

	fx_database(&f);
	fx_migrate(&f);
	fx_sql(f.admin_url, "UPDATE holdfast.migrations SET sha256 = '\\x00'");
	ck_assert_int_eq(migrate_from(&f, FX_MIGRATIONS), ERR_CONFLICT);
	ck_assert_ptr_nonnull(strstr(f.error, "checksum"));
	fx_sql(f.admin_url, "INSERT INTO holdfast.migrations VALUES (99, '0099_x.sql', '\\x00')");
	ck_assert_int_eq(migrate_from(&f, FX_MIGRATIONS), ERR_CONFLICT);
	ck_assert_ptr_nonnull(
	        strstr(f.error, "the database is at version 99, this program knows 3"));
	ck_assert_int_eq(try_open(&f), ERR_CONFLICT);
	ck_assert_ptr_nonnull(
	        strstr(f.error, "the database is at version 99, this program knows 3"));
	mailbox_done(&f.box);
}
END_TEST

static void add_file(const char *dir, const char *name, const char *text)
{
	char path[200];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	FILE *out = fopen(path, "we");
	ck_assert(out && fputs(text, out) >= 0 && fclose(out) == 0);
}

/* A folder with one file of the given text. */
static const char *folder_with(const char *name, const char *text)
{
	static char dir[96];

	snprintf(dir, sizeof(dir), "%s/m%d-XXXXXX", fx.dir, (int)getpid());
	ck_assert_ptr_nonnull(mkdtemp(dir));
	add_file(dir, name, text);
	return dir;
}

START_TEST(leaves_nothing_of_a_migration_that_fails)
{
	struct fx_store f;
	const char *dir = folder_with("0001_bad.sql",
	        "CREATE TABLE holdfast.half (a int);\n"
	        "CREATE TABLE holdfast.half (a int);\n");

	add_file(dir, "0002_next.sql", "SELECT 1");
	add_file(dir, "0003_next.sql", "SELECT 1");
	fx_database(&f);
	ck_assert_int_eq(migrate_from(&f, dir), ERR_IO);
	ck_assert_ptr_nonnull(strstr(f.error, "0001_bad.sql"));
	ck_assert_str_eq(fx_sql(f.admin_url, "SELECT count(*) FROM holdfast.migrations"), "0");
	ck_assert_str_eq(fx_sql(f.admin_url, "SELECT to_regclass('holdfast.half') IS NULL"), "t");
	fx_migrate(&f);
	ck_assert_int_eq(migrate_from(&f, folder_with("0004_gap.sql", "SELECT 1")), ERR_IO);
	ck_assert_int_eq(migrate_from(&f, "/nowhere"), ERR_IO);
	mailbox_done(&f.box);
}
END_TEST

START_TEST(gives_the_hub_no_ddl)
{
	static const char *const forbidden[] = {
	        "CREATE TABLE holdfast.x (a int)",
	        "DROP TABLE holdfast.telemetry",
	        "ALTER TABLE holdfast.devices ADD COLUMN x int",
	        "UPDATE holdfast.telemetry SET seq = 1",
	        "DELETE FROM holdfast.telemetry",
	        "TRUNCATE holdfast.telemetry",
	        "UPDATE holdfast.hub SET seeded_at = now()",
	        "UPDATE holdfast.data_keys SET key_id = 1",
	        "INSERT INTO holdfast.migrations VALUES (9, 'x', '')",
	        "ALTER TABLE holdfast.devices DISABLE TRIGGER ALL",
	        "CREATE TEMPORARY TABLE x (a int)",
	};
	struct fx_store f;

	fx_database(&f);
	fx_migrate(&f);
	for (size_t i = 0; i < ARRAY_LEN(forbidden); i++)
		ck_assert_msg(
		        strcmp(fx_sql(f.hub_url, forbidden[i]), "error") == 0, "%s", forbidden[i]);
	ck_assert_str_eq(fx_sql(f.hub_url, "SELECT count(*) FROM holdfast.telemetry"), "0");
	mailbox_done(&f.box);
}
END_TEST

/* What an older version or a careless hand gave is taken away again. */
START_TEST(takes_other_rights_away)
{
	static const char *const given[] = {
	        "GRANT ALL ON ALL TABLES IN SCHEMA holdfast TO hub",
	        "GRANT UPDATE (version) ON holdfast.migrations TO hub",
	        "GRANT ALL ON ALL SEQUENCES IN SCHEMA holdfast TO hub",
	        "GRANT ALL ON SCHEMA holdfast TO hub",
	};
	static const char *const forbidden[] = {
	        "DELETE FROM holdfast.telemetry",
	        "UPDATE holdfast.migrations SET version = 2",
	        "SELECT setval('holdfast.device_seq', 1)",
	        "CREATE TABLE holdfast.x (a int)",
	        "CREATE TEMPORARY TABLE x (a int)",
	};
	struct fx_store f;
	char sql[128];

	fx_database(&f);
	fx_migrate(&f);
	for (size_t i = 0; i < ARRAY_LEN(given); i++)
		ck_assert_str_ne(fx_sql(f.owner_url, given[i]), "error");
	snprintf(sql, sizeof(sql), "GRANT TEMPORARY ON DATABASE %s TO hub, PUBLIC", f.database);
	ck_assert_str_ne(fx_sql(f.owner_url, sql), "error");
	fx_migrate(&f);
	for (size_t i = 0; i < ARRAY_LEN(forbidden); i++)
		ck_assert_msg(fx_refused(f.hub_url, forbidden[i]), "%s", forbidden[i]);
	fx_open(&f);
	storage_free(f.storage);
	mailbox_done(&f.box);
}
END_TEST

/* The database may be another's: its rights are then not ours to change. */
START_TEST(leaves_the_database_of_another_alone)
{
	struct fx_store f;
	char sql[128];

	fx_database(&f);
	snprintf(sql, sizeof(sql), "ALTER DATABASE %s OWNER TO postgres", f.database);
	ck_assert_str_ne(fx_sql(f.admin_url, sql), "error");
	snprintf(sql, sizeof(sql), "GRANT CREATE ON DATABASE %s TO owner", f.database);
	ck_assert_str_ne(fx_sql(f.admin_url, sql), "error");
	fx_migrate(&f);
	ck_assert_str_ne(fx_sql(f.hub_url, "CREATE TEMPORARY TABLE x (a int)"), "error");
	mailbox_done(&f.box);
}
END_TEST

START_TEST(works_with_one_role)
{
	struct fx_store f;
	struct storage_health health;

	fx_database(&f);
	f.settings.url = f.owner_url;
	ck_assert_int_eq(storage_migrate(f.owner_url, f.owner_url, FX_MIGRATIONS, f.error), 0);
	fx_open(&f);
	storage_health(f.storage, &health);
	ck_assert(health.one_role);
	storage_free(f.storage);
	mailbox_done(&f.box);
}
END_TEST

START_TEST(tells_a_wrong_master_key)
{
	struct fx_store f;
	char path[128];

	fx_database(&f);
	fx_migrate(&f);
	ck_assert_int_eq(try_open(&f), 0);
	fx_write("wrong.key", "ff0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f");
	snprintf(path, sizeof(path), "%s/wrong.key", fx.dir);
	f.settings.master_key_file = path;
	ck_assert_int_eq(try_open(&f), ERR_CONFLICT);
	ck_assert_ptr_nonnull(strstr(f.error, "wrong.key is not the one"));
	ck_assert_int_eq(chmod(path, 0644), 0);
	ck_assert_int_eq(try_open(&f), ERR_INVALID);
	ck_assert_ptr_nonnull(strstr(f.error, "0600"));
	fx_write("wrong.key", "0001");
	ck_assert_int_eq(try_open(&f), ERR_INVALID);
	unlink(path);
	ck_assert_int_eq(try_open(&f), ERR_IO);
	f.settings.master_key_file = f.files[0];
	f.settings.url = "postgresql:///nowhere?host=/nowhere";
	ck_assert_int_eq(try_open(&f), ERR_UNAVAILABLE);
	mailbox_done(&f.box);
}
END_TEST

START_TEST(drops_old_partitions)
{
	struct fx_store f;
	static const struct storage_changes none;

	fx_database(&f);
	fx_migrate(&f);
	fx_sql(f.owner_url,
	        "CREATE TABLE holdfast.telemetry_20200101 PARTITION OF holdfast.telemetry"
	        " FOR VALUES FROM ('2020-01-01 00:00+00') TO ('2020-01-02 00:00+00');"
	        "CREATE TABLE holdfast.telemetry_20200102 (a int)"); /* detached, not dropped */
	fx_open(&f);
	ck_assert_int_eq(storage_start(f.storage, &none), 0);
	ck_assert(fx_eventually(f.admin_url,
	        "SELECT to_regclass('holdfast.telemetry_20200101') IS NULL"
	        " AND to_regclass('holdfast.telemetry_20200102') IS NULL",
	        10000));
	ck_assert_str_eq(fx_sql(f.admin_url,
	                         "SELECT count(*) FROM pg_inherits"
	                         " WHERE inhparent = 'holdfast.telemetry'::regclass"),
	        "9");
	fx_close(&f);
}
END_TEST

/* libpq quotes what it does not understand. */
START_TEST(tells_no_password_of_a_bad_url)
{
	static const char *const urls[] = {
	        "postgresql://hub:sec/ret@localhost/holdfast",
	        "postgresql://hub:sec%zzret@localhost/holdfast",
	        "postgresql://hub@localhost:sec,ret/holdfast",
	        "host=localhost password=x sec ret",
	        "host=localhost password='secret",
	        "postgresql://localhost/holdfast?passwort=secret&sec=ret",
	};

	for (size_t i = 0; i < ARRAY_LEN(urls); i++) {
		char error[STORAGE_ERROR_LEN] = "";
		int err = storage_migrate(urls[i], urls[i], FX_MIGRATIONS, error);
		ck_assert_int_eq(err, ERR_UNAVAILABLE);
		ck_assert_msg(!strstr(error, "sec") && !strstr(error, "ret"), "%s", error);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("migrate");
	TCase *tc = tcase_create("migrate");

	tcase_set_timeout(tc, 30);
	tcase_add_test(tc, brings_an_empty_database_up);
	tcase_add_test(tc, lets_several_start_at_once);
	tcase_add_test(tc, refuses_other_checksums_and_newer_databases);
	tcase_add_test(tc, leaves_nothing_of_a_migration_that_fails);
	tcase_add_test(tc, gives_the_hub_no_ddl);
	tcase_add_test(tc, takes_other_rights_away);
	tcase_add_test(tc, leaves_the_database_of_another_alone);
	tcase_add_test(tc, works_with_one_role);
	tcase_add_test(tc, tells_a_wrong_master_key);
	tcase_add_test(tc, drops_old_partitions);
	tcase_add_test(tc, tells_no_password_of_a_bad_url);
	suite_add_tcase(suite, tc);
	return fx_main(suite);
}
