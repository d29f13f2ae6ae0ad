/*
 * The retained messages of one loop's share of the topics (home = hash of the topic): a tree over
 * topic levels, so that a filter finds its messages without looking at the rest. Single-threaded.
 */
#ifndef HF_BROKER_RETAIN_H
#define HF_BROKER_RETAIN_H

#include <sys/queue.h>

#include "server/base/msg.h"
#include "server/base/tally.h"

struct retain;

/* A retained message and the device (generation) that published it; 0: not a device. */
struct retained {
	struct msg *msg;
	uint64_t device_key;
	struct publisher *by; /* who is asked whether it may stay; NULL: nobody */
	TAILQ_ENTRY(retained) of_publisher;
};

struct retain *retain_new(void);
/* Keeps the messages and bytes of each device in tallies that the loops share; before the first
 * message. */
void retain_tell(struct retain *r, struct tally *messages, struct tally *bytes);
void retain_free(struct retain *r); /* drops its references */
/* Keeps a reference on m in place of what was retained under its topic. 0, ERR_NOMEM, ERR_QUOTA
 * when the count or the bytes would pass the limits, ERR_TOO_BIG over 1,024 levels
 * (mqtt.max_topic_levels is never above). On failure what was there stays. */
int retain_put(
        struct retain *r, struct msg *m, uint64_t device_key, size_t max_count, size_t max_bytes);
/* Notes whose the message is that was put last under topic. */
void retain_credit(struct retain *r, struct slice topic, struct publisher *by);
/* What is retained under topic, NULL: nothing. Valid until the tree changes. */
const struct retained *retain_get(const struct retain *r, struct slice topic);
/* Removes it. Whether there was one. */
bool retain_remove(struct retain *r, struct slice topic);
/* Removes all of a device's. Returns how many. */
size_t retain_remove_device(struct retain *r, uint64_t device_key);
/* Removes what has expired by now_ms, looking at no more than limit messages a call (it goes on
 * where the last call stopped). Returns how many were removed. */
size_t retain_expire(struct retain *r, uint64_t now_ms, size_t limit);
/* Calls found for every message whose topic the filter matches and that has not expired; stops when
 * it returns false. The tree must not be changed meanwhile. */
void retain_match(const struct retain *r, struct slice filter, uint64_t now_ms,
        bool (*found)(const struct retained *m, void *arg), void *arg);
size_t retain_count(const struct retain *r);
/* Of the messages and of the tree that holds them. */
size_t retain_bytes(const struct retain *r);

#endif
