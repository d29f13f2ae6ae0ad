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

FX_MAIN("audit", notes_who_changes_a_device, forgets_the_actor_with_the_transaction,
        notes_nothing_that_was_not_done, names_what_a_link_hangs_on, lets_nobody_alter_it)
