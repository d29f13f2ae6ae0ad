/* Devices, access keys, tokens, idempotency, look-ups, presence; what the database shows. */
#include "tests/unit/storage/pg_fixture.h"

#include "server/base/metrics.h"

static void same_device(const struct device_record *a, const struct device_record *b)
{
	ck_assert_uint_eq(a->device_key, b->device_key);
	ck_assert_str_eq(a->id, b->id);
	ck_assert_str_eq(a->generation_id, b->generation_id);
	ck_assert_str_eq(a->etag, b->etag);
	ck_assert_int_eq(a->enabled, b->enabled);
	ck_assert_str_eq(a->status_reason, b->status_reason);
	ck_assert_int_eq(a->auth, b->auth);
	ck_assert_uint_eq(a->primary.len, b->primary.len);
	ck_assert_mem_eq(a->primary.bytes, b->primary.bytes, a->primary.len);
	ck_assert_uint_eq(a->secondary.len, b->secondary.len);
	ck_assert_mem_eq(a->secret_mac, b->secret_mac, 32);
	ck_assert_str_eq(a->tags ? a->tags : "{}", b->tags ? b->tags : "{}");
	ck_assert_int_eq(a->created_us, b->created_us);
	ck_assert_int_eq(a->updated_us, b->updated_us);
}

START_TEST(keeps_devices)
{
	struct fx_store f;
	struct device_record d, got, stale;
	struct store_match any = {0};
	uint64_t all, disabled;

	fx_store_start(&f, NULL);
	void *ctx = f.registry.ctx;
	fx_device(&f, "Dev:1", &d);
	ck_assert_int_eq(f.registry.device_get(ctx, "Dev:1", &got), 0);
	same_device(&d, &got);
	ck_assert_int_eq(
	        f.registry.device_insert(ctx, &(struct device_record){.id = "Dev:1"}), ERR_EXISTS);
	ck_assert_int_eq(f.registry.device_get(ctx, "dev:1", &stale), ERR_NOT_FOUND);

	free(d.tags);
	d.tags = strdup("{\"b\":1.50,\"a\":\"\\u0000\xc3\xa9\"}");
	d.enabled = false;
	d.auth = DEVICE_AUTH_SECRET;
	memset(d.secret_mac, 7, 32);
	d.primary.len = d.secondary.len = 0;
	snprintf(d.status_reason, sizeof(d.status_reason), "lost");
	ck_assert_int_eq(f.registry.device_update(ctx, &d, (struct store_match){got.etag}), 0);
	ck_assert_str_ne(d.etag, got.etag);
	ck_assert_int_eq(
	        f.registry.device_update(ctx, &got, (struct store_match){got.etag}), ERR_STALE);
	device_record_done(&got);
	ck_assert_int_eq(f.registry.device_get(ctx, "Dev:1", &got), 0);
	same_device(&d, &got);
	ck_assert_int_eq(f.registry.device_update(ctx, &d, (struct store_match){"*"}), 0);
	ck_assert_int_eq(f.registry.device_update(ctx, &d, any), 0);
	ck_assert_int_eq(f.registry.device_count(ctx, &all, &disabled), 0);
	ck_assert_uint_eq(all, 1);
	ck_assert_uint_eq(disabled, 1);

	ck_assert_int_eq(
	        f.registry.device_delete(ctx, "Dev:1", (struct store_match){"0"}), ERR_STALE);
	ck_assert_int_eq(f.registry.device_delete(ctx, "Dev:1", (struct store_match){d.etag}), 0);
	ck_assert_int_eq(f.registry.device_delete(ctx, "Dev:1", any), ERR_NOT_FOUND);
	ck_assert_int_eq(f.registry.device_update(ctx, &d, any), ERR_NOT_FOUND);
	ck_assert_str_eq(fx_sql(f.admin_url,
	                         "SELECT (SELECT count(*) FROM holdfast.data_keys) || ' ' ||"
	                         " (SELECT count(*) FROM holdfast.device_tombstones)"),
	        "0 1");
	device_record_done(&d);
	device_record_done(&got);
	fx_close(&f);
}
END_TEST

