/* Documents, links, modules, and what look-ups tell of them. */
#include "tests/unit/storage/lookup_fixture.h"

static void put(struct fx_store *f, enum entity kind, const char *name, const char *text)
{
	struct document d = {.kind = kind, .text = (char *)text};

	snprintf(d.name, sizeof(d.name), "%s", name);
	ck_assert_int_eq(f->registry.documents.insert(f->registry.ctx, &d), 0);
	ck_assert_str_ne(d.etag, "");
	ck_assert_int_gt(d.created_us, 0);
}

static void put_device(struct fx_store *f, const char *id)
{
	struct device_record d;

	fx_device(f, id, &d);
	device_record_done(&d);
}

static int add(
        struct fx_store *f, enum entity kind, const char *subject, char letter, const char *value)
{
	return f->registry.documents.link_add(f->registry.ctx, kind, subject, letter, value, NULL);
}

START_TEST(keeps_documents)
{
	struct fx_store f;
	struct document d = {.kind = ENTITY_POLICY, .text = "{\"b\": 1.50,\"a\":\"\\u0000\"}"}, got;

	fx_store_start(&f, NULL);
	const struct document_store *s = &f.registry.documents;
	strcpy(d.name, "p1");
	ck_assert_int_eq(s->insert(s->ctx, &d), 0);
	ck_assert_int_eq(s->insert(s->ctx, &d), ERR_EXISTS);
	ck_assert_int_eq(s->get(s->ctx, ENTITY_POLICY, "p1", &got), 0);
	ck_assert_str_eq(got.text, d.text);
	ck_assert_str_eq(got.etag, d.etag);
	ck_assert_int_eq(got.created_us, d.created_us);
	ck_assert_ptr_null(got.links);
	ck_assert_int_eq(s->get(s->ctx, ENTITY_GROUP, "p1", &(struct document){0}), ERR_NOT_FOUND);
	d.text = "{}";
	ck_assert_int_eq(s->update(s->ctx, &d, (struct store_match){got.etag}), 0);
	ck_assert_str_ne(d.etag, got.etag);
	ck_assert_int_eq(s->update(s->ctx, &d, (struct store_match){got.etag}), ERR_STALE);
	ck_assert_int_eq(s->update(s->ctx, &d, (struct store_match){"*"}), 0);
	ck_assert_int_eq(
	        s->remove(s->ctx, ENTITY_POLICY, "p1", (struct store_match){got.etag}), ERR_STALE);
	ck_assert_int_eq(s->remove(s->ctx, ENTITY_POLICY, "p1", (struct store_match){d.etag}), 0);
	ck_assert_int_eq(
	        s->remove(s->ctx, ENTITY_POLICY, "p1", (struct store_match){0}), ERR_NOT_FOUND);
	ck_assert_int_eq(s->update(s->ctx, &d, (struct store_match){0}), ERR_NOT_FOUND);
	document_done(&got);
	fx_close(&f);
}
END_TEST

static int note_name(void *arg, const struct document *d)
{
	strcat(arg, d->name);
	strcat(arg, d->links ? "+ " : " ");
	return strcmp(d->name, "stop") == 0 ? 7 : 0;
}

START_TEST(lists_documents_in_order)
{
	static const char *const names[] = {"b", "a", "B", "a-1"};
	struct fx_store f;
	struct document *list;
	char seen[64] = "";
	unsigned n;

	fx_store_start(&f, NULL);
	const struct document_store *s = &f.registry.documents;
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		put(&f, ENTITY_GROUP, names[i], "{}");
	put(&f, ENTITY_POLICY, "p", "{}");
	ck_assert_int_eq(add(&f, ENTITY_GROUP, "a", 'p', "p"), 0);
	ck_assert_int_eq(s->each(s->ctx, ENTITY_GROUP, note_name, seen), 0);
	ck_assert_str_eq(seen, "B a+ a-1 b ");
	ck_assert_int_eq(s->list(s->ctx, ENTITY_GROUP, "B", 2, &list, &n), 0);
	ck_assert_uint_eq(n, 2);
	ck_assert_str_eq(list[0].name, "a");
	ck_assert_str_eq(list[0].links, "p p\n");
	ck_assert_str_eq(list[1].name, "a-1");
	for (unsigned i = 0; i < n; i++)
		document_done(&list[i]);
	free(list);
	put(&f, ENTITY_BAN, "stop", "{}");
	put(&f, ENTITY_BAN, "z", "{}");
	ck_assert_int_eq(s->each(s->ctx, ENTITY_BAN, note_name, seen), 7);
	fx_close(&f);
}
END_TEST

