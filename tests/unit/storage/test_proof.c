/* What proves history: the chain of the audit log. */
#include "server/base/audit.h"
#include "storage/audit_hash.h"
#include "storage/heads.h"
#include "tests/unit/storage/lookup_fixture.h"

/* ---- the chain of the audit log ---- */

#define AUDIT_ROWS                                                                        \
	"SELECT audit_id::text, (extract(epoch FROM at) * 1000000)::bigint::text, actor," \
	" actor_kind, role, source, trace_id, operation, outcome, reason, kind, name,"    \
	" count::text, before::text, after::text, position::text,"                        \
	" encode(prev_hash, 'hex'), encode(hash, 'hex')"                                  \
	" FROM holdfast.audit a ORDER BY a.position"

static struct slice text_at(PGresult *r, int row, int col)
{
	if (PQgetisnull(r, row, col))
		return slice_make(NULL, 0);
	return slice_make(PQgetvalue(r, row, col), (size_t)PQgetlength(r, row, col));
}

static int64_t number_at(PGresult *r, int row, int col)
{
	return strtoll(PQgetvalue(r, row, col), NULL, 10);
}

static void audit_row_at(PGresult *r, int i, struct audit_row *row)
{
	struct slice *const texts[] = {&row->actor, &row->actor_kind, &row->role, &row->source,
	        &row->trace_id, &row->operation, &row->outcome, &row->reason, &row->kind,
	        &row->name};

	row->id = number_at(r, i, 0);
	row->at_us = number_at(r, i, 1);
	for (int t = 0; t < (int)ARRAY_LEN(texts); t++)
		*texts[t] = text_at(r, i, 2 + t);
	row->count = (uint32_t)number_at(r, i, 12);
	row->before = text_at(r, i, 13);
	row->after = text_at(r, i, 14);
}

/* Every row, by our own computing; the number of rows. */
static int check_chain(struct fx_store *f)
{
	PGconn *conn = PQconnectdb(f->admin_url);
	PGresult *r = PQexec(conn, AUDIT_ROWS);
	uint8_t prev[CRYPTO_HASH_LEN] = {0}, hash[CRYPTO_HASH_LEN];
	char hex[2 * CRYPTO_HASH_LEN + 1];
	struct buf scratch;
	int n = PQntuples(r);

	buf_init(&scratch, 1 << 20);
	for (int i = 0; i < n; i++) {
		struct audit_row row;

		audit_row_at(r, i, &row);
		ck_assert_int_eq(number_at(r, i, 15), i + 1);
		crypto_hex_encode(slice_make(prev, sizeof(prev)), hex);
		ck_assert_str_eq(PQgetvalue(r, i, 16), hex);
		ck_assert_int_eq(audit_hash(&row, i + 1, prev, &scratch, hash), 0);
		crypto_hex_encode(slice_make(hash, sizeof(hash)), hex);
		ck_assert_str_eq(PQgetvalue(r, i, 17), hex);
		memcpy(prev, hash, sizeof(prev));
	}
	buf_free(&scratch);
	PQclear(r);
	PQfinish(conn);
	return n;
}

/* Numbers, nulls, characters beyond ASCII, JSON: the trigger's text and ours are the same. */
START_TEST(chains_the_audit_log)
{
	struct fx_store f;
	struct device_record d;

	fx_store_start(&f, NULL);
	fx_device(&f, "d\xc3\xa9j\xc3\xa0", &d);
	ck_assert_int_eq(
	        f.registry.device_delete(f.registry.ctx, d.id, (struct store_match){0}), 0);
	device_record_done(&d);
	struct audit_store port = storage_audit(f.storage);
	ck_assert_int_eq(
	        port.append(port.ctx, "connection", "", "{\"a\":[1.50,null,\"\xe2\x82\xac\"]}"), 0);
	fx_sql(f.admin_url,
	        "INSERT INTO holdfast.audit (at, operation, outcome, count) VALUES"
	        " ('1969-12-31 23:59:59.999999Z', 'old', 'done', 2147483647),"
	        " ('2200-01-01 00:00:00.000001Z', '', 'denied', -1)");
	ck_assert_int_gt(check_chain(&f), 5);
	fx_close(&f);
}
END_TEST

