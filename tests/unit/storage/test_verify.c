/* `holdfast verify`: what a superuser did to rows, chains, heads and the audit log is named, online
 * and on an export; and what nobody touched is proved. */
#include "tests/unit/storage/pg_fixture.h"

#include <sys/stat.h>

#define ROWS 300

static struct {
	char lines[16384];
	struct fx_store f;
	struct device_record d;
	unsigned exports;
} t;

static void note(const char *line)
{
	size_t n = strlen(t.lines);

	snprintf(t.lines + n, sizeof(t.lines) - n, "%s\n", line);
}

static void store_some(unsigned n)
{
	static struct fx_row rows[ROWS];

	t.f.answered = 0;
	for (unsigned i = 0; i < n; i++) {
		fx_row_init(&t.f, &rows[i], t.d.device_key, "{\"v\":1}");
		t.f.telemetry.append(t.f.telemetry.ctx, &rows[i].row);
		if (i % 20 == 19)
			mail_flush();
	}
	ck_assert(fx_wait(&t.f, &t.f.answered, n, 20000));
	for (unsigned i = 0; i < n; i++) {
		ck_assert_int_eq(rows[i].row.err, 0);
		fx_row_done(&rows[i]);
	}
}

/* A store with telemetry, audit rows and a head over both, and what came after the head. Then it is
 * stopped: what is changed from then on, the tests change. */
static void set_up(void)
{
	static const struct storage_changes none;

	memset(&t, 0, sizeof(t));
	fx_database(&t.f);
	fx_migrate(&t.f);
	t.f.settings.head_interval_s = 1;
	t.f.settings.lanes = 1;
	t.f.settings.batch_rows = 20;
	fx_open(&t.f);
	ck_assert_int_eq(storage_start(t.f.storage, &none), 0);
	fx_device(&t.f, "d1", &t.d);
	store_some(ROWS);
	ck_assert(fx_eventually(t.f.admin_url,
	        "SELECT bool_and((SELECT body FROM holdfast.heads ORDER BY head_id DESC LIMIT 1)"
	        " LIKE '%chain ' || chain || ' ' || p || ' %') FROM (SELECT chain, max(position)"
	        " AS p FROM holdfast.chain GROUP BY chain) x",
	        20000));
}

static void stop(void)
{
	storage_stop(t.f.storage, clock_ms() + 5000);
	storage_free(t.f.storage);
	t.f.storage = NULL;
}

static void tear_down(void)
{
	device_record_done(&t.d);
	if (t.f.storage)
		stop();
	mail_deliver(mailbox_take(&t.f.box));
	mailbox_done(&t.f.box);
}

static int verify(const char *export_to, const char *from, const char *heads)
{
	const struct verify_settings settings = {
	        .url = t.f.owner_url,
	        .connect_timeout_s = 5,
	        .export_to = export_to,
	        .from = from,
	        .heads_file = heads,
	};
	char error[STORAGE_ERROR_LEN];

	t.lines[0] = '\0';
	int err = storage_verify(&settings, note, error);
	note(error);
	return err;
}

/* Online, and on an export of the same without the database. */
static void expect(const char *what, int err, const char *words)
{
	char folder[128];

	snprintf(folder, sizeof(folder), "%s/export%d_%u", fx.dir, (int)getpid(), t.exports++);
	ck_assert_msg(verify(folder, NULL, NULL) == err, "%s, online: %s", what, t.lines);
	ck_assert_msg(
	        strstr(t.lines, words) != NULL, "%s: \"%s\" is not in: %s", what, words, t.lines);
	ck_assert_msg(verify(NULL, folder, NULL) == err, "%s, export: %s", what, t.lines);
	ck_assert_msg(
	        strstr(t.lines, words) != NULL, "%s: \"%s\" is not in: %s", what, words, t.lines);
}

