/*
 * Private to the room: queues in the store, message by message. A message that a durable session is
 * to get is appended to its queue there; whoever published it is acknowledged when that is
 * committed, or when the client has acknowledged it meanwhile.
 */
#ifndef HF_BROKER_QUEUE_STORE_H
#define HF_BROKER_QUEUE_STORE_H

#include "broker/out.h"
#include "broker/session_store.h"

struct append;

/* Appends d's message as number n of the session's queue; packet_id as in queue_append. held: the
 * entry in memory that is to refer to it gets it, NULL: there is none. */
void append_send(struct session *s, const struct out_spec *d, uint64_t n, uint16_t packet_id,
        struct out *held);
/* The entry that referred to it goes. */
void append_drop(struct append *a);
/* Who waits for it to be durable, NULL: nobody. */
struct receipt *append_waits(const struct append *a);

/* The entry's message is delivered or dropped: the store need not keep it. */
void queue_settle(struct session *s, struct out *o);
/* The store forgets message n of a queue; the answer is for nobody. */
void queue_remove(struct shard *sh, uint64_t queue, uint64_t n);
/* The store notes that command n of a queue was sent; the answer is for nobody. */
void queue_sent(struct shard *sh, uint64_t queue, uint64_t n);
/* QUEUE_MARK, QUEUE_RELEASE for a message in flight: the answer goes to out_committed. */
void queue_note(struct session *s, enum queue_op op, uint64_t n, uint16_t packet_id);

/* tail.c: asks for the next messages of the session's queue if there is need and room for them. */
void tail_pump(struct session *s);
/* A message of that size went to the store alone. */
void tail_grown(struct session *s, size_t size);
/* The queue is full: counts anew what the store has of it, because messages expire there and
 * nobody says so. Once in a while, one count at a time. */
void tail_recount(struct session *s);
/* The queue in memory goes: the store has all of it. */
void tail_leave(struct session *s);
/* The session ends: answers will come for nobody. */
void tail_abandon(struct session *s);

#endif