/* The hub's role says what it did, and neither where that stands nor what its hash is. */
START_TEST(places_rows_itself)
{
	static const char *const refused[] = {
	        "UPDATE holdfast.audit SET hash = ''",
	        "SELECT holdfast.audit_chain()",
	        "SELECT FROM holdfast.audit_lock FOR UPDATE",
	        "DELETE FROM holdfast.audit_lock",
	        "ALTER TABLE holdfast.audit DISABLE TRIGGER chain",
	        "CREATE TRIGGER z BEFORE INSERT ON holdfast.audit FOR EACH ROW EXECUTE FUNCTION"
	        " pg_catalog.suppress_redundant_updates_trigger()",
	        "INSERT INTO holdfast.audit (at, operation, outcome) VALUES ('infinity', 'o', 'd')",
	        "UPDATE holdfast.heads SET body = ''",
	        "DELETE FROM holdfast.heads",
	        "TRUNCATE holdfast.heads",
	        "INSERT INTO holdfast.retention_records VALUES (1, now(), '', '')",
	        "DELETE FROM holdfast.retention_records",
	};
	struct fx_store f;

	fx_store_start(&f, NULL);
	for (size_t i = 0; i < ARRAY_LEN(refused); i++)
		ck_assert_msg(fx_refused(f.hub_url, refused[i]), "%s", refused[i]);
	ck_assert_str_ne(
	        fx_sql(f.hub_url,
	                "INSERT INTO holdfast.audit (operation, outcome, position,"
	                " prev_hash, hash) VALUES ('o', 'done', 1000000, '\\x00', '\\x01')"),
	        "error");
	check_chain(&f);
	fx_close(&f);
}
END_TEST

#define WRITERS 8
#define WRITES 25

struct writer {
	struct fx_store *f;
	pthread_t thread;
	unsigned index;
	int err;
};

static void *write_devices(void *arg)
{
	struct writer *w = arg;
	const struct registry_store *s = &w->f->registry;

	for (unsigned i = 0; w->err == 0 && i < WRITES; i++) {
		struct device_record d = {.enabled = true};

		snprintf(d.id, sizeof(d.id), "w%u-%u", w->index, i);
		d.tags = strdup("{}");
		w->err = s->device_insert(s->ctx, &d);
		if (w->err == 0) /* all of them want the same row */
			w->err = s->documents.link_add(
			        s->documents.ctx, ENTITY_DEVICE, "shared", 'w', d.id, NULL);
		device_record_done(&d);
	}
	crypto_thread_done();
	return NULL;
}

START_TEST(stays_whole_under_many_writers)
{
	struct writer writers[WRITERS] = {0};
	struct device_record d;
	struct fx_store f;

	fx_store_start(&f, NULL);
	fx_device(&f, "shared", &d);
	device_record_done(&d);
	for (unsigned i = 0; i < WRITERS; i++) {
		writers[i].f = &f;
		writers[i].index = i;
		ck_assert_int_eq(
		        pthread_create(&writers[i].thread, NULL, write_devices, &writers[i]), 0);
	}
	for (unsigned i = 0; i < WRITERS; i++) {
		pthread_join(writers[i].thread, NULL);
		ck_assert_int_eq(writers[i].err, 0);
	}
	ck_assert_int_ge(check_chain(&f), 2 * WRITERS * WRITES);
	ck_assert_str_eq(fx_sql(f.admin_url,
	                         "SELECT deadlocks FROM pg_stat_database"
	                         " WHERE datname = current_database()"),
	        "0");
	fx_close(&f);
}
END_TEST

/* ---- heads ---- */

static void proof_folder(struct fx_store *f, char path[static 128])
{
	snprintf(path, 128, "%s/proof-%s", fx.dir, f->database);
	f->settings.proof_folder = path;
	f->settings.head_interval_s = 1;
}

static void start(struct fx_store *f)
{
	static const struct storage_changes none;

	fx_open(f);
	ck_assert_int_eq(storage_start(f->storage, &none), 0);
}

