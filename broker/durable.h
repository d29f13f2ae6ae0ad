/*
 * Private to the room: what a durable session has beside what every session has. A session is
 * durable when it outlives its connection and the hub has a store for it; others never ask the
 * store for anything.
 */
#ifndef HF_BROKER_DURABLE_H
#define HF_BROKER_DURABLE_H

#include <sys/queue.h>

#include "broker/session_store.h"

struct append;
struct farewell;
struct leaving;
struct receipt;
struct session;
struct session_keep;
struct shard;
struct tail_count;
struct tail_load;

TAILQ_HEAD(leaving_list, leaving);

struct durable {
	uint64_t id; /* in the store */
	bool held;   /* its row is put when the session before it has ended (farewell.c) */
	/* One write of the row is under way at most; what changes meanwhile goes with the next. */
	struct session_keep *writing;
	uint8_t due;          /* enum durable_due */
	bool had_client;      /* restored: somebody was connected when the hub stopped */
	bool cold;            /* restored, and nobody has come back to it yet */
	bool other_principal; /* than in the row as last written */
	uint64_t will_tag;    /* tells the will of the row as last written; 0: none */
	/* Wills on their way to those who get them; the oldest one is in the row. */
	struct leaving_list leaving;
	struct farewell *farewell; /* the session is ending, and something has to be done first */
	/* Of the queue (out.h) the store holds what was handed over, n <= stored_to; memory has or
	 * had what has n <= loaded_to. The rest is the tail. */
	uint64_t stored_to, loaded_to;
	size_t tail_count, tail_bytes;
	bool fresh; /* restored, and nothing of its queue was read yet */
	/* What waits up to there was not judged under what the session may now; and may have come
	 * by subscriptions that were taken away since. */
	uint64_t unjudged_to, narrowed_to;
	uint64_t begun_to; /* of what an earlier hub had in flight, the last that was read */
	struct tail_load *loading;
	struct tail_count *counting;
	uint64_t counted_ms; /* when that began, the last time; 0: never */
};

/* The session becomes durable: its row is put, as soon as the session of the same key that was
 * before it has ended. The answer goes to connect_kept. */
void durable_begin(struct session *s);
/* One that the store knows. */
void durable_restored(
        struct session *s, const struct session_row *row, const struct queue_stats *queue);
/* Something of the row has changed: writes it, all of it if it must. NULL store: does nothing. */
void durable_write(struct session *s);
/* The same, if its principal is another one than in the row. */
void durable_write_changed(struct session *s);
/* Writes what was noted while the loops did not run. */
void durable_write_due(struct session *s);
/* The session has ended: the store forgets it too (its will, if it is on its way, comes first). */
void durable_end(struct session *s);
/* The session before it has ended: puts its row if that waited for it. */
void durable_go_on(struct session *s);
/* Frees it, the store hears nothing. */
void durable_discard(struct session *s);
/* Asks the store to forget a session. */
void durable_forget(struct shard *sh, uint64_t id);

/* farewell.c. What waits for this receipt (take a count of it) happens before the store forgets the
 * session, which is about to end. */
struct receipt *farewell_receipt(struct session *s);
/* Who waits until a message that the session gives back to its shared group is durable elsewhere:
 * its publisher, who waits for its append (NULL: there is none) still; else the end of the session,
 * since the store has it there. NULL: nobody. */
struct receipt *farewell_waits(struct session *s, const struct append *a);
/* Whether an earlier session of the same key has not ended in the store yet. */
bool farewell_under_way(const struct session *s);
/* Asks the store to forget the session when everything is done that has to be before, also that the
 * messages of shared groups in its tail have gone to other members. False: nothing has to be. */
bool farewell(struct session *s);
void farewells_free(struct shard *sh);

#endif
