/*
 * What somebody shows who is to be judged by a custom authoriser: its name, a token, and the
 * token's signature, with AWS's names for them. They stand in the query of an MQTT user name
 * ("joe?x-amz-customauthorizer-name=…&…"), or in the query or the headers of the HTTP request (the
 * one that opened a WebSocket, too). Any thread; no state.
 */
#ifndef HF_REGISTRY_AUTH_CUSTOM_H
#define HF_REGISTRY_AUTH_CUSTOM_H

#include "server/base/auth.h"
#include "server/base/buf.h"

#define CUSTOM_NAME "x-amz-customauthorizer-name"
#define CUSTOM_SIGNATURE "x-amz-customauthorizer-signature"

#define AUTHORIZER_NAME_MAX 128
#define CUSTOM_TOKEN_MAX 8192
#define CUSTOM_SIGNATURE_MAX 1024 /* in base64: RSA of up to 6,144 bits */
#define CUSTOM_KEYS_MAX 8
#define CUSTOM_KEY_PEM_MAX 4096
#define CUSTOM_EVENT_MAX ((size_t)256 << 10)

/* Whether a name of an authoriser is given: somebody wants to be judged by one. */
bool custom_is_named(const struct auth_request *req);
/* The value under a name, from wherever it stands, percent-decoded where it is a query's, into out
 * (size bytes, NUL added). 0 with *ret_len; ERR_NOT_FOUND; ERR_INVALID: it is there more than once,
 * does not fit, or is no text. */
int custom_find(
        const struct auth_request *req, const char *name, char *out, size_t size, size_t *ret_len);

/* A public key that signs tokens. */
struct custom_key;
/* RSA of at least 2,048 bits, SubjectPublicKeyInfo in PEM. 0 with *ret; ERR_INVALID: no such key;
 * ERR_NOMEM. */
int custom_key_read(struct slice pem, struct custom_key **ret);
struct custom_key *custom_key_free(struct custom_key *k); /* NULL is fine; returns NULL */
/* Whether one of the keys has signed the token (RSASSA-PKCS1-v1_5 with SHA-256, in base64). */
bool custom_is_signed(
        struct custom_key *const *keys, unsigned n, struct slice token, struct slice signature);

/* The question: AWS's event for a custom authoriser, as JSON. token.p NULL: none was given. What
 * tells two connections of one client apart comes last, in custom_event_end, so that what stands
 * before it is the same for the same question. out: born with CUSTOM_EVENT_MAX. 0 or buf's error.
 */
int custom_event_begin(
        struct buf *out, const struct auth_request *req, struct slice token, bool verified);
int custom_event_end(struct buf *out);

#endif