START_TEST(hangs_links_on_things)
{
	struct fx_store f;
	struct link_row row, *rows;
	uint64_t id = 0;
	unsigned n;

	fx_store_start(&f, NULL);
	const struct document_store *s = &f.registry.documents;
	put_device(&f, "d");
	put(&f, ENTITY_GROUP, "g", "{}");
	put(&f, ENTITY_POLICY, "p", "{}");
	ck_assert_int_eq(add(&f, ENTITY_DEVICE, "nobody", 'r', "a/#"), ERR_NOT_FOUND);
	ck_assert_int_eq(add(&f, ENTITY_DEVICE, "d", 'p', "none"), ERR_NOT_FOUND);
	ck_assert_int_eq(add(&f, ENTITY_DEVICE, "d", 'g', "p"), ERR_NOT_FOUND);
	ck_assert_int_eq(add(&f, ENTITY_DEVICE, "d", 'r', "a\nb"), ERR_INVALID);
	ck_assert_int_eq(s->link_add(s->ctx, ENTITY_DEVICE, "d", 'w', "a/#", &id), 0);
	ck_assert_int_eq(add(&f, ENTITY_DEVICE, "d", 'w', "a/#"), ERR_EXISTS);
	ck_assert_int_eq(add(&f, ENTITY_DEVICE, "d", 'g', "g"), 0);
	ck_assert_int_eq(add(&f, ENTITY_GROUP, "g", 'p', "p"), 0);
	ck_assert_int_eq(s->link_get(s->ctx, id, &row), 0);
	ck_assert_str_eq(row.subject, "d");
	ck_assert_int_eq(row.subject_kind, ENTITY_DEVICE);
	ck_assert_int_eq(row.letter, 'w');
	ck_assert_str_eq(row.value, "a/#");
	ck_assert_int_eq(s->link_get(s->ctx, 999999, &row), ERR_NOT_FOUND);

	static const struct {
		struct link_query q;
		unsigned n;
	} lists[] = {
	        {{.limit = 10}, 3},
	        {{.limit = 2}, 2},
	        {{.subject_kind = ENTITY_DEVICE, .limit = 10}, 2},
	        {{.subject_kind = ENTITY_DEVICE, .subject = "d", .limit = 10}, 2},
	        {{.subject_kind = ENTITY_GROUP, .subject = "d", .limit = 10}, 0},
	        {{.letters = "p", .value = "p", .limit = 10}, 1},
	        {{.letters = "rwb", .limit = 10}, 1},
	        {{.letters = "gw", .limit = 10}, 2},
	        {{.letters = "g", .value = "g", .after = UINT64_MAX, .limit = 10}, 0},
	};
	for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
		ck_assert_int_eq(s->link_list(s->ctx, &lists[i].q, &rows, &n), 0);
		ck_assert_msg(n == lists[i].n, "list %zu: %u", i, n);
		free(rows);
	}
	ck_assert_int_eq(s->link_remove(s->ctx, ENTITY_DEVICE, "d", 'w', "a/#"), 0);
	ck_assert_int_eq(s->link_remove(s->ctx, ENTITY_DEVICE, "d", 'w', "a/#"), ERR_NOT_FOUND);
	fx_close(&f);
}
END_TEST

/* A policy in use stays; a group takes along who was in it, a device what hung on it. */
START_TEST(takes_links_along)
{
	static const struct store_match any = {0};
	struct fx_store f;

	fx_store_start(&f, NULL);
	const struct document_store *s = &f.registry.documents;
	put_device(&f, "d");
	put(&f, ENTITY_GROUP, "g", "{}");
	put(&f, ENTITY_POLICY, "p", "{}");
	ck_assert_int_eq(add(&f, ENTITY_DEVICE, "d", 'g', "g"), 0);
	ck_assert_int_eq(add(&f, ENTITY_DEVICE, "d", 'b', "x/#"), 0);
	ck_assert_int_eq(add(&f, ENTITY_GROUP, "g", 'p', "p"), 0);
	ck_assert_int_eq(s->remove(s->ctx, ENTITY_POLICY, "p", any), ERR_CONFLICT);
	ck_assert_int_eq(s->remove(s->ctx, ENTITY_GROUP, "g", any), 0);
	ck_assert_str_eq(
	        fx_sql(f.admin_url, "SELECT string_agg(value, ' ') FROM holdfast.links"), "x/#");
	ck_assert_int_eq(s->remove(s->ctx, ENTITY_POLICY, "p", any), 0);
	ck_assert_int_eq(f.registry.device_delete(f.registry.ctx, "d", any), 0);
	ck_assert_str_eq(fx_sql(f.admin_url, "SELECT count(*) FROM holdfast.links"), "0");
	fx_close(&f);
}
END_TEST

