/*
 * SUBSCRIBE and UNSUBSCRIBE. A SUBSCRIBE goes to every loop: each notes who wants the filter and
 * answers with the retained messages that it holds. SUBACK leaves when all have answered, so that a
 * publish after SUBACK is seen wherever it comes in.
 */
#include "broker/client.h"

#include <assert.h>

#include "broker/command.h"
#include "broker/denied.h"
#include "broker/levels.h"
#include "broker/mem.h"
#include "broker/quota.h"
#include "broker/share.h"
#include "broker/topic.h"
#include "server/base/clock.h"
#include "server/base/err.h"
#include "server/base/log.h"
#include "server/base/metrics.h"

#define LIVE_MAX 64
/* Many filters over many retained messages are looked at bit by bit: the first bit at once, then
 * one SUBSCRIBE after the other one each turn. */
#define FIRST_SLICE_US 500
#define SLICE_US 3000
#define FOUND_COST 128 /* bytes that a message found counts for beside its own: its time */

/* ---- a SUBSCRIBE on its way through the loops ---- */

struct item {
	struct slice filter; /* as sent, in the job's own copy */
	struct slice match;  /* without "$share/{group}/" */
	uint32_t home;       /* shared: the shard where the group lives */
	uint8_t code;        /* of the SUBACK */
	bool shared, silent;
	bool note;   /* the other loops do not know yet that somebody here wants it */
	bool replay; /* retained messages are wanted */
	bool no_local, retain_as_published;
};

struct found {
	struct msg *msg;
	struct access *from; /* its publisher's first part, a reference */
	unsigned item;
};

/* One for each loop; goes there and comes back. */
struct part {
	struct mail mail;
	struct sub_job *job;
	struct shard *shard;
	TAILQ_ENTRY(part) entry; /* of the shard's replays */
	struct found *found;
	unsigned n, size, item; /* item: the one that is looked at */
	size_t bytes;           /* of what was found */
};

struct sub_job {
	struct broker_client *client; /* NULL: gone */
	atomic_bool abandoned;        /* the same for other loops: nobody wants what they find */
	struct shard *shard;
	struct share_as
	        as;    /* where a filter is shared: the session to its groups, with references */
	bool narrowed; /* subscriptions were taken away while the loops were asked */
	struct found *live; /* retained messages that were published meanwhile, see subscribe_saw */
	unsigned n_live;
	unsigned waiting; /* parts under way */
	unsigned n_items, n_parts;
	uint32_t id;
	uint16_t packet_id;
	char *text; /* the filters' */
	struct item *items;
	uint8_t *codes;
	struct sub_keep *keeps; /* of a durable session: what is written of the items */
	unsigned n_keeps;
	uint8_t type; /* MQTT_SUBACK, MQTT_UNSUBACK */
	struct part parts[];
};

/* A subscription on its way to the store. */
struct sub_keep {
	struct sub_write ask;
	struct sub_job *job;
	struct item *item;
};

static void job_free(struct sub_job *job)
{
	for (unsigned i = 0; i < job->n_parts; i++) {
		for (unsigned k = 0; k < job->parts[i].n; k++) {
			msg_unref(job->parts[i].found[k].msg);
			access_unref(job->parts[i].found[k].from);
		}
		free(job->parts[i].found);
	}
	for (unsigned i = 0; i < job->n_live; i++)
		msg_unref(job->live[i].msg);
	free(job->live);
	share_member_unref(job->as.is);
	principal_unref(job->as.who);
	free(job->keeps);
	free(job->items);
	free(job->codes);
	free(job->text);
	free(job);
}

void subscribe_saw(struct sub_job *job, struct msg *m)
{
	if (job->n_live == LIVE_MAX)
		return;
	if (!job->live)
		job->live = mem_new(LIVE_MAX * sizeof(*job->live));
	job->live[job->n_live++].msg = msg_ref(m);
}

void subscribe_narrowed(struct sub_job *job)
{
	job->narrowed = true;
}

/* Whether the session got a newer message of that topic while the loops were asked. */
static bool is_outdated(const struct sub_job *job, const struct msg *m)
{
	for (unsigned i = 0; i < job->n_live; i++) {
		const struct msg *live = job->live[i].msg;
		if (live->received_us >= m->received_us && slice_eq(msg_topic(live), msg_topic(m)))
			return true;
	}
	return false;
}

