/*
 * The ports of the registry and the broker in memory: for unit tests of other rooms. Needs nothing
 * but base. Requests may come from any thread; answers are posted by the thread that asks (or that
 * lets held ones go), which flushes its mail as always.
 */
#ifndef HF_STORAGE_RAM_RAM_H
#define HF_STORAGE_RAM_RAM_H

#include "broker/session_store.h"
#include "broker/telemetry_store.h"
#include "registry/registry_store.h"
#include "server/api/audit_store.h"

struct ram_store;

struct ram_store *ram_new(void); /* empty, available, feed fresh; NULL when out of memory */
void ram_free(struct ram_store *s);

struct registry_store ram_registry(struct ram_store *s);
struct document_store ram_documents(struct ram_store *s); /* ram_registry has it too */
struct audit_store ram_audit(struct ram_store *s);
struct telemetry_store ram_telemetry(struct ram_store *s);
struct session_store ram_sessions(struct ram_store *s);

/* Unavailable: look-ups and calls get ERR_UNAVAILABLE, rows get no answer until it is back. */
void ram_set_available(struct ram_store *s, bool available);
/* Held: nothing asynchronous is answered until the hold ends; then all in order. */
void ram_set_hold(struct ram_store *s, bool hold);
/* The same for messages to be queued alone: other lanes go on. */
void ram_hold_appends(struct ram_store *s, bool hold);
/* While it is held: answers the first n. */
void ram_commit(struct ram_store *s, unsigned n);
/* Reads of queues stand apart: as in a database, writes that are asked for later overtake them.
 * They are read by ram_read, or in the end, and answered in the end. */
void ram_reads_apart(struct ram_store *s, bool apart);
void ram_read(struct ram_store *s);
/* The hub dies: what waits, and what is asked from now on, has no effect (the answers are only for
 * the asker to free its requests). Until another hub begins. */
void ram_crash(struct ram_store *s);
void ram_revive(struct ram_store *s);
/* The next n requests of session_store but loads are answered with err and have no effect. */
void ram_refuse_kept(struct ram_store *s, unsigned n, int err);
/* A device (generation) was deleted. */
void ram_device_gone(struct ram_store *s, uint64_t device_key);
/* The next n rows are answered with err and not kept. */
void ram_refuse_rows(struct ram_store *s, unsigned n, int err);
/* The change feed: fresh or not; each return raises the epoch. */
void ram_set_feed(struct ram_store *s, bool fresh);
/* A bearer token of a role. 0 or an error. */
int ram_add_token(struct ram_store *s, struct slice token, const char *name, const char *role);

/* What was stored so far, in order. The row's slices live until ram_free. */
struct ram_row {
	uint64_t device_key;
	uint8_t qos;
	int64_t received_us;
	struct slice topic, module, props, payload;
};
size_t ram_row_count(struct ram_store *s);
bool ram_row_get(struct ram_store *s, size_t i, struct ram_row *ret);
/* What sessions have there; appends: asked for, written: of them not settled before. */
struct ram_counts {
	size_t sessions, subs, queued, retained, wills, marked, released;
	size_t done; /* of what was delivered with QoS 2: known, because it may be sent again */
	size_t appends, written, loads, tallies, waiting;
};
struct ram_counts ram_count(struct ram_store *s);
/* The payload of the will in the row of the session of that client id; "": none. */
const char *ram_will(struct ram_store *s, const char *client_id);
/* Unreleased QoS 2 packet ids of all sessions. */
size_t ram_qos2_count(struct ram_store *s);

#endif