static const struct attack {
	const char *what, *sql, *words;
} attacks[] = {
        {"a payload",
                "UPDATE holdfast.telemetry SET sealed = set_byte(sealed, 20, "
                "get_byte(sealed, 20) # 1) WHERE seq = (SELECT min(seq) + 5 FROM "
                "holdfast.telemetry)",
                "of device 1, received"},
        {"a time",
                "UPDATE holdfast.telemetry SET received_at = received_at + interval '1 ms'"
                " WHERE seq = (SELECT min(seq) FROM holdfast.telemetry)",
                ": altered"},
        {"a device",
                "UPDATE holdfast.telemetry SET device_key = 77"
                " WHERE seq = (SELECT min(seq) FROM holdfast.telemetry)",
                "of device 77"},
        {"a row removed",
                "DELETE FROM holdfast.telemetry WHERE seq = (SELECT min(seq) + 3 FROM "
                "holdfast.telemetry)",
                "of telemetry: removed"},
        {"a row inserted",
                "INSERT INTO holdfast.telemetry SELECT device_key, received_at, seq + 4000,"
                " key_id, sealed FROM holdfast.telemetry ORDER BY seq LIMIT 1",
                "is in no chain: inserted"},
        {"a row twice",
                "INSERT INTO holdfast.telemetry SELECT 99, received_at, seq, key_id, sealed"
                " FROM holdfast.telemetry ORDER BY seq LIMIT 1",
                ": "},
        {"two rows swapped",
                "UPDATE holdfast.telemetry SET sealed = CASE seq WHEN a THEN sb ELSE sa END"
                " FROM (SELECT x.seq AS a, x.sealed AS sa, y.seq AS b, y.sealed AS sb FROM"
                " holdfast.telemetry x, holdfast.telemetry y WHERE x.seq = (SELECT min(seq) FROM"
                " holdfast.telemetry) AND y.seq = x.seq + 1) p WHERE seq IN (a, b)",
                ": altered"},
        {"a row of a chain altered",
                "UPDATE holdfast.chain SET hash = sha256(hash) WHERE chain = 1 AND position = 1",
                "chain 1, position 1: altered"},
        {"a mark altered",
                "UPDATE holdfast.chain SET marks = set_byte(marks, 0, get_byte(marks, 0) # 1)"
                " WHERE chain = 1 AND position = 1",
                ": altered"},
        {"a row of a chain removed with its rows",
                "WITH gone AS (DELETE FROM holdfast.chain WHERE chain = 1 AND position = 1"
                " RETURNING *) DELETE FROM holdfast.telemetry t USING gone WHERE t.seq >= "
                "first_seq AND t.seq < first_seq + n",
                "chain 1, positions 1 to 1: removed"},
        {"a row of a chain inserted",
                "INSERT INTO holdfast.chain SELECT day + 1, chain, position, first_seq, n, prev,"
                " marks, hash, now() FROM holdfast.chain WHERE chain = 1 AND position = 1",
                "chain 1, position 1 is there twice: inserted"},
        {"a chain cut off the end",
                "WITH gone AS (DELETE FROM holdfast.chain WHERE chain = 1 AND position >= (SELECT"
                " max(position) FROM holdfast.chain WHERE chain = 1) RETURNING *)"
                " DELETE FROM holdfast.telemetry t USING gone WHERE t.seq >= first_seq"
                " AND t.seq < first_seq + n",
                "cut off the end"},
        {"all of a chain",
                "WITH gone AS (DELETE FROM holdfast.chain WHERE chain = 1 RETURNING *)"
                " DELETE FROM holdfast.telemetry t USING gone WHERE t.seq >= first_seq"
                " AND t.seq < first_seq + n",
                "cut off the end"},
        {"two rows of a chain change places",
                "UPDATE holdfast.chain c SET first_seq = o.first_seq, n = o.n, marks = o.marks"
                " FROM holdfast.chain o WHERE c.chain = 1 AND o.chain = 1 AND c.position = 1"
                " AND o.position = (SELECT max(position) FROM holdfast.chain WHERE chain = 1)",
                ": "},
        {"a row of the audit log altered",
                "UPDATE holdfast.audit SET actor = 'somebody else' WHERE position = 2",
                "row 2 of the audit log"},
        {"a row of the audit log removed", "DELETE FROM holdfast.audit WHERE position = 2",
                "the audit log, positions 2 to 2: removed"},
        {"the audit log cut off the end",
                "DELETE FROM holdfast.audit WHERE position = (SELECT max(position) FROM "
                "holdfast.audit)",
                "the audit log ends at position"},
        {"two rows of the audit log swapped",
                "UPDATE holdfast.audit SET operation = CASE position WHEN 2 THEN 'b' ELSE 'a' "
                "END WHERE position IN (2, 3)",
                "row 2 of the audit log"},
        {"a head altered",
                "UPDATE holdfast.heads SET body = replace(body, 'chain 1', 'chain 3')"
                " WHERE head_id = (SELECT max(head_id) FROM holdfast.heads)",
                "is not as it was signed: altered"},
        {"a head removed",
                "INSERT INTO holdfast.heads SELECT head_id + 5, at, body, signature FROM "
                "holdfast.heads ORDER BY head_id DESC LIMIT 1",
                "removed, or inserted"},
        {"the key replaced", "UPDATE holdfast.signing SET public_key = sha256('mine')",
                "is not as it was signed: altered"},
        {"a record of retention made up",
                "INSERT INTO holdfast.retention_records VALUES (1, now(), 'holdfast retention "
                "1', sha256('x') || sha256('y'))",
                "the record of retention 1 is not as it was signed: altered"},
};

