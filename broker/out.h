/*
 * Private to the room: what a session still has to deliver. In flight: sent, its packet id in use.
 * Queued: waits for room. Packet ids are given in sequence, so that a message's place in the ring
 * follows from its id.
 */
#ifndef HF_BROKER_OUT_H
#define HF_BROKER_OUT_H

#include "server/base/msg.h"

#define ID_COUNT 65535u /* packet ids */

struct append;
struct broker_client;
struct filter;
struct queue_entry;
struct receipt;
struct session;
struct shard;

/* Subscription identifiers when a message has more than one. */
struct out_ids {
	unsigned n;
	uint32_t ids[];
};

enum {
	OUT_RETAIN = 1,   /* is sent with RETAIN */
	OUT_UNSENT = 2,   /* not sent yet on this connection */
	OUT_RELEASED = 4, /* PUBREC came, PUBREL was sent: msg is gone */
	OUT_COMMIT =
	        8, /* waits for the store before it (or, when it is released, PUBREL) is sent */
	OUT_AGAIN = 16,   /* an earlier hub, or session, may have sent it */
	OUT_COMMAND = 32, /* n is its number among the device's commands */
	OUT_NOTED = 64,   /* a command: the store knows that it was sent */
	OUT_JUDGED = 128, /* policy was asked, and its answer stands */
};

struct out {
	struct msg *msg;
	struct out_ids *ids;
	struct filter *group; /* of the shared group that chose this session, or NULL */
	struct append
	        *append; /* of this process, to the store; NULL: it is there, or is not kept */
	uint64_t n;      /* its number in the store's queue, 0: it is not kept */
	uint32_t id;     /* the only Subscription Identifier, 0: none */
	uint8_t qos;     /* 0: a hole in the flight */
	uint8_t flags;
};

struct out_ring {
	struct out *v;
	uint32_t size, head, count; /* size: a power of two or 0 */
};

struct out_box {
	struct out_ring flight, queue;
	size_t queued_bytes, flight_bytes;
	uint32_t live;      /* in flight and not a hole */
	uint32_t unsettled; /* of them sent on this connection: they fill the client's window */
	uint32_t resend;    /* place in the flight up to which this connection has seen it */
	uint16_t first_id;  /* packet id of the flight's first place */
};

struct out_spec {
	struct msg *msg; /* a reference is taken when it is kept */
	const uint32_t *ids;
	unsigned n_ids;
	uint8_t qos;
	bool retain;               /* the RETAIN flag towards the client */
	bool replay;               /* a retained message that a SUBSCRIBE asked for */
	const struct access *from; /* with replay: its publisher's first part, NULL: not known */
	struct filter *group;      /* a reference is taken when it is kept */
	struct receipt *waits;     /* until it is durable where it must be; NULL: nobody */
};

/* Sends it now, keeps it for later, or drops it by the rules of limits and back-pressure. */
void out_deliver(struct session *s, const struct out_spec *d);
/* Sends what has room now. */
void out_pump(struct session *s);
/* A new connection: everything in flight is to be sent again. */
void out_restart(struct session *s);
/* PUBACK, PUBREC, PUBCOMP came. out_received answers with PUBREL itself. */
void out_acked(struct session *s, uint16_t packet_id, uint8_t reason);
void out_received(struct session *s, uint16_t packet_id, uint8_t reason);
void out_completed(struct session *s, uint16_t packet_id);
/* Sends command n of the device (d: qos 0 or 1) if there is room for it now. again: it may have
 * been sent before. */
bool out_command(struct session *s, const struct out_spec *d, uint64_t n, bool again);
bool out_command_room(const struct session *s);
/* Whether a message would be sent at once. */
bool out_has_room(const struct session *s);
/* The store has noted what a message in flight waited for; ok: it did. */
void out_committed(struct session *s, uint16_t packet_id, uint64_t n, bool ok);
/* A message of the session's queue was read from the store: takes it over. False: it is of no use
 * any more, the store may forget it. again: it may have been sent already. */
bool out_loaded(struct session *s, struct queue_entry *e, bool again);
/* What the session may has changed: what waits is judged again before it is sent. */
void out_judge_again(struct session *s);
/* Subscriptions were taken away: what nothing of the others takes is not sent any more. */
void out_narrowed(struct session *s);
/* The session ends: drops everything. give_back: messages of shared groups go to other members. */
void out_free(struct session *s, bool give_back);

/* Fills a zeroed entry, with references. False: no memory. */
bool out_fill(struct out *o, const struct out_spec *d);
/* Whether a message is not to be delivered any more. */
bool out_too_late(const struct shard *sh, const struct msg *m);

/* the wire (out_wire.c) */
struct wire {
	struct msg *msg;
	const uint32_t *ids;
	unsigned n_ids;
	uint16_t packet_id;
	uint8_t qos;
	bool retain, dup;
};
/* Queues one PUBLISH. False: the client takes no packet that large, nothing was sent. */
bool wire_publish(struct broker_client *c, const struct wire *w);

/* the ring (out_ring.c) */
static inline struct out *out_ring_at(const struct out_ring *r, uint32_t i)
{
	return &r->v[(r->head + i) & (r->size - 1)];
}
/* A new zeroed place at the end; NULL when out of memory. */
struct out *out_ring_push(struct out_ring *r);
/* Forgets the first place (its content is the caller's). */
void out_ring_pop(struct out_ring *r);
void out_ring_free(struct out_ring *r);
/* Drops what an entry holds. */
void out_clear(struct shard *sh, struct out *o);

#endif
