/*
 * A message: one allocation that holds header, topic, MQTT 5 properties as on the wire and payload.
 * Immutable once published; any thread may hold a reference.
 */
#ifndef HF_BASE_MSG_H
#define HF_BASE_MSG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "server/base/access.h"
#include "server/base/slice.h"

#define MSG_NO_EXPIRY UINT64_MAX

struct msg {
	atomic_uint refs;
	uint8_t qos; /* as published: 0, 1, 2 */
	bool retain; /* as published */
	bool expires;
	bool again; /* QoS 2, sent again after a restart: durable queues may have it already */
	uint16_t topic_len;
	uint16_t packet_id; /* of the publisher, where qos is 2 */
	uint32_t props_len; /* see below */
	uint32_t payload_len;
	uint64_t
	        expires_ms; /* monotonic ms when it expires (Message Expiry Interval), if expires */
	int64_t received_us; /* wall clock, when the hub received it */
	uint64_t device_key; /* whose data key seals durable copies; 0: the hub's own */
	struct access *from; /* the first part of its publisher, a reference; NULL: not known */
	/* topic; then the PUBLISH properties that travel with a message, encoded as on the wire
	 * without their length prefix and in their order: payload format, content type, response
	 * topic, correlation data, user properties (never topic alias, subscription id, expiry: the
	 * expiry is above); then the payload */
	uint8_t bytes[];
};

static inline struct slice msg_topic(const struct msg *m)
{
	return slice_make(m->bytes, m->topic_len);
}
static inline struct slice msg_props(const struct msg *m)
{
	return slice_make(m->bytes + m->topic_len, m->props_len);
}
static inline struct slice msg_payload(const struct msg *m)
{
	return slice_make(m->bytes + m->topic_len + m->props_len, m->payload_len);
}
/* Bytes of memory that the message holds. */
static inline size_t msg_size(const struct msg *m)
{
	return sizeof(*m) + m->topic_len + m->props_len + m->payload_len;
}

/* Whether its Message Expiry Interval is over; now_ms: monotonic. */
static inline bool msg_expired(const struct msg *m, uint64_t now_ms)
{
	return m->expires && m->expires_ms <= now_ms;
}

/* Copies topic, props and payload into a new message with one reference; the other members are
 * zero. NULL when out of memory; the caller has bounded the lengths. */
struct msg *msg_new(struct slice topic, struct slice props, struct slice payload);

static inline struct msg *msg_ref(struct msg *m)
{
	atomic_fetch_add_explicit(&m->refs, 1, memory_order_relaxed);
	return m;
}
/* Drops a reference; NULL is fine; returns NULL. */
struct msg *msg_unref(struct msg *m);

#endif
