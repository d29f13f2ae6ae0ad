#include "tests/unit/base/unit.h"

#include "policy/policy.h"
#include "server/api/openapi.h"
#include "server/api/problem.h"
#include "server/api/query.h"
#include "server/api/route.h"

static json_t *doc;

static json_t *operation(const struct policy_route *p)
{
	char method[16] = "";
	for (size_t i = 0; p->method[i]; i++)
		method[i] = (char)(p->method[i] | 0x20);
	return json_object_get(json_object_get(json_object_get(doc, "paths"), p->path), method);
}

static const char *text_of(const json_t *o, const char *name)
{
	return json_string_value(json_object_get(o, name));
}

/* What a "$ref" points to, the value itself if it is none. */
static json_t *resolved(json_t *value)
{
	const char *ref = text_of(value, "$ref");
	if (!ref)
		return value;
	ck_assert_int_eq(strncmp(ref, "#/", 2), 0);
	char path[128], *save = NULL;
	snprintf(path, sizeof(path), "%s", ref + 2);
	json_t *at = doc;
	for (char *s = strtok_r(path, "/", &save); s; s = strtok_r(NULL, "/", &save))
		at = json_object_get(at, s);
	ck_assert_msg(at != NULL, "%s points nowhere", ref);
	return at;
}

static void check_refs(json_t *value)
{
	const char *key;
	json_t *member;
	size_t i;
	ck_assert_ptr_nonnull(value);
	if (json_is_object(value))
		resolved(value);
	json_object_foreach(value, key, member) check_refs(member);
	json_array_foreach(value, i, member) check_refs(member);
}

START_TEST(the_frame)
{
	ck_assert_str_eq(text_of(doc, "openapi"), "3.1.0");
	ck_assert_str_eq(text_of(json_object_get(doc, "info"), "version"), "1.2.3");
	ck_assert_str_eq(text_of(json_object_get(doc, "info"), "title"), "Holdfast");
	check_refs(doc);
	size_t len = 0;
	char *text = api_openapi_text("1.2.3", &len);
	json_t *again = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
	ck_assert(json_equal(again, doc));
	json_decref(again);
	free(text);
}
END_TEST

START_TEST(every_route_is_in_it_and_nothing_else)
{
	size_t n = 0;
	const char *path;
	json_t *methods;
	json_object_foreach(json_object_get(doc, "paths"), path, methods)
	        n += json_object_size(methods);
	ck_assert_uint_eq(n, POLICY_OP_COUNT);
	for (unsigned i = 0; i < POLICY_OP_COUNT; i++) {
		const struct policy_route *p = &policy_routes()[i];
		json_t *op = operation(p), *responses = json_object_get(op, "responses");
		ck_assert_msg(op != NULL, "%s", p->name);
		ck_assert_str_eq(text_of(op, "operationId"), p->name);
		ck_assert_str_eq(text_of(op, "summary"), p->summary);
		ck_assert_uint_gt(json_object_size(responses), 0);
		json_object_foreach(responses, path, methods) ck_assert_msg(
		        text_of(resolved(methods), "description") != NULL, "%s %s", p->name, path);
		bool open = json_array_size(json_object_get(op, "security")) == 0;
		ck_assert(open == (p->need == POLICY_NEED_NOBODY));
		ck_assert(open == !json_object_get(responses, "401"));
		ck_assert(open == !json_object_get(responses, "403"));
	}
}
END_TEST

static json_t *parameter(json_t *op, const char *in, const char *name)
{
	size_t i;
	json_t *p;
	json_array_foreach(json_object_get(op, "parameters"), i, p)
	{
		p = resolved(p);
		if (strcmp(text_of(p, "in"), in) == 0 && strcmp(text_of(p, "name"), name) == 0)
			return p;
	}
	return NULL;
}

START_TEST(parameters)
{
	for (unsigned i = 0; i < POLICY_OP_COUNT; i++) {
		const struct policy_route *p = &policy_routes()[i];
		unsigned flags = api_route(i)->flags;
		json_t *op = operation(p);
		for (const char *c = p->path; (c = strchr(c, '{')) != NULL;) {
			char name[32];
			c++;
			snprintf(name, sizeof(name), "%.*s", (int)strcspn(c, "}"), c);
			json_t *param = parameter(op, "path", name);
			ck_assert_msg(json_is_true(json_object_get(param, "required")), "%s %s",
			        p->name, name);
		}
		ck_assert(!parameter(op, "header", "If-Match") == !(flags & API_IF_MATCH));
		ck_assert(
		        !parameter(op, "header", "If-None-Match") == !(flags & API_IF_NONE_MATCH));
		ck_assert(!parameter(op, "header", "Idempotency-Key") == !(flags & API_IDEMPOTENT));
		ck_assert(!json_object_get(op, "requestBody") ==
		        (api_route(i)->body == API_BODY_NONE));
	}
	unsigned n;
	const struct api_param *params = api_params(&n);
	for (unsigned i = 0; i < n; i++) {
		json_t *param = parameter(
		        operation(&policy_routes()[params[i].op]), "query", params[i].name);
		ck_assert_msg(
		        json_is_object(json_object_get(param, "schema")), "%s", params[i].name);
	}
}
END_TEST

START_TEST(problems_are_documents)
{
	for (unsigned kind = 0; kind < API_PROBLEM_COUNT; kind++) {
		struct buf out;
		buf_init(&out, 4096);
		json_t *errors = json_pack("[{s:s,s:s}]", "pointer", "/a", "detail", "x");
		ck_assert_int_eq(
		        api_problem_write(&out, kind, "why \"so\"\n", "0123abcd", errors), 0);
		struct slice text = buf_slice(&out);
		json_t *p = json_loadb((const char *)text.p, text.n, JSON_REJECT_DUPLICATES, NULL);
		ck_assert_int_eq(strncmp(text_of(p, "type"), "urn:holdfast:problem:", 21), 0);
		ck_assert_int_eq(
		        json_integer_value(json_object_get(p, "status")), api_problem_status(kind));
		ck_assert_str_eq(text_of(p, "detail"), "why \"so\"\n");
		ck_assert_str_eq(text_of(p, "traceId"), "0123abcd");
		ck_assert(json_equal(json_object_get(p, "errors"), errors));
		json_decref(p);
		json_decref(errors);
		buf_free(&out);
	}
	ck_assert_int_eq(api_problem_of_status(404), API_PROBLEM_NOT_FOUND);
	ck_assert_int_eq(api_problem_of_status(418), API_PROBLEM_INVALID);
	ck_assert_int_eq(api_problem_of_status(599), API_PROBLEM_INTERNAL);
}
END_TEST

int main(void)
{
	doc = api_openapi_build("1.2.3");
	const TTest *const tests[] = {the_frame, every_route_is_in_it_and_nothing_else, parameters,
	        problems_are_documents};
	int failed = unit_run("api openapi", tests, sizeof(tests) / sizeof(tests[0]));
	json_decref(doc);
	return failed;
}
