/*
 * Private to the room: the broker and its shards. A shard is everything that one event loop owns:
 * its connections, the sessions whose home it is, its copy of the subscription index, its share of
 * the retained messages and of the shared groups. Nobody else touches it; other shards send mail.
 */
#ifndef HF_BROKER_SHARD_H
#define HF_BROKER_SHARD_H

#include <stdatomic.h>
#include <sys/queue.h>

#include "broker/broker.h"
#include "broker/index.h"
#include "broker/publisher.h"
#include "broker/retain.h"
#include "broker/route.h"
#include "server/base/loop.h"
#include "server/base/map.h"
#include "server/base/tally.h"

#define SHARDS_MAX 16

/* An immutable copy of the limits, shared by the shards; the store's filters are slices into it. */
struct limits {
	atomic_uint refs;
	struct broker_limits v;
	unsigned n_filters;
	struct slice *filters;
	char text[];
};

LIST_HEAD(client_list, broker_client);
LIST_HEAD(session_list, session);
LIST_HEAD(connecting_list, connecting);
TAILQ_HEAD(part_list, part);
LIST_HEAD(remote_group_list, remote_group);
TAILQ_HEAD(rate_list, rate);

struct shard {
	struct broker *b;
	struct loop *loop;
	struct mailbox *box;
	unsigned index;
	unsigned limits_version; /* what was decided under older limits is decided again */
	struct limits *limits;

	struct client_list clients; /* all but those on their way to another loop */
	struct connecting_list connecting;
	struct client_list ending;  /* closing; their session lets go of them in the next turn */
	struct client_list starved; /* not read until the store has caught up */
	struct mail reap;
	bool reap_posted;
	struct loop_timer starved_timer, tick;

	struct map sessions; /* by session key */
	struct session_list session_list;
	struct session *recheck_next; /* where a recheck of all goes on */
	struct mail recheck_mail;
	bool recheck_running;
	struct map commands; /* of devices whose home is here, by device key */
	/* What a queue of commands that begins gives its first number behind: the store may be
	 * about to forget one that had lower ones, and a number is used once. */
	uint64_t commands_from;
	uint64_t commands_generation; /* the last queue's */
	struct map farewells;         /* durable sessions that are ending, by session key */
	struct map members;           /* sessions with shared subscriptions, by their number */
	uint64_t next_member;
	struct map rates; /* of devices, by id: see rate.h */
	struct rate_list rate_list;
	unsigned n_modules; /* sessions of modules: without any, a device's sessions are found by
	                       key */

	struct index *subs; /* who wants what: see route.h */
	struct remote others[SHARDS_MAX];
	struct remote_group_list remote_groups;
	struct map filters; /* those of subscriptions that stand apart, by text */
	struct map held;    /* subscriptions that stand apart, by session and filter */
	struct map groups;  /* shared groups whose home is here, by text */
	struct retain *retain;
	struct publishers publishers; /* of what is retained here: see revoke.c */
	struct mail revoke_mail;
	bool revoking;
	unsigned n_questions;     /* about publishers, under way */
	struct part_list replays; /* looking for what is retained, a slice each turn */
	struct mail replay_mail;
	struct route_scratch route;
	struct buf scratch; /* one packet on its way out */

	bool draining;
	uint64_t drain_by;
	struct loop_timer drain_timer;

	uint64_t waiting_ms; /* when waiting_bytes was looked at: what waits for clients in all */
	size_t waiting_bytes;
	atomic_size_t inbox; /* bytes of messages on their way here from other shards */
	atomic_size_t
	        tickets; /* and rows of sessions under way: written here, read by broker_busy */
	atomic_size_t keepers;               /* durable sessions */
	uint8_t filter_text[INDEX_TEXT_MAX]; /* see sub_text */
};

struct broker {
	struct broker_hooks hooks;
	struct telemetry_store store;
	bool keeps; /* there is a store for sessions */
	struct session_store sessions_store;
	unsigned n;
	atomic_size_t clients, sessions;
	atomic_size_t filtering;       /* sessions whose deliveries policy is asked of */
	atomic_size_t durable_members; /* durable sessions that are or were in shared groups */
	atomic_size_t retained_count, retained_bytes;
	atomic_size_t sub_bytes, will_bytes;       /* over all sessions */
	struct tally *device_count, *device_bytes; /* what each device retains */
	struct shard shards[];
};

static inline const struct broker_limits *shard_limits(const struct shard *sh)
{
	return &sh->limits->v;
}
/* How long an answer of policy is kept at most: it may depend on the time of day. */
#define DECISION_MS 1000
static inline uint64_t shard_now(const struct shard *sh)
{
	return loop_now_ms(sh->loop);
}

/* The home of what is named by text: retained messages by topic, shared groups by group/filter. */
struct shard *broker_home(struct broker *b, struct slice text);
/* The home of a session: "device/module" lives with its device. */
struct shard *broker_home_client(struct broker *b, struct slice client_id);
/* The shard of a loop that the broker was made with. */
struct shard *broker_shard(struct broker *b, const struct loop *loop);
/* An empty buffer for encoding one packet; it keeps its memory from use to use. */
struct buf *shard_scratch(struct shard *sh);
/* Counts what a stop waits for. */
static inline void shard_busy(struct shard *sh, int change)
{
	size_t n = atomic_load_explicit(&sh->tickets, memory_order_relaxed);
	atomic_store_explicit(&sh->tickets, n + (size_t)change, memory_order_relaxed);
}
/* Whether telemetry under this topic is kept (telemetry.store). */
bool shard_stores(const struct shard *sh, struct slice topic);
/* Whether more waits for the store than may; and whether there is ample room again. */
bool shard_store_full(const struct shard *sh);
bool shard_store_caught_up(const struct shard *sh);

struct limits *limits_new(const struct broker_limits *from);
struct limits *limits_unref(struct limits *l);

#endif
