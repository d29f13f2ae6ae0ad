/* Asking a custom authoriser to see how it answers: for administrators, on a worker. */
#include <stdlib.h>

#include "registry/auth/custom_answer.h"
#include "registry/authorizers.h"
#include "registry/private.h"
#include "server/base/clock.h"
#include "server/base/crypto.h"
#include "server/base/err.h"

#define PASSWORD_MAX 65535

/* The contexts of AWS's TestInvokeAuthorizer, as they come with a connection. */
struct trial {
	struct doc_check check;
	const json_t *doc;
	struct auth_request req;
	struct slice token, signature; /* p NULL: not given */
	uint8_t password[PASSWORD_MAX + 1];
};

/* ---- what is to be asked ---- */

/* A text member of the object where the check is; false: not given. */
static bool read_text(struct trial *t, const json_t *of, const char *name, struct slice *ret)
{
	const json_t *value = json_object_get(of, name);
	if (value && !json_is_string(value))
		doc_member_error(&t->check, name, "must be a string");
	if (!json_is_string(value))
		return false;
	*ret = slice_make(json_string_value(value), json_string_length(value));
	return true;
}

static void refuse_unknown(struct trial *t, const json_t *of, const char *const *known)
{
	const char *member;
	json_t *value;
	json_object_foreach((json_t *)of, member, value)
	{
		unsigned i = 0;
		while (known[i] && strcmp(known[i], member) != 0)
			i++;
		if (!known[i])
			doc_member_error(&t->check, member, "unknown member");
	}
}

static const json_t *enter(struct trial *t, const char *name, size_t *ret_mark)
{
	const json_t *of = json_object_get(t->doc, name);
	*ret_mark = doc_enter(&t->check, slice_str(name));
	if (of && !json_is_object(of))
		doc_error(&t->check, "must be an object");
	return json_is_object(of) ? of : NULL;
}

static void read_mqtt(struct trial *t)
{
	static const char *const known[] = {"clientId", "username", "password", NULL};
	struct auth_request *req = &t->req;
	struct slice password;
	size_t mark;
	const json_t *of = enter(t, "mqttContext", &mark);
	refuse_unknown(t, of, known);
	(void)read_text(t, of, "clientId", &req->client_id);
	req->has_username = read_text(t, of, "username", &req->username);
	req->has_password = read_text(t, of, "password", &password);
	if (req->has_password) {
		req->password.p = t->password;
		if (password.n > PASSWORD_MAX ||
		        crypto_base64_decode(password, t->password, &req->password.n) < 0)
			doc_member_error(&t->check, "password", "must be base64 of at most 48 KiB");
	}
	doc_leave(&t->check, mark);
}

static void read_tls(struct trial *t)
{
	static const char *const known[] = {"serverName", NULL};
	size_t mark;
	const json_t *of = enter(t, "tlsContext", &mark);
	refuse_unknown(t, of, known);
	(void)read_text(t, of, "serverName", &t->req.server_name);
	doc_leave(&t->check, mark);
}

static int read_trial(struct trial *t)
{
	static const char *const known[] = {
	        "token", "tokenSignature", "mqttContext", "tlsContext", NULL};
	if (!json_is_object(t->doc)) {
		doc_error(&t->check, "must be an object");
		return ERR_INVALID;
	}
	refuse_unknown(t, t->doc, known);
	(void)read_text(t, t->doc, "token", &t->token);
	(void)read_text(t, t->doc, "tokenSignature", &t->signature);
	read_mqtt(t);
	read_tls(t);
	return t->check.failed ? ERR_INVALID : 0;
}

/* ---- asking ---- */

static json_t *outcome(const char *word, const char *why, uint64_t took_ms)
{
	return json_pack(
	        "{s:s, s:s?, s:I}", "outcome", word, "detail", why, "tookMs", (json_int_t)took_ms);
}

static json_t *render(const struct custom_answer *a, uint64_t took_ms)
{
	json_error_t error;
	json_t *doc = outcome(a->allowed ? "allowed" : "denied", NULL, took_ms);
	if (!doc || !a->allowed)
		return doc;
	json_t *policies = a->documents ? json_loads(a->documents, 0, &error) : json_array();
	int r = json_object_set_new(doc, "principalId", json_string(a->principal));
	r += json_object_set_new(doc, "policyDocuments", policies);
	r += json_object_set_new(
	        doc, "disconnectAfterInSeconds", json_integer((json_int_t)a->disconnect_s));
	if (a->refresh_s)
		r += json_object_set_new(
		        doc, "refreshAfterInSeconds", json_integer((json_int_t)a->refresh_s));
	if (a->device[0])
		r += json_object_set_new(doc, "deviceId", json_string(a->device));
	if (r == 0)
		return doc;
	json_decref(doc);
	return NULL;
}

static json_t *judge(struct registry *r, const struct fetch *f, uint64_t took_ms)
{
	_cleanup_settings_ struct settings *settings = registry_settings(r);
	struct custom_answer *answer = NULL;
	const char *why = f->why;
	char status[48];
	if (f->err == 0 && f->status != 200) {
		snprintf(status, sizeof(status), "the status is %d and not 200", f->status);
		why = status;
	} else if (f->err == 0 &&
	        custom_answer_read(
	                buf_slice(&f->body), settings->authorizer_min_s, &answer, &why) == 0) {
		json_t *doc = render(answer, took_ms);
		custom_answer_unref(answer);
		return doc;
	}
	return outcome("failed", why, took_ms);
}

static int ask(struct registry *r, const struct authorizer *a, const struct trial *t, json_t **ret)
{
	struct buf event;
	buf_init(&event, CUSTOM_EVENT_MAX);
	int err = custom_event_begin(&event, &t->req, t->token, !a->signing_disabled);
	if (err == 0)
		err = custom_event_end(&event);
	struct fetch f = {
	        .url = a->url,
	        .post = buf_slice(&event),
	        .content_type = "application/json",
	        .ca_pem = slice_str(a->ca_pem),
	        .timeout_ms = a->timeout_ms,
	        .max_bytes = CUSTOM_ANSWER_MAX,
	};
	uint64_t began = clock_ms();
	if (err == 0) {
		(void)registry_fetch(r, &f); /* how it went is in f */
		*ret = judge(r, &f, clock_ms() - began);
		err = *ret ? 0 : ERR_NOMEM;
	}
	buf_wipe(&event);
	buf_wipe(&f.body);
	return err;
}

int authorizer_test(
        struct registry *r, struct authorizer *a, const json_t *doc, json_t *errors, json_t **ret)
{
	struct trial *t = calloc(1, sizeof(*t));
	int err;
	if (!t)
		return ERR_NOMEM;
	t->check.errors = errors;
	t->doc = doc;
	t->req.protocol = "mqtts";
	err = read_trial(t);
	if (err == 0 && !a->signing_disabled &&
	        !custom_is_signed(a->keys, a->n_keys, t->token, t->signature)) {
		*ret = outcome("failed", deny_text(DENY_AUTHORIZER_TOKEN), 0);
		err = *ret ? 0 : ERR_NOMEM;
	} else if (err == 0) {
		err = ask(r, a, t, ret);
	}
	crypto_wipe(t, sizeof(*t));
	free(t);
	return err;
}
