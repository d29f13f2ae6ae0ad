/*
 * Private to the room: how fast a device may send and connect. A device has one record, on its home
 * shard, that its connections and those of its modules share, so that coming back does not begin it
 * anew; back ends and anonymous clients have one for each connection. A record is forgotten when
 * nobody is connected who needs it and it says no more than a new one would.
 */
#ifndef HF_BROKER_RATE_H
#define HF_BROKER_RATE_H

#include "broker/codec/mqtt.h"
#include "broker/shard.h"

struct rate;

/* Counts a CONNECT that was authenticated. False: the device connects too often. */
bool rate_connect(struct shard *sh, const struct principal *who);
/* The record of a client that is let in, with a reference; NULL when no limit of messages or bytes
 * is set, or without memory. */
struct rate *rate_get(struct shard *sh, const struct principal *who);
struct rate *rate_unref(struct shard *sh, struct rate *r); /* returns NULL */
/* Notes a packet. Returns whether the client is over its rate now. */
bool rate_note(struct shard *sh, struct rate *r, const struct mqtt_frame *f);
/* ms until it is not over its rate any more; 0: now. */
uint64_t rate_wait(const struct shard *sh, const struct rate *r);
/* Forgets what can be forgotten, a bounded number of records a call. */
void rates_sweep(struct shard *sh);
void rates_free(struct shard *sh);

#endif
