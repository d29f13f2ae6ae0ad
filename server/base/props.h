/*
 * MQTT 5 properties (MQTT 5.0 section 2.2.2): the table of them and an iterator over encoded ones.
 * Here and not in the broker because the API shows stored properties and ingest makes them.
 */
#ifndef HF_BASE_PROPS_H
#define HF_BASE_PROPS_H

#include "server/base/buf.h"
#include "server/base/slice.h"

enum prop_id {
	PROP_PAYLOAD_FORMAT = 0x01,
	PROP_MESSAGE_EXPIRY = 0x02,
	PROP_CONTENT_TYPE = 0x03,
	PROP_RESPONSE_TOPIC = 0x08,
	PROP_CORRELATION_DATA = 0x09,
	PROP_SUBSCRIPTION_ID = 0x0B,
	PROP_SESSION_EXPIRY = 0x11,
	PROP_ASSIGNED_CLIENT_ID = 0x12,
	PROP_SERVER_KEEP_ALIVE = 0x13,
	PROP_AUTH_METHOD = 0x15,
	PROP_AUTH_DATA = 0x16,
	PROP_REQUEST_PROBLEM_INFO = 0x17,
	PROP_WILL_DELAY = 0x18,
	PROP_REQUEST_RESPONSE_INFO = 0x19,
	PROP_RESPONSE_INFO = 0x1A,
	PROP_SERVER_REFERENCE = 0x1C,
	PROP_REASON_STRING = 0x1F,
	PROP_RECEIVE_MAXIMUM = 0x21,
	PROP_TOPIC_ALIAS_MAXIMUM = 0x22,
	PROP_TOPIC_ALIAS = 0x23,
	PROP_MAXIMUM_QOS = 0x24,
	PROP_RETAIN_AVAILABLE = 0x25,
	PROP_USER_PROPERTY = 0x26,
	PROP_MAXIMUM_PACKET_SIZE = 0x27,
	PROP_WILDCARD_AVAILABLE = 0x28,
	PROP_SUBSCRIPTION_IDS_AVAILABLE = 0x29,
	PROP_SHARED_AVAILABLE = 0x2A,
};

struct prop {
	uint8_t id;         /* enum prop_id */
	uint32_t number;    /* byte, two byte, four byte and variable byte integers */
	struct slice value; /* UTF-8 string or binary data; of a user property the value */
	struct slice name;  /* of a user property */
	struct slice raw;   /* the whole encoded property, id included */
};

/* Takes the next property off *in. 1: one was taken; 0: nothing is left; ERR_MALFORMED: unknown id,
 * cut short, invalid UTF-8. Allocates nothing. */
int prop_next(struct slice *in, struct prop *ret);

/* Append one encoded property. 0 or buf's error; strings over 65,535 bytes: ERR_TOO_BIG. */
int prop_put_byte(struct buf *out, enum prop_id id, uint8_t v);
int prop_put_u16(struct buf *out, enum prop_id id, uint16_t v);
int prop_put_u32(struct buf *out, enum prop_id id, uint32_t v);
int prop_put_varint(struct buf *out, enum prop_id id, uint32_t v);
int prop_put_string(struct buf *out, enum prop_id id, struct slice s); /* binary data too */
int prop_put_user(struct buf *out, struct slice name, struct slice value);

#endif