/* A device that was deleted and made anew is not touched by who read the old one. */
START_TEST(tells_generations_apart)
{
	struct fx_store f;
	struct device_record old, fresh;
	struct store_match any = {0};

	fx_store_start(&f, NULL);
	fx_device(&f, "d", &old);
	ck_assert_int_eq(f.registry.device_delete(f.registry.ctx, "d", any), 0);
	fx_device(&f, "d", &fresh);
	ck_assert_int_eq(f.registry.device_update(f.registry.ctx, &old, any), ERR_STALE);
	/* Nor do the old one's wrapped keys fit the new one. */
	device_record_done(&old);
	device_record_done(&fresh);
	fx_close(&f);
}
END_TEST

START_TEST(lists_devices_in_order)
{
	static const char *const ids[] = {"b", "a", "B", "a.1", "z", "a-1"};
	static const char *const sorted[] = {"B", "a", "a-1", "a.1", "b", "z"};
	struct fx_store f;
	struct device_record d, *list;
	unsigned n, at = 0;
	char after[DEVICE_ID_MAX + 1] = "";

	fx_store_start(&f, NULL);
	for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
		fx_device(&f, ids[i], &d);
		device_record_done(&d);
	}
	do {
		ck_assert_int_eq(
		        f.registry.device_list(f.registry.ctx, at ? after : NULL, 4, &list, &n), 0);
		for (unsigned i = 0; i < n; i++, at++) {
			ck_assert_str_eq(list[i].id, sorted[at]);
			strcpy(after, list[i].id);
			device_record_done(&list[i]);
		}
		free(list);
	} while (n > 0);
	ck_assert_uint_eq(at, ARRAY_LEN(ids));
	fx_close(&f);
}
END_TEST

START_TEST(keeps_access_keys)
{
	static const struct {
		const char *name;
		uint32_t perms;
	} presets[] = {{"device", 8}, {"iothubowner", 15}, {"registryRead", 1},
	        {"registryReadWrite", 3}, {"service", 4}};
	struct fx_store f;
	struct access_key_record *list, k = {.perms = 5}, got;
	struct store_match any = {0};
	uint8_t owner[64];
	size_t owner_len;
	unsigned n;

	fx_store_start(&f, NULL);
	void *ctx = f.registry.ctx;
	ck_assert_int_eq(f.registry.access_key_list(ctx, NULL, 100, &list, &n), 0);
	ck_assert_uint_eq(n, ARRAY_LEN(presets));
	for (unsigned i = 0; i < n; i++) {
		ck_assert_str_eq(list[i].name, presets[i].name);
		ck_assert_uint_eq(list[i].perms, presets[i].perms);
		ck_assert_uint_eq(list[i].secondary.len, 64);
	}
	ck_assert_int_eq(crypto_base64_decode(slice_str(FX_OWNER_KEY), owner, &owner_len), 0);
	ck_assert_uint_eq(list[1].primary.len, owner_len);
	ck_assert_mem_eq(list[1].primary.bytes, owner, owner_len);
	free(list);

	strcpy(k.name, "app");
	k.primary.len = k.secondary.len = 16;
	ck_assert_int_eq(f.registry.access_key_insert(ctx, &k), 0);
	ck_assert_int_eq(f.registry.access_key_insert(ctx, &k), ERR_EXISTS);
	ck_assert_int_eq(f.registry.access_key_get(ctx, "app", &got), 0);
	ck_assert_str_eq(got.etag, k.etag);
	k.perms = 1;
	ck_assert_int_eq(f.registry.access_key_update(ctx, &k, (struct store_match){got.etag}), 0);
	ck_assert_int_eq(
	        f.registry.access_key_update(ctx, &k, (struct store_match){got.etag}), ERR_STALE);
	ck_assert_int_eq(f.registry.access_key_delete(ctx, "app", (struct store_match){got.etag}),
	        ERR_STALE);
	ck_assert_int_eq(f.registry.access_key_delete(ctx, "app", any), 0);
	ck_assert_int_eq(f.registry.access_key_delete(ctx, "app", any), ERR_NOT_FOUND);
	ck_assert_int_eq(f.registry.access_key_get(ctx, "app", &got), ERR_NOT_FOUND);
	fx_close(&f);
}
END_TEST

