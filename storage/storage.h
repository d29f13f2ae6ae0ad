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
#include "server/api/proof_store.h"
#include "server/api/telemetry_query_store.h"

#define STORAGE_ERROR_LEN 256

struct storage;

/* Where the master key comes from. What is NULL or empty is not there. */
struct key_source {
	const char *file; /* 64 hex digits; with a module, what its token encrypted */
	const char *command, *next_command; /* instead of the file: print it, and the next one */
	/* PKCS#11: a library, the label of a token, that of an AES key in it, the file of the PIN.
	 */
	const char *module, *token, *key, *pin_file;
};

struct storage_settings {
	const char *url, *owner_url; /* libpq URLs; owner_url may equal url */
	const char *replica_url;     /* stored messages are read there; NULL or empty: none */
	const char *home; /* which hub this is, with the machine's name; NULL: the next says it */
	struct key_source master_key; /* without a home, its file tells hubs of one machine apart */
	/* Read once, when the database is new: what `holdfast init` made. */
	const char *owner_token_file, *owner_connection_file;
	unsigned connect_timeout_s;
	unsigned lanes, batch_rows;
	size_t batch_bytes, queue_bytes;
	unsigned retention_days;
	unsigned audit_days;      /* rows of the audit log are kept; 0: for good */
	const char *proof_folder; /* where signed heads are copied to; NULL: nowhere */
	const char *disk_path;    /* on the disk of the database; NULL: it is not watched */
	unsigned disk_slow_percent, disk_stop_percent; /* free: batches slow down, messages stop */
	uint64_t max_bytes;                            /* of the database; 0: any */
	unsigned head_interval_s;  /* between signed heads; 0: none are written */
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
	/* The data of a device was erased at at_us (the database's clock); it lives on: no copy of
	 * what came before may be kept in memory. */
	void (*erased)(void *ctx, struct slice id, uint64_t device_key, int64_t at_us);
	/* Changes may have been missed: everything has to be asked for again. Once at the start
	 * too. */
	void (*resync)(void *ctx);
	/* Several hubs. Each may be NULL. Another hub (by) wants a session that this one has. */
	void (*wanted)(void *ctx, struct slice by, uint64_t session_id, struct slice key);
	/* The session of that key was given to this hub. */
	void (*given)(void *ctx, struct slice key);
	/* A client came to another hub that has no session of that key. */
	void (*elsewhere)(void *ctx, struct slice key);
	/* A session of a hub that died is this hub's: the callee's. On upkeep's thread. */
	void (*left)(void *ctx, struct session_left *left);
	/* Another hub has committed command n for a device. */
	void (*command)(void *ctx, struct slice id, uint64_t device_key, uint64_t n);
	/* Another hub took this one for dead, and has its sessions: it must end at once. Any
	 * thread.
	 */
	void (*lost)(void *ctx);
};

/*
 * `holdfast migrate`: brings the database up to date: forward-only files NNNN_name.sql of dir in
 * one transaction each, with checksums, under an advisory lock; makes the first partitions; grants
 * the hub's role its rights. 0; ERR_UNAVAILABLE; ERR_CONFLICT (newer than the program, or a changed
 * checksum); ERR_IO; one line in error. Main thread.
 */
int storage_migrate(const char *owner_url, const char *hub_url, const char *dir,
        char error[static STORAGE_ERROR_LEN]);

/* Gives a role for reports its rights, where there is such a role: to read what is no secret. 0;
 * ERR_UNAVAILABLE, ERR_IO; one line in error. Main thread. */
int storage_grant_reader(
        const char *owner_url, const char *role, char error[static STORAGE_ERROR_LEN]);

/* Makes a new master key, as a line of text for the file of the source: encrypted by the token,
 * where it has one, in which the AES key is made too if need be. 0; ERR_IO, ERR_INVALID with one
 * line in error. ret_line is to be wiped. */
#define MASTER_KEY_LINE_MAX 128
int storage_make_master_key(const struct key_source *source,
        char ret_line[static MASTER_KEY_LINE_MAX], char error[static STORAGE_ERROR_LEN]);

/*
 * `holdfast rotate-master-key`: makes the next master key where it is not there yet, has every hub
 * that runs load it and wrap with it, wraps anew all that the old one wraps, and puts it in the
 * place of the current one. Takes long, the hubs serve meanwhile; killed at any point it is run
 * again and goes on. say is told, a line each, how it goes. 0; ERR_EXISTS: another one is running;
 * ERR_TIMEOUT: a hub does not follow; ERR_CONFLICT: the keys are not those that are needed; ERR_IO,
 * ERR_UNAVAILABLE, ERR_CORRUPT; one line in error. Main thread.
 */
int storage_rotate(const struct storage_settings *settings, void (*say)(const char *line),
        char error[static STORAGE_ERROR_LEN]);

/*
 * `holdfast verify`: whether telemetry, chains, audit log and heads are what was written, as the
 * database has them at one moment, or an export of it. say is told each finding (the first ones of
 * many), then what was proved and what cannot be. 0; ERR_CORRUPT: something was altered, removed,
 * inserted, reordered or cut off, or an export is not whole; ERR_UNAVAILABLE, ERR_IO, ERR_NOMEM: it
 * could not be done; one line in error. Takes long, memory does not grow with the telemetry. Main
 * thread.
 */
struct verify_settings {
	const char *url; /* a role that may read all of it; not used where from is set */
	unsigned connect_timeout_s;
	const char *export_to; /* a folder to make, which from takes later; or NULL */
	const char *from;      /* an export, in place of the database; or NULL */
	/* Heads that were kept elsewhere, as in the home's file of heads; or NULL. optional: it
	 * need not be there. */
	const char *heads_file;
	bool heads_optional;
};
int storage_verify(const struct verify_settings *settings, void (*say)(const char *line),
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
struct proof_store storage_proof(struct storage *s);

void storage_set_retention(struct storage *s, unsigned days);
void storage_set_audit_retention(struct storage *s, unsigned days);
void storage_set_queued_age(struct storage *s, uint64_t seconds); /* 0: none */
/* A device connected or went: written with others within a second, best effort. Any thread. */
void storage_note_presence(struct storage *s, uint64_t device_key, bool connected, int64_t when_us);

/* Somebody at that address was let in or was not: counted, written with others within seconds, best
 * effort. Any thread, never waits. */
void storage_note_address(struct storage *s, const struct ip_addr *ip, bool allowed);

/* Ends this process where the one that keeps the keys has ended: see keyring_watch. Main thread. */
void storage_watch(const struct storage *s);

struct storage_health {
	bool lanes_up; /* every lane connected and none stuck in a commit for over 2 s */
	bool feed_fresh;
	bool set_back;       /* the database lacks signed heads that this hub has seen: a warning */
	bool one_role;       /* database.url and owner_url are one role: a warning */
	bool maintenance_ok; /* partitions exist ahead of time */
	bool space_low;      /* batches are slowed down, or messages refused */
	bool space_out;      /* messages are refused */
};
void storage_health(struct storage *s, struct storage_health *ret); /* any thread */

#endif
