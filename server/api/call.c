#include "server/api/call.h"

#include <strings.h>

#include "server/api/approvals.h"
#include "server/api/audit.h"
#include "server/api/internal.h"
#include "server/api/scope.h"
#include "server/base/device_id.h"
#include "server/base/err.h"
#include "server/base/log.h"
#include "server/base/utf8.h"

/* The way of a call: made on a loop, carried out on a worker, ended on the loop. */

#define EXTRA_MAX 8192 /* a Location of an id of many escapes, and the rest */

struct api_call *api_call_new(struct api *api, struct http_request *r, const struct api_match *m)
{
	struct api_call *c = calloc(1, sizeof(*c));
	if (!c)
		return NULL;
	c->api = api;
	c->r = r;
	c->match = *m;
	buf_init(&c->out, API_ANSWER_MAX);
	buf_init(&c->extra, EXTRA_MAX);
	return c;
}

void api_call_drop(struct api_call *c)
{
	if (!c)
		return;
	principal_unref(c->who);
	api_query_done(&c->query);
	json_decref(c->body);
	buf_wipe(&c->out); /* it may show keys */
	buf_free(&c->extra);
	free(c);
}

void api_call_answer(struct api_call *c)
{
	buf_append_byte(&c->extra, '\0');
	http_respond(c->r,
	        &(struct http_response){
	                .status = c->status,
	                .content_type = c->content_type,
	                .body = buf_slice(&c->out),
	                .extra = c->extra.data ? (const char *)buf_slice(&c->extra).p : NULL,
	        });
	api_call_drop(c);
}

static void deliver(struct mail *m)
{
	struct api_call *c = container_of(m, struct api_call, mail);
	if (c->resume)
		c->resume(c);
	else
		api_call_answer(c);
}

void api_call_finish(struct api_call *c)
{
	/* What only the worker needs goes here, so that the loop has less to do. */
	c->body = (json_decref(c->body), NULL);
	c->mail.deliver = deliver;
	mail_send(loop_mailbox(c->r->loop), &c->mail);
}

static bool authenticate(struct api_call *c)
{
	const struct policy_route *route = &policy_routes()[c->match.op];
	if (route->need == POLICY_NEED_NOBODY)
		return true;
	struct slice credential = http_header_get(c->r, "Authorization", NULL);
	enum deny_reason why;
	int r = registry_authenticate_admin(
	        c->api->deps.registry, credential, c->r->peer, &c->who, &why);
	c->r->known = r == 0;
	if (r == 0)
		return true;
	if (r == ERR_UNAUTHENTICATED)
		api_call_problem(c, API_PROBLEM_UNAUTHENTICATED, NULL);
	else
		api_call_err(c, r);
	return false;
}

static bool read_params(struct api_call *c)
{
	for (unsigned i = 0; i < c->match.n_params; i++) {
		struct slice raw = c->match.params[i];
		_cleanup_free_ char *decoded = malloc(raw.n);
		size_t n;
		if (!decoded) {
			api_call_err(c, ERR_NOMEM);
			return false;
		}
		if (http_percent_decode(raw, decoded, &n) < 0 ||
		        !utf8_valid(slice_make(decoded, n))) {
			api_call_problem(
			        c, API_PROBLEM_INVALID, "the path is not percent-encoded UTF-8");
			return false;
		}
		if (n > API_PARAM_MAX) {
			api_call_problem(c, API_PROBLEM_NOT_FOUND, NULL);
			return false;
		}
		memcpy(c->param_text[i], decoded, n);
		c->param_text[i][n] = '\0';
		c->params[i] = slice_make(c->param_text[i], n);
	}
	return true;
}

/* What no device can be called is bad input; that there is no such device is another answer. */
static bool device_id_fits(struct api_call *c)
{
	if (!strstr(policy_routes()[c->match.op].path, "/devices/{id}") ||
	        device_id_valid(c->params[0]))
		return true;
	api_call_bad_body(c, "/deviceId", "is not a device id");
	return false;
}

static bool read_query(struct api_call *c)
{
	struct api_query_error e;
	int r = api_query_read(c->match.op, c->r->query, &c->query, &e);
	if (r == ERR_INVALID)
		api_call_bad_param(c, e.name, e.why);
	else if (r < 0)
		api_call_err(c, r);
	return r == 0;
}

/* "application/json", with parameters or without. */
static bool type_is(struct slice sent, const char *type)
{
	size_t n = strlen(type);
	if (sent.n < n || strncasecmp((const char *)sent.p, type, n) != 0)
		return false;
	return sent.n == n || sent.p[n] == ';' || sent.p[n] == ' ' || sent.p[n] == '\t';
}

static bool type_fits(struct api_call *c)
{
	bool many = false;
	struct slice type = http_header_get(c->r, "Content-Type", &many);
	bool patch = c->match.route->body == API_BODY_PATCH;
	bool fits = !many &&
	        (type.n == 0 || type_is(type, "application/json") ||
	                (patch && type_is(type, "application/merge-patch+json")));
	if (!fits)
		api_call_problem(c, API_PROBLEM_MEDIA_TYPE,
		        patch ? "the body must be application/merge-patch+json or application/json"
		              : "the body must be application/json");
	return fits;
}

static bool read_body(struct api_call *c)
{
	enum api_body kind = c->match.route->body;
	if (kind == API_BODY_NONE) {
		if (c->r->body.n > 0)
			api_call_problem(c, API_PROBLEM_INVALID, "this operation takes no body");
		return c->r->body.n == 0;
	}
	if (kind == API_BODY_MESSAGE || (c->r->body.n == 0 && kind == API_BODY_OPTIONAL))
		return true;
	if (!type_fits(c))
		return false;
	char error[JSON_ERROR_LEN];
	int r = json_read(c->r->body, &json_limits_body, &c->body, error);
	if (r == ERR_INVALID || r == ERR_TOO_BIG)
		api_call_bad_body(c, "", error);
	else if (r < 0)
		api_call_err(c, r);
	return r == 0;
}

void api_call_run(struct api_call *c)
{
	/* The order matters: nothing about the resource or the body is told to a caller who is not
	 * known, or may not. */
	if (!authenticate(c))
		return;
	if (!policy_may(c->who, c->match.op)) {
		api_audit_forbidden(c);
		api_call_problem(c, API_PROBLEM_FORBIDDEN, NULL);
		return;
	}
	if (!read_params(c) || !device_id_fits(c) || !api_scope_allows(c) || !read_query(c) ||
	        !read_body(c))
		return;
	if (api_condition_read(c->r, &c->condition) < 0) {
		api_call_problem(c, API_PROBLEM_INVALID,
		        "If-Match and If-None-Match take * or at most 16 entity tags");
		return;
	}
	api_audit_begin(c);
	if (!api_approval_passes(c))
		; /* answered */
	else if (c->match.route->flags & API_IDEMPOTENT)
		api_idempotency_run(c);
	else
		c->match.route->on_worker(c);
	api_audit_end();
}
