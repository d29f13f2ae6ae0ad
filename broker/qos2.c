#include "broker/qos2.h"

#include <stdlib.h>
#include <string.h>

#include "server/base/err.h"

/* Linear probing from a spread of the id, at most three quarters full. */
static uint32_t home_of(const struct qos2_set *q, uint16_t id)
{
	return (uint32_t)(id * 2654435769u >> 16) & (q->size - 1);
}

struct qos2_slot *qos2_find(const struct qos2_set *q, uint16_t packet_id)
{
	if (q->used == 0)
		return NULL;
	for (uint32_t i = home_of(q, packet_id); q->slots[i].packet_id;
	        i = (i + 1) & (q->size - 1)) {
		if (q->slots[i].packet_id == packet_id)
			return &q->slots[i];
	}
	return NULL;
}

static struct qos2_slot *free_slot(const struct qos2_set *q, uint16_t packet_id)
{
	uint32_t i = home_of(q, packet_id);
	while (q->slots[i].packet_id)
		i = (i + 1) & (q->size - 1);
	return &q->slots[i];
}

static bool grow(struct qos2_set *q)
{
	struct qos2_set bigger = *q;
	bigger.size = q->size ? q->size * 2 : 8;
	bigger.slots = calloc(bigger.size, sizeof(*bigger.slots));
	if (!bigger.slots)
		return false;
	for (uint32_t i = 0; i < q->size; i++) {
		if (q->slots[i].packet_id)
			*free_slot(&bigger, q->slots[i].packet_id) = q->slots[i];
	}
	free(q->slots);
	*q = bigger;
	return true;
}

struct qos2_slot *qos2_add(struct qos2_set *q, uint16_t packet_id)
{
	if (q->used >= q->size / 4 * 3 && !grow(q))
		return NULL;
	struct qos2_slot *slot = free_slot(q, packet_id);
	*slot = (struct qos2_slot){.packet_id = packet_id};
	q->used++;
	return slot;
}

void qos2_remove(struct qos2_set *q, uint16_t packet_id)
{
	struct qos2_slot *slot = qos2_find(q, packet_id);
	if (!slot)
		return;
	uint32_t mask = q->size - 1, gap = (uint32_t)(slot - q->slots);
	for (uint32_t i = (gap + 1) & mask; q->slots[i].packet_id; i = (i + 1) & mask) {
		uint32_t home = home_of(q, q->slots[i].packet_id);
		if (((i - home) & mask) < ((i - gap) & mask))
			continue;
		q->slots[gap] = q->slots[i];
		gap = i;
	}
	q->slots[gap] = (struct qos2_slot){0};
	if (--q->used == 0)
		qos2_free(q);
}

int qos2_restore(struct qos2_set *q, struct qos2_id *ids, unsigned n)
{
	qos2_free(q);
	for (unsigned i = 0; i < n; i++) {
		if (ids[i].packet_id == 0 || qos2_find(q, ids[i].packet_id))
			continue;
		struct qos2_slot *slot = qos2_add(q, ids[i].packet_id);
		if (!slot) {
			qos2_free(q);
			free(ids);
			return ERR_NOMEM;
		}
		slot->state = QOS2_RESTORED;
		slot->stored = true;
		slot->restored = i;
	}
	q->restored = ids;
	if (q->used == 0)
		qos2_free(q);
	return 0;
}

void qos2_restart(struct qos2_set *q)
{
	for (uint32_t i = 0; i < q->size; i++)
		q->slots[i].counted = q->slots[i].answer_due = false;
}

bool qos2_any_stored(const struct qos2_set *q)
{
	for (uint32_t i = 0; i < q->size; i++) {
		if (q->slots[i].packet_id && q->slots[i].stored)
			return true;
	}
	return false;
}

void qos2_free(struct qos2_set *q)
{
	free(q->slots);
	free(q->restored);
	*q = (struct qos2_set){0};
}