START_TEST(knows_the_owner)
{
	struct fx_store f;
	uint8_t mac[32];
	struct token_record t;

	fx_store_start(&f, NULL);
	f.registry.mac(f.registry.ctx, "token", SLICE_LIT(FX_TOKEN), mac);
	ck_assert_int_eq(f.registry.token_find(f.registry.ctx, mac, &t), 0);
	ck_assert_str_eq(t.role, "owner");
	ck_assert_str_eq(t.name, "owner");
	ck_assert_int_eq(t.expires_at, 0);
	ck_assert_uint_eq(t.n_cidrs, 0);
	ck_assert_int_eq(f.registry.token_delete(f.registry.ctx, "owner"), ERR_CONFLICT);
	f.registry.mac(f.registry.ctx, "secret", SLICE_LIT(FX_TOKEN), mac);
	ck_assert_int_eq(f.registry.token_find(f.registry.ctx, mac, &t), ERR_NOT_FOUND);
	fx_close(&f);
}
END_TEST

START_TEST(keeps_tokens)
{
	struct fx_store f;
	struct token_record t = {.name = "b", .mac = {1}, .role = "owner", .n_cidrs = 2}, got,
	                    *list;
	unsigned n;

	fx_store_start(&f, NULL);
	const struct registry_store *port = &f.registry;
	ck_assert_int_eq(cidr_parse("10.0.0.0/8", &t.cidrs[0]), 0);
	ck_assert_int_eq(cidr_parse("2001:db8::/32", &t.cidrs[1]), 0);
	ck_assert_int_eq(port->token_insert(port->ctx, &t), 0);
	ck_assert_int_gt(t.created_us, 0);
	ck_assert_int_eq(port->token_insert(port->ctx, &t), ERR_EXISTS);
	ck_assert_int_eq(port->token_get(port->ctx, "b", &got), 0);
	ck_assert_uint_eq(got.n_cidrs, 2);
	ck_assert_mem_eq(got.cidrs, t.cidrs, sizeof(got.cidrs));
	t = (struct token_record){.name = "c", .mac = {2}, .role = "analyst", .expires_at = 5000};
	ck_assert_int_eq(port->token_insert(port->ctx, &t), 0);
	ck_assert_int_eq(port->token_list(port->ctx, "b", 10, &list, &n), 0);
	ck_assert_uint_eq(n, 2);
	ck_assert_str_eq(list[0].name, "c");
	ck_assert_int_eq(list[0].expires_at, 5000);
	ck_assert_str_eq(list[1].name, "owner");
	free(list);
	/* Of two owners one may go, of what is no owner's everything. */
	ck_assert_int_eq(port->token_delete(port->ctx, "owner"), 0);
	ck_assert_int_eq(port->token_delete(port->ctx, "b"), ERR_CONFLICT);
	ck_assert_int_eq(port->token_delete(port->ctx, "c"), 0);
	ck_assert_int_eq(port->token_delete(port->ctx, "c"), ERR_NOT_FOUND);
	fx_close(&f);
}
END_TEST

