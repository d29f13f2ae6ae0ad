/*
 * Private to the room: commands (CONTRACT section 6). Each device that has any has a queue of its
 * own in the store, which needs no session; its home knows how many there are. They are delivered
 * to a subscription of the device's own session, through its flight.
 */
#ifndef HF_BROKER_COMMAND_H
#define HF_BROKER_COMMAND_H

#include "broker/session.h"

/* Sends what has room now. After CONNACK, SUBACK and acknowledgements. */
void commands_pump(struct session *s);
/* Command n that was in flight is delivered or dropped; or its session ends before it was. */
void command_settled(struct session *s, uint64_t n);
void command_back(struct session *s, uint64_t n);
/* The session's client goes: the store notes which commands it may have. */
void commands_left(struct session *s);
/* The device is gone, and its commands with it. */
void commands_forget(struct shard *sh, uint64_t device_key);
/* What an earlier hub left; before the loops run, after the sessions. 0, ERR_NOMEM, ERR_INVALID: no
 * device can have that id. */
int commands_restored(struct broker *b, uint64_t device_key, struct slice device_id,
        const struct queue_stats *queue);
void commands_free(struct shard *sh);

#endif
