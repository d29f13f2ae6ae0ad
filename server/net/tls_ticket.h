/*
 * Keys of session tickets: in memory only, a new one each rotation, the one before still honoured
 * (and answered with a fresh ticket), older ones forgotten. Any thread. Private to server/net.
 */
#ifndef HF_NET_TLS_TICKET_H
#define HF_NET_TLS_TICKET_H

#include <openssl/evp.h>
#include <openssl/ssl.h>

struct ticket_keys;

/* NULL when out of memory. */
struct ticket_keys *ticket_keys_new(void);
struct ticket_keys *ticket_keys_free(struct ticket_keys *keys);
void ticket_keys_set_rotation(struct ticket_keys *keys, unsigned rotation_s);
/* Has ctx seal and open its tickets with these keys, which must outlive it. A connection with a
 * client certificate gets none. */
void ticket_keys_install(struct ticket_keys *keys, SSL_CTX *ctx);
/* Lets so much time pass for the keys: for tests. */
void ticket_keys_age(struct ticket_keys *keys, unsigned seconds);

#endif
