/*
 * Does somebody who was let in still stand, and what may he now? Asked when an identity has
 * changed, when rules have, and of everybody when changes may have been missed. There is no
 * deadline: as long as the identities cannot be read, the connection goes on.
 */
#include "registry/credential.h"
#include "server/base/cleanup.h"
#include "server/base/err.h"

struct recheck {
	struct query query;
	struct recheck_request *req;
	const struct credential *kind; /* NULL: its credential is not judged */
	struct who who;
};

static void recheck_drop(struct query *q)
{
	struct recheck *c = container_of(q, struct recheck, query);
	query_end(q);
	free(c);
}

/* ---- judging ---- */

static int end(struct recheck_request *req, int err, enum end_reason why)
{
	req->end = why;
	return err;
}

/* Whether the identities are there, of the generation that was let in, and enabled. */
static int judge_identities(const struct recheck *c)
{
	const struct principal *p = c->req->principal;
	const struct identity *device = identity_of(c->who.device);
	const struct identity *module = identity_of(c->who.module);
	if (c->who.device && (!device || device->device_key != p->device_key))
		return end(c->req, ERR_NOT_FOUND, END_DISABLED);
	if (c->who.module && (!module || module->device_key != p->module_key))
		return end(c->req, ERR_NOT_FOUND, END_DISABLED);
	if ((device && !device->enabled) || (module && !module->enabled))
		return end(c->req, ERR_UNAUTHENTICATED, END_DISABLED);
	if (p->kind == PRINCIPAL_KEY && !identity_of(c->who.key))
		return end(c->req, ERR_NOT_FOUND, END_DISABLED);
	return 0;
}

static enum end_reason end_of(enum deny_reason why)
{
	switch (why) {
	case DENY_IP_RULE: return END_IP_RULE;
	case DENY_BANNED: return END_BANNED;
	case DENY_BUDGET: return END_BUDGET;
	default: return END_POLICY;
	}
}

/* A principal that comes from a session's row has shown no credential and is not connected. */
static int judge(const struct recheck *c)
{
	const struct principal *p = c->req->principal;
	const struct query *q = &c->query;
	/* Only its authoriser knows, and is asked when somebody comes back. */
	if (p->kind == PRINCIPAL_CUSTOM && !p->resolved)
		return ERR_UNAVAILABLE;
	for (unsigned i = 0; i < q->n; i++)
		if (q->wants[i].state == WANT_UNUSABLE)
			return ERR_UNAVAILABLE;
	int err = judge_identities(c);
	if (err < 0 || c->req->identity_alone || !c->kind || !c->kind->judge_again)
		return err;
	enum end_reason why = c->kind->judge_again(c->req->principal, &c->who);
	return why == END_NORMAL ? 0 : end(c->req, ERR_UNAUTHENTICATED, why);
}

static int judge_connection(const struct recheck *c, const struct principal *p)
{
	const struct registry_hooks *hooks = &c->query.shard->registry->hooks;
	if (c->req->identity_alone || !p->resolved || !c->req->principal->resolved ||
	        !hooks->may_connect)
		return 0;
	enum deny_reason why = hooks->may_connect(hooks->ctx, p, NULL);
	return why == DENY_NONE ? 0 : end(c->req, ERR_UNAUTHENTICATED, end_of(why));
}

/* ---- what it may now ---- */

static uint32_t perms_now(const struct recheck *c)
{
	const struct principal *p = c->req->principal;
	return p->kind == PRINCIPAL_KEY ? c->who.key->identity->perms : p->perms;
}

static int64_t expires_now(const struct recheck *c)
{
	const struct principal *p = c->req->principal;
	const struct identity *key = identity_of(c->who.key);
	int64_t at = key ? identity_cut(key, p->expires_at) : p->expires_at;
	bool judged = c->kind && c->kind->expires_again && !c->req->identity_alone;
	return judged ? earlier_expiry(at, c->kind->expires_again(p, &c->who)) : at;
}

