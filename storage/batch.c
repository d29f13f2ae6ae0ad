/* A batch: its requests, and their rows sealed into the columns of the INSERT. */
#include "storage/lane.h"

#include <stdlib.h>

#include "server/base/clock.h"
#include "server/base/err.h"
#include "server/base/log.h"
#include "server/base/metrics.h"
#include "storage/record.h"

#define COLUMN_CAP (1024u * 1024 * 1024) /* what PostgreSQL takes in one value */
#define SECOND_US 1000000
#define LAST_US 253402300799999999LL /* 9999-12-31T23:59:59.999999Z */
#define KEEP_BYTES                                                                    \
	(4u * 1024 * 1024) /* a column larger than this is given back after its batch \
	                    */

static const enum pg_type element_types[COLUMNS] = {
        [COL_DEVICE] = PG_INT8,
        [COL_TIME] = PG_TIMESTAMPTZ,
        [COL_SEQ] = PG_INT8,
        [COL_KEY] = PG_INT8,
        [COL_SEALED] = PG_BYTEA,
};

int batch_init(struct batch *b, unsigned rows)
{
	b->items = calloc(rows, sizeof(*b->items));
	b->ends = calloc(rows, sizeof(*b->ends));
	for (unsigned i = 0; i < COLUMNS; i++)
		buf_init(&b->columns[i], COLUMN_CAP);
	buf_init(&b->sealed, COLUMN_CAP);
	int err = claims_init(b, rows);
	return b->items && b->ends ? err : ERR_NOMEM;
}

void batch_done(struct batch *b)
{
	free(b->items);
	free(b->ends);
	claims_done(b);
	buf_wipe(&b->sealed);
	for (unsigned i = 0; i < COLUMNS; i++)
		buf_wipe(&b->columns[i]);
}

static void give_back(struct buf *b)
{
	if (b->size > KEEP_BYTES)
		buf_free(b);
}

void batch_clear(struct batch *b)
{
	b->n = b->n_rows = b->n_loads = 0;
	b->kinds = 0;
	b->writes = 0;
	b->sealed_rows = 0;
	b->bytes = 0;
	b->replay = false;
	claims_clear(b);
	give_back(&b->sealed);
	for (unsigned i = 0; i < COLUMNS; i++)
		give_back(&b->columns[i]);
}

const uint8_t *lane_nonce(struct lane *l)
{
	pg_store_u32(l->nonce + 8, l->nonce_counter++);
	return l->nonce;
}

/* Order by time and order by number agree while the clock is steady: what arrives a little early,
 * because two loops read the clock apart, takes the time of what went before. A jump is kept. */
static int64_t row_time(struct lane *l, int64_t us)
{
	if (us < 0)
		us = 0;
	if (us > LAST_US)
		us = LAST_US;
	if (us < l->last_us && l->last_us - us < SECOND_US)
		us = l->last_us;
	l->last_us = us;
	return us;
}

static struct record row_record(const struct telemetry_row *row)
{
	const struct msg *m = row->msg;

	return (struct record){
	        .qos = m->qos,
	        .retain = m->retain,
	        .topic = row->topic,
	        .module = row->module,
	        .props = msg_props(m),
	        .payload = msg_payload(m),
	};
}

_Static_assert(sizeof(struct telemetry_row) + sizeof(struct msg) >= 4 + RECORD_OVERHEAD,
        "a row's request is counted for more than its sealed form, but for the module");

static int start_columns(struct batch *b)
{
	size_t sealed = PG_ARRAY_HEAD + b->bytes + (size_t)RECORD_MODULE_MAX * b->n_rows;

	/* All memory now: sealing cannot fail half-way for the lack of it. */
	for (unsigned i = 0; i < COLUMNS; i++) {
		size_t size = PG_ARRAY_HEAD + 12 * (size_t)b->n_rows;
		int err = pg_array_start(&b->columns[i]);

		if (err == 0)
			err = buf_ensure(&b->columns[i], i == COL_SEALED ? sealed : size);
		if (err < 0)
			return err;
	}
	b->sealed_rows = 0;
	buf_truncate(&b->sealed, 0);
	if (b->n == b->n_rows)
		return 0;
	return buf_ensure(&b->sealed, b->bytes + (size_t)SEAL_OVERHEAD * (b->n - b->n_rows));
}

