/*
 * What one identity may beyond what everybody of its kind may, compiled: made by policy from what
 * the database says of a device, a module, an access key or a certificate; carried by the
 * registry's identities and by principals; opaque to everybody but policy. Immutable but for the
 * reference count; any thread may hold a reference.
 */
#ifndef HF_BASE_ACCESS_H
#define HF_BASE_ACCESS_H

#include <stdatomic.h>

#include "server/base/entity.h"
#include "server/base/slice.h"

struct access {
	atomic_uint refs;
	uint64_t version; /* of the rules that it was compiled from: another one means compile anew
	                   */
	void (*free)(struct access *a);
};

static inline struct access *access_ref(struct access *a)
{
	if (a)
		atomic_fetch_add_explicit(&a->refs, 1, memory_order_relaxed);
	return a;
}
/* Drops a reference; NULL is fine; returns NULL. */
static inline struct access *access_unref(struct access *a)
{
	if (a && atomic_fetch_sub_explicit(&a->refs, 1, memory_order_acq_rel) == 1)
		a->free(a);
	return NULL;
}

/*
 * What it is compiled from, as the store gives it. links: what hangs on the identity, one a line
 * ("\n" behind each): a letter, a space, a value:
 *   "p NAME"            a policy attached to it
 *   "g NAME"            a group that it was put into (dynamic ones are policy's to find)
 *   "r FILTER", "w FILTER", "b FILTER"   a grant to read, write, or both (rw) below a topic filter
 * A value never holds a line end.
 */
struct access_source {
	enum entity kind; /* ENTITY_DEVICE, ENTITY_KEY, ENTITY_CERTIFICATE, ENTITY_AUTHORIZER */
	struct slice id;  /* "device", "device/module", name of the key, id of the certificate */
	struct slice links;
	struct slice tags;     /* of a device: JSON object, may be empty */
	struct slice scope;    /* of an access key: JSON object, empty: not narrowed */
	const char *auth_type; /* of a device: "sas", "x509Ca", …; else NULL */
	bool enabled;
	/* Policy documents of its own, a JSON array, as a custom authoriser gives them; may be
	 * empty. kind is ENTITY_AUTHORIZER then and id the principal's name. One that is not
	 * valid makes access_make fail. */
	struct slice documents;
};

#endif
