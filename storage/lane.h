/*
 * A lane: one thread that stores what is asked of it, batch by batch, each batch one transaction.
 * Private to lane.c (thread, gathering, answers), kinds.c (requests and what they are), claims.c
 * (which requests may share a batch), batch.c and batch_seal.c (sealing), stages.c (statements of
 * everything but telemetry rows) and commit.c (transactions).
 */
#ifndef HF_STORAGE_LANE_H
#define HF_STORAGE_LANE_H

#include "storage/dek_cache.h"
#include "storage/private.h"
#include "storage/session_record.h"

#define SEQ_BLOCK 8192 /* as holdfast.telemetry_seq increments; the largest batch */
#define FORGET_MAX 256
#define NO_KEY UINT64_MAX /* a device_key: nothing is sealed */
#define NO_ITEM UINT32_MAX

/* What is asked of a lane. */
enum kind {
	KIND_ROW,     /* struct telemetry_row */
	KIND_RELEASE, /* struct qos2_release */
	KIND_APPEND,  /* struct queue_append, and so on */
	KIND_QUEUE,
	KIND_LOAD,
	KIND_SESSION,
	KIND_SUB,
	KIND_RETAINED,
	KIND_NOTE,
	KINDS
};

/* A request in a batch. */
struct item {
	struct mail *mail; /* NULL: was answered already (a load that waited too long) */
	/* Until it is sealed: whose data key it needs (0: the hub's key, NO_KEY: none), the key
	 * where it is at hand. */
	uint64_t device_key;
	const uint8_t *key;
	int64_t key_id;
	uint32_t first_row; /* telemetry rows in the columns before this item */
	/* Of the others: where in the batch's sealed bytes, how many; and those of the will behind
	 * them. */
	uint32_t sealed_at, sealed_n, will_n;
	uint32_t later; /* a later item that undoes what this one would write, or NO_ITEM */
	uint8_t kind;
	bool sealed; /* KIND_ROW: it has a row in the columns; others: it has sealed bytes */
	bool skip;   /* there is nothing to write */
	int err;
};

/* The columns of the INSERT of telemetry, as PostgreSQL takes them: an array each, built while
 * sealing. */
enum column { COL_DEVICE, COL_TIME, COL_SEQ, COL_KEY, COL_SEALED, COLUMNS };

struct claim;

struct batch {
	struct item *items;
	unsigned n;
	unsigned n_rows;  /* items that are telemetry rows */
	unsigned n_loads; /* items that are loads */
	unsigned kinds;   /* a bit for each enum kind that has a part in the stages */
	unsigned writes;  /* items that write something, once they are sealed */
	size_t bytes;     /* of the requests, as counted in the backlog */
	uint32_t sealed_rows;
	struct buf columns[COLUMNS];
	uint32_t *ends;       /* where each row's element of COL_SEALED ends */
	struct buf sealed;    /* of everything but telemetry rows */
	bool replay;          /* it may be in the database already */
	struct claim *claims; /* a hash table; claims.c */
	uint32_t claims_mask, claims_round;
};

#define STAGE_COLUMNS 9

struct lane {
	struct storage *s;
	unsigned index;
	pthread_t thread;
	bool running;
	struct mailbox box;
	struct mail stop_mail;
	struct pg pg;              /* in pipeline mode */
	struct mail *first, **end; /* taken from the mailbox, not in a batch yet */
	uint64_t taken;            /* how many ever were */
	unsigned loads;            /* waiting or in the batch */
	uint64_t loads_due_ms;     /* none of them waits too long before that */
	uint64_t started_us;       /* when the last batch began */
	unsigned pace_rest;        /* batches that are not held back */
	struct batch batch;
	struct buf part[COLUMNS];        /* columns of a part of a batch */
	struct buf stage[STAGE_COLUMNS]; /* columns of a stage */
	struct buf extra;                /* of a record that is being sealed */
	struct dek_cache deks;
	uint8_t nonce[CRYPTO_NONCE_LEN]; /* writer number, random, counter */
	uint32_t nonce_counter;
	int64_t last_us; /* of the last row */
	_Atomic bool up;
	_Atomic uint64_t busy_since_ms; /* 0: no batch is being stored */

	/* Devices whose data key must not be used any more. */
	struct {
		pthread_mutex_t mutex;
		uint64_t keys[FORGET_MAX];
		unsigned n;
		bool all;
		_Atomic bool any;
	} forget;
};

/* ---- kinds.c ---- */

