/* The MQTT front: joins a connection (server/net) to a client of the broker. */
#ifndef HF_SERVER_FRONT_H
#define HF_SERVER_FRONT_H

#include "broker/broker.h"
#include "server/net/conn.h"

struct front {
	struct broker *broker;
	const char *protocol;   /* "mqtt", "mqtts" or "wss"; constant */
	bool anonymous_allowed; /* the listener lets clients in without credentials */
	size_t max_packet_size;
};

/* net_listener_spec.on_accept with a struct front as arg, which outlives the loops. */
void front_accept(struct conn *c, void *arg);

#endif
