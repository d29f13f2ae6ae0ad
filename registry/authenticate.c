/*
 * Who is this? Everything that needs no identity is checked first (form, scope, expiry); then the
 * identities that somebody claims are read; then the credential is checked against them, and last
 * whether he may connect from where he is. A refusal after the identities were read has computed
 * the same whatever the reason, so that time does not tell whether an id exists. What differs from
 * one kind of credential to the next is in the rows of the table below.
 */
#include <assert.h>

#include "registry/credential.h"
#include "server/base/cleanup.h"
#include "server/base/err.h"

/* The first that fits has it. */
static const struct credential *const kinds[] = {
        &credential_custom,
        &credential_anonymous,
        &credential_key,
        &credential_sas,
        &credential_jwt,
        &credential_secret,
        &credential_x509,
};

const struct credential *credential_of(const struct principal *p)
{
	for (unsigned i = 0; i < ARRAY_LEN(kinds); i++)
		if (kinds[i]->methods & 1u << p->method)
			return kinds[i];
	return NULL;
}

struct proof *proof_ref(struct proof *p)
{
	if (p)
		atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
	return p;
}

void proof_unref(void *arg)
{
	struct proof *p = arg;
	if (p && atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) == 1)
		p->free(p);
}

void who_parts(const struct who *who, struct access *ret[static PRINCIPAL_PARTS])
{
	const struct want *const wants[] = {who->device, who->module, who->key, who->certificate};
	unsigned n = 0;
	for (unsigned i = 0; i < ARRAY_LEN(wants); i++) {
		const struct identity *identity = identity_of(wants[i]);
		if (!identity || !identity->access)
			continue;
		assert(n < PRINCIPAL_PARTS);
		ret[n++] = identity->access;
	}
	while (n < PRINCIPAL_PARTS)
		ret[n++] = NULL;
}

int principal_parts(const struct principal *p, const struct credential *kind, const struct who *who,
        struct access *ret[static PRINCIPAL_PARTS])
{
	struct access *more = NULL;
	unsigned n = 0;
	int err = kind && kind->access_again ? kind->access_again(p, &more) : 0;
	if (err < 0)
		return err;
	who_parts(who, ret);
	while (n < PRINCIPAL_PARTS && ret[n])
		access_ref(ret[n++]);
	if (more) {
		assert(n < PRINCIPAL_PARTS);
		ret[n] = more;
	}
	return 0;
}

/* ---- answering ---- */

static int err_of(enum deny_reason why)
{
	switch (why) {
	case DENY_NONE: return 0;
	case DENY_CLIENT_ID: return ERR_INVALID;
	case DENY_UNAVAILABLE: return ERR_UNAVAILABLE;
	default: return ERR_UNAUTHENTICATED;
	}
}

/* principal: the asker's from now on; NULL where why says why not. */
static void answer(struct auth_request *req, enum deny_reason why, struct slice id,
        struct principal *principal)
{
	req->reason = why;
	req->err = err_of(why);
	req->principal = principal;
	if (principal)
		registry_note_allowed(principal, req->peer);
	else
		registry_note_denied(why, id, req->peer);
	req->done(req);
}

/* Forgets what an earlier judgement found out. */
static void attempt_unjudge(struct attempt *a)
{
	facts_free(TAKE_PTR(a->facts));
	proof_unref(TAKE_PTR(a->proof));
}

static void attempt_free(struct attempt *a)
{
	if (a->kind && a->kind->drop)
		a->kind->drop(a);
	attempt_unjudge(a);
	query_end(&a->query);
	crypto_wipe(a, sizeof(*a));
	free(a);
}

/* Who it claims to be, for the log and for those who count. */
static struct slice claimed_id(const struct attempt *a)
{
	if (a->id.n > 0)
		return a->id;
	return a->req->https ? a->req->device_id : a->req->client_id;
}

/* In whose name it counts, as over REST: a back end is known by its key alone. */
struct counted {
	struct slice id, key;
};

static struct counted counted_of(const struct attempt *a)
{
	if (a->kind == &credential_key)
		return (struct counted){.key = a->claim.id};
	return (struct counted){claimed_id(a), a->key_name};
}

static const struct registry_hooks *hooks_of(const struct attempt *a)
{
	return &a->query.shard->registry->hooks;
}

