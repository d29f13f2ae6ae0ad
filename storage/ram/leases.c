/* Sessions that another hub has: which those are, a test says. */
#include <stdlib.h>

#include "server/base/err.h"
#include "storage/ram/private.h"

static struct slice copy(struct slice s)
{
	uint8_t *p = malloc(s.n);

	if (!p)
		abort();
	memcpy(p, s.p, s.n);
	return slice_make(p, s.n);
}

static void left_subs(struct ram_store *s, uint64_t session, struct session_left *l)
{
	l->subs = calloc(s->subs.n + 1, sizeof(*l->subs));
	if (!l->subs)
		abort();
	for (size_t i = 0; i < s->subs.n; i++) {
		const struct ram_sub *sub = AT(subs, ram_sub, i);

		if (sub->session != session)
			continue;
		l->subs[l->n_subs] = sub->is;
		l->subs[l->n_subs++].filter = copy(slice_str(sub->filter));
	}
}

int ram_claim_answer(struct ram_store *s, struct session_claim *c)
{
	const struct ram_session *x = NULL;

	s->claims++;
	for (size_t i = 0; i < s->sessions.n; i++) {
		const struct ram_session *at_i = AT(sessions, ram_session, i);

		if (slice_eq(slice_make(at_i->key, at_i->key_len), c->key))
			x = at_i;
	}
	if (!x)
		return ERR_NOT_FOUND;
	if (x->elsewhere)
		return ERR_CONFLICT;
	struct session_left *l = calloc(1, sizeof(*l));
	if (!l)
		abort();
	l->row = x->row;
	l->row.key = copy(x->row.key);
	principal_ref(l->row.principal);
	if (l->row.will.msg)
		msg_ref(l->row.will.msg);
	l->queue = ram_queue_stats(s, x->id);
	left_subs(s, x->id, l);
	c->left = l;
	return 0;
}

void ram_share(struct ram_store *s)
{
	s->shared = true;
}

bool ram_session_move(struct ram_store *s, const char *client_id, bool elsewhere)
{
	bool moved = false;

	pthread_mutex_lock(&s->mutex);
	for (size_t i = 0; i < s->sessions.n; i++) {
		struct ram_session *x = AT(sessions, ram_session, i);

		if (!slice_eq_str(slice_from(x->row.key, x->row.client_id_off), client_id))
			continue;
		moved = x->elsewhere != elsewhere;
		x->elsewhere = elsewhere;
	}
	pthread_mutex_unlock(&s->mutex);
	return moved;
}

uint64_t ram_session_of(struct ram_store *s, const char *client_id, struct slice *ret_key)
{
	uint64_t id = 0;

	pthread_mutex_lock(&s->mutex);
	for (size_t i = 0; i < s->sessions.n; i++) {
		const struct ram_session *x = AT(sessions, ram_session, i);

		if (!slice_eq_str(slice_from(x->row.key, x->row.client_id_off), client_id))
			continue;
		id = x->id;
		*ret_key = x->row.key;
	}
	pthread_mutex_unlock(&s->mutex);
	return id;
}
