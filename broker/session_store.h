/*
 * The port through which sessions outlive the hub: sessions with an expiry, their subscriptions,
 * what is queued for them, command queues, retained messages. Storage (PostgreSQL) and storage/ram
 * (tests) implement it. Requests are made on a loop and ride in the group commits of the store;
 * each is answered, once, in the mailbox reply_to. Everything a request refers to (messages,
 * slices) stays valid until its answer, which is the asker's to free. Requests that name the same
 * session, queue or topic take effect in the order in which they were made. With the database away
 * there is no answer until it is back. err, where nothing else is said: 0 committed, ERR_POISON:
 * the database refuses it for good.
 */
#ifndef HF_BROKER_SESSION_STORE_H
#define HF_BROKER_SESSION_STORE_H

#include <stdatomic.h>
#include <stdlib.h>

#include "server/base/crypto.h"
#include "server/base/mail.h"
#include "server/base/map.h"
#include "server/base/msg.h"
#include "server/base/principal.h"

/* What every request begins with. */
struct store_request {
	struct mail mail; /* the answer: deliver is set by the asker */
	struct mailbox *reply_to;
	int err;
	/* The store's, while it has the request. */
	struct {
		void (*deliver)(struct mail *m);
		void *owner;
		unsigned kind;
		uint64_t deadline_ms;
	} store;
};

/* ---- sessions ---- */

/*
 * A new session's id. What is asked of the sessions of one key, one after the other, takes effect
 * in that order because their ids have the low bits in common.
 */
#define SESSION_ID_KEY_BITS 8
static inline uint64_t session_id_new(struct slice key)
{
	const uint64_t low = (UINT64_C(1) << SESSION_ID_KEY_BITS) - 1;
	uint64_t id = 0;

	while (id <= low) {
		crypto_random(&id, sizeof(id));
		id &= (UINT64_C(1) << 62) - 1;
	}
	return (id & ~low) | (hash_stable(key.p, key.n) & low);
}

struct session_will {
	struct msg *msg; /* NULL: none */
	uint32_t delay;  /* s */
	bool has_expiry;
	uint32_t expiry; /* Message Expiry Interval, s */
};

struct session_row {
	uint64_t id;            /* session_id_new: below 2^62; never one that another session had */
	struct slice key;       /* unique among sessions: kind of principal, principal, client id */
	uint16_t client_id_off; /* where in key the client id begins */
	struct principal *principal;
	uint32_t expiry;    /* s; UINT32_MAX: never */
	int64_t offline_us; /* wall clock since when nobody is connected; 0: somebody is */
	struct session_will will;
};

enum session_op {
	SESSION_PUT,   /* makes or replaces the row; another session with the same key ends */
	SESSION_TOUCH, /* of an existing row: expiry, offline_us; and its will goes if there is none
	                */
	SESSION_END,   /* forgets the session, its subscriptions and its queue */
};
struct session_write {
	struct store_request req;
	enum session_op op;
	struct session_row row; /* SESSION_END: the id alone */
};

/* One subscription made, changed or removed. */
struct sub_write {
	struct store_request req;
	uint64_t session_id;
	bool remove;
	struct slice filter; /* as sent, with "$share/{group}/" */
	uint8_t qos;
	bool no_local, retain_as_published;
	uint32_t id; /* Subscription Identifier, 0: none */
};

/* ---- queues: a session's, or a device's commands ---- */

/* The queue of a device's commands (CONTRACT section 6), which needs no session. */
#define COMMAND_QUEUE(device_key) ((UINT64_C(1) << 62) | (device_key))

/*
 * A message for a queue. Sealed under the data key of the device that published it
 * (msg->device_key), of the hub where that is 0. ERR_NOT_FOUND: that device (generation) is gone,
 * nothing was kept. With msg->again nothing is kept where the queue has the message as it was
 * received when its packet id was noted (telemetry_row, qos2_note): so that one that was queued
 * before a crash is found, its id has to be committed before its appends are asked for.
 */
struct queue_append {
	struct store_request req;
	uint64_t queue; /* a session's id or COMMAND_QUEUE */
	uint64_t n;     /* its number there: rises */
	struct msg *msg;
	uint8_t qos;        /* 1, 2: as it is delivered */
	bool retain;        /* the RETAIN flag towards the client */
	uint16_t packet_id; /* with which it is being sent, 0: not yet */
	struct slice group; /* "$share/…" of the shared group that chose this session, or empty */
	const uint32_t *ids; /* Subscription Identifiers */
	unsigned n_ids;
	/* Set by the asker when the message is not needed any more: a store that has not begun with
	 * it leaves it out. */
	atomic_bool settled;
	bool written; /* out: a row was committed (or the queue had the message: msg->again) */
};

