/*
 * WebSocket (RFC 6455) under a connection: what the peer sends is unwrapped on its way to the
 * handler, what the handler sends is wrapped when it is written; handlers know nothing of it. The
 * one place that knows wslay. No extensions. Binary messages only, whose borders mean nothing
 * (MQTT 5.0 section 6). On the connection's loop. Private to server/net.
 */
#ifndef HF_NET_WS_H
#define HF_NET_WS_H

#include "server/net/private.h"

#define WS_HEAD_MAX 4         /* of a frame of ours, which is at most a TLS record */
#define WS_CONTROL_MAX 125    /* payload of a control frame (RFC 6455 section 5.5) */
#define WS_CONTROLS_MAX 256   /* bytes of the control frames that can be due at once */
#define WS_FRAGMENTS_MAX 4096 /* frames of one message */

/* From here on the connection speaks WebSocket; what is queued by now goes out as it is. opening:
 * the connection's from then on; may be NULL. 0 or ERR_NOMEM. */
int ws_begin(struct conn *c, struct http_opening *opening);
void ws_free(struct conn *c);
/* Unwraps n bytes at p in place and returns how many bytes of payload are there now. Answers to
 * control frames are noted. What the standard forbids ends the connection. A frame or a message
 * larger than what the handler keeps unread ends it too. */
size_t ws_decode(struct conn *c, uint8_t *p, size_t n);
/* Whether control frames are due. */
bool ws_due(const struct ws *ws);
/* Writes those that are due to p (WS_CONTROLS_MAX); returns their length. */
size_t ws_take_controls(struct ws *ws, uint8_t *p);
/* Bytes at the front of the queue that belong to no frame yet; ws_sent tells of them. */
size_t ws_raw(const struct ws *ws);
void ws_raw_sent(struct ws *ws, size_t n);
/* Writes the head of a frame with n (at most NET_RECORD_SIZE) bytes of payload to p (WS_HEAD_MAX);
 * returns its length. */
size_t ws_head(uint8_t *p, size_t n);
/* Notes the close frame that goes with the end of the connection, once all other output is out.
 * False if it was noted before. */
bool ws_goodbye(struct conn *c);
/* Gives back what a loop keeps. */
void ws_loop_free(struct net_loop *nl);

#endif