static void attempt_end(struct attempt *a, enum deny_reason why, struct principal *principal)
{
	const struct registry_hooks *hooks = hooks_of(a);
	struct auth_request *req = a->req;
	struct slice id = claimed_id(a);
	struct counted name = counted_of(a);
	if (hooks->outcome)
		hooks->outcome(hooks->ctx, req->peer, name.id, name.key, why);
	loop_timer_cancel(&req->timer);
	req->state = NULL;
	attempt_free(a);
	answer(req, why, id, principal);
}

static void attempt_drop(struct query *q)
{
	attempt_free(container_of(q, struct attempt, query));
}

static void attempt_timeout(struct loop_timer *t, HF_UNUSED struct loop *loop)
{
	struct auth_request *req = container_of(t, struct auth_request, timer);
	attempt_end(req->state, DENY_UNAVAILABLE, NULL);
}

/* ---- judging, with the identities at hand ---- */

/* What goes for devices and modules, however they prove who they are. */
static enum deny_reason judge_identities(const struct attempt *a)
{
	const struct identity *device = identity_of(a->who.device);
	const struct identity *module = identity_of(a->who.module);
	if (!a->who.device)
		return DENY_NONE;
	if (!device || (a->who.module && !module))
		return DENY_UNKNOWN_DEVICE;
	if (module && module->parent_key != device->device_key)
		return DENY_UNKNOWN_DEVICE;
	if (!device->enabled || (module && !module->enabled))
		return DENY_DISABLED;
	return DENY_NONE;
}

static enum deny_reason judge(struct attempt *a)
{
	attempt_unjudge(a);
	enum deny_reason why = a->kind->judge(a);
	return why == DENY_NONE ? judge_identities(a) : why;
}

static struct principal *make_principal(struct attempt *a)
{
	if (a->kind->make)
		return a->kind->make(a);
	if (a->who.device)
		return principal_new(PRINCIPAL_DEVICE, a->id, a->key_name);
	return principal_new_client(PRINCIPAL_KEY, a->id, (struct slice){0}, a->req->client_id);
}

static struct principal *principal_of(struct attempt *a)
{
	struct access *parts[PRINCIPAL_PARTS];
	struct principal *p = make_principal(a);
	if (!p)
		return NULL;
	if (a->who.device)
		p->device_key = a->who.device->identity->device_key;
	if (a->who.module)
		p->module_key = a->who.module->identity->device_key;
	p->via_key = a->key_name.n > 0;
	if (a->who.key && !p->via_key)
		p->perms = a->who.key->identity->perms;
	p->method = a->method;
	p->expires_at = a->expires_at;
	p->resolved = true;
	p->has_source = ip_parse_peer(a->req->peer, &p->source) == 0;
	memcpy(p->credential_tag, a->tag, sizeof(p->credential_tag));
	p->facts = TAKE_PTR(a->facts);
	if (a->proof) {
		p->proof = TAKE_PTR(a->proof);
		p->proof_free = proof_unref;
	}
	if (principal_parts(p, a->kind, &a->who, parts) < 0)
		return principal_unref(p);
	memcpy(p->access, parts, sizeof(p->access));
	return p;
}

/* The principal, if it may connect. */
static enum deny_reason admit(struct attempt *a, struct principal **ret)
{
	const struct registry_hooks *hooks = hooks_of(a);
	/* Reading the identities may have taken seconds. */
	if (a->expires_at && a->expires_at <= attempt_now_s(a))
		return a->kind->expired;
	struct principal *p = principal_of(a);
	if (!p)
		return DENY_UNAVAILABLE;
	enum deny_reason why = hooks->may_connect ? hooks->may_connect(hooks->ctx, p, a->req)
	                                          : DENY_NONE;
	if (why != DENY_NONE)
		p = principal_unref(p);
	*ret = p;
	return why;
}

/* The default custom authoriser may know whom the registry does not. */
static bool take_over(struct attempt *a, enum deny_reason why)
{
	struct shard *s = a->query.shard;
	if (!credential_custom_takes(a, why))
		return false;
	if (a->kind && a->kind->drop)
		a->kind->drop(a);
	attempt_unjudge(a);
	query_end(&a->query);
	a->query.n = 0;
	query_init(&a->query, s);
	a->kind = &credential_custom_default;
	a->taken_over = why;
	a->who = (struct who){0};
	a->id = a->key_name = (struct slice){0};
	a->expires_at = 0;
	return true;
}

/* What was read of the request: looks at the identities, or ends it. */
static void attempt_go_on(struct attempt *a, enum deny_reason why)
{
	if (why == DENY_NONE)
		query_run(&a->query);
	else
		attempt_end(a, why, NULL);
}

