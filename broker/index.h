/*
 * The subscription index of one loop: filters -> subscribers, as a tree over levels.
 * Single-threaded. Memory is bounded by what is subscribed; a lookup walks at most levels * 2
 * branches at each node and never recurses deeper than the number of levels of the longest filter.
 */
#ifndef HF_BROKER_INDEX_H
#define HF_BROKER_INDEX_H

#include "server/base/slice.h"

struct index;

/* An entry is a value of the caller's: a subscriber of this loop, another loop, a shared group. It
 * is a pointer to something aligned. */
struct index_values {
	const void *(*key)(const void *value); /* unique in its filter, always the same */
	bool (*counts)(const void *value);     /* whether it counts for the first and the last */
};

/* Where a filter stands; it stays while the filter has an entry. */
struct index_place {
	uintptr_t bits;
};
#define INDEX_TEXT_MAX UINT16_MAX

struct index *index_new(const struct index_values *values);
void index_free(struct index *ix); /* the entries are the caller's */

/* Adds an entry under filter. 0; ERR_EXISTS: there is one with its key; ERR_NOMEM; ERR_TOO_BIG
 * (over 1,024 levels; mqtt.max_topic_levels is never above). *ret_place (may be NULL): where.
 * *ret_first (may be NULL): whether the filter had no entry before that counts. */
int index_put(struct index *ix, struct slice filter, void *value, struct index_place *ret_place,
        bool *ret_first);
/* Removes the entry of key and returns it, NULL if there was none. *ret_last (may be NULL): whether
 * it was the last under the filter that counts. */
void *index_remove(struct index *ix, struct slice filter, const void *key, bool *ret_last);
/* The same where the place is known. */
void *index_take(struct index *ix, struct index_place place, const void *key, bool *ret_last);
/* The entry of key under filter, NULL if there is none. */
void *index_get(const struct index *ix, struct slice filter, const void *key);
/* Whether filter has any entry. */
bool index_has(const struct index *ix, struct slice filter);
/* The filter of a place, put together at the end of text. */
struct slice index_text(struct index_place place, uint8_t text[static INDEX_TEXT_MAX]);
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
