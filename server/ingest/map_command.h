/* What an HTTPS request of a back end becomes as a message for a device. Any thread. */
#ifndef HF_INGEST_MAP_COMMAND_H
#define HF_INGEST_MAP_COMMAND_H

#include "server/base/msg.h"
#include "server/net/http.h"

/*
 * The command for device id: QoS 1, on devices/{id}/messages/devicebound/{bag}. The bag holds the
 * system headers and iothub-app-* headers as Azure sends them ("%24.mid=…&%24.to=…&name=value"),
 * for every client; MQTT 5 clients find content type, correlation data and application properties
 * in the PUBLISH, too. IoTHub-Expiry is the message's expiry. 0 with the caller's reference;
 * ERR_INVALID and ERR_TOO_BIG (the topic would be over 65,535 bytes) with *ret_why for the caller
 * to see; ERR_NOMEM.
 */
int ingest_map_command(
        const struct http_request *r, const char *id, struct msg **ret, const char **ret_why);

#endif