void attempt_settle(struct attempt *a, enum deny_reason why)
{
	struct principal *p = NULL;
	if (why == DENY_NONE)
		why = admit(a, &p);
	/* Nobody is refused for what the cache says: another hub may have let them in a moment ago.
	 * It also makes a wrong key take as long as an unknown id, which is never cached. */
	bool final = why == DENY_NONE || (a->kind->expired && why == a->kind->expired);
	if (!final && a->kind->mend && a->kind->mend(a, why))
		return;
	if (!final && query_run_afresh(&a->query))
		return;
	if (!final && take_over(a, why))
		attempt_go_on(a, a->kind->read(a));
	else
		attempt_end(a, why, p);
}

void attempt_end_denied(struct attempt *a, enum deny_reason why)
{
	attempt_end(a, why, NULL);
}

static void attempt_judge(struct query *q)
{
	struct attempt *a = container_of(q, struct attempt, query);
	for (unsigned i = 0; i < q->n; i++)
		if (q->wants[i].state == WANT_UNUSABLE) {
			attempt_end(a, DENY_UNAVAILABLE, NULL);
			return;
		}
	enum deny_reason why = judge(a);
	if (why == DENY_NONE && a->kind->ask)
		a->kind->ask(a);
	else
		attempt_settle(a, why);
}

/* ---- reading the request ---- */

enum deny_reason attempt_want_device(struct attempt *a, struct slice id)
{
	a->id = id;
	if (!a->req->https && !slice_eq(id, a->req->client_id))
		return DENY_CLIENT_ID;
	if (!device_or_module_id_valid(id))
		return DENY_BAD_ID;
	const uint8_t *slash = memchr(id.p, '/', id.n);
	struct slice device = slash ? slice_make(id.p, (size_t)(slash - id.p)) : id;
	a->who.device = query_want(&a->query, ENTITY_DEVICE, device);
	if (slash)
		a->who.module = query_want(&a->query, ENTITY_DEVICE, id);
	return DENY_NONE;
}

/* No kind of credential fits: why not. */
static enum deny_reason nothing_fits(const struct attempt *a)
{
	const struct auth_request *req = a->req;
	if (!req->https && !req->has_username && !req->has_password)
		return DENY_ANONYMOUS;
	if (a->claimed && !a->claim.is_key && !slice_eq(a->claim.id, req->client_id))
		return DENY_CLIENT_ID;
	return DENY_NO_CREDENTIAL;
}

static enum deny_reason attempt_read(struct attempt *a)
{
	const struct registry_hooks *hooks = hooks_of(a);
	const struct auth_request *req = a->req;
	a->claimed = !req->https && req->has_username && creds_mqtt_parse(req->username, &a->claim);
	for (unsigned i = 0; i < ARRAY_LEN(kinds) && !a->kind; i++)
		if (kinds[i]->fits(a))
			a->kind = kinds[i];
	enum deny_reason why = a->kind ? a->kind->read(a) : nothing_fits(a);
	if (!hooks->attempt)
		return why;
	/* Who has tried too often learns nothing of what he tried. */
	struct counted name = counted_of(a);
	enum deny_reason over = hooks->attempt(hooks->ctx, req->peer, name.id, name.key);
	return over != DENY_NONE ? over : why;
}

void registry_authenticate(struct registry *r, struct auth_request *req)
{
	struct shard *s = &r->shards[loop_index(req->loop)];
	loop_assert_here(req->loop);
	struct attempt *a = calloc(1, sizeof(*a));
	if (!a) {
		answer(req, DENY_UNAVAILABLE, (struct slice){0}, NULL);
		return;
	}
	a->req = req;
	a->query.needs_feed = true;
	a->query.ready = attempt_judge;
	a->query.drop = attempt_drop;
	query_init(&a->query, s);
	req->state = a;
	req->timer = (struct loop_timer){.fire = attempt_timeout};
	enum deny_reason why = attempt_read(a);
	if (why != DENY_NONE && take_over(a, why))
		why = a->kind->read(a);
	loop_timer_set(req->loop, &req->timer, s->settings->lookup_ms);
	attempt_go_on(a, why);
}

bool registry_claimed_id(struct slice username, struct slice *ret)
{
	struct creds_mqtt claim;
	if (!creds_mqtt_parse(username, &claim) || claim.is_key ||
	        !device_or_module_id_valid(claim.id))
		return false;
	*ret = claim.id;
	return true;
}