START_TEST(repeats_the_first_answer)
{
	struct fx_store f;
	uint8_t request[32] = {1}, other[32] = {2};
	char *body = NULL, *location = NULL;
	size_t len;
	int status;

	fx_store_start(&f, NULL);
	void *ctx = f.registry.ctx;
	struct slice key = SLICE_LIT("key-1");
	ck_assert_int_eq(
	        f.registry.idempotency_get(ctx, key, request, &status, &body, &len, &location),
	        ERR_NOT_FOUND);
	ck_assert_int_eq(f.registry.idempotency_put(
	                         ctx, key, request, 201, SLICE_LIT("{\"secret\":1}"), "/x"),
	        0);
	ck_assert_int_eq(
	        f.registry.idempotency_put(ctx, key, request, 200, SLICE_LIT("no"), NULL), 0);
	ck_assert_int_eq(
	        f.registry.idempotency_get(ctx, key, request, &status, &body, &len, &location), 0);
	ck_assert_int_eq(status, 201);
	ck_assert_uint_eq(len, 12);
	ck_assert_str_eq(body, "{\"secret\":1}");
	ck_assert_str_eq(location, "/x");
	free(body);
	free(location);
	ck_assert_int_eq(
	        f.registry.idempotency_get(ctx, key, other, &status, &body, &len, &location),
	        ERR_CONFLICT);
	fx_sql(f.admin_url, "UPDATE holdfast.idempotency SET created_at = now() - interval '25h'");
	ck_assert_int_eq(
	        f.registry.idempotency_get(ctx, key, request, &status, &body, &len, &location),
	        ERR_NOT_FOUND);
	ck_assert_int_eq(f.registry.idempotency_put(ctx, key, other, 204, SLICE_LIT(""), NULL), 0);
	ck_assert_int_eq(
	        f.registry.idempotency_get(ctx, key, other, &status, &body, &len, &location), 0);
	ck_assert_int_eq(status, 204);
	ck_assert_ptr_null(location);
	free(body);
	fx_close(&f);
}
END_TEST

/* ---- look-ups ---- */

#define LOOKUPS 400

struct lookup {
	struct identity_lookup l;
	struct fx_store *f;
};

static void lookup_answered(struct mail *m)
{
	container_of(m, struct lookup, l.mail)->f->answered++;
}

static void ask(struct fx_store *f, struct lookup *l, enum entity kind, const char *id)
{
	memset(l, 0, sizeof(*l));
	l->f = f;
	l->l.mail.deliver = lookup_answered;
	l->l.reply_to = &f->box;
	l->l.kind = kind;
	snprintf(l->l.id, sizeof(l->l.id), "%s", id);
	f->registry.lookup(f->registry.ctx, &l->l);
}

START_TEST(answers_many_lookups)
{
	static struct lookup all[LOOKUPS];
	struct fx_store f;
	struct device_record d;

	fx_store_start(&f, NULL);
	for (unsigned i = 0; i < 20; i++) {
		char id[8];

		snprintf(id, sizeof(id), "d%u", i);
		fx_device(&f, id, &d);
		device_record_done(&d);
	}
	f.answered = 0;
	for (unsigned i = 0; i < LOOKUPS; i++) {
		char id[8];

		snprintf(id, sizeof(id), "d%u", i % 40);
		ask(&f, &all[i], i % 40 == 39 ? ENTITY_KEY : ENTITY_DEVICE,
		        i % 40 == 39 ? "service" : id);
	}
	ck_assert(fx_wait(&f, &f.answered, LOOKUPS, 10000));
	for (unsigned i = 0; i < LOOKUPS; i++) {
		int expected = i % 40 < 20 || i % 40 == 39 ? 0 : ERR_NOT_FOUND;

		ck_assert_int_eq(all[i].l.err, expected);
		if (expected == 0 && all[i].l.kind == ENTITY_KEY) {
			ck_assert_uint_eq(all[i].l.key.perms, PERM_SERVICE_CONNECT);
		} else if (expected == 0) {
			ck_assert_str_eq(all[i].l.device.id, all[i].l.id);
			device_record_done(&all[i].l.device);
		}
	}
	fx_close(&f);
}
END_TEST

