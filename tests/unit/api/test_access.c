/* Who gets in, access keys, and what needs no credential. */
#include "tests/unit/api/hub.h"

#define KEYS "/api/v1/access-keys"

/* A path of the operation with every {name} filled in. */
static void path_of(const struct policy_route *p, char *out)
{
	for (const char *c = p->path; *c; c++) {
		if (*c != '{') {
			*out++ = *c;
			continue;
		}
		out = stpcpy(out, "x");
		c = strchr(c, '}');
	}
	*out = '\0';
}

START_TEST(nobody_learns_anything_without_a_credential)
{
	const char *const bad[] = {NULL, "Bearer wrong", "Bearer ",
	        "Basic b3duZXI6eA==", "nonsense",
	        "SharedAccessSignature sr=hub.example&sig=AAAA&se=1&skn=service"};
	for (unsigned i = 0; i < POLICY_OP_COUNT; i++) {
		const struct policy_route *p = &policy_routes()[i];
		char path[256], first[2048] = "";
		if (p->need != POLICY_NEED_PERMISSION)
			continue;
		path_of(p, path);
		for (size_t k = 0; k < ARRAY_LEN(bad); k++) {
			/* Body, query and type are wrong, too: not a word about them. */
			strcat(path, k == 0 ? "?nonsense=%" : "");
			call(401, p->method, path, bad[k], "Content-Type: x/y\r\n", "{");
			ck_assert_str_eq(
			        header_of("WWW-Authenticate"), "Bearer, SharedAccessSignature");
			documented(last.json, "Problem");
			json_object_del(last.json, "traceId");
			char *text = json_dumps(last.json, JSON_SORT_KEYS);
			if (k == 0)
				snprintf(first, sizeof(first), "%s", text);
			ck_assert_str_eq(text, first);
			free(text);
		}
	}
}
END_TEST

/* What each role may, as the documents say it; the program has its own table. */
#define RR PERM_REGISTRY_READ
#define RW PERM_REGISTRY_WRITE
#define SC PERM_SERVICE_CONNECT
static const struct {
	const char *name;
	uint32_t perms;
} roles[] = {
        {"owner", 0x3ff},
        {"security-admin", RR | PERM_SECURITY_READ | PERM_SECURITY_WRITE | PERM_AUDIT_READ},
        {"operator", RR | RW | SC | PERM_TELEMETRY_READ | PERM_GROUP_WRITE},
        {"provisioner", RR | RW | PERM_GROUP_WRITE},
        {"analyst", RR | PERM_TELEMETRY_READ},
        {"auditor", RR | PERM_SECURITY_READ | PERM_AUDIT_READ | PERM_TELEMETRY_READ},
};

static void check_role(const char *auth, uint32_t perms)
{
	for (unsigned i = 0; i < POLICY_OP_COUNT; i++) {
		const struct policy_route *p = &policy_routes()[i];
		char path[256];
		struct reply r;
		if (p->need != POLICY_NEED_PERMISSION)
			continue;
		path_of(p, path);
		call_with(&r, p->method, path, auth, NULL, NULL);
		ck_assert_msg((r.status == 403) == !(perms & p->perm) && r.status != 401,
		        "%s %s for %x: %d", p->method, path, perms, r.status);
		reply_done(&r);
	}
}

START_TEST(every_route_for_every_role)
{
	for (size_t k = 0; k < ARRAY_LEN(roles); k++) {
		char name[32], token[64];
		snprintf(name, sizeof(name), "of-%s", roles[k].name);
		snprintf(token, sizeof(token), "Bearer token-of-%s", roles[k].name);
		ram_add_token(hub.ram, slice_str(token + 7), name, roles[k].name);
		check_role(token, roles[k].perms);
	}
}
END_TEST

START_TEST(nothing_else_is_there)
{
	call(404, "GET", "/", OWNER, NULL, NULL);
	call(404, "GET", "/api/v1/devices/", OWNER, NULL, NULL);
	call(404, "GET", "/api/v1/../../etc/passwd", NULL, NULL, NULL);
	call(405, "DELETE", "/api/v1/devices", NULL, NULL, NULL);
	ck_assert_str_eq(header_of("Allow"), "GET, HEAD, POST");
	call(405, "OPTIONS", "/healthz", NULL, NULL, NULL);
	call(404, "POST", "/api/v1/nothing", NULL, NULL, "some body");
}
END_TEST

