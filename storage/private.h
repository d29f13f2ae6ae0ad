/*
 * What the files of the storage room share. Threads: lanes write batches, readers answer look-ups,
 * the feed hears changes, upkeep makes and drops partitions; API workers come in through the pool.
 * Each connection belongs to one thread at a time.
 */
#ifndef HF_STORAGE_PRIVATE_H
#define HF_STORAGE_PRIVATE_H

#include <pthread.h>

#include "server/base/mail.h"
#include "storage/keyring.h"
#include "storage/merge.h"
#include "storage/pg.h"
#include "storage/storage.h"

/* The newest file in migrations/: what this program reads and writes. */
#define SCHEMA_VERSION 3

/* Of a row q of the queue: the packet id i with which it came is noted still, so that its sender
 * may send it again. What was sent again was received later than its id was noted; an earlier
 * message with that id and content before. */
#define QUEUE_ORIGIN_NOTED(q, i)                                                             \
	i ".device_key = " q ".device_key AND " i ".received_at <= " q ".received_at AND " i \
	  ".tag = substr(" q ".origin, 3) AND " i ".packet_id = get_byte(" q                 \
	  ".origin, 0) * 256 + get_byte(" q ".origin, 1)"
/* It was delivered, and stands there only for as long as that. */
#define QUEUE_DONE(q) "(" q ".sealed IS NULL AND " q ".packet_id IS NULL)"

/* Advisory locks, of the database: one process at a time. */
#define LOCK_MIGRATE 0x686f6c6466617374LL
#define LOCK_SEED 0x686f6c6466617375LL
#define LOCK_PARTITIONS 0x686f6c6466617376LL

#define MAX_LANES 16
#define READERS 2
#define POOL_SIZE 8
#define POOL_STATEMENT_MS 30000
#define HUB_ID_LEN 16
#define DAY_US 86400000000LL
#define ROUND_TRIP_MS 10000 /* for short statements of our own threads */

struct lane;
struct reader;
struct feed;
struct upkeep;
struct denials;

/* Connections for calls that block: idle ones wait here. Any thread. */
struct pool {
	pthread_mutex_t mutex;
	struct pg idle[POOL_SIZE];
	unsigned n;
};

struct storage {
	char *url, *owner_url;
	unsigned connect_timeout_s, batch_rows, lookup_ms;
	size_t batch_bytes;
	struct keyring *keyring;
	char hub_id[HUB_ID_LEN + 1]; /* the same after a restart of this hub */
	bool one_role;
	_Atomic unsigned retention_days, audit_days; /* audit_days 0: for good */
	_Atomic uint64_t max_queued_age_s;           /* 0: none */
	_Atomic size_t backlog_bytes;                /* handed over and not answered */
	struct pg_stop stop;  /* of the lanes: what was appended is stored first */
	struct pg_stop quit;  /* of the other threads, once the lanes have ended */
	struct pg_stop hurry; /* of calls that block */
	struct storage_changes changes;
	struct pool pool;
	unsigned n_lanes;
	struct lane *lanes[MAX_LANES];
	struct reader *readers[READERS];
	struct feed *feed;
	struct upkeep *upkeep;
	struct denials *denials; /* audit.c */
	struct merge addresses;  /* addresses.c */
};

/* ---- storage.c ---- */

/* Takes a connection of the hub's role, making one if there is none; 0 or ERR_UNAVAILABLE. */
int pool_take(struct storage *s, struct pg *ret);
void pool_give(struct storage *s, struct pg *pg);
/* One statement on a connection of the pool: pg_exec's results. */
int pool_call(struct storage *s, const char *sql, const struct pg_params *p, PGresult **ret);

/* ---- write.c ---- */

/* Statements of one transaction, made on behalf of audit_actor() in one round trip; *ret is the
 * last one's result. pool_call's errors; ERR_EXISTS. */