enum queue_op {
	QUEUE_REMOVE,  /* the message is delivered or dropped */
	QUEUE_MARK,    /* QoS 2: it is about to be sent with this packet id; a command: it was */
	QUEUE_RELEASE, /* QoS 2: PUBREC came: its content is dropped, packet id and number stay */
	/* A message that was delivered with QoS 2 goes; but as long as the packet id of its sender
	 * is noted, the queue knows that it had it (see queue_append, msg->again). */
	QUEUE_COMPLETE,
};
struct queue_write {
	struct store_request req;
	enum queue_op op;
	uint64_t queue, n;
	uint16_t packet_id; /* QUEUE_MARK */
};

struct queue_entry {
	uint64_t n;
	struct msg *msg; /* the asker's reference; NULL: released, or not readable any more */
	uint8_t qos;
	bool retain, released;
	uint16_t packet_id; /* 0: was never sent with QoS 2, or as a command */
	char *group;        /* malloc'ed text or NULL */
	uint32_t *ids;      /* malloc'ed or NULL */
	unsigned n_ids;
};

/* The next messages of a queue, in order; everything that was asked of the queue before has taken
 * effect. ERR_UNAVAILABLE: not readable within registry.lookup_timeout. */
struct queue_load {
	struct store_request req;
	uint64_t queue;
	uint64_t after; /* those with n greater than this */
	unsigned max_rows;
	size_t max_bytes;            /* of messages; the first one may be larger */
	struct queue_entry *entries; /* out: malloc'ed, the asker frees (queue_entries_free) */
	unsigned n;
	bool more; /* out: there are further ones */
	/* Nothing is read but how many (max_rows at most) there are and how large: without those
	 * that have expired or are too old. max_bytes does not matter. */
	bool count_only;
	unsigned count; /* out, and the sealed bytes of these */
	size_t bytes;
};
/* Frees the entries with what they hold; an asker that keeps a message takes it out first. */
static inline void queue_entries_free(struct queue_entry *entries, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		msg_unref(entries[i].msg);
		free(entries[i].group);
		free(entries[i].ids);
	}
	free(entries);
}

/* ---- retained messages ---- */

/* Sets what is retained under the message's topic, or clears it (empty payload). ERR_NOT_FOUND as
 * for queue_append. */
struct retained_write {
	struct store_request req;
	struct msg *msg;
};

/* ---- QoS 2 packet ids of messages that are not stored as telemetry ---- */

/* Notes the id of a received message (msg->packet_id); qos2_release and qos2_load of
 * telemetry_store.h know it afterwards. device_key 0 where no device sent it. */
struct qos2_note {
	struct store_request req;
	uint64_t device_key;
	struct slice session;
	struct msg *msg;
};

/* ---- start ---- */

struct queue_stats {
	unsigned count; /* rows */
	size_t bytes;   /* sealed */
	uint64_t last;  /* the greatest n, 0: none */
};

/* What a hub that starts is told; one call for each. Slices and rows are valid during the call
 * (references are for the callee to take). A callee that returns an error ends the restore. */
struct session_restore {
	void *ctx;
	int (*session)(void *ctx, const struct session_row *row, const struct queue_stats *queue);
	/* After its session's call. */
	int (*sub)(void *ctx, const struct sub_write *sub);
	int (*commands)(void *ctx, uint64_t device_key, struct slice device_id,
	        const struct queue_stats *queue);
	/* device_id: of the device that published it; empty: none did, or it is gone. */
	int (*retained)(void *ctx, struct msg *m, struct slice device_id);
};

struct session_store {
	void *ctx;
	void (*session_write)(void *ctx, struct session_write *w);
	void (*sub_write)(void *ctx, struct sub_write *w);
	void (*queue_append)(void *ctx, struct queue_append *a);
	void (*queue_write)(void *ctx, struct queue_write *w);
	void (*queue_load)(void *ctx, struct queue_load *l);
	void (*retained_write)(void *ctx, struct retained_write *w);
	void (*qos2_note)(void *ctx, struct qos2_note *n);
	/* Main thread, after the store has started and before the loops run; blocks. 0,
	 * ERR_UNAVAILABLE, ERR_NOMEM, or what a callee returned. Rows that cannot be read (altered,
	 * shredded) are left out and counted. All sessions come first, then subscriptions, counts
	 * of commands, retained messages. */
	int (*restore)(void *ctx, const struct session_restore *to);
};

#endif
