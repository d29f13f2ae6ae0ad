/*
 * Somebody whom a custom authoriser is to judge: because the request names one, or because the
 * registry knows no such device and there is a default one. The token's signature is checked here,
 * before anybody is asked; everything that is not a clear yes is a no.
 */
#include "registry/authorizer_grant.h"
#include "registry/credential.h"
#include "server/base/cleanup.h"
#include "server/base/crypto.h"
#include "server/base/err.h"

/* How much longer than the authoriser's time-out an attempt waits: the call says how it went. */
#define SETTLE_MS 1000

struct custom {
	struct authorizer_ask ask;
	struct attempt *attempt;
	struct authorizer *authorizer;
	struct want *known[2];   /* by default: the devices that there must not be */
	enum deny_reason before; /* by default: why the registry itself refuses */
	struct custom_answer *answer;
	struct grant *grant; /* until the principal has it */
	bool has_token;
	size_t token_len;
	char token[CUSTOM_TOKEN_MAX + 1];
};

static struct registry *registry_of(const struct attempt *a)
{
	return a->query.shard->registry;
}

static struct slice token_of(const struct custom *c)
{
	return c->has_token ? slice_make(c->token, c->token_len) : (struct slice){0};
}

/* ---- reading ---- */

static void settled(struct authorizer_ask *ask, enum deny_reason why, struct custom_answer *answer);

static struct custom *custom_new(struct attempt *a, struct authorizer *au)
{
	struct custom *c = calloc(1, sizeof(*c));
	if (!c)
		return NULL;
	c->ask.done = settled;
	c->attempt = a;
	c->authorizer = authorizer_ref(au);
	a->own = c;
	a->method = AUTH_METHOD_CUSTOM;
	return c;
}

static void drop(struct attempt *a)
{
	struct custom *c = TAKE_PTR(a->own);
	if (!c)
		return;
	authorizer_ask_drop(&c->ask);
	if (c->grant)
		proof_unref(grant_proof(c->grant));
	custom_answer_unref(c->answer);
	authorizer_unref(c->authorizer);
	crypto_wipe(c, sizeof(*c));
	free(c);
}

static enum deny_reason read_token(struct attempt *a, struct custom *c)
{
	const struct authorizer *au = c->authorizer;
	int err = ERR_NOT_FOUND;
	if (au->token_key[0])
		err = custom_find(a->req, au->token_key, c->token, sizeof(c->token), &c->token_len);
	c->has_token = err == 0;
	if (err == ERR_NOT_FOUND && au->signing_disabled)
		return DENY_NONE;
	return err == 0 ? DENY_NONE : DENY_AUTHORIZER_TOKEN;
}

static bool fits_named(const struct attempt *a)
{
	return custom_is_named(a->req);
}

static enum deny_reason read_named(struct attempt *a)
{
	char name[AUTHORIZER_NAME_MAX + 1];
	size_t n;
	struct authorizer *au = NULL;
	if (custom_find(a->req, CUSTOM_NAME, name, sizeof(name), &n) == 0)
		au = authorizer_here(registry_of(a), slice_make(name, n));
	if (!au)
		return DENY_AUTHORIZER;
	struct custom *c = custom_new(a, au);
	return c ? read_token(a, c) : DENY_UNAVAILABLE;
}

/* ---- judging ---- */

static enum deny_reason judge_named(struct attempt *a)
{
	const struct custom *c = a->own;
	char signature[CUSTOM_SIGNATURE_MAX + 1];
	size_t n;
	if (c->answer || c->authorizer->signing_disabled)
		return DENY_NONE;
	if (custom_find(a->req, CUSTOM_SIGNATURE, signature, sizeof(signature), &n) < 0 ||
	        !custom_is_signed(c->authorizer->keys, c->authorizer->n_keys, token_of(c),
	                slice_make(signature, n)))
		return DENY_AUTHORIZER_TOKEN;
	return DENY_NONE;
}

/* ---- asking ---- */

/* The question; only where it will be asked again is it kept. */
static int write_event(const struct attempt *a, const struct custom *c, struct buf *ret)
{
	buf_init(ret, CUSTOM_EVENT_MAX);
	int err = custom_event_begin(ret, a->req, token_of(c), !c->authorizer->signing_disabled);
	if (err < 0)
		buf_wipe(ret);
	return err;
}

static void ask(struct attempt *a)
{
	struct custom *c = a->own;
	struct buf event;
	if (c->answer) { /* the device that it means has been judged since */
		attempt_settle(a, DENY_NONE);
		return;
	}
	if (write_event(a, c, &event) < 0) {
		attempt_settle(a, DENY_AUTHORIZER_FAILED);
		return;
	}
	loop_timer_set(
	        a->req->loop, &a->req->timer, a->query.shard->settings->lookup_ms + SETTLE_MS);
	authorizer_ask(a->query.shard->desk, c->authorizer, &event, a->req->peer, false, &c->ask);
}