void subscribe_abandon(struct broker_client *c)
{
	if (c->sub_job) {
		c->sub_job->client = NULL;
		atomic_store_explicit(&c->sub_job->abandoned, true, memory_order_relaxed);
	}
	c->sub_job = NULL;
}

/* ---- on each loop ---- */

static bool keep_found(const struct retained *r, void *arg)
{
	struct part *part = arg;
	const struct broker_limits *lim = shard_limits(part->shard);
	/* What is found is replayed at once: queue and output have no room for more than this. */
	if (part->bytes > lim->max_queued_bytes + lim->output_hard_bytes) {
		metric_inc(METRIC_DROPPED_QUEUE);
		return false;
	}
	part->bytes += msg_size(r->msg) + FOUND_COST;
	if (part->n == part->size) {
		unsigned size = part->size ? part->size * 2 : 8;
		struct found *more = reallocarray(part->found, size, sizeof(*more));
		if (!more)
			return false;
		part->found = more;
		part->size = size;
	}
	part->found[part->n++] = (struct found){
	        msg_ref(r->msg), access_ref(retained_publisher(r)), part->item};
	return true;
}

/* Notes what the session wants. */
static void part_note(struct part *part)
{
	const struct sub_job *job = part->job;
	struct shard *sh = part->shard;
	for (unsigned i = 0; i < job->n_items; i++) {
		const struct item *item = &job->items[i];
		if (item->code >= 0x80 || item->silent)
			continue;
		if (item->shared && item->home == sh->index)
			share_join(sh, item->filter, &job->as);
		if (item->note)
			route_note(sh, item->match, item->home, item->shared, true);
	}
}

/* Looks for what is retained. False: the time is over, the rest is for another turn. */
static bool part_look(struct part *part, uint64_t slice_us)
{
	struct sub_job *job = part->job;
	struct shard *sh = part->shard;
	uint64_t until = clock_us() + slice_us;
	for (; part->item < job->n_items; part->item++) {
		const struct item *item = &job->items[part->item];
		/* A plain topic is retained in one place only. */
		if (item->code >= 0x80 || !item->replay ||
		        (!topic_has_wildcard(item->match) && broker_home(sh->b, item->match) != sh))
			continue;
		if (atomic_load_explicit(&job->abandoned, memory_order_relaxed))
			return true;
		if (clock_us() >= until)
			return false;
		retain_match(sh->retain, item->match, shard_now(sh), keep_found, part);
	}
	return true;
}

/* ---- back home: SUBACK or UNSUBACK, then what was retained ---- */

static void replay(struct session *s, const struct sub_job *job)
{
	for (unsigned i = 0; i < job->n_parts; i++) {
		const struct part *part = &job->parts[i];
		for (unsigned k = 0; k < part->n; k++) {
			const struct found *f = &part->found[k];
			uint8_t granted = job->codes[f->item];
			if (granted >= 0x80)
				continue;
			struct out_spec d = {
			        .msg = f->msg,
			        .ids = &job->id,
			        .n_ids = job->id != 0,
			        .qos = f->msg->qos < granted ? f->msg->qos : granted,
			        .retain = true,
			        .replay = true,
			        .from = f->from,
			};
			if (!is_outdated(job, f->msg))
				out_deliver(s, &d);
		}
	}
}

static uint8_t final_code(const struct sub_job *job, const struct item *item)
{
	bool gone = job->narrowed && job->type == MQTT_SUBACK && item->code < 0x80 &&
	        !session_sub(job->client->session, item->filter);
	return gone ? MQTT_NOT_AUTHORIZED : item->code;
}

static void job_done(struct sub_job *job)
{
	struct broker_client *c = job->client;
	if (c && c->state == CLIENT_ON) {
		struct buf *b = shard_scratch(c->shard);
		c->sub_job = NULL;
		for (unsigned i = 0; i < job->n_items; i++)
			job->codes[i] = final_code(job, &job->items[i]);
		if (mqtt_encode_suback(b, job->type, c->version, job->packet_id,
		            slice_make(job->codes, job->n_items)) == 0)
			client_send(c, b);
		replay(c->session, job);
		commands_pump(c->session);
		client_resume(c, PAUSE_SUBSCRIBE);
	} else if (c) {
		c->sub_job = NULL;
	}
	job_free(job);
}

