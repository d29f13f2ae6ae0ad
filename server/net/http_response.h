/* How a response is written. Private to server/net. */
#ifndef HF_NET_HTTP_RESPONSE_H
#define HF_NET_HTTP_RESPONSE_H

#include "server/net/http.h"

enum http_persistence {
	HTTP_KEEP,    /* HTTP/1.1's default */
	HTTP_KEEP_10, /* said to a client of HTTP/1.0 that asked for it */
	HTTP_CLOSE,
};

/* Queues head and body on c. */
void http_response_send(struct conn *c, const struct http_response *resp,
        enum http_persistence persistence, bool head_only);

#endif
