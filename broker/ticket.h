/*
 * Private to the room: acknowledgement tickets. A ticket stands for one message that was taken in;
 * it counts what must be durable before the sender hears that it is. Those of a connection form a
 * FIFO, because acknowledgements leave in the order of arrival. A ticket outlives its connection:
 * the answers that it waits for find it and nobody else.
 */
#ifndef HF_BROKER_TICKET_H
#define HF_BROKER_TICKET_H

#include "broker/receipt.h"
#include "broker/session.h"

struct ticket {
	struct ticket *next;          /* behind it in its connection's FIFO */
	struct broker_client *client; /* NULL: nobody waits for the acknowledgement */
	struct shard *shard;
	struct broker_publish *call; /* or this caller waits */
	struct principal *principal;
	struct receipt receipt; /* counts what must be durable */
	struct tether session;  /* of a QoS 2 message */
	uint32_t stored;        /* bytes that the store was asked to keep */
	uint16_t packet_id;
	uint8_t ack;                 /* MQTT_PUBACK, MQTT_PUBREC, 0: none */
	uint8_t reason;              /* MQTT 5 reason code of a refusal or of a partial success */
	struct held_back *held_back; /* goes on when the row is committed */
	struct telemetry_row row;    /* absent from memory where nothing is stored */
};

/* One answer is awaited: the maker's own, given back by ticket_settle when everything was asked
 * for. row: with room for a telemetry row. */
struct ticket *ticket_new(struct shard *sh, struct principal *who, bool row);
/* Puts it at the end of the connection's FIFO. */
void ticket_queue(struct broker_client *c, struct ticket *t);
/* Asks the store to keep m under topic. */
void ticket_store(struct ticket *t, struct msg *m, struct slice topic);
/* One of the awaited answers is there. */
static inline void ticket_settle(struct ticket *t, int err)
{
	receipt_give(&t->receipt, err);
}
/* The ticket of a QoS 2 message of this session that is still on its way, or NULL. */
struct ticket *ticket_find_qos2(const struct session *s, uint16_t packet_id);
/* The connection is gone: its tickets go on without it. */
void tickets_detach(struct broker_client *c);

#endif
