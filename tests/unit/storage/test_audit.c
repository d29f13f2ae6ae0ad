/* Who changed what: the triggers' rows, the rows of denials, who may touch them. */
#include "server/base/audit.h"
#include "tests/unit/storage/lookup_fixture.h"

static const struct audit_actor alice = {.name = "alice \"a\"",
        .kind = "token",
        .role = "operator",
        .peer = "203.0.113.7:4711",
        .trace_id = "t-1",
        .operation = "device_create"};

/* The newest row about a thing, by the columns asked for. */
static const char *newest(struct fx_store *f, const char *name, const char *columns)
{
	char sql[512];

	snprintf(sql, sizeof(sql),
	        "SELECT %s FROM holdfast.audit WHERE name = '%s' ORDER BY audit_id DESC LIMIT 1",
	        columns, name);
	return fx_sql(f->admin_url, sql);
}

#define WHO "concat_ws('|', actor, actor_kind, role, source, trace_id, operation, outcome, kind)"

START_TEST(notes_who_changes_a_device)
{
	struct fx_store f;
	struct device_record d;

	fx_store_start(&f, NULL);
	audit_begin(&alice);
	fx_device(&f, "d", &d);
	audit_end();
	ck_assert_str_eq(newest(&f, "d", WHO),
	        "alice \"a\"|token|operator|203.0.113.7:4711|t-1|device_create|done|device");
	ck_assert_str_eq(newest(&f, "d",
	                         "(before IS NULL AND after ->> 'id' = 'd' AND NOT after ?|"
	                         " ARRAY['primary_key', 'secondary_key', 'secret_mac'])"),
	        "t");
	free(d.tags);
	d.tags = strdup("{\"a\":\"\\u0000\"}");
	d.primary.bytes[0] ^= 1;
	ck_assert_int_eq(f.registry.device_update(f.registry.ctx, &d, (struct store_match){0}), 0);
	ck_assert_str_eq(newest(&f, "d", WHO), "hub|hub||||update|done|device");
	/* Wrapping is never twice the same: the second key looks changed as well. */
	ck_assert_str_eq(newest(&f, "d",
	                         "(after -> 'changedSecrets')::text || (after -> 'tags')::text ||"
	                         " (before -> 'tags')::text"),
	        "[\"primary_key\", \"secondary_key\"]{\"a\": \"\xef\xbf\xbd\"}{}");
	ck_assert_int_eq(f.registry.device_delete(f.registry.ctx, "d", (struct store_match){0}), 0);
	ck_assert_str_eq(newest(&f, "d", "operation || (after IS NULL) || (before ->> 'id')"),
	        "deletetrued");
	device_record_done(&d);
	fx_close(&f);
}
END_TEST

START_TEST(forgets_the_actor_with_the_transaction)
{
	struct fx_store f;
	struct device_record d;

	fx_store_start(&f, NULL);
	audit_begin(&alice);
	fx_device(&f, "a", &d);
	device_record_done(&d);
	audit_end();
	fx_device(&f, "b", &d);
	device_record_done(&d);
	ck_assert_str_eq(newest(&f, "b", "actor"), "hub");
	/* By hand: the role is named. */
	fx_sql(f.admin_url, "DELETE FROM holdfast.devices WHERE id = 'b'");
	ck_assert_str_eq(newest(&f, "b", WHO), "postgres|sql||||delete|done|device");
	fx_close(&f);
}
END_TEST

/* What fails leaves no row. */
START_TEST(notes_nothing_that_was_not_done)
{
	struct fx_store f;
	struct device_record d, again = {.id = "d", .enabled = true};

	fx_store_start(&f, NULL);
	fx_device(&f, "d", &d);
	ck_assert_int_eq(f.registry.device_insert(f.registry.ctx, &again), ERR_EXISTS);
	ck_assert_int_eq(
	        f.registry.device_update(f.registry.ctx, &d, (struct store_match){"0"}), ERR_STALE);
	ck_assert_str_eq(
	        fx_sql(f.admin_url, "SELECT count(*) FROM holdfast.audit WHERE kind = 'device'"),
	        "1");
	device_record_done(&d);
	fx_close(&f);
}
END_TEST

