/* The packet ids of QoS 2 messages in a batch: noted with their rows, forgotten by PUBREL. */
#include "server/base/err.h"
#include "storage/lane.h"

#define ARRAY_CAP (16u * 1024 * 1024)

static int add(struct qos2_arrays *a, uint64_t device_key, struct slice session, uint16_t packet_id)
{
	int err = pg_array_i64(&a->device, (int64_t)device_key);

	if (err == 0)
		err = pg_array_bytes(&a->session, session);
	if (err == 0)
		err = pg_array_i32(&a->packet, packet_id);
	a->n += err == 0;
	return err;
}

static int add_insert(struct lane *l, const struct telemetry_row *row, struct qos2_arrays *a)
{
	uint8_t tag[8];
	int err = add(a, row->device_key, row->session, row->packet_id);

	keyring_qos2_tag(l->s->keyring, msg_topic(row->msg), msg_payload(row->msg), tag);
	return err < 0 ? err : pg_array_bytes(&a->tag, slice_make(tag, sizeof(tag)));
}

static int start(struct qos2_arrays *a)
{
	struct buf *all[] = {&a->device, &a->session, &a->packet, &a->tag};
	int err = 0;

	a->n = 0;
	for (size_t i = 0; err == 0 && i < ARRAY_LEN(all); i++) {
		buf_init(all[i], ARRAY_CAP);
		err = pg_array_start(all[i]);
	}
	return err;
}

/* Packet id 0, which no message has, stands for all of a session. */
int qos2_collect(struct lane *l, unsigned from, unsigned to, bool releases, struct qos2_arrays *a)
{
	int err = start(a);

	for (unsigned i = from; err == 0 && i < to; i++) {
		const struct item *item = &l->batch.items[i];

		if (releases && item->release)
			err = add(a, item->release->device_key, item->release->session,
			        item->release->all ? 0 : item->release->packet_id);
		else if (!releases && item->sealed && item->row->qos2)
			err = add_insert(l, item->row, a);
	}
	if (err < 0)
		return err;
	pg_array_finish(&a->device, PG_INT8, a->n);
	pg_array_finish(&a->session, PG_TEXT, a->n);
	pg_array_finish(&a->packet, PG_INT4, a->n);
	pg_array_finish(&a->tag, PG_BYTEA, a->n);
	return 0;
}

void qos2_arrays_done(struct qos2_arrays *a)
{
	buf_free(&a->device);
	buf_free(&a->session);
	buf_free(&a->packet);
	buf_free(&a->tag);
}
