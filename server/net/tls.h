/*
 * TLS: the one place that knows OpenSSL's SSL objects. A connection's records come from its loop's
 * stage and go to conn_wire_send through a BIO of ours, so OpenSSL never sees a socket and a write
 * never has to be repeated. Private to server/net.
 */
#ifndef HF_NET_TLS_H
#define HF_NET_TLS_H

#include "server/base/crypto.h"
#include "server/net/private.h"

/* No certificate yet. NULL when out of memory. */
struct tls *tls_new(void);
struct tls *tls_free(struct tls *tls);
/* net_tls_load. */
int tls_load(struct tls *tls, const char *cert_file, const char *key_file, unsigned rotation_s,
        char error[static NET_ERROR_LEN]);

/* For tests of their rotation. */
struct ticket_keys *tls_ticket_keys(struct tls *tls);

/* The server's side of a connection. 0, ERR_UNAVAILABLE (no certificate loaded), ERR_NOMEM. */
int tls_conn_init(struct conn *c);
void tls_conn_free(struct conn *c);
/* Goes on with the handshake: 1 done, 0 needs more bytes, ERR_CRYPTO failed (logged). */
int tls_handshake(struct conn *c);
/* Decrypts all of the stage into p, which has cap bytes. The number of bytes; a connection that
 * ends with them has gone and why set. */
size_t tls_read(struct conn *c, uint8_t *p, size_t cap);
/* Encrypts n bytes, at most NET_RECORD_SIZE, and sends them. 0 or an ERR_ code. */
int tls_write(struct conn *c, const uint8_t *p, size_t n);
/* close_notify (RFC 8446 section 6.1), where the handshake got that far. */
void tls_close_notify(struct conn *c);
const char *tls_version(const struct conn *c);
/* conn_certificate's, made anew each time: the caller's reference. */
struct cert_chain *tls_peer_chain(const struct conn *c);
struct slice tls_server_name(const struct conn *c); /* conn_server_name */

#endif
