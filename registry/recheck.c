/*
 * Does somebody who was let in still stand? Asked when an identity has changed, and of everybody
 * when changes may have been missed. There is no deadline: as long as the identity cannot be read,
 * the connection goes on.
 */
#include "registry/query.h"
#include "server/base/err.h"

struct recheck {
	struct query query;
	struct recheck_request *req;
	struct want *device, *key;
};

static void recheck_drop(struct query *q)
{
	struct recheck *c = container_of(q, struct recheck, query);
	query_end(q);
	free(c);
}

static int end(struct recheck_request *req, int err, enum end_reason why)
{
	req->end = why;
	return err;
}

/* The key is there, may what it was used for, and has the very key that signed. */
static int judge_key(struct recheck_request *req, const struct identity *key, uint32_t need)
{
	const struct principal *p = req->principal;
	if (!key || !(key->perms & need) || !identity_has_credential(key, p->credential_tag))
		return end(req, ERR_UNAUTHENTICATED, END_CREDENTIAL_REVOKED);
	return 0;
}

static int judge_device(
        struct recheck_request *req, const struct identity *device, const struct identity *key)
{
	const struct principal *p = req->principal;
	if (!device || device->device_key != p->device_key)
		return end(req, ERR_NOT_FOUND, END_DISABLED);
	if (!device->enabled)
		return end(req, ERR_UNAUTHENTICATED, END_DISABLED);
	if (p->via_key)
		return judge_key(req, key, PERM_DEVICE_CONNECT);
	if (!identity_has_credential(device, p->credential_tag))
		return end(req, ERR_UNAUTHENTICATED, END_CREDENTIAL_REVOKED);
	return 0;
}

static int judge(const struct recheck *c)
{
	const struct query *q = &c->query;
	for (unsigned i = 0; i < q->n; i++)
		if (q->wants[i].state == WANT_UNUSABLE)
			return ERR_UNAVAILABLE;
	const struct identity *key = c->key ? c->key->identity : NULL;
	if (c->device)
		return judge_device(c->req, c->device->identity, key);
	if (!key)
		return end(c->req, ERR_NOT_FOUND, END_DISABLED);
	return judge_key(c->req, key, PERM_SERVICE_CONNECT);
}

static void recheck_ready(struct query *q)
{
	struct recheck *c = container_of(q, struct recheck, query);
	struct recheck_request *req = c->req;
	req->err = judge(c);
	query_end(q);
	free(c);
	req->done(req);
}

static void want_all(struct recheck *c, const struct principal *p)
{
	struct slice id = principal_id(p);
	if (p->kind == PRINCIPAL_KEY) {
		c->key = query_want(&c->query, ENTITY_KEY, id);
		return;
	}
	const uint8_t *slash = id.n > 0 ? memchr(id.p, '/', id.n) : NULL;
	if (slash) /* a module stands with its device */
		id.n = (size_t)(slash - id.p);
	c->device = query_want(&c->query, ENTITY_DEVICE, id);
	if (p->via_key)
		c->key = query_want(&c->query, ENTITY_KEY, principal_key_name(p));
}

void registry_recheck(struct registry *r, struct recheck_request *req)
{
	const struct principal *p = req->principal;
	loop_assert_here(req->loop);
	req->end = END_NORMAL;
	req->err = 0;
	if (p->kind != PRINCIPAL_DEVICE && p->kind != PRINCIPAL_KEY) {
		req->done(req);
		return;
	}
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
	want_all(c, p);
	query_run(&c->query);
}
