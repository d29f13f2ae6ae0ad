/*
 * Private to the room: from a message to those who subscribed. The index of a loop holds entries of
 * four kinds; each begins with the kind, in one byte.
 */
#ifndef HF_BROKER_ROUTE_H
#define HF_BROKER_ROUTE_H

#include <sys/queue.h>

#include "broker/receipt.h"
#include "server/base/buf.h"
#include "server/base/mail.h"
#include "server/base/msg.h"

struct broker;
struct filter;
struct index_values;
struct session;
struct shard;

enum route_kind {
	ROUTE_LOCAL,        /* struct sub: a session of this loop */
	ROUTE_REMOTE,       /* struct remote: somebody on another loop */
	ROUTE_REMOTE_GROUP, /* struct remote_group: a shared group whose home is another loop */
	ROUTE_GROUP,        /* struct group: a shared group whose home is here */
};

/* The entry that says: that other loop has subscribers. A loop tells when its first comes and its
 * last goes, so one such entry for each loop serves all filters. */
struct remote {
	uint8_t kind;
	unsigned shard;
};

/* The same for a shared group's home. The members' loops tell, each for itself: it is counted. */
struct remote_group {
	struct remote remote;
	unsigned count;
	LIST_ENTRY(remote_group) entry;
};

/* What the index has to know of its entries; those of sessions of the loop count. */
extern const struct index_values route_values;

/* What one session gets of a message, gathered over its overlapping subscriptions. */
struct match {
	struct session *session;
	uint8_t qos;
	bool retain_as_published;
	uint32_t first_id,
	        more_ids; /* subscription identifiers; more: index + 1 into ids, 0: none */
};
struct match_id {
	uint32_t id, next;
};

/* Kept from message to message, so that routing allocates nothing. */
struct route_scratch {
	struct match *matches;
	unsigned n_matches, matches_size;
	struct match_id *ids;
	unsigned n_ids, ids_size;
	struct group **groups;
	unsigned n_groups, groups_size;
	uint32_t *flat;
	unsigned flat_size;
	uint64_t remote; /* a bit for each other shard */
};

/*
 * "devices/{id}/…" and "$aws/things/{id}/…" belong to a device: what is published there always goes
 * to the device's home as well, so that the device's own subscriptions need no notes on the other
 * loops. With many loops that is most of what an idle device would cost. Returns the home of such a
 * topic or filter, NULL for others.
 */
struct shard *route_private_home(struct broker *b, struct slice text);

/* Gives m to every subscriber, here and on the other loops; from (may be NULL) is the session that
 * published it, private_home what route_private_home says of the topic. waits (may be NULL) is told
 * when every durable session that gets it has it in the store. Returns whether there may be any
 * subscriber. */
bool route_publish(struct shard *sh, struct msg *m, const struct session *from,
        const struct shard *private_home, struct receipt *waits);
/*
 * Messages between loops are bounded too. A mail that carries one is announced to the loop it goes
 * to and taken off when it is delivered. Past a limit QoS 0 goes no further (enter: false), and who
 * published is not read for a while: full tells whether the last message found a loop that is
 * behind, caught_up whether all have room again.
 */
bool route_inbox_enter(struct shard *to, const struct msg *m);
void route_inbox_leave(struct shard *to, const struct msg *m);
bool route_full(const struct shard *sh);
bool route_caught_up(const struct broker *b);

/*
 * A message on its way to another shard; and who waits here until it is durable there. It goes back
 * for that when the last of those who took it there has it in the store. Without anybody who waits,
 * or when no durable session can be meant, it does not come back.
 */
struct carried {
	struct mail mail;
	struct shard *from, *to;
	struct msg *msg;
	struct receipt *waits; /* on the shard where it comes from; NULL: nobody */
	struct receipt here;   /* on the shard where it goes to */
	void (*arrived)(struct carried *c, struct receipt *waits);
};
/* Sends c (malloc'ed, zeroed; it is freed when it is done) to to. False: there is no room, nothing
 * was done with it. Calls arrived there. */
bool carried_send(struct carried *c, struct shard *to, struct msg *m, struct receipt *waits);

/* Notes or forgets that the shard target has subscribers (group: a shared group) for filter. */
void route_note(struct shard *sh, struct slice filter, unsigned target, bool group, bool add);
/* Frees the notes about other loops (the index goes with them). */
void route_notes_free(struct shard *sh);
void route_scratch_free(struct route_scratch *r);

#endif