START_TEST(names_what_a_link_hangs_on)
{
	static const struct store_match any = {0};
	struct fx_store f;
	struct device_record d;
	struct document p = {.kind = ENTITY_POLICY, .name = "p", .text = "{}"};

	fx_store_start(&f, NULL);
	const struct document_store *s = &f.registry.documents;
	fx_device(&f, "d", &d);
	ck_assert_int_eq(s->insert(s->ctx, &p), 0);
	ck_assert_str_eq(newest(&f, "p", "kind || ' ' || (after ->> 'kind')"), "policy p");
	ck_assert_int_eq(s->link_add(s->ctx, ENTITY_DEVICE, "d", 'p', "p", NULL), 0);
	ck_assert_str_eq(newest(&f, "d", "kind || ' ' || operation || ' ' || after::text"),
	        "device insert {\"link\": \"policy\", \"value\": \"p\"}");
	ck_assert_int_eq(s->link_remove(s->ctx, ENTITY_DEVICE, "d", 'p', "p"), 0);
	ck_assert_str_eq(newest(&f, "d", "operation || ' ' || before::text"),
	        "delete {\"link\": \"policy\", \"value\": \"p\"}");
	/* A device that goes takes them along, and is named all the same. */
	ck_assert_int_eq(s->link_add(s->ctx, ENTITY_DEVICE, "d", 'w', "x/#", NULL), 0);
	ck_assert_int_eq(f.registry.device_delete(f.registry.ctx, "d", any), 0);
	ck_assert_str_eq(fx_sql(f.admin_url,
	                         "SELECT count(*) FROM holdfast.audit WHERE kind = 'device'"
	                         " AND name = 'd' AND operation = 'delete' AND"
	                         " before @> '{\"link\": \"grant w\", \"value\": \"x/#\"}'"),
	        "1");
	device_record_done(&d);
	fx_close(&f);
}
END_TEST

START_TEST(lets_nobody_alter_it)
{
	static const char *const refused[] = {
	        "UPDATE holdfast.audit SET actor = 'x'",
	        "DELETE FROM holdfast.audit",
	        "TRUNCATE holdfast.audit",
	        "SELECT holdfast.audit_write('o', 'k', 'n', NULL, NULL)",
	        "ALTER TABLE holdfast.devices DISABLE TRIGGER audit",
	        "DROP TRIGGER audit ON holdfast.devices",
	        "SET session_replication_role = replica",
	};
	struct fx_store f;

	fx_store_start(&f, NULL);
	for (size_t i = 0; i < ARRAY_LEN(refused); i++)
		ck_assert_msg(fx_refused(f.hub_url, refused[i]), "%s", refused[i]);
	ck_assert_str_ne(fx_sql(f.hub_url, "SELECT count(*) FROM holdfast.audit"), "0");
	/* What the hub made when it was new: nothing secret of it. */
	ck_assert_str_eq(fx_sql(f.admin_url,
	                         "SELECT string_agg(DISTINCT actor || operation, ',') || ' ' ||"
	                         " bool_or(after ?| ARRAY['mac', 'primary_key', 'secondary_key'])"
	                         " FROM holdfast.audit"),
	        "hubinit false");
	fx_close(&f);
}
END_TEST

/* ---- denials ---- */

static void deny(const char *reason, struct slice who, const char *peer)
{
	audit_denied(&(struct audit_denial){.operation = "connect",
	        .reason = reason,
	        .who = who,
	        .target = SLICE_LIT("t"),
	        .peer = peer});
}

#define DENIED(columns) "SELECT " columns " FROM holdfast.audit WHERE outcome = 'denied'"

START_TEST(counts_equal_denials)
{
	struct fx_store f;

	fx_store_start(&f, NULL);
	for (unsigned i = 0; i < 500; i++) {
		char peer[32];

		snprintf(peer, sizeof(peer), "203.0.113.7:%u", 1000 + i);
		deny("unknown_device", SLICE_LIT("d"), peer);
	}
	deny("unknown_device", SLICE_LIT("d"), "[2001:db8::1]:5");
	deny("banned", SLICE_LIT("\xff' --\0x"), "203.0.113.7:1");
	ck_assert(fx_eventually(f.admin_url, DENIED("sum(count) = 502"), 5000));
	ck_assert_str_eq(
	        fx_sql(f.admin_url,
	                DENIED("string_agg(concat_ws('|', operation, reason, actor, name, source),"
	                       " ' ' ORDER BY reason, source)")),
	        "connect|banned|?' --|t|203.0.113.7"
	        " connect|unknown_device|d|t|2001:db8::1 connect|unknown_device|d|t|203.0.113.7");
	fx_close(&f);
}
END_TEST

