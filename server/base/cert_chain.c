#include "server/base/cert_chain.h"

#include <stdlib.h>

struct cert_chain *cert_chain_new(const struct slice *der, unsigned n)
{
	size_t bytes = 0;
	for (unsigned i = 0; i < n; i++)
		bytes += der[i].n;
	if (n == 0 || n > CERT_CHAIN_MAX || bytes > CERT_CHAIN_BYTES_MAX)
		return NULL;
	struct cert_chain *c = malloc(sizeof(*c) + bytes);
	if (!c)
		return NULL;
	memset(c->read, 0, sizeof(c->read));
	c->read_free = NULL;
	atomic_init(&c->refs, 1);
	c->n = n;
	uint8_t *at = c->bytes;
	for (unsigned i = 0; i < n; i++) {
		if (der[i].n > 0)
			memcpy(at, der[i].p, der[i].n);
		c->der[i] = slice_make(at, der[i].n);
		at += der[i].n;
	}
	return c;
}

struct cert_chain *cert_chain_ref(struct cert_chain *c)
{
	if (c)
		atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
	return c;
}

struct cert_chain *cert_chain_unref(struct cert_chain *c)
{
	if (!c || atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1)
		return NULL;
	for (unsigned i = 0; i < c->n; i++)
		if (c->read[i])
			c->read_free(c->read[i]);
	free(c);
	return NULL;
}