START_TEST(looks_up_again_after_a_lost_connection)
{
	struct fx_store f;
	struct device_record d;
	struct lookup l;

	fx_store_start(&f, NULL);
	fx_device(&f, "d", &d);
	f.answered = 0;
	ask(&f, &l, ENTITY_DEVICE, "d");
	ck_assert(fx_wait(&f, &f.answered, 1, 5000));
	device_record_done(&l.l.device);
	fx_sql(f.admin_url,
	        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
	        " WHERE application_name LIKE 'holdfast %'");
	ask(&f, &l, ENTITY_DEVICE, "d");
	ck_assert(fx_wait(&f, &f.answered, 2, 5000));
	ck_assert_int_eq(l.l.err, 0);
	device_record_done(&l.l.device);
	/* No connection is allowed: the answer is quick. */
	fx_sql(f.admin_url, "ALTER ROLE hub NOLOGIN");
	fx_sql(f.admin_url,
	        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
	        " WHERE application_name LIKE 'holdfast %'");
	uint64_t start = clock_ms();
	ask(&f, &l, ENTITY_DEVICE, "d");
	ck_assert(fx_wait(&f, &f.answered, 3, 5000));
	ck_assert_int_eq(l.l.err, ERR_UNAVAILABLE);
	ck_assert_uint_lt(clock_ms() - start, 2000);
	ck_assert_int_eq(f.registry.device_get(f.registry.ctx, "d", &l.l.device), ERR_UNAVAILABLE);
	fx_sql(f.admin_url, "ALTER ROLE hub LOGIN");
	device_record_done(&d);
	fx_close(&f);
}
END_TEST

/* ---- what somebody did to the rows ---- */

START_TEST(refuses_swapped_keys)
{
	struct fx_store f;
	struct device_record a, b, got;
	uint64_t number = 0;
	struct lookup l;
	struct access_key_record key;

	fx_store_start(&f, NULL);
	fx_device(&f, "a", &a);
	fx_device(&f, "b", &b);
	fx_sql(f.admin_url,
	        "UPDATE holdfast.devices SET primary_key ="
	        " (SELECT primary_key FROM holdfast.devices WHERE id = 'a')"
	        " WHERE id = 'b'");
	ck_assert_int_eq(f.registry.device_get(f.registry.ctx, "b", &got), ERR_CORRUPT);
	/* What it sent is found all the same. */
	ck_assert_int_eq(f.registry.device_key(f.registry.ctx, "b", &number), 0);
	ck_assert_uint_eq(number, b.device_key);
	ck_assert_int_eq(f.registry.device_key(f.registry.ctx, "c", &number), ERR_NOT_FOUND);
	f.answered = 0;
	ask(&f, &l, ENTITY_DEVICE, "b");
	ck_assert(fx_wait(&f, &f.answered, 1, 5000));
	ck_assert_int_eq(l.l.err, ERR_CORRUPT);
	/* Primary and secondary changed round. */
	fx_sql(f.admin_url,
	        "UPDATE holdfast.devices SET primary_key = secondary_key,"
	        " secondary_key = primary_key WHERE id = 'a'");
	ck_assert_int_eq(f.registry.device_get(f.registry.ctx, "a", &got), ERR_CORRUPT);
	fx_sql(f.admin_url, "UPDATE holdfast.access_keys SET perms = 31 WHERE name = 'service'");
	ck_assert_int_eq(f.registry.access_key_get(f.registry.ctx, "service", &key), ERR_CORRUPT);
	fx_sql(f.admin_url,
	        "UPDATE holdfast.access_keys SET primary_key ="
	        " (SELECT primary_key FROM holdfast.access_keys WHERE name = 'device')"
	        " WHERE name = 'registryRead'");
	ck_assert_int_eq(
	        f.registry.access_key_get(f.registry.ctx, "registryRead", &key), ERR_CORRUPT);
	fx_sql(f.admin_url, "UPDATE holdfast.access_keys SET perms = 15 WHERE name = 'device'");
	ck_assert_int_eq(f.registry.access_key_get(f.registry.ctx, "device", &key), ERR_CORRUPT);
	/* A list shows that they are there, and all others. */
	struct device_record *devices;
	struct access_key_record *keys;
	unsigned n, altered = 0;
	ck_assert_int_eq(f.registry.device_list(f.registry.ctx, NULL, 10, &devices, &n), 0);
	ck_assert_uint_eq(n, 2);
	for (unsigned i = 0; i < n; i++) {
		ck_assert(devices[i].altered && devices[i].primary.len == 0);
		ck_assert_str_eq(devices[i].id, i ? "b" : "a");
		device_record_done(&devices[i]);
	}
	free(devices);
	ck_assert_int_eq(f.registry.access_key_list(f.registry.ctx, NULL, 10, &keys, &n), 0);
	ck_assert_uint_eq(n, 5);
	for (unsigned i = 0; i < n; i++) {
		altered += keys[i].altered;
		access_key_record_done(&keys[i]);
	}
	ck_assert_uint_eq(altered, 3);
	free(keys);
	device_record_done(&a);
	device_record_done(&b);
	fx_close(&f);
}
END_TEST