/* ---- modules ---- */

START_TEST(keeps_modules_of_a_device)
{
	static const struct store_match any = {0};
	struct fx_store f;
	struct device_record d, m, *list, got;
	uint64_t all, disabled;
	unsigned n;

	fx_store_start(&f, NULL);
	void *ctx = f.registry.ctx;
	m = (struct device_record){.id = "d/m", .enabled = true};
	ck_assert_int_eq(f.registry.device_insert(ctx, &m), ERR_NOT_FOUND);
	fx_device(&f, "d", &d);
	put_device(&f, "d-1");
	ck_assert_int_eq(f.registry.device_insert(ctx, &m), 0);
	ck_assert_uint_eq(m.parent_key, d.device_key);
	ck_assert_uint_ne(m.device_key, d.device_key);
	m.auth = DEVICE_AUTH_JWT;
	m.auth_public = strdup("{\"keys\": []}");
	ck_assert_int_eq(f.registry.device_update(ctx, &m, any), 0);
	put_device(&f, "d/a");
	ck_assert_int_eq(f.registry.device_get(ctx, "d/m", &got), 0);
	ck_assert_str_eq(got.auth_public, m.auth_public);
	ck_assert_uint_eq(got.parent_key, d.device_key);
	device_record_done(&got);
	ck_assert_int_eq(f.registry.device_list(ctx, NULL, 10, &list, &n), 0);
	ck_assert_uint_eq(n, 2);
	for (unsigned i = 0; i < n; i++)
		device_record_done(&list[i]);
	free(list);
	ck_assert_int_eq(f.registry.device_count(ctx, &all, &disabled), 0);
	ck_assert_uint_eq(all, 2);
	ck_assert_int_eq(f.registry.module_list(ctx, "d", "d/a", 10, &list, &n), 0);
	ck_assert_uint_eq(n, 1);
	ck_assert_str_eq(list[0].id, "d/m");
	device_record_done(&list[0]);
	free(list);
	ck_assert_int_eq(f.registry.device_delete(ctx, "d/a", any), 0);
	ck_assert_int_eq(f.registry.device_delete(ctx, "d", any), 0);
	ck_assert_str_eq(fx_sql(f.admin_url,
	                         "SELECT string_agg(id, ' ' ORDER BY id) || ' ' ||"
	                         " (SELECT count(*) FROM holdfast.devices) || ' ' ||"
	                         " (SELECT count(*) FROM holdfast.data_keys)"
	                         " FROM holdfast.device_tombstones"),
	        "d d/a d/m 1 1");
	device_record_done(&m);
	device_record_done(&d);
	fx_close(&f);
}
END_TEST

/* Without its own data key: what it sends is its device's. Its sessions go with it alone. */
START_TEST(forgets_the_sessions_of_a_module)
{
	static const struct store_match any = {0};
	struct fx_store f;
	char sql[512];
	struct device_record d;

	fx_store_start(&f, NULL);
	fx_device(&f, "d", &d);
	put_device(&f, "d/m");
	snprintf(sql, sizeof(sql),
	        "INSERT INTO holdfast.sessions (session_id, key, device_key, expiry, sealed)"
	        " VALUES (1, '\\x01' || 'd'::bytea, %" PRIu64 ", 9, ''),"
	        " (2, '\\x01' || 'd/m'::bytea, %" PRIu64 ", 9, '');"
	        " INSERT INTO holdfast.subscriptions VALUES (1, 'a', 0, 0), (2, 'a', 0, 0)",
	        d.device_key, d.device_key);
	fx_sql(f.admin_url, sql);
	ck_assert_int_eq(f.registry.device_delete(f.registry.ctx, "d/m", any), 0);
	ck_assert_str_eq(fx_sql(f.admin_url,
	                         "SELECT string_agg(s.session_id || ':' || u.session_id, ' ') FROM"
	                         " holdfast.sessions s, holdfast.subscriptions u"),
	        "1:1");
	device_record_done(&d);
	fx_close(&f);
}
END_TEST