static int make_grant(struct attempt *a, struct custom *c)
{
	struct access *access = NULL;
	struct buf event;
	int err = grant_access(registry_of(a), c->answer, &access);
	buf_init(&event, 0);
	if (err == 0 && c->answer->refresh_s > 0)
		err = write_event(a, c, &event);
	if (err == 0) {
		c->grant = grant_new(
		        a->query.shard, c->authorizer, c->answer, access, &event, a->req->peer);
		err = c->grant ? 0 : ERR_NOMEM;
	}
	if (err < 0) {
		access_unref(access);
		buf_wipe(&event);
	}
	return err;
}

/* The device that the authoriser means has to be the one that is spoken of: by the client id, or by
 * the path. */
static enum deny_reason want_device(struct attempt *a, const struct custom_answer *answer)
{
	struct slice said = a->req->https ? a->req->device_id : a->req->client_id;
	if (answer->device[0] && slice_eq_str(said, answer->device))
		return attempt_want_device(a, said);
	if (answer->device[0])
		return DENY_CLIENT_ID;
	/* Over HTTPS nobody but a device has anything to say. */
	return a->req->https ? DENY_AUTHORIZER_FAILED : DENY_NONE;
}

static void settled(
        struct authorizer_ask *asked, enum deny_reason why, struct custom_answer *answer)
{
	struct custom *c = container_of(asked, struct custom, ask);
	struct attempt *a = c->attempt;
	if (why == DENY_NONE) {
		c->answer = custom_answer_ref(answer);
		a->expires_at = attempt_now_s(a) + answer->disconnect_s;
		why = make_grant(a, c) < 0 ? DENY_AUTHORIZER_FAILED : want_device(a, answer);
	}
	if (why == DENY_NONE && answer->device[0])
		query_run(&a->query);
	else
		attempt_settle(a, why);
}

static struct principal *make(struct attempt *a)
{
	struct custom *c = a->own;
	struct slice none = {0};
	/* Changed or taken away while it was asked: what it says is worth nothing any more, and
	 * whoever comes again is asked about anew. */
	if (!authorizer_in_force(registry_of(a), c->authorizer))
		return NULL;
	/* Not the first time that it is made: the identities were read anew. */
	if (!c->grant && make_grant(a, c) < 0)
		return NULL;
	struct principal *p = a->who.device
	        ? principal_new(PRINCIPAL_DEVICE, a->id, none)
	        : principal_new_client(PRINCIPAL_CUSTOM, slice_str(c->answer->principal), none,
	                  a->req->client_id);
	if (!p)
		return NULL;
	grant_begin(c->grant);
	proof_unref(a->proof);
	a->proof = grant_proof(TAKE_PTR(c->grant));
	return p;
}

/* ---- later ---- */

static enum end_reason judge_again(const struct principal *p, const struct who *who HF_UNUSED)
{
	return grant_stands(p) ? END_NORMAL : END_CREDENTIAL_REVOKED;
}

const struct credential credential_custom = {
        .methods = 1u << AUTH_METHOD_CUSTOM,
        .expired = DENY_AUTHORIZER,
        .fits = fits_named,
        .read = read_named,
        .judge = judge_named,
        .ask = ask,
        .make = make,
        .drop = drop,
        .judge_again = judge_again,
        .access_again = grant_access_now,
};

/* ---- by default ---- */

bool credential_custom_takes(const struct attempt *a, enum deny_reason why)
{
	const struct auth_request *req = a->req;
	bool unknown = why == DENY_UNKNOWN_DEVICE || why == DENY_CLIENT_ID || why == DENY_BAD_ID ||
	        why == DENY_NO_CREDENTIAL;
	bool ours = a->kind == &credential_custom || a->kind == &credential_custom_default ||
	        a->claim.is_key || sas_is(req->password);
	return unknown && !ours && !req->https && (req->has_username || req->has_password) &&
	        !identity_of(a->who.device) && authorizer_default_here(registry_of(a));
}

/* The device of an id, which may be a module's. */
static struct want *want_known(struct attempt *a, struct slice id)
{
	const uint8_t *slash = id.n > 0 ? memchr(id.p, '/', id.n) : NULL;
	if (slash)
		id.n = (size_t)(slash - id.p);
	return device_id_valid(id) ? query_want(&a->query, ENTITY_DEVICE, id) : NULL;
}

static enum deny_reason read_default(struct attempt *a)
{
	struct authorizer *au = authorizer_default_here(registry_of(a));
	struct custom *c = au ? custom_new(a, au) : NULL;
	if (!c)
		return DENY_UNAVAILABLE;
	c->before = a->taken_over;
	c->known[0] = want_known(a, a->req->client_id);
	if (a->claimed && !slice_eq(a->claim.id, a->req->client_id))
		c->known[1] = want_known(a, a->claim.id);
	return read_token(a, c);
}

static enum deny_reason judge_default(struct attempt *a)
{
	const struct custom *c = a->own;
	return identity_of(c->known[0]) || identity_of(c->known[1]) ? c->before : judge_named(a);
}

const struct credential credential_custom_default = {
        .expired = DENY_AUTHORIZER,
        .read = read_default,
        .judge = judge_default,
        .ask = ask,
        .make = make,
        .drop = drop,
        .access_again = grant_access_now,
};