START_TEST(open_routes)
{
	ck_assert_str_eq(
	        text_at(call(200, "GET", "/healthz", NULL, NULL, NULL), "status"), "alive");
	ck_assert_str_eq(text_at(call(200, "GET", "/readyz", NULL, NULL, NULL), "status"), "ready");
	hub.readiness = (struct api_readiness){.reasons = {"the database is away"},
	        .n_reasons = 1,
	        .warnings = {"one role"},
	        .n_warnings = 1};
	struct reply r;
	call_with(&r, "GET", "/readyz", NULL, NULL, NULL);
	ck_assert_int_eq(r.status, 503);
	documented(r.json, "Readiness");
	ck_assert_str_eq(text_at(r.json, "status"), "not ready");
	ck_assert_str_eq(json_string_value(json_array_get(json_object_get(r.json, "reasons"), 0)),
	        "the database is away");
	ck_assert_str_eq(json_string_value(json_array_get(json_object_get(r.json, "warnings"), 0)),
	        "one role");
	reply_done(&r);
	ck_assert_str_eq(
	        text_at(call(200, "GET", "/openapi.json", NULL, NULL, NULL), "openapi"), "3.1.0");
	call(200, "HEAD", "/openapi.json", NULL, NULL, NULL);
	call(200, "GET", "/metrics", SERVICE, NULL, NULL);
	ck_assert_str_eq(header_of("Content-Type"), "text/plain; version=0.0.4; charset=utf-8");
	ck_assert_ptr_nonnull(strstr(last.body, "holdfast_http_requests_total"));
	json_t *stats = call(200, "GET", "/api/v1/stats", SERVICE, NULL, NULL);
	documented(stats, "Stats");
	ck_assert_str_eq(text_at(stats, "version"), "1.2.3");
	ck_assert(json_is_integer(json_object_get(json_object_get(stats, "devices"), "total")));
	ck_assert(json_is_integer(json_object_get(json_object_get(stats, "telemetry"), "stored")));
}
END_TEST

START_TEST(the_life_of_an_access_key)
{
	char key[128];
	json_t *doc = call(201, "POST", KEYS, OWNER, NULL,
	        "{\"name\":\"backend\",\"permissions\":[\"RegistryRead\",\"RegistryWrite\"]}");
	documented(doc, "AccessKey");
	ck_assert_str_eq(header_of("Location"), KEYS "/backend");
	ck_assert_str_ne(header_of("ETag"), "");
	snprintf(key, sizeof(key), "%s", text_at(doc, "primaryKey"));
	call(409, "POST", KEYS, OWNER, NULL,
	        "{\"name\":\"backend\",\"permissions\":[\"DeviceConnect\"]}");
	call(200, "GET", "/api/v1/devices", sas_token("hub.example", key, "backend"), NULL, NULL);
	/* No key can widen itself. */
	call(403, "GET", KEYS "/backend", sas_token("hub.example", key, "backend"), NULL, NULL);
	call(403, "GET", "/api/v1/stats", sas_token("hub.example", key, "backend"), NULL, NULL);

	doc = call(200, "POST", KEYS "/backend/regenerate", OWNER, NULL, "{\"key\":\"secondary\"}");
	ck_assert_str_eq(text_at(doc, "primaryKey"), key);
	doc = call(200, "POST", KEYS "/backend/regenerate", OWNER, NULL, NULL);
	ck_assert_str_ne(text_at(doc, "primaryKey"), key);
	call(401, "GET", "/api/v1/devices", sas_token("hub.example", key, "backend"), NULL, NULL);
	snprintf(key, sizeof(key), "%s", text_at(doc, "secondaryKey"));
	doc = call(200, "POST", KEYS "/backend/keys/secondary/regenerate", OWNER, NULL, NULL);
	ck_assert_str_ne(text_at(doc, "secondaryKey"), key);
	json_t *p = call(400, "POST", KEYS "/backend/regenerate", OWNER, NULL, "{\"key\":7}");
	ck_assert_str_eq(error_at(p, 0, "pointer"), "/key");
	p = call(400, "POST", KEYS "/backend/regenerate", OWNER, NULL, "{\"kez\":\"primary\"}");
	ck_assert_str_eq(error_at(p, 0, "pointer"), "/kez");
	p = call(400, "POST", KEYS "/backend/regenerate", OWNER, NULL, "[]");
	ck_assert_str_eq(error_at(p, 0, "pointer"), "");
	call(404, "POST", KEYS "/none/regenerate", OWNER, NULL, NULL);

	call(200, "PUT", KEYS "/backend", OWNER, NULL, "{\"permissions\":[\"ServiceConnect\"]}");
	call(412, "DELETE", KEYS "/backend", OWNER, "If-Match: \"x\"\r\n", NULL);
	call(204, "DELETE", KEYS "/backend", OWNER, NULL, NULL);
	call(404, "GET", KEYS "/backend", OWNER, NULL, NULL);
	call(400, "POST", KEYS, OWNER, NULL, "{\"name\":\"k\",\"permissions\":[\"Everything\"]}");
}
END_TEST