/* The row's text as it is read, its signature checked with the key that the database shows. */
static void check_head(struct fx_store *f, int64_t number, struct head *ret)
{
	char sql[200], body[4096];
	uint8_t key[CRYPTO_SIGN_KEY_LEN], signature[CRYPTO_SIGNATURE_LEN], message[4200] = "head";

	snprintf(sql, sizeof(sql),
	        "SELECT encode(signature, 'hex') FROM holdfast.heads"
	        " WHERE head_id = %" PRId64,
	        number);
	const char *hex = fx_sql(f->hub_url, sql);
	ck_assert_int_eq(crypto_hex_decode(slice_str(hex), signature, sizeof(signature)), 0);
	hex = fx_sql(f->hub_url, "SELECT encode(public_key, 'hex') FROM holdfast.signing");
	ck_assert_int_eq(crypto_hex_decode(slice_str(hex), key, sizeof(key)), 0);
	snprintf(sql, sizeof(sql), "SELECT body FROM holdfast.heads WHERE head_id = %" PRId64,
	        number);
	snprintf(body, sizeof(body), "%s", fx_sql(f->hub_url, sql));
	size_t n = strlen(body);
	memcpy(message + 5, body, n);
	ck_assert(crypto_verify(key, slice_make(message, n + 5), signature));
	message[n] ^= 1;
	ck_assert(!crypto_verify(key, slice_make(message, n + 5), signature));
	ck_assert_int_eq(head_decode(slice_make(body, n), ret), 0);
	ck_assert_int_eq(ret->number, number);
}

/* Whether the head tells a row of the log that is there. */
static void check_audit_of(struct fx_store *f, const struct head *h)
{
	char sql[200], hex[2 * CRYPTO_HASH_LEN + 1];

	crypto_hex_encode(slice_make(h->audit_hash, CRYPTO_HASH_LEN), hex);
	snprintf(sql, sizeof(sql),
	        "SELECT encode(hash, 'hex') FROM holdfast.audit WHERE position = %" PRId64,
	        h->audit_position);
	ck_assert_str_eq(fx_sql(f->hub_url, sql), hex);
}

#define HEADS(condition) "SELECT " condition " FROM holdfast.heads"

/* A first one, another after a change, none while nothing changes, a last one at the end; all of
 * them in the file. */
START_TEST(writes_heads)
{
	struct fx_store f;
	struct device_record d;
	struct head first, second, last;
	char folder[128];

	fx_database(&f);
	fx_migrate(&f);
	proof_folder(&f, folder);
	start(&f);
	ck_assert(fx_eventually(f.hub_url, HEADS("count(*) = 1"), 5000));
	(void)poll(NULL, 0, 2500);
	ck_assert_str_eq(fx_sql(f.hub_url, HEADS("count(*)")), "1");
	fx_device(&f, "d", &d);
	device_record_done(&d);
	ck_assert(fx_eventually(f.hub_url, HEADS("count(*) = 2"), 5000));
	fx_device(&f, "e", &d);
	device_record_done(&d);
	fx_close(&f);
	ck_assert_str_eq(fx_sql(f.hub_url, HEADS("count(*)")), "3");
	check_head(&f, 1, &first);
	check_head(&f, 2, &second);
	check_audit_of(&f, &first);
	check_audit_of(&f, &second);
	ck_assert_int_lt(first.audit_position, second.audit_position);
	ck_assert_str_eq(fx_sql(f.hub_url,
	                         HEADS("bool_and(head_id = 1 OR body LIKE '%previous ' ||"
	                               " (SELECT encode(sha256(convert_to(p.body, 'UTF8')),"
	                               " 'hex') FROM holdfast.heads p WHERE p.head_id ="
	                               " heads.head_id - 1) || '%')")),
	        "t");
	ck_assert_int_eq(heads_file_last(folder, &last), 0);
	ck_assert_int_eq(last.number, 3);
	check_audit_of(&f, &last);
	head_done(&first);
	head_done(&second);
	head_done(&last);
}
END_TEST

static unsigned lines_in(const char *folder)
{
	char path[160];
	unsigned n = 0;

	snprintf(path, sizeof(path), "%s/" HEADS_FILE, folder);
	FILE *file = fopen(path, "re");
	ck_assert_ptr_nonnull(file);
	for (int c = fgetc(file); c != EOF; c = fgetc(file))
		n += c == '\n';
	ck_assert_int_eq(fclose(file), 0);
	return n;
}

