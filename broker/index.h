/*
 * The subscription index of one loop: filters -> subscribers, as a tree over levels.
 * Single-threaded. Memory is bounded by what is subscribed; a lookup walks at most levels * 2
 * branches at each node and never recurses deeper than the number of levels of the longest filter.
 */
#ifndef HF_BROKER_INDEX_H
#define HF_BROKER_INDEX_H

#include "server/base/slice.h"

struct index;

/* One entry: a subscriber of this loop, another loop, a shared group or a pseudo-loop. key says
 * which (unique in its filter); value is the caller's. */
struct index *index_new(void);
void index_free(struct index *ix); /* the entries' values are the caller's */

/* Adds or replaces the entry of key under filter; value is not NULL. 0, ERR_NOMEM, ERR_TOO_BIG
 * (over 1,024 levels; mqtt.max_topic_levels is never above). *ret_first (may be NULL): whether the
 * filter had no entry before. *ret_old (may be NULL): the value replaced, or NULL. */
int index_put(struct index *ix, struct slice filter, const void *key, void *value, bool *ret_first,
        void **ret_old);
/* Removes it and returns its value, NULL if there was none. *ret_last (may be NULL): whether the
 * filter has no entry left. */
void *index_remove(struct index *ix, struct slice filter, const void *key, bool *ret_last);
/* Whether filter has any entry. */
bool index_has(const struct index *ix, struct slice filter);
size_t index_count(const struct index *ix);
/* Changes with every entry that comes, goes or is replaced: what was matched under the same version
 * would match the same. */
uint64_t index_version(const struct index *ix);
/* Whether no filter at all matches topic. */
bool index_empty_for(const struct index *ix, struct slice topic);

/* Calls found(value, arg) for every entry whose filter matches topic. The index must not be changed
 * meanwhile. Allocates nothing. */
void index_match(const struct index *ix, struct slice topic, void (*found)(void *value, void *arg),
        void *arg);

#endif
