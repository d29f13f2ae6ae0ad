/*
 * The port through which the broker hands over what must be kept; storage (PostgreSQL) and
 * storage/ram (tests) implement it. Requests are made on a loop, answers come to that loop's
 * mailbox. Requests of one device are handled in order.
 */
#ifndef HF_BROKER_TELEMETRY_STORE_H
#define HF_BROKER_TELEMETRY_STORE_H

#include "server/base/mail.h"
#include "server/base/msg.h"

/* Of an unreleased QoS 2 message: which it was, so that a resend is told from a new message that
 * reuses its packet id. tag: the first 8 bytes of HMAC-SHA-256 over topic and payload. */
struct qos2_id {
	uint16_t packet_id;
	uint8_t tag[8];
	int64_t received_us; /* when it came in first; 0: not known */
};

struct telemetry_row {
	struct mail
	        mail; /* the answer: deliver is set by the asker; the store posts it to reply_to */
	struct mailbox *reply_to;
	struct msg *msg; /* the asker's reference, valid until the answer */
	struct slice
	        topic; /* under which it is stored: msg_topic, or the part behind $aws/rules/… */
	uint64_t device_key; /* which generation of which device */
	struct slice module; /* module id or empty; lives as long as the request */
	bool qos2;           /* commit the packet id in the transaction of the row */
	uint16_t packet_id;
	struct slice session; /* with qos2: the client id whose packet ids these are */
	/* Out: 0: committed. ERR_NOT_FOUND: the device's generation is gone. ERR_POISON: the row
	 * cannot be stored and was set aside. (With the database away there is no answer until it
	 * is back.) */
	int err;
	/* The store's, while it has the request. */
	struct {
		void (*deliver)(struct mail *m);
		void *owner;
	} store;
};

struct qos2_release { /* PUBREL: forget one id; CONNECT with clean start: forget all */
	struct mail mail;
	struct mailbox *reply_to;
	uint64_t device_key;
	struct slice session;
	bool all;
	uint16_t packet_id;
	int err;
	/* The store's, while it has the request. */
	struct {
		void (*deliver)(struct mail *m);
		void *owner;
	} store;
};

struct qos2_load { /* CONNECT of a session that this process does not know */
	struct mail mail;
	struct mailbox *reply_to;
	uint64_t device_key;
	struct slice session;
	int err;             /* ERR_UNAVAILABLE: not readable within registry.lookup_timeout */
	struct qos2_id *ids; /* malloc'ed, the asker frees */
	unsigned n;
	/* The store's, while it has the request. */
	struct {
		void (*deliver)(struct mail *m);
		void *owner;
	} store;
};

struct telemetry_store {
	void *ctx;
	void (*append)(void *ctx, struct telemetry_row *row);
	void (*qos2_release)(void *ctx, struct qos2_release *r);
	void (*qos2_load)(void *ctx, struct qos2_load *l);
	/* The content tag of a QoS 2 message (keyed by a secret of the hub). Any thread. */
	void (*qos2_tag)(void *ctx, const struct msg *m, uint8_t tag[8]);
	/* Bytes handed over and not answered yet, over all loops: one relaxed read. */
	size_t (*backlog_bytes)(void *ctx);
};

#endif