static int seal_row(struct lane *l, struct item *item, int64_t seq)
{
	struct batch *b = &l->batch;
	const struct telemetry_row *row = item_row(item);
	struct record r = row_record(row);
	size_t size = record_sealed_size(&r);
	uint8_t *out = buf_reserve(&b->columns[COL_SEALED], 4 + size);
	struct record_place place = {
	        .device_key = row->device_key,
	        .key_id = item->key_id,
	        .seq = seq,
	        .received_us = row_time(l, row->msg->received_us),
	};

	if (!out)
		return ERR_NOMEM;
	pg_store_u32(out, (uint32_t)size);
	int err = record_seal(&r, &place, item->key, lane_nonce(l), out + 4);
	if (err < 0)
		return err;
	buf_added(&b->columns[COL_SEALED], 4 + size);
	(void)pg_array_i64(&b->columns[COL_DEVICE], (int64_t)place.device_key);
	(void)pg_array_i64(&b->columns[COL_TIME], place.received_us - PG_EPOCH_US);
	(void)pg_array_i64(&b->columns[COL_SEQ], place.seq);
	(void)pg_array_i64(&b->columns[COL_KEY], place.key_id);
	b->ends[b->sealed_rows++] = (uint32_t)buf_len(&b->columns[COL_SEALED]);
	item->sealed = true;
	return 0;
}

static int seal_other(struct lane *l, struct item *item)
{
	const struct kind_info *info = &kinds[item->kind];

	item->sealed_at = (uint32_t)buf_len(&l->batch.sealed);
	item->skip = item->kind == KIND_LOAD;
	if (!info->seal || item->device_key == NO_KEY)
		return 0;
	int err = info->seal(l, item);
	item->sealed = err == 0 && !item->skip;
	return err;
}

/* Too big for the record, or cryptography failed: not a matter of luck. */
static void refuse(struct item *item, int err)
{
	item->err = ERR_POISON;
	metric_inc(item->kind == KIND_ROW ? METRIC_TELEMETRY_POISON : METRIC_STORE_REFUSED);
	log_error("a message cannot be sealed", F_STR("error", err_text(err)),
	        F_STR("what", kinds[item->kind].name), F_U64("deviceKey", item->device_key));
}

int batch_seal(struct lane *l, int64_t seq)
{
	struct batch *b = &l->batch;
	int err = start_columns(b);

	for (unsigned i = 0; err == 0 && i < b->n; i++) {
		struct item *item = &b->items[i];

		item->first_row = b->sealed_rows;
		if (item->err < 0)
			continue;
		int r = item->kind == KIND_ROW ? seal_row(l, item, seq++) : seal_other(l, item);
		if (r < 0)
			refuse(item, r);
		b->writes += r == 0 && !item->skip;
		item->key = NULL;
	}
	for (unsigned i = 0; err == 0 && i < COLUMNS; i++)
		pg_array_finish(&b->columns[i], element_types[i], b->sealed_rows);
	return err;
}

static int copy_part(struct buf *out, const struct buf *column, size_t from, size_t to)
{
	int err = pg_array_start(out);

	return err < 0 ? err : buf_append(out, column->data + column->start + from, to - from);
}

int batch_part(struct batch *b, struct buf part[COLUMNS], uint32_t from, uint32_t to,
        const struct buf *ret[COLUMNS])
{
	for (unsigned i = 0; i < COLUMNS; i++) {
		size_t start = PG_ARRAY_HEAD + 12 * (size_t)from;
		size_t end = PG_ARRAY_HEAD + 12 * (size_t)to;

		ret[i] = &b->columns[i];
		if (from == 0 && to == b->sealed_rows)
			continue;
		if (i == COL_SEALED) {
			start = from > 0 ? b->ends[from - 1] : PG_ARRAY_HEAD;
			end = b->ends[to - 1];
		}
		int err = copy_part(&part[i], &b->columns[i], start, end);
		if (err < 0)
			return err;
		pg_array_finish(&part[i], element_types[i], to - from);
		ret[i] = &part[i];
	}
	return 0;
}
