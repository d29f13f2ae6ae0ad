#include "registry/authorizer_grant.h"

#include <stdlib.h>

#include "server/base/cleanup.h"
#include "server/base/err.h"
#include "server/base/log.h"

/* A refresh that fails is tried again; then the grant is over. */
#define REFRESH_TRIES 3
#define REFRESH_RETRY_MS 5000

struct grant {
	struct proof proof; /* the first member */
	struct mail release;
	struct shard *shard;
	struct grant *next, **prev; /* the shard's; its loop's, as all that has to do with asking */
	struct authorizer *authorizer;
	char peer[64];
	struct buf event;
	struct loop_timer timer;
	struct authorizer_ask ask;
	unsigned tries;
	uint64_t until_ms; /* a connection does not last longer: no more is asked for then */
	/* Sessions are judged again on loops of their own. */
	pthread_mutex_t mutex;
	struct custom_answer *answer;
	struct access *access;
	bool over;
};

static struct grant *grant_of(const struct principal *p)
{
	return container_of(p->proof, struct grant, proof);
}

/* ---- life ---- */

static void grant_free(struct grant *g)
{
	if (g->prev) {
		*g->prev = g->next;
		if (g->next)
			g->next->prev = g->prev;
	}
	loop_timer_cancel(&g->timer);
	authorizer_ask_drop(&g->ask);
	buf_wipe(&g->event);
	custom_answer_unref(g->answer);
	access_unref(g->access);
	authorizer_unref(g->authorizer);
	pthread_mutex_destroy(&g->mutex);
	free(g);
}

static void release_arrived(struct mail *m)
{
	grant_free(container_of(m, struct grant, release));
}

/* The last principal is gone, on whatever thread. */
static void grant_release(struct proof *p)
{
	struct grant *g = container_of(p, struct grant, proof);
	struct mailbox *box = loop_mailbox(g->shard->loop);
	if (loop_here())
		mail_post(box, &g->release);
	else
		mail_send(box, &g->release);
}

struct grant *grant_new(struct shard *s, struct authorizer *au, struct custom_answer *answer,
        struct access *access, struct buf *event, const char *peer)
{
	struct grant *g = calloc(1, sizeof(*g));
	if (!g)
		return NULL;
	atomic_init(&g->proof.refs, 1);
	g->proof.free = grant_release;
	g->release.deliver = release_arrived;
	g->shard = s;
	g->authorizer = authorizer_ref(au);
	g->answer = custom_answer_ref(answer);
	g->until_ms = loop_now_ms(s->loop) + (uint64_t)answer->disconnect_s * 1000;
	g->access = access;
	g->event = *event;
	buf_init(event, 0);
	snprintf(g->peer, sizeof(g->peer), "%s", peer);
	pthread_mutex_init(&g->mutex, NULL);
	g->next = s->grants;
	g->prev = &s->grants;
	if (g->next)
		g->next->prev = &g->next;
	s->grants = g;
	return g;
}

struct proof *grant_proof(struct grant *g)
{
	return &g->proof;
}

void grants_drop(struct shard *s)
{
	while (s->grants)
		grant_free(s->grants);
}

/* ---- what it allows ---- */

int grant_access(struct registry *r, const struct custom_answer *answer, struct access **ret)
{
	const struct registry_hooks *hooks = &r->hooks;
	const struct access_source source = {
	        .kind = ENTITY_AUTHORIZER,
	        .id = slice_str(answer->principal),
	        .documents = slice_str(answer->documents),
	        .enabled = true,
	};
	struct access *access = NULL;
	if (answer->documents && hooks->access_make) {
		access = hooks->access_make(hooks->ctx, &source);
		if (!access)
			return ERR_INVALID;
	}
	*ret = access;
	return 0;
}

bool grant_stands(const struct principal *p)
{
	struct grant *g = grant_of(p);
	const struct registry *r = g->shard->registry;
	/* Changed since, or not active any more: who comes again is asked about anew. While that
	 * is not known (the copy is not fresh) nobody is ended for it. */
	bool stands = !authorizers_fresh(r) || authorizer_in_force(r, g->authorizer);
	pthread_mutex_lock(&g->mutex);
	stands = stands && !g->over;
	pthread_mutex_unlock(&g->mutex);
	return stands;
}