START_TEST(refuses_altered_rows)
{
	struct fx_store f;
	struct device_record a, b;
	struct fx_read rd;
	char sql[512];

	fx_store_start(&f, NULL);
	fx_device(&f, "a", &a);
	fx_device(&f, "b", &b);
	for (unsigned i = 0; i < 5; i++) {
		char payload[8];

		snprintf(payload, sizeof(payload), "a%u", i);
		ck_assert_int_eq(fx_store_one(&f, a.device_key, payload), 0);
	}
	ck_assert_int_eq(fx_store_one(&f, b.device_key, "b"), 0);
	ck_assert_str_eq(fx_read(&f, a.device_key, true, &rd), "a0|a1|a2|a3|a4");
	/* One bit of the second; the fourth and fifth swapped. */
	fx_sql(f.admin_url,
	        "WITH r AS (SELECT seq, sealed, row_number() OVER (ORDER BY seq) AS n"
	        " FROM holdfast.telemetry WHERE device_key = 1)"
	        " UPDATE holdfast.telemetry t SET sealed = CASE r.n WHEN 2 THEN"
	        " set_byte(t.sealed, 40, get_byte(t.sealed, 40) # 1)"
	        " WHEN 4 THEN (SELECT sealed FROM r WHERE n = 5)"
	        " WHEN 5 THEN (SELECT sealed FROM r WHERE n = 4) ELSE t.sealed END"
	        " FROM r WHERE t.seq = r.seq");
	ck_assert_str_eq(fx_read(&f, a.device_key, true, &rd), "a0|!|a2|!|!");
	ck_assert_uint_eq(rd.corrupt, 3);
	/* Copied to another device, moved in time, another number, cut short, another key. */
	snprintf(sql, sizeof(sql),
	        "INSERT INTO holdfast.telemetry SELECT %llu, received_at, seq, key_id, sealed"
	        " FROM holdfast.telemetry WHERE device_key = %llu ORDER BY seq LIMIT 1",
	        (unsigned long long)b.device_key, (unsigned long long)a.device_key);
	fx_sql(f.admin_url, sql);
	ck_assert_str_eq(fx_read(&f, b.device_key, true, &rd), "!|b");
	fx_sql(f.admin_url, "DELETE FROM holdfast.telemetry WHERE device_key = 1");
	for (unsigned i = 0; i < 4; i++)
		ck_assert_int_eq(fx_store_one(&f, a.device_key, "x"), 0);
	fx_sql(f.admin_url,
	        "WITH r AS (SELECT seq, row_number() OVER (ORDER BY seq) AS n"
	        " FROM holdfast.telemetry WHERE device_key = 1)"
	        " UPDATE holdfast.telemetry t SET"
	        " received_at = received_at + CASE r.n WHEN 1 THEN interval '1 us' ELSE '0' END,"
	        " seq = t.seq + CASE r.n WHEN 2 THEN 1 ELSE 0 END,"
	        " sealed = CASE r.n WHEN 3 THEN substr(sealed, 1, 20) ELSE sealed END,"
	        " key_id = key_id + CASE r.n WHEN 4 THEN 1 ELSE 0 END"
	        " FROM r WHERE t.seq = r.seq");
	ck_assert_str_eq(fx_read(&f, a.device_key, true, &rd), "!|!|!|!");
	device_record_done(&a);
	device_record_done(&b);
	fx_close(&f);
}
END_TEST