/* A hub that was away finds what another one wrote; what a crash left of a line goes. */
START_TEST(catches_up_with_the_file)
{
	struct fx_store f;
	struct head last;
	char folder[128], path[160];

	fx_database(&f);
	fx_migrate(&f);
	proof_folder(&f, folder);
	start(&f);
	fx_close(&f);
	unsigned before = lines_in(folder);
	snprintf(path, sizeof(path), "%s/" HEADS_FILE, folder);
	FILE *file = fopen(path, "ae");
	ck_assert_int_gt(fprintf(file, "{\"number\":77,\"bo"), 0);
	ck_assert_int_eq(fclose(file), 0);
	fx_sql(f.admin_url,
	        "INSERT INTO holdfast.heads SELECT head_id + 1, at, replace(body, 'number ' ||"
	        " head_id, 'number ' || head_id + 1), signature FROM holdfast.heads"
	        " ORDER BY head_id DESC LIMIT 1");
	ck_assert_int_eq(heads_file_last(folder, &last), 0);
	int64_t number = last.number;
	head_done(&last);
	ck_assert_int_eq(mailbox_init(&f.box), 0);
	start(&f);
	fx_close(&f);
	ck_assert_int_eq(heads_file_last(folder, &last), 0);
	ck_assert_int_gt(last.number, number);
	head_done(&last);
	ck_assert_uint_gt(lines_in(folder), before);
	ck_assert_uint_eq(lines_in(folder),
	        (unsigned)strtoul(fx_sql(f.admin_url, HEADS("count(*)")), NULL, 10));
}
END_TEST

/* ---- retention ---- */

static void store(struct fx_store *f, uint64_t device_key, int64_t days_ago)
{
	struct fx_row r;

	f->answered = 0;
	fx_row_init(f, &r, device_key, "x");
	r.row.msg->received_us -= days_ago * DAY_US;
	f->telemetry.append(f->telemetry.ctx, &r.row);
	ck_assert(fx_wait(f, &f->answered, 1, 10000));
	ck_assert_int_eq(r.row.err, 0);
	fx_row_done(&r);
}

static void restart(struct fx_store *f)
{
	fx_close(f);
	ck_assert_int_eq(mailbox_init(&f->box), 0);
	start(f);
}

#define RECORDS(condition) "SELECT " condition " FROM holdfast.retention_records"
#define CHAIN(condition) "SELECT " condition " FROM holdfast.chain"

/* The record says what the dropped rows began and ended with: the chain goes on behind it, whether
 * or not anything of it is left. */
START_TEST(leaves_a_record_of_what_it_drops)
{
	struct fx_store f;
	struct device_record d;

	fx_database(&f);
	fx_migrate(&f);
	start(&f);
	fx_device(&f, "d", &d);
	store(&f, d.device_key, 200);
	store(&f, d.device_key, 300);
	store(&f, d.device_key, 200);
	ck_assert_str_eq(
	        fx_sql(f.admin_url, CHAIN("string_agg(position::text, ' ' ORDER BY position)")),
	        "1 2 3");
	char first[80], second[80], third[80];
	char *const hashes[] = {first, second, third};
	for (int i = 0; i < 3; i++) {
		char sql[160];

		snprintf(sql, sizeof(sql), CHAIN("encode(hash, 'hex')") " WHERE position = %d",
		        i + 1);
		snprintf(hashes[i], 80, "%s", fx_sql(f.admin_url, sql));
	}
	/* Which of the lanes came first, and has the first chain, is not ours to say. */
	int chain = (int)strtol(fx_sql(f.admin_url, CHAIN("chain") " LIMIT 1"), NULL, 10);
	restart(&f);
	ck_assert(fx_eventually(f.admin_url, RECORDS("count(*) = 2"), 10000));
	char expected[900];
	snprintf(expected, sizeof(expected),
	        RECORDS("(body LIKE '%%span %d 2 2 %s %s' || E'\n') OR (body LIKE"
	                " '%%span %d 1 1 ' || repeat('0', 64) || ' %s' || E'\nspan %d 3 3 %s "
	                "%s\n')") " ORDER BY 1 LIMIT 1",
	        chain, first, second, chain, first, chain, second, third);
	ck_assert_str_eq(fx_sql(f.admin_url, expected), "t");
	ck_assert_str_eq(fx_sql(f.admin_url, CHAIN("count(*)")), "0");
	store(&f, d.device_key, 0);
	ck_assert_str_eq(
	        fx_sql(f.admin_url, CHAIN("position || ' ' || encode(prev, 'hex')")) + 2, third);
	ck_assert_str_eq(
	        fx_sql(f.admin_url,
	                "SELECT count(*) FROM pg_class WHERE relname ~ '^(chain|telemetry)_'"
	                " AND relkind = 'r' AND NOT relispartition"),
	        "0");
	device_record_done(&d);
	fx_close(&f);
}
END_TEST

FX_MAIN("proof", leaves_a_record_of_what_it_drops, chains_the_audit_log, places_rows_itself,
        stays_whole_under_many_writers, writes_heads, catches_up_with_the_file)