#define WRITE_STEPS 3
struct pg_step {
	const char *sql;
	const struct pg_params *params;
};
int pool_write_all(struct storage *s, const struct pg_step *steps, unsigned n, PGresult **ret);
/* The same of one statement. */
int pool_write(struct storage *s, const char *sql, const struct pg_params *p, PGresult **ret);

/* ---- storage.c ---- */

/* A lane waits: ms, or until the stop is due. */
void storage_pause(const struct storage *s, unsigned ms);

/* ---- fence.c ---- */

/* The number of the advisory lock that the connections of this hub's lanes share. */
int64_t fence_key(const struct storage *s);
/* Ends what an earlier process of this hub, killed, has left in the database: a transaction that it
 * sent off might commit after its messages were sent again. 0 or ERR_UNAVAILABLE. */
int fence_raise(struct storage *s);

/* ---- grants.c, seed.c ---- */

/* Gives role what the hub needs. 0 or pg_exec's error. */
int grants_apply(struct pg *owner, const char *role);
/* Unwraps the hub's keys; makes them, the five access keys and the owner's token in a new
 * database. 0; ERR_CONFLICT (another master key); ERR_IO, ERR_INVALID, ERR_UNAVAILABLE; one line in
 * error. */
int seed_open(struct storage *s, struct pg *pg, const struct storage_settings *settings,
        char error[static STORAGE_ERROR_LEN]);

/* ---- partitions.c: on a connection of the owner ---- */

int partitions_make(struct pg *owner, int64_t day); /* days since 1970 */
int partitions_make_ahead(struct pg *owner);        /* yesterday to a week from now */
int partitions_drop_old(struct pg *owner, unsigned retention_days);

/* ---- sweep.c ---- */

/* How far upkeep is with the queues. */
struct sweep {
	int64_t queue, n; /* the last row that was looked at */
	uint64_t due_ms;
};
/* Goes a page further, when it is due. 0 or pg_exec's error. */
int sweep_queues(struct storage *s, struct pg *pg, struct sweep *sw);

/* ---- the threads: new (no thread yet), start, join after the stop, free ---- */

int lane_new(struct storage *s, unsigned index, struct lane **ret);
int lane_start(struct lane *l);
void lane_join(struct lane *l);
void lane_free(struct lane *l);
/* Any thread: the device's data key must not be used any more; key 0: none of them. */
void lanes_forget(struct storage *s, uint64_t device_key);
bool lane_healthy(const struct lane *l);
void lanes_append(void *ctx, struct telemetry_row *row);
void lanes_release(void *ctx, struct qos2_release *r);
/* Fills in what of the sessions' port goes through the lanes. */
void lanes_port(struct session_store *port);

int reader_new(struct storage *s, struct reader **ret);
int reader_start(struct reader *r);
void reader_join(struct reader *r);
void reader_free(struct reader *r);
void readers_lookup(void *ctx, struct identity_lookup *l);
void readers_load(void *ctx, struct qos2_load *l);
/* A lane's thread: what was asked of the queue before is committed. */
void readers_queue_load(struct storage *s, struct queue_load *q);
/* queue_load.c: serves n (at most QUEUE_LOADS) at once; each gets its err, unless this returns one:
 * pg_exec's. */
#define QUEUE_LOADS 16
int queue_loads_serve(
        struct storage *s, struct pg *pg, struct queue_load *const loads[], unsigned n);
/* sweep.c: what was received before that is too old for any queue (mqtt.max_queued_age). */
int64_t queue_oldest_us(const struct storage *s);
/* restore.c */
int sessions_restore(void *ctx, const struct session_restore *to);

int feed_new(struct storage *s, struct feed **ret);
int feed_start(struct feed *f);
void feed_join(struct feed *f);
void feed_free(struct feed *f);
uint64_t feed_fresh_until(const struct feed *f);
uint64_t feed_epoch(const struct feed *f);

