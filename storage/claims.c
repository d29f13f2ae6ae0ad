/*
 * Which requests may share a batch. A transaction does its statements in one order (stages.c), not
 * in that of the requests: where that would change what comes of two requests that name the same
 * thing, the batch ends between them; where the later one undoes the earlier one, only the later
 * one is written. What a batch names is kept in a hash table, by hashes under the process's secret
 * key.
 */
#include <stdlib.h>

#include "server/base/err.h"
#include "server/base/map.h"
#include "storage/lane.h"

struct claim {
	uint64_t hash;
	uint32_t item;  /* the last one of the batch that named it */
	uint32_t round; /* of which batch: others' are free */
};

/* What is named. */
enum thing { PACKET_ID, PACKET_IDS, SESSION, SESSION_KEY, SUBSCRIPTION, QUEUED, RETAINED };

int claims_init(struct batch *b, unsigned rows)
{
	uint32_t size = 64;

	/* An item names at most two things: half of it stays free. */
	while (size < 4 * rows)
		size *= 2;
	b->claims = calloc(size, sizeof(*b->claims));
	b->claims_mask = size - 1;
	b->claims_round = 1;
	return b->claims ? 0 : ERR_NOMEM;
}

void claims_done(struct batch *b)
{
	free(b->claims);
}

void claims_clear(struct batch *b)
{
	if (++b->claims_round != 0)
		return;
	memset(b->claims, 0, (b->claims_mask + 1) * sizeof(*b->claims));
	b->claims_round = 1;
}

static uint64_t hash_of(enum thing thing, uint64_t number, uint64_t second, struct slice text)
{
	const uint64_t named[4] = {
	        thing, number, second, text.n > 0 ? hash_bytes(text.p, text.n) : 0};

	return hash_bytes(named, sizeof(named));
}

/* Where it is, or a free place. */
static struct claim *look_up(struct batch *b, uint64_t hash)
{
	uint32_t at = (uint32_t)hash & b->claims_mask;

	while (b->claims[at].round == b->claims_round && b->claims[at].hash != hash)
		at = (at + 1) & b->claims_mask;
	return &b->claims[at];
}

static struct item *claimed_by(struct batch *b, const struct claim *c)
{
	return c->round == b->claims_round ? &b->items[c->item] : NULL;
}

static void claim(struct batch *b, struct claim *c, uint64_t hash, const struct item *item)
{
	*c = (struct claim){hash, (uint32_t)(item - b->items), b->claims_round};
}

/* The newest item names a thing; what an earlier one of its kind would write there goes. */
static bool claim_last(struct batch *b, struct item *item, uint64_t hash)
{
	struct claim *c = look_up(b, hash);
	struct item *before = claimed_by(b, c);

	if (before)
		before->later = (uint32_t)(item - b->items);
	claim(b, c, hash, item);
	return true;
}

/* ---- packet ids: forgotten first, then noted ---- */

static void claim_id(struct batch *b, const struct item *item, uint64_t device_key,
        struct slice session, uint16_t packet_id)
{
	uint64_t one = hash_of(PACKET_ID, device_key, packet_id, session);
	uint64_t all = hash_of(PACKET_IDS, device_key, 0, session);

	claim(b, look_up(b, one), one, item);
	claim(b, look_up(b, all), all, item);
}

bool claim_row(struct batch *b, struct item *item)
{
	const struct telemetry_row *row = item_row(item);

	if (row->qos2) {
		claim_id(b, item, row->device_key, row->session, row->packet_id);
		b->kinds |= 1u << KIND_ROW;
	}
	return true;
}

bool claim_note(struct batch *b, struct item *item)
{
	const struct qos2_note *n = item_request(item, struct qos2_note);

	claim_id(b, item, n->device_key, n->session, n->msg->packet_id);
	return true;
}

bool claim_release(struct batch *b, struct item *item)
{
	const struct qos2_release *r = container_of(item->mail, struct qos2_release, mail);
	uint64_t hash = r->all ? hash_of(PACKET_IDS, r->device_key, 0, r->session)
	                       : hash_of(PACKET_ID, r->device_key, r->packet_id, r->session);

	return !claimed_by(b, look_up(b, hash));
}

/* ---- sessions: made, then touched, then ended ---- */

static const struct session_write *write_of(const struct item *item)
{
	return item_request(item, struct session_write);
}

/* Of the sessions of one key only the newest is made: the others have ended. A client that takes
 * its own place again and again does not cut everybody's batches short. */
static void claim_key(struct batch *b, const struct item *item)
{
	const struct session_row *row = &write_of(item)->row;
	uint64_t hash = hash_of(SESSION_KEY, 0, 0, row->key);
	struct claim *c = look_up(b, hash);
	struct item *before = claimed_by(b, c);

	if (before && write_of(before)->row.id != row->id)
		before->later = (uint32_t)(item - b->items);
	claim(b, c, hash, item);
}

bool claim_session(struct batch *b, struct item *item)
{
	const struct session_write *w = write_of(item);
	uint64_t hash = hash_of(SESSION, w->row.id, 0, slice_make(NULL, 0));
	struct claim *c = look_up(b, hash);
	struct item *before = claimed_by(b, c);

	if (before && (write_of(before)->op > w->op || write_of(before)->row.id != w->row.id))
		return false;
	if (w->op == SESSION_PUT)
		claim_key(b, item);
	if (before && write_of(before)->op == w->op)
		before->later = (uint32_t)(item - b->items);
	/* The key may have moved into the place that was free. */
	claim(b, look_up(b, hash), hash, item);
	return true;
}

bool claim_sub(struct batch *b, struct item *item)
{
	const struct sub_write *w = item_request(item, struct sub_write);

	return claim_last(b, item, hash_of(SUBSCRIPTION, w->session_id, 0, w->filter));
}

/* ---- queues: appended, marked, released, removed ---- */

/* A number is used once, and what is asked of it comes in the order of the statements; a message is
 * marked again when it is sent on another connection. */
bool claim_queue(struct batch *b, struct item *item)
{
	const struct queue_write *w = item_request(item, struct queue_write);

	if (w->op != QUEUE_MARK)
		return true;
	return claim_last(b, item, hash_of(QUEUED, w->queue, w->n, slice_make(NULL, 0)));
}

bool claim_retained(struct batch *b, struct item *item)
{
	const struct retained_write *w = item_request(item, struct retained_write);

	return claim_last(b, item, hash_of(RETAINED, 0, 0, msg_topic(w->msg)));
}