static void part_returned(struct mail *mail)
{
	struct sub_job *job = container_of(mail, struct part, mail)->job;
	if (--job->waiting == 0)
		job_done(job);
}

/* ---- what a durable session holds, in the store ---- */

static void sub_kept(struct mail *mail)
{
	struct sub_keep *k = container_of(mail, struct sub_keep, ask.req.mail);
	struct sub_job *job = k->job;
	if (k->ask.req.err) {
		log_error("a subscription cannot be kept", F_U64("session", k->ask.session_id),
		        F_STR("error", err_text(k->ask.req.err)));
		k->item->code = MQTT_UNSPECIFIED;
	}
	if (--job->waiting == 0)
		job_done(job);
}

static void keep_one(struct sub_job *job, struct item *item, const struct session *s)
{
	const struct session_store *store = &job->shard->b->sessions_store;
	struct sub_keep *k = &job->keeps[job->n_keeps++];
	k->job = job;
	k->item = item;
	k->ask.req.mail.deliver = sub_kept;
	k->ask.req.reply_to = job->shard->box;
	k->ask.session_id = s->durable->id;
	k->ask.filter = item->filter;
	k->ask.remove = job->type == MQTT_UNSUBACK;
	k->ask.id = job->id;
	k->ask.qos = item->code;
	k->ask.no_local = item->no_local;
	k->ask.retain_as_published = item->retain_as_published;
	job->waiting++;
	store->sub_write(store->ctx, &k->ask);
}

/* Hands over what was granted, or taken away. */
static void job_keep(struct sub_job *job)
{
	const struct session *s = job->client->session;
	if (!s->durable)
		return;
	job->keeps = mem_new(job->n_items * sizeof(*job->keeps));
	for (unsigned i = 0; i < job->n_items; i++) {
		struct item *item = &job->items[i];
		if (job->type == MQTT_UNSUBACK ? item->code == MQTT_SUCCESS : item->code < 0x80)
			keep_one(job, item, s);
	}
}

static void part_return(struct part *part)
{
	part->mail.deliver = part_returned;
	mail_post(part->job->shard->box, &part->mail);
}

/* The one that waits longest gets its bit; the others come in later turns. */
static void replays_go_on(struct mail *mail)
{
	struct shard *sh = container_of(mail, struct shard, replay_mail);
	struct part *part = TAILQ_FIRST(&sh->replays);
	TAILQ_REMOVE(&sh->replays, part, entry);
	if (part_look(part, SLICE_US))
		part_return(part);
	else
		TAILQ_INSERT_TAIL(&sh->replays, part, entry);
	if (!TAILQ_EMPTY(&sh->replays))
		mail_post(sh->box, &sh->replay_mail);
}

static void part_wait(struct part *part)
{
	struct shard *sh = part->shard;
	if (TAILQ_EMPTY(&sh->replays)) {
		sh->replay_mail.deliver = replays_go_on;
		mail_post(sh->box, &sh->replay_mail);
	}
	TAILQ_INSERT_TAIL(&sh->replays, part, entry);
}

static void part_arrived(struct mail *mail)
{
	struct part *part = container_of(mail, struct part, mail);
	part_note(part);
	if (part_look(part, FIRST_SLICE_US))
		part_return(part);
	else
		part_wait(part);
}

static void job_send(struct sub_job *job)
{
	struct part *own = &job->parts[job->shard->index];
	job->waiting += job->n_parts;
	for (unsigned i = 0; i < job->n_parts; i++) {
		struct part *part = &job->parts[i];
		part->job = job;
		part->shard = &job->shard->b->shards[i];
		part->mail.deliver = part_arrived;
		if (part != own)
			mail_post(part->shard->box, &part->mail);
	}
	assert(own->job == job);
	part_note(own);
	bool done = part_look(own, FIRST_SLICE_US);
	if (job->n_parts > 1 || job->waiting > 1 || !done)
		client_pause(job->client, PAUSE_SUBSCRIBE);
	if (done)
		part_returned(&own->mail);
	else
		part_wait(own);
}

/* ---- the session's own side ---- */