static void *flood(void *arg)
{
	for (unsigned i = 0; i < 100000; i++) {
		char who[16];
		int n = snprintf(who, sizeof(who), "%u", i % (unsigned)(uintptr_t)arg);

		deny("unknown_device", slice_make(who, (size_t)n), "203.0.113.7:1");
	}
	return NULL;
}

/* Two threads, everybody another name: nothing is waited for, and nothing is lost of the count. */
START_TEST(bears_a_flood)
{
	struct fx_store f;
	pthread_t threads[2];

	fx_store_start(&f, NULL);
	uint64_t start = clock_ms();
	for (unsigned i = 0; i < 2; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, flood,
		                         (void *)(uintptr_t)(i ? 7 : 100000)),
		        0);
	for (unsigned i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_lt(clock_ms() - start, 5000);
	ck_assert(fx_eventually(f.admin_url, DENIED("sum(count) = 200000"), 40000));
	ck_assert_str_eq(
	        fx_sql(f.admin_url, DENIED("count(*) < 3000 AND max(count) > 10000")), "t");
	ck_assert_str_eq(
	        fx_sql(f.admin_url, DENIED("count(*) > 0") " AND reason = 'dropped'"), "t");
	fx_close(&f);
}
END_TEST

/* The database is away for a while: what was noted comes later. */
START_TEST(keeps_denials_for_later)
{
	struct fx_store f;

	fx_store_start(&f, NULL);
	fx_sql(f.admin_url, "ALTER ROLE hub NOLOGIN");
	fx_sql(f.admin_url,
	        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
	        " WHERE application_name LIKE 'holdfast %'");
	deny("unknown_device", SLICE_LIT("d"), "203.0.113.7:1");
	(void)poll(NULL, 0, 1500);
	deny("unknown_device", SLICE_LIT("d"), "203.0.113.7:2");
	fx_sql(f.admin_url, "ALTER ROLE hub LOGIN");
	ck_assert(fx_eventually(f.admin_url, DENIED("sum(count) = 2"), 10000));
	fx_close(&f);
}
END_TEST

/* ---- the port ---- */

struct seen {
	char text[1024];
	int64_t last_us, last_id;
};

static int see(const struct audit_row *r, void *arg)
{
	struct seen *s = arg;
	size_t at = strlen(s->text);

	snprintf(s->text + at, sizeof(s->text) - at, "%.*s/%.*s ", SLICE_ARG(r->operation),
	        SLICE_ARG(r->name));
	s->last_us = r->at_us;
	s->last_id = r->id;
	return 0;
}

static const char *ask_log(struct fx_store *f, struct seen *s, struct audit_query q)
{
	struct audit_store port = storage_audit(f->storage);

	*s = (struct seen){0};
	if (!q.to_us) {
		q.from_us = INT64_MIN;
		q.to_us = INT64_MAX;
	}
	q.limit = q.limit ? q.limit : 10;
	ck_assert_int_eq(port.query(port.ctx, &q, see, s), 0);
	return s->text;
}

START_TEST(answers_questions)
{
	struct fx_store f;
	struct device_record d;
	struct seen s;

	fx_store_start(&f, NULL);
	audit_begin(&alice);
	for (unsigned i = 0; i < 3; i++) {
		char id[8];

		snprintf(id, sizeof(id), "d%u", i);
		fx_device(&f, id, &d);
		device_record_done(&d);
	}
	struct audit_store port = storage_audit(f.storage);
	ck_assert_int_eq(port.append(port.ctx, "connection", "c", "{\"a\":1}"), 0);
	audit_end();
	const char *who = alice.name;
	ck_assert_str_eq(ask_log(&f, &s, (struct audit_query){.actor = who}),
	        "device_create/c device_create/d2 device_create/d1 device_create/d0 ");
	ck_assert_str_eq(
	        ask_log(&f, &s, (struct audit_query){.actor = who, .kind = "device", .limit = 1}),
	        "device_create/d2 ");
	ck_assert_str_eq(ask_log(&f, &s,
	                         (struct audit_query){.actor = who,
	                                 .has_after = true,
	                                 .after_us = s.last_us,
	                                 .after_id = s.last_id}),
	        "device_create/d1 device_create/d0 ");
	ck_assert_str_eq(
	        ask_log(&f, &s,
	                (struct audit_query){.kind = "device", .ascending = true, .limit = 2}),
	        "device_create/d0 device_create/d1 ");
	ck_assert_str_eq(ask_log(&f, &s,
	                         (struct audit_query){.kind = "device",
	                                 .ascending = true,
	                                 .has_after = true,
	                                 .after_us = s.last_us,
	                                 .after_id = s.last_id}),
	        "device_create/d2 ");
	ck_assert_str_eq(ask_log(&f, &s, (struct audit_query){.name = "d1", .outcome = "done"}),
	        "device_create/d1 ");
	ck_assert_str_eq(ask_log(&f, &s, (struct audit_query){.outcome = "denied"}), "");
	ck_assert_str_eq(ask_log(&f, &s, (struct audit_query){.from_us = 1, .to_us = 2}), "");
	ck_assert_str_eq(newest(&f, "c", WHO " || after::text"),
	        "alice \"a\"|token|operator|203.0.113.7:4711|t-1|device_create|done|connection"
	        "{\"a\": 1}");
	fx_close(&f);
}
END_TEST

