#include "server/api/audit.h"
#include "server/api/handlers.h"
#include "server/api/internal.h"
#include "server/base/clock.h"
#include "server/base/err.h"

/*
 * /sessions/{clientId}: what is kept for a client, connected or not. A device and back ends may
 * have sessions under one client id, which have nothing to do with each other: all of them are
 * shown, and ended.
 */

#define SESSIONS_MAX 100       /* shown of one client id */
#define SUBSCRIPTIONS_MAX 1000 /* shown of one session */

static json_t *time_json(int64_t us)
{
	char text[CLOCK_RFC3339_LEN];
	return us ? json_string(clock_rfc3339(us, text)) : json_null();
}

static json_t *subscription_json(const struct broker_session_sub *s)
{
	return json_pack("{s:s,s:i,s:b,s:b,s:o}", "filter", s->filter, "qos", (int)s->qos,
	        "noLocal", s->no_local, "retainAsPublished", s->retain_as_published,
	        "subscriptionId", s->id ? json_integer(s->id) : json_null());
}

static json_t *session_json(const struct broker_session *s)
{
	json_t *expiry = s->expiry == UINT32_MAX ? json_null() : json_integer(s->expiry);
	return json_pack("{s:s,s:s,s:s,s:b,s:b,s:o,s:o,s:o,s:i,s:I,s:I,s:b,s:I}", "clientId",
	        s->client_id, "principal", s->principal, "kind", s->kind, "connected", s->connected,
	        "durable", s->durable, "expiryInterval", expiry, "offlineSince",
	        time_json(s->offline_us), "expiresTime", time_json(s->expires_us), "inflight",
	        (int)s->inflight, "queued", (json_int_t)s->queued, "queuedBytes",
	        (json_int_t)s->queued_bytes, "will", s->has_will, "subscriptionCount",
	        (json_int_t)s->n_subs);
}

/* Filters may be long and many: what would make the answer too long is left out, and counted. */
static int write_subscriptions(struct buf *out, const struct broker_session *s)
{
	int r = buf_append_str(out, ",\"subscriptions\":[");
	for (unsigned i = 0;
	        r == 0 && i < s->n_subs && i < SUBSCRIPTIONS_MAX && buf_len(out) < API_PAGE_BYTES;
	        i++) {
		_cleanup_json_ json_t *sub = subscription_json(&s->subs[i]);
		if (i > 0)
			r = buf_append_byte(out, ',');
		if (r == 0)
			r = sub ? api_json_append(out, sub) : ERR_NOMEM;
	}
	return r == 0 ? buf_append_str(out, "]}") : r;
}

static int write_session(struct buf *out, const struct broker_session *s)
{
	_cleanup_json_ json_t *doc = session_json(s);
	int r = doc ? api_json_append(out, doc) : ERR_NOMEM;
	if (r < 0)
		return r;
	buf_truncate(out, buf_len(out) - 1); /* the subscriptions follow in the same object */
	return write_subscriptions(out, s);
}

static int write_sessions(struct buf *out, const struct broker_session *list, unsigned n)
{
	int r = buf_append_str(out, "{\"sessions\":[");
	for (unsigned i = 0; r == 0 && i < n; i++) {
		if (i > 0)
			r = buf_append_byte(out, ',');
		if (r == 0)
			r = write_session(out, &list[i]);
	}
	return r == 0 ? buf_append_str(out, "]}") : r;
}

void api_session_get(struct api_call *c)
{
	struct broker_session *list = NULL;
	unsigned n = 0;
	int r = broker_sessions(c->api->deps.broker, c->params[0], SESSIONS_MAX, &list, &n);
	if (!api_call_ok(c, r, NULL))
		return;
	r = n > 0 ? write_sessions(&c->out, list, n) : 0;
	broker_sessions_free(list, n);
	if (r < 0)
		api_call_err(c, r);
	else if (n > 0)
		api_call_text(c, 200, API_JSON_TYPE);
	else
		api_call_problem(c, API_PROBLEM_NOT_FOUND, "no such client has a session");
}

void api_session_delete(struct api_call *c)
{
	unsigned n = 0;
	if (!api_audit_note(c, "session", c->params[0]))
		return;
	if (!api_call_ok(c, broker_sessions_delete(c->api->deps.broker, c->params[0], &n), NULL))
		return;
	if (n > 0)
		api_call_empty(c, 204);
	else
		api_call_problem(c, API_PROBLEM_NOT_FOUND, "no such client has a session");
}
