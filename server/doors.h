/*
 * The hub's listeners: which addresses there are, and who takes what comes in there.
 */
#ifndef HF_SERVER_DOORS_H
#define HF_SERVER_DOORS_H

#include "server/api/api.h"
#include "server/config.h"
#include "server/front.h"
#include "server/net/net.h"

struct doors {
	struct front mqtts, mqtt, wss;
	struct ws_server ws;
	const struct http_server *http;
	unsigned https_port, mqtts_port; /* of the first address of each */
};

/* Loads the certificate and opens every listener of the settings; nobody is accepted yet. doors
 * outlives net. Main thread, before the loops run. 0 or as net_tls_load and net_listen. */
int doors_open(struct doors *doors, struct net *net, const struct config *c,
        char error[static NET_ERROR_LEN]);
/* Who serves what comes in: before the first connection is accepted. Main thread. */
void doors_serve(struct doors *doors, struct broker *broker, struct api *api);

#endif