START_TEST(pages_of_access_keys)
{
	char target[1024] = KEYS "?limit=2", body[96];
	for (int i = 0; i < 5; i++) {
		snprintf(body, sizeof(body),
		        "{\"name\":\"k%d\",\"permissions\":[\"DeviceConnect\"]}", i);
		struct reply r;
		call_with(&r, "POST", KEYS, OWNER, NULL, body);
		ck_assert_msg(r.status == 201, "%s", r.body);
		reply_done(&r);
	}
	size_t seen = 0;
	for (const char *next = ""; next;) {
		const json_t *page = call(200, "GET", target, OWNER, NULL, NULL);
		seen += json_array_size(json_object_get(page, "items"));
		next = text_at(page, "nextCursor");
		if (next)
			snprintf(target, sizeof(target), KEYS "?limit=2&cursor=%s", next);
	}
	ck_assert_uint_eq(seen, 5);
	/* A cursor of one list is none of another. */
	call(200, "GET", KEYS "?limit=2", OWNER, NULL, NULL);
	snprintf(target, sizeof(target), "/api/v1/devices?cursor=%s",
	        text_at(last.json, "nextCursor"));
	call(400, "GET", target, OWNER, NULL, NULL);
}
END_TEST

START_TEST(without_the_database)
{
	ram_set_available(hub.ram, false);
	call(503, "GET", "/api/v1/devices", OWNER, NULL, NULL);
	ck_assert_str_eq(header_of("Retry-After"), "1");
	call(200, "GET", "/healthz", NULL, NULL, NULL);
	ram_set_available(hub.ram, true);
	call(200, "GET", "/api/v1/devices", OWNER, NULL, NULL);
}
END_TEST

START_TEST(after_the_stop)
{
	api_stop(hub.api);
	call(503, "GET", "/api/v1/devices", OWNER, NULL, NULL);
	call(200, "GET", "/healthz", NULL, NULL, NULL);
}
END_TEST

START_TEST(connections_that_are_not_there)
{
	json_t *page = call(200, "GET", "/api/v1/connections", SERVICE, NULL, NULL);
	ck_assert_uint_eq(json_array_size(json_object_get(page, "items")), 0);
	ck_assert(json_is_null(json_object_get(page, "nextCursor")));
	call(404, "DELETE", "/api/v1/connections/a%2Fb", SERVICE, NULL, NULL);
	call(400, "GET", "/api/v1/connections?cursor=x", SERVICE, NULL, NULL);
}
END_TEST

HUB_MAIN("api access", nobody_learns_anything_without_a_credential, every_route_for_every_role,
        nothing_else_is_there, open_routes, the_life_of_an_access_key, pages_of_access_keys,
        without_the_database, after_the_stop, connections_that_are_not_there)
