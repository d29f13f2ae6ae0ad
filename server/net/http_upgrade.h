/* The opening handshake of WebSocket (RFC 6455 section 4.2). Private to server/net. */
#ifndef HF_NET_HTTP_UPGRADE_H
#define HF_NET_HTTP_UPGRADE_H

#include "server/net/http_exchange.h"

/* The route that the request's path names, NULL if there is none. */
const struct ws_route *upgrade_route(const struct ws_server *ws, const struct http_request *r);
/* Checks the request for route and writes the answer, 101 with the subprotocol that was chosen. 0,
 * or the status to refuse it with and its detail. */
int upgrade_answer(const struct http_exchange *x, const struct ws_route *route, struct buf *answer,
        const char **ret_why);

#endif