/* ---- addresses ---- */

static int join_address(void *arg, const struct seen_address *a)
{
	char ip[IP_TEXT_LEN], *text = arg;
	size_t at = strlen(text);

	snprintf(text + at, 256 - at, "%s %" PRIu64 "/%" PRIu64 "\n", ip_text(&a->ip, ip),
	        a->allowed, a->denied);
	return 0;
}

START_TEST(counts_addresses)
{
	struct fx_store f;
	struct ip_addr v4, v6;
	char text[256] = "";

	fx_store_start(&f, NULL);
	ck_assert_int_eq(ip_parse(SLICE_LIT("203.0.113.7"), &v4), 0);
	ck_assert_int_eq(ip_parse(SLICE_LIT("2001:db8::1"), &v6), 0);
	for (unsigned i = 0; i < 5; i++)
		storage_note_address(f.storage, &v4, i < 3);
	ck_assert(fx_eventually(
	        f.admin_url, "SELECT sum(allowed + denied) = 5 FROM holdfast.addresses", 5000));
	storage_note_address(f.storage, &v4, true);
	storage_note_address(f.storage, &v6, false);
	ck_assert(fx_eventually(
	        f.admin_url, "SELECT sum(allowed + denied) = 7 FROM holdfast.addresses", 5000));
	struct policy_store p = storage_policy(f.storage);
	ck_assert_int_eq(p.each_address(p.addresses_ctx, 0, join_address, text), 0);
	ck_assert_str_eq(text, "203.0.113.7 4/2\n2001:db8::1 0/1\n");
	text[0] = '\0';
	ck_assert_int_eq(p.each_address(p.addresses_ctx, INT64_MAX / 2, join_address, text), 0);
	ck_assert_str_eq(text, "");
	fx_close(&f);
}
END_TEST

/* What is older than it is to be kept goes; that it went is noted. */
START_TEST(keeps_the_log_for_its_days)
{
	struct fx_store f;

	fx_database(&f);
	fx_migrate(&f);
	fx_open(&f);
	fx_sql(f.admin_url,
	        "INSERT INTO holdfast.audit (at, operation, outcome) VALUES"
	        " (now() - interval '11 days', 'old', 'done'), (now() - interval '9 days', 'new', "
	        "'done')");
	storage_set_audit_retention(f.storage, 10);
	static const struct storage_changes none;
	ck_assert_int_eq(storage_start(f.storage, &none), 0);
	ck_assert(fx_eventually(f.admin_url,
	        "SELECT count(*) = 1 FROM holdfast.audit WHERE operation = 'audit_expire' AND "
	        "count = 1",
	        5000));
	ck_assert_str_eq(fx_sql(f.admin_url,
	                         "SELECT string_agg(operation, ' ') FROM holdfast.audit"
	                         " WHERE operation IN ('old', 'new')"),
	        "new");
	fx_close(&f);
}
END_TEST

FX_MAIN("audit", notes_who_changes_a_device, forgets_the_actor_with_the_transaction,
        notes_nothing_that_was_not_done, names_what_a_link_hangs_on, lets_nobody_alter_it,
        counts_equal_denials, bears_a_flood, keeps_denials_for_later, answers_questions,
        counts_addresses, keeps_the_log_for_its_days)
