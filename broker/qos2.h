/*
 * Private to the room: the packet ids of QoS 2 messages that a session has received and that were
 * not released yet: a small hash table, nothing while there are none.
 */
#ifndef HF_BROKER_QOS2_H
#define HF_BROKER_QOS2_H

#include "broker/telemetry_store.h"

enum qos2_state {
	QOS2_PENDING = 1, /* its row is on its way to the store; no PUBREC yet */
	QOS2_HELD,        /* PUBREC may be sent; waits for PUBREL */
	QOS2_RESTORED,  /* as HELD, read back from the store by a process that did not receive it */
	QOS2_RELEASING, /* PUBREL came, the store is forgetting it */
};

struct qos2_slot {
	uint16_t packet_id; /* 0: free */
	uint8_t state;
	bool stored;     /* the store knows the id */
	bool counted;    /* counts against the receive maximum of this connection */
	bool answer_due; /* RELEASING: PUBCOMP goes to the present connection */
	uint16_t turn; /* tells a reuse of the id from what the store answers about the last one */
	uint32_t restored; /* RESTORED: index into restored */
};

struct qos2_set {
	struct qos2_slot *slots;
	uint32_t size, used;
	struct qos2_id *restored;
};

struct qos2_slot *qos2_find(const struct qos2_set *q, uint16_t packet_id);
/* A new zeroed slot but for packet_id, which must not be there. NULL when out of memory. */
struct qos2_slot *qos2_add(struct qos2_set *q, uint16_t packet_id);
void qos2_remove(struct qos2_set *q, uint16_t packet_id);
/* Takes over what the store knew (ids is malloc'ed). 0, ERR_NOMEM. */
int qos2_restore(struct qos2_set *q, struct qos2_id *ids, unsigned n);
/* A new connection: nothing counts against its receive maximum yet, nobody waits for PUBCOMP. */
void qos2_restart(struct qos2_set *q);
/* Whether the store may know any of the ids. */
bool qos2_any_stored(const struct qos2_set *q);
void qos2_free(struct qos2_set *q);

#endif
