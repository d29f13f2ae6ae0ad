/* Shared by the files of storage/ram. Everything is guarded by the store's mutex. */
#ifndef HF_STORAGE_RAM_PRIVATE_H
#define HF_STORAGE_RAM_PRIVATE_H

#include <pthread.h>

#include "storage/ram/ram.h"

struct ram_idempotency {
	uint8_t key[32], request[32];
	int status;
	char *body, *location;
	size_t body_len;
};

struct ram_qos2 {
	uint64_t device_key;
	char *session;
	size_t session_len;
	struct qos2_id id;
};

struct ram_stored {
	struct msg *msg;
	uint8_t *names; /* topic, then module */
	size_t topic_len, module_len;
	uint64_t device_key;
};

/* Which QoS 2 message a queued one is a copy of; packet_id 0: of none. */
struct ram_origin {
	uint64_t device_key;
	uint16_t packet_id;
	uint8_t tag[8];
	int64_t received_us;
};

/* A request that waits because the store is held or unavailable. */
struct ram_waiting {
	enum {
		RAM_ROW,
		RAM_RELEASE,
		RAM_LOAD,
		RAM_LOOKUP,
		RAM_SESSION,
		RAM_SUB,
		RAM_APPEND,
		RAM_QUEUE,
		RAM_QUEUE_LOAD,
		RAM_RETAINED,
		RAM_NOTE,
	} kind;
	void *request;
};

/* A read of a queue that stands apart. */
struct ram_apart {
	struct queue_load *load;
	bool done;
};

/* An array that grows; n elements of size each. */
struct ram_array {
	void *items;
	size_t n, cap;
};

struct ram_store {
	pthread_mutex_t mutex;
	uint8_t mac_key[32];
	bool available, hold, hold_appends, feed;
	uint64_t epoch, next_key, next_etag;
	unsigned refuse;
	int refuse_err;
	size_t backlog;
	struct ram_array devices;     /* struct device_record, ordered by id */
	struct ram_array access_keys; /* struct access_key_record, ordered by name */
	struct ram_array tokens, idempotency, qos2, rows, waiting;
	struct ram_array documents; /* struct document, ordered by kind and name */
	struct ram_array links;     /* struct link_row, ordered by id */
	uint64_t next_link;
	struct ram_array audit; /* audit.c */
	/* sessions.c; gone: device keys that do not exist any more */
	struct ram_array sessions, subs, queued, retained, gone;
	bool crashed;
	bool reads_apart;
	struct ram_array reads; /* struct ram_apart */
	unsigned refuse_kept;
	int refuse_kept_err;
	size_t appends, written, loads, tallies;
	size_t n_done; /* of queued: delivered, and known only for as long as they may come again */
};

/* Makes room for one more element; returns where it goes, NULL when out of memory. */
void *ram_array_add(struct ram_array *a, size_t size);
/* The same, at index i. */
void *ram_array_insert(struct ram_array *a, size_t i, size_t size);
void ram_array_remove(struct ram_array *a, size_t i, size_t size);

/* A call: locks, false where the store plays an absent database; unlocks, its result. */
bool ram_enter(struct ram_store *s);
int ram_leave(struct ram_store *s, int err);
bool ram_matches(struct store_match match, const char *etag);
void ram_give_etag(struct ram_store *s, char etag[static ETAG_LEN + 1]);
/* While the mutex is held. */
bool ram_has_device(struct ram_store *s, const char *id);
const struct device_record *ram_device_of(const struct ram_store *s, uint64_t device_key);
/* As access.h says, malloc'ed; NULL: nothing hangs on it. */
char *ram_links(struct ram_store *s, enum entity kind, const char *subject);
void ram_links_gone(struct ram_store *s, enum entity kind, const char *subject);
int ram_document_get(struct ram_store *s, enum entity kind, const char *name, struct document *ret);
void ram_documents_free(struct ram_store *s);

void ram_mac(void *ctx, const char *purpose, struct slice in, uint8_t out[static 32]);
/* Answers the look-up; the mutex is held. */
void ram_lookup_answer(struct ram_store *s, struct identity_lookup *l);
/* Notes the packet id of a QoS 2 message. 0, ERR_NOMEM. */
int ram_qos2_note(
        struct ram_store *s, uint64_t device_key, struct slice session, const struct msg *m);
/* Whether its packet id is noted: it may be sent once more. */
bool ram_qos2_noted(const struct ram_store *s, const struct ram_origin *o);
void ram_qos2_tag(void *ctx, const struct msg *m, uint8_t tag[8]);
/* Answers a request of session_store; the mutex is held. */
void ram_kept_answer(struct ram_store *s, struct ram_waiting w);
/* What a request of session_store counts for in the backlog. */
size_t ram_kept_bytes(struct ram_waiting w);
/* Drops what was delivered and cannot be sent again any more. */
void ram_queues_tidy(struct ram_store *s);
void ram_sessions_free(struct ram_store *s);
/* Answers the request now or notes it for later. */
void ram_request(struct ram_store *s, struct ram_waiting w);

#endif
