/*
 * The storage room's door: PostgreSQL, keys, the encrypted store. Opened by the hallway, seen by
 * the others only through the ports that they declare themselves.
 */
#ifndef HF_STORAGE_STORAGE_H
#define HF_STORAGE_STORAGE_H

#include "broker/session_store.h"
#include "broker/telemetry_store.h"
#include "policy/policy_store.h"
#include "registry/registry_store.h"
#include "server/api/audit_store.h"
#include "server/api/telemetry_query_store.h"

#define STORAGE_ERROR_LEN 256

struct storage;

struct storage_settings {
	const char *url, *owner_url; /* libpq URLs; owner_url may equal url */
	const char *master_key_file;
	/* Read once, when the database is new: what `holdfast init` made. */
	const char *owner_token_file, *owner_connection_file;
	unsigned connect_timeout_s;
	unsigned lanes, batch_rows;
	size_t batch_bytes, queue_bytes;
	unsigned retention_days;
	unsigned audit_days;       /* rows of the audit log are kept; 0: for good */
	uint64_t max_queued_age_s; /* of queued messages; 0: none */
	unsigned lookup_ms;
};

/* What the change feed tells; called on the feed's thread, must not block. */
struct storage_changes {
	void *ctx;
	/* Something changed: id names it. Of a device, gone: this generation (device_key) was
	 * deleted. */
	void (*changed)(
	        void *ctx, enum entity kind, struct slice id, uint64_t device_key, bool gone);
	/* Changes may have been missed: everything has to be asked for again. Once at the start
	 * too. */
	void (*resync)(void *ctx);
};

/*
 * `holdfast migrate`: brings the database up to date: forward-only files NNNN_name.sql of dir in
 * one transaction each, with checksums, under an advisory lock; makes the first partitions; grants
 * the hub's role its rights. 0; ERR_UNAVAILABLE; ERR_CONFLICT (newer than the program, or a changed
 * checksum); ERR_IO; one line in error. Main thread.
 */
int storage_migrate(const char *owner_url, const char *hub_url, const char *dir,
        char error[static STORAGE_ERROR_LEN]);

/* Connects once, checks schema version and master key (ERR_CONFLICT: the wrong key, a database that
 * is newer or older than the program), seeds a new database (the five access keys, the owner's
 * token). Starts no thread. Main thread. */
int storage_open(const struct storage_settings *settings, struct storage **ret,
        char error[static STORAGE_ERROR_LEN]);
/* Starts lanes, readers, the change feed and the maintenance thread. 0, ERR_NOMEM, ERR_IO. */
int storage_start(struct storage *s, const struct storage_changes *changes);
/* Calls of workers, those that wait for the database too, end by deadline_ms (monotonic); a hub
 * that stops says so before it waits for its workers. Any thread. */
void storage_hurry(struct storage *s, uint64_t deadline_ms);
/* Stops them; what was appended is committed first, until deadline_ms (monotonic). */
void storage_stop(struct storage *s, uint64_t deadline_ms);
void storage_free(struct storage *s);

/* The ports. Valid from storage_open to storage_free. */
struct telemetry_store storage_telemetry(struct storage *s);
struct session_store storage_sessions(struct storage *s);
struct registry_store storage_registry(struct storage *s);
struct telemetry_query_store storage_query(struct storage *s);
struct policy_store storage_policy(struct storage *s);
struct audit_store storage_audit(struct storage *s);

void storage_set_retention(struct storage *s, unsigned days);
void storage_set_audit_retention(struct storage *s, unsigned days);
void storage_set_queued_age(struct storage *s, uint64_t seconds); /* 0: none */
/* A device connected or went: written with others within a second, best effort. Any thread. */
void storage_note_presence(struct storage *s, uint64_t device_key, bool connected, int64_t when_us);

/* Somebody at that address was let in or was not: counted, written with others within seconds, best
 * effort. Any thread, never waits. */
void storage_note_address(struct storage *s, const struct ip_addr *ip, bool allowed);

struct storage_health {
	bool lanes_up; /* every lane connected and none stuck in a commit for over 2 s */
	bool feed_fresh;
	bool one_role;       /* database.url and owner_url are one role: a warning */
	bool maintenance_ok; /* partitions exist ahead of time */
};
void storage_health(struct storage *s, struct storage_health *ret); /* any thread */

#endif
