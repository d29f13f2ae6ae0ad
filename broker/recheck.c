/*
 * Identities change while their sessions live: the registry is asked again, and what it says is
 * carried out. Rechecks of all sessions go in slices, a turn each.
 */
#include "broker/client.h"
#include "broker/command.h"
#include "broker/mem.h"
#include "server/base/err.h"

#define SLICE 500 /* sessions asked for in one turn */

struct recheck {
	struct recheck_request ask;
	struct shard *shard;
	struct session *session; /* NULL: it has ended meanwhile */
	struct principal *principal;
	bool again; /* it changed once more after the question was put */
};

/* An access key has no generations: one made anew under its name must find nothing of it. And a
 * module goes without its device. Who is connected may be in the middle of something: the session
 * then goes with its client. */
static void session_orphaned(struct session *s)
{
	struct broker_client *c = s->client;
	if (!c) {
		session_forget(s);
		return;
	}
	s->will = will_free(s->shard, s->will);
	s->expiry = 0;
	client_end(c, END_DISABLED);
}

/* It stands: as what it is now. */
static void confirm(struct session *s, struct principal *fresh)
{
	struct broker_client *c = s->client;
	if (c) {
		free(c->cache);
		c->cache = NULL; /* what it may do may have changed */
	}
	session_take(s, fresh ? fresh : s->principal);
	session_judge_will(s);
	durable_write_changed(s);
	if (!session_writable(s))
		return;
	client_watch(c); /* its credential may expire at another time now */
	out_pump(s);
	commands_pump(s);
}

static void act(struct session *s, int err, enum end_reason end, struct principal *fresh)
{
	struct broker_client *c = s->client;
	if (err == 0) {
		confirm(s, fresh);
	} else if (err == ERR_NOT_FOUND && s->principal->kind == PRINCIPAL_DEVICE &&
	        !s->principal->module_key) {
		broker_device_gone(
		        s->shard->b, principal_id(s->principal), s->principal->device_key);
		if (c)
			client_end(c, END_DISABLED);
	} else if (err == ERR_NOT_FOUND) {
		session_orphaned(s);
	} else if (err == ERR_UNAUTHENTICATED && c) {
		client_end(c, end);
	} else if (err == ERR_UNAUTHENTICATED && s->unjudged && s->will) {
		s->will = will_free(s->shard, s->will); /* it waits for this answer */
		durable_write(s);
	}
}

static void answered(struct recheck_request *r)
{
	struct recheck *k = container_of(r, struct recheck, ask);
	struct session *s = k->session;
	struct principal *fresh = r->fresh;
	int err = r->err;
	enum end_reason end = r->end;
	bool again = k->again;
	/* The client may have come back with another credential while the question was open. */
	bool same = s && s->principal == k->principal;
	principal_unref(k->principal);
	free(k);
	if (s)
		s->recheck = NULL;
	if (s && (again || !same))
		recheck_session(s);
	else if (s)
		act(s, err, end, fresh);
	principal_unref(fresh);
}

void recheck_session(struct session *s)
{
	const struct broker_hooks *hooks = &s->shard->b->hooks;
	if (s->principal->kind == PRINCIPAL_ANONYMOUS)
		return;
	if (s->recheck) {
		s->recheck->again = true;
		return;
	}
	struct recheck *k = mem_new(sizeof(*k));
	k->shard = s->shard;
	k->session = s;
	k->principal = principal_ref(s->principal);
	k->ask.loop = s->shard->loop;
	k->ask.principal = k->principal;
	k->ask.done = answered;
	s->recheck = k;
	hooks->recheck(hooks->ctx, &k->ask);
}

void recheck_abandon(struct session *s)
{
	if (s->recheck)
		s->recheck->session = NULL;
	s->recheck = NULL;
}

/* ---- one identity ---- */

struct change_mail {
	struct mail mail;
	struct shard *shard;
	enum entity kind;
	uint16_t len;
	char id[];
};

static bool concerns(const struct principal *p, enum entity kind, struct slice id)
{
	struct slice name = principal_id(p), certificate;
	if (kind == ENTITY_CERTIFICATE)
		return facts_get(p->facts, SLICE_LIT("iot:CertificateId"), &certificate) &&
		        slice_eq(certificate, id);
	if (kind == ENTITY_KEY)
		return p->kind == PRINCIPAL_KEY ? slice_eq(name, id)
		                                : p->via_key && slice_eq(principal_key_name(p), id);
	if (kind == ENTITY_AUTHORIZER) /* by the name that it has given to somebody */
		return p->kind == PRINCIPAL_CUSTOM && slice_eq(name, id);
	if (p->kind != PRINCIPAL_DEVICE || !slice_has_prefix(name, id))
		return false;
	return name.n == id.n || name.p[id.n] == '/';
}

/* Nobody is connected as that key, but could come back to what waits. */
static void recheck_offline_of_key(struct shard *sh, struct slice name)
{
	struct session *s, *next;
	for (s = LIST_FIRST(&sh->session_list); s; s = next) {
		next = LIST_NEXT(s, all);
		if (s->principal->kind == PRINCIPAL_KEY && !session_writable(s) &&
		        concerns(s->principal, ENTITY_KEY, name))
			recheck_session(s);
	}
}

