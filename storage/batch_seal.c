/* Sealing what is no telemetry row: queued and retained messages, sessions. */
#include "server/base/err.h"
#include "storage/lane.h"
#include "storage/session_record.h"

void topic_mac(const struct lane *l, struct slice topic, uint8_t mac[static TOPIC_MAC_LEN])
{
	uint8_t whole[CRYPTO_HASH_LEN];

	keyring_mac(l->s->keyring, "retained", topic, whole);
	memcpy(mac, whole, TOPIC_MAC_LEN);
}

/* Seals a record behind what the batch has; *ret_n: its bytes. */
static int seal_record(struct lane *l, const struct item *item, const struct record *r,
        const struct record_place *place, uint32_t *ret_n)
{
	struct buf *out = &l->batch.sealed;
	size_t n = record_sealed_size(r);
	uint8_t *at = buf_reserve(out, n);

	if (!at)
		return ERR_NOMEM;
	int err = record_seal(r, place, item->key, lane_nonce(l), at);
	if (err < 0)
		return err;
	buf_added(out, n);
	*ret_n = (uint32_t)n;
	return 0;
}

int seal_append(struct lane *l, struct item *item)
{
	const struct queue_append *a = item_request(item, struct queue_append);

	/* Delivered and acknowledged while it waited here: nobody needs the row. */
	if (atomic_load_explicit(&a->settled, memory_order_relaxed)) {
		item->skip = true;
		return 0;
	}
	const struct record_place place = {
	        .device_key = item->device_key,
	        .key_id = item->key_id,
	        .seq = (int64_t)a->n,
	        .received_us = session_time(a->msg->received_us),
	        .kind = RECORD_QUEUED,
	        .owner = a->queue,
	};
	buf_truncate(&l->extra, 0);
	int err = delivery_encode(a, &l->extra);
	if (err < 0)
		return err;
	struct record r = message_record(a->msg, buf_slice(&l->extra));
	return seal_record(l, item, &r, &place, &item->sealed_n);
}

int seal_retained(struct lane *l, struct item *item)
{
	const struct msg *m = item_request(item, struct retained_write)->msg;
	uint8_t mac[TOPIC_MAC_LEN];

	topic_mac(l, msg_topic(m), mac);
	struct record r = message_record(m, slice_make(NULL, 0));
	const struct record_place place = {
	        .device_key = item->device_key,
	        .key_id = item->key_id,
	        .seq = (int64_t)pg_load_u64(mac + 8),
	        .received_us = session_time(m->received_us),
	        .kind = RECORD_RETAINED,
	        .owner = pg_load_u64(mac),
	};
	return seal_record(l, item, &r, &place, &item->sealed_n);
}

static int seal_will(struct lane *l, struct item *item, const struct session_row *row)
{
	uint8_t extra[WILL_EXTRA_LEN];
	const struct record_place place = {
	        .device_key = item->device_key,
	        .key_id = item->key_id,
	        .kind = RECORD_WILL,
	        .owner = row->id,
	};

	will_encode(&row->will, extra);
	struct record r = message_record(row->will.msg, slice_make(extra, sizeof(extra)));
	return seal_record(l, item, &r, &place, &item->will_n);
}

/* The principal under the hub's key; the will under that of who published it: without that device
 * there is no will. */
int seal_session(struct lane *l, struct item *item)
{
	const struct session_row *row = &item_request(item, struct session_write)->row;
	struct buf *out = &l->batch.sealed;
	uint8_t *at = buf_reserve(out, PRINCIPAL_SEALED_MAX);
	size_t n;

	if (!at)
		return ERR_NOMEM;
	int err = principal_seal(row, keyring_record_key(l->s->keyring), lane_nonce(l), at, &n);
	if (err < 0)
		return err;
	buf_added(out, n);
	item->sealed_n = (uint32_t)n;
	return row->will.msg && item->key ? seal_will(l, item, row) : 0;
}