static bool is_as_before(const struct recheck *c, struct access *const parts[PRINCIPAL_PARTS])
{
	const struct principal *p = c->req->principal;
	return p->resolved && p->perms == perms_now(c) && p->expires_at == expires_now(c) &&
	        memcmp(p->access, parts, sizeof(p->access)) == 0;
}

static struct principal *copy_of(const struct principal *p)
{
	struct slice client_id = p->client_id_len ? principal_client_id(p) : (struct slice){0};
	struct principal *copy = principal_new_client(
	        p->kind, principal_id(p), principal_key_name(p), client_id);
	if (!copy)
		return NULL;
	copy->method = p->method;
	copy->perms = p->perms;
	copy->device_key = p->device_key;
	copy->module_key = p->module_key;
	copy->expires_at = p->expires_at;
	memcpy(copy->credential_tag, p->credential_tag, sizeof(copy->credential_tag));
	copy->via_key = p->via_key;
	copy->has_source = p->has_source;
	copy->source = p->source;
	copy->proof = proof_ref(p->proof);
	copy->proof_free = p->proof_free;
	copy->facts = facts_copy(p->facts);
	return p->facts && !copy->facts ? principal_unref(copy) : copy;
}

/* *ret: NULL where nothing has changed. 0, ERR_UNAVAILABLE: out of memory. */
static int renew(const struct recheck *c, struct principal **ret)
{
	struct access *parts[PRINCIPAL_PARTS];
	int err = principal_parts(c->req->principal, c->kind, &c->who, parts);
	if (err < 0)
		return err;
	struct principal *p = is_as_before(c, parts) ? NULL : copy_of(c->req->principal);
	if (!p) {
		bool same = is_as_before(c, parts);
		for (unsigned i = 0; i < PRINCIPAL_PARTS; i++)
			access_unref(parts[i]);
		return same ? 0 : ERR_UNAVAILABLE;
	}
	p->perms = perms_now(c);
	p->expires_at = expires_now(c);
	p->resolved = true;
	memcpy(p->access, parts, sizeof(p->access));
	*ret = p;
	return 0;
}

static int answer(const struct recheck *c)
{
	struct principal *fresh = NULL;
	int err = judge(c);
	if (err == 0)
		err = renew(c, &fresh);
	if (err == 0)
		err = judge_connection(c, fresh ? fresh : c->req->principal);
	if (err < 0)
		fresh = principal_unref(fresh);
	c->req->fresh = fresh;
	return err;
}

static void recheck_ready(struct query *q)
{
	struct recheck *c = container_of(q, struct recheck, query);
	struct recheck_request *req = c->req;
	req->err = answer(c);
	query_end(q);
	free(c);
	req->done(req);
}

/* ---- asking ---- */

static void want_all(struct recheck *c, const struct principal *p)
{
	struct query *q = &c->query;
	if (p->kind == PRINCIPAL_KEY)
		c->who.key = query_want(q, ENTITY_KEY, principal_id(p));
	if (p->kind == PRINCIPAL_DEVICE) {
		struct slice device = principal_device_id(p);
		c->who.device = query_want(q, ENTITY_DEVICE, device);
		if (device.n < principal_id(p).n)
			c->who.module = query_want(q, ENTITY_DEVICE, principal_id(p));
	}
	if (p->via_key)
		c->who.key = query_want(q, ENTITY_KEY, principal_key_name(p));
	c->kind = p->resolved ? credential_of(p) : NULL;
	if (c->kind && c->kind->want_again)
		c->kind->want_again(p, q, &c->who);
}

void registry_recheck(struct registry *r, struct recheck_request *req)
{
	loop_assert_here(req->loop);
	req->end = END_NORMAL;
	req->fresh = NULL;
	struct recheck *c = calloc(1, sizeof(*c));
	if (!c) {
		req->err = ERR_UNAVAILABLE;
		req->done(req);
		return;
	}
	c->req = req;
	c->query.ready = recheck_ready;
	c->query.drop = recheck_drop;
	query_init(&c->query, &r->shards[loop_index(req->loop)]);
	want_all(c, req->principal);
	query_run(&c->query);
}