static void change_arrived(struct mail *mail)
{
	struct change_mail *m = container_of(mail, struct change_mail, mail);
	struct shard *sh = m->shard;
	struct slice id = slice_make(m->id, m->len);
	revoke_of(sh, m->kind, id);
	/* A device and its modules live on one loop. */
	if (m->kind == ENTITY_DEVICE && sh != broker_home_client(sh->b, id)) {
		free(m);
		return;
	}
	/* A device's own session is found by its name; keys and modules are looked for. */
	struct session *own = m->kind == ENTITY_DEVICE ? session_find_device(sh, id) : NULL;
	bool search = m->kind != ENTITY_DEVICE || sh->n_modules > 0;
	struct broker_client *c, *next;
	/* Who is connecting was perhaps judged by what was true a moment ago. */
	connect_note_change(sh);
	for (c = search ? LIST_FIRST(&sh->clients) : NULL; c; c = next) {
		next = LIST_NEXT(c, all);
		if (c->state == CLIENT_ON && c->session != own &&
		        concerns(c->session->principal, m->kind, id))
			recheck_session(c->session);
	}
	if (own)
		recheck_session(own);
	if (m->kind == ENTITY_KEY)
		recheck_offline_of_key(sh, id);
	free(m);
}

void broker_identity_changed(struct broker *b, enum entity kind, struct slice id)
{
	if (id.n == 0 || id.n > MODULE_ID_MAX)
		return;
	for (unsigned i = 0; i < b->n; i++) {
		struct shard *sh = &b->shards[i];
		struct change_mail *m = mem_new(sizeof(*m) + id.n);
		m->mail.deliver = change_arrived;
		m->shard = sh;
		m->kind = kind;
		m->len = (uint16_t)id.n;
		memcpy(m->id, id.p, id.n);
		mail_send(sh->box, &m->mail);
	}
}

/* ---- a device is gone ---- */

struct gone_mail {
	struct mail mail;
	struct shard *shard;
	uint64_t device_key;
	uint16_t len;
	char id[];
};

static void end_gone(struct session *s)
{
	struct broker_client *c = s->client;
	s->will = will_free(s->shard, s->will);
	s->expiry = UINT32_MAX; /* so that detaching leaves the end to us */
	if (c) {
		client_end(c, END_DISABLED);
		client_detach(c);
	}
	session_forget(s);
}

static bool is_of(const struct principal *p, uint64_t key)
{
	return p->device_key == key || p->module_key == key;
}

/* A device's own session, or a module's, is found by its name; those of the modules of a device,
 * where there are any, are looked for. */
static void end_gone_sessions(struct shard *sh, struct slice id, uint64_t device_key)
{
	struct session *s = session_find_device(sh, id), *next;
	if (s && is_of(s->principal, device_key))
		end_gone(s);
	for (s = sh->n_modules > 0 ? LIST_FIRST(&sh->session_list) : NULL; s; s = next) {
		next = LIST_NEXT(s, all);
		if (is_of(s->principal, device_key))
			end_gone(s);
	}
}

static void gone_arrived(struct mail *mail)
{
	struct gone_mail *m = container_of(mail, struct gone_mail, mail);
	struct shard *sh = m->shard;
	struct slice id = slice_make(m->id, m->len);
	connect_note_change(sh);
	if (broker_home_client(sh->b, id) == sh) {
		commands_forget(sh, m->device_key);
		end_gone_sessions(sh, id, m->device_key);
	}
	retained_forget(sh, m->device_key);
	revoke_of(sh, ENTITY_DEVICE, id); /* a module went without its device */
	free(m);
}

void broker_device_gone(struct broker *b, struct slice id, uint64_t device_key)
{
	if (device_key == 0 || id.n > MODULE_ID_MAX)
		return;
	for (unsigned i = 0; i < b->n; i++) {
		struct gone_mail *m = mem_new(sizeof(*m) + id.n);
		m->mail.deliver = gone_arrived;
		m->shard = &b->shards[i];
		m->device_key = device_key;
		m->len = (uint16_t)id.n;
		if (id.n > 0)
			memcpy(m->id, id.p, id.n);
		mail_send(b->shards[i].box, &m->mail);
	}
}

/* ---- everybody ---- */

struct all_mail {
	struct mail mail;
	struct shard *shard;
};

static void recheck_slice(struct mail *mail)
{
	struct shard *sh = container_of(mail, struct shard, recheck_mail);
	for (unsigned i = 0; i < SLICE && sh->recheck_next; i++) {
		struct session *s = sh->recheck_next;
		sh->recheck_next = LIST_NEXT(s, all);
		recheck_session(s); /* its answer may end it, and move recheck_next on */
	}
	sh->recheck_running = sh->recheck_next != NULL;
	if (sh->recheck_running)
		mail_post(sh->box, &sh->recheck_mail);
}

static void all_arrived(struct mail *mail)
{
	struct all_mail *m = container_of(mail, struct all_mail, mail);
	struct shard *sh = m->shard;
	connect_note_change(sh);
	revoke_all(sh);
	sh->recheck_next = LIST_FIRST(&sh->session_list);
	if (!sh->recheck_running) {
		sh->recheck_running = true;
		sh->recheck_mail.deliver = recheck_slice;
		mail_post(sh->box, &sh->recheck_mail);
	}
	free(m);
}

void broker_recheck_all(struct broker *b)
{
	for (unsigned i = 0; i < b->n; i++) {
		struct all_mail *m = mem_new(sizeof(*m));
		m->mail.deliver = all_arrived;
		m->shard = &b->shards[i];
		mail_send(b->shards[i].box, &m->mail);
	}
}