/* ---- look-ups ---- */

START_TEST(looks_up_what_hangs_on_it)
{
	struct fx_store f;
	struct fx_lookup l[3];

	fx_store_start(&f, NULL);
	put_device(&f, "d");
	put_device(&f, "d/m");
	put(&f, ENTITY_GROUP, "g", "{}");
	put(&f, ENTITY_POLICY, "p", "{}");
	put(&f, ENTITY_POLICY, "B", "{}");
	put(&f, ENTITY_CERTIFICATE, "ab12", "{\"deviceId\":\"d\"}");
	ck_assert_int_eq(add(&f, ENTITY_DEVICE, "d", 'w', "b/#"), 0);
	ck_assert_int_eq(add(&f, ENTITY_DEVICE, "d", 'p', "p"), 0);
	ck_assert_int_eq(add(&f, ENTITY_DEVICE, "d", 'p', "B"), 0);
	ck_assert_int_eq(add(&f, ENTITY_DEVICE, "d", 'g', "g"), 0);
	ck_assert_int_eq(add(&f, ENTITY_CERTIFICATE, "ab12", 'p', "p"), 0);
	f.answered = 0;
	fx_ask(&f, &l[0], ENTITY_DEVICE, "d");
	fx_ask(&f, &l[1], ENTITY_DEVICE, "d/m");
	fx_ask(&f, &l[2], ENTITY_CERTIFICATE, "ab12");
	ck_assert(fx_wait(&f, &f.answered, 3, 5000));
	ck_assert_str_eq(l[0].l.device.links, "g g\np B\np p\nw b/#\n");
	ck_assert_ptr_null(l[1].l.device.links);
	ck_assert_uint_eq(l[1].l.device.parent_key, l[0].l.device.device_key);
	ck_assert_int_eq(l[2].l.err, 0);
	ck_assert_str_eq(l[2].l.certificate.links, "p p\n");
	ck_assert_str_eq(l[2].l.certificate.text, "{\"deviceId\":\"d\"}");
	document_done(&l[2].l.certificate);
	fx_ask(&f, &l[2], ENTITY_CERTIFICATE, "ff");
	ck_assert(fx_wait(&f, &f.answered, 4, 5000));
	ck_assert_int_eq(l[2].l.err, ERR_NOT_FOUND);
	device_record_done(&l[0].l.device);
	device_record_done(&l[1].l.device);
	fx_close(&f);
}
END_TEST

/* Whoever can write to the database cannot widen a key by taking its scope away. */
START_TEST(seals_the_scope_of_a_key)
{
	struct fx_store f;
	struct access_key_record k = {.perms = 1, .scope = strdup("{\"access\": \"r\"}")}, got;

	fx_store_start(&f, NULL);
	strcpy(k.name, "app");
	k.primary.len = k.secondary.len = 16;
	ck_assert_int_eq(f.registry.access_key_insert(f.registry.ctx, &k), 0);
	ck_assert_int_eq(f.registry.access_key_get(f.registry.ctx, "app", &got), 0);
	ck_assert_str_eq(got.scope, k.scope);
	access_key_record_done(&got);
	fx_sql(f.admin_url, "UPDATE holdfast.access_keys SET scope = NULL WHERE name = 'app'");
	ck_assert_int_eq(f.registry.access_key_get(f.registry.ctx, "app", &got), ERR_CORRUPT);
	fx_sql(f.admin_url,
	        "UPDATE holdfast.access_keys SET scope = '{\"access\":\"r\"}' WHERE name = 'app'");
	ck_assert_int_eq(f.registry.access_key_get(f.registry.ctx, "app", &got), ERR_CORRUPT);
	access_key_record_done(&k);
	fx_close(&f);
}
END_TEST

FX_MAIN("documents", keeps_documents, lists_documents_in_order, hangs_links_on_things,
        takes_links_along, keeps_modules_of_a_device, forgets_the_sessions_of_a_module,
        looks_up_what_hangs_on_it, seals_the_scope_of_a_key)
