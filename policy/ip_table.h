/*
 * Networks in an order, the first that has an address counts: compiled into disjoint intervals with
 * the winner of each worked out, so that a look-up is one binary search however the networks
 * overlap. Immutable; any thread. Private to the room.
 */
#ifndef HF_POLICY_IP_TABLE_H
#define HF_POLICY_IP_TABLE_H

#include "server/base/ip.h"

struct ip_table;

struct ip_net {
	struct cidr net;
	uint32_t value; /* anything but IP_TABLE_NONE */
};
#define IP_TABLE_NONE UINT32_MAX

/* nets: n in their order, not kept. NULL when out of memory. */
struct ip_table *ip_table_new(const struct ip_net *nets, size_t n);
struct ip_table *ip_table_free(struct ip_table *t); /* NULL is fine; returns NULL */
/* The value of the first network that has the address; IP_TABLE_NONE: none has. */
uint32_t ip_table_find(const struct ip_table *t, const struct ip_addr *ip);
/* Whether fits holds for what every single address finds, IP_TABLE_NONE too. */
bool ip_table_all(
        const struct ip_table *t, bool (*fits)(const void *ctx, uint32_t value), const void *ctx);

#endif