START_TEST(pages_through_telemetry)
{
	struct fx_store f;
	struct device_record d;
	struct fx_read rd;
	struct telemetry_query q = {.from_us = INT64_MIN, .to_us = INT64_MAX, .limit = 3};
	unsigned pages = 0;

	fx_store_start(&f, NULL);
	fx_device(&f, "d", &d);
	q.device_key = d.device_key;
	for (unsigned i = 0; i < 7; i++)
		ck_assert_int_eq(fx_store_one(&f, d.device_key, "x"), 0);
	memset(&rd, 0, sizeof(rd));
	for (unsigned before = 1; before != rd.n; pages++) {
		before = rd.n;
		ck_assert_int_eq(f.query.query(f.query.ctx, &q, fx_read_item, &rd), 0);
		q.has_after = true;
		q.after_us = rd.last_us;
		q.after_seq = rd.last_seq;
	}
	ck_assert_uint_eq(rd.n, 7);
	ck_assert_uint_eq(pages, 4);
	/* From inclusive, to exclusive. */
	q = (struct telemetry_query){.device_key = d.device_key,
	        .from_us = rd.last_us,
	        .to_us = rd.last_us,
	        .limit = 10};
	memset(&rd, 0, sizeof(rd));
	ck_assert_int_eq(f.query.query(f.query.ctx, &q, fx_read_item, &rd), 0);
	ck_assert_uint_eq(rd.n, 0);
	q.to_us++;
	ck_assert_int_eq(f.query.query(f.query.ctx, &q, fx_read_item, &rd), 0);
	ck_assert_uint_ge(rd.n, 1);
	device_record_done(&d);
	fx_close(&f);
}
END_TEST

static int enough(const struct telemetry_item *it HF_UNUSED, void *arg)
{
	unsigned *left = arg;
	return --*left > 0 ? 0 : ERR_TOO_BIG;
}

/* A page that ends with its last row leaves the connection as it was; one that is cut does not. */
START_TEST(keeps_the_connection_of_a_page)
{
	struct fx_store f;
	struct device_record d;
	unsigned left;

	fx_store_start(&f, NULL);
	fx_device(&f, "d", &d);
	for (unsigned i = 0; i < 5; i++)
		ck_assert_int_eq(fx_store_one(&f, d.device_key, "x"), 0);
	struct telemetry_query q = {
	        .device_key = d.device_key, .from_us = INT64_MIN, .to_us = INT64_MAX, .limit = 3};
	left = 3;
	ck_assert_int_eq(f.query.query(f.query.ctx, &q, enough, &left), ERR_TOO_BIG);
	int64_t connects = metric_read(METRIC_DB_CONNECTS);
	for (unsigned round = 0; round < 20; round++) {
		left = 3;
		ck_assert_int_eq(f.query.query(f.query.ctx, &q, enough, &left), ERR_TOO_BIG);
	}
	/* Upkeep may have made some. */
	ck_assert_int_lt(metric_read(METRIC_DB_CONNECTS), connects + 10);
	left = 2;
	ck_assert_int_eq(f.query.query(f.query.ctx, &q, enough, &left), ERR_TOO_BIG);
	left = 4;
	ck_assert_int_eq(f.query.query(f.query.ctx, &q, enough, &left), 0);
	ck_assert_uint_eq(left, 1);
	device_record_done(&d);
	fx_close(&f);
}
END_TEST