int grant_access_now(const struct principal *p, struct access **ret)
{
	struct grant *g = grant_of(p);
	const struct registry_hooks *hooks = &g->shard->registry->hooks;
	int err = 0;
	pthread_mutex_lock(&g->mutex);
	bool stale = g->access && hooks->access_version &&
	        g->access->version != hooks->access_version(hooks->ctx);
	struct access *fresh = NULL;
	if (stale)
		err = grant_access(g->shard->registry, g->answer, &fresh);
	if (stale && err == 0) {
		access_unref(g->access);
		g->access = fresh;
	}
	if (err == 0)
		*ret = access_ref(g->access);
	pthread_mutex_unlock(&g->mutex);
	return err < 0 ? ERR_UNAVAILABLE : 0;
}

/* ---- asking again ---- */

static void arm(struct grant *g, uint64_t ms)
{
	loop_timer_set(g->shard->loop, &g->timer, ms);
}

/* Its session is judged again by what the grant is now. */
static void tell(struct grant *g)
{
	const struct registry *r = g->shard->registry;
	const struct custom_answer *a = g->answer;
	if (!r->changed)
		return;
	if (a->device[0])
		r->changed(r->changed_ctx, ENTITY_DEVICE, slice_str(a->device), 0, false);
	else
		r->changed(r->changed_ctx, ENTITY_AUTHORIZER, slice_str(a->principal), 0, false);
}

static bool is_same_somebody(const struct custom_answer *a, const struct custom_answer *b)
{
	return strcmp(a->principal, b->principal) == 0 && strcmp(a->device, b->device) == 0;
}

static void renew(struct grant *g, struct custom_answer *answer, struct access *access)
{
	pthread_mutex_lock(&g->mutex);
	struct custom_answer *old_answer = g->answer;
	struct access *old_access = g->access;
	g->answer = custom_answer_ref(answer);
	g->access = access;
	pthread_mutex_unlock(&g->mutex);
	custom_answer_unref(old_answer);
	access_unref(old_access);
}

static void end(struct grant *g)
{
	pthread_mutex_lock(&g->mutex);
	g->over = true;
	pthread_mutex_unlock(&g->mutex);
	tell(g);
}

static void refreshed(
        struct authorizer_ask *ask, enum deny_reason why, struct custom_answer *answer)
{
	struct grant *g = container_of(ask, struct grant, ask);
	struct access *access = NULL;
	bool failed = why != DENY_NONE && why != DENY_AUTHORIZER;
	if (failed && ++g->tries < REFRESH_TRIES) {
		arm(g, REFRESH_RETRY_MS);
		return;
	}
	g->tries = 0;
	if (why != DENY_NONE || !is_same_somebody(answer, g->answer) ||
	        grant_access(g->shard->registry, answer, &access) < 0) {
		log_info("a custom authoriser has not granted again",
		        F_STR("name", g->authorizer->name), F_STR("id", g->answer->principal),
		        F_STR("reason", deny_name(why)));
		end(g);
		return;
	}
	renew(g, answer, access);
	tell(g);
	if (answer->refresh_s > 0)
		arm(g, (uint64_t)answer->refresh_s * 1000);
}

static void refresh(struct loop_timer *t, struct loop *loop HF_UNUSED)
{
	struct grant *g = container_of(t, struct grant, timer);
	struct buf event;
	if (loop_now_ms(g->shard->loop) >= g->until_ms) {
		end(g);
		return;
	}
	buf_init(&event, CUSTOM_EVENT_MAX);
	/* Room for what comes at its end, too. */
	int err = buf_ensure(&event, buf_len(&g->event) + 256);
	if (err == 0)
		err = buf_append(&event, buf_slice(&g->event).p, buf_len(&g->event));
	if (err < 0) {
		arm(g, REFRESH_RETRY_MS);
		return;
	}
	authorizer_ask(g->shard->desk, g->authorizer, &event, g->peer, true, &g->ask);
}

void grant_begin(struct grant *g)
{
	g->timer.fire = refresh;
	g->ask.done = refreshed;
	if (g->answer->refresh_s > 0)
		arm(g, (uint64_t)g->answer->refresh_s * 1000);
}