static void run_all(const char *before)
{
	for (size_t i = 0; i < ARRAY_LEN(attacks); i++) {
		char sql[200], database[48];
		const struct attack *a = &attacks[i];

		/* A copy of the database for each: the others stay what they were. */
		snprintf(database, sizeof(database), "a%d_%zu", (int)getpid(), i);
		snprintf(sql, sizeof(sql), "CREATE DATABASE %s TEMPLATE %s", database, before);
		ck_assert_str_ne(fx_sql(fx_url("postgres", "postgres"), sql), "error");
		ck_assert_msg(strcmp(fx_sql(fx_url(database, "postgres"), a->sql), "error") != 0,
		        "%s", a->what);
		snprintf(t.f.owner_url, sizeof(t.f.owner_url), "%s", fx_url(database, "owner"));
		expect(a->what, ERR_CORRUPT, a->words);
	}
}

START_TEST(names_what_was_done)
{
	set_up();
	expect("nothing", 0, "verified");
	stop();
	run_all(t.f.database);
	tear_down();
}
END_TEST

START_TEST(what_no_head_tells_of_is_unprovable)
{
	set_up();
	stop();
	ck_assert_str_ne(fx_sql(t.f.admin_url, "DELETE FROM holdfast.heads"), "error");
	expect("nothing", 0, "unprovable: there is no signed head");
	tear_down();
}
END_TEST

/* What the hub keeps in its home: a line for each head. */
static void keep_heads(char path[static 128])
{
	snprintf(path, 128, "%s/kept.ndjson", fx.dir);
	FILE *out = fopen(path, "we");
	PGconn *conn = PQconnectdb(t.f.admin_url);
	PGresult *r = PQexec(conn,
	        "SELECT json_build_object('number', head_id, 'body', body, 'signature',"
	        " translate(encode(signature, 'base64'), E'\n', ''))::text"
	        " FROM holdfast.heads ORDER BY head_id");

	for (int i = 0; i < PQntuples(r); i++)
		fprintf(out, "%s\n", PQgetvalue(r, i, 0));
	fclose(out);
	PQclear(r);
	PQfinish(conn);
}

START_TEST(an_earlier_state_is_told_by_heads_kept_elsewhere)
{
	char path[128];

	set_up();
	stop();
	keep_heads(path);
	ck_assert_msg(verify(NULL, NULL, path) == 0, "%s", t.lines);
	/* What a backup from before the last heads, and all since, would be. */
	fx_sql(t.f.admin_url,
	        "WITH gone AS (DELETE FROM holdfast.chain WHERE chain = 1 AND position = "
	        "(SELECT "
	        "max(position) FROM holdfast.chain WHERE chain = 1) RETURNING *) DELETE "
	        "FROM"
	        " holdfast.telemetry t USING gone WHERE t.seq >= first_seq AND t.seq < "
	        "first_seq + "
	        "n");
	fx_sql(t.f.admin_url, "DELETE FROM holdfast.heads WHERE body LIKE '%chain %'");
	ck_assert_msg(verify(NULL, NULL, NULL) == 0, "%s", t.lines);
	ck_assert_int_eq(verify(NULL, NULL, path), ERR_CORRUPT);
	ck_assert_msg(strstr(t.lines, "restored to an earlier state") != NULL, "%s", t.lines);
	tear_down();
}
END_TEST

START_TEST(exports_that_are_not_whole_are_refused)
{
	char folder[128], file[160];

	set_up();
	snprintf(folder, sizeof(folder), "%s/whole", fx.dir);
	ck_assert_int_eq(verify(folder, NULL, NULL), 0);
	ck_assert_int_eq(verify(folder, NULL, NULL), ERR_IO); /* it is there already */
	snprintf(file, sizeof(file), "%s/chain.bin", folder);
	struct stat st;
	ck_assert_int_eq(stat(file, &st), 0);
	for (off_t n = 0; n < 200 && n < st.st_size; n += 7) {
		ck_assert_int_eq(truncate(file, st.st_size - 1 - n), 0);
		ck_assert_int_eq(verify(NULL, folder, NULL), ERR_CORRUPT);
	}
	ck_assert_int_eq(truncate(file, 0), 0);
	ck_assert_int_eq(verify(NULL, folder, NULL), ERR_CORRUPT);
	ck_assert_int_eq(unlink(file), 0);
	ck_assert_int_eq(verify(NULL, folder, NULL), ERR_NOT_FOUND);
	tear_down();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("verify");
	TCase *c = tcase_create("verify");

	tcase_set_timeout(c, 240);
	tcase_add_test(c, names_what_was_done);
	tcase_add_test(c, what_no_head_tells_of_is_unprovable);
	tcase_add_test(c, an_earlier_state_is_told_by_heads_kept_elsewhere);
	tcase_add_test(c, exports_that_are_not_whole_are_refused);
	suite_add_tcase(s, c);
	return fx_main(s);
}
