/* A lane's chain: the rows that its next transaction adds to it. */
#include "server/base/err.h"
#include "storage/lane.h"

static const enum pg_type element_types[CHAIN_COLUMNS] = {
        [CHAIN_DAY] = PG_INT4,
        [CHAIN_POSITION] = PG_INT8,
        [CHAIN_FIRST_SEQ] = PG_INT8,
        [CHAIN_N] = PG_INT4,
        [CHAIN_PREV] = PG_BYTEA,
        [CHAIN_MARKS] = PG_BYTEA,
        [CHAIN_HASH] = PG_BYTEA,
};

void lane_chain_init(struct lane *l)
{
	for (unsigned i = 0; i < CHAIN_COLUMNS; i++)
		buf_init(&l->chain.columns[i], UINT32_MAX);
}

void lane_chain_done(struct lane *l)
{
	for (unsigned i = 0; i < CHAIN_COLUMNS; i++)
		buf_free(&l->chain.columns[i]);
}

/* An element of one of the columns of numbers. */
static int64_t number_at(const struct batch *b, enum column column, uint32_t row)
{
	const struct buf *c = &b->columns[column];

	return (int64_t)pg_load_u64(c->data + c->start + PG_ARRAY_HEAD + 12 * (size_t)row + 4);
}

static int64_t day_at(const struct batch *b, uint32_t row)
{
	return (number_at(b, COL_TIME, row) + PG_EPOCH_US) / DAY_US;
}

static int put_marks(struct lane *l, uint32_t from, uint32_t n)
{
	struct buf *out = &l->chain.columns[CHAIN_MARKS];
	size_t size = (size_t)n * CHAIN_MARK_LEN;
	uint8_t *at = buf_reserve(out, 4 + size);

	if (!at)
		return ERR_NOMEM;
	pg_store_u32(at, (uint32_t)size);
	for (uint32_t i = 0; i < n; i++)
		memcpy(at + 4 + (size_t)i * CHAIN_MARK_LEN, l->batch.digests[from + i],
		        CHAIN_MARK_LEN);
	buf_added(out, 4 + size);
	return 0;
}

/* One row of the chain, for rows [from, to), which are of one day. */
static int link_day(struct lane *l, uint32_t from, uint32_t to)
{
	struct lane_chain *c = &l->chain;
	struct chain_row row = {
	        .chain = c->number,
	        .position = c->next.position + 1,
	        .day = day_at(&l->batch, from),
	        .first_seq = number_at(&l->batch, COL_SEQ, from),
	        .n = to - from,
	};

	memcpy(row.prev, c->next.hash, sizeof(row.prev));
	chain_row_hash(
	        &row, (const uint8_t(*)[CRYPTO_HASH_LEN])l->batch.digests + from, c->next.hash);
	c->next.position = row.position;
	c->n++;
	int err = pg_array_i32(&c->columns[CHAIN_DAY], (int32_t)row.day);
	if (err == 0)
		err = pg_array_i64(&c->columns[CHAIN_POSITION], row.position);
	if (err == 0)
		err = pg_array_i64(&c->columns[CHAIN_FIRST_SEQ], row.first_seq);
	if (err == 0)
		err = pg_array_i32(&c->columns[CHAIN_N], (int32_t)row.n);
	if (err == 0)
		err = pg_array_bytes(
		        &c->columns[CHAIN_PREV], slice_make(row.prev, sizeof(row.prev)));
	if (err == 0)
		err = put_marks(l, from, row.n);
	if (err == 0)
		err = pg_array_bytes(
		        &c->columns[CHAIN_HASH], slice_make(c->next.hash, sizeof(c->next.hash)));
	return err;
}

int lane_chain_link(struct lane *l, uint32_t from, uint32_t to)
{
	struct lane_chain *c = &l->chain;
	int err = 0;

	c->n = 0;
	c->next = c->head;
	for (unsigned i = 0; err == 0 && i < CHAIN_COLUMNS; i++)
		err = pg_array_start(&c->columns[i]);
	for (uint32_t start = from, i = from; err == 0 && i < to; i++) {
		if (i + 1 < to && day_at(&l->batch, i + 1) == day_at(&l->batch, start))
			continue;
		err = link_day(l, start, i + 1);
		start = i + 1;
	}
	for (unsigned i = 0; err == 0 && i < CHAIN_COLUMNS; i++)
		pg_array_finish(&c->columns[i], element_types[i], c->n);
	return err;
}

void lane_chain_params(struct lane *l, struct pg_params *p)
{
	pg_put_i64(p, l->chain.number);
	for (unsigned i = 0; i < CHAIN_COLUMNS; i++)
		pg_put_array(p, 0, &l->chain.columns[i]);
}

void lane_chain_advance(struct lane *l)
{
	l->chain.head = l->chain.next;
	l->chain.n = 0;
}
