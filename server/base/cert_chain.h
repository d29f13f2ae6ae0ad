/*
 * The certificates that a client showed in its TLS handshake, as bytes: what the transport hands to
 * the registry, which alone reads them. Immutable but for the reference count; any thread.
 */
#ifndef HF_BASE_CERT_CHAIN_H
#define HF_BASE_CERT_CHAIN_H

#include <stdatomic.h>

#include "server/base/slice.h"

#define CERT_CHAIN_MAX 10          /* certificates; the handshake of a longer chain fails */
#define CERT_CHAIN_BYTES_MAX 65536 /* in all */

struct cert_chain {
	atomic_uint refs;
	unsigned n;                       /* at least 1 */
	struct slice der[CERT_CHAIN_MAX]; /* the client's own first, then what it sent with it */
	/* The same as the TLS library has read them, for who knows it too: reading one again costs
	 * more than a signature. NULL where it was not kept. */
	void *read[CERT_CHAIN_MAX];
	void (*read_free)(void *cert);
	uint8_t bytes[];
};

/* Copies. NULL: out of memory, none, too many or too long. */
struct cert_chain *cert_chain_new(const struct slice *der, unsigned n);
struct cert_chain *cert_chain_ref(struct cert_chain *c);   /* NULL is fine */
struct cert_chain *cert_chain_unref(struct cert_chain *c); /* NULL is fine; returns NULL */

#endif