struct kind_info {
	const char *name;
	size_t (*bytes)(const struct mail *m);    /* of memory, until its answer: always the same */
	uint64_t (*device)(const struct mail *m); /* see struct item; NULL: NO_KEY */
	/* Notes what the newest item of the batch names; false: the batch has to end before it.
	 * NULL: it is in nobody's way. */
	bool (*claim)(struct batch *b, struct item *item);
	int (*seal)(struct lane *l, struct item *item); /* NULL: there is nothing to seal */
	void (*answer)(struct lane *l, struct item *item);
	bool lasting; /* without its key something of it is stored still */
};
extern const struct kind_info kinds[KINDS];

enum kind kind_of(const struct mail *m);
/* The request is the lane's no longer: takes it off the backlog. */
void lane_count_off(struct lane *l, unsigned requests, size_t bytes);

static inline struct telemetry_row *item_row(const struct item *item)
{
	return container_of(item->mail, struct telemetry_row, mail);
}
/* A request of the sessions' port; member req of type. */
#define item_request(item, type) container_of((item)->mail, type, req.mail)

/* ---- claims.c ---- */

int claims_init(struct batch *b, unsigned rows);
void claims_done(struct batch *b);
void claims_clear(struct batch *b);
bool claim_row(struct batch *b, struct item *item);
bool claim_note(struct batch *b, struct item *item);
bool claim_release(struct batch *b, struct item *item);
bool claim_session(struct batch *b, struct item *item);
bool claim_sub(struct batch *b, struct item *item);
bool claim_queue(struct batch *b, struct item *item);
bool claim_retained(struct batch *b, struct item *item);

/* ---- batch.c ---- */

int batch_init(struct batch *b, unsigned rows);
void batch_done(struct batch *b);
void batch_clear(struct batch *b);
/* Seals every item that has its key, numbering rows from seq; what cannot be sealed gets its err.
 * 0 or ERR_NOMEM (nothing was done). */
int batch_seal(struct lane *l, int64_t seq);
/* The columns of rows [from, to), as arrays: the batch's own for all of them, else copied to part.
 */
int batch_part(struct batch *b, struct buf part[COLUMNS], uint32_t from, uint32_t to,
        const struct buf *ret[COLUMNS]);
/* Counts on; the nonce is good for one seal. */
const uint8_t *lane_nonce(struct lane *l);

/* ---- batch_seal.c: as kind_info.seal ---- */

int seal_append(struct lane *l, struct item *item);
int seal_session(struct lane *l, struct item *item);
int seal_retained(struct lane *l, struct item *item);
/* Bytes that an item can add to the batch's sealed ones beyond those of its request. */
#define SEAL_OVERHEAD 640
void topic_mac(const struct lane *l, struct slice topic, uint8_t mac[static TOPIC_MAC_LEN]);

/* ---- stages.c: the statements of a transaction behind that of the rows, in their order ---- */

struct filling;

struct stage {
	const char *name, *sql;
	const char *replay, *replay_sql; /* where a batch may be there already; NULL: the same */
	unsigned kinds;                  /* a bit for each kind whose items it looks at */
	unsigned n_columns;
	enum pg_type columns[STAGE_COLUMNS];
	/* Adds an element to each column; false: the item has nothing for this stage. */
	bool (*fill)(struct lane *l, const struct item *item, struct filling *f);
};
extern const struct stage stages[];
extern const unsigned n_stages;

/* The parameters of a stage for items [from, to): how many elements, or ERR_NOMEM, ERR_TOO_BIG. */
int stage_collect(
        struct lane *l, const struct stage *st, unsigned from, unsigned to, struct pg_params *p);
Oid array_of(enum pg_type element);

/* ---- commit.c ---- */

/* Connects and prepares: 0 or ERR_UNAVAILABLE. */
int lane_connect(struct lane *l);
void lane_disconnect(struct lane *l);
/* Draws a block of sequence numbers, where the batch has rows, and loads the missing data keys. 0
 * or ERR_UNAVAILABLE: connect again. */
int lane_prepare(struct lane *l, int64_t *ret_seq);
/* Stores items [from, to) of the batch, setting their err; retries for as long as it takes. 0;
 * ERR_TIMEOUT: the stop is due, nobody knows. */
int lane_store(struct lane *l, unsigned from, unsigned to);

/* ---- lane.c ---- */

/* Waits, or until the stop is due; loads that wait too long are answered meanwhile. */
void lane_pause(struct lane *l, unsigned ms);

#endif
