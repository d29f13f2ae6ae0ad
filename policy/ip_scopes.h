/*
 * Networks in an order, for the hub and for each of any number of names (a group, a device, …):
 * whoever has none pays one look-up that finds nothing. Immutable; any thread. Private to the room.
 */
#ifndef HF_POLICY_IP_SCOPES_H
#define HF_POLICY_IP_SCOPES_H

#include "policy/ip_table.h"

struct ip_scopes;

/* Of whom: SCOPE_HUB has no name. */
enum ip_scope { SCOPE_HUB = 'h', SCOPE_GROUP = 'g', SCOPE_DEVICE = 'd', SCOPE_KEY = 'k' };

struct ip_entry {
	enum ip_scope scope;
	const char *name; /* not kept */
	struct cidr net;
	bool everywhere; /* every address; net does not count */
	uint32_t value;
	bool closes; /* who matches nothing in this scope is not to come in */
};

/* entries: n in their order. NULL when out of memory. */
struct ip_scopes *ip_scopes_new(const struct ip_entry *entries, size_t n);
struct ip_scopes *ip_scopes_free(struct ip_scopes *s); /* NULL is fine; returns NULL */
/* The table of the hub, of a name; NULL: it has no networks. *ret_closed (may be NULL): one of its
 * entries closes. */
const struct ip_table *ip_scopes_get(
        const struct ip_scopes *s, enum ip_scope scope, struct slice name, bool *ret_closed);
/* Whether somebody but the hub has networks. */
bool ip_scopes_named(const struct ip_scopes *s);

#endif