int upkeep_new(struct storage *s, struct upkeep **ret);
int upkeep_start(struct upkeep *u);
void upkeep_join(struct upkeep *u);
void upkeep_free(struct upkeep *u);
/* Any thread: a row of that day has no partition. */
void upkeep_need_day(struct upkeep *u, int64_t day);
bool upkeep_healthy(const struct upkeep *u);
void upkeep_presence(struct upkeep *u, uint64_t device_key, bool connected, int64_t when_us);

/* ---- the ports' calls that block: pool, keyring ---- */

/* devices.c, access_keys.c, tokens.c fill in their part of the port. */
void devices_port(struct registry_store *port);
void access_keys_port(struct registry_store *port);
void tokens_port(struct registry_store *port);
/* documents.c, links.c */
void documents_port(struct document_store *port);
void links_port(struct document_store *port);
int telemetry_query_run(void *ctx, const struct telemetry_query *q,
        int (*item)(const struct telemetry_item *it, void *arg), void *arg);

/* Symmetric keys of devices and access keys, wrapped: rows.c. */
enum which_key { WHICH_PRIMARY = 1, WHICH_SECONDARY = 2 };
struct wrapped_key {
	uint8_t bytes[SYM_KEY_MAX + WRAP_OVERHEAD];
	struct slice slice; /* p NULL: no key */
};
int device_key_wrap(const struct storage *s, const struct device_record *r,
        const struct sym_key *key, enum which_key which, struct wrapped_key *ret);
int access_key_wrap(const struct storage *s, const struct access_key_record *r,
        const struct sym_key *key, enum which_key which, struct wrapped_key *ret);
int data_key_wrap(const struct storage *s, uint64_t device_key, int64_t key_id,
        const uint8_t key[static CRYPTO_KEY_LEN],
        uint8_t out[static CRYPTO_KEY_LEN + WRAP_OVERHEAD]);
int data_key_unwrap(const struct storage *s, uint64_t device_key, int64_t key_id,
        struct slice wrapped, uint8_t key[static CRYPTO_KEY_LEN]);

/* What hangs on a subject, as access.h says, in an order that stays. */
#define LINK_LINES(kind, subject)                                                                  \
	"(SELECT string_agg(l.letter::text || ' ' || l.value || E'\\n', '' ORDER BY l.letter,"     \
	" l.value) FROM holdfast.links l WHERE l.subject_kind = " kind " AND l.subject = " subject \
	")"

/* Columns of a device, an access key or a document, in the order of the records below. */
#define DEVICE_COLUMNS                                                                     \
	"d.device_key, d.id, d.generation_id, d.etag, d.enabled, d.status_reason, d.auth," \
	" d.primary_key, d.secondary_key, d.secret_mac, d.tags::text, d.created_at,"       \
	" d.updated_at, coalesce(p.connected, false), p.connected_at, p.last_activity_at," \
	" d.parent_key, d.auth_public::text, " LINK_LINES("'d'", "d.device_key")
#define DEVICE_FROM \
	"holdfast.devices d LEFT JOIN holdfast.presence p ON p.device_key = d.device_key"
#define ACCESS_KEY_COLUMNS \
	"name, perms, etag, primary_key, secondary_key, created_at, updated_at, scope::text"
#define DOCUMENT_COLUMNS                                                                      \
	"o.kind::text, o.name, o.etag, o.doc::text, o.created_at, o.updated_at, " LINK_LINES( \
	        "o.kind", "o.document_key")
/* 0; ERR_CORRUPT: the keys do not unwrap, or a value cannot be ours; ERR_NOMEM. */
int device_read(const struct storage *s, const PGresult *r, int row, struct device_record *ret);
int access_key_read(
        const struct storage *s, const PGresult *r, int row, struct access_key_record *ret);
/* A column of text or JSON, malloc'ed; NULL where it is null. 0 or ERR_NOMEM. */
int row_copy_text(const PGresult *r, int row, int col, char **ret);
/* documents.c. 0; ERR_CORRUPT; ERR_NOMEM. */
int document_read(const PGresult *r, int row, struct document *ret);

#endif
