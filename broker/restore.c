/*
 * A hub that starts takes over what an earlier one left. The loops do not run yet, so the main
 * thread may put everything where it belongs; what the loops have to do about it comes by mail.
 */
#include "broker/client.h"
#include "broker/command.h"
#include "broker/mem.h"
#include "server/base/err.h"
#include "server/base/log.h"

struct restore {
	struct broker *b;
	struct map by_id; /* the sessions, for their subscriptions */
	size_t sessions, subs, commands, retained, left_out;
};

static int take_session(void *ctx, const struct session_row *row, const struct queue_stats *queue)
{
	struct restore *r = ctx;
	struct slice client_id = slice_from(row->key, row->client_id_off);
	struct shard *sh = broker_home_client(r->b, client_id);
	struct session *s = session_restored(sh, row);
	if (!s) {
		r->left_out++;
		return 0;
	}
	durable_restored(s, row, queue);
	if (map_put(&r->by_id, slice_make(&s->durable->id, sizeof(s->durable->id)), s, NULL) != 0)
		return ERR_NOMEM;
	if (row->will.msg) {
		msg_ref(row->will.msg);
		will_set(s, &row->will);
	}
	session_resume_times(s, row);
	r->sessions++;
	return 0;
}

static int take_sub(void *ctx, const struct sub_write *sub)
{
	struct restore *r = ctx;
	struct session *s = map_get(
	        &r->by_id, slice_make(&sub->session_id, sizeof(sub->session_id)));
	int err = s ? subscription_restored(s, sub) : ERR_INVALID;
	r->subs += err == 0;
	r->left_out += err != 0;
	return 0;
}

static int take_commands(
        void *ctx, uint64_t device_key, struct slice device_id, const struct queue_stats *queue)
{
	struct restore *r = ctx;
	int err = commands_restored(r->b, device_key, device_id, queue);
	if (err == ERR_INVALID) {
		r->left_out++;
		return 0;
	}
	r->commands += err ? 0 : queue->count;
	return err;
}

static int take_retained(void *ctx, struct msg *m, struct slice device_id)
{
	struct restore *r = ctx;
	bool kept = retained_restored(r->b, m, device_id);
	r->retained += kept;
	r->left_out += !kept;
	return 0;
}

/* ---- the loops' part ---- */

struct restored_mail {
	struct mail mail;
	struct shard *shard;
};

static void restored_arrived(struct mail *mail)
{
	struct restored_mail *m = container_of(mail, struct restored_mail, mail);
	struct session *s = NULL;
	LIST_FOREACH (s, &m->shard->session_list, all)
		durable_write_due(s);
	free(m);
}

int broker_restore(struct broker *b)
{
	struct restore r = {.b = b};
	const struct session_restore to = {
	        .ctx = &r,
	        .session = take_session,
	        .sub = take_sub,
	        .commands = take_commands,
	        .retained = take_retained,
	};
	if (!b->keeps)
		return 0;
	map_init(&r.by_id);
	int err = b->sessions_store.restore(b->sessions_store.ctx, &to);
	map_free(&r.by_id);
	if (err)
		return err;
	log_info("sessions restored", F_U64("sessions", r.sessions), F_U64("subscriptions", r.subs),
	        F_U64("commands", r.commands), F_U64("retained", r.retained));
	if (r.left_out > 0)
		log_warn("some of what an earlier hub left contradicts itself: left out",
		        F_U64("rows", r.left_out));
	for (unsigned i = 0; i < b->n; i++) {
		struct restored_mail *m = mem_new(sizeof(*m));
		m->mail.deliver = restored_arrived;
		m->shard = &b->shards[i];
		mail_send(m->shard->box, &m->mail);
	}
	if (r.sessions + r.retained > 0)
		broker_recheck_all(b); /* what was revoked meanwhile ends */
	return 0;
}