static uint8_t check_filter(struct broker_client *c, struct item *item)
{
	const struct broker_hooks *hooks = &c->shard->b->hooks;
	unsigned levels = shard_limits(c->shard)->max_topic_levels;
	struct slice group;
	item->match = item->filter;
	int shared = topic_share_split(item->filter, &group, &item->match);
	item->shared = shared == 1;
	if (shared < 0 || !topic_filter_valid(item->match, levels))
		return MQTT_FILTER_INVALID;
	if (!hooks->may_subscribe(hooks->ctx, c->session->principal, item->filter)) {
		denied_subscribe(c->session->principal, item->filter);
		return MQTT_NOT_AUTHORIZED;
	}
	item->silent = sub_is_silent(item->match);
	return 0;
}

/* Puts a new subscription where messages find it. 0 or the code of the refusal. */
static uint8_t sub_enter(struct session *s, struct sub *sub, struct item *item)
{
	struct shard *sh = s->shard;
	bool first = false;
	if (sub->shared || sub->silent) {
		if (!sub_hold_apart(sub, item->filter))
			return MQTT_QUOTA;
	} else if (index_put(sh->subs, item->match, sub, &sub->of.place, &first) != 0) {
		return MQTT_QUOTA;
	}
	if (sub->shared) {
		item->home = share_home(sh->b, item->filter)->index;
		item->note = true;
		s->n_shared++;
	} else if (!sub->silent) {
		item->home = sh->index;
		item->note = first && route_private_home(sh->b, item->match) != sh;
	}
	LIST_INSERT_HEAD(&s->subs, sub, entry);
	s->n_subs++;
	metric_inc(METRIC_SUBSCRIPTIONS);
	return 0;
}

static uint8_t sub_add(struct session *s, struct item *item, struct sub **ret)
{
	bool apart = item->shared || item->silent;
	if (!quota_sub_take(s, item->filter, apart))
		return MQTT_QUOTA;
	struct sub *sub = mem_new(sizeof(*sub));
	sub->kind = ROUTE_LOCAL;
	sub->of.session = s;
	sub->shared = item->shared;
	sub->silent = item->silent;
	uint8_t code = sub_enter(s, sub, item);
	if (code) {
		quota_sub_give(s, item->filter, apart);
		free(sub);
		return code;
	}
	*ret = sub;
	return 0;
}

static uint8_t subscribe_one(
        struct broker_client *c, const struct mqtt_filter *f, uint32_t id, struct item *item)
{
	struct sub *sub = session_sub(c->session, item->filter);
	bool fresh = !sub;
	uint8_t code = check_filter(c, item);
	if (code == 0 && !quota_sub_may(c->session, fresh))
		code = MQTT_QUOTA;
	if (code == 0 && fresh)
		code = sub_add(c->session, item, &sub);
	if (code)
		return code;
	if (item->shared) /* again or not: the group is told, what the loops noted stays */
		item->home = share_home(c->shard->b, item->filter)->index;
	sub->qos = f->qos == 2 && client_azure_topic(c, f->filter) ? 1 : f->qos;
	sub->no_local = item->no_local = f->no_local;
	sub->retain_as_published = item->retain_as_published = f->retain_as_published;
	sub->id = id;
	/* [MQTT-3.8.4-4], section 3.8.3.1; shared subscriptions get none (4.8.2) */
	item->replay = !item->shared && !item->silent &&
	        (f->retain_handling == 0 || (f->retain_handling == 1 && fresh));
	return sub->qos;
}

/* A job with room for all filters and its own copy of their text. NULL: no memory. */
static struct sub_job *job_new(
        struct broker_client *c, const struct mqtt_subscribe *p, enum mqtt_type type)
{
	unsigned n = type == MQTT_SUBACK ? c->shard->b->n : 0;
	struct sub_job *job = calloc(1, sizeof(*job) + n * sizeof(job->parts[0]));
	if (!job)
		return NULL;
	job->n_parts = n;
	job->type = (uint8_t)type;
	job->items = calloc(p->count, sizeof(*job->items));
	job->codes = malloc(p->count);
	job->text = malloc(p->rest.n);
	if (!job->items || !job->codes || !job->text) {
		job_free(job);
		return NULL;
	}
	memcpy(job->text, p->rest.p, p->rest.n);
	job->client = c;
	job->shard = c->shard;
	job->packet_id = p->packet_id;
	job->id = p->subscription_id;
	return job;
}

