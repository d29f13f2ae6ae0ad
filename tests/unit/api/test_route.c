#include "tests/unit/base/unit.h"

#include "server/api/route.h"
#include "tests/unit/api/request.h"

static int find(const char *method, const char *path, struct api_match *m, unsigned *allowed)
{
	return api_route_find(request_method(method), slice_str(path), m, allowed);
}

/* A path with every {name} filled in. */
static void example_of(const char *pattern, char *out)
{
	while (*pattern) {
		if (*pattern != '{') {
			*out++ = *pattern++;
			continue;
		}
		out = stpcpy(out, "x%2Fy");
		pattern = strchr(pattern, '}') + 1;
	}
	*out = '\0';
}

START_TEST(every_row_is_found)
{
	for (unsigned i = 0; i < POLICY_OP_COUNT; i++) {
		const struct policy_route *p = &policy_routes()[i];
		char path[256];
		struct api_match m;
		unsigned allowed, params = 0;
		example_of(p->path, path);
		ck_assert_msg(find(p->method, path, &m, &allowed) == 0, "%s %s", p->method, path);
		ck_assert_int_eq(m.op, p->op);
		ck_assert_ptr_eq(m.route, api_route(p->op));
		ck_assert_msg(!m.route->on_loop != !m.route->on_worker, "%s", p->name);
		for (const char *c = p->path; *c; c++)
			params += *c == '{';
		ck_assert_uint_le(params, API_PARAMS_MAX);
		ck_assert_uint_eq(m.n_params, params);
		for (unsigned k = 0; k < params; k++)
			assert_slice(m.params[k], "x%2Fy");
		strcat(path, "/");
		ck_assert_msg(find(p->method, path, &m, &allowed) == 404, "%s", path);
	}
}
END_TEST

START_TEST(flags_fit_the_methods)
{
	for (unsigned i = 0; i < POLICY_OP_COUNT; i++) {
		const struct policy_route *p = &policy_routes()[i];
		const struct api_route *r = api_route(i);
		bool get = strcmp(p->method, "GET") == 0, post = strcmp(p->method, "POST") == 0;
		bool del = strcmp(p->method, "DELETE") == 0;
		ck_assert_msg((!get && !del) || r->body == API_BODY_NONE, "%s", p->name);
		ck_assert_msg(!get || !(r->flags & (API_IF_MATCH | API_IDEMPOTENT)), "%s", p->name);
		ck_assert_msg(!post || r->body == API_BODY_MESSAGE || (r->flags & API_IDEMPOTENT),
		        "every POST of a document takes Idempotency-Key: %s", p->name);
	}
}
END_TEST

START_TEST(unknown_paths)
{
	const char *paths[] = {"/", "", "x", "/api", "/api/v1", "/api/v1/", "/api/v1/device",
	        "/api/v1/devices/", "/api/v1/devices//telemetry", "//api/v1/devices",
	        "/api/v1//devices", "/api/v1/devices/a/b", "/api/v1/devices/a/telemetry/latest/x",
	        "/healthz/", "/Healthz", "/healthz/..", "/api/v1/devices/a/keys/primary",
	        "/api/v2/devices", "/api/v1/devices%2Fa", "/healthz%00", "/healthz%", "*",
	        "/devices/a/messages/events/", "/%68ealthz%2", "/api/v1/token"};
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		struct api_match m;
		unsigned allowed = 0;
		ck_assert_msg(find("GET", paths[i], &m, &allowed) == 404, "%s", paths[i]);
		ck_assert_uint_eq(allowed, 0);
	}
}
END_TEST

START_TEST(segments_are_decoded_once)
{
	struct api_match m;
	unsigned allowed;
	ck_assert_int_eq(find("GET", "/api/v1/%64evices/a%252Fb", &m, &allowed), 0);
	ck_assert_int_eq(m.op, POLICY_OP_device_get);
	assert_slice(m.params[0], "a%252Fb");
	ck_assert_int_eq(find("GET", "/api/v1/%2564evices/a", &m, &allowed), 404);
	/* A bad escape is found when the parameter is read. */
	ck_assert_int_eq(find("GET", "/api/v1/devices/%zz", &m, &allowed), 0);
}
END_TEST

START_TEST(other_methods)
{
	static const struct {
		const char *method, *path, *allow;
	} cases[] = {
	        {"DELETE", "/api/v1/devices", "GET, HEAD, POST"},
	        {"POST", "/api/v1/devices/d", "GET, HEAD, PUT, PATCH, DELETE"},
	        {"GET", "/devices/d/messages/events", "POST"},
	        {"HEAD", "/devices/d/messages/events", "POST"},
	        {"OPTIONS", "/healthz", "GET, HEAD"},
	        {"BREW", "/healthz", "GET, HEAD"},
	        {"GET", "/api/v1/connections/c", "DELETE"},
	        {"PUT", "/api/v1/devices/d/telemetry/latest", "GET, HEAD"},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct api_match m;
		unsigned allowed = 0;
		char allow[API_ALLOW_LEN];
		ck_assert_int_eq(find(cases[i].method, cases[i].path, &m, &allowed), 405);
		api_route_allow(allowed, allow);
		ck_assert_str_eq(allow, cases[i].allow);
	}
}
END_TEST

START_TEST(head_is_served_for_get)
{
	struct api_match m;
	unsigned allowed;
	ck_assert_int_eq(find("HEAD", "/api/v1/devices/d", &m, &allowed), 0);
	ck_assert_int_eq(m.op, POLICY_OP_device_get);
}
END_TEST

UNIT_MAIN("api route", every_row_is_found, flags_fit_the_methods, unknown_paths,
        segments_are_decoded_once, other_methods, head_is_served_for_get)