START_TEST(notes_presence)
{
	struct fx_store f;
	struct device_record d, got;
	static const struct storage_changes none;

	fx_store_start(&f, NULL);
	fx_device(&f, "d", &d);
	storage_note_presence(f.storage, d.device_key, true, 1700000000000000);
	ck_assert(fx_eventually(
	        f.admin_url, "SELECT count(*) = 1 FROM holdfast.presence WHERE connected", 10000));
	ck_assert_int_eq(f.registry.device_get(f.registry.ctx, "d", &got), 0);
	ck_assert(got.connected);
	ck_assert_int_eq(got.connected_us, 1700000000000000);
	device_record_done(&got);
	/* Another hub's row stays, this one's is void after a restart. */
	fx_sql(f.admin_url,
	        "INSERT INTO holdfast.hubs VALUES ('other', now());"
	        "INSERT INTO holdfast.presence VALUES (77, true, now(), now(), 'other'),"
	        " (78, true, now(), now(), 'dead')");
	storage_stop(f.storage, clock_ms() + 5000);
	storage_free(f.storage);
	fx_open(&f);
	ck_assert_int_eq(storage_start(f.storage, &none), 0);
	ck_assert(fx_eventually(f.admin_url,
	        "SELECT array_agg(device_key) = '{77}' FROM holdfast.presence WHERE connected",
	        10000));
	device_record_done(&d);
	fx_close(&f);
}
END_TEST

/* ---- what lies in the database ---- */

static bool dump_holds(const struct fx_store *f, const char *const *needles, size_t n)
{
	char command[512];
	bool found = false;
	size_t cap = 8 * 1024 * 1024, len;
	char *text = calloc(1, cap);

	snprintf(command, sizeof(command), "%s/pg_dump --inserts '%s'", FX_BIN, f->admin_url);
	FILE *in = popen(command, "re");
	ck_assert_ptr_nonnull(in);
	len = fread(text, 1, cap - 1, in);
	ck_assert_int_eq(pclose(in), 0);
	ck_assert_ptr_nonnull(memmem(text, len, "device-of-the-dump", 18));
	for (size_t i = 0; i < n; i++) {
		char hex[256];

		crypto_hex_encode(slice_str(needles[i]), hex);
		if (memmem(text, len, needles[i], strlen(needles[i])) ||
		        memmem(text, len, hex, strlen(hex))) {
			fprintf(stderr, "the dump holds %s\n", needles[i]);
			found = true;
		}
	}
	free(text);
	return found;
}

START_TEST(shows_nothing_secret_in_a_dump)
{
	static const char *const needles[] = {"needle-payload", "messages/events",
	        "pppppppppppppppp", "ssssssssssssssss", FX_TOKEN, FX_OWNER_KEY,
	        "\x04\x05\x06\x07\x08\x09\x0a", "needle-answer", "needle-secret"};
	struct fx_store f;
	struct device_record d;
	uint8_t request[32] = {0};

	fx_store_start(&f, NULL);
	fx_device(&f, "device-of-the-dump", &d);
	ck_assert_int_eq(fx_store_one(&f, d.device_key, "{\"x\":\"needle-payload\"}"), 0);
	ck_assert_int_eq(f.registry.idempotency_put(f.registry.ctx, SLICE_LIT("needle-key"),
	                         request, 201, SLICE_LIT("needle-answer"), "/needle-answer"),
	        0);
	ck_assert(!dump_holds(&f, needles, ARRAY_LEN(needles)));
	device_record_done(&d);
	fx_close(&f);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("registry port");
	TCase *tc = tcase_create("registry port");

	tcase_set_timeout(tc, 30);
	tcase_add_test(tc, keeps_devices);
	tcase_add_test(tc, tells_generations_apart);
	tcase_add_test(tc, lists_devices_in_order);
	tcase_add_test(tc, keeps_access_keys);
	tcase_add_test(tc, knows_the_owner);
	tcase_add_test(tc, keeps_tokens);
	tcase_add_test(tc, repeats_the_first_answer);
	tcase_add_test(tc, answers_many_lookups);
	tcase_add_test(tc, looks_up_again_after_a_lost_connection);
	tcase_add_test(tc, refuses_swapped_keys);
	tcase_add_test(tc, refuses_altered_rows);
	tcase_add_test(tc, pages_through_telemetry);
	tcase_add_test(tc, keeps_the_connection_of_a_page);
	tcase_add_test(tc, notes_presence);
	tcase_add_test(tc, shows_nothing_secret_in_a_dump);
	suite_add_tcase(suite, tc);
	return fx_main(suite);
}
