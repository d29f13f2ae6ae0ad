/*
 * What messages of sessions carry beside themselves, and the sealed principal of a session. Numbers
 * are big endian. No state; any thread.
 */
#ifndef HF_STORAGE_SESSION_RECORD_H
#define HF_STORAGE_SESSION_RECORD_H

#include "broker/session_store.h"
#include "server/base/buf.h"
#include "storage/record.h"

/* ---- times: what a row says and what a message has ---- */

/* Wall clock, kept within what PostgreSQL knows; 0: before 1970. */
int64_t session_time(int64_t us);
/* When the message expires, wall clock; it must expire. */
int64_t message_expires_us(const struct msg *m);
/* Back to a message: us wall clock. */
void message_set_expiry(struct msg *m, int64_t us);

/* ---- columns ---- */

#define TOPIC_MAC_LEN 16 /* of a retained message */
/* Of a subscription: options. */
#define SUB_QOS 0x03
#define SUB_NO_LOCAL 0x04
#define SUB_RETAIN_AS_PUBLISHED 0x08

/* ---- how a queued message is delivered: the record's extra ---- */

int delivery_encode(const struct queue_append *a, struct buf *out); /* 0 or ERR_NOMEM */
/* Sets qos, retain, group, ids. 0, ERR_CORRUPT, ERR_NOMEM. */
int delivery_decode(struct slice extra, struct queue_entry *e);

/* ---- a will: the record's extra ---- */

#define WILL_EXTRA_LEN 9
void will_encode(const struct session_will *w, uint8_t out[static WILL_EXTRA_LEN]);
int will_decode(struct slice extra, struct session_will *w); /* 0 or ERR_CORRUPT */

/* ---- the principal of a session ---- */

#define PRINCIPAL_SEALED_MAX 512

/* Seals principal and client_id_off of a row for its id and key; returns the length in *ret_n. 0 or
 * ERR_CRYPTO. */
int principal_seal(const struct session_row *row, const uint8_t key[static CRYPTO_KEY_LEN],
        const uint8_t nonce[static CRYPTO_NONCE_LEN], uint8_t out[static PRINCIPAL_SEALED_MAX],
        size_t *ret_n);
/* Sets principal (a reference for the caller) and client_id_off of a row whose id and key are set.
 * 0, ERR_CORRUPT, ERR_NOMEM. */
int principal_open(
        struct session_row *row, const uint8_t key[static CRYPTO_KEY_LEN], struct slice sealed);

/* ---- messages ---- */

static inline struct record message_record(const struct msg *m, struct slice extra)
{
	return (struct record){
	        .qos = m->qos,
	        .retain = m->retain,
	        .topic = msg_topic(m),
	        .props = msg_props(m),
	        .payload = msg_payload(m),
	        .extra = extra,
	};
}
/* A message as a record has it, or NULL when out of memory. */
struct msg *message_from(const struct record *r, uint64_t device_key);

#endif
