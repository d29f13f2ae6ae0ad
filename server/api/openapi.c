#include "server/api/openapi.h"

#include "server/api/internal.h"
#include "server/api/query.h"
#include "server/api/route.h"

static const struct doc {
	const char *request, *success, *response, *errors;
} docs[] = {
#define DOC(op, request, success, response, errors) \
	[POLICY_OP_##op] = {request, success, response, errors},
#include "server/api/openapi.def"
#undef DOC
};

static const struct {
	enum policy_op op;
	const char *name, *text;
} header_params[] = {
#define HEADER(op, name, text) {POLICY_OP_##op, name, text},
#include "server/api/params.def"
#undef HEADER
};

enum {
	N_DOCS = 0
#define DOC(op, request, success, response, errors) +1
#include "server/api/openapi.def"
#undef DOC
};
_Static_assert((int)N_DOCS == (int)POLICY_OP_COUNT,
        "openapi.def and policy/access.def name the same operations");

static json_t *ref(const char *kind, const char *name)
{
	char path[96];
	snprintf(path, sizeof(path), "#/components/%s/%s", kind, name);
	return json_pack("{s:s}", "$ref", path);
}

static json_t *content(const char *type, json_t *schema)
{
	return json_pack("{s:{s:o}}", type, "schema", schema);
}

static json_t *path_parameter(const char *name)
{
	const char *schema = strcmp(name, "id") == 0 ? "DeviceId"
	        : strcmp(name, "name") == 0          ? "KeyName"
	        : strcmp(name, "which") == 0         ? "Which"
	                                             : NULL;
	return json_pack("{s:s,s:s,s:b,s:o}", "name", name, "in", "path", "required", 1, "schema",
	        schema ? ref("schemas", schema) : json_pack("{s:s}", "type", "string"));
}

static void add_path_parameters(json_t *list, const char *path)
{
	for (const char *at = path; (at = strchr(at, '{')) != NULL;) {
		const char *end = strchr(++at, '}');
		char name[32];
		snprintf(name, sizeof(name), "%.*s", (int)(end - at), at);
		json_array_append_new(list, path_parameter(name));
	}
}

static void add_header_parameters(json_t *list, enum policy_op op)
{
	for (size_t i = 0; i < ARRAY_LEN(header_params); i++)
		if (header_params[i].op == op)
			json_array_append_new(list,
			        json_pack("{s:s,s:s,s:{s:s},s:s}", "name", header_params[i].name,
			                "in", "header", "schema", "type", "string", "description",
			                header_params[i].text));
}

static json_t *parameters_of(const struct policy_route *p)
{
	json_t *list = json_array();
	unsigned n, flags = api_route(p->op)->flags;
	const struct api_param *params = api_params(&n);
	add_path_parameters(list, p->path);
	for (unsigned i = 0; i < n; i++)
		if (params[i].op == p->op)
			json_array_append_new(list,
			        json_pack("{s:s,s:s,s:o,s:s}", "name", params[i].name, "in",
			                "query", "schema", json_loads(params[i].schema, 0, NULL),
			                "description", params[i].text));
	add_header_parameters(list, p->op);
	if (flags & API_IF_MATCH)
		json_array_append_new(list, ref("parameters", "IfMatch"));
	if (flags & API_IF_NONE_MATCH)
		json_array_append_new(list, ref("parameters", "IfNoneMatch"));
	if (flags & API_IDEMPOTENT)
		json_array_append_new(list, ref("parameters", "IdempotencyKey"));
	if (flags & API_DESTRUCTIVE)
		json_array_append_new(list,
		        json_pack("{s:s,s:s,s:{s:s},s:s}", "name", "Holdfast-Approval", "in",
		                "header", "schema", "type", "string", "description",
		                "Where the hub demands four eyes: the approvalId of the answer "
		                "202"));
	return list;
}

static json_t *request_of(const struct policy_route *p)
{
	enum api_body body = api_route(p->op)->body;
	json_t *types;
	if (body == API_BODY_NONE)
		return NULL;
	if (body == API_BODY_MESSAGE) {
		types = content("*/*", json_object());
	} else {
		json_t *schema = ref("schemas", docs[p->op].request);
		types = content("application/json", schema);
		if (body == API_BODY_PATCH)
			json_object_set_new(types, "application/merge-patch+json",
			        json_pack("{s:O}", "schema", schema));
	}
	return json_pack("{s:b,s:o}", "required", body != API_BODY_OPTIONAL, "content", types);
}

static json_t *success_of(const struct policy_route *p, const char *status)
{
	const char *schema = docs[p->op].response;
	json_t *r = json_pack("{s:s}", "description", p->summary);
	if (strcmp(schema, "MetricsText") == 0)
		json_object_set_new(
		        r, "content", content("text/plain", json_pack("{s:s}", "type", "string")));
	else if (*schema)
		json_object_set_new(
		        r, "content", content("application/json", ref("schemas", schema)));
	json_t *headers = json_object();
	if (strcmp(schema, "Device") == 0 || strcmp(schema, "AccessKey") == 0 ||
	        strcmp(schema, "IpRule") == 0 || strcmp(schema, "Ban") == 0)
		json_object_set_new(
		        headers, "ETag", json_pack("{s:{s:s}}", "schema", "type", "string"));
	if (strcmp(status, "201") == 0)
		json_object_set_new(
		        headers, "Location", json_pack("{s:{s:s}}", "schema", "type", "string"));
	if (json_object_size(headers) > 0)
		json_object_set(r, "headers", headers);
	json_decref(headers);
	return r;
}

/* Where the hub demands four eyes. */
static json_t *approval_needed(void)
{
	return json_pack("{s:s, s:o}", "description", "Another person has to agree first",
	        "content", content("application/json", ref("schemas", "ApprovalNeeded")));
}

static void add_errors(json_t *responses, const char *statuses)
{
	char list[64], *save = NULL;
	snprintf(list, sizeof(list), "%s", statuses);
	for (char *s = strtok_r(list, " ", &save); s; s = strtok_r(NULL, " ", &save)) {
		const char *name = strcmp(s, "401") == 0                 ? "Unauthenticated"
		        : strcmp(s, "304") == 0                          ? "NotModified"
		        : strcmp(s, "429") == 0 || strcmp(s, "503") == 0 ? "Later"
		                                                         : "Problem";
		json_object_set_new(responses, s, ref("responses", name));
	}
}

static json_t *responses_of(const struct policy_route *p)
{
	const struct doc *d = &docs[p->op];
	const struct api_route *route = api_route(p->op);
	json_t *responses = json_object();
	char list[16], *save = NULL;
	snprintf(list, sizeof(list), "%s", d->success);
	for (char *s = strtok_r(list, " ", &save); s; s = strtok_r(NULL, " ", &save))
		json_object_set_new(responses, s, success_of(p, s));
	bool read = strcmp(p->method, "GET") == 0;
	if (read && (route->flags & API_IF_NONE_MATCH))
		add_errors(responses, "304");
	if (p->need != POLICY_NEED_NOBODY)
		add_errors(responses, "400 401 403 500 503");
	if (p->op == POLICY_OP_ready)
		json_object_set_new(responses, "503", ref("responses", "NotReady"));
	if (strchr(p->path, '{') && p->need == POLICY_NEED_PERMISSION)
		add_errors(responses, "404");
	if (route->flags & API_DESTRUCTIVE)
		json_object_set_new(responses, "202", approval_needed());
	if (route->body != API_BODY_NONE)
		add_errors(responses, "413");
	if (route->body != API_BODY_NONE && route->body != API_BODY_MESSAGE)
		add_errors(responses, "415");
	if (!read && (route->flags & (API_IF_MATCH | API_IF_NONE_MATCH)))
		add_errors(responses, "412");
	if (route->flags & API_IDEMPOTENT)
		add_errors(responses, "409 422");
	add_errors(responses, d->errors);
	return responses;
}

static json_t *security_of(const struct policy_route *p)
{
	if (p->need == POLICY_NEED_NOBODY)
		return json_array();
	if (p->need == POLICY_NEED_DEVICE)
		return json_pack("[{s:[]}]", "deviceToken");
	if (!(p->perm & PERM_ALL_KEY))
		return json_pack("[{s:[]}]", "bearer");
	return json_pack("[{s:[]},{s:[]}]", "bearer", "accessKey");
}

/* "/api/v1/devices/{id}" belongs to "devices", "/healthz" to "hub". */
static json_t *tags_of(const struct policy_route *p)
{
	const char *base = "/api/v1/";
	if (strncmp(p->path, "/devices/", strlen("/devices/")) == 0)
		return json_pack("[s]", "device");
	if (strncmp(p->path, base, strlen(base)) != 0)
		return json_pack("[s]", "hub");
	const char *name = p->path + strlen(base);
	return json_pack("[s%]", name, strcspn(name, "/"));
}

/* Any of them suffices. */
static json_t *permissions_of(const struct policy_route *p)
{
	json_t *list = json_array();
	for (uint32_t perm = 1; perm < PERM_ALL; perm <<= 1)
		if (p->perm & perm)
			json_array_append_new(list, json_string(policy_permission_name(perm)));
	return list;
}

static json_t *operation_of(const struct policy_route *p)
{
	json_t *op = json_pack("{s:s,s:s,s:o,s:o,s:o,s:o}", "operationId", p->name, "summary",
	        p->summary, "tags", tags_of(p), "security", security_of(p), "parameters",
	        parameters_of(p), "responses", responses_of(p));
	json_t *request = request_of(p);
	if (request)
		json_object_set_new(op, "requestBody", request);
	if (p->need == POLICY_NEED_PERMISSION)
		json_object_set_new(op, "x-permissions", permissions_of(p));
	return op;
}

static json_t *components(void)
{
	json_t *all = json_loads(api_openapi_components, 0, NULL);
	json_t *more = json_loads(api_openapi_access, 0, NULL);
	json_object_update(json_object_get(all, "schemas"), more);
	json_decref(more);
	return all;
}

json_t *api_openapi_build(const char *version)
{
	json_t *paths = json_object();
	for (unsigned i = 0; i < POLICY_OP_COUNT; i++) {
		const struct policy_route *p = &policy_routes()[i];
		json_t *path = json_object_get(paths, p->path);
		if (!path) {
			path = json_object();
			json_object_set_new(paths, p->path, path);
		}
		char method[16] = "";
		for (size_t k = 0; k < sizeof(method) - 1 && p->method[k]; k++)
			method[k] = (char)(p->method[k] | 0x20);
		json_object_set_new(path, method, operation_of(p));
	}
	return json_pack("{s:s,s:{s:s,s:s,s:s,s:{s:s,s:s}},s:[{s:s}],s:o,s:o}", "openapi", "3.1.0",
	        "info", "title", "Holdfast", "version", version, "description",
	        "The REST API of a self-hosted IoT hub. HEAD is answered wherever GET is.",
	        "license", "name", "Apache License 2.0", "identifier", "Apache-2.0", "servers",
	        "url", "/", "paths", paths, "components", components());
}

char *api_openapi_text(const char *version, size_t *ret_len)
{
	_cleanup_json_ json_t *doc = api_openapi_build(version);
	char *text = doc ? json_dumps(doc, JSON_COMPACT) : NULL;
	if (text)
		*ret_len = strlen(text);
	return text;
}