static void end_undecodable(struct broker_client *c, int err)
{
	client_end(c, err == ERR_PROTOCOL ? END_PROTOCOL : END_MALFORMED);
}

void subscribe_received(struct broker_client *c, const struct mqtt_frame *f)
{
	struct mqtt_subscribe p;
	int err = mqtt_decode_subscribe(f, c->version, &p);
	if (err) {
		end_undecodable(c, err);
		return;
	}
	struct sub_job *job = job_new(c, &p, MQTT_SUBACK);
	if (!job) {
		client_end(c, END_QUOTA);
		return;
	}
	bool shared = false;
	struct slice rest = slice_make(job->text, p.rest.n);
	while (rest.n > 0) {
		struct mqtt_filter filter;
		struct item *item = &job->items[job->n_items++];
		mqtt_next_filter(MQTT_SUBSCRIBE, &rest, &filter);
		item->filter = filter.filter;
		item->code = subscribe_one(c, &filter, p.subscription_id, item);
		if (item->code == MQTT_FILTER_INVALID && c->version != MQTT_V5) {
			/* What was granted before it stays noted; it ends with the session. */
			client_end(c, END_TOPIC_FILTER);
		}
		shared |= item->shared && item->code < 0x80;
	}
	if (shared) {
		job->as = share_as(c->session);
		share_member_ref(job->as.is);
		if (job->as.who)
			principal_ref(job->as.who);
	}
	c->sub_job = job;
	job_keep(job);
	job_send(job);
}

/* ---- UNSUBSCRIBE ---- */

static bool unsubscribe_one(struct session *s, struct slice text)
{
	struct sub *sub = session_sub(s, text);
	if (!sub)
		return false;
	sub_leave(s, sub);
	return true;
}

void unsubscribe_received(struct broker_client *c, const struct mqtt_frame *f)
{
	struct mqtt_subscribe p;
	int err = mqtt_decode_unsubscribe(f, c->version, &p);
	if (err) {
		end_undecodable(c, err);
		return;
	}
	struct sub_job *job = job_new(c, &p, MQTT_UNSUBACK);
	if (!job) {
		client_end(c, END_QUOTA);
		return;
	}
	struct slice rest = slice_make(job->text, p.rest.n);
	while (rest.n > 0) {
		struct mqtt_filter filter;
		struct item *item = &job->items[job->n_items++];
		mqtt_next_filter(MQTT_UNSUBSCRIBE, &rest, &filter);
		item->filter = filter.filter;
		item->code = unsubscribe_one(c->session, filter.filter)
		        ? MQTT_SUCCESS
		        : MQTT_NO_SUBSCRIPTION_EXISTED;
	}
	c->sub_job = job;
	job_keep(job);
	if (job->waiting == 0)
		job_done(job);
	else
		client_pause(c, PAUSE_SUBSCRIBE);
}

/* ---- what an earlier hub left ---- */

int subscription_restored(struct session *s, const struct sub_write *from)
{
	struct broker *b = s->shard->b;
	struct item item = {.filter = from->filter, .match = from->filter};
	struct slice group;
	struct sub *sub;
	int shared = topic_share_split(from->filter, &group, &item.match);
	if (shared < 0 || !topic_filter_valid(item.match, LEVELS_MAX))
		return ERR_INVALID;
	/* Nothing but this stands between what somebody wrote into the database and messages. What
	 * an identity may is not known yet: session_take judges before anything is delivered. */
	if (!s->unjudged && !b->hooks.may_subscribe(b->hooks.ctx, s->principal, from->filter))
		return ERR_DENIED;
	item.shared = shared == 1;
	item.silent = sub_is_silent(item.match);
	if (sub_add(s, &item, &sub) != 0)
		return ERR_QUOTA;
	sub->qos = from->qos < 2 ? from->qos : 2;
	sub->no_local = from->no_local;
	sub->retain_as_published = from->retain_as_published;
	sub->id = from->id;
	if (item.shared) {
		const struct share_as as = share_as(s);
		share_join(&b->shards[item.home], item.filter, &as);
	}
	for (unsigned i = 0; item.note && i < b->n; i++)
		route_note(&b->shards[i], item.match, item.home, item.shared, true);
	return 0;
}
