/* What an HTTPS request of a device becomes as a message. Any thread. */
#ifndef HF_INGEST_MAP_MESSAGE_H
#define HF_INGEST_MAP_MESSAGE_H

#include "server/base/buf.h"
#include "server/base/msg.h"
#include "server/net/http.h"

/* Appends the request's MQTT 5 properties: content type, iothub-app-* headers without the prefix
 * and Azure's system headers under their names in a property bag ("$.mid", "$.ce", …). 0;
 * ERR_INVALID with *ret_why for the caller to see; buf's error. */
int ingest_map_properties(const struct http_request *r, struct buf *props, const char **ret_why);
/* The message of device id: QoS 1, on devices/{id}/messages/events/. 0 with the caller's reference;
 * errors as above, or ERR_NOMEM. */
int ingest_map_message(
        const struct http_request *r, const char *id, struct msg **ret, const char **ret_why);

#endif
