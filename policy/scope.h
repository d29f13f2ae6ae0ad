/*
 * What an access key is narrowed to: groups, devices, topic filters, reading or writing, addresses,
 * a time. Immutable. Private to the room.
 */
#ifndef HF_POLICY_SCOPE_H
#define HF_POLICY_SCOPE_H

#include "policy/arena.h"
#include "server/base/ip.h"

#define SCOPE_ENTRIES_MAX 100 /* of each list */

struct scope_list {
	unsigned n;
	const struct slice *items;
};

struct scope {
	struct arena arena;
	struct scope_list groups, devices, filters;
	bool no_read, no_write;
	unsigned n_nets;
	const struct cidr *nets;
	int64_t not_before_us, not_after_us; /* wall clock; 0: open */
};

/* text: a JSON object. 0 with *ret (NULL where nothing is narrowed); ERR_INVALID; ERR_NOMEM. */
int scope_read(struct slice text, struct scope **ret);
struct scope *scope_free(struct scope *s); /* NULL is fine; returns NULL */

bool scope_has_time(const struct scope *s, int64_t now_us);
/* ip NULL: not known. */
bool scope_has_address(const struct scope *s, const struct ip_addr *ip);
bool scope_has(const struct scope_list *list, struct slice name);
/* Whether one of the topic filters covers the topic or filter, or there are none. */
bool scope_covers(const struct scope *s, struct slice topic);
static inline bool scope_by_device(const struct scope *s)
{
	return s->groups.n > 0 || s->devices.n > 0;
}

#endif
