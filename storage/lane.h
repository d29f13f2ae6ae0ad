/*
 * A lane: one thread that stores what its devices send, batch by batch, each batch one transaction.
 * Private to lane.c (thread, intake, answers), batch.c (sealing) and commit.c (transactions).
 */
#ifndef HF_STORAGE_LANE_H
#define HF_STORAGE_LANE_H

#include "storage/dek_cache.h"
#include "storage/private.h"

#define SEQ_BLOCK 8192 /* as holdfast.telemetry_seq increments; the largest batch */
#define FORGET_MAX 256

/* A request in a batch. */
struct item {
	struct telemetry_row *row; /* one of the two is set */
	struct qos2_release *release;
	const struct dek *dek; /* until it is sealed */
	uint32_t first_row;    /* rows in the columns before this item */
	bool sealed;           /* it has a row in the columns */
	int err;
};

/* The columns of the INSERT, as PostgreSQL takes them: an array each, built while sealing. */
enum column { COL_DEVICE, COL_TIME, COL_SEQ, COL_KEY, COL_SEALED, COLUMNS };

struct batch {
	struct item *items;
	unsigned n;
	unsigned n_rows; /* items that are rows */
	size_t bytes;    /* of the requests, as counted in the backlog */
	uint32_t sealed_rows;
	struct buf columns[COLUMNS];
	uint32_t *ends; /* where each row's element of COL_SEALED ends */
	bool replay;    /* it may be in the database already */
};

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
	uint64_t started_us;       /* when the last batch began */
	unsigned pace_rest;        /* batches that are not held back */
	struct batch batch;
	struct buf part[COLUMNS]; /* columns of a part of a batch */
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

/* ---- batch.c ---- */

int batch_init(struct batch *b, unsigned rows);
void batch_done(struct batch *b);
void batch_clear(struct batch *b);
/* Whether the batch must end before this release: it takes back a packet id that is in it. */
bool batch_conflicts(const struct batch *b, const struct qos2_release *r);
/* Seals every row that has a data key, numbering from seq; the others get their err. 0, ERR_NOMEM
 * (nothing was done) or ERR_CRYPTO. */
int batch_seal(struct lane *l, int64_t seq);
/* The columns of rows [from, to), as arrays: the batch's own for all of them, else copied to part.
 */
int batch_part(struct batch *b, struct buf part[COLUMNS], uint32_t from, uint32_t to,
        const struct buf *ret[COLUMNS]);

/* ---- commit.c ---- */

/* Connects and prepares: 0 or ERR_UNAVAILABLE. */
int lane_connect(struct lane *l);
void lane_disconnect(struct lane *l);
/* Draws a block of sequence numbers (where ret_seq is not NULL) and loads the missing data keys. 0
 * or ERR_UNAVAILABLE: connect again. */
int lane_prepare(struct lane *l, int64_t *ret_seq);
/* Stores items [from, to) of the batch, setting their err; retries for as long as it takes. 0;
 * ERR_TIMEOUT: the stop is due, nobody knows. */
int lane_store(struct lane *l, unsigned from, unsigned to);

/* ---- qos2.c ---- */

/* Packet ids of items [from, to), as arrays: those to note with their tags, or those to forget. */
struct qos2_arrays {
	struct buf device, session, packet, tag;
	uint32_t n;
};
int qos2_collect(struct lane *l, unsigned from, unsigned to, bool releases, struct qos2_arrays *a);
void qos2_arrays_done(struct qos2_arrays *a);

#endif
